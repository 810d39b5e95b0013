//! Power cuts: every page that was not synced is on disk or not, as chance has it.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const PAGE_BYTES: usize = 4096;

/// Returns what the disk might hold if the power went now: each file as it was synced, and at random pages written since.
fn disk_after_power_cut(dir: &Path, chance: &mut StdRng) -> tempfile::TempDir {
    let disk = tempfile::tempdir().expect("a directory");
    let mut paths: Vec<_> = fs::read_dir(dir).expect("listed").map(|entry| entry.expect("listed").path()).collect();
    paths.sort();
    let kept = chance.random_range(0.0..1.0);
    for path in paths {
        let file = fs::File::open(&path).expect("opened");
        let new = read(&path);
        let mut old = disk_image::durable(&file);
        if old.is_empty() && chance.random_bool(0.2) {
            // Not even its name got there.
            continue;
        }
        old.resize(new.len(), 0);
        let pages = old.chunks(PAGE_BYTES).zip(new.chunks(PAGE_BYTES));
        let mixed: Vec<u8> =
            pages.flat_map(|(old, new)| if chance.random_bool(kept) { new } else { old }).copied().collect();
        let survivor = disk.path().join(path.file_name().expect("a name"));
        fs::write(&survivor, &mixed).expect("written");
        disk_image::remember(&fs::File::open(&survivor).expect("opened"), mixed);
    }
    disk
}

/// Runs a log through crashes of the process and of the machine, and says how many of them cut something off.
fn survive(seed: u64) -> u64 {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut disk = tempfile::tempdir().expect("a directory");
    // What a start must find at least, and the last that it can find.
    let (mut promised, mut written) = (0, 0);
    let mut replay_after = 0;
    let mut cuts = 0;
    for start in 0..6 {
        let options = Options {
            replay_after,
            checkpoint_lsn: replay_after,
            salt_seed: seed * 100 + start,
            // Under `always` the syncs run beside the appends, and the cut comes in the middle of one.
            policy: if chance.random_bool(0.5) { SyncPolicy::Always } else { SyncPolicy::No },
            ..options(disk.path())
        };
        let (mut log, frames, recovered) = open(&options).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!((promised..=written).contains(&recovered.last), "seed {seed}: {promised}..={written}, {recovered:?}");
        assert_eq!(log.durable(), recovered.last, "seed {seed}: what was replayed is taken for durable");
        check_frames(&frames, replay_after + 1..=recovered.last);
        cuts += u64::from(recovered.cut.is_some());
        for _ in 0..chance.random_range(0..3) {
            append_turns(&mut log, &mut chance);
            sync(&log);
            if chance.random_bool(0.4) {
                // As the store would: what it holds durably may be trimmed.
                replay_after = chance.random_range(replay_after..=log.durable());
                log.trim(replay_after + 1);
            }
        }
        append_turns(&mut log, &mut chance);
        written = log.next_lsn() - 1;
        let durability = log.durability();
        drop(log);
        promised = durability.durable();
        if chance.random_bool(0.3) {
            // Only the process died: the kernel has everything, but the disk no more than before.
            promised = written;
        } else {
            disk = disk_after_power_cut(disk.path(), &mut chance);
        }
    }
    cuts
}

fn append_turns(log: &mut Log, chance: &mut StdRng) {
    let mut buffer = log.frame_buffer();
    for _ in 0..chance.random_range(0..40) {
        for _ in 0..chance.random_range(1..8) {
            let lsn = buffer.next_lsn();
            add(&mut buffer, &ops_of(lsn));
        }
        log.append(&mut buffer).expect("appended");
    }
}

#[test]
fn what_was_durable_survives_any_power_cut() {
    let cuts: u64 = (0..40).map(survive).sum();
    assert!(cuts > 20, "the simulation tears something: {cuts}");
}
