//! Work under way as it is kept: a field in a hash of the server's own for each, so that a start goes on with it.

use rand::RngExt;
use serde_json::{Value, json};

use crate::job::Predicate;
use crate::keyspace::Kind;
use crate::sched::{Until, Work};

use super::registry::in_system;
use crate::command::{Context, Stop};

const KEY: &[u8] = b"work";

/// Asks for work that goes on behind the reply, and after a crash.
pub fn begin(context: &mut Context, work: Work) -> Result<(), Stop> {
    let id = context.random.random();
    keep(context, id, &work, 0)?;
    context.jobs.ask(id, work, 0);
    Ok(())
}

/// Notes how far work has come.
pub fn keep(context: &mut Context, id: u64, work: &Work, moved: u64) -> Result<(), Stop> {
    let text = encode(work, moved).to_string();
    in_system(context, |context| {
        let slot = context.keys.find_or_create(KEY, Kind::Hash)?;
        Ok(context.keys.put_fields(slot, &[(&id.to_be_bytes(), text.as_bytes())])?)
    })
}

/// Forgets work that is done.
pub fn end(context: &mut Context, id: u64) -> Result<(), Stop> {
    in_system(context, |context| {
        if let Some(slot) = context.keys.find_kind(KEY, Kind::Hash)? {
            context.keys.remove_names(slot, &[&id.to_be_bytes()])?;
        }
        Ok(())
    })
}

/// Goes on with what was under way before a start.
pub fn load(context: &mut Context) {
    let found: Vec<(u64, Vec<u8>)> = in_system(context, |context| {
        let Some(slot) = context.keys.find_kind(KEY, Kind::Hash)? else { return Ok(Vec::new()) };
        let fields = context.keys.hash(slot).iter();
        Ok(fields.filter_map(|(id, text)| Some((u64::from_be_bytes(id.try_into().ok()?), text.to_vec()))).collect())
    })
    .unwrap_or_default();
    for (id, text) in found {
        match serde_json::from_slice(&text).ok().and_then(|value| decode(&value)) {
            Some((work, moved)) => context.jobs.ask(id, work, moved),
            None => tracing::error!(work = %String::from_utf8_lossy(&text), "work that was under way cannot be read"),
        }
    }
}

fn encode(work: &Work, moved: u64) -> Value {
    let words = |predicate: &Option<Predicate>| predicate.as_ref().map(Predicate::words);
    match work {
        Work::Restore { database, rule, predicate, count, front, rate } => json!({
            "restore": rule, "database": database, "predicate": words(predicate), "count": count, "front": front,
            "rate": rate, "moved": moved,
        }),
        Work::Purge { database, rule, predicate, unlock, places } => json!({
            "purge": rule, "database": database, "predicate": words(predicate), "unlock": unlock,
            "places": places.iter().map(|until| json!([until.key, until.last])).collect::<Vec<_>>(),
        }),
        Work::SweepSets { database, number } => json!({ "sweep": number, "database": database }),
    }
}

fn decode(value: &Value) -> Option<(Work, u64)> {
    let database = value["database"].as_u64()? as usize;
    let predicate = match value["predicate"].as_array() {
        None => None,
        Some(words) => {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            Some(Predicate::parse(&words, 0, &[]).ok()?.0)
        }
    };
    let moved = value["moved"].as_u64().unwrap_or(0);
    let work = if let Some(rule) = value["restore"].as_str() {
        let (count, rate) = (value["count"].as_u64(), value["rate"].as_u64());
        Work::Restore { database, rule: rule.to_owned(), predicate, count, front: value["front"].as_bool()?, rate }
    } else if let Some(rule) = value["purge"].as_str() {
        let until = |place: &Value| {
            let key = place[0].as_array()?.iter().map(|byte| byte.as_u64()?.try_into().ok());
            Some(Until { key: key.collect::<Option<_>>()?, last: place[1].as_u64()? })
        };
        let places = value["places"].as_array()?.iter().map(until).collect::<Option<_>>()?;
        Work::Purge { database, rule: rule.to_owned(), predicate, unlock: value["unlock"].as_bool()?, places }
    } else {
        Work::SweepSets { database, number: value["sweep"].as_u64()? }
    };
    Some((work, moved))
}
