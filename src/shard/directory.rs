//! The data directory: made, checked, locked against a second server, and marked with the schema of what it holds.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What this version writes. Persisted in `VERSION`; raised when an older version could not read the new files.
pub const SCHEMA: u32 = 2;
/// The oldest that this version reads: without queues' counts and summaries, which are made as time goes on.
const SCHEMA_OLDEST: u32 = 1;

/// Only the server's own user may look in: payloads hold what customers said.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

const LOCK_FILE: &str = "LOCK";
const VERSION_FILE: &str = "VERSION";
/// Written whole and then renamed, so that a crash leaves either no `VERSION` or a good one.
const NEW_VERSION_FILE: &str = "VERSION.new";
const VERSION_PREFIX: &str = "millpond schema ";

/// Why the directory cannot be used; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("cannot make the data directory {path}: {reason}; choose another with --dir")]
    Create { path: PathBuf, reason: io::Error },
    #[error("the data directory {path} is no directory; choose another with --dir")]
    NotADirectory { path: PathBuf },
    #[error("cannot write in the data directory {path}: {reason}; it must belong to the user that runs the server")]
    NotWritable { path: PathBuf, reason: io::Error },
    #[error(
        "the data directory {path} is in use by another server{owner}; stop that one, or choose another directory with --dir"
    )]
    Locked { path: PathBuf, owner: String },
    #[error(
        "the data directory {path} has schema {found}, and this version knows up to {SCHEMA}; start a newer version on it"
    )]
    Newer { path: PathBuf, found: u32 },
    #[error("{path} is not what a server wrote: {found:?}; restore it, or choose another directory with --dir")]
    BadVersion { path: PathBuf, found: String },
}

/// A data directory that is ours until this is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes the directory if it is missing, and takes it.
    pub fn open(path: &Path) -> Result<Directory, DirectoryError> {
        create(path)?;
        // The absolute path is for messages and CONFIG GET dir; a relative one says little in a log.
        let path = fs::canonicalize(path).map_err(|reason| not_writable(path, reason))?;
        let lock = lock(&path)?;
        check_schema(&path)?;
        Ok(Directory { path, _lock: lock })
    }

    /// Gives the absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn create(path: &Path) -> Result<(), DirectoryError> {
    if path.exists() && !path.is_dir() {
        return Err(DirectoryError::NotADirectory { path: path.to_owned() });
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)
        .map_err(|reason| DirectoryError::Create { path: path.to_owned(), reason })
}

/// Takes the lock, which the kernel gives back when the process ends, and leaves our process id for the next one's message.
fn lock(path: &Path) -> Result<File, DirectoryError> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path.join(LOCK_FILE))
        .map_err(|reason| not_writable(path, reason))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            // Best effort: the message is good without it.
            let _ = file.read_to_string(&mut owner);
            let owner = owner.trim().parse::<u32>().map(|id| format!(" (process {id})")).unwrap_or_default();
            return Err(DirectoryError::Locked { path: path.to_owned(), owner });
        }
        Err(TryLockError::Error(reason)) => return Err(not_writable(path, reason)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|reason| not_writable(path, reason))?;
    Ok(file)
}

fn check_schema(path: &Path) -> Result<(), DirectoryError> {
    let version = path.join(VERSION_FILE);
    let text = match fs::read(&version) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return write_schema(path).map_err(|reason| not_writable(path, reason));
        }
        Err(reason) => return Err(not_writable(path, reason)),
    };
    match text.strip_prefix(VERSION_PREFIX).and_then(|number| number.trim_end().parse::<u32>().ok()) {
        Some(found) if found > SCHEMA => Err(DirectoryError::Newer { path: path.to_owned(), found }),
        Some(SCHEMA) => Ok(()),
        // What is written from now on, an older version could not read.
        Some(SCHEMA_OLDEST..SCHEMA) => write_schema(path).map_err(|reason| not_writable(path, reason)),
        _ => Err(DirectoryError::BadVersion { path: version, found: text.chars().take(60).collect() }),
    }
}

fn write_schema(path: &Path) -> io::Result<()> {
    let new = path.join(NEW_VERSION_FILE);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&new)?;
    writeln!(file, "{VERSION_PREFIX}{SCHEMA}")?;
    file.sync_all()?;
    fs::rename(&new, path.join(VERSION_FILE))?;
    File::open(path)?.sync_all()
}

fn not_writable(path: &Path, reason: io::Error) -> DirectoryError {
    DirectoryError::NotWritable { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn refusal(path: &Path) -> String {
        Directory::open(path).expect_err("it cannot be used").to_string()
    }

    #[test]
    fn a_missing_directory_is_made_for_its_owner_only() {
        let parent = tempfile::tempdir().expect("a temporary directory can be made");
        let directory = Directory::open(&parent.path().join("a/b")).expect("both are made");
        let mode = fs::metadata(directory.path()).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, DIRECTORY_MODE);
        assert!(directory.path().is_absolute());
    }

    #[test]
    fn a_second_server_is_refused_until_the_first_is_gone() {
        let parent = tempfile::tempdir().expect("a temporary directory can be made");
        let first = Directory::open(parent.path()).expect("it is free");
        let message = refusal(parent.path());
        assert!(message.contains("in use by another server"), "{message}");
        assert!(message.contains(&std::process::id().to_string()), "{message}");
        drop(first);
        Directory::open(parent.path()).expect("it is free again");
    }

    #[test]
    fn a_newer_schema_is_refused_and_left_alone() {
        let parent = tempfile::tempdir().expect("a temporary directory can be made");
        let version = parent.path().join(VERSION_FILE);
        fs::write(&version, "millpond schema 3\n").expect("it can be written");
        let message = refusal(parent.path());
        assert!(message.contains("schema 3") && message.contains("newer version"), "{message}");
        assert_eq!(fs::read_to_string(&version).expect("it is there"), "millpond schema 3\n");
    }

    #[test]
    fn an_older_schema_is_taken_over() {
        let parent = tempfile::tempdir().expect("a temporary directory can be made");
        let version = parent.path().join(VERSION_FILE);
        fs::write(&version, "millpond schema 1\n").expect("it can be written");
        Directory::open(parent.path()).expect("it can be used");
        assert_eq!(fs::read_to_string(&version).expect("it is there"), "millpond schema 2\n");
    }

    #[test]
    fn a_version_that_nobody_wrote_is_refused() {
        for text in ["", "13\n", "millpond schema x\n"] {
            let parent = tempfile::tempdir().expect("a temporary directory can be made");
            fs::write(parent.path().join(VERSION_FILE), text).expect("it can be written");
            assert!(refusal(parent.path()).contains("is not what a server wrote"));
        }
    }

    #[test]
    fn what_cannot_be_a_directory_is_named() {
        let parent = tempfile::tempdir().expect("a temporary directory can be made");
        let file = parent.path().join("file");
        fs::write(&file, "").expect("it can be written");
        assert!(refusal(&file).contains("is no directory"));
        let below = file.join("data");
        let message = refusal(&below);
        assert!(message.contains("cannot make") && message.contains(&below.display().to_string()), "{message}");
    }

    #[test]
    fn a_directory_without_write_permission_is_refused() {
        // /proc takes no files from anybody, so that this holds for root too.
        let message = refusal(Path::new("/proc"));
        assert!(message.contains("cannot write in the data directory /proc"), "{message}");
    }
}
