//! Reads a predicate from the words of a command.

use super::super::pattern::Pattern;
use super::super::time;
use super::argument::Argument;
use super::error::{PredicateError, clipped};
use super::filter::Filter;
use super::needles::Needles;
use super::{Predicate, PredicateError as Error};

/// A predicate may name so many ids: what a person pastes from a spreadsheet, and no more.
pub const IDS_MAX: usize = 10_000;
/// A predicate may name so many arguments.
const ARGUMENTS_MAX: usize = 32;

const KEYWORDS: [&str; 9] = ["QUEUE", "CLASS", "TENANT", "JID", "ARG", "BEFORE", "OLDER", "WHERE", "ALL"];

/// Reads as much as is there; see [`Predicate::parse`].
pub fn read(
    words: &[impl AsRef<[u8]>],
    now_ms: u64,
    stop_words: &[&str],
) -> Result<(Predicate, usize), PredicateError> {
    let mut reader = Reader { words, at: 0, stop_words };
    let (mut predicate, mut all) = (Predicate::default(), false);
    while let Some(keyword) = reader.keyword() {
        reader.at += 1;
        match keyword {
            "QUEUE" => set(&mut predicate.queue, keyword, Pattern::new(reader.value(keyword, "a glob")?))?,
            "CLASS" => set(&mut predicate.class, keyword, Pattern::new(reader.value(keyword, "a glob")?))?,
            "TENANT" => set(&mut predicate.tenant, keyword, reader.value(keyword, "an id")?.into())?,
            "JID" => reader.ids(&mut predicate.ids)?,
            "ARG" => predicate.arguments.push(argument(reader.value(keyword, "name=value or n=value")?)?),
            "BEFORE" => set(&mut predicate.before_ms, keyword, instant(reader.value(keyword, "a time")?, now_ms)?)?,
            "OLDER" => {
                let text = reader.value(keyword, "a duration")?;
                set(&mut predicate.older_ms, keyword, time::parse_duration_ms(text)?)?;
            }
            "WHERE" => set(&mut predicate.filter, keyword, Filter::parse(reader.value(keyword, "an expression")?)?)?,
            _ => all = true,
        }
    }
    match words.get(reader.at) {
        Some(word) if reader.at == 0 && !word.as_ref().is_empty() && !reader.is_stop_word() => {
            return Err(Error::Unknown {
                word: clipped(&String::from_utf8_lossy(word.as_ref())),
                known: KEYWORDS.join(", "),
            });
        }
        _ => finish(&mut predicate, all)?,
    }
    Ok((predicate, reader.at))
}

/// Checks what only the whole can tell, and derives what only the whole gives.
fn finish(predicate: &mut Predicate, all: bool) -> Result<(), PredicateError> {
    match (predicate.names_queue_only(), all) {
        (true, false) => return Err(Error::NeedsAll),
        (false, true) => return Err(Error::AllWithOthers),
        _ => {}
    }
    if predicate.arguments.len() > ARGUMENTS_MAX {
        return Err(Error::TooMany { argument: "ARG", count_max: ARGUMENTS_MAX, what: "times" });
    }
    predicate.ids.sort_unstable();
    predicate.ids.dedup();
    let id = if let [id] = &predicate.ids[..] { Some(&**id) } else { None };
    let arguments = predicate.arguments.iter().flat_map(Argument::needles);
    predicate.needles = Needles::new(id.into_iter().chain(predicate.tenant.as_deref()).chain(arguments));
    // A mail is called by two words that stand apart in its payload.
    let class = predicate.exact_class().map(|class| class.split_once('#').map_or(class, |(mailer, _)| mailer));
    predicate.class_needle = Needles::new(class.into_iter());
    Ok(())
}

fn set<T>(part: &mut Option<T>, argument: &'static str, value: T) -> Result<(), PredicateError> {
    if part.replace(value).is_some() { Err(Error::Twice { argument }) } else { Ok(()) }
}

fn argument(text: &str) -> Result<Argument, PredicateError> {
    Argument::parse(text).ok_or_else(|| Error::Argument { text: clipped(text) })
}

fn instant(text: &str, now_ms: u64) -> Result<u64, PredicateError> {
    if text.eq_ignore_ascii_case("now") {
        return Ok(now_ms);
    }
    time::parse_time_ms(text).ok_or_else(|| Error::Time { text: clipped(text) })
}

struct Reader<'a, W> {
    words: &'a [W],
    at: usize,
    stop_words: &'a [&'a str],
}

impl<'a, W: AsRef<[u8]>> Reader<'a, W> {
    /// The next word, if it begins a part of a predicate.
    fn keyword(&self) -> Option<&'static str> {
        let word = self.words.get(self.at)?.as_ref();
        KEYWORDS.into_iter().find(|keyword| word.eq_ignore_ascii_case(keyword.as_bytes()))
    }

    /// Takes the word after a keyword, whatever it is.
    fn value(&mut self, argument: &'static str, expected: &'static str) -> Result<&'a str, PredicateError> {
        let word = self.words.get(self.at).ok_or(Error::Missing { argument, expected })?.as_ref();
        self.at += 1;
        std::str::from_utf8(word).map_err(|error| Error::NotText { argument, column: error.valid_up_to() + 1 })
    }

    /// Takes ids up to a word that means something else.
    fn ids(&mut self, ids: &mut Vec<Box<str>>) -> Result<(), PredicateError> {
        let before = ids.len();
        while self.at < self.words.len() && self.keyword().is_none() && !self.is_stop_word() {
            ids.push(self.value("JID", "an id")?.into());
        }
        if ids.len() == before {
            return Err(Error::Missing { argument: "JID", expected: "one or more ids" });
        }
        if ids.len() > IDS_MAX {
            return Err(Error::TooMany { argument: "JID", count_max: IDS_MAX, what: "ids" });
        }
        Ok(())
    }

    fn is_stop_word(&self) -> bool {
        let word = self.words[self.at].as_ref();
        self.stop_words.iter().any(|stop_word| word.eq_ignore_ascii_case(stop_word.as_bytes()))
    }
}
