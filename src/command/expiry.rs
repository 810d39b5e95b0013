//! Reading the times at which keys expire.

use crate::resp::Error;

use super::argument::integer;

/// Redis' text for a moment that is out of range.
pub fn invalid_expiry(command: &str) -> Error {
    Error::new(format!("ERR invalid expire time in '{command}' command"))
}

/// Reads a time in units of so many milliseconds after a base; answers Unix milliseconds.
pub fn expiry(text: &[u8], unit_ms: i64, base_ms: i64, command: &str) -> Result<i64, Error> {
    let moment = integer(text)?.checked_mul(unit_ms).and_then(|time_ms| time_ms.checked_add(base_ms));
    moment.ok_or_else(|| invalid_expiry(command))
}
