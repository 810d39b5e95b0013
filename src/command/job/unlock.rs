//! Giving back the locks of unique jobs that leave for good, as sidekiq-unique-jobs 7 to 9 keep them.

use crate::job::Job;
use crate::keyspace::{Kind, Miss};

use crate::command::{Context, Stop};

/// Behind a digest, and behind the digest of the lock that is held while the job runs.
const SUFFIXES: [&str; 5] = ["", ":QUEUED", ":PRIMED", ":LOCKED", ":INFO"];
const DIGESTS: &[u8] = b"uniquejobs:digests";

/// Makes sure that the set of all locks is in memory. One of another kind is none.
pub fn prepare(context: &mut Context) -> Result<(), Stop> {
    match context.keys.find_kind(DIGESTS, Kind::Zset) {
        Ok(_) | Err(Miss::WrongType) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

/// Deletes the lock of a job, if it has one.
pub fn unlock(context: &mut Context, job: &Job) -> Result<(), Stop> {
    let Some(digest) = job.lock_digest() else { return Ok(()) };
    for digest in [digest.to_string(), format!("{digest}:RUN")] {
        for suffix in SUFFIXES {
            if let Some(slot) = context.keys.find(format!("{digest}{suffix}").as_bytes()) {
                context.keys.delete(slot)?;
            }
        }
        if let Some(slot) = context.keys.find_kind(DIGESTS, Kind::Zset).unwrap_or(None)
            && context.keys.zset(slot).score(digest.as_bytes()).is_some()
        {
            context.keys.remove_names(slot, &[digest.as_bytes()])?;
        }
    }
    Ok(())
}
