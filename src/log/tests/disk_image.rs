//! What the disk holds for sure: each file as it was at its last sync, whoever asked for it.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{LazyLock, Mutex};

/// Files of the other tests and measurements are not worth remembering.
const REMEMBERED_BYTES_MAX: u64 = 1 << 20;

type FileId = (u64, u64);

static IMAGE: LazyLock<Mutex<HashMap<FileId, Vec<u8>>>> = LazyLock::new(Mutex::default);

/// Returns what the file holds in the kernel.
pub fn contents(file: &File) -> Vec<u8> {
    let bytes = file.metadata().expect("an open file").len();
    let mut contents = vec![0; if bytes <= REMEMBERED_BYTES_MAX { bytes as usize } else { 0 }];
    // A handle that cannot read belongs to a test of its own.
    let _ = file.read_exact_at(&mut contents, 0);
    contents
}

/// Notes that the disk holds at least this of the file.
pub fn remember(file: &File, contents: Vec<u8>) {
    IMAGE.lock().expect("no test panics in here").insert(id(file), contents);
}

/// Notes that the file is new, though another one had its inode before.
pub fn forget(file: &File) {
    IMAGE.lock().expect("no test panics in here").remove(&id(file));
}

/// Returns what the disk surely holds of the file; nothing if it was never synced.
pub fn durable(file: &File) -> Vec<u8> {
    IMAGE.lock().expect("no test panics in here").get(&id(file)).cloned().unwrap_or_default()
}

fn id(file: &File) -> FileId {
    let metadata = file.metadata().expect("an open file");
    (metadata.dev(), metadata.ino())
}
