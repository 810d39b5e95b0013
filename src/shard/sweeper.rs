//! The sweeper: what goes on behind commands about jobs, in bounded steps between them.
//!
//! It takes the jobs out of queues that rules want out, finds the first job that may go where pops have given up, and does
//! the work that commands have asked for. A thread looks at the jobs; a turn only changes what was found.
//!
//! ```text
//! rules changed ──▶ every queue is checked ──▶ those with something to take out wait ──▶ one is swept, chunk by chunk
//! a pop gave up ──▶ the thread looks on from there ──▶ the first job that may go wakes who waits
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info};

use crate::clock::Now;
use crate::command::job::count::{self, Count};
use crate::command::job::look::{Answer, PIECES_BYTES_MAX, PIECES_MAX, Question, Seen, Want};
use crate::command::job::task::{Progress, Task};
use crate::command::job::{end_expired, put_back_due, see_workers, serve, share, sweep};
use crate::command::{Context, Stop, SweepState, Within};
use crate::keyspace::recovery::Fetched;
use crate::keyspace::{Kind, Missing, ObjectId, QueueId, Side, Slot};
use crate::sched::QueueRules;

use super::background::Load;
use super::house::row_of;
use super::indexer::Indexing;
use super::{Shard, Sockets};

/// Queues that are checked in one turn after the rules have changed.
const CHECKS_A_TURN: u32 = 256;
/// Chunks that are passed over in one turn since their summaries tell enough.
pub const SKIPS_A_TURN: usize = 4096;
/// How often the thread is asked about a queue before it has answered.
const QUESTIONS_AHEAD: usize = 3;
/// Counts that are kept to be read; beyond them the oldest is forgotten.
const COUNTS_MAX: usize = 16;
/// Bytes of jobs that are taken out in one turn, and chunks that are looked at for it.
const TAKEN_BYTES_A_TURN: usize = 256 * 1024;
const TAKEN_CHUNKS_A_TURN: usize = 64;
/// Jobs that are put back in one turn since their leases are over, or that are due.
const PUT_BACK_A_TURN: usize = 128;
/// Rules that time alone makes match are swept again so often.
const TIMED_EVERY: Duration = Duration::from_secs(60);
/// What threads are asked for on behalf of a step.
pub const STEP_TOKEN: u64 = u64::MAX;

/// See the module.
#[derive(Debug, Default)]
pub struct Sweeper {
    /// The rules as they were when all queues were checked last.
    seen_version: u64,
    /// The queue at which the check goes on.
    checking: Option<QueueId>,
    waiting: VecDeque<QueueId>,
    active: Option<Sweep>,
    seeks: Vec<Seek>,
    tasks: VecDeque<Task>,
    /// A task with a rate goes on then, in Unix milliseconds.
    task_later_ms: u64,
    /// The oldest of those that are not over goes on.
    counts: VecDeque<Counting>,
    pub indexing: Vec<Indexing>,
    answers: VecDeque<Answer>,
    /// By database and number of the rule.
    totals: BTreeMap<(usize, u64), Totals>,
    fetching: Fetching,
    timed_at: Option<Duration>,
    next_token: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Totals {
    swept: u64,
    of: u64,
    skipped: u64,
}

/// What a step has missed: all of it is put into place at once, and then the step is run again.
#[derive(Debug, Default)]
struct Fetching {
    outstanding: usize,
    arrived: Vec<(Missing, Fetched)>,
}

/// One queue that is swept.
#[derive(Debug)]
struct Sweep {
    queue: QueueId,
    database: usize,
    slot: Slot,
    object: ObjectId,
    rewrites: u64,
    rules: Arc<QueueRules>,
    /// The side at which it begins: where new jobs come in, so that what it finds is put before what came later …
    from: Side,
    /// … at this side of the quarantine.
    put: Side,
    cursor: Option<u64>,
    /// How often jobs had come that nobody has looked at when it began.
    unlooked: u64,
    /// It has asked about everything.
    over: bool,
    /// Some jobs could not be read or put away.
    left_some: bool,
    /// What was asked, oldest first: the token, and the jobs in it.
    asked: VecDeque<u64>,
    seen: VecDeque<Seen>,
}

/// A count, and the token of what the thread was asked about for it.
#[derive(Debug)]
struct Counting {
    count: Count,
    asked: Option<u64>,
}

/// A side of a queue at which the first job that may go is looked for.
#[derive(Debug)]
struct Seek {
    queue: QueueId,
    side: Side,
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Asked {
    token: u64,
    rules: Arc<QueueRules>,
    object: ObjectId,
    rewrites: u64,
    last: u64,
}

impl Sweeper {
    /// Tells how far it has come with a rule.
    pub fn state(&self, database: usize, rule: u64) -> SweepState {
        let totals = self.totals.get(&(database, rule)).copied().unwrap_or_default();
        let of_rule = |task: &Task| matches!(&task.work, crate::sched::Work::SweepSets { database: of, number } if *of == database && *number == rule);
        let sweeping = self.checking.is_some()
            || !self.waiting.is_empty()
            || self.active.is_some()
            || self.tasks.iter().any(of_rule);
        let Totals { swept, of, skipped } = totals;
        SweepState { sweeping, swept, of, skipped, seen_version: self.seen_version }
    }

