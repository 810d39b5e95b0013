//! What one reply and one stored value may take. Both are refused before memory is filled, with an error that names the
//! setting to raise.

use crate::resp::Error;

use super::Context;

/// What an element of a reply costs beside its bytes: its value in memory and its header on the wire.
const REPLY_ELEMENT_BYTES: u64 = 32;

/// Room that is left in one reply.
#[derive(Debug)]
pub struct ReplyRoom {
    bytes: u64,
    limit: u64,
}

impl ReplyRoom {
    pub fn new(context: &Context) -> ReplyRoom {
        ReplyRoom { bytes: 0, limit: context.host.settings().reply_bytes_max() }
    }

    /// Takes room for one element.
    pub fn take(&mut self, element_bytes: usize) -> Result<(), Error> {
        self.bytes += element_bytes as u64 + REPLY_ELEMENT_BYTES;
        if self.bytes <= self.limit {
            return Ok(());
        }
        Err(Error::new(format!(
            "ERR the reply would be longer than reply-bytes-max ({} bytes); ask for less at a time",
            self.limit
        )))
    }
}

/// Refuses a value that would take more memory than one value may.
pub fn check_value(context: &Context, bytes: usize) -> Result<(), Error> {
    let limit = context.host.settings().value_bytes_max();
    if bytes as u64 <= limit {
        return Ok(());
    }
    Err(Error::new(format!("ERR the value would be larger than a quarter of maxmemory ({limit} bytes)")))
}
