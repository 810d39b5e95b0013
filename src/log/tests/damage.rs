//! Bytes that changed or never arrived: when it is a tail, when it is damage, and what a repair does.

use super::*;

#[test]
fn a_frame_torn_at_any_byte_is_cut_off() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, ..) = open_well(&options(dir.path()));
    append_up_to(&mut log, 10);
    drop(log);
    let (path, offset) = place_of(dir.path(), 10);
    let whole = read(&path);
    let end = offset as usize + 16 + ops_of(10).len();
    for torn_at in offset as usize..end {
        let copy = copy_of(dir.path());
        let path = copy.path().join(path.file_name().expect("a name"));
        // What was not written holds zeros, or whatever was there before.
        let stale = |byte: &u8| if torn_at % 2 == 0 { 0 } else { byte ^ 0xa5 };
        let torn: Vec<u8> = whole[torn_at..end].iter().map(stale).collect();
        if torn == whole[torn_at..end] {
            continue;
        }
        overwrite(&path, torn_at as u64, &torn);
        let (mut log, frames, recovered) = open_well(&options(copy.path()));
        check_frames(&frames, 1..=9);
        assert_eq!((recovered.last, log.next_lsn()), (9, 10));
        if torn_at >= offset as usize + 16 {
            let cut = recovered.cut.expect("it says what was cut");
            assert_eq!((cut.path, cut.offset, cut.lsn), (path, offset, 10));
            assert_eq!(cut.bytes, (end - offset as usize) as u64);
        }
        append_up_to(&mut log, 12);
        drop(log);
        check_frames(&open_well(&options(copy.path())).1, 1..=12);
    }
}

/// A log of frames 1 to 60 over several segments, of which those up to `synced` were synced, then up to 60 appended.
fn log_synced_up_to(synced: Lsn) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, ..) = open_well(&options(dir.path()));
    if synced > 0 {
        append_up_to(&mut log, synced);
        sync(&log);
    }
    append_up_to(&mut log, 120);
    drop(log);
    dir
}

fn blank(dir: &Path, lsn: Lsn) -> (PathBuf, u64) {
    let (path, offset) = place_of(dir, lsn);
    overwrite(&path, offset, &vec![0; 16 + ops_of(lsn).len()]);
    (path, offset)
}

#[test]
fn a_hole_in_what_was_never_synced_is_a_tail() {
    for (synced, hole) in [(0, 1), (0, 50), (20, 21), (20, 119), (119, 120)] {
        let dir = log_synced_up_to(synced);
        let (path, offset) = blank(dir.path(), hole);
        let (mut log, frames, recovered) = open_well(&options(dir.path()));
        check_frames(&frames, 1..=hole - 1);
        if hole < 120 {
            let cut = recovered.cut.expect("frames behind the hole are recognised");
            assert_eq!((cut.path, cut.offset, cut.lsn), (path, offset, hole));
        }
        append_up_to(&mut log, hole + 100);
        sync(&log);
        drop(log);
        // What was behind the hole must not come back, nor pass for evidence.
        check_frames(&open_well(&options(dir.path())).1, 1..=hole + 100);
    }
}

#[test]
fn a_hole_in_what_was_synced_is_refused_with_its_place() {
    for (synced, hole) in [(1, 1), (20, 1), (20, 20), (100, 3), (110, 60), (119, 119)] {
        let dir = log_synced_up_to(synced);
        let (path, offset) = blank(dir.path(), hole);
        let refused = open(&options(dir.path())).map(|_| ()).expect_err("damage");
        let text = refused.to_string();
        let name = path.file_name().expect("a name").to_string_lossy();
        for part in [&*name, &format!("frame {hole} "), &format!("byte {offset} "), "--repair"] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
        assert!(matches!(refused, OpenError::Damaged { known_durable, .. } if known_durable == synced), "{text}");
    }
}

