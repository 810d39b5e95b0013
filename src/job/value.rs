//! A value inside a payload that was found to be JSON, and steps into it.

use std::borrow::Cow;

use super::scan;
use super::text::Text;

/// See the module. The bytes begin and end with the value.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    bytes: &'a [u8],
    /// No odd characters in it, see [`scan::is_plain`].
    plain: bool,
}

impl<'a> Value<'a> {
    /// Takes bytes that a scanner has stepped over.
    pub fn new(bytes: &'a [u8], plain: bool) -> Value<'a> {
        Value { bytes, plain }
    }

    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    pub fn is_object(self) -> bool {
        self.bytes.first() == Some(&b'{')
    }

    pub fn is_array(self) -> bool {
        self.bytes.first() == Some(&b'[')
    }

    pub fn is_true(self) -> bool {
        self.bytes == b"true"
    }

    /// The string that this is.
    pub fn string(self) -> Option<Text<'a>> {
        let raw = self.bytes.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        Some(Text::new(raw, self.plain))
    }

    /// Steps through the members of an object; through nothing if it is something else.
    pub fn members(self) -> Members<'a> {
        Members(Inside { at: if self.is_object() { 0 } else { self.bytes.len() }, of: self })
    }

    /// Steps through the elements of an array; through nothing if it is something else.
    pub fn elements(self) -> Elements<'a> {
        Elements(Inside { at: if self.is_array() { 0 } else { self.bytes.len() }, of: self })
    }

    /// The member of that name; the last of several, which is the one that a Ruby worker sees.
    pub fn member(self, name: &str) -> Option<Value<'a>> {
        self.members().filter(|(key, _)| key.is(name)).last().map(|(_, value)| value)
    }

    /// What a person would write for this value where a tenant or an argument is asked for: the text of a string or a
    /// number, the id of a GlobalID, the value inside an ActiveJob-serialized one. Nothing for null, arrays and hashes.
    pub fn meaning(self) -> Option<Cow<'a, str>> {
        match self.bytes.first()? {
            b'"' => Some(match self.string()?.decode()? {
                Cow::Borrowed(text) => Cow::Borrowed(global_id(text).map_or(text, |(_, id)| id)),
                Cow::Owned(text) => Cow::Owned(global_id(&text).map_or(text.as_str(), |(_, id)| id).to_owned()),
            }),
            b'{' => self.active_job_value()?.meaning_of_plain(),
            b'[' | b'n' => None,
            _ => std::str::from_utf8(self.bytes).ok().map(Cow::Borrowed),
        }
    }

    /// What is inside `{"_aj_globalid": …}` or `{"_aj_serialized": …, "value": …}`.
    pub fn active_job_value(self) -> Option<Value<'a>> {
        let (mut serialized, mut value) = (false, None);
        for (key, member) in self.members() {
            if key.is("_aj_globalid") {
                return Some(member);
            }
            serialized |= key.is("_aj_serialized");
            value = if key.is("value") { Some(member) } else { value };
        }
        value.filter(|_| serialized)
    }

    // One level only, so that a hash in a hash in a hash costs no stack.
    fn meaning_of_plain(self) -> Option<Cow<'a, str>> {
        if self.is_object() { None } else { self.meaning() }
    }
}

/// Splits a GlobalID such as `gid://app/Shop/42?x=y` into model and id.
pub fn global_id(text: &str) -> Option<(&str, &str)> {
    let (_, path) = text.strip_prefix("gid://")?.split_once('/')?;
    let (model, id) = path.split_once('/')?;
    let id = id.split_once('?').map_or(id, |(id, _)| id);
    (!model.is_empty() && !id.is_empty()).then_some((model, id))
}

/// See [`Value::members`].
#[derive(Debug, Clone)]
pub struct Members<'a>(Inside<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (Text<'a>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.of.plain { self.0.member::<true>() } else { self.0.member::<false>() }
    }
}

/// See [`Value::elements`].
#[derive(Debug, Clone)]
pub struct Elements<'a>(Inside<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.of.plain { self.0.element::<true>() } else { self.0.element::<false>() }
    }
}

/// A place inside an object or an array: before its opening brace, or behind one of what is in it.
#[derive(Debug, Clone)]
struct Inside<'a> {
    at: usize,
    of: Value<'a>,
}

impl<'a> Inside<'a> {
    fn member<const PLAIN: bool>(&mut self) -> Option<(Text<'a>, Value<'a>)> {
        let (at, _) = scan::token(self.of.bytes, self.at).filter(|(_, byte)| *byte != b'}')?;
        let (key, at) = scan::key::<PLAIN>(self.of.bytes, at + 1)?;
        Some((Text::new(&self.of.bytes[key], PLAIN), self.value::<PLAIN>(at)?))
    }

    fn element<const PLAIN: bool>(&mut self) -> Option<Value<'a>> {
        let (at, _) = scan::token(self.of.bytes, self.at).filter(|(_, byte)| *byte != b']')?;
        self.value::<PLAIN>(at + 1)
    }

    #[inline]
    fn value<const PLAIN: bool>(&mut self, at: usize) -> Option<Value<'a>> {
        let (start, first) = scan::token(self.of.bytes, at)?;
        // Depth was checked when the payload was scanned, so it may be counted from here.
        self.at = scan::value::<PLAIN>(self.of.bytes, start, first, 0)?;
        Some(Value::new(&self.of.bytes[start..self.at], self.of.plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, meant: Option<&str>) {
        assert_eq!(Value::new(json.as_bytes(), false).meaning().as_deref(), meant, "{json}");
    }

    #[test]
    fn a_value_means_what_a_person_would_write() {
        check("42", Some("42"));
        check("-1.50", Some("-1.50"));
        check("true", Some("true"));
        check("null", None);
        check("[1]", None);
        check("{}", None);
        check(r#""a\nb""#, Some("a\nb"));
        check(r#""gid://app/Shop/42""#, Some("42"));
        check(r#""gid:\/\/app\/Shop\/42""#, Some("42"));
        check(r#""gid://app/Admin::Shop/a/b?expires_in""#, Some("a/b"));
        check(r#""gid://app""#, Some("gid://app"));
        check(r#"{"_aj_globalid":"gid://app/Shop/42"}"#, Some("42"));
        check(r#"{"_aj_serialized":"ActiveJob::Serializers::SymbolSerializer","value":"eu"}"#, Some("eu"));
        check(r#"{"value":"eu"}"#, None);
        check(r#"{"_aj_globalid":{"_aj_globalid":"gid://app/Shop/42"}}"#, None);
    }

    #[test]
    fn members_and_elements_are_stepped_through() {
        let object = Value::new(br#"{ "a" : [ 1 , "x" ] , "b":{}, "a":2 }"#, true);
        let keys: Vec<_> = object.members().map(|(key, value)| (key.decode().unwrap(), value.bytes())).collect();
        assert_eq!(keys, [("a".into(), &b"[ 1 , \"x\" ]"[..]), ("b".into(), b"{}"), ("a".into(), b"2")]);
        assert_eq!(object.member("a").map(Value::bytes), Some(&b"2"[..]));
        let first = object.members().next().unwrap().1;
        assert_eq!(first.elements().map(Value::bytes).collect::<Vec<_>>(), [&b"1"[..], b"\"x\""]);
        for empty in ["{}", "[]", "{ }", "1", "\"\""] {
            assert_eq!(Value::new(empty.as_bytes(), true).members().count(), 0);
            assert_eq!(Value::new(empty.as_bytes(), true).elements().count(), 0);
        }
    }
}