    /// Tells whether something is under way, or may be.
    fn is_busy(&self) -> bool {
        self.checking.is_some()
            || self.active.is_some()
            || self.timed_at.is_some()
            || self.fetching.outstanding > 0
            || !(self.waiting.is_empty()
                && self.seeks.is_empty()
                && self.tasks.is_empty()
                && self.counts.is_empty()
                && self.indexing.is_empty()
                && self.answers.is_empty()
                && self.fetching.arrived.is_empty())
    }

    pub fn begin_count(&mut self, count: Count) {
        self.counts.retain(|of| of.count.database != count.database || of.count.rule.name != count.rule.name);
        if self.counts.len() == COUNTS_MAX {
            self.counts.pop_front();
        }
        self.counts.push_back(Counting { count, asked: None });
    }

    pub fn count_of(&self, database: usize, name: &str) -> Option<&Count> {
        let mut counts = self.counts.iter().map(|of| &of.count);
        counts.find(|count| count.database == database && count.rule.name == name)
    }

    /// When it wants to go on although nothing happens, in Unix milliseconds and on the monotonic clock.
    pub fn wakes_at(&self) -> (Option<u64>, Option<Duration>) {
        ((!self.tasks.is_empty() && self.task_later_ms > 0).then_some(self.task_later_ms), self.timed_at)
    }
}

impl Shard {
    /// Runs something like a command of nobody's, as one frame in a database.
    pub(super) fn with_context<T>(&mut self, now: Now, database: usize, work: impl FnOnce(&mut Context) -> T) -> T {
        self.keys.begin(self.house.buffer.next_lsn(), database);
        self.keys.note_growth = self.house.waiters.len() > 0;
        let done = work(&mut self.own_context(now));
        self.finish_frame();
        done
    }

    /// Takes note, in the frame that tells it, of what workers have written about jobs that are followed.
    #[cold]
    pub(super) fn see_workers(&mut self) {
        if let Err(stop) = see_workers(&mut self.own_context(self.now)) {
            error!(?stop, "that a job has ended cannot be noted");
        }
    }

    /// For what no client asks for.
    fn own_context(&mut self, now: Now) -> Context<'_> {
        Context {
            now,
            keys: &mut self.keys,
            jobs: &mut self.jobs,
            session: &mut self.own_session,
            host: &mut self.house,
            random: &mut self.random,
            within: Within::Nothing,
        }
    }

    /// Goes on a step with everything that is under way; tells whether it could go on at once.
    pub(super) fn sweep_on(&mut self, now: Now, sockets: &dyn Sockets) -> bool {
        let is_over = |at_ms: Option<u64>| at_ms.is_some_and(|at_ms| at_ms <= now.wall_ms());
        let now_ns = now.mono.as_nanos() as u64;
        let has_ended = is_over(self.jobs.rules.next_expiry_ms())
            || is_over(self.jobs.leases.next_due_ms())
            || self.jobs.limits.next_wake_ns().is_some_and(|at_ns| at_ns <= now_ns)
            || self.jobs.limits.has_untold();
        if !has_ended && !self.house.sweeper.is_busy() && !self.jobs.has_asked() && !self.have_rules_changed() {
            return false;
        }
        self.jobs.limits.wake(now_ns);
        self.end_rules(now);
        self.see_rules(now);
        self.start_work(now);
        if self.house.sweeper.fetching.outstanding > 0 {
            self.serve_waiters(now, sockets);
            return false;
        }
        for (missing, fetched) in std::mem::take(&mut self.house.sweeper.fetching.arrived) {
            self.keys.install(&missing, fetched);
        }
        let put_back = self.put_back(now);
        let checked = self.check_queues(now);
        let sought = self.seek_on(now);
        let swept = self.sweep_queue(now);
        let tasked = self.step_task(now);
        let counted = self.count_on(now);
        let indexed = self.index_on(now);
        if self.house.sweeper.active.is_none() && self.house.sweeper.seeks.is_empty() {
            // What was asked for a list that is gone.
            self.house.sweeper.answers.clear();
        }
        self.serve_waiters(now, sockets);
        // Where more gates opened than a pop sees to at once, those who wait look again.
        let opened = self.jobs.limits.has_untold();
        opened || put_back || checked || sought || swept || tasked || counted || indexed
    }