#[test]
fn a_flipped_bit_in_a_synced_frame_is_refused() {
    let dir = log_synced_up_to(30);
    let (path, offset) = place_of(dir.path(), 7);
    let frame = 16 + ops_of(7).len();
    let good = read(&path)[offset as usize..][..frame].to_vec();
    for (byte, good) in good.iter().enumerate() {
        let copy = copy_of(dir.path());
        overwrite(&copy.path().join(path.file_name().expect("a name")), offset + byte as u64, &[good ^ 1]);
        let refused = open(&options(copy.path())).map(|_| ());
        assert!(matches!(refused, Err(OpenError::Damaged { lsn: 7, .. })), "byte {byte}: {refused:?}");
    }
}

#[test]
fn after_a_clean_stop_nothing_passes_for_a_tail() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, ..) = open_well(&options(dir.path()));
    append_up_to(&mut log, 5);
    log.close().expect("closed");
    blank(dir.path(), 5);
    assert!(matches!(open(&options(dir.path())).map(|_| ()), Err(OpenError::Damaged { lsn: 5, .. })));
}

#[test]
fn a_hole_below_the_checkpoint_is_refused_without_any_synced_frame() {
    let dir = log_synced_up_to(0);
    blank(dir.path(), 50);
    let below = Options { checkpoint_lsn: 49, ..options(dir.path()) };
    let at = Options { checkpoint_lsn: 50, ..options(dir.path()) };
    let refused = open(&at).map(|_| ());
    assert!(matches!(refused, Err(OpenError::Damaged { lsn: 50, known_durable: 50, .. })), "{refused:?}");
    check_frames(&open_well(&below).1, 1..=49);
}

#[test]
fn frames_that_the_store_has_need_not_be_in_the_log() {
    let dir = log_synced_up_to(120);
    fs::remove_file(dir.path().join(segment::file_name(1))).expect("removed");
    let refused = open(&options(dir.path())).map(|_| ());
    assert!(matches!(refused, Err(OpenError::Damaged { lsn: 1, .. })), "{refused:?}");
    let (_log, frames, _) = open_well(&Options { replay_after: 80, checkpoint_lsn: 120, ..options(dir.path()) });
    check_frames(&frames, 81..=120);
}

#[test]
fn a_missing_segment_in_the_middle_is_refused() {
    let dir = log_synced_up_to(120);
    let (path, _) = place_of(dir.path(), 60);
    fs::remove_file(path).expect("removed");
    assert!(matches!(open(&options(dir.path())).map(|_| ()), Err(OpenError::Damaged { .. })));
}

#[test]
fn a_log_that_ends_before_the_checkpoint_is_refused() {
    let dir = log_synced_up_to(0);
    let behind = Options { replay_after: 100, checkpoint_lsn: 121, ..options(dir.path()) };
    assert!(matches!(open(&behind).map(|_| ()), Err(OpenError::Damaged { lsn: 121, .. })));
    let empty = tempfile::tempdir().expect("a directory");
    let missing = Options { replay_after: 3, checkpoint_lsn: 4, ..options(empty.path()) };
    assert!(matches!(open(&missing).map(|_| ()), Err(OpenError::Damaged { lsn: 4, .. })));
}

#[test]
fn repair_cuts_the_log_says_what_was_lost_and_the_log_goes_on() {
    // (synced, hole, checkpoint)
    for (synced, hole, checkpoint) in [(100, 50, 0), (20, 20, 110), (110, 1, 5), (0, 30, 30)] {
        let dir = log_synced_up_to(synced);
        let (path, offset) = blank(dir.path(), hole);
        let known_durable = synced.max(checkpoint);
        let plain = Options { checkpoint_lsn: checkpoint, ..options(dir.path()) };
        let repairing = Options { repair: true, ..plain.clone() };
        assert!(open(&plain).is_err());
        let (log, frames, recovered) = open_well(&repairing);
        check_frames(&frames, 1..=hole - 1);
        let lost = recovered.lost_by_repair.expect("it says what was lost");
        assert_eq!((lost.path, lost.offset), (path, offset));
        assert_eq!((lost.first, lost.last), (hole, known_durable));
        // Their numbers are not given again: the store may know them.
        assert_eq!(log.next_lsn(), known_durable + 1);
        drop(log);

        // It is repaired even if nothing is appended, and even if the first turn needs another segment.
        let (mut log, frames, recovered) = open_well(&plain);
        check_frames(&frames, 1..=hole - 1);
        assert_eq!((recovered.lost_by_repair, log.next_lsn()), (None, known_durable + 1));
        let mut buffer = log.frame_buffer();
        add(&mut buffer, &[1; 2 * SMALL_SEGMENT_BYTES as usize]);
        log.append(&mut buffer).expect("appended");
        append_up_to(&mut log, known_durable + 100);
        sync(&log);
        drop(log);
        let (_log, frames, _) = open_well(&plain);
        check_frames(&frames[..hole as usize - 1], 1..=hole - 1);
        check_frames(&frames[hole as usize..], known_durable + 2..=known_durable + 100);
    }
}

