//! The log as its owner sees it: opened with a replay, appended to a turn at a time, trimmed, closed.

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::disk::{Directory, open_for_writing, sync_data, write_zeros};
use super::error::OpenError;
use super::frame::{FrameBuffer, SYNCED_BYTES};
use super::recovery::{self, LiveSegment};
use super::segment::{self, HEADER_BYTES};
use super::sync::{self, Durability, OnDurable};
use super::tail::{Prepared, Retired, Segment, Shared, Tail};
use super::{LogError, Lsn, Opened, Options, SEGMENT_BYTES_MIN, SyncPolicy, Visit, keeper};

/// The size of the first segment of an empty directory, in bytes: small, so that it is prepared in no time, and large enough
/// to last until the keeper has made an ordinary one.
const FIRST_SEGMENT_BYTES: u64 = 4 << 20;

/// The write-ahead log. There is one appender; others wait for durability with [`Log::durability`].
pub struct Log {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// The salt of the current segment, known here so that frames are sealed before the tail is locked.
    salt: u64,
    next: Lsn,
    /// Oldest first; the last one is being written.
    live: VecDeque<LiveSegment>,
    closed_bytes: u64,
}

impl Log {
    /// Opens the log in `options.dir` and replays what is in it.
    ///
    /// `visit` is handed every frame after `options.replay_after` in order; `progress` is told the bytes done and in all,
    /// about every megabyte.
    pub fn open(
        options: &Options,
        visit: &mut Visit<'_>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Opened, OpenError> {
        assert!(options.segment_bytes >= SEGMENT_BYTES_MIN, "a segment has room for more than its header");
        let dir = &options.dir;
        let directory = Directory::open(dir).map_err(OpenError::disk("open", dir))?;
        if !directory.lock().map_err(OpenError::disk("lock", dir))? {
            return Err(OpenError::InUse { path: dir.clone() });
        }
        keeper::remove_unfinished(dir).map_err(OpenError::disk("remove an unfinished segment in", dir))?;
        let files = segment::list(dir)?;
        let number = files.last().map_or(0, |file| file.number) + 1;
        let mut replayed = recovery::replay(options, files, visit, progress)?;
        let segment = begin_after(options, &directory, number, &mut replayed)?;

        let mut live = replayed.live;
        let closed_bytes = live.iter().map(|segment| segment.used_bytes).sum();
        live.push_back(LiveSegment {
            path: segment.path.clone(),
            bytes: segment.bytes,
            follows: replayed.last,
            used_bytes: HEADER_BYTES,
        });
        let salt = segment.salt;
        let tail = Tail::new(options.policy, segment, replayed.last, replayed.next, replayed.unused);
        let shared = Arc::new(Shared::new(directory, options, tail));
        let threads = start_threads(&shared).map_err(OpenError::disk("start the threads for", dir))?;
        let log = Log { shared, threads, salt, next: replayed.next, live, closed_bytes };
        Ok(Opened { log, recovered: replayed.recovered })
    }

    /// Returns the number that the next appended frame will have.
    pub fn next_lsn(&self) -> Lsn {
        self.next
    }

    /// Makes the buffer that the turns fill; there is only one, since it numbers the frames.
    pub fn frame_buffer(&self) -> FrameBuffer {
        FrameBuffer::new(self.next)
    }

    /// Writes the frames of a turn to the kernel with one write, empties the buffer and returns the last LSN.
    ///
    /// They stand in one segment, in one of their own if they are more than an ordinary one holds. After
    /// [`LogError::NoSpace`] nothing is written and the buffer is as it was: see [`Log::has_room`].
    pub fn append(&mut self, buffer: &mut FrameBuffer) -> Result<Lsn, LogError> {
        if buffer.is_empty() {
            return Ok(self.next - 1);
        }
        assert_eq!(buffer.first_lsn(), self.next, "the frames of a turn go on where the log ends");
        buffer.seal(self.salt);
        let shared = &*self.shared;
        let mut tail = shared.tail.lock();
        shared.check()?;
        let turn_bytes = (buffer.len() + SYNCED_BYTES) as u64;
        if tail.room_bytes() < turn_bytes {
            let used_bytes = tail.position;
            tail.roll(shared, turn_bytes)?;
            self.salt = tail.segment.salt;
            note_roll(&mut self.live, used_bytes, &tail);
            self.closed_bytes += used_bytes;
            buffer.seal(self.salt);
        }
        let was_synced = tail.written == shared.durable();
        let last = buffer.next_lsn() - 1;
        let owed = tail.synced_owed;
        tail.write_turn(shared, buffer.sealed(owed, self.salt), last)?;
        let current = self.live.back_mut().expect("one segment is always being written");
        current.used_bytes = tail.position;
        let policy = tail.policy;
        drop(tail);
        if was_synced && policy != SyncPolicy::No {
            // Otherwise the sync thread is at work, and looks again before it rests.
            shared.sync_wanted.notify_one();
        }
        buffer.clear();
        self.next = last + 1;
        Ok(last)
    }

    /// Says whether a turn of so many bytes ([`FrameBuffer::len`]) can be appended, and sees to it if it can.
    ///
    /// Ask before commands run, while they can still be refused.
    pub fn has_room(&mut self, bytes: usize) -> bool {
        let turn_bytes = (bytes + SYNCED_BYTES) as u64;
        let mut tail = self.shared.tail.lock();
        tail.room_bytes() >= turn_bytes || tail.make_ready(&self.shared, turn_bytes).is_ok()
    }

    /// Returns the last LSN that a completed sync covers.
    pub fn durable(&self) -> Lsn {
        self.shared.durable()
    }

