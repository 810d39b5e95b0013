//! A JSON string as it stands in a payload, between its quotes.

use std::borrow::Cow;

/// See the module. Compared and read without a copy unless there are escapes in it.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    raw: &'a [u8],
    plain: bool,
}

impl<'a> Text<'a> {
    /// Takes what stands between two quotes; `plain` says that no escapes are in it, which spares to look for them.
    pub fn new(raw: &'a [u8], plain: bool) -> Text<'a> {
        Text { raw, plain }
    }

    /// The bytes between the quotes, escapes and all.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    pub fn is_escaped(&self) -> bool {
        !self.plain && memchr::memchr(b'\\', self.raw).is_some()
    }

    /// Tells whether the string means this text.
    #[inline]
    pub fn is(&self, text: &str) -> bool {
        if self.is_escaped() {
            self.decode().is_some_and(|decoded| decoded == text)
        } else {
            self.raw == text.as_bytes()
        }
    }

    /// Reads the string. Half of a surrogate pair becomes U+FFFD, which is what Ruby makes of it when it is printed.
    pub fn decode(&self) -> Option<Cow<'a, str>> {
        let raw = std::str::from_utf8(self.raw).ok()?;
        if self.is_escaped() { unescape(raw).map(Cow::Owned) } else { Some(Cow::Borrowed(raw)) }
    }
}

fn unescape(raw: &str) -> Option<String> {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let escape = *rest.as_bytes().get(at + 1)?;
        rest = rest.get(at + 2..)?;
        out.push(match escape {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => unicode(&mut rest)?,
            same => char::from(same),
        });
    }
    out.push_str(rest);
    Some(out)
}

/// Reads the digits after `\u`, and those of the second half of a pair.
fn unicode(rest: &mut &str) -> Option<char> {
    let first = hex(rest)?;
    *rest = &rest[4..];
    if let 0xd800..0xdc00 = first
        && let Some(after) = rest.strip_prefix("\\u")
        && let Some(second @ 0xdc00..0xe000) = hex(after)
    {
        *rest = &after[4..];
        return char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
    }
    Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
}

fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text.get(..4)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(raw: &str, meant: &str) {
        let text = Text::new(raw.as_bytes(), !raw.contains('\\'));
        assert_eq!(text.decode().as_deref(), Some(meant), "{raw}");
        assert!(text.is(meant), "{raw}");
    }

    #[test]
    fn escapes_are_read() {
        check("plain", "plain");
        check(r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t");
        check(r"cl\u0061ss", "class");
        check(r"\ud83d\ude00!", "😀!");
        check(r"\ud83dx", "\u{fffd}x");
        check(r"\ud83d\u0041", "\u{fffd}A");
        check(r"\ude00", "\u{fffd}");
    }

    #[test]
    fn what_is_cut_off_is_no_text() {
        for raw in ["\\", "\\u12", "\\u"] {
            assert_eq!(Text::new(raw.as_bytes(), false).decode(), None);
        }
        assert_eq!(Text::new(b"\xff", true).decode(), None);
    }

    proptest! {
        #[test]
        fn any_string_is_read_as_serde_json_reads_it(text in any::<String>()) {
            let json = serde_json::to_string(&text).expect("strings can be written");
            check(&json[1..json.len() - 1], &text);
        }
    }
}
