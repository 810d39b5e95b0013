//! How many jobs have which name, in four bytes a name.
//!
//! The same few classes and tenants come again in every chunk of a backlog, so a name is a number in a table that all
//! summaries of the process share. The table only grows, up to a limit; a name that found no room is counted as other.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

/// So many classes, and so many tenants, are counted by name.
pub const NAMED_MAX: usize = 16;
/// Longer names are counted as other, so that a summary stays small whatever is pushed.
pub const NAME_BYTES_MAX: usize = 256;
/// Names in the table, all classes and tenants together.
const TABLE_NAMES_MAX: usize = 1 << 16;

/// Read without a lock: a name that is there never changes.
static TABLE: [OnceLock<Box<str>>; TABLE_NAMES_MAX] = [const { OnceLock::new() }; TABLE_NAMES_MAX];
static NUMBERS: LazyLock<Mutex<HashMap<&'static str, u16>>> = LazyLock::new(Mutex::default);

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Number of the name, jobs; most jobs first.
    named: Box<[(u16, u16)]>,
    pub other: u32,
}

impl Names {
    /// Names the most frequent; of those that are equally frequent the first in the alphabet.
    pub fn of(counts: HashMap<Cow<'_, str>, u32>) -> Names {
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_unstable_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        Names::from_counts(counts.iter().map(|(name, count)| (&**name, *count)), 0)
    }

    /// Takes names in their order, and how many jobs have others.
    pub fn from_counts<'a>(counts: impl Iterator<Item = (&'a str, u32)>, mut other: u32) -> Names {
        let mut named = Vec::new();
        for (name, count) in counts {
            match (u16::try_from(count), named.len() < NAMED_MAX && name.len() <= NAME_BYTES_MAX) {
                (Ok(jobs), true) if let Some(number) = number_of(name) => named.push((number, jobs)),
                _ => other += count,
            }
        }
        Names { named: named.into(), other }
    }

    pub fn len(&self) -> usize {
        self.named.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.named.iter().map(|(number, count)| (name_of(*number), u32::from(*count)))
    }

    /// How many jobs have a name.
    pub fn count(&self) -> u32 {
        self.other + self.named.iter().map(|(_, count)| u32::from(*count)).sum::<u32>()
    }

    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.named)
    }
}

fn name_of(number: u16) -> &'static str {
    TABLE[usize::from(number)].get().expect("a number is given out after its name is in the table")
}

fn number_of(name: &str) -> Option<u16> {
    // Whoever panicked with the lock held has left the table whole: a name goes in before its number comes out.
    let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(number) = numbers.get(name) {
        return Some(*number);
    }
    let number = u16::try_from(numbers.len()).ok()?;
    let name = TABLE[usize::from(number)].get_or_init(|| name.into());
    numbers.insert(name, number);
    Some(number)
}
