//! Inline commands: a line of words, as a person types them into `nc`, with Redis' rules for quotes.

use bytes::Bytes;

/// Splits a line into its words; `None` if a quote is not closed, or is closed in the middle of a word.
///
/// Between double quotes `\n \r \t \b \a \xHH` stand for a byte and any other escaped character for itself; between
/// single quotes only `\'` is special. A quote may open in the middle of a word: `ab"c d"` is one word. As in Redis,
/// a NUL ends the line.
pub fn split_words(line: &[u8]) -> Option<Vec<Bytes>> {
    let line = line.split(|&byte| byte == 0).next().unwrap_or_default();
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while line.get(at).copied().is_some_and(is_space) {
            at += 1;
        }
        if at == line.len() {
            return Some(words);
        }
        let (word, end) = read_word(line, at)?;
        words.push(Bytes::from(word));
        at = end;
    }
}

/// Reads one word from `at`, and tells where it ends.
fn read_word(line: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let mut word = Vec::new();
    while let Some(&byte) = line.get(at) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => break,
            b'"' => return read_double_quoted(line, at + 1, word),
            b'\'' => return read_single_quoted(line, at + 1, word),
            _ => word.push(byte),
        }
        at += 1;
    }
    Some((word, at))
}

fn read_double_quoted(line: &[u8], mut at: usize, mut word: Vec<u8>) -> Option<(Vec<u8>, usize)> {
    loop {
        match *line.get(at)? {
            b'\\' => {
                if let Some(byte) = hex_escape(&line[at..]) {
                    word.push(byte);
                    at += 4;
                    continue;
                }
                let escaped = *line.get(at + 1)?;
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => other,
                });
                at += 2;
            }
            b'"' => return closed(line, at + 1, word),
            byte => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

fn read_single_quoted(line: &[u8], mut at: usize, mut word: Vec<u8>) -> Option<(Vec<u8>, usize)> {
    loop {
        match *line.get(at)? {
            b'\\' if line.get(at + 1) == Some(&b'\'') => {
                word.push(b'\'');
                at += 2;
            }
            b'\'' => return closed(line, at + 1, word),
            byte => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

/// A closing quote has to end its word.
fn closed(line: &[u8], at: usize, word: Vec<u8>) -> Option<(Vec<u8>, usize)> {
    line.get(at).is_none_or(|&next| is_space(next)).then_some((word, at))
}

/// The byte that `\xHH` stands for.
fn hex_escape(text: &[u8]) -> Option<u8> {
    let [b'\\', b'x', high, low, ..] = *text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

/// What C calls a space.
fn is_space(byte: u8) -> bool {
    byte == b' ' || (b'\t'..=b'\r').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<&[&[u8]]>) {
        let words = split_words(line.as_bytes());
        let words: Option<Vec<&[u8]>> = words.as_ref().map(|words| words.iter().map(|word| &word[..]).collect());
        assert_eq!(words.as_deref(), expected, "of the line {line:?}");
    }

    #[test]
    fn words_are_split_at_spaces() {
        check("", Some(&[]));
        check("  \t ", Some(&[]));
        check("PING", Some(&[b"PING"]));
        check("  SET key\tvalue ", Some(&[b"SET", b"key", b"value"]));
        check("SET key\0value", Some(&[b"SET", b"key"]));
    }

    #[test]
    fn double_quotes_keep_spaces_and_know_escapes() {
        check(r#"SET k "a b""#, Some(&[b"SET", b"k", b"a b"]));
        check(r#""\x00\xfF\n\r\t\b\a\q\"\\""#, Some(&[b"\x00\xff\n\r\t\x08\x07q\"\\"]));
        check(r#""\xg0""#, Some(&[b"xg0"]));
        check(r#""" x"#, Some(&[b"", b"x"]));
        check(r#"ab"c d""#, Some(&[b"abc d"]));
    }

    #[test]
    fn single_quotes_know_only_their_own_escape() {
        check(r"'a b' 'it\'s' 'a\n'", Some(&[b"a b", b"it's", br"a\n"]));
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        check(r#""abc"#, None);
        check(r"'abc", None);
        check(r#""abc"d"#, None);
        check(r"'abc'd", None);
        check(r#""abc\"#, None);
    }
}
