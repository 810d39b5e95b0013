//! The log in good days: appending, reopening, rolling, trimming, waiting; and a full disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// A sync that takes longer never comes.
const SYNC_WAIT_MAX: Duration = Duration::from_secs(30);
/// Long enough for a sync that ought not to happen, as a rule.
const NO_SYNC_WAIT: Duration = Duration::from_millis(200);

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_was_appended_comes_back(
        starts in prop::collection::vec(
            (prop::collection::vec(prop::collection::vec(0..3000_usize, 0..6), 0..12), any::<bool>()), 1..5),
        replay_after in 0..30_u64,
    ) {
        let dir = tempfile::tempdir()?;
        let mut appended: Vec<Vec<u8>> = Vec::new();
        for (turns, closes) in starts {
            let (mut log, frames, _) = open_well(&options(dir.path()));
            prop_assert!(frames.iter().map(|(_, ops)| ops).eq(&appended));
            let mut buffer = log.frame_buffer();
            for turn in turns {
                for len in turn {
                    let ops = vec![appended.len() as u8; len];
                    prop_assert_eq!(add(&mut buffer, &ops), appended.len() as u64 + 1);
                    appended.push(ops);
                }
                prop_assert_eq!(log.append(&mut buffer)?, appended.len() as u64);
            }
            if closes { log.close()? } else { drop(log) }
        }
        let replay_after = replay_after.min(appended.len() as u64);
        let (_log, frames, recovered) = open_well(&Options { replay_after, ..options(dir.path()) });
        let rest = &appended[replay_after as usize..];
        prop_assert!(frames.iter().map(|(_, ops)| ops).eq(rest));
        prop_assert_eq!(recovered.frames, rest.len() as u64);
        prop_assert_eq!(recovered.last, appended.len() as u64);
        prop_assert_eq!(recovered.cut, None);
    }
}

#[test]
fn an_empty_directory_is_an_empty_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let nested = dir.path().join("data").join("log");
    let (log, frames, recovered) = open_well(&options(&nested));
    assert_eq!((log.next_lsn(), log.durable()), (1, 0));
    assert_eq!((frames.len(), recovered), (0, Recovered::default()));
}

#[test]
fn without_a_log_the_numbers_go_on_behind_the_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, ..) = open_well(&Options { replay_after: 9, checkpoint_lsn: 9, ..options(dir.path()) });
    assert_eq!(log.next_lsn(), 10);
    append_up_to(&mut log, 12);
    drop(log);
    let (_log, frames, _) = open_well(&Options { replay_after: 9, checkpoint_lsn: 9, ..options(dir.path()) });
    check_frames(&frames, 10..=12);
}

#[test]
fn junk_in_the_directory_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let junk = ["notes.txt", "log-.seg", "log-0000000000000001.seg.bak", "log-9.seg"];
    for name in junk {
        fs::write(dir.path().join(name), b"junk").expect("written");
    }
    fs::create_dir(dir.path().join("log-0000000000000700.seg")).expect("made");
    fs::write(dir.path().join("log-0000000000000005.seg"), b"short").expect("written");
    fs::write(dir.path().join("log-0999999999999999.seg"), vec![0xff; 70_000]).expect("written");
    let (mut log, frames, _) = open_well(&options(dir.path()));
    assert_eq!(frames.len(), 0);
    append_up_to(&mut log, 200);
    drop(log);
    let (_log, frames, _) = open_well(&options(dir.path()));
    check_frames(&frames, 1..=200);
    for name in junk {
        assert_eq!(read(&dir.path().join(name)), b"junk");
    }
}

#[test]
fn a_second_process_is_kept_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, ..) = open_well(&options(dir.path()));
    let durability = log.durability();
    let refused = open(&options(dir.path())).map(|_| ());
    assert!(matches!(refused, Err(OpenError::InUse { .. })), "{refused:?}");
    drop(log);
    open_well(&options(dir.path()));
    drop(durability);
}

#[test]
fn a_turn_larger_than_a_segment_gets_one_of_its_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, ..) = open_well(&options(dir.path()));
    append_up_to(&mut log, 3);
    let mut buffer = log.frame_buffer();
    let large = vec![7; 5 * SMALL_SEGMENT_BYTES as usize];
    assert_eq!(add(&mut buffer, &large), 4);
    add(&mut buffer, &ops_of(5));
    assert_eq!(log.append(&mut buffer), Ok(5));
    append_up_to(&mut log, 100);
    drop(log);
    let (_log, mut frames, _) = open_well(&options(dir.path()));
    assert_eq!(frames.remove(3), (4, large));
    check_frames(&frames[..3], 1..=3);
    check_frames(&frames[3..], 5..=100);
}

#[test]
fn trimming_recycles_segments_and_keeps_later_frames() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, ..) = open_well(&options(dir.path()));
    for round in 1..=40 {
        append_up_to(&mut log, round * 100);
        sync(&log);
        let before = log.bytes();
        log.trim(round * 100 - 9);
        assert!(log.bytes() < before, "{before} {log:?}");
    }
    while !log.shared().tail.lock().retired.is_empty() {
        std::thread::yield_now();
    }
    // A round fills two segments. Without recycling and deleting there would be eighty in the end.
    assert!(bytes_in(dir.path()) <= 20 * SMALL_SEGMENT_BYTES, "{}", bytes_in(dir.path()));
    log.close().expect("closed");
    let (_log, frames, _) = open_well(&Options { replay_after: 3990, checkpoint_lsn: 4000, ..options(dir.path()) });
    check_frames(&frames, 3991..=4000);
}

