//! Rules as they are kept: in the server's own database, so that log, checkpoints and recovery are those of all data.
//!
//! A hash for each database has a field for each rule, whose value is JSON: the words that make the rule, and who made it
//! when. A list for each database tells the changes, each with the command that undoes it.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::keyspace::{Kind, Side};
use crate::resp::Error;
use crate::sched::{Kind as RuleKind, Made, Rule, Rules};

use super::words;
use crate::command::{Context, Outcome, Stop};

/// Changes that are remembered in each database.
pub const LOG_ENTRIES_MAX: u64 = 10_000;
/// Rules of one database: each is looked at when a queue is met for the first time.
const RULES_MAX: usize = 10_000;

/// One change of the rules.
pub struct Change {
    pub what: String,
    /// The command that takes it back.
    pub undo: String,
}

/// Who gives a command, and when.
pub fn maker(context: &Context) -> Made {
    let session = &context.session;
    let mut by = format!("default@{}", session.peer.address);
    if !session.name.is_empty() {
        by.push_str(&format!(" ({})", String::from_utf8_lossy(&session.name)));
    }
    Made { at_ms: context.keys.now_ms(), by }
}

/// Makes a rule as a command asks for it, in the place of one of the same kind and name if it may. `undo` takes a new one
/// back.
pub fn make(context: &mut Context, mut rule: Rule, replace: bool, undo: String) -> Outcome {
    let old = context.jobs.rules.find(context.keys.selected(), rule.kind_name(), &rule.name).cloned();
    if old.is_some() && !replace {
        let what = rule.kind_title();
        return Err(Error::new(format!("ERR a {what} is called '{}' already; add REPLACE", rule.name)).into());
    }
    rule.number = old.as_ref().map_or(context.jobs.rules.next_number(), |old| old.number);
    let undo = match &old {
        Some(old) => format!("{} REPLACE", words::line(old, rule.made.at_ms)),
        None => undo,
    };
    let reply = super::blackhole::Made::of(context, &rule).reply(context, &rule);
    let what = words::line(&rule, rule.made.at_ms);
    put(context, rule, Change { what, undo })?;
    Ok(reply)
}

/// Puts a rule into force, in this frame and for the next command.
pub fn put(context: &mut Context, rule: Rule, change: Change) -> Result<(), Stop> {
    let database = context.keys.selected();
    if context.jobs.rules.of(database).len() >= RULES_MAX {
        return Err(Error::new(format!("ERR there are {RULES_MAX} rules in this database; delete some first")).into());
    }
    let (field, value) = (field_of(rule.kind_name(), &rule.name), encode(&rule));
    in_system(context, |context| {
        let slot = context.keys.find_or_create(&rules_key(database), Kind::Hash)?;
        context.keys.put_fields(slot, &[(&field, value.as_bytes())])?;
        note(context, database, &change)
    })?;
    context.jobs.rules.put(database, rule);
    Ok(())
}

/// Takes a rule out of force. `change` is none where nobody asked for it by name, as at the end of its time.
pub fn remove(context: &mut Context, kind: &str, name: &str, change: Change) -> Result<bool, Stop> {
    let database = context.keys.selected();
    if context.jobs.rules.find(database, kind, name).is_none() {
        return Ok(false);
    }
    in_system(context, |context| {
        if let Some(slot) = context.keys.find_kind(&rules_key(database), Kind::Hash)? {
            context.keys.remove_names(slot, &[&field_of(kind, name)])?;
        }
        note(context, database, &change)
    })?;
    if let Some(Rule { kind: RuleKind::Limit(_), number, .. }) = context.jobs.rules.remove(database, kind, name) {
        context.jobs.retire_limit(number);
    }
    Ok(true)
}

/// Writes a change into the log of the database.
fn note(context: &mut Context, database: usize, change: &Change) -> Result<(), Stop> {
    let made = maker(context);
    let entry = json!({ "at": made.at_ms, "by": made.by, "what": change.what, "undo": change.undo }).to_string();
    let slot = context.keys.find_or_create(&log_key(database), Kind::List)?;
    context.keys.push(slot, Side::Right, &[entry.as_bytes()])?;
    let length = context.keys.list(slot).len();
    if length > LOG_ENTRIES_MAX {
        context.keys.trim(slot, Side::Left, length - LOG_ENTRIES_MAX)?;
    }
    Ok(())
}

/// The last changes, newest first.
pub fn changes(context: &mut Context, count: u64) -> Result<Vec<Value>, Stop> {
    let database = context.keys.selected();
    in_system(context, |context| {
        let Some(slot) = context.keys.find_kind(&log_key(database), Kind::List)? else { return Ok(Vec::new()) };
        let list = context.keys.list(slot);
        let pieces: Vec<_> = list.pieces(list.len().saturating_sub(count), list.len() - 1).collect();
        let missing: Vec<_> =
            pieces.iter().filter_map(|piece| piece.missing()).map(|at| context.keys.chunk_ref(slot, at)).collect();
        if !missing.is_empty() {
            return Err(Stop::Fetch(missing));
        }
        let newest_first = pieces.iter().rev().flat_map(|piece| piece.items(Side::Right));
        Ok(newest_first.filter_map(|(_, entry)| serde_json::from_slice(entry).ok()).collect())
    })
}

/// Brings back the rules of all databases after a start.
pub fn load(context: &mut Context) -> Rules {
    let mut rules = Rules::default();
    let selected = context.keys.selected();
    context.keys.select(context.keys.system());
    for database in 0..context.keys.database_count() {
        let Ok(Some(slot)) = context.keys.find_kind(&rules_key(database), Kind::Hash) else { continue };
        for (field, value) in context.keys.hash(slot).iter() {
            match decode(value) {
                Ok(rule) => rules.put(database, rule),
                Err(reason) => {
                    let name = String::from_utf8_lossy(field).replace('\0', " ");
                    tracing::error!(database, rule = name, reason, "a stored rule cannot be read and is not in force");
                }
            }
        }
    }
    context.keys.select(selected);
    rules
}

/// Does something in the server's own database.
pub fn in_system<T>(context: &mut Context, work: impl FnOnce(&mut Context) -> Result<T, Stop>) -> Result<T, Stop> {
    let selected = context.keys.selected();
    context.keys.select(context.keys.system());
    let done = work(context);
    context.keys.select(selected);
    done
}

fn encode(rule: &Rule) -> String {
    json!({
        "words": words::of(rule),
        "at": rule.made.at_ms,
        "by": rule.made.by,
        "number": rule.number,
        "expires": rule.expires_ms,
    })
    .to_string()
}

fn decode(text: &[u8]) -> Result<Rule, String> {
    let value: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let words = value["words"].as_array().ok_or("no words")?;
    let words: Vec<Bytes> =
        words.iter().map(|word| Bytes::copy_from_slice(word.as_str().unwrap_or_default().as_bytes())).collect();
    let made = Made {
        at_ms: value["at"].as_u64().unwrap_or_default(),
        by: value["by"].as_str().unwrap_or_default().to_owned(),
    };
    let mut rule = words::parse(&words, made).map_err(|error| error.line().to_owned())?;
    rule.number = value["number"].as_u64().unwrap_or_default();
    rule.expires_ms = value["expires"].as_u64();
    Ok(rule)
}

fn rules_key(database: usize) -> Vec<u8> {
    format!("rules:{database}").into_bytes()
}

fn log_key(database: usize) -> Vec<u8> {
    format!("changes:{database}").into_bytes()
}

fn field_of(kind: &str, name: &str) -> Vec<u8> {
    [kind.as_bytes(), b"\0", name.as_bytes()].concat()
}
