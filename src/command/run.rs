//! Running one command on behalf of EXEC and scripts, which cannot be interrupted any more.

use std::collections::HashSet;

use bytes::Bytes;

use crate::resp::Error;

use super::{Command, Context, Outcome, Stop};

/// Runs a command to its end although what it needs is not in memory: what is missing is read on the spot.
///
/// Only EXEC and scripts may do that, and only when they can no longer be run again; a walk keeps to bounded memory.
pub fn run_through(context: &mut Context, command: &Command, request: &[Bytes]) -> Outcome {
    // What a pop passes over or a pattern refers to shows only once the data before it is there: each attempt asks for
    // more, and how much it may be in all is the command's own limit.
    let mut asked = HashSet::new();
    loop {
        let missing = match (command.run)(context, request) {
            Err(Stop::Fetch(missing)) => missing,
            Err(Stop::Walk(walk)) => match walk.run_now(context) {
                // The end of a walk may change a chunk that was only read: with it in memory the walk ends well.
                Err(Stop::Fetch(missing)) => missing,
                other => return other,
            },
            other => return other,
        };
        let before = asked.len();
        asked.extend(missing.iter().copied());
        if asked.len() == before {
            return Err(Error::constant("ERR the data of this command was read and is missing all the same").into());
        }
        context.host.fetch_now(context.keys, &missing)?;
    }
}
