//! The end of the log, where frames are written: what the appender, the sync thread and the keeper share.
//!
//! One mutex guards the position. The appender holds it for its one write, the sync thread for moments; nobody holds it
//! through a sync or while a segment is being prepared.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};

use super::disk::Directory;
use super::error::is_no_space;
use super::frame::{FRAME_HEADER_BYTES, SYNCED_BYTES, synced_frame};
use super::segment::{self, HEADER_BYTES, SegmentHeader};
use super::sync::OnDurable;
use super::{LogError, Lsn, SyncPolicy};

/// Sizes of segments are whole pages.
const PAGE_BYTES: u64 = 4096;

pub(super) struct Shared {
    pub directory: Directory,
    pub segment_bytes: u64,
    pub salt_seed: u64,
    pub tail: Mutex<Tail>,
    pub sync_wanted: Condvar,
    pub keeper_wanted: Condvar,
    pub durable_grew: Condvar,
    pub on_durable: Mutex<Option<OnDurable>>,
    durable: AtomicU64,
    failure: OnceLock<String>,
}

pub(super) struct Tail {
    pub policy: SyncPolicy,
    pub segment: Arc<Segment>,
    pub position: u64,
    /// The last frame that was written to the kernel.
    pub written: Lsn,
    /// The last frame that is in the chain; less than `written` only after a repair, until the first append.
    pub last_in_chain: Lsn,
    /// A sync was completed that the log does not tell of yet.
    pub synced_owed: Option<Lsn>,
    /// Segments before the current one that the next sync has to include.
    pub unsynced: Vec<Arc<Segment>>,
    /// A segment was created whose name is not durable yet.
    pub directory_unsynced: bool,
    /// Up to where in the current segment the kernel was told to begin writing.
    pub writeback_begun: u64,
    /// Prepared segments by ascending number, all greater than the current one's.
    pub ready: Vec<Prepared>,
    /// Files that are not needed any more, for the keeper to recycle or delete.
    pub retired: Vec<Retired>,
    pub next_number: u64,
    pub sync_requested: bool,
    pub stopping: bool,
    pub closed: bool,
}

/// A segment in use.
pub(super) struct Segment {
    pub number: u64,
    pub path: PathBuf,
    pub file: File,
    pub bytes: u64,
    pub salt: u64,
}

/// A segment file that waits for its use.
pub(super) struct Prepared {
    pub number: u64,
    pub path: PathBuf,
    pub file: File,
    pub bytes: u64,
}

pub(super) struct Retired {
    pub path: PathBuf,
    pub bytes: u64,
}

impl Prepared {
    /// Writes the header that turns the file into the segment behind frame `follows`.
    pub fn begin(self, seed: u64, follows: Lsn, first: Lsn) -> Result<Segment, (Prepared, io::Error)> {
        let salt = segment::salt(seed, self.number);
        match (SegmentHeader { number: self.number, follows, first, salt }).write(&self.file) {
            Ok(()) => {
                let Prepared { number, path, file, bytes } = self;
                Ok(Segment { number, path, file, bytes, salt })
            }
            Err(error) => Err((self, error)),
        }
    }
}

impl Shared {
    pub fn new(directory: Directory, options: &super::Options, tail: Tail) -> Shared {
        Shared {
            directory,
            segment_bytes: options.segment_bytes,
            salt_seed: options.salt_seed,
            durable: AtomicU64::new(tail.written),
            tail: Mutex::new(tail),
            sync_wanted: Condvar::new(),
            keeper_wanted: Condvar::new(),
            durable_grew: Condvar::new(),
            on_durable: Mutex::new(None),
            failure: OnceLock::new(),
        }
    }

    pub fn durable(&self) -> Lsn {
        self.durable.load(Ordering::Acquire)
    }

    pub fn failure(&self) -> Option<&String> {
        self.failure.get()
    }

    /// Refuses when the log has failed.
    pub fn check(&self) -> Result<(), LogError> {
        match self.failure() {
            None => Ok(()),
            Some(failure) => Err(LogError::Failed(failure.clone())),
        }
    }

    /// Notes that everything up to `lsn` is durable; `_tail` shows that no waiter is between its look and its wait.
    pub fn set_durable(&self, lsn: Lsn, _tail: &mut Tail) {
        assert!(lsn >= self.durable(), "what was durable stays durable");
        self.durable.store(lsn, Ordering::Release);
        self.durable_grew.notify_all();
    }

    /// Notes the failure that ends the log's life; the first one is the one that counts.
    pub fn fail(&self, doing: &str, error: &io::Error, tail: &mut Tail) -> LogError {
        let failure = self.failure.get_or_init(|| {
            let path = tail.segment.path.display();
            tracing::error!(%path, %error, "the log failed while {doing}");
            format!("{doing} {path}: {error}")
        });
        self.durable_grew.notify_all();
        LogError::Failed(failure.clone())
    }
}