    /// Takes what a thread has brought for a step.
    pub(super) fn step_loaded(&mut self, missing: Missing, fetched: Result<Option<Fetched>, String>) {
        let fetching = &mut self.house.sweeper.fetching;
        fetching.outstanding -= 1;
        match fetched {
            Ok(Some(fetched)) => fetching.arrived.push((missing, fetched)),
            Ok(None) => {}
            Err(reason) => error!(%reason, "stored data cannot be read"),
        }
    }

    pub(super) fn looked(&mut self, answer: Answer) {
        let Some(answer) = self.hear_index(answer) else { return };
        let sweeper = &mut self.house.sweeper;
        match sweeper.counts.iter_mut().find(|of| of.asked == Some(answer.token)) {
            Some(of) => {
                of.asked = None;
                of.count.hear(answer);
            }
            None => sweeper.answers.push_back(answer),
        }
    }

    /// Ends rules whose time is over.
    fn end_rules(&mut self, now: Now) {
        while self.jobs.rules.next_expiry_ms().is_some_and(|at_ms| at_ms <= now.wall_ms()) {
            match self.with_context(now, 0, end_expired) {
                Ok(true) => {}
                Ok(false) => break,
                Err(Stop::Fetch(missing)) => {
                    self.fetch_for_step(missing);
                    break;
                }
                Err(_) => break,
            }
        }
    }

    /// Puts jobs whose leases are over into their queues again, and those that are due; tells whether there are more.
    fn put_back(&mut self, now: Now) -> bool {
        for _ in 0..PUT_BACK_A_TURN {
            if self.jobs.leases.next_due_ms().is_none_or(|at_ms| at_ms > now.wall_ms()) {
                return false;
            }
            match self.with_context(now, 0, put_back_due) {
                Ok(_) => {}
                Err(Stop::Fetch(missing)) => {
                    self.fetch_for_step(missing);
                    return false;
                }
                Err(stop) => {
                    error!(?stop, "a job cannot be put back");
                    return false;
                }
            }
        }
        true
    }

    /// Notices that rules have changed: queues are checked anew, and who waits looks again.
    fn see_rules(&mut self, now: Now) {
        let sweeper = &mut self.house.sweeper;
        if sweeper.timed_at.is_some_and(|at| at <= now.mono) {
            sweeper.timed_at = None;
            sweeper.checking = Some(1);
        }
        if !self.have_rules_changed() {
            return;
        }
        self.paused_seen = serve::besides_changes(&self.keys, &self.house.settings);
        let sweeper = &mut self.house.sweeper;
        sweeper.seen_version = self.jobs.rules.version();
        sweeper.checking = Some(1);
        for (database, key) in self.house.waiters.keys() {
            self.keys.note_growth = true;
            self.keys.note_eligible(database, &key);
        }
    }

    fn have_rules_changed(&self) -> bool {
        let changes = serve::besides_changes(&self.keys, &self.house.settings);
        self.house.sweeper.seen_version != self.jobs.rules.version() || self.paused_seen != changes
    }

    fn start_work(&mut self, now: Now) {
        for shared in self.jobs.take_retired() {
            self.house.background.free(shared.lanes);
        }
        if self.jobs.has_retired_runs() {
            self.house.background.free(self.jobs.take_retired_runs());
        }
        for work in self.jobs.take_work() {
            self.house.sweeper.tasks.push_back(Task::new(work, now.wall_ms()));
            self.house.sweeper.task_later_ms = 0;
        }
    }

    fn fetch_for_step(&mut self, missing: Vec<Missing>) {
        for missing in missing {
            self.house.sweeper.fetching.outstanding += 1;
            let row = if self.keys.is_alive(&missing) { row_of(&self.keys, &missing) } else { None };
            self.house.background.load(Load { missing, row, token: STEP_TOKEN });
        }
    }

