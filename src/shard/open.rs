//! From a data directory to a shard: the rows of the store, then the frames of the log.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tracing::{info, warn};

use crate::clock::Clock;
use crate::command::job::{load_leases, load_rules, load_work};
use crate::job::Queues as QueueNames;
use crate::keyspace::layout::{Corrupt, SYS_QUEUE_PREFIX, SYS_STATE_KEY};
use crate::keyspace::recovery::{Fetched, Recovery};
use crate::keyspace::{Budget, Keyspace, Missing, Sizes};
use crate::log::{self, Log, Opened, SyncPolicy};
use crate::metrics::Metrics;
use crate::sched::Scheduler;
use crate::session::{Peer, Session};
use crate::settings::{AppendFsync, MemoryShare, Settings};
use crate::store::{FjallStore, Space, Store};

use super::background::{self, Background};
use super::checkpoint::Checkpoints;
use super::house::{House, row_of};
use super::progress::Progress;
use super::{Shard, waiters};

/// After so many rows it is looked whether it is time to say how far the recovery is.
const ROWS_A_LOOK: u64 = 1024;
/// A prefetch window is this part of the share at the most, so that several queues have one.
const PREFETCH_PARTS: u64 = 4;
const PREFETCH_BYTES_MAX: u64 = 2 << 20;

impl Shard {
    /// Opens the data directory of the settings, recovers what is in it, and starts the threads. Nothing may listen before.
    pub fn open(settings: Settings, clock: Clock, metrics: Arc<Metrics>) -> anyhow::Result<Shard> {
        let began = clock.now();
        let mut random = StdRng::seed_from_u64(began.wall_us ^ u64::from(std::process::id()) << 32);
        let directory = settings.dir.clone();
        let store = FjallStore::open(&directory.join("store"), settings.share_bytes(MemoryShare::Cache))
            .with_context(|| format!("cannot open the store in {}", directory.display()))?;
        let store: Arc<dyn Store> = Arc::new(store);
        let mut keys = Keyspace::new(settings.databases as usize, sizes(&settings), budget(&settings));
        keys.queues.names = QueueNames::parse(&settings.job_queues.join(" "), &settings.job_working_lists.join(" "));
        keys.begin_turn(0);
        let mut recovery = Recovery::default();
        let mut progress = Progress::begin(clock.now().mono);
        load_rows(&*store, &mut keys, &mut recovery, &mut |keys, chunks| {
            if let Some(rate) = progress.rate(clock.now().mono, keys + chunks) {
                info!(keys, chunks, rows_per_s = rate as u64, "reading the store's rows");
            }
        })?;
        // Before the replay, which ingests batches of its own.
        drop_orphans(&*store, &mut keys)?;
        info!(keys = recovery.keys, chunks = recovery.chunks, "read the store's rows");
        let log = replay(&settings, &*store, &mut keys, &mut recovery, clock, random.random())?;
        metrics.replayed_ops.add(keys.counts.effects);
        recovery.finish(&mut keys);
        bring_in_own(&*store, &mut keys)?;
        let last_lsn = log.next_lsn() - 1;
        let buffer = log.frame_buffer();
        let free = free_bytes_of(directory.clone());
        let background = Background::start(store.clone(), free);
        let took_ms = (clock.now().mono - began.mono).as_millis() as u64;
        info!(dir = %directory.display(), took_ms, memory_bytes = keys.memory.objects_bytes(), disk_bytes = store.disk_bytes() + log.bytes(), "ready");
        let run_id =
            format!("{:016x}{:016x}{:08x}", random.random::<u64>(), random.random::<u64>(), random.random::<u32>());
        let config_file = settings.config_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let house = House {
            settings,
            reconfigured: false,
            on_settings: None,
            metrics,
            clients: Default::default(),
            queue: Default::default(),
            touched: Vec::new(),
            gated: Default::default(),
            held: Default::default(),
            walking: Default::default(),
            sweeper: Default::default(),
            waiters: waiters::Waiters::default(),
            pubsub: Default::default(),
            engine: None,
            log: Some(log),
            buffer,
            background,
            early: Default::default(),
            next_token: 0,
            free: Vec::new(),
            last_lsn,
            stopping: false,
            clock,
            started: clock.now().mono,
            script_began: None,
            identity: super::info::Identity::read(run_id, config_file),
        };
        let own_session = Session::new(0, Peer { address: "millpond".to_owned(), ..Peer::default() }, clock.now().mono);
        let mut shard = Shard {
            keys,
            jobs: Scheduler::default(),
            house,
            own_session,
            paused_seen: 0,
            random,
            fetching: Default::default(),
            shared_loads: Default::default(),
            checkpoints: Checkpoints::default(),
            stuck: false,
            exit: None,
            requests_run: 0,
            now: clock.now(),
            page_due: Duration::ZERO,
            page_lsn: 0,
        };
        shard.jobs.rules = shard.with_context(clock.now(), 0, load_rules);
        shard.with_context(clock.now(), 0, load_work);
        shard.with_context(clock.now(), 0, load_leases);
        Ok(shard)
    }

