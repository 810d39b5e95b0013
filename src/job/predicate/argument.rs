//! ARG: a value among the arguments of a job.

use std::fmt;

use super::super::payload::Job;
use super::super::value::Value;

/// `ARG customer_id=123`, or `ARG 0=123` by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    place: Place,
    value: Box<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// In any hash among the arguments, or in a hash inside such a hash.
    Named(Box<str>),
    Position(u32),
}

impl Argument {
    /// Reads `name=value` or `n=value`. Only the first `=` counts, so a value may hold more.
    pub fn parse(text: &str) -> Option<Argument> {
        let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty())?;
        let place = if name.bytes().all(|byte| byte.is_ascii_digit()) {
            Place::Position(name.parse().ok()?)
        } else {
            Place::Named(name.into())
        };
        Some(Argument { place, value: value.into() })
    }

    /// Tells whether the job has this argument. A key that is in a hash twice counts as Ruby reads it, the last time.
    pub fn matches(&self, job: &Job<'_>) -> bool {
        match &self.place {
            Place::Position(position) => {
                job.readable_arguments().nth(*position as usize).is_some_and(|value| is(value, &self.value))
            }
            Place::Named(name) => job.readable_arguments().any(|value| is_in_hash(value, name, &self.value, true)),
        }
    }

    /// Texts that the payload of a matching job holds as they are, if nothing in it is escaped.
    pub fn needles(&self) -> impl Iterator<Item = &str> {
        let name = match &self.place {
            Place::Named(name) => Some(&**name),
            Place::Position(_) => None,
        };
        [Some(&*self.value), name].into_iter().flatten()
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Named(name) => write!(out, "{name}={}", self.value),
            Place::Position(position) => write!(out, "{position}={}", self.value),
        }
    }
}

fn is_in_hash(hash: Value<'_>, name: &str, expected: &str, look_deeper: bool) -> bool {
    let (mut here, mut deeper) = (false, false);
    for (key, value) in hash.members() {
        if key.is(name) {
            here = is(value, expected);
        }
        deeper |= look_deeper && value.is_object() && is_in_hash(value, name, expected, false);
    }
    here || deeper
}

/// Tells whether a value is what a person wrote: its text, or of a GlobalID the id or all of it.
fn is(value: Value<'_>, expected: &str) -> bool {
    match value.bytes().first() {
        Some(b'"') => {
            value.string().is_some_and(|text| text.is(expected)) || value.meaning().is_some_and(|id| id == expected)
        }
        Some(b'{') => value.active_job_value().is_some_and(|inner| !inner.is_object() && is(inner, expected)),
        Some(b'[') | None => false,
        Some(_) => value.bytes() == expected.as_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(argument: &str, arguments: &str, matches: bool) {
        let parsed = Argument::parse(argument).unwrap();
        assert_eq!(parsed.to_string(), argument);
        for payload in [
            format!(r#"{{"class":"A","args":{arguments},"jid":"j"}}"#),
            format!(r#"{{"class":"A","args":{arguments}}}"#),
            format!(
                r#"{{"class":"Sidekiq::ActiveJob::Wrapper","wrapped":"A","args":[{{"job_class":"A","arguments":{arguments}}}]}}"#
            ),
            format!(
                r#"{{"class":"ActiveJob::QueueAdapters::ResqueAdapter::JobWrapper","args":[{{"job_class":"A","arguments":{arguments}}}]}}"#
            ),
        ] {
            assert_eq!(parsed.matches(&Job::new(payload.as_bytes())), matches, "{argument} {payload}");
        }
    }

    #[test]
    fn a_named_argument_is_found_in_any_hash() {
        check("customer_id=123", r#"[{"customer_id":123}]"#, true);
        check("customer_id=123", r#"[1,"x",{"a":1},{"customer_id":"123"}]"#, true);
        check("customer_id=123", r#"[{"options":{"customer_id":123}}]"#, true);
        check("customer_id=123", r#"[{"a":{"b":{"customer_id":123}}}]"#, false);
        check("customer_id=123", r#"[[{"customer_id":123}]]"#, false);
        check("customer_id=123", r#"[{"customer_id":1234}]"#, false);
        check("customer_id=123", r#"[{"customer_id":[123]}]"#, false);
        check("customer_id=123", r#"["customer_id",123]"#, false);
        check("customer_id=123", r#"[{"customer_id":1,"customer_id":123}]"#, true);
        check("customer_id=123", r#"[{"customer_id":123,"customer_id":1}]"#, false);
        check("customer_id=123", r#"[{"customer\u005fid":"\u003123"}]"#, true);
        check("customer_id=123", "[]", false);
        check("customer_id=123", "{}", false);
        check("customer_id=123", "123", false);
        check("name=a=b", r#"[{"name":"a=b"}]"#, true);
        check("name=", r#"[{"name":""}]"#, true);
    }

    #[test]
    fn a_value_equals_its_text() {
        check("x=true", r#"[{"x":true}]"#, true);
        check("x=null", r#"[{"x":null}]"#, true);
        check("x=-1.5", r#"[{"x":-1.5}]"#, true);
        check("x=42", r#"[{"x":"gid://app/Shop/42"}]"#, true);
        check("x=42", r#"[{"x":{"_aj_globalid":"gid://app/Shop/42"}}]"#, true);
        check("x=gid://app/Shop/42", r#"[{"x":{"_aj_globalid":"gid:\/\/app\/Shop\/42"}}]"#, true);
        check("x=eu", r#"[{"x":{"_aj_serialized":"S","value":"eu"}}]"#, true);
    }

    #[test]
    fn an_argument_is_found_by_its_position() {
        check("0=123", "[123]", true);
        check("1=x", r#"[123,"x"]"#, true);
        check("0=7", r#"[{"_aj_globalid":"gid://app/User/7"}]"#, true);
        check("2=x", r#"[123,"x"]"#, false);
        check("4294967295=x", "[1]", false);
    }

    #[test]
    fn encrypted_arguments_match_nothing() {
        let job = Job::new(br#"{"class":"A","args":[5,"c2VjcmV0"],"encrypt":true}"#);
        assert!(Argument::parse("0=5").unwrap().matches(&job));
        assert!(!Argument::parse("1=c2VjcmV0").unwrap().matches(&job));
    }

    #[test]
    fn what_is_no_argument_is_refused() {
        for text in ["", "x", "=x", "4294967296=x"] {
            assert_eq!(Argument::parse(text), None);
        }
    }
}
