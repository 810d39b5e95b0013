//! Errors as clients read them: a code, a space, a sentence; Redis' own texts where Redis has one.

use std::borrow::Cow;

/// An error reply without its leading `-`, such as `ERR syntax error` or `WRONGTYPE Operation against …`.
///
/// It never holds a line break: `Error::new` replaces them by spaces, as Redis does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(Cow<'static, str>);

impl Error {
    pub const SYNTAX: Error = Error(Cow::Borrowed("ERR syntax error"));
    pub const WRONG_TYPE: Error =
        Error(Cow::Borrowed("WRONGTYPE Operation against a key holding the wrong kind of value"));
    pub const NOT_AN_INTEGER: Error = Error(Cow::Borrowed("ERR value is not an integer or out of range"));
    pub const NOT_A_FLOAT: Error = Error(Cow::Borrowed("ERR value is not a valid float"));
    pub const NO_SUCH_KEY: Error = Error(Cow::Borrowed("ERR no such key"));
    pub const INDEX_OUT_OF_RANGE: Error = Error(Cow::Borrowed("ERR index out of range"));

    /// Makes an error from a constant line without line breaks.
    pub const fn constant(line: &'static str) -> Error {
        Error(Cow::Borrowed(line))
    }

    /// Makes an error from a whole line, code included.
    pub fn new(line: impl Into<Cow<'static, str>>) -> Error {
        let line = line.into();
        if line.contains(['\r', '\n']) { Error(line.replace(['\r', '\n'], " ").into()) } else { Error(line) }
    }

    /// The whole line, code included.
    pub fn line(&self) -> &str {
        &self.0
    }

    /// The first word, such as `ERR` or `NOSCRIPT`.
    pub fn code(&self) -> &str {
        self.0.split(' ').next().unwrap_or("")
    }
}
