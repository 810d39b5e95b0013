//! The few calls to the kernel that the standard library does not have, and the log's directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How much is zeroed between two looks at whether to stop; also how much dirty data that work has in flight, which bounds
/// how long a sync of the log can be held up by it.
pub(super) const ZERO_STEP_BYTES: usize = 1 << 20;

static ZEROS: [u8; ZERO_STEP_BYTES] = [0; ZERO_STEP_BYTES];

/// The directory of the log, held so that it can be synced, and locked against a second process.
#[derive(Debug)]
pub(super) struct Directory {
    pub path: PathBuf,
    handle: File,
    /// Tests pretend with it that the disk is full.
    #[cfg(test)]
    pub full: std::sync::atomic::AtomicBool,
}

impl Directory {
    /// Opens the directory and makes it if it is missing.
    pub fn open(path: &Path) -> io::Result<Directory> {
        if !path.exists() {
            fs::create_dir_all(path)?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        let handle = File::open(path)?;
        Ok(Directory {
            path: path.to_owned(),
            handle,
            #[cfg(test)]
            full: std::sync::atomic::AtomicBool::new(false),
        })
    }

    /// Takes the directory for this process; false if another one has it.
    pub fn lock(&self) -> io::Result<bool> {
        match self.handle.try_lock() {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    pub fn unlock(&self) {
        if let Err(error) = self.handle.unlock() {
            tracing::warn!(dir = %self.path.display(), %error, "could not unlock the log");
        }
    }

    /// Makes the names of the files in the directory durable.
    pub fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    /// Creates a file of `bytes` bytes that are reserved on disk but not yet written.
    ///
    /// Leaves nothing behind when the disk is full.
    pub fn create(&self, path: &Path, bytes: u64) -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        match self.reserve(&file, bytes) {
            Ok(()) => {
                #[cfg(test)]
                super::tests::disk_image::forget(&file);
                Ok(file)
            }
            Err(error) => {
                fs::remove_file(path)?;
                Err(error)
            }
        }
    }

    fn reserve(&self, file: &File, bytes: u64) -> io::Result<()> {
        #[cfg(test)]
        if self.full.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        reserve(file, bytes)
    }
}

/// Opens a file of the log for reading and writing.
pub(super) fn open_for_writing(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Writes zeros over a file and syncs it, so that later writes need no new blocks and no change of metadata.
///
/// Stops early when `keep_going` says no; the file is then only partly written, which costs speed, not correctness.
pub(super) fn write_zeros(file: &File, bytes: u64, keep_going: impl Fn() -> bool) -> io::Result<()> {
    let mut offset = 0;
    while offset < bytes && keep_going() {
        let step = ZERO_STEP_BYTES.min((bytes - offset) as usize);
        file.write_all_at(&ZEROS[..step], offset)?;
        // Not a sync each time: every one makes the file system commit, and appends elsewhere wait for that.
        finish_writeback(file, offset, offset + step as u64);
        offset += step as u64;
    }
    sync_data(file)
}

/// Makes what a file holds durable.
pub(super) fn sync_data(file: &File) -> io::Result<()> {
    // What was written while the sync ran may have been left out, so tests count what was there before.
    #[cfg(test)]
    let before = super::tests::disk_image::contents(file);
    file.sync_data()?;
    #[cfg(test)]
    super::tests::disk_image::remember(file, before);
    Ok(())
}

fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    // SAFETY: the descriptor is open for the whole call, and no memory is passed.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes as libc::off_t) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // Some file systems cannot reserve. Blocks are then found at the first write, which is slower and may meet a full disk.
    if error.raw_os_error() == Some(libc::EOPNOTSUPP) { file.set_len(bytes) } else { Err(error) }
}

/// Asks the kernel to begin writing a range of a file to disk, without waiting for it.
///
/// It promises nothing, it only leaves less to do for the sync that follows; so an error is left for that sync to find.
pub(super) fn begin_writeback(file: &File, from: u64, to: u64) {
    sync_file_range(file, from, to, libc::SYNC_FILE_RANGE_WRITE);
}

/// Waits until a range of a file has gone to the disk, so that no more than that is on its way; promises nothing either.
fn finish_writeback(file: &File, from: u64, to: u64) {
    sync_file_range(file, from, to, libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER);
}

fn sync_file_range(file: &File, from: u64, to: u64, flags: libc::c_uint) {
    let (offset, bytes) = (from as libc::off64_t, (to - from) as libc::off64_t);
    // SAFETY: the descriptor is open for the whole call, and no memory is passed.
    unsafe { libc::sync_file_range(file.as_raw_fd(), offset, bytes, flags) };
}