    /// Finds queues that have something to take out; tells whether there are more to check.
    fn check_queues(&mut self, now: Now) -> bool {
        for id in self.jobs.take_sweeps() {
            self.check_queue(now, id);
        }
        let Some(first) = self.house.sweeper.checking else { return false };
        let end = self.keys.queues.end() as u32;
        let last = first.saturating_add(CHECKS_A_TURN).min(end);
        for id in first..last {
            self.check_queue(now, id);
        }
        self.house.sweeper.checking = (last < end).then_some(last);
        last < end
    }

    fn check_queue(&mut self, now: Now, id: QueueId) {
        let Some(queue) = self.keys.queues.get(id) else { return };
        let version = self.jobs.rules.version();
        let is_active = |active: &Sweep| active.queue == id && active.rules.version == version;
        if self.house.sweeper.active.as_ref().is_some_and(is_active) {
            return;
        }
        let (database, key) = (queue.database, queue.key.clone());
        let wanted = self.with_context(now, database, |context| {
            let slot = context.keys.find_kind(&key, Kind::List).ok()??;
            let (id, rules) = serve::rules_of(context, slot)?;
            let clean = context.jobs.state(id).is_some_and(|state| state.clean >= rules.epoch);
            if rules.has_lanes() {
                share::prepare(context, (slot, id), &rules);
            }
            Some((rules.takes() && (rules.timed || !clean), rules.timed))
        });
        if let Some((true, timed)) = wanted {
            if timed {
                self.house.sweeper.timed_at.get_or_insert(now.mono + TIMED_EVERY);
            }
            if !self.house.sweeper.waiting.contains(&id) {
                self.house.sweeper.waiting.push_back(id);
            }
        }
    }

    // ---- sweeping one queue -------------------------------------------------------------------------------------

    fn sweep_queue(&mut self, now: Now) -> bool {
        if self.house.sweeper.active.is_none() && !self.begin_sweep(now) {
            return !self.house.sweeper.waiting.is_empty();
        }
        self.hear_answers();
        let Some(mut active) = self.house.sweeper.active.take() else { return true };
        let same =
            self.keys.is_list(active.slot, active.object) && self.keys.list(active.slot).rewrites() == active.rewrites;
        if !same {
            // Written anew or gone: what was found no longer says where jobs are. It is checked again.
            if self.keys.queues.get(active.queue).is_some() {
                self.house.sweeper.waiting.push_back(active.queue);
            }
            return true;
        }
        let asked = self.ask(now, &mut active);
        let took = self.take_seen(now, &mut active);
        if active.over && active.asked.is_empty() && active.seen.is_empty() {
            let (id, epoch) = (active.queue, active.rules.epoch);
            if active.left_some {
                // Pops pass over what is for a rule, and have the queue swept again when they meet some.
                return true;
            }
            let noted = self.with_context(now, active.database, |context| {
                active.rules.all_taking().iter().try_for_each(|taking| {
                    match sweep::was_swept(context, taking, &active.rules.key) {
                        true => Ok(()),
                        false => {
                            sweep::note_swept(context, &taking.name, (taking.number, taking.made_ms), &active.rules.key)
                        }
                    }
                })
            });
            if let Err(stop) = noted {
                error!(?stop, "that a queue was swept cannot be noted");
            }
            if let Some(state) = self.jobs.state(id)
                && state.knows(active.object, active.rewrites)
            {
                match state.unlooked == active.unlooked {
                    true => state.clean = state.clean.max(epoch),
                    // Some jobs came where it had been already.
                    false => self.house.sweeper.waiting.push_back(id),
                }
            }
            info!(queue = %String::from_utf8_lossy(&active.rules.key), database = active.database, "swept a queue");
            return true;
        }
        self.house.sweeper.active = Some(active);
        asked || took
    }