    /// Does with the data what CONFIG SET has changed. The store's cache keeps the share that it was opened with.
    pub(super) fn adopt_settings(&mut self) {
        self.keys.sizes = sizes(&self.house.settings);
        self.keys.memory.budget = budget(&self.house.settings);
        let policy = sync_policy(&self.house.settings);
        self.house.log().set_policy(policy);
    }
}

fn sync_policy(settings: &Settings) -> SyncPolicy {
    match settings.appendfsync {
        AppendFsync::Always => SyncPolicy::Always,
        AppendFsync::Everysec => SyncPolicy::Everysec,
        AppendFsync::No => SyncPolicy::No,
    }
}

fn sizes(settings: &Settings) -> Sizes {
    let prefetch = settings.share_bytes(MemoryShare::Prefetch) / PREFETCH_PARTS;
    Sizes {
        chunk_bytes: settings.limits.chunk_bytes,
        inline_bytes_max: settings.limits.inline_bytes_max,
        piece_bytes: settings.limits.piece_bytes,
        prefetch_bytes: prefetch.min(PREFETCH_BYTES_MAX) as usize,
    }
}

fn budget(settings: &Settings) -> Budget {
    Budget {
        objects_bytes: settings.share_bytes(MemoryShare::Objects) as usize,
        spills_bytes: settings.share_bytes(MemoryShare::Spills) as usize,
        batch_bytes: settings.spill_batch_bytes() as usize,
        evict_all: settings.limits.evict_clean_every_turn,
    }
}

/// Reads the rows of all keys and chunks; says now and then how many it has read.
fn load_rows(
    store: &dyn Store,
    keys: &mut Keyspace,
    recovery: &mut Recovery,
    tell: &mut dyn FnMut(u64, u64),
) -> anyhow::Result<()> {
    if let Some(state) = store.get(Space::Sys, SYS_STATE_KEY)? {
        recovery.state(keys, &state)?;
    }
    let mut failed: Option<Corrupt> = None;
    let mut take = |outcome: Result<(), Corrupt>, recovery: &Recovery| match outcome {
        Ok(()) => {
            if (recovery.keys + recovery.chunks).is_multiple_of(ROWS_A_LOOK) {
                tell(recovery.keys, recovery.chunks);
            }
            ControlFlow::Continue(())
        }
        Err(corrupt) => {
            failed = Some(corrupt);
            ControlFlow::Break(())
        }
    };
    store.scan(Space::Sys, SYS_QUEUE_PREFIX, &mut |name, row| take(recovery.queue(keys, name, row), recovery))?;
    store.scan(Space::Keys, b"", &mut |name, row| take(recovery.key(keys, name, row), recovery))?;
    store.scan(Space::Dir, b"", &mut |name, row| take(recovery.chunk(keys, name, row), recovery))?;
    if let Some(corrupt) = failed {
        bail!(corrupt);
    }
    Ok(recovery.rows_done(keys)?)
}

