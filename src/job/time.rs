//! Times and durations as people and payloads write them.

/// Numbers below this are Unix seconds, others milliseconds: the year 5138 in the one, 1973 in the other.
const SECONDS_BELOW: u64 = 100_000_000_000;

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("takes a duration such as 250ms, 30s, 5m, 2h or 7d, not '{text}' (at column {column})")]
pub struct DurationError {
    text: String,
    column: usize,
}

/// Reads a duration: a whole number and one of the units `ms s m h d`.
pub fn parse_duration_ms(text: &str) -> Result<u64, DurationError> {
    let wrong = |at: usize| DurationError { text: text.to_owned(), column: text[..at].chars().count() + 1 };
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().map_err(|_| wrong(0))?;
    let unit = UNITS.iter().find(|(name, _)| text[end..].eq_ignore_ascii_case(name)).ok_or_else(|| wrong(end))?;
    number.checked_mul(unit.1).ok_or_else(|| wrong(0))
}

/// Writes a duration in the largest unit that gives a whole number.
pub fn format_duration(duration_ms: u64) -> String {
    let (name, unit_ms) = match duration_ms {
        0 => ("s", 1000),
        _ => *UNITS
            .iter()
            .find(|(_, unit_ms)| duration_ms.is_multiple_of(*unit_ms))
            .expect("milliseconds divide everything"),
    };
    format!("{}{name}", duration_ms / unit_ms)
}

/// Reads Unix seconds (with or without a fraction) or milliseconds, or an ISO 8601 time; answers Unix milliseconds.
pub fn parse_time_ms(text: &str) -> Option<u64> {
    number_ms(text).or_else(|| iso_ms(text))
}

/// Writes a time as a number that [`parse_time_ms`] reads as the same time.
pub fn format_time_ms(time_ms: u64) -> String {
    if time_ms < SECONDS_BELOW { format!("{}.{:03}", time_ms / 1000, time_ms % 1000) } else { time_ms.to_string() }
}