    /// Takes the next queue that waits; tells whether one is swept now.
    fn begin_sweep(&mut self, now: Now) -> bool {
        let Some(id) = self.house.sweeper.waiting.pop_front() else { return false };
        let Some(queue) = self.keys.queues.get(id) else { return false };
        let (database, key) = (queue.database, queue.key.clone());
        let begun = self.with_context(now, database, |context| {
            let slot = context.keys.find_kind(&key, Kind::List).ok()??;
            let (_, rules) = serve::rules_of(context, slot)?;
            if !rules.takes() {
                return None;
            }
            let list = context.keys.list(slot);
            let (rewrites, length, object) = (list.rewrites(), list.len(), context.keys.object(slot).id);
            // What was there before a rule goes before what it has caught since.
            let first = rules.all_taking().iter().any(|taking| !sweep::was_swept(context, taking, &key));
            let pop_end = match list_end(context, slot) {
                Some(item) => serve::pop_end(context, slot, &item),
                None => serve::pop_end(context, slot, b""),
            };
            let (from, put) = if first { (pop_end.other(), Side::Left) } else { (pop_end, Side::Right) };
            let sweep = Sweep {
                queue: id,
                database,
                slot,
                object,
                rewrites,
                rules,
                from,
                put,
                cursor: None,
                unlooked: context.jobs.state(id).map_or(0, |state| state.unlooked),
                over: false,
                left_some: false,
                asked: VecDeque::new(),
                seen: VecDeque::new(),
            };
            Some((sweep, length))
        });
        let Some((sweep, length)) = begun else { return false };
        for taking in sweep.rules.all_taking() {
            self.house.sweeper.totals.entry((database, taking.number)).or_default().of += length;
        }
        self.house.sweeper.active = Some(sweep);
        true
    }

    /// Asks the thread about the next chunks; tells whether it could ask for more.
    fn ask(&mut self, now: Now, active: &mut Sweep) -> bool {
        if active.over || active.asked.len() + active.seen.len() / PIECES_MAX >= QUESTIONS_AHEAD {
            return false;
        }
        let (mut pieces, mut checked, mut bytes) = (Vec::new(), Vec::new(), 0);
        let (mut swept, mut skipped, mut visited) = (0, 0, 0);
        active.over = true;
        for chunk in self.keys.list(active.slot).chunks_from(active.from, active.cursor) {
            if visited == SKIPS_A_TURN || pieces.len() == PIECES_MAX || bytes > PIECES_BYTES_MAX {
                active.over = false;
                break;
            }
            visited += 1;
            active.cursor = Some(chunk.last());
            swept += chunk.live();
            if !active.rules.timed && chunk.checked() >= active.rules.epoch {
                continue;
            }
            if chunk.summary().is_some_and(|summary| active.rules.takes_none_of(summary)) {
                skipped += chunk.live();
                checked.push(chunk.base());
                continue;
            }
            bytes += chunk.data_bytes();
            pieces.push(chunk.piece());
        }
        self.mark_checked(active, &checked);
        for taking in active.rules.all_taking() {
            let totals = self.house.sweeper.totals.entry((active.database, taking.number)).or_default();
            totals.swept += swept;
            totals.skipped += skipped;
        }
        if !pieces.is_empty() {
            let token = self.question(now, active.object, &active.rules, active.from, pieces, Want::Taken);
            active.asked.push_back(token);
        }
        !active.over
    }

    pub(super) fn question(
        &mut self,
        now: Now,
        object: ObjectId,
        rules: &Arc<QueueRules>,
        from: Side,
        pieces: Vec<crate::keyspace::Piece>,
        want: Want,
    ) -> u64 {
        self.house.sweeper.next_token += 1;
        let token = self.house.sweeper.next_token;
        let question = Question { token, object, rules: rules.clone(), now_ms: now.wall_ms(), from, pieces, want };
        self.house.background.look(question);
        token
    }

    /// Gives answers to who has asked.
    fn hear_answers(&mut self) {
        let sweeper = &mut self.house.sweeper;
        let mut left = VecDeque::new();
        for answer in sweeper.answers.drain(..) {
            match &mut sweeper.active {
                Some(active) if active.asked.front() == Some(&answer.token) => {
                    active.asked.pop_front();
                    if let Some(reason) = answer.failed {
                        active.left_some = true;
                        error!(%reason, "part of a queue cannot be read and is not swept");
                    }
                    active.seen.extend(answer.chunks);
                }
                // The thread answers in order: what is for no sweep is for a seek, or for nobody any more.
                _ => left.push_back(answer),
            }
        }
        sweeper.answers = left;
    }

