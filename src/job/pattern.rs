//! A glob that knows whether it is one, since most that people write are a plain name or end in one star.

use crate::glob;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Exact,
    /// Ends in its only star.
    Prefix,
    Glob,
}

impl Pattern {
    pub fn new(text: &str) -> Pattern {
        let form = match text.find(['*', '?', '[', '\\']) {
            None => Form::Exact,
            Some(at) if at + 1 == text.len() && text.ends_with('*') => Form::Prefix,
            Some(_) => Form::Glob,
        };
        Pattern { text: text.into(), form }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The only text that matches, if there is only one.
    pub fn exact(&self) -> Option<&str> {
        (self.form == Form::Exact).then_some(&self.text)
    }

    #[inline]
    pub fn matches(&self, text: &[u8]) -> bool {
        let pattern = self.text.as_bytes();
        match self.form {
            Form::Exact => pattern == text,
            Form::Prefix => text.starts_with(&pattern[..pattern.len() - 1]),
            Form::Glob => glob::matches(pattern, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_form_matches_as_the_glob_does(pattern in r"[ab*?\[\]\\]{0,5}", text in "[ab*]{0,5}") {
            prop_assert_eq!(Pattern::new(&pattern).matches(text.as_bytes()), glob::matches(pattern.as_bytes(), text.as_bytes()));
        }
    }

    #[test]
    fn a_name_is_exact() {
        assert_eq!(Pattern::new("Import::Job").exact(), Some("Import::Job"));
        assert_eq!(Pattern::new("Import*").exact(), None);
    }
}
