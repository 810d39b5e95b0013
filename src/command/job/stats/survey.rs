//! Counting what waits in queues, chunk by chunk: by summary where there is one, else by a look at some jobs.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::job::{Job, Summary, namespace_of};
use crate::keyspace::{ChunkView, Kind, Slot};
use crate::resp::Reply;

use super::super::blackhole::length_of;
use super::super::ledger_command::held;
use super::super::sample::reading::{CHUNKS_A_TURN, Pass};
use super::super::text;
use super::By;
use crate::command::Context;

/// Jobs that are looked at in chunks without summaries, all together.
const JOBS_MAX: usize = 8_000;
/// Rows that were met last, among which the next one is looked for first.
const RECENT_MAX: usize = 16;
/// A job that is looked at costs about as much as so many chunks.
const JOB_COST: usize = 2;
/// So many names of a summary cost about as much as a chunk.
const NAMES_A_CHUNK: usize = 4;
/// How jobs without a class or a tenant are called.
const NAMELESS: &str = "-";

/// A pass over queues that counts.
pub struct Survey {
    pub by: By,
    pub rows: Vec<Row>,
    /// Some figures do not rest on every job.
    pub is_estimated: bool,
    pass: Pass,
    table: Table,
}

/// What is known of one queue, class or tenant.
#[derive(Debug, Default)]
pub struct Row {
    pub name: Box<[u8]>,
    pub pending: f64,
    pub held: Option<f64>,
    pub bytes: Option<f64>,
    /// When the oldest job was enqueued, in Unix milliseconds; by class or tenant, the oldest of the chunks that it is in.
    pub oldest_ms: Option<u64>,
    pub oldest_eligible_ms: Option<u64>,
    /// These are the jobs whose class or tenant was not kept.
    is_other: bool,
    /// What was found by looking at some jobs of a chunk, and stands also for the chunks that were passed over.
    sampled: f64,
}

impl Row {
    /// The name, or nil where it was not kept.
    pub fn shown_name(&self) -> Reply {
        if self.is_other { Reply::Null } else { text(&self.name) }
    }

    fn note_oldest(&mut self, at_ms: Option<u64>) {
        self.oldest_ms = [self.oldest_ms, at_ms].into_iter().flatten().min();
    }
}

impl Survey {
    pub fn new(context: &mut Context, keys: Vec<Vec<u8>>, by: By) -> Survey {
        let mut bare_chunks = 0;
        let mut holds = Vec::new();
        for key in &keys {
            if let Ok(Some(slot)) = context.keys.find_kind(key, Kind::List) {
                let list = context.keys.list(slot);
                bare_chunks += list.chunk_count() - list.cold_count();
            }
            holds.push(held(context, key, 1).map(|held| held == 1));
        }
        let mut table = Table {
            by,
            holds,
            stride: bare_chunks.div_ceil(JOBS_MAX).max(1),
            jobs_each: (JOBS_MAX / bare_chunks.max(1)).max(1),
            ..Table::default()
        };
        if by == By::Queue {
            let row = |key: &Vec<u8>| Row { name: key[..].into(), bytes: Some(0.0), ..Row::default() };
            table.rows = keys.iter().map(row).collect();
        }
        Survey { by, rows: Vec::new(), is_estimated: false, pass: Pass::new(keys), table }
    }