#[test]
fn repair_of_a_sound_log_changes_nothing() {
    let dir = log_synced_up_to(100);
    let (_log, frames, recovered) = open_well(&Options { repair: true, ..options(dir.path()) });
    check_frames(&frames, 1..=120);
    assert_eq!((recovered.cut, recovered.lost_by_repair), (None, None));
}

#[test]
fn the_loss_of_one_copy_of_a_header_is_not_the_loss_of_the_segment() {
    for copy_at in [0, 4096] {
        let dir = log_synced_up_to(120);
        overwrite(&dir.path().join(segment::file_name(1)), copy_at, &[0; 4096]);
        check_frames(&open_well(&options(dir.path())).1, 1..=120);
    }
}

#[test]
fn a_header_that_never_reached_the_disk_begins_the_tail() {
    let dir = log_synced_up_to(0);
    let (path, _) = place_of(dir.path(), 120);
    overwrite(&path, 0, &[0; segment::HEADER_BYTES as usize]);
    let (_log, frames, _) = open_well(&options(dir.path()));
    let last = frames.len() as Lsn;
    assert!((50..120).contains(&last), "{last}");
    check_frames(&frames, 1..=last);
}

#[test]
fn a_length_that_is_garbage_harms_nobody() {
    for len in [u32::MAX, u32::MAX >> 1, 1 << 31, 1 << 20, 17, 0] {
        let dir = log_synced_up_to(0);
        let (path, offset) = place_of(dir.path(), 90);
        overwrite(&path, offset, &len.to_le_bytes());
        check_frames(&open_well(&options(dir.path())).1, 1..=89);
    }
}

#[test]
fn frames_inside_a_job_do_not_pass_for_frames_of_the_log() {
    // A job may hold a copy of the log itself. It is skipped as a whole while its frame is good, and when it is not, a
    // Synced frame inside it has another segment's salt.
    let other = log_synced_up_to(100);
    let (path, _) = place_of(other.path(), 120);
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, ..) = open_well(&Options { salt_seed: 2, ..options(dir.path()) });
    append_up_to(&mut log, 3);
    let mut buffer = log.frame_buffer();
    add(&mut buffer, &read(&path));
    log.append(&mut buffer).expect("appended");
    let large = log.shared().tail.lock().segment.path.clone();
    drop(log);
    assert_eq!(open_well(&options(dir.path())).1.len(), 4);
    overwrite(&large, segment::HEADER_BYTES + 30, &[0xee; 4]);
    check_frames(&open_well(&options(dir.path())).1, 1..=3);
}

#[test]
fn bytes_at_random_never_panic() {
    use rand::{Rng, RngExt, SeedableRng};
    let dir = log_synced_up_to(0);
    for seed in 0..40 {
        let mut chance = rand::rngs::StdRng::seed_from_u64(seed);
        let copy = copy_of(dir.path());
        for entry in fs::read_dir(copy.path()).expect("listed") {
            let path = entry.expect("listed").path();
            let mut garbage = vec![0; chance.random_range(1..600)];
            chance.fill_bytes(&mut garbage);
            let bytes = fs::metadata(&path).expect("there").len();
            overwrite(&path, chance.random_range(0..bytes), &garbage);
            if chance.random_bool(0.2) {
                let shorter = disk::open_for_writing(&path).expect("opened");
                shorter.set_len(chance.random_range(0..bytes)).expect("cut");
            }
        }
        match open(&options(copy.path())) {
            Ok((_, frames, _)) => check_frames(&frames, 1..=frames.len() as Lsn),
            Err(error) => assert!(matches!(error, OpenError::Damaged { .. }), "seed {seed}: {error}"),
        }
    }
}
