//! Power cuts: every page that was not synced is on disk or not, as chance has it.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const PAGE_BYTES: usize = 4096;

/// Returns what the disk might hold if the power went: what it held at the last sync, and at random pages written since.
fn disk_after_power_cut(at_sync: &Path, now: &Path, chance: &mut StdRng) -> tempfile::TempDir {
    let disk = tempfile::tempdir().expect("a directory");
    let mut names: Vec<_> =
        fs::read_dir(now).expect("listed").map(|entry| entry.expect("listed").file_name()).collect();
    names.sort();
    let kept = chance.random_range(0.0..1.0);
    for name in names {
        let new = read(&now.join(&name));
        let old = fs::read(at_sync.join(&name));
        if old.is_err() && chance.random_bool(0.2) {
            // Not even its name got there.
            continue;
        }
        let mut old = old.unwrap_or_default();
        old.resize(new.len(), 0);
        let pages = old.chunks(PAGE_BYTES).zip(new.chunks(PAGE_BYTES));
        let mixed: Vec<u8> =
            pages.flat_map(|(old, new)| if chance.random_bool(kept) { new } else { old }).copied().collect();
        fs::write(disk.path().join(&name), mixed).expect("written");
    }
    disk
}

/// Runs a log through several power cuts and says how many of them cut something off.
fn survive(seed: u64) -> u64 {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut disk = tempfile::tempdir().expect("a directory");
    let mut promised = 0;
    let mut cuts = 0;
    let mut replay_after = 0;
    for start in 0..4 {
        let now = Options {
            replay_after,
            checkpoint_lsn: replay_after,
            salt_seed: seed * 100 + start,
            ..options(disk.path())
        };
        let (mut log, frames, recovered) = open(&now).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(recovered.last >= promised, "seed {seed}: {promised} was promised, {recovered:?}");
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
        promised = log.durable();
        let at_sync = copy_of(disk.path());
        append_turns(&mut log, &mut chance);
        let written = log.next_lsn() - 1;
        let at_end = copy_of(disk.path());
        drop(log);
        disk = disk_after_power_cut(at_sync.path(), at_end.path(), &mut chance);
        assert!(written >= promised);
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
    let cuts: u64 = (0..60).map(survive).sum();
    assert!(cuts > 30, "the simulation tears something: {cuts}");
}
