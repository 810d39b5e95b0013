//! Counts of what rules have done, kept with the rules: durable, exact, and for longer than the rule that they speak of.
//!
//! They are fields of one hash in the server's own database, as decimal numbers: `name NUL what`, or
//! `name NUL what NUL key` where they are told apart by the place that the jobs came from.

use std::collections::BTreeMap;

use crate::keyspace::{Hash, Kind};

use crate::command::{Context, Stop};

/// What is to be added to the counts of one rule.
pub struct Tally {
    rule: String,
    database: usize,
    adds: BTreeMap<Vec<u8>, i64>,
    sets: BTreeMap<Vec<u8>, u64>,
}

impl Tally {
    pub fn new(rule: &str, database: usize) -> Tally {
        Tally { rule: rule.to_owned(), database, adds: BTreeMap::new(), sets: BTreeMap::new() }
    }

    pub fn add(&mut self, what: &str, count: u64) {
        *self.adds.entry(field(&self.rule, what, b"")).or_default() += count as i64;
    }

    pub fn subtract(&mut self, what: &str, count: u64) {
        *self.adds.entry(field(&self.rule, what, b"")).or_default() -= count as i64;
    }

    pub fn add_in(&mut self, what: &str, key: &[u8], count: u64) {
        *self.adds.entry(field(&self.rule, what, key)).or_default() += count as i64;
    }

    /// Notes when a job was taken last, and first.
    pub fn touch(&mut self, now_ms: u64) {
        self.sets.insert(field(&self.rule, "last", b""), now_ms);
    }

    /// Writes the new counts in this frame.
    pub fn write(self, context: &mut Context) -> Result<(), Stop> {
        let selected = context.keys.selected();
        context.keys.select(context.keys.system());
        let written = self.write_here(context);
        context.keys.select(selected);
        written
    }

    fn write_here(self, context: &mut Context) -> Result<(), Stop> {
        let slot = context.keys.find_or_create(&hash_key(self.database), Kind::Hash)?;
        let hash = context.keys.hash(slot);
        let now = |field: &[u8]| hash.get(field).map_or(0, |text| number(text)) as i64;
        let mut pairs: Vec<(Vec<u8>, String)> = Vec::new();
        for (field, add) in &self.adds {
            if *add != 0 {
                pairs.push((field.clone(), (now(field) + add).max(0).to_string()));
            }
        }
        let first = field(&self.rule, "first", b"");
        for (field, value) in &self.sets {
            pairs.push((field.clone(), value.to_string()));
            if hash.get(&first).is_none() {
                pairs.push((first.clone(), value.to_string()));
            }
        }
        let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(field, value)| (&field[..], value.as_bytes())).collect();
        if !pairs.is_empty() {
            context.keys.put_fields(slot, &pairs)?;
        }
        Ok(())
    }
}

/// One count of a rule in the selected database.
pub fn count_of(context: &mut Context, rule: &str, what: &str) -> u64 {
    let wanted = field(rule, what, b"");
    hash_of(context).and_then(|hash| hash.get(&wanted)).map_or(0, |text| number(text))
}

/// One count of a rule for the jobs from one place.
pub fn count_in(context: &mut Context, rule: &str, what: &str, key: &[u8]) -> u64 {
    let wanted = field(rule, what, key);
    hash_of(context).and_then(|hash| hash.get(&wanted)).map_or(0, |text| number(text))
}

/// All counts of one kind in the selected database: rule, the key that the jobs came from, count.
pub fn counts_by_key(context: &mut Context, what: &str) -> Vec<(String, Vec<u8>, u64)> {
    let mut all = counts(context, |found, value| {
        let mut parts = found.splitn(3, |byte| *byte == 0);
        let (rule, kind, key) = (parts.next()?, parts.next()?, parts.next()?);
        (kind == what.as_bytes()).then(|| (String::from_utf8_lossy(rule).into_owned(), key.to_vec(), value))
    });
    all.sort_unstable();
    all
}

/// Forgets the counts of a rule that is over and has nothing in quarantine any more. What it has done to each queue stays in
/// the ledger, under no name.
pub fn forget(context: &mut Context, rule: &str) -> Result<(), Stop> {
    let database = context.keys.selected();
    let of_rule = |found: &[u8]| found.strip_prefix(rule.as_bytes()).is_some_and(|rest| rest.first() == Some(&0));
    let fields = counts(context, |found, value| of_rule(found).then(|| (found.to_vec(), value)));
    if fields.is_empty() {
        return Ok(());
    }
    let mut past = Tally::new("", database);
    for (field, value) in &fields {
        let mut parts = field.splitn(3, |byte| *byte == 0).skip(1);
        if let (Some(what), Some(key)) = (parts.next(), parts.next())
            && LEDGER.iter().any(|kept| kept.as_bytes() == what)
        {
            past.add_in(&String::from_utf8_lossy(what), key, *value);
        }
    }
    past.write(context)?;
    super::registry::in_system(context, |context| {
        if let Some(slot) = context.keys.find_kind(&hash_key(database), Kind::Hash)? {
            let names: Vec<&[u8]> = fields.iter().map(|(field, _)| &field[..]).collect();
            context.keys.remove_names(slot, &names)?;
        }
        Ok(())
    })
}

/// Counts that JOB.LEDGER adds up for each queue.
const LEDGER: [&str; 5] = ["from", "pushed", "restored", "dropped", "dead"];

fn counts<T>(context: &mut Context, mut pick: impl FnMut(&[u8], u64) -> Option<T>) -> Vec<T> {
    hash_of(context)
        .map_or(Vec::new(), |hash| hash.iter().filter_map(|(field, value)| pick(field, number(value))).collect())
}

/// The counts of the selected database.
fn hash_of<'a>(context: &'a mut Context) -> Option<&'a Hash> {
    let database = context.keys.selected();
    context.keys.select(context.keys.system());
    let slot = context.keys.find_kind(&hash_key(database), Kind::Hash);
    context.keys.select(database);
    Some(context.keys.hash(slot.ok()??))
}

fn hash_key(database: usize) -> Vec<u8> {
    format!("counts:{database}").into_bytes()
}

fn field(rule: &str, what: &str, key: &[u8]) -> Vec<u8> {
    let mut field = [rule.as_bytes(), b"\0", what.as_bytes()].concat();
    if !key.is_empty() {
        field.push(0);
        field.extend_from_slice(key);
    }
    field
}

fn number(text: &[u8]) -> u64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}
