//! The log as a whole, on real files: what a start finds after everything that can happen to them.

mod damage;
pub(super) mod disk_image;
mod life;
mod power_loss;
mod speed;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::*;

/// Small enough that a handful of frames fills a segment.
const SMALL_SEGMENT_BYTES: u64 = SEGMENT_BYTES_MIN;

type Frames = Vec<(Lsn, Vec<u8>)>;

fn options(dir: &Path) -> Options {
    Options {
        dir: dir.to_owned(),
        segment_bytes: SMALL_SEGMENT_BYTES,
        policy: SyncPolicy::No,
        replay_after: 0,
        checkpoint_lsn: 0,
        repair: false,
        salt_seed: 1,
    }
}

/// Opens the log and returns the frames that it replayed.
fn open(options: &Options) -> Result<(Log, Frames, Recovered), OpenError> {
    let mut frames = Vec::new();
    let mut visit = |lsn, ops: &[u8]| {
        frames.push((lsn, ops.to_vec()));
        Ok(())
    };
    let opened = Log::open(options, &mut visit, &mut |_, _| {})?;
    Ok((opened.log, frames, opened.recovered))
}

fn open_well(options: &Options) -> (Log, Frames, Recovered) {
    open(options).expect("the log opens")
}

/// Says what a frame of this number holds in these tests; the length varies with the number.
fn ops_of(lsn: Lsn) -> Vec<u8> {
    format!("frame {lsn} ").bytes().cycle().take(20 + (lsn as usize * 37) % 300).collect()
}

/// Appends frames one by one, up to and including `last`.
fn append_up_to(log: &mut Log, last: Lsn) {
    let mut buffer = log.frame_buffer();
    while log.next_lsn() <= last {
        add(&mut buffer, &ops_of(log.next_lsn()));
        log.append(&mut buffer).expect("appended");
    }
}

fn add(buffer: &mut FrameBuffer, ops: &[u8]) -> Lsn {
    buffer.start();
    buffer.ops().extend_from_slice(ops);
    buffer.finish()
}

fn sync(log: &Log) {
    log.durability().wait(log.next_lsn() - 1).expect("synced");
}

#[track_caller]
fn check_frames(frames: &[(Lsn, Vec<u8>)], expected: std::ops::RangeInclusive<Lsn>) {
    let numbers: Vec<Lsn> = frames.iter().map(|(lsn, _)| *lsn).collect();
    assert_eq!(numbers, expected.collect::<Vec<_>>());
    for (lsn, ops) in frames {
        assert_eq!(*ops, ops_of(*lsn), "frame {lsn} holds what was appended");
    }
}

/// Copies the files of a log as they are at this moment in the kernel: what a killed process leaves.
fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    for entry in fs::read_dir(dir).expect("listed") {
        let entry = entry.expect("listed");
        // The keeper may take its unfinished file away meanwhile.
        let _ = fs::copy(entry.path(), copy.path().join(entry.file_name()));
    }
    copy
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).expect("read")
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(path).expect("opened");
    file.write_all_at(bytes, offset).expect("written");
}

/// Finds where in which file the frame with this number lies, by the start of what it holds.
fn place_of(dir: &Path, lsn: Lsn) -> (PathBuf, u64) {
    let ops = ops_of(lsn);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir).expect("listed").map(|entry| entry.expect("listed").path()).collect();
    paths.sort();
    for path in paths {
        let bytes = read(&path);
        if let Some(at) = bytes.windows(ops.len()).position(|window| window == ops) {
            return (path, (at - frame::FRAME_HEADER_BYTES) as u64);
        }
    }
    panic!("frame {lsn} is in no file");
}
