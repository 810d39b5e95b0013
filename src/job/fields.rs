//! Where the known top-level fields of a payload stand: one scan over it, which also finds whether it is a job at all.

mod names;
#[cfg(test)]
mod tests;

pub use self::names::Field;

use std::borrow::Cow;
use std::cell::Cell;

use self::names::{FIELD_COUNT, known};
use super::scan;
use super::text::Text;
use super::value::Value;

/// Strangers up to this number are compared with each other one by one, more are sorted.
const FEW: usize = 6;

/// The bytes of a value; a field that is not there ends at 0.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unread,
    Read,
    /// Not a job, so that no span counts.
    None,
}

#[derive(Debug, Clone, Copy)]
enum Early {
    Unread,
    Found(Span),
    None,
}

/// See the module. Filled in place when first asked, as the spans are many to carry about.
#[derive(Debug)]
pub struct Fields {
    state: Cell<State>,
    /// No odd characters anywhere, see [`scan::is_plain`].
    plain: Cell<bool>,
    /// Where the string of `class` stands, as far as that was looked for before anything else.
    early_class: Cell<Early>,
    spans: [Cell<Span>; FIELD_COUNT],
}

impl Fields {
    pub fn unread() -> Fields {
        Fields {
            state: Cell::new(State::Unread),
            plain: Cell::new(false),
            early_class: Cell::new(Early::Unread),
            spans: [const { Cell::new(Span { start: 0, end: 0 }) }; FIELD_COUNT],
        }
    }

    /// Tells whether the payload is a job, and scans it the first time. Not a job is what is not one JSON object, is nested
    /// too deep, names a top-level key twice, or is not UTF-8: two readers could see two different jobs in it.
    #[inline]
    pub fn are_there(&self, payload: &[u8]) -> bool {
        if self.state.get() == State::Unread {
            self.plain.set(scan::is_plain(payload));
            let read = if self.plain.get() { self.scan::<true>(payload) } else { self.scan::<false>(payload) };
            self.state.set(if read.is_some() { State::Read } else { State::None });
        }
        self.state.get() == State::Read
    }

    /// What `class` says if this is a job at all, read no further than there. That is enough to tell what a job is not, at
    /// a fraction of the cost. Nothing where it cannot be told so: then it has to be asked in full.
    pub fn early_class<'a>(&self, payload: &'a [u8]) -> Option<&'a [u8]> {
        if let Early::Unread = self.early_class.get() {
            self.early_class.set(find_class(payload).map_or(Early::None, Early::Found));
        }
        match self.early_class.get() {
            Early::Found(span) => Some(&payload[span.start as usize..span.end as usize]),
            _ => None,
        }
    }

    fn scan<const PLAIN: bool>(&self, payload: &[u8]) -> Option<()> {
        u32::try_from(payload.len()).ok()?;
        let mut strangers = Strangers::default();
        let (mut at, mut byte) = scan::token(payload, 0)?;
        if byte != b'{' {
            return None;
        }
        (at, byte) = scan::token(payload, at + 1)?;
        while byte != b'}' {
            let (key, after) = scan::key::<PLAIN>(payload, at)?;
            let key = Text::new(&payload[key], PLAIN);
            let (start, first) = scan::token(payload, after)?;
            let end = scan::value::<PLAIN>(payload, start, first, 1)?;
            match known(key) {
                Some(index) => self.note(index, start, end)?,
                None => strangers.note(key)?,
            }
            (at, byte) = scan::token(payload, end)?;
            match byte {
                b',' => at += 1,
                b'}' => {}
                _ => return None,
            }
        }
        let ends_well = scan::token(payload, at + 1).is_none() && strangers.are_distinct();
        (ends_well && (PLAIN || std::str::from_utf8(payload).is_ok())).then_some(())
    }

    #[inline]
    fn note(&self, index: usize, start: usize, end: usize) -> Option<()> {
        let span = &self.spans[index];
        if span.get().end != 0 {
            return None;
        }
        span.set(Span { start: start as u32, end: end as u32 });
        Some(())
    }

    /// The whole payload.
    pub fn whole<'a>(&self, payload: &'a [u8]) -> Option<Value<'a>> {
        self.are_there(payload).then(|| Value::new(payload.trim_ascii(), self.plain.get()))
    }

    /// The value of a field.
    #[inline]
    pub fn value<'a>(&self, payload: &'a [u8], field: Field) -> Option<Value<'a>> {
        self.at_index(payload, field as usize)
    }

    /// The values of `cattr`, `cattr_1` and so on, as far as they are there.
    pub fn cattrs<'a>(&self, payload: &'a [u8]) -> impl Iterator<Item = Value<'a>> {
        (Field::Cattr as usize..FIELD_COUNT).filter_map(move |index| self.at_index(payload, index))
    }

    #[inline]
    fn at_index<'a>(&self, payload: &'a [u8], index: usize) -> Option<Value<'a>> {
        if !self.are_there(payload) {
            return None;
        }
        let span = self.spans[index].get();
        (span.end != 0).then(|| Value::new(&payload[span.start as usize..span.end as usize], self.plain.get()))
    }
}

/// Finds the string of `class`, taking all before it for plain and looking afterwards whether it was.
fn find_class(payload: &[u8]) -> Option<Span> {
    u32::try_from(payload.len()).ok()?;
    let (mut at, mut byte) = scan::token(payload, 0)?;
    let mut before = b'{';
    while byte == before {
        let (key, after) = scan::key::<true>(payload, at + 1)?;
        let (start, first) = scan::token(payload, after)?;
        let end = scan::value::<true>(payload, start, first, 1)?;
        if &payload[key] == b"class" {
            let found = first == b'"' && scan::is_plain(&payload[..end]);
            return found.then(|| Span { start: start as u32 + 1, end: end as u32 - 1 });
        }
        (at, byte) = scan::token(payload, end)?;
        before = b',';
    }
    None
}

/// Keys that mean nothing here; kept only to find one that is there twice.
#[derive(Debug, Default)]
struct Strangers<'a> {
    few: [&'a [u8]; FEW],
    count: usize,
    many: Vec<Cow<'a, [u8]>>,
}

impl<'a> Strangers<'a> {
    #[inline]
    fn note(&mut self, key: Text<'a>) -> Option<()> {
        if self.count == FEW || key.is_escaped() {
            self.many.push(match key.decode()? {
                Cow::Borrowed(_) => Cow::Borrowed(key.raw()),
                Cow::Owned(decoded) => Cow::Owned(decoded.into_bytes()),
            });
            return Some(());
        }
        let earlier = &self.few[..self.count];
        if earlier.iter().any(|other| other.len() == key.raw().len() && *other == key.raw()) {
            return None;
        }
        self.few[self.count] = key.raw();
        self.count += 1;
        Some(())
    }

    fn are_distinct(&mut self) -> bool {
        if self.many.is_empty() {
            return true;
        }
        self.many.extend(self.few[..self.count].iter().map(|key| Cow::Borrowed(*key)));
        self.many.sort_unstable();
        self.many.windows(2).all(|pair| pair[0] != pair[1])
    }
}
