//! Scripts.
use super::Command;
use crate::resp::Error;
/// What the client of a killed script reads.
pub const KILLED: Error = Error::constant("ERR Error running script: it ran longer than busy-reply-threshold and was ended; nothing of it was written");
pub const COMMANDS: &[Command] = &[];