    /// Makes a handle for other threads to ask for durability and wait for it.
    pub fn durability(&self) -> Durability {
        Durability { shared: Arc::clone(&self.shared) }
    }

    /// Asks for a sync now, under any policy, without waiting for it.
    pub fn request_sync(&self) {
        self.durability().request_sync();
    }

    /// Changes when what is appended is made durable. It holds at once, also for what is unsynced already.
    pub fn set_policy(&self, policy: SyncPolicy) {
        self.shared.tail.lock().policy = policy;
        self.shared.sync_wanted.notify_one();
    }

    /// Sets what the sync thread calls after each completed sync, and when the log fails.
    pub fn set_on_durable(&self, on_durable: OnDurable) {
        *self.shared.on_durable.lock() = Some(on_durable);
    }

    /// Returns what ended the log's life, if something did: nothing can be appended any more.
    pub fn failed(&self) -> Option<String> {
        self.shared.failure().cloned()
    }

    /// Counts the bytes that a start would have to read, in whole segments.
    pub fn bytes(&self) -> u64 {
        self.closed_bytes + self.live.back().map_or(0, |current| current.used_bytes)
    }

    /// Gives back the segments that hold only frames below `below`, which the store must hold durably by now.
    pub fn trim(&mut self, below: Lsn) {
        let mut retired = Vec::new();
        while self.live.len() > 1 && self.live[1].follows < below {
            let segment = self.live.pop_front().expect("there are at least two");
            self.closed_bytes -= segment.used_bytes;
            retired.push(Retired { path: segment.path, bytes: segment.bytes });
        }
        if !retired.is_empty() {
            self.shared.tail.lock().retired.extend(retired);
            self.shared.keeper_wanted.notify_one();
        }
    }

    /// Syncs everything and stops the threads.
    pub fn close(mut self) -> Result<(), LogError> {
        self.stop_threads();
        let shared = &*self.shared;
        shared.check()?;
        let mut tail = shared.tail.lock();
        sync::sync(shared, &mut tail)?;
        // The Synced frame is made durable too, so that after a clean stop nothing can pass for a tail.
        sync_data(&tail.segment.file).map_err(|error| shared.fail("syncing", &error, &mut tail))
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    fn stop_threads(&mut self) {
        self.shared.tail.lock().stopping = true;
        self.shared.sync_wanted.notify_one();
        self.shared.keeper_wanted.notify_one();
        for thread in self.threads.drain(..) {
            thread.join().expect("the log's threads do not panic");
        }
    }
}

/// Stops the threads and leaves what is not synced to the kernel, as a crash of the process would.
impl Drop for Log {
    fn drop(&mut self) {
        self.stop_threads();
        self.shared.tail.lock().closed = true;
        self.shared.durable_grew.notify_all();
        // Handles of others may outlive the log and must not keep it from being opened again.
        self.shared.directory.unlock();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Log")
            .field("next", &self.next)
            .field("durable", &self.durable())
            .finish_non_exhaustive()
    }
}

fn note_roll(live: &mut VecDeque<LiveSegment>, used_bytes: u64, tail: &Tail) {
    live.back_mut().expect("one segment is always being written").used_bytes = used_bytes;
    live.push_back(LiveSegment {
        path: tail.segment.path.clone(),
        bytes: tail.segment.bytes,
        follows: tail.last_in_chain,
        used_bytes: HEADER_BYTES,
    });
}

/// Begins a new segment behind what was replayed and makes it durable, with everything before it.
fn begin_after(
    options: &Options,
    directory: &Directory,
    number: u64,
    replayed: &mut recovery::Replayed,
) -> Result<Segment, OpenError> {
    // IMPORTANT: what was read may only be in the kernel's memory. It must be on disk before the first Synced frame claims
    // that it is, and the new segment's header before anything behind a cut can be taken for the log again.
    for segment in &replayed.live {
        let synced = open_for_writing(&segment.path).and_then(|file| sync_data(&file));
        synced.map_err(OpenError::disk("sync", &segment.path))?;
    }
    let path = options.dir.join(segment::file_name(number));
    let failed = || OpenError::disk("prepare", &path);
    let spare = replayed.unused.iter().position(|file| file.bytes == options.segment_bytes);
    let (file, bytes) = match spare {
        Some(index) => {
            let spare = replayed.unused.swap_remove(index);
            fs::rename(&spare.path, &path).map_err(failed())?;
            (open_for_writing(&path).map_err(failed())?, spare.bytes)
        }
        None => {
            let bytes = FIRST_SEGMENT_BYTES.min(options.segment_bytes);
            let file = directory.create(&path, bytes).map_err(failed())?;
            write_zeros(&file, bytes, || true).map_err(failed())?;
            (file, bytes)
        }
    };
    let prepared = Prepared { number, path: path.clone(), file, bytes };
    let begun = prepared.begin(options.salt_seed, replayed.last, replayed.next);
    let segment = begun.map_err(|(_, error)| failed()(error))?;
    sync_data(&segment.file).map_err(failed())?;
    directory.sync().map_err(failed())?;
    Ok(segment)
}

fn start_threads(shared: &Arc<Shared>) -> std::io::Result<Vec<JoinHandle<()>>> {
    let syncing = Arc::clone(shared);
    let keeping = Arc::clone(shared);
    Ok(vec![
        thread::Builder::new().name("log-sync".into()).spawn(move || sync::run(&syncing))?,
        thread::Builder::new().name("log-keeper".into()).spawn(move || keeper::run(&keeping))?,
    ])
}