/// Reads a number of a payload: Sidekiq wrote float seconds before version 8, and integer milliseconds since.
pub fn number_ms(text: &str) -> Option<u64> {
    if text.contains(['e', 'E']) {
        return float_ms(text);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    if whole >= SECONDS_BELOW {
        return Some(whole);
    }
    Some(whole * 1000 + thousandths(fraction))
}

fn float_ms(text: &str) -> Option<u64> {
    let number: f64 = text.parse().ok()?;
    let factor = if number < SECONDS_BELOW as f64 { 1000.0 } else { 1.0 };
    let time_ms = number * factor;
    (time_ms >= 0.0 && time_ms < u64::MAX as f64).then_some(time_ms as u64)
}

/// The first three digits of a fraction; the rest is cut off.
fn thousandths(fraction: &str) -> u64 {
    fraction.bytes().chain(std::iter::repeat(b'0')).take(3).fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
}

/// Reads `2026-11-25`, `2026-11-25T10:00Z`, `2026-11-25T10:00:00.123+02:00`. Without a zone it is UTC.
fn iso_ms(text: &str) -> Option<u64> {
    let mut rest = text.as_bytes();
    let (year, month, day) = (number(&mut rest, 4)?, after(&mut rest, b"-", 2)?, after(&mut rest, b"-", 2)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    let mut time_ms = days_since_1970(year, month, day) * 86_400_000;
    if !rest.is_empty() {
        let (hour, minute) = (after(&mut rest, b"Tt ", 2)?, after(&mut rest, b":", 2)?);
        let second = if rest.first() == Some(&b':') { after(&mut rest, b":", 2)? } else { 0 };
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        time_ms += (hour * 3600 + minute * 60 + second) * 1000 + fraction_ms(&mut rest)?;
        time_ms -= zone_minutes(rest)? * 60_000;
    }
    u64::try_from(time_ms).ok()
}

fn number(rest: &mut &[u8], digits: usize) -> Option<i64> {
    let (taken, left) = rest.split_at_checked(digits)?;
    *rest = left;
    taken.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// Reads a number that stands behind one of these characters.
fn after(rest: &mut &[u8], characters: &[u8], digits: usize) -> Option<i64> {
    let (first, left) = rest.split_first()?;
    *rest = left;
    if characters.contains(first) { number(rest, digits) } else { None }
}

fn fraction_ms(rest: &mut &[u8]) -> Option<i64> {
    let Some(digits) = rest.strip_prefix(b".") else { return Some(0) };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (fraction, left) = digits.split_at(count);
    *rest = left;
    (count > 0).then(|| thousandths(std::str::from_utf8(fraction).expect("digits are ASCII")) as i64)
}

fn zone_minutes(zone: &[u8]) -> Option<i64> {
    let sign = match zone.first() {
        None => return Some(0),
        Some(b'Z' | b'z') if zone.len() == 1 => return Some(0),
        Some(b'+') => 1,
        Some(b'-') => -1,
        Some(_) => return None,
    };
    let mut rest = &zone[1..];
    let hours = number(&mut rest, 2)?;
    let minutes = match rest {
        [] => 0,
        [b':', ..] => after(&mut rest, b":", 2)?,
        _ => number(&mut rest, 2)?,
    };
    (rest.is_empty() && hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, time_ms: Option<u64>) {
        assert_eq!(parse_time_ms(text), time_ms, "{text}");
    }

    #[test]
    fn times_are_read_in_every_form() {
        check("1795291989848", Some(1_795_291_989_848));
        check("1795291989", Some(1_795_291_989_000));
        check("1795291989.8485", Some(1_795_291_989_848));
        check("1795291989.5", Some(1_795_291_989_500));
        check("1.795291989848e9", Some(1_795_291_989_848));
        check("2026-11-25T10:00:00Z", Some(1_795_600_800_000));
        check("2026-11-25T10:00:00.123456789Z", Some(1_795_600_800_123));
        check("2026-11-25T12:00:00+02:00", Some(1_795_600_800_000));
        check("2026-11-25T12:00:00+0200", Some(1_795_600_800_000));
        check("2026-11-25T05:30-0430", Some(1_795_600_800_000));
        check("2026-11-25 10:00:00", Some(1_795_600_800_000));
        check("2026-11-25", Some(1_795_564_800_000));
        check("2024-02-29", Some(1_709_164_800_000));
        check("1970-01-01T00:00:00Z", Some(0));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "x",
            "-1",
            "1.x",
            "2026-13-01",
            "2026-02-29",
            "2026-00-01",
            "2026-1-1",
            "2026-11-25T",
            "2026-11-25T25:00",
            "2026-11-25T10:00:00.Z",
            "2026-11-25T10:00:00X",
            "2026-11-25T10:00:00Zx",
            "1969-12-31T23:59:59Z",
            "99999999999999999999999",
            "1e400",
            "2026-11-25T10:00:00+2",
            "NaN",
            "é026-11-25",
            "2026-11-2é",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn durations_are_read_and_written() {
        for (text, duration_ms) in
            [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000), ("7d", 604_800_000), ("0s", 0)]
        {
            assert_eq!(parse_duration_ms(text), Ok(duration_ms));
            assert_eq!(format_duration(duration_ms), text);
        }
        assert_eq!(parse_duration_ms("5M"), Ok(300_000));
        for (text, column) in
            [("", 1), ("5", 2), ("m", 1), ("5x", 2), ("-5s", 1), ("5 s", 2), ("99999999999999999d", 1), ("10é", 3)]
        {
            let told = format!("takes a duration such as 250ms, 30s, 5m, 2h or 7d, not '{text}' (at column {column})");
            assert_eq!(parse_duration_ms(text).unwrap_err().to_string(), told);
        }
    }

    proptest! {
        #[test]
        fn a_written_duration_is_read_as_it_was(duration_ms in any::<u64>()) {
            prop_assert_eq!(parse_duration_ms(&format_duration(duration_ms)), Ok(duration_ms));
        }

        #[test]
        fn a_written_time_is_read_as_it_was(time_ms in prop_oneof![any::<u64>(), 0u64..200_000_000_000]) {
            prop_assert_eq!(parse_time_ms(&format_time_ms(time_ms)), Some(time_ms));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), digits in "[0-9TZ:.+ -]{0,30}") {
            let _ = (parse_time_ms(&text), parse_time_ms(&digits), parse_duration_ms(&text));
        }
    }
}
