//! What the summaries of chunks prove of a rule, so that nothing has to be read.

use crate::job::Holding;
use crate::keyspace::ChunkView;
use crate::sched::{Kind, Rule};

/// What a summary proves of a chunk.
pub fn holding(rule: &Rule, key: &[u8], chunk: &ChunkView) -> Holding {
    let Some(summary) = chunk.summary() else { return Holding::Unknown };
    match rule.predicate().by_summary(key, summary) {
        Holding::All if takes_part(rule) => Holding::Some,
        holding => holding,
    }
}

/// Only part of what matches is taken.
pub fn takes_part(rule: &Rule) -> bool {
    matches!(&rule.kind, Kind::Blackhole(blackhole) if blackhole.sample < 1.0)
}

/// How many jobs of a chunk are of a class: at the most, and whether it is just as many.
pub fn of_class(class: &str, chunk: &ChunkView) -> Option<(u64, bool)> {
    let summary = chunk.summary()?;
    let named = summary.classes().find(|(name, _)| *name == class).map(|(_, count)| count);
    let count = u64::from(named.unwrap_or(summary.other_classes())).min(chunk.live());
    let is_sure = (named.is_some() || count == 0) && chunk.live() == u64::from(summary.jobs());
    Some((count, is_sure))
}

/// The class that all matches are of, if the rule names just one.
pub fn exact_class(rule: &Rule) -> Option<String> {
    let words = rule.predicate().words();
    let behind_queue = if words.first().is_some_and(|word| word == "QUEUE") { &words[2..] } else { &words[..] };
    match behind_queue {
        [part, class, ..] if part == "CLASS" && !class.contains(['*', '?', '[', '\\']) => Some(class.clone()),
        _ => None,
    }
}