impl Tail {
    /// Begins at the start of a fresh segment behind `last_in_chain`, with everything before `next` durable.
    pub fn new(policy: SyncPolicy, segment: Segment, last_in_chain: Lsn, next: Lsn, retired: Vec<Retired>) -> Tail {
        Tail {
            policy,
            next_number: segment.number + 1,
            segment: Arc::new(segment),
            position: HEADER_BYTES,
            written: next - 1,
            last_in_chain,
            synced_owed: None,
            unsynced: Vec::new(),
            directory_unsynced: false,
            writeback_begun: 0,
            ready: Vec::new(),
            retired,
            sync_requested: false,
            stopping: false,
            closed: false,
        }
    }

    pub fn room_bytes(&self) -> u64 {
        self.segment.bytes.saturating_sub(self.position)
    }

    pub fn take_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Adds a prepared segment; gives it back if meanwhile its number has been passed.
    pub fn add_ready(&mut self, prepared: Prepared) -> Result<(), Prepared> {
        if prepared.number < self.segment.number {
            return Err(prepared);
        }
        self.ready.push(prepared);
        self.ready.sort_by_key(|prepared| prepared.number);
        Ok(())
    }

    /// Sees to it that a segment for a turn of `turn_bytes` is ready.
    pub fn make_ready(&mut self, shared: &Shared, turn_bytes: u64) -> Result<(), LogError> {
        let wanted = turn_bytes + HEADER_BYTES;
        if self.ready.iter().any(|prepared| prepared.bytes >= wanted) {
            return Ok(());
        }
        let bytes = shared.segment_bytes.max(wanted.next_multiple_of(PAGE_BYTES));
        let number = self.take_number();
        let path = shared.directory.path.join(segment::file_name(number));
        match shared.directory.create(&path, bytes) {
            Ok(file) => {
                self.directory_unsynced = true;
                self.ready.push(Prepared { number, path, file, bytes });
                Ok(())
            }
            Err(error) if is_no_space(&error) => Err(LogError::NoSpace),
            Err(error) => Err(shared.fail("creating the segment after", &error, self)),
        }
    }

    /// Goes on in a new segment that has room for a turn of `turn_bytes`.
    pub fn roll(&mut self, shared: &Shared, turn_bytes: u64) -> Result<(), LogError> {
        self.make_ready(shared, turn_bytes)?;
        let fits = |prepared: &Prepared| prepared.bytes >= turn_bytes + HEADER_BYTES;
        let index = self.ready.iter().position(fits).expect("one was made ready");
        let prepared = self.ready.remove(index);
        let segment = match prepared.begin(shared.salt_seed, self.last_in_chain, self.written + 1) {
            Ok(segment) => segment,
            Err((prepared, error)) => {
                self.ready.insert(index, prepared);
                return Err(if is_no_space(&error) {
                    LogError::NoSpace
                } else {
                    shared.fail("beginning the segment after", &error, self)
                });
            }
        };
        // Numbers only go up along the log, so those that were too small for this turn need new ones.
        let passed = self.ready.drain(..index).map(|passed| Retired { path: passed.path, bytes: passed.bytes });
        self.retired.extend(passed);
        self.unsynced.push(std::mem::replace(&mut self.segment, Arc::new(segment)));
        self.position = HEADER_BYTES;
        self.writeback_begun = 0;
        shared.keeper_wanted.notify_one();
        Ok(())
    }

    /// Writes the sealed frames of a turn, the last of which is `last`.
    pub fn write_turn(&mut self, shared: &Shared, bytes: &[u8], last: Lsn) -> Result<(), LogError> {
        self.write(shared, bytes)?;
        self.synced_owed = None;
        (self.written, self.last_in_chain) = (last, last);
        Ok(())
    }

    fn write(&mut self, shared: &Shared, bytes: &[u8]) -> Result<(), LogError> {
        assert!(bytes.len() as u64 <= self.room_bytes(), "a turn never spans segments");
        if let Err(error) = self.segment.file.write_all_at(bytes, self.position) {
            return Err(self.undo_write(shared, error));
        }
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Makes the start of a write that found no space unreadable, so that a turn that was refused cannot come back.
    fn undo_write(&mut self, shared: &Shared, error: io::Error) -> LogError {
        let blank = [0; FRAME_HEADER_BYTES];
        if is_no_space(&error) && self.segment.file.write_all_at(&blank, self.position).is_ok() {
            return LogError::NoSpace;
        }
        shared.fail("writing to", &error, self)
    }

    /// Writes at once, if there is room, the Synced frame that otherwise the next append would begin with.
    pub fn write_owed_synced(&mut self, shared: &Shared) -> Result<(), LogError> {
        let Some(lsn) = self.synced_owed.filter(|_| self.room_bytes() >= SYNCED_BYTES as u64) else { return Ok(()) };
        let frame = synced_frame(lsn, self.segment.salt);
        match self.write(shared, &frame) {
            Ok(()) => self.synced_owed = None,
            Err(LogError::NoSpace) => {}
            Err(failed) => return Err(failed),
        }
        Ok(())
    }
}
