//! Reading arguments, with Redis' error texts.

use bytes::Bytes;

use crate::resp::{Error, parse_double};

/// Reads a signed 64-bit integer exactly as Redis' string2ll does: no spaces, no plus, no leading zeros.
pub fn integer(text: &[u8]) -> Result<i64, Error> {
    strict_integer(text).ok_or(Error::NOT_AN_INTEGER)
}

/// As [`integer`], without the error.
pub fn strict_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', ..] => digits.len() <= 19 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Reads a double; not NaN.
pub fn double(text: &[u8]) -> Result<f64, Error> {
    parse_double(text).ok_or(Error::NOT_A_FLOAT)
}

/// Reads an integer that must not be negative; the text is Redis' for most counts.
pub fn not_negative(text: &[u8]) -> Result<u64, Error> {
    let out_of_range = || Error::new("ERR value is out of range, must be positive");
    u64::try_from(integer(text).map_err(|_| out_of_range())?).map_err(|_| out_of_range())
}

/// Compares an argument with an option's name, in any letter case.
pub fn is(text: &[u8], name: &str) -> bool {
    text.eq_ignore_ascii_case(name.as_bytes())
}

/// Reads `numkeys` at `at` and answers the keys behind it and the rest.
pub fn counted_keys<'a>(
    request: &'a [Bytes],
    at: usize,
    not_positive: &'static str,
) -> Result<(&'a [Bytes], &'a [Bytes]), Error> {
    let count = integer(&request[at])?;
    if count <= 0 {
        return Err(Error::new(not_positive));
    }
    let rest = &request[at + 1..];
    if count as u64 > rest.len() as u64 {
        return Err(Error::SYNTAX);
    }
    Ok(rest.split_at(count as usize))
}

/// Turns Redis' inclusive range of indexes, negative from the end, into (first, last) of `len` elements.
pub fn range(start: i64, stop: i64, len: u64) -> Option<(u64, u64)> {
    let len = len as i64;
    let start = if start < 0 { (start + len).max(0) } else { start };
    let stop = if stop < 0 { stop + len } else { stop.min(len - 1) };
    (start <= stop && start < len).then_some((start as u64, stop as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_redis_reads_them() {
        let good = [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)];
        for (text, value) in good {
            assert_eq!(integer(text.as_bytes()), Ok(value));
        }
        for text in ["", "-", "+1", "01", "-0", " 1", "1 ", "1.0", "9223372036854775808", "0x1"] {
            assert_eq!(integer(text.as_bytes()), Err(Error::NOT_AN_INTEGER), "{text:?}");
        }
    }

    #[test]
    fn ranges_count_from_both_ends() {
        assert_eq!(range(0, -1, 3), Some((0, 2)));
        assert_eq!(range(-2, 100, 3), Some((1, 2)));
        assert_eq!(range(-100, 0, 3), Some((0, 0)));
        assert_eq!(range(3, 5, 3), None);
        assert_eq!(range(2, 1, 3), None);
        assert_eq!(range(0, -4, 3), None);
        assert_eq!(range(0, 0, 0), None);
    }
}
