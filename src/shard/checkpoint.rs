//! When the store is brought up to date: spills when memory is short, checkpoints when the log is long or nothing happens.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Now;
use crate::keyspace::{Save, Spill};
use crate::log::Lsn;

use super::Shard;
use super::background::{Job, Load};

/// After so long without a write what is dirty goes to the store, so that a start has nothing to replay.
const IDLE_BEFORE_CHECKPOINT: Duration = Duration::from_secs(2);
/// Bytes of rows and chunks in one batch: a batch is one sync, and its rows are made in one turn.
const SAVE_BYTES_MAX: usize = 8 << 20;

/// While memory is only a little too full, so many frames lie between two checkpoints: each writes every value in use whole.
const FRAMES_BETWEEN_CROWDED: u64 = 4096;

/// About so many frames of a log are noted to tell how much of it is left: fine enough for when to begin a checkpoint.
const MARKS: u64 = 64;

/// Where the checkpoints stand.
#[derive(Debug, Default)]
pub struct Checkpoints {
    /// Everything up to this frame is on its way to the store; none is under way if it is 0.
    target: Lsn,
    /// A batch is under way.
    saving: bool,
    /// The batch waits until the log can prove all that it says.
    waiting: Option<Save>,
    /// The last frame when it was looked at last, and since when it has been that one.
    seen: Lsn,
    quiet_since: Duration,
    frames_at_last: Lsn,
    dead: Vec<u64>,
    pub(super) replay: Replay,
}

/// How much a start would have to replay. It would begin at some frame, and it is noted only for a few of them how many
/// effects there had been: what is told is never too little, and too much by what lies between two of them.
#[derive(Debug, Default)]
pub struct Replay {
    /// Frames with the number of effects up to them, oldest first.
    marks: VecDeque<(Lsn, u64)>,
    /// Effects that the log no longer has, or the store has too.
    done: u64,
}

impl Replay {
    /// How many effects are left, of all that there have been.
    pub(super) fn effects(&self, all: u64) -> u64 {
        all - self.done
    }

    /// Notes a frame, if there have been so many effects since the one before.
    fn mark(&mut self, lsn: Lsn, all: u64, every: u64) {
        let before = self.marks.back().map_or(self.done, |(_, effects)| *effects);
        if all - before >= every.max(1) {
            self.marks.push_back((lsn, all));
        }
    }

    /// Frames below this one are no longer needed.
    fn trim(&mut self, below: Lsn) {
        while let Some((_, effects)) = self.marks.pop_front_if(|(lsn, _)| *lsn < below) {
            self.done = effects;
        }
    }
}

impl Shard {
    /// Lets memory go that is over the budget: what the store has at once, the rest by way of it.
    pub(super) fn let_go(&mut self) {
        if let Some(spill) = self.keys.relieve() {
            self.submit_spill(spill);
        }
        for missing in self.keys.take_prefetch() {
            self.house.metrics.prefetches.count();
            self.house.background.load(Load { missing, row: None, token: 0 });
        }
        let dead = self.keys.take_dead_batches();
        self.checkpoints.dead.extend(dead);
        // A walk reads from references that may have died since it began.
        if !self.checkpoints.dead.is_empty() && self.house.walking.is_empty() {
            let batches = std::mem::take(&mut self.checkpoints.dead);
            self.house.background.submit(Job::DropBatches(batches));
        }
    }

    /// Begins a checkpoint if it is time, and goes on with the one under way.
    pub(super) fn checkpoint(&mut self, now: Now) {
        let every = self.house.settings.limits.log_ops_max / MARKS;
        self.checkpoints.replay.mark(self.house.last_lsn, self.keys.counts.effects, every);
        if self.checkpoints.target == 0 && self.is_time(now) {
            self.checkpoints.target = self.house.last_lsn;
            self.checkpoints.frames_at_last = self.house.last_lsn;
        }
        self.submit_durable();
        if self.checkpoints.target == 0 || self.checkpoints.saving || self.stuck {
            return;
        }
        let (last, target) = (self.house.last_lsn, self.checkpoints.target);
        match self.keys.capture(last, target, SAVE_BYTES_MAX) {
            Some(mut save) => {
                // The chunks need no proof, and must not wait behind a sync of the log: pushes may wait for them.
                for spill in save.spills.drain(..) {
                    self.submit_spill(spill);
                }
                self.checkpoints.saving = true;
                self.checkpoints.waiting = Some(save);
                self.house.log().request_sync();
                self.submit_durable();
            }
            None => {
                self.checkpoints.target = 0;
                self.house.metrics.checkpoints.count();
            }
        }
    }

    /// Hands the waiting batch to the store once every frame that it speaks of is durable: what the store says must never
    /// be ahead of what the log can prove.
    fn submit_durable(&mut self) {
        let durable = self.house.log().durable();
        if let Some(save) = self.checkpoints.waiting.take_if(|save| save.lsn <= durable) {
            self.house.background.submit(Job::Save(save));
        }
    }

    fn submit_spill(&mut self, spill: Spill) {
        self.house.metrics.spills.count();
        self.house.metrics.spilled_bytes.add(spill.bytes as u64);
        self.house.background.submit(Job::Spill(spill));
    }

    /// A batch is in the store: what only it needed is given back.
    pub(super) fn saved(&mut self, save: Save) {
        self.keys.committed(save);
        self.checkpoints.saving = false;
        let needed = self.keys.replay_from();
        self.house.log().trim(needed);
        self.checkpoints.replay.mark(self.house.last_lsn, self.keys.counts.effects, 1);
        self.checkpoints.replay.trim(needed);
    }

    /// When nothing else happens, this is when a checkpoint may begin.
    pub(super) fn checkpoint_wakes_at(&self, now: Now) -> Option<Duration> {
        let waiting = self.checkpoints.frames_at_last != self.house.last_lsn && self.checkpoints.target == 0;
        waiting
            .then(|| (self.checkpoints.quiet_since + IDLE_BEFORE_CHECKPOINT).max(now.mono + Duration::from_millis(1)))
    }

    fn is_time(&mut self, now: Now) -> bool {
        let last = self.house.last_lsn;
        if self.checkpoints.seen != last {
            self.checkpoints.seen = last;
            self.checkpoints.quiet_since = now.mono;
        }
        if last == self.checkpoints.frames_at_last {
            return false;
        }
        let limits = &self.house.settings.limits;
        let every = limits.checkpoint_commands.unwrap_or(u64::MAX);
        let (bytes_max, ops_max) = (limits.log_bytes_max / 2, limits.log_ops_max / 2);
        let effects = self.checkpoints.replay.effects(self.keys.counts.effects);
        let log = self.house.log.as_ref().expect("the log is open until the shard ends");
        let idle = now.mono.saturating_sub(self.checkpoints.quiet_since) >= IDLE_BEFORE_CHECKPOINT;
        let since_last = last - self.checkpoints.frames_at_last;
        let memory = &self.keys.memory;
        let crowded = memory.objects_bytes() > memory.budget.objects_bytes
            && memory.spilling_bytes == 0
            && (memory.is_tight() || since_last >= FRAMES_BETWEEN_CROWDED);
        // The log may also be long because of one segment that is not full yet; then a checkpoint would gain nothing.
        idle || since_last >= every || effects > ops_max || log.bytes() > bytes_max || crowded
    }
}