    /// Takes jobs out that were found; tells whether more can be taken at once.
    fn take_seen(&mut self, now: Now, active: &mut Sweep) -> bool {
        let (mut bytes, mut chunks) = (0, 0);
        while let Some(seen) = active.seen.pop_front() {
            let size: usize = seen.taken.iter().map(|(.., item)| item.len()).sum();
            let place = (active.slot, active.object);
            let outcome = self.with_context(now, active.database, |context| {
                sweep::take_out(context, place, &active.rules, &seen, active.put)
            });
            match outcome {
                Ok(count) => {
                    self.house.metrics.jobs_swept.add(count);
                    self.mark_checked(active, &[seen.base]);
                }
                Err(Stop::Fetch(missing)) => {
                    active.seen.push_front(seen);
                    self.fetch_for_step(missing);
                    return false;
                }
                Err(stop) => {
                    active.left_some = true;
                    error!(?stop, "jobs that a rule takes cannot be put away and stay in their queue");
                }
            }
            bytes += size;
            chunks += 1;
            if bytes >= TAKEN_BYTES_A_TURN || chunks == TAKEN_CHUNKS_A_TURN {
                break;
            }
        }
        !active.seen.is_empty()
    }

    /// Notes that chunks were looked at, unless jobs have come since that nobody has looked at: they may be in one of them.
    fn mark_checked(&mut self, active: &Sweep, bases: &[u64]) {
        let is_whole = self.jobs.state(active.queue).is_some_and(|state| state.unlooked == active.unlooked);
        if is_whole {
            self.keys.mark_checked(active.slot, active.object, bases, active.rules.epoch);
        }
    }

    // ---- finding the first job that may go ----------------------------------------------------------------------

    fn seek_on(&mut self, now: Now) -> bool {
        for (queue, side) in self.jobs.take_seeks() {
            let side = if side == serve::index_of(Side::Left) { Side::Left } else { Side::Right };
            self.house.sweeper.seeks.push(Seek { queue, side, asked: None });
        }
        if self.house.sweeper.seeks.is_empty() {
            return false;
        }
        let answers = std::mem::take(&mut self.house.sweeper.answers);
        let mut goes_on = false;
        let mut open = Vec::new();
        let mut answers: Vec<Answer> = answers.into();
        for mut seek in std::mem::take(&mut self.house.sweeper.seeks) {
            if let Some(asked) = &seek.asked {
                let Some(at) = answers.iter().position(|answer| answer.token == asked.token) else {
                    open.push(seek);
                    continue;
                };
                let answer = answers.swap_remove(at);
                if self.hear_seek(&seek, asked, &answer) {
                    continue;
                }
                seek.asked = None;
            }
            match self.ask_seek(now, &seek) {
                Sought::Asked(asked) => {
                    seek.asked = Some(asked);
                    open.push(seek);
                }
                Sought::More => {
                    goes_on = true;
                    open.push(seek);
                }
                Sought::Over => {
                    if let Some(state) = self.jobs.state(seek.queue) {
                        state.seeking[serve::index_of(seek.side)] = false;
                    }
                }
            }
        }
        // What is for nobody any more goes; what is for the sweep waits for its turn.
        let active = self.house.sweeper.active.as_ref();
        answers.retain(|answer| active.is_some_and(|active| active.asked.contains(&answer.token)));
        answers.sort_by_key(|answer| answer.token);
        self.house.sweeper.answers = answers.into();
        self.house.sweeper.seeks = open;
        goes_on
    }

    /// Takes an answer; tells whether the seek is over.
    fn hear_seek(&mut self, seek: &Seek, asked: &Asked, answer: &Answer) -> bool {
        let side = serve::index_of(seek.side);
        let Some(state) = self.jobs.state(seek.queue) else { return true };
        let same = state.rules.as_ref().is_some_and(|rules| Arc::ptr_eq(rules, &asked.rules));
        if !same || !state.knows(asked.object, asked.rewrites) {
            state.seeking[side] = false;
            return true;
        }
        let inner = if answer.first.is_some() { answer.held_to } else { Some(asked.last) };
        if let Some(inner) = inner {
            let outer = state.held[side].map_or(inner, |held| held.outer);
            state.held[side] = Some(crate::sched::Held { outer, inner });
        }
        if answer.first.is_none() && answer.failed.is_none() {
            return false;
        }
        state.seeking[side] = false;
        if let Some(queue) = self.keys.queues.get(seek.queue) {
            let (database, key) = (queue.database, queue.key.clone());
            self.keys.note_growth = self.house.waiters.len() > 0;
            self.keys.note_eligible(database, &key);
        }
        true
    }