fn replay(
    settings: &Settings,
    store: &dyn Store,
    keys: &mut Keyspace,
    recovery: &mut Recovery,
    clock: Clock,
    salt_seed: u64,
) -> anyhow::Result<Log> {
    let options = log::Options {
        dir: settings.dir.join("log"),
        segment_bytes: settings.limits.segment_bytes,
        policy: sync_policy(settings),
        replay_after: recovery.complete,
        checkpoint_lsn: recovery.last,
        repair: settings.repair,
        salt_seed,
    };
    let mut telling = Progress::begin(clock.now().mono);
    let mut fetch = |missing: &Missing, keys: &Keyspace| -> Result<Fetched, String> {
        let row = row_of(keys, missing);
        background::fetch(store, missing, row.as_ref())?.ok_or_else(|| format!("{missing:?} is not in the store"))
    };
    let mut visit = |lsn: u64, frame: &[u8]| {
        recovery.frame(keys, lsn, frame, &mut fetch)?;
        // Replay keeps to the memory budget: what does not fit goes to the store as it comes.
        if keys.memory.objects_bytes() > keys.memory.budget.objects_bytes
            && let Some(mut spill) = keys.relieve()
        {
            background::ingest_now(store, &mut spill)?;
            keys.landed(&mut spill);
        }
        Ok(())
    };
    let mut progress = |done: u64, total: u64| {
        if let Some(rate) = telling.rate(clock.now().mono, done) {
            let left_s = (total.saturating_sub(done)) as f64 / rate.max(1.0);
            info!(
                done_mb = done >> 20,
                total_mb = total >> 20,
                mb_per_s = rate as u64 >> 20,
                left_s = left_s.ceil() as u64,
                "replaying the log"
            );
        }
    };
    let Opened { log, recovered } = Log::open(&options, &mut visit, &mut progress).map_err(|error| anyhow!(error))?;
    if let Some(cut) = &recovered.cut {
        warn!(file = %cut.path.display(), offset = cut.offset, frame = cut.lsn, bytes = cut.bytes, "cut the unsynced tail of the log");
    }
    if let Some(lost) = &recovered.lost_by_repair {
        warn!(file = %lost.path.display(), offset = lost.offset, first = lost.first, last = lost.last, bytes = lost.bytes, "repaired the log: these frames are lost");
    }
    info!(frames = recovered.frames, bytes = recovered.bytes, "replayed the log");
    Ok(log)
}

/// What the server keeps for itself, and the sets that pops look at, stay in memory from the start.
fn bring_in_own(store: &dyn Store, keys: &mut Keyspace) -> anyhow::Result<()> {
    for missing in keys.missing_own() {
        let row = row_of(keys, &missing);
        let fetched = background::fetch(store, &missing, row.as_ref()).map_err(|reason| anyhow!(reason))?;
        keys.install(&missing, fetched.ok_or_else(|| anyhow!("{missing:?} is not in the store"))?);
    }
    Ok(())
}

/// Batches that were written and that no row came to refer to, because of a crash in between.
fn drop_orphans(store: &dyn Store, keys: &mut Keyspace) -> anyhow::Result<()> {
    for batch in store.batches()? {
        keys.note_batch(batch);
        if !keys.is_live_batch(batch) {
            store.drop_batch(batch)?;
        }
    }
    Ok(())
}

/// Looks how much room the disk has.
fn free_bytes_of(directory: std::path::PathBuf) -> impl Fn() -> u64 + Send {
    move || free_bytes(&directory).unwrap_or(u64::MAX)
}

fn free_bytes(directory: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(directory.as_os_str().as_bytes()).ok()?;
    // SAFETY: statvfs is plain data for which all zeros is a value, and the path ends with a NUL.
    let (result, facts) = unsafe {
        let mut facts: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &mut facts), facts)
    };
    (result == 0).then(|| facts.f_bavail * facts.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Kind;
    use crate::settings::Profile;
    use crate::store::MemoryStore;

    #[test]
    fn reading_many_rows_says_how_many_it_has_read() {
        let settings = Settings::defaults(Profile::Tiny);
        let empty = || Keyspace::new(1, sizes(&settings), budget(&settings));
        let store = MemoryStore::new();
        let (mut keys, count) = (empty(), 3 * ROWS_A_LOOK);
        for n in 0..count {
            keys.begin(n + 1, 0);
            let slot = keys.create(&n.to_be_bytes(), Kind::String).expect("writes are allowed");
            keys.write_string(slot, b"value").expect("writes are allowed");
            keys.frame().clear();
        }
        while let Some(mut save) = keys.capture(count, count, 1 << 20) {
            store.commit(save.take_writes()).expect("memory takes it");
            keys.committed(save);
        }
        let mut told = Vec::new();
        load_rows(&store, &mut empty(), &mut Recovery::default(), &mut |keys, chunks| told.push((keys, chunks)))
            .expect("the rows are whole");
        assert_eq!(told, [1, 2, 3].map(|looks| (looks * ROWS_A_LOOK, 0)));
    }
}
