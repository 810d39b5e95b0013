//! Texts that must stand in the payload of a matching job.

use memchr::memmem::Finder;

/// See the module. Derived from the predicate, so any two are equal.
#[derive(Debug, Clone, Default)]
pub struct Needles(Vec<Finder<'static>>);

impl Needles {
    /// Takes texts that a matching payload holds as they are if nothing in it is escaped.
    pub fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Needles {
        let usable = texts.filter(|text| !text.is_empty());
        Needles(usable.map(|text| Finder::new(text.as_bytes()).into_owned()).collect())
    }

    /// Tells whether one of them is surely not there. Where anything is escaped nothing is sure.
    pub fn are_missing(&self, payload: &[u8]) -> bool {
        self.0.iter().any(|needle| needle.find(payload).is_none()) && memchr::memchr(b'\\', payload).is_none()
    }
}

impl PartialEq for Needles {
    fn eq(&self, _: &Needles) -> bool {
        true
    }
}
