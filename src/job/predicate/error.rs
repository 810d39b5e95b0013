//! What is wrong with a predicate, said to the person who typed it.

use super::super::time::DurationError;

/// See the module. Written as Redis writes errors; names the argument, and the column where there is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PredicateError {
    #[error("ERR {argument} takes {expected}, and nothing follows it")]
    Missing { argument: &'static str, expected: &'static str },
    #[error("ERR {argument} is given twice")]
    Twice { argument: &'static str },
    #[error("ERR {argument} takes UTF-8 text (at column {column})")]
    NotText { argument: &'static str, column: usize },
    #[error("ERR {argument} takes at most {count_max} {what}")]
    TooMany { argument: &'static str, count_max: usize, what: &'static str },
    #[error("ERR ARG takes name=value or n=value, not '{text}'")]
    Argument { text: String },
    #[error(
        "ERR BEFORE takes 'now', Unix seconds or milliseconds, or a time such as 2026-11-25T10:00:00Z, not '{text}'"
    )]
    Time { text: String },
    #[error("ERR OLDER {0}")]
    Duration(#[from] DurationError),
    #[error("ERR WHERE: {message} at column {column}")]
    Filter { message: String, column: usize },
    #[error("ERR '{word}' begins no part of a predicate; there are {known}")]
    Unknown { word: String, known: String },
    #[error("ERR ALL stands alone or with QUEUE")]
    AllWithOthers,
    #[error("ERR a predicate that names nothing but a queue needs the word ALL")]
    NeedsAll,
}

/// Cuts what a person typed to what fits into an error.
pub fn clipped(text: &str) -> String {
    text.chars().take(64).collect()
}
