//! Makes what was appended durable: the sync thread, and the handle with which others wait for it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;

use super::disk::{begin_writeback, sync_data};
use super::tail::{Shared, Tail};
use super::{LogError, Lsn, SyncPolicy};

/// How often the sync thread looks under `everysec` while there is something unsynced. Ticks are counted instead of reading
/// the clock, so waking it early never delays a sync.
const TICK: Duration = Duration::from_millis(50);
/// A sync every second.
const TICKS_PER_SYNC: u32 = 20;
/// The kernel is told to begin writing in steps of this, so that a sync once a second finds little left to do.
const WRITEBACK_BYTES: u64 = 1 << 20;

/// Is called by the sync thread after each completed sync, and when the log fails.
pub type OnDurable = Arc<dyn Fn() + Send + Sync>;

/// Lets other threads ask for durability and wait for it.
#[derive(Clone)]
pub struct Durability {
    pub(super) shared: Arc<Shared>,
}

impl Durability {
    /// Returns the last LSN that a completed sync covers.
    pub fn durable(&self) -> Lsn {
        self.shared.durable()
    }

    /// Returns what ended the log's life, if something did.
    pub fn failed(&self) -> Option<String> {
        self.shared.failure().cloned()
    }

    /// Asks for a sync now, under any policy, without waiting for it.
    pub fn request_sync(&self) {
        self.shared.tail.lock().sync_requested = true;
        self.shared.sync_wanted.notify_one();
    }

    /// Asks for a sync and waits until everything up to `lsn`, which must have been appended, is durable.
    pub fn wait(&self, lsn: Lsn) -> Result<(), LogError> {
        let mut tail = self.shared.tail.lock();
        assert!(lsn <= tail.written, "waits for frame {lsn}, but {} was the last to be appended", tail.written);
        while self.durable() < lsn {
            self.shared.check()?;
            if tail.closed {
                return Err(LogError::Closed);
            }
            tail.sync_requested = true;
            self.shared.sync_wanted.notify_one();
            self.shared.durable_grew.wait(&mut tail);
        }
        Ok(())
    }
}

/// Syncs as the policy says until the log is stopped or fails.
pub(super) fn run(shared: &Shared) {
    let mut tail = shared.tail.lock();
    let mut ticks = 0;
    while !tail.stopping {
        let unsynced = tail.written > shared.durable();
        if unsynced && (tail.sync_requested || is_due(tail.policy, ticks)) {
            ticks = 0;
            let outcome = sync(shared, &mut tail);
            MutexGuard::unlocked(&mut tail, || tell(shared));
            if outcome.is_err() {
                return;
            }
            continue;
        }
        tail.sync_requested = false;
        if !unsynced || tail.policy != SyncPolicy::Everysec {
            ticks = 0;
            shared.sync_wanted.wait(&mut tail);
        } else if !begin_writing(&mut tail) && shared.sync_wanted.wait_for(&mut tail, TICK).timed_out() {
            ticks += 1;
        }
    }
}

fn is_due(policy: SyncPolicy, ticks: u32) -> bool {
    match policy {
        SyncPolicy::Always => true,
        SyncPolicy::Everysec => ticks >= TICKS_PER_SYNC,
        SyncPolicy::No => false,
    }
}

/// Syncs everything that has been written so far; lets go of the tail meanwhile, so appends go on.
pub(super) fn sync(shared: &Shared, tail: &mut MutexGuard<'_, Tail>) -> Result<(), LogError> {
    let covered = tail.written;
    tail.sync_requested = false;
    let mut segments = std::mem::take(&mut tail.unsynced);
    segments.push(Arc::clone(&tail.segment));
    let directory_unsynced = std::mem::take(&mut tail.directory_unsynced);
    let synced = MutexGuard::unlocked(tail, || -> io::Result<()> {
        segments.iter().try_for_each(|segment| sync_data(&segment.file))?;
        if directory_unsynced { shared.directory.sync() } else { Ok(()) }
    });
    if let Err(error) = synced {
        // The kernel may have dropped the pages that it could not write; a second sync that succeeds would prove nothing.
        return Err(shared.fail("syncing", &error, tail));
    }
    tail.synced_owed = Some(covered);
    if tail.written == covered {
        // Nobody is appending; if the Synced frame waited for the next append, damage meanwhile would pass for a tail.
        tail.write_owed_synced(shared)?;
    }
    shared.set_durable(covered, tail);
    Ok(())
}

fn tell(shared: &Shared) {
    let on_durable = shared.on_durable.lock().clone();
    if let Some(on_durable) = on_durable {
        on_durable();
    }
}

/// Tells the kernel to begin writing the whole steps that it was not told of; false if there are none.
fn begin_writing(tail: &mut MutexGuard<'_, Tail>) -> bool {
    let (from, to) = (tail.writeback_begun, tail.position - tail.position % WRITEBACK_BYTES);
    if from >= to {
        return false;
    }
    tail.writeback_begun = to;
    let segment = Arc::clone(&tail.segment);
    MutexGuard::unlocked(tail, || begin_writeback(&segment.file, from, to));
    true
}
