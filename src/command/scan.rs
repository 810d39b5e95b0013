//! The SCAN family: cursors and their options.

use bytes::Bytes;

use crate::resp::{Error, Reply};

use super::argument::{integer, is};
use crate::glob;

/// How many elements one call looks at if it does not say.
const COUNT_DEFAULT: usize = 10;
/// No call looks at more elements, whatever its COUNT, so that none stalls the others for long.
const COUNT_MAX: usize = 100_000;

/// What a call of the family asks for.
#[derive(Debug)]
pub struct ScanOptions {
    pub count: usize,
    pattern: Option<Bytes>,
}

impl ScanOptions {
    /// Reads `[MATCH pattern] [COUNT count]`.
    pub fn read(options: &[Bytes]) -> Result<ScanOptions, Error> {
        let mut read = ScanOptions { count: COUNT_DEFAULT, pattern: None };
        for option in options.chunks(2) {
            let [name, value] = option else { return Err(Error::SYNTAX) };
            if is(name, "count") {
                read.count = match integer(value)? {
                    count if count < 1 => return Err(Error::SYNTAX),
                    count => (count as usize).min(COUNT_MAX),
                };
            } else if is(name, "match") {
                read.pattern = (value != "*").then(|| value.clone());
            } else {
                return Err(Error::SYNTAX);
            }
        }
        Ok(read)
    }

    /// Tells whether an element is asked for.
    pub fn matches(&self, name: &[u8]) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| glob::matches(pattern, name))
    }
}

/// Reads a cursor; an empty one begins anew, as in Redis.
pub fn cursor(text: &[u8]) -> Result<u64, Error> {
    if text.is_empty() {
        return Ok(0);
    }
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or(Error::constant("ERR invalid cursor"))
}

/// The reply of one call: where to go on, and what was found. Cursors do not fit into RESP's integers.
pub fn scanned(next: u64, found: Vec<Reply>) -> Reply {
    Reply::Array(vec![Reply::bulk(next.to_string()), Reply::Array(found)])
}