    /// Goes on in one turn; answers a slot if there is more to do in a later one.
    pub fn go_on(&mut self, context: &mut Context) -> Option<Slot> {
        let table = &mut self.table;
        table.cost = 0;
        loop {
            let went = self.pass.step(context.keys, CHUNKS_A_TURN, |_, queue, _, chunk| {
                table.count(queue, &chunk);
                if table.cost >= CHUNKS_A_TURN { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if table.cost >= CHUNKS_A_TURN {
                return Some(went.slot);
            }
        }
    }

    /// Ends the counting: nothing is passed over any more.
    pub fn settle(&mut self, context: &mut Context) {
        let table = &mut self.table;
        let factor = if table.looked > 0.0 { 1.0 + table.passed_over / table.looked } else { 1.0 };
        for row in &mut table.rows {
            row.pending += row.sampled * factor;
            row.held = row.held.filter(|held| factor == 1.0 || *held == 0.0);
        }
        if table.other > 0.0 {
            table.rows.push(Row { pending: table.other, is_other: true, ..Row::default() });
        }
        self.is_estimated = table.is_estimated || table.passed_over > 0.0 || table.other > 0.0;
        self.rows = std::mem::take(&mut table.rows);
        if self.by == By::Queue {
            for (row, key) in self.rows.iter_mut().zip(self.pass.keys()) {
                let length = length_of(context, key);
                row.pending = length as f64;
                row.held = held(context, key, length).map(|held| held as f64);
            }
            self.rows.retain(|row| row.pending > 0.0);
        } else {
            let is_known = self.table.holds.iter().all(Option::is_some);
            self.rows.iter_mut().for_each(|row| row.held = row.held.filter(|_| is_known && !row.is_other));
        }
    }

    /// The namespaces that the queues are in.
    pub fn namespaces(&self) -> Vec<&[u8]> {
        let mut all: Vec<&[u8]> = self.pass.keys().iter().map(|key| namespace_of(key).0).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// The rows while they are counted.
#[derive(Default)]
struct Table {
    by: By,
    rows: Vec<Row>,
    by_name: BTreeMap<Box<[u8]>, usize>,
    recent: Vec<usize>,
    next_recent: usize,
    /// By queue: whether all its jobs are held, or none, if that is known.
    holds: Vec<Option<bool>>,
    /// Of the chunks without summaries one in so many is looked at, and so many jobs of it.
    stride: usize,
    jobs_each: usize,
    bare_chunks: usize,
    /// Jobs of chunks without summaries that are in memory: of those that were looked at, and of those that were not.
    looked: f64,
    passed_over: f64,
    /// Jobs whose class or tenant is not known without reading.
    other: f64,
    is_estimated: bool,
    /// What this turn has cost, in chunks.
    cost: usize,
}

impl Table {
    fn count(&mut self, queue: usize, chunk: &ChunkView) {
        self.cost += 1;
        match (self.by, chunk.summary()) {
            (By::Queue, summary) => self.count_queue(queue, chunk, summary),
            (_, Some(summary)) => self.count_summary(queue, chunk, summary),
            (_, None) => self.count_some(queue, chunk),
        }
    }

    fn count_queue(&mut self, queue: usize, chunk: &ChunkView, summary: Option<&Summary>) {
        let row = &mut self.rows[queue];
        let bytes = row.bytes.get_or_insert_default();
        if chunk.missing().is_none() {
            self.cost += JOB_COST;
            let mut sum = 0;
            let mut items = chunk.items().map(|(_, item)| item).inspect(|item| sum += item.len());
            let ends = [items.next(), items.last()];
            *bytes += sum as f64;
            // Jobs are pushed in the order of time, so one of the ends is the oldest.
            ends.into_iter().flatten().for_each(|item| row.note_oldest(Job::new(item).enqueued_ms()));
            return;
        }
        match summary {
            Some(summary) => {
                let part = part_left(chunk, summary);
                self.is_estimated |= part < 1.0;
                *bytes += f64::from(summary.bytes()) * part;
                row.note_oldest(summary.oldest_enqueued_ms());
            }
            None => *bytes += chunk.data_bytes() as f64,
        }
    }

    fn count_summary(&mut self, queue: usize, chunk: &ChunkView, summary: &Summary) {
        let part = part_left(chunk, summary);
        self.is_estimated |= part < 1.0;
        let names = if self.by == By::Tenant { summary.tenants().count() } else { summary.classes().count() };
        self.cost += names.div_ceil(NAMES_A_CHUNK);
        let is_held = self.holds[queue] == Some(true);
        let oldest_ms = summary.oldest_enqueued_ms();
        let by = self.by;
        let (other, mut nameless) = match by {
            By::Tenant => (summary.other_tenants(), summary.without_tenant()),
            _ => (summary.other_classes(), summary.jobs() - summary.other_classes()),
        };
        self.other += f64::from(other) * part;
        let mut add = |name: &str, count: u32| {
            let row = self.row(name.as_bytes());
            let jobs = f64::from(count) * part;
            row.pending += jobs;
            *row.held.get_or_insert_default() += if is_held { jobs } else { 0.0 };
            row.note_oldest(oldest_ms);
        };
        match by {
            By::Tenant => summary.tenants().for_each(|(name, count)| add(name, count)),
            _ => summary.classes().for_each(|(name, count)| {
                nameless -= count;
                add(name, count);
            }),
        }
        if nameless > 0 {
            add(NAMELESS, nameless);
        }
    }

    /// Looks at some jobs of a chunk without a summary; they stand for all of it.
    fn count_some(&mut self, queue: usize, chunk: &ChunkView) {
        let live = chunk.live();
        if chunk.missing().is_some() {
            // What is in memory says little of what is not.
            self.other += live as f64;
            return;
        }
        self.bare_chunks += 1;
        if !(self.bare_chunks - 1).is_multiple_of(self.stride) {
            self.passed_over += live as f64;
            return;
        }
        let step = (live as usize).div_ceil(self.jobs_each);
        let looked_at = (live as usize - step / 2).div_ceil(step);
        let weight = live as f64 / looked_at as f64;
        let (is_held, is_part) = (self.holds[queue] == Some(true), step > 1);
        self.is_estimated |= is_part;
        self.looked += live as f64;
        self.cost += looked_at * JOB_COST;
        for (_, item) in chunk.items().skip(step / 2).step_by(step) {
            let job = Job::new(item);
            let name = if self.by == By::Tenant { job.tenant() } else { job.class() };
            let row = self.row(name.as_deref().unwrap_or(NAMELESS).as_bytes());
            row.sampled += weight;
            *row.held.get_or_insert_default() += if is_held { weight } else { 0.0 };
            row.note_oldest(job.enqueued_ms());
        }
    }

    fn row(&mut self, name: &[u8]) -> &mut Row {
        let recent = self.recent.iter().copied().find(|at| *self.rows[*at].name == *name);
        let at = recent.unwrap_or_else(|| self.find_row(name));
        &mut self.rows[at]
    }

    fn find_row(&mut self, name: &[u8]) -> usize {
        let at = match self.by_name.get(name) {
            Some(at) => *at,
            None => {
                self.by_name.insert(name.into(), self.rows.len());
                self.rows.push(Row { name: name.into(), ..Row::default() });
                self.rows.len() - 1
            }
        };
        if self.recent.len() < RECENT_MAX {
            self.recent.push(at);
        } else {
            self.recent[self.next_recent] = at;
            self.next_recent = (self.next_recent + 1) % RECENT_MAX;
        }
        at
    }
}

/// What part of the jobs that a summary speaks of is still there.
fn part_left(chunk: &ChunkView, summary: &Summary) -> f64 {
    (chunk.live() as f64 / f64::from(summary.jobs().max(1))).min(1.0)
}
