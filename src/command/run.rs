//! Running one command on behalf of EXEC and scripts, which cannot be interrupted any more.

use bytes::Bytes;

use crate::resp::Error;

use super::{Command, Context, Outcome, Stop};

/// Runs a command to its end although what it needs is not in memory: what is missing is read on the spot.
///
/// Only EXEC and scripts may do that, and only when they can no longer be run again; a walk keeps to bounded memory.
pub fn run_through(context: &mut Context, command: &Command, request: &[Bytes]) -> Outcome {
    for _ in 0..ATTEMPTS_MAX {
        match (command.run)(context, request) {
            Err(Stop::Fetch(missing)) => context.host.fetch_now(context.keys, &missing)?,
            Err(Stop::Walk(walk)) => match walk.run_now(context) {
                // The end of a walk may change a chunk that was only read: with it in memory the walk ends well.
                Err(Stop::Fetch(missing)) => context.host.fetch_now(context.keys, &missing)?,
                other => return other,
            },
            other => return other,
        }
    }
    Err(Error::new("ERR the data of this command cannot be kept in memory long enough; raise maxmemory").into())
}

/// A command asks for all that it misses, so one attempt is enough unless it follows references.
const ATTEMPTS_MAX: usize = 16;