#[test]
fn large_turns_do_not_strand_prepared_segments() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, ..) = open_well(&options(dir.path()));
    let mut buffer = log.frame_buffer();
    for _ in 0..40 {
        while log.shared().tail.lock().ready.is_empty() {
            std::thread::yield_now();
        }
        add(&mut buffer, &[1; 2 * SMALL_SEGMENT_BYTES as usize]);
        let last = log.append(&mut buffer).expect("appended");
        log.trim(last);
    }
    while !log.shared().tail.lock().retired.is_empty() {
        std::thread::yield_now();
    }
    assert!(bytes_in(dir.path()) <= 20 * SMALL_SEGMENT_BYTES, "{}", bytes_in(dir.path()));
}

fn bytes_in(dir: &Path) -> u64 {
    let bytes =
        |entry: std::io::Result<fs::DirEntry>| entry.and_then(|entry| entry.metadata()).map_or(0, |data| data.len());
    fs::read_dir(dir).expect("listed").map(bytes).sum()
}

#[test]
fn old_frames_in_a_recycled_segment_never_pass_for_new_ones() {
    let dir = tempfile::tempdir().expect("a directory");
    let frame = |lsn: Lsn| vec![lsn as u8; 100];
    let (mut log, ..) = open_well(&options(dir.path()));
    let mut buffer = log.frame_buffer();
    for lsn in 1..=100 {
        add(&mut buffer, &frame(lsn));
        log.append(&mut buffer).expect("appended");
    }
    sync(&log);
    log.close().expect("closed");
    // As if the LSNs began again from 1, so that only the salt tells old frames from new ones: the second life of the same
    // file holds fewer frames of the same sizes, and the old ones go on right behind them.
    let path = dir.path().join(segment::file_name(1));
    let mut bytes = read(&path);
    let salt = segment::salt(99, 1);
    let header = segment::SegmentHeader { number: 1, follows: 0, first: 1, salt };
    let file = disk::open_for_writing(&path).expect("opened");
    header.write(&file).expect("written");
    let mut buffer = FrameBuffer::new(1);
    for lsn in 1..=5 {
        add(&mut buffer, &frame(lsn));
    }
    buffer.seal(salt);
    let new = buffer.sealed(None, salt);
    overwrite(&path, segment::HEADER_BYTES, new);
    let goes_on = segment::HEADER_BYTES as usize + new.len();
    assert_eq!(bytes.split_off(goes_on)[8], 6, "an old frame 6 begins where the new frame 5 ends");
    for entry in fs::read_dir(dir.path()).expect("listed") {
        let other = entry.expect("listed").path();
        if other != path {
            fs::remove_file(other).expect("removed");
        }
    }
    assert_eq!(open_well(&options(dir.path())).1.len(), 5);
}

#[test]
fn starts_in_a_row_leave_no_row_of_segments() {
    let dir = tempfile::tempdir().expect("a directory");
    for _ in 0..30 {
        let (mut log, ..) = open_well(&options(dir.path()));
        append_up_to(&mut log, 5);
    }
    let segments = fs::read_dir(dir.path()).expect("listed").count();
    assert!(segments <= 8, "{segments}");
}

#[test]
fn under_always_an_append_becomes_durable_by_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, ..) = open_well(&Options { policy: SyncPolicy::Always, ..options(dir.path()) });
    let (told, hears) = mpsc::channel();
    let durability = log.durability();
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    log.set_on_durable(Arc::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let _ = told.send(durability.durable());
    }));
    for last in [1, 2, 100, 101] {
        append_up_to(&mut log, last);
        while hears.recv().expect("the sync thread tells") < last {}
        assert!(log.durable() >= last);
    }
    assert!(calls.load(Ordering::Relaxed) >= 4);
}

#[test]
fn under_everysec_an_append_becomes_durable_by_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, ..) = open_well(&Options { policy: SyncPolicy::Everysec, ..options(dir.path()) });
    let (told, hears) = mpsc::channel();
    log.set_on_durable(Arc::new(move || {
        let _ = told.send(());
    }));
    append_up_to(&mut log, 100);
    while log.durable() < 100 {
        hears.recv().expect("the sync thread tells");
    }
}

#[test]
fn waiting_for_durability_asks_for_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, ..) = open_well(&options(dir.path()));
    append_up_to(&mut log, 10);
    assert_eq!(log.durable(), 0);
    let durability = log.durability();
    let waiter = std::thread::spawn(move || durability.wait(10));
    assert_eq!(waiter.join().expect("no panic"), Ok(()));
    assert_eq!(log.durable(), 10);
    log.request_sync();
    assert_eq!(log.durability().wait(10), Ok(()));
}

