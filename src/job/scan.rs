//! A scanner that steps over JSON without building anything from it.
//!
//! It is strict (RFC 8259: grammar of numbers and escapes, no control characters in strings), because a payload that is
//! not JSON has no fields. It never recurses: what encloses a value is one bit a level, so depth costs no stack. UTF-8 is
//! not checked here.
//!
//! Nearly all payloads are *plain*, see [`is_plain`]. Then a string ends at the next quote, and nothing has to be looked
//! for inside it. The functions are compiled once for plain bytes and once for others; they take and give offsets rather
//! than keep them in a struct, so that these stay in registers.

use std::ops::Range;

/// Deeper nesting than this is no job. The enclosing objects and arrays of a value are the bits of one `u128`.
pub const DEPTH_MAX: u32 = u128::BITS;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x80 * ONES;
const BLOCK_BYTES: usize = 32;

/// Tells whether there are only printable ASCII characters, and no backslash.
pub fn is_plain(bytes: &[u8]) -> bool {
    let (blocks, _) = bytes.as_chunks::<BLOCK_BYTES>();
    // The last block overlaps the one before, which costs less than to look at what is left singly.
    let Some(last) = bytes.last_chunk::<BLOCK_BYTES>() else { return !bytes.iter().any(|byte| is_odd(*byte)) };
    let mut odd = [false; BLOCK_BYTES];
    for block in blocks.iter().chain([last]) {
        for (odd, byte) in odd.iter_mut().zip(block) {
            *odd |= is_odd(*byte);
        }
    }
    odd == [false; BLOCK_BYTES]
}

#[inline]
fn is_odd(byte: u8) -> bool {
    // Negative: more than ASCII.
    byte == b'\\' || (byte as i8) < 0x20
}

/// Steps over white space; answers where the next token begins, and its first byte.
#[inline(always)]
pub fn token(bytes: &[u8], at: usize) -> Option<(usize, u8)> {
    let byte = *bytes.get(at)?;
    if byte > b' ' { Some((at, byte)) } else { token_after_blanks(bytes, at) }
}

#[cold]
#[inline(never)]
fn token_after_blanks(bytes: &[u8], at: usize) -> Option<(usize, u8)> {
    let count = bytes[at..].iter().position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))?;
    Some((at + count, bytes[at + count]))
}

/// Steps over a key and its colon; answers where the key began and ended, between its quotes, and what follows.
#[inline(always)]
pub fn key<const PLAIN: bool>(bytes: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let (at, quote) = token(bytes, at)?;
    if quote != b'"' {
        return None;
    }
    let end = string::<PLAIN>(bytes, at + 1)?;
    let (colon_at, colon) = token(bytes, end)?;
    (colon == b':').then_some((at + 1..end - 1, colon_at + 1))
}

/// Steps over a value that begins with this token and stands `outer` levels deep.
#[inline(always)]
pub fn value<const PLAIN: bool>(bytes: &[u8], at: usize, first: u8, outer: u32) -> Option<usize> {
    match first {
        b'"' => string::<PLAIN>(bytes, at + 1),
        b'{' | b'[' => container::<PLAIN>(bytes, at, outer),
        _ => scalar(bytes, at, first),
    }
}

#[inline(never)]
fn container<const PLAIN: bool>(bytes: &[u8], start: usize, outer: u32) -> Option<usize> {
    let (mut at, mut depth, mut objects) = (start, outer, 0u128);
    'value: loop {
        let first;
        (at, first) = token(bytes, at)?;
        match first {
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return None;
                }
                let next;
                (at, next) = token(bytes, at + 1)?;
                // In ASCII a closing brace or bracket stands two after its opening one.
                if next != first + 2 {
                    objects = objects << 1 | u128::from(first == b'{');
                    if first == b'{' {
                        (_, at) = key::<PLAIN>(bytes, at)?;
                    }
                    continue 'value;
                }
                at += 1;
                depth -= 1;
            }
            b'"' => at = string::<PLAIN>(bytes, at + 1)?,
            _ => at = scalar(bytes, at, first)?,
        }
        while depth > outer {
            let (in_object, next) = (objects & 1 == 1, token(bytes, at)?);
            at = next.0 + 1;
            match next.1 {
                b',' => {
                    if in_object {
                        (_, at) = key::<PLAIN>(bytes, at)?;
                    }
                    continue 'value;
                }
                b'}' if in_object => {}
                b']' if !in_object => {}
                _ => return None,
            }
            depth -= 1;
            objects >>= 1;
        }
        return Some(at);
    }
}