    fn ask_seek(&mut self, now: Now, seek: &Seek) -> Sought {
        let Some(queue) = self.keys.queues.get(seek.queue) else { return Sought::Over };
        let (database, key) = (queue.database, queue.key.clone());
        let found = self.with_context(now, database, |context| {
            let slot = context.keys.find_kind(&key, Kind::List).ok()??;
            let (id, rules) = serve::rules_of(context, slot).filter(|(_, rules)| rules.paused.is_none())?;
            let side = serve::index_of(seek.side);
            let held = context.jobs.state(id)?.held[side];
            let list = context.keys.list(slot);
            let (object, rewrites) = (context.keys.object(slot).id, list.rewrites());
            let (mut pieces, mut bytes, mut visited) = (Vec::new(), 0, 0);
            let mut held_now = held;
            let mut last = None;
            for chunk in list.chunks_from(seek.side, held.map(|held| held.inner)) {
                if visited == SKIPS_A_TURN || pieces.len() == PIECES_MAX || bytes > PIECES_BYTES_MAX {
                    break;
                }
                visited += 1;
                let checked = !rules.timed && chunk.checked() >= rules.epoch;
                let is_held = chunk.summary().is_some_and(|summary| rules.none_may_go(summary, checked));
                if is_held && pieces.is_empty() {
                    let outer = held_now.map_or(list.end_ordinal(seek.side), |held| held.outer);
                    held_now = Some(crate::sched::Held { outer, inner: chunk.last() });
                    continue;
                }
                last = Some(chunk.last());
                if !is_held {
                    bytes += chunk.data_bytes();
                    pieces.push(chunk.piece());
                }
            }
            context.jobs.state(id)?.held[side] = held_now;
            Some((rules, object, rewrites, pieces, last, visited))
        });
        let Some((rules, object, rewrites, pieces, last, visited)) = found else { return Sought::Over };
        let Some(last) = last else { return if visited == 0 { Sought::Over } else { Sought::More } };
        let token = self.question(now, object, &rules, seek.side, pieces, Want::First);
        Sought::Asked(Asked { token, rules, object, rewrites, last })
    }

    // ---- counting -----------------------------------------------------------------------------------------------

    /// Goes on with a count; tells whether it could go on at once.
    fn count_on(&mut self, now: Now) -> bool {
        let mut counts = std::mem::take(&mut self.house.sweeper.counts);
        let mut goes_on = false;
        if let Some(of) = counts.iter_mut().find(|of| !of.count.is_over()).filter(|of| of.asked.is_none()) {
            match self.with_context(now, of.count.database, |context| of.count.next(context.keys)) {
                count::Next::Look(object, rules, pieces) => {
                    of.asked = Some(self.question(now, object, &rules, Side::Left, pieces, Want::Counted));
                }
                count::Next::More => goes_on = true,
                count::Next::Over => {
                    info!(rule = %of.count.rule.name, database = of.count.database, "counted what a rule would match");
                }
            }
        }
        self.house.sweeper.counts = counts;
        goes_on
    }

    // ---- what commands have asked for ---------------------------------------------------------------------------

    fn step_task(&mut self, now: Now) -> bool {
        if self.house.sweeper.task_later_ms > now.wall_ms() {
            return false;
        }
        let Some(mut task) = self.house.sweeper.tasks.pop_front() else { return false };
        self.house.sweeper.task_later_ms = 0;
        let database = task.work.database();
        match self.with_context(now, database, |context| task.step(context)) {
            Ok(Progress::More) => {
                self.house.sweeper.tasks.push_front(task);
                true
            }
            Ok(Progress::Later(at_ms)) => {
                self.house.sweeper.task_later_ms = at_ms;
                self.house.sweeper.tasks.push_back(task);
                false
            }
            Ok(Progress::Done) => {
                info!(work = ?task.work, "done");
                !self.house.sweeper.tasks.is_empty()
            }
            Err(Stop::Fetch(missing)) => {
                self.house.sweeper.tasks.push_front(task);
                self.fetch_for_step(missing);
                false
            }
            Err(stop) => {
                error!(?stop, work = ?task.work, "given up");
                true
            }
        }
    }
}

enum Sought {
    Asked(Asked),
    More,
    Over,
}

/// The item at an end of a list, if it is in memory.
fn list_end(context: &Context, slot: Slot) -> Option<Vec<u8>> {
    context.keys.list(slot).end(Side::Right).ok().map(<[u8]>::to_vec)
}
