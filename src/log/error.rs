//! What can go wrong with the log, in words for the person who has to act.

use std::io;
use std::path::{Path, PathBuf};

use super::Lsn;

/// Whatever the one who is handed the frames at a replay has to complain about.
pub type VisitError = Box<dyn std::error::Error + Send + Sync>;

/// Is handed the frames at a replay, in order.
pub type Visit<'a> = dyn FnMut(Lsn, &[u8]) -> Result<(), VisitError> + 'a;

/// Tells why an append or a wait did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Not final: nothing was written, the same buffer may be appended later.
    #[error("no space is left on the disk that holds the log")]
    NoSpace,
    /// Final for this process: what the disk holds is no longer known.
    #[error("the log has failed: {0}")]
    Failed(String),
    #[error("the log is closed")]
    Closed,
}

/// Tells why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot {doing} {}: {source}", path.display())]
    Disk { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("{} has log format {found}, this program knows {known}; start the program that wrote it", path.display())]
    Format { path: PathBuf, found: u32, known: u32 },
    #[error(
        "the log is damaged: frame {lsn} should be in {} at byte {offset} and cannot be read, yet every frame up to \
         {known_durable} was known to be on disk. Restore that file from a copy, or start with --repair: it cuts the log \
         there, and the effects of frame {lsn} and of all later ones are lost unless the store already has them.",
        path.display()
    )]
    Damaged { path: PathBuf, offset: u64, lsn: Lsn, known_durable: Lsn },
    #[error("frame {lsn} of the log could not be replayed: {source}")]
    Replay { lsn: Lsn, source: VisitError },
}

impl OpenError {
    /// Returns a function that says what was being done to which file when the disk complained.
    pub(super) fn disk(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
        let path = path.to_owned();
        move |source| OpenError::Disk { doing, path, source }
    }
}

/// Says whether an error means that the disk, or the user's part of it, is full.
pub(super) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