#[test]
fn a_policy_that_is_changed_holds_at_once() {
    for policy in [SyncPolicy::Always, SyncPolicy::Everysec] {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut log, ..) = open_well(&options(dir.path()));
        append_up_to(&mut log, 3);
        let (told, hears) = mpsc::channel();
        log.set_on_durable(Arc::new(move || {
            let _ = told.send(());
        }));
        assert_eq!(log.durable(), 0, "nobody has asked for a sync");
        // What the old policy left unsynced counts, and the thread that slept under it wakes.
        log.set_policy(policy);
        for last in [3, 4] {
            append_up_to(&mut log, last);
            while log.durable() < last {
                hears.recv_timeout(SYNC_WAIT_MAX).expect("it is synced without being asked for");
            }
        }
        log.set_policy(SyncPolicy::No);
        append_up_to(&mut log, 5);
        while hears.recv_timeout(NO_SYNC_WAIT).is_ok() {}
        assert_eq!(log.durable(), 4, "it is left to the kernel");
    }
}

#[test]
fn a_full_disk_refuses_and_writes_nothing_until_there_is_room_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, ..) = open_well(&options(dir.path()));
    log.shared().directory.full.store(true, Ordering::Relaxed);
    let mut buffer = log.frame_buffer();
    while log.has_room(ops_of(log.next_lsn()).len() + 16) {
        add(&mut buffer, &ops_of(log.next_lsn()));
        log.append(&mut buffer).expect("has_room said so");
    }
    let last = log.next_lsn() - 1;
    let next = add(&mut buffer, &ops_of(last + 1));
    assert_eq!(log.append(&mut buffer), Err(LogError::NoSpace));
    assert_eq!((log.next_lsn(), log.failed()), (next, None));
    let copy = copy_of(dir.path());
    check_frames(&open_well(&options(copy.path())).1, 1..=last);

    log.shared().directory.full.store(false, Ordering::Relaxed);
    assert!(log.has_room(buffer.len()));
    assert_eq!(log.append(&mut buffer), Ok(next));
    drop(log);
    check_frames(&open_well(&options(dir.path())).1, 1..=next);
}

#[test]
fn room_that_was_promised_is_there_even_for_a_large_turn() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, ..) = open_well(&options(dir.path()));
    let mut buffer = log.frame_buffer();
    add(&mut buffer, &vec![1; 10 * SMALL_SEGMENT_BYTES as usize]);
    assert!(log.has_room(buffer.len()));
    log.shared().directory.full.store(true, Ordering::Relaxed);
    assert_eq!(log.append(&mut buffer), Ok(1));
}

#[test]
fn a_failed_write_is_final() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, ..) = open_well(&options(dir.path()));
    append_up_to(&mut log, 3);
    // Writing through a handle that was opened for reading fails with an error that is not about space.
    {
        let mut tail = log.shared().tail.lock();
        let current = &tail.segment;
        let unwritable = fs::File::open(&current.path).expect("opened");
        tail.segment = Arc::new(tail::Segment {
            number: current.number,
            path: current.path.clone(),
            file: unwritable,
            bytes: current.bytes,
            salt: current.salt,
        });
    }
    let mut buffer = log.frame_buffer();
    add(&mut buffer, &ops_of(4));
    for _ in 0..2 {
        assert!(matches!(log.append(&mut buffer), Err(LogError::Failed(_))));
    }
    let failure = log.failed().expect("it says why");
    assert!(failure.contains("writing to") && failure.contains("log-"), "{failure}");
    assert!(matches!(log.durability().wait(3), Err(LogError::Failed(_))));
    assert!(matches!(log.close(), Err(LogError::Failed(_))));
    check_frames(&open_well(&options(dir.path())).1, 1..=3);
}

#[test]
fn who_waits_when_the_log_is_dropped_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, ..) = open_well(&options(dir.path()));
    append_up_to(&mut log, 3);
    let durability = log.durability();
    log.shared().tail.lock().stopping = true;
    drop(log);
    assert_eq!(durability.wait(3), Err(LogError::Closed));
}

#[test]
fn a_visitor_that_refuses_stops_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, ..) = open_well(&options(dir.path()));
    append_up_to(&mut log, 3);
    drop(log);
    let mut visit = |lsn, _: &[u8]| if lsn == 2 { Err("no".into()) } else { Ok(()) };
    let refused = Log::open(&options(dir.path()), &mut visit, &mut |_, _| {}).map(|_| ());
    assert!(matches!(refused, Err(OpenError::Replay { lsn: 2, .. })), "{refused:?}");
}

#[test]
fn progress_is_told_and_reaches_its_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, ..) = open_well(&options(dir.path()));
    let mut buffer = log.frame_buffer();
    for _ in 0..40 {
        add(&mut buffer, &[1; 100_000]);
        log.append(&mut buffer).expect("appended");
    }
    drop(log);
    let mut told = Vec::new();
    Log::open(&options(dir.path()), &mut |_, _| Ok(()), &mut |done, total| told.push((done, total))).expect("opens");
    assert!(told.len() >= 4 && told.is_sorted(), "{told:?}");
    assert!(told.last().is_some_and(|(done, total)| done == total), "{told:?}");
}
