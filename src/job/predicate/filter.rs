//! WHERE: a filter expression of RFC 9535 in which `@` is the payload.

use serde_json_path::JsonPath;

use super::super::payload::Job;
use super::error::PredicateError;

/// An expression may be so long.
pub const WHERE_BYTES_MAX: usize = 1024;
/// Brackets and parentheses may be nested so deep, since the library's parser and evaluation recurse.
const WHERE_BRACKETS_MAX: usize = 32;
/// So many filters may stand inside the expression: the parser tries each twice, and so takes twice as long for each.
const FILTERS_NESTED_MAX: usize = 4;

const EXPECTED: &str = "expected what RFC 9535 takes in a filter, such as @.args[0].amount > 1000,";

/// See the module. Equal if the text is. `$` is an array whose only element is the payload.
///
/// A document over [`DOCUMENT_BYTES_MAX`](super::super::payload::DOCUMENT_BYTES_MAX), one nested deeper than 127, or one
/// that is not a job does not match. This is the one part of a predicate that builds the document, so it is asked last.
#[derive(Debug, Clone)]
pub struct Filter {
    text: Box<str>,
    path: JsonPath,
}

impl Filter {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Filter, PredicateError> {
        check_limits(text)?;
        match query(text) {
            Ok(path) => Ok(Filter { text: text.into(), path }),
            Err(message) => Err(PredicateError::Filter { message, column: column_of_error(text) }),
        }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn matches(&self, job: &Job<'_>) -> bool {
        job.document().is_some_and(|document| !self.path.query(document).is_empty())
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Filter) -> bool {
        self.text == other.text
    }
}

/// Makes a query for the elements of an array that the expression holds for.
fn query(text: &str) -> Result<JsonPath, String> {
    let path = JsonPath::parse(&format!("$[?({text})]")).map_err(|error| {
        let message = error.message().rsplit(", ").next().unwrap_or_default();
        if message.contains("function") { message.to_owned() } else { EXPECTED.to_owned() }
    })?;
    // `@.a)][?(@.b` closes what was opened around it; without the parentheses it cannot. `@.a, @.b` the other way round.
    JsonPath::parse(&format!("$[?{}]", text.trim())).map_err(|_| EXPECTED.to_owned())?;
    Ok(path)
}

fn check_limits(text: &str) -> Result<(), PredicateError> {
    let too_many = |count_max, what| Err(PredicateError::TooMany { argument: "WHERE", count_max, what });
    if text.len() > WHERE_BYTES_MAX {
        return too_many(WHERE_BYTES_MAX, "bytes");
    }
    if text.matches('?').count() > FILTERS_NESTED_MAX {
        return too_many(FILTERS_NESTED_MAX, "question marks");
    }
    // Brackets in strings count too; nobody comes near the limit.
    let mut depth = 0usize;
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > WHERE_BRACKETS_MAX {
            return too_many(WHERE_BRACKETS_MAX, "brackets inside each other");
        }
    }
    Ok(())
}

/// Finds where an expression stops being one, behind its longest beginning that is: the library tells the place of the
/// whole filter only.
fn column_of_error(text: &str) -> usize {
    let mut ends = text
        .char_indices()
        .filter(|(at, character)| !character.is_alphanumeric() || !text[..*at].ends_with(char::is_alphanumeric));
    let read = ends.rfind(|(at, _)| query(&text[..*at]).is_ok()).map_or(0, |(at, _)| at);
    let blanks = text[read..].len() - text[read..].trim_start().len();
    text[..read + blanks].chars().count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &[u8] = br#"{"class":"Import","args":[{"amount":1500,"tags":["a","b"]}],"jid":"b4a5"}"#;

    #[track_caller]
    fn check(text: &str, matches: bool) {
        let filter = Filter::parse(text).unwrap();
        assert_eq!(filter.matches(&Job::new(JOB)), matches, "{text}");
    }

    #[test]
    fn the_payload_is_what_the_expression_speaks_of() {
        check("@.args[0].amount > 1000", true);
        check("@.args[0].amount > 2000", false);
        check(" @.args[0].amount ", true);
        check("@.nothing", false);
        check("!@.nothing && @.class == 'Import'", true);
        check("(@.x || @.jid) && !(@.y)", true);
        check("@.args[0].tags[?@ == 'b']", true);
        check("length(@.jid) == 4", true);
        check("match(@.class, 'Imp.*')", true);
        check("!match(@.class, 'Imp.*')", false);
        check("@['class'] == \"Import\"", true);
        check("$[0].class == 'Import'", true);
    }

    #[test]
    fn what_is_no_job_does_not_match() {
        let filter = Filter::parse("!@.nothing").unwrap();
        let long = format!("{{\"x\":\"{}\"}}", "y".repeat(super::super::super::payload::DOCUMENT_BYTES_MAX));
        for payload in [&b"[]"[..], b"{\"a\":1,\"a\":2}", b"no", b"", long.as_bytes()] {
            assert!(!filter.matches(&Job::new(payload)));
        }
        assert!(filter.matches(&Job::new(b"{}")));
    }

    #[test]
    fn an_error_says_where() {
        for (text, column) in [
            ("@.args[0].amount >> 1", 18),
            ("@.args[0].amount > ", 18),
            ("amount > 1", 1),
            ("@.é-b == 1", 4),
            ("@.a = 1", 5),
            ("@.a == 1 or @.b", 10),
            ("", 1),
            ("@.a)][?(@.b", 4),
            ("@.a][?@.b", 4),
            ("@.a, 0", 4),
        ] {
            let told = format!("ERR WHERE: {EXPECTED} at column {column}");
            assert_eq!(Filter::parse(text).unwrap_err().to_string(), told, "{text}");
        }
        let told = Filter::parse("foo(@.a)").unwrap_err().to_string();
        assert_eq!(told, "ERR WHERE: function name 'foo' is not defined at column 1");
    }

    #[test]
    fn expressions_are_limited() {
        let told = |text: &str| Filter::parse(text).unwrap_err().to_string();
        assert_eq!(told(&"(".repeat(33)), "ERR WHERE takes at most 32 brackets inside each other");
        assert_eq!(told(&"x".repeat(1025)), "ERR WHERE takes at most 1024 bytes");
        assert_eq!(told("@[?@[?@[?@[?@[?@]]]]]"), "ERR WHERE takes at most 4 question marks");
        let deepest = format!("{}@.class{}", "(".repeat(32), ")".repeat(32));
        check(&deepest, true);
    }
}
