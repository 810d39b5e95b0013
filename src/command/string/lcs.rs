//! LCS: the longest common subsequence of two strings, by the usual table of lengths.

use bytes::Bytes;

use crate::keyspace::Kind;
use crate::resp::{Error, Reply};

use super::super::argument::{integer, is};
use super::super::{Command, Context, Flag, Group, Keys, Outcome, Stop};
use super::find_strings;

pub const COMMANDS: &[Command] = &[Command {
    name: "lcs",
    run: lcs,
    syntax: "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
    summary: "Finds the longest common substring.",
    since: "7.0.0",
    group: Group::String,
    complexity: "O(N*M) where N and M are the lengths of the strings.",
    flags: &[Flag::ReadOnly],
    keys: Keys::Range { first: 1, last: 2, step: 1 },
    examples: &[
        "MSET a ohmytext b mynewtext",
        "LCS a b",
        "LCS a b LEN",
        "LCS a b IDX",
        "LCS a b IDX MINMATCHLEN 4",
        "LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN",
        "LCS a n",
        "LCS a n IDX",
        "LCS a b IDX LEN",
        "LCS a b MINMATCHLEN",
        "LCS a b BAD",
        "LPUSH q x",
        "LCS a q BAD",
    ],
}];

#[derive(Debug, Default)]
struct Options {
    length_only: bool,
    indexes: bool,
    match_bytes_min: i64,
    with_match_length: bool,
}

fn lcs(context: &mut Context, request: &[Bytes]) -> Outcome {
    let mut strings = [&[][..]; 2];
    let slots = find_both(context, &request[1..3])?;
    for (string, slot) in strings.iter_mut().zip(slots) {
        *string = slot.map_or(&[][..], |slot| context.keys.string(slot));
    }
    let [a, b] = strings;
    let options = Options::read(&request[3..])?;
    let table_bytes = (a.len() as u64 + 1).saturating_mul(b.len() as u64 + 1).saturating_mul(size_of::<u32>() as u64);
    if table_bytes > context.host.settings().value_bytes_max() {
        return Err(
            Error::constant("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len").into()
        );
    }
    let table = Table::new(a, b);
    if options.length_only {
        return Ok(Reply::Integer(table.length(a.len(), b.len()).into()));
    }
    let runs = table.runs(a, b);
    if options.indexes {
        return Ok(options.reply(&runs, table.length(a.len(), b.len())));
    }
    let text: Vec<u8> = runs.iter().rev().flat_map(|run| &a[run.a..run.a + run.length]).copied().collect();
    Ok(Reply::Bulk(text.into()))
}

fn find_both(context: &mut Context, keys: &[Bytes]) -> Result<Vec<Option<u32>>, Stop> {
    for key in keys {
        let found = context.keys.find(key);
        if found.is_some_and(|slot| context.keys.object(slot).value.kind() != Kind::String) {
            return Err(Error::constant("ERR The specified keys must contain string values").into());
        }
    }
    find_strings(context, keys)
}

impl Options {
    fn read(mut words: &[Bytes]) -> Result<Options, Error> {
        let mut options = Options::default();
        while let Some((word, rest)) = words.split_first() {
            words = rest;
            match word {
                word if is(word, "len") => options.length_only = true,
                word if is(word, "idx") => options.indexes = true,
                word if is(word, "withmatchlen") => options.with_match_length = true,
                word if is(word, "minmatchlen") => {
                    let (least, rest) = words.split_first().ok_or(Error::SYNTAX)?;
                    options.match_bytes_min = integer(least)?;
                    words = rest;
                }
                _ => return Err(Error::SYNTAX),
            }
        }
        if options.length_only && options.indexes {
            return Err(Error::constant("ERR If you want both the length and indexes, please just use IDX."));
        }
        Ok(options)
    }

    fn reply(&self, runs: &[Run], length: u32) -> Reply {
        let range = |first: usize, length: usize| {
            Reply::Array(vec![Reply::Integer(first as i64), Reply::Integer((first + length - 1) as i64)])
        };
        let long_enough = runs.iter().filter(|run| run.length as i64 >= self.match_bytes_min);
        let matches = long_enough.map(|run| {
            let mut parts = vec![range(run.a, run.length), range(run.b, run.length)];
            if self.with_match_length {
                parts.push(Reply::Integer(run.length as i64));
            }
            Reply::Array(parts)
        });
        Reply::Map(vec![
            (Reply::bulk("matches"), Reply::Array(matches.collect())),
            (Reply::bulk("len"), Reply::Integer(length.into())),
        ])
    }
}

/// Equal bytes in a row: where they begin in both strings, and how many.
#[derive(Debug)]
struct Run {
    a: usize,
    b: usize,
    length: usize,
}

/// The length of the longest common subsequence of all pairs of prefixes.
struct Table {
    lengths: Vec<u32>,
    width: usize,
}

impl Table {
    fn new(a: &[u8], b: &[u8]) -> Table {
        let width = b.len() + 1;
        let mut lengths = vec![0; (a.len() + 1) * width];
        for (row, x) in a.iter().enumerate() {
            for (column, y) in b.iter().enumerate() {
                let at = (row + 1) * width + column + 1;
                lengths[at] =
                    if x == y { lengths[at - width - 1] + 1 } else { lengths[at - width].max(lengths[at - 1]) };
            }
        }
        Table { lengths, width }
    }

    fn length(&self, a: usize, b: usize) -> u32 {
        self.lengths[a * self.width + b]
    }

    /// The runs of one longest subsequence, last first; of several the one that Redis finds.
    fn runs(&self, a: &[u8], b: &[u8]) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let (mut i, mut j) = (a.len(), b.len());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                match runs.last_mut() {
                    Some(run) if run.a == i && run.b == j => {
                        (run.a, run.b, run.length) = (i - 1, j - 1, run.length + 1)
                    }
                    _ => runs.push(Run { a: i - 1, b: j - 1, length: 1 }),
                }
                (i, j) = (i - 1, j - 1);
            } else if self.length(i - 1, j) > self.length(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        runs
    }
}
