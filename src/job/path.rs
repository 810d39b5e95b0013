//! A path of a BY clause: where in a job its key stands.

use std::fmt;

use super::payload::Job;
use super::value::{self, Value};

/// A path may be so long, in bytes.
pub const PATH_BYTES_MAX: usize = 1024;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    text: Box<str>,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Class,
    /// The first GlobalID of that model among the arguments.
    GlobalId(Box<str>),
    Query(Box<[Step]>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(Box<str>),
    /// Counted from the end if negative.
    Element(i64),
}

/// A text that is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at column {column} of '{text}'")]
pub struct PathError {
    expected: &'static str,
    column: usize,
    text: String,
}

impl Path {
    /// Reads `class`, `gid:Shop`, or a singular query of RFC 9535 such as `$.args[0].customer_id`.
    pub fn parse(text: &str) -> Result<Path, PathError> {
        let wrong = |expected, at: usize| PathError {
            expected,
            column: text.get(..at).unwrap_or(text).chars().count() + 1,
            text: text.chars().take(80).collect(),
        };
        if text.len() > PATH_BYTES_MAX {
            return Err(wrong("a path of at most 1024 bytes", PATH_BYTES_MAX));
        }
        let form = if text.eq_ignore_ascii_case("class") {
            Form::Class
        } else if let Some(model) = text.strip_prefix("gid:") {
            if model.is_empty() || model.contains('/') {
                return Err(wrong("the name of a model, as in gid:Shop,", 4));
            }
            Form::GlobalId(model.into())
        } else {
            let mut reader = Reader { text, at: 0 };
            Form::Query(reader.query().map_err(|expected| wrong(expected, reader.at))?)
        };
        let text = if form == Form::Class { "class" } else { text };
        Ok(Path { text: text.into(), form })
    }

    pub(super) fn find(&self, job: &Job<'_>) -> Option<String> {
        match &self.form {
            Form::Class => job.class().map(|class| class.into_owned()),
            Form::GlobalId(model) => job.argument_list().and_then(|arguments| first_of_model(arguments, model)),
            Form::Query(steps) => {
                let (first, steps) = steps.split_first()?;
                let mut value = walk(job.whole()?, first)?;
                for step in steps {
                    value = walk(value, step)?;
                }
                value.meaning().map(|text| text.into_owned())
            }
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

fn walk<'a>(value: Value<'a>, step: &Step) -> Option<Value<'a>> {
    match step {
        Step::Member(name) => value.member(name),
        Step::Element(index) if *index >= 0 => value.elements().nth(usize::try_from(*index).ok()?),
        Step::Element(index) => {
            let count = value.elements().count();
            value.elements().nth(count.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?)
        }
    }
}

/// Looks through the strings in the order in which they stand.
fn first_of_model(arguments: Value<'_>, model: &str) -> Option<String> {
    strings(arguments.bytes()).find_map(|raw| {
        let text = raw.string()?.decode()?;
        let (name, id) = value::global_id(&text)?;
        (name == model).then(|| id.to_owned())
    })
}

/// Finds the strings of a JSON value, keys among them, however deep they stand.
fn strings(json: &[u8]) -> impl Iterator<Item = Value<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + memchr::memchr(b'"', &json[at..])?;
        let mut end = start + 1;
        loop {
            end += memchr::memchr2(b'"', b'\\', &json[end..])?;
            if json[end] == b'"' {
                break;
            }
            end = (end + 2).min(json.len());
        }
        at = end + 1;
        Some(Value::new(&json[start..at], false))
    })
}

/// Reads the segments of RFC 9535, sections 2.3.1 to 2.3.3 and 2.5.1. Errors are what was expected where it stands.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn query(&mut self) -> Result<Box<[Step]>, &'static str> {
        if !self.eats('$') {
            return Err("'class', 'gid:Model' or a query that begins with '$'");
        }
        let mut steps = Vec::new();
        loop {
            let before = self.at;
            self.blank();
            if self.eats('.') {
                steps.push(Step::Member(self.shorthand()?));
            } else if self.eats('[') {
                self.blank();
                steps.push(self.bracketed()?);
                self.blank();
                if !self.eats(']') {
                    return Err("']'");
                }
            } else {
                self.at = before;
                let ended = self.at == self.text.len() && !steps.is_empty();
                return if ended { Ok(steps.into()) } else { Err("'.name' or '[index]'") };
            }
        }
    }

    fn shorthand(&mut self) -> Result<Box<str>, &'static str> {
        let rest = &self.text[self.at..];
        let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_' || !character.is_ascii();
        let end = rest.find(|character| !is_name(character)).unwrap_or(rest.len());
        if end == 0 || rest.starts_with(|character: char| character.is_ascii_digit()) {
            return Err("a name (a singular query has no wildcard)");
        }
        self.at += end;
        Ok(rest[..end].into())
    }

    fn bracketed(&mut self) -> Result<Step, &'static str> {
        match self.peek() {
            Some(quote @ ('"' | '\'')) => Ok(Step::Member(self.quoted(quote)?.into())),
            Some('-' | '0'..='9') => self.index(),
            _ => Err("an index or a name in quotes (a singular query has no wildcard, slice or filter)"),
        }
    }

    fn index(&mut self) -> Result<Step, &'static str> {
        let rest = &self.text[self.at..];
        let end = rest.find(|character: char| character != '-' && !character.is_ascii_digit()).unwrap_or(rest.len());
        let digits = rest[..end].trim_start_matches('-');
        let plain = digits == "0" && end == 1 || !digits.starts_with('0');
        let index = rest[..end].parse().ok().filter(|_| plain).ok_or("an index")?;
        self.at += end;
        Ok(Step::Element(index))
    }

    fn quoted(&mut self, quote: char) -> Result<String, &'static str> {
        self.at += 1;
        let mut name = String::new();
        loop {
            let character = self.peek().ok_or("a closing quote")?;
            if character < ' ' {
                return Err("a character that is not a control character");
            }
            self.at += character.len_utf8();
            if character == quote {
                return Ok(name);
            }
            name.push(if character == '\\' { self.escape(quote)? } else { character });
        }
    }

    fn escape(&mut self, quote: char) -> Result<char, &'static str> {
        let character = self.peek().ok_or("an escape")?;
        let meant = match character {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '/' | '\\' => character,
            'u' => return self.unicode(),
            _ if character == quote => character,
            _ => return Err("an escape"),
        };
        self.at += 1;
        Ok(meant)
    }

    fn unicode(&mut self) -> Result<char, &'static str> {
        let first = self.hex()?;
        if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with("\\u") {
            self.at += 1;
            let second = self.hex()?;
            let pair = 0x10000 + ((first - 0xd800) << 10) + second.wrapping_sub(0xdc00);
            return char::from_u32(pair).filter(|_| (0xdc00..0xe000).contains(&second)).ok_or("a surrogate pair");
        }
        char::from_u32(first).ok_or("a surrogate pair")
    }

    fn hex(&mut self) -> Result<u32, &'static str> {
        let digits = self.text.get(self.at + 1..self.at + 5).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        self.at += if digits.is_some() { 5 } else { 0 };
        digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or("four hexadecimal digits")
    }

    fn blank(&mut self) {
        while let Some(' ' | '\t' | '\n' | '\r') = self.peek() {
            self.at += 1;
        }
    }

    fn eats(&mut self, character: char) -> bool {
        let eats = self.peek() == Some(character);
        self.at += usize::from(eats);
        eats
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }
}

#[cfg(test)]
mod tests;