/// Steps over a string from behind its opening quote.
#[inline(always)]
fn string<const PLAIN: bool>(bytes: &[u8], at: usize) -> Option<usize> {
    if PLAIN { Some(quote(bytes, at)? + 1) } else { odd_string(bytes, at) }
}

/// Finds the next quote. Most strings are short, and a word is looked through faster than a search is begun.
#[inline(always)]
fn quote(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    if let Some((words, _)) = rest.split_first_chunk::<16>() {
        let words = u128::from_le_bytes(*words);
        for (offset, word) in [(0, words as u64), (8, (words >> 64) as u64)] {
            // "Bit Twiddling Hacks", "Determine if a word has a zero byte"; all bytes are ASCII here.
            let quotes = (word ^ (ONES * b'"' as u64)).wrapping_sub(ONES) & HIGH_BITS;
            if quotes != 0 {
                return Some(at + offset + quotes.trailing_zeros() as usize / 8);
            }
        }
    }
    far_quote(rest).map(|found| at + found)
}

/// Searches a long string, in place where the processor is known to have vectors, rather than through memchr's pick at run time.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
fn far_quote(rest: &[u8]) -> Option<usize> {
    match memchr::arch::x86_64::sse2::memchr::One::new(b'"') {
        Some(search) => search.find(rest),
        None => memchr::memchr(b'"', rest),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn far_quote(rest: &[u8]) -> Option<usize> {
    memchr::memchr(b'"', rest)
}

/// The same for bytes among which may be anything.
#[inline(never)]
fn odd_string(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            break;
        }
        at = escape(bytes, at + 1)?;
    }
    let has_control = bytes[start..at].iter().fold(false, |has, byte| has | (*byte < 0x20));
    (!has_control).then_some(at + 1)
}

/// Steps over what follows a backslash.
fn escape(bytes: &[u8], at: usize) -> Option<usize> {
    match *bytes.get(at)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 1),
        b'u' => bytes.get(at + 1..at + 5)?.iter().all(u8::is_ascii_hexdigit).then_some(at + 5),
        _ => None,
    }
}

/// Steps over a number, true, false or null.
#[inline(always)]
fn scalar(bytes: &[u8], at: usize, first: u8) -> Option<usize> {
    match first {
        b'1'..=b'9' => {
            let end = digits(bytes, at)?;
            if let Some(b'.' | b'e' | b'E') = bytes.get(end) { fraction(bytes, end) } else { Some(end) }
        }
        _ => other_scalar(bytes, at, first),
    }
}

fn other_scalar(bytes: &[u8], at: usize, first: u8) -> Option<usize> {
    let literal = |text: &[u8]| bytes[at..].starts_with(text).then_some(at + text.len());
    match first {
        b'0' => fraction(bytes, at + 1),
        b'-' if bytes.get(at + 1) == Some(&b'0') => fraction(bytes, at + 2),
        b'-' => fraction(bytes, digits(bytes, at + 1)?),
        b't' => literal(b"true"),
        b'f' => literal(b"false"),
        b'n' => literal(b"null"),
        _ => None,
    }
}

/// Steps over what may follow the whole part of a number.
fn fraction(bytes: &[u8], mut at: usize) -> Option<usize> {
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        at = digits(bytes, at)?;
    }
    Some(at)
}

/// Steps over at least one digit, eight at a time.
#[inline(always)]
fn digits(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    while let Some(word) = bytes.get(at..)?.first_chunk::<8>() {
        // A digit is 0 to 9 now; adding 0x76 to anything else reaches the high bit, or it was there before.
        let values = u64::from_le_bytes(*word) ^ (ONES * b'0' as u64);
        let others = (((values & !HIGH_BITS) + ONES * 0x76) | values) & HIGH_BITS;
        at += others.trailing_zeros() as usize / 8;
        if others != 0 {
            return (at > start).then_some(at);
        }
    }
    at += bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    (at > start).then_some(at)
}

#[cfg(test)]
mod tests;
