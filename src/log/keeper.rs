//! Prepares segments ahead and takes back those that are no longer needed, so that an append meets neither.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::MutexGuard;

use super::disk::{open_for_writing, write_zeros};
use super::segment::{UNFINISHED_NAME, file_name};
use super::tail::{Prepared, Retired, Shared, Tail};

/// As many segments are made ahead: preparing one takes a fraction of the time in which one is filled.
const READY_SEGMENTS_MIN: usize = 1;
/// As many are kept of those that a checkpoint gives back: they spare the writing of new ones, and hold disk.
const READY_SEGMENTS_MAX: usize = 3;

/// Keeps segments ready until the log is stopped.
pub(super) fn run(shared: &Shared) {
    let mut tail = shared.tail.lock();
    // After a failure it rests until something changes: a segment was taken or given back.
    let mut gave_up = false;
    while !tail.stopping {
        let done = if let Some(retired) = tail.retired.pop() {
            let keep = retired.bytes == shared.segment_bytes && tail.ready.len() < READY_SEGMENTS_MAX;
            if keep { recycle(shared, &mut tail, &retired) } else { remove(&mut tail, &retired) }
        } else if tail.ready.len() < READY_SEGMENTS_MIN && !gave_up {
            make(shared, &mut tail).inspect_err(|_| gave_up = true)
        } else {
            gave_up = false;
            shared.keeper_wanted.wait(&mut tail);
            Ok(())
        };
        if let Err(error) = done {
            // Not the log's end: an append that finds nothing ready makes its own segment, and it reports what it meets.
            let dir = shared.directory.path.display();
            tracing::warn!(%dir, %error, "could not prepare or remove a segment of the log");
        }
    }
}

fn recycle(shared: &Shared, tail: &mut MutexGuard<'_, Tail>, retired: &Retired) -> io::Result<()> {
    let file = MutexGuard::unlocked(tail, || open_for_writing(&retired.path))?;
    name_and_add(shared, tail, retired.path.clone(), file, retired.bytes)
}

fn remove(tail: &mut MutexGuard<'_, Tail>, retired: &Retired) -> io::Result<()> {
    MutexGuard::unlocked(tail, || fs::remove_file(&retired.path))
}

fn make(shared: &Shared, tail: &mut MutexGuard<'_, Tail>) -> io::Result<()> {
    let path = shared.directory.path.join(UNFINISHED_NAME);
    let written = MutexGuard::unlocked(tail, || {
        let file = shared.directory.create(&path, shared.segment_bytes)?;
        match write_zeros(&file, shared.segment_bytes, || !shared.tail.lock().stopping) {
            Ok(()) => Ok(file),
            Err(error) => {
                fs::remove_file(&path)?;
                Err(error)
            }
        }
    });
    name_and_add(shared, tail, path, written?, shared.segment_bytes)
}

/// Gives a file the name of a future segment and adds it to the ready ones.
///
/// The number in the name is what says that an old header in the file is none, so the name is durable before any use.
fn name_and_add(
    shared: &Shared,
    tail: &mut MutexGuard<'_, Tail>,
    mut path: PathBuf,
    mut file: File,
    bytes: u64,
) -> io::Result<()> {
    loop {
        let number = tail.take_number();
        let new_path = shared.directory.path.join(file_name(number));
        MutexGuard::unlocked(tail, || {
            fs::rename(&path, &new_path)?;
            shared.directory.sync()
        })?;
        match tail.add_ready(Prepared { number, path: new_path, file, bytes }) {
            Ok(()) => return Ok(()),
            // An append made itself a segment with a greater number meanwhile.
            Err(passed) => (path, file) = (passed.path, passed.file),
        }
    }
}

/// Removes what a keeper that was killed had not finished.
pub(super) fn remove_unfinished(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(UNFINISHED_NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
