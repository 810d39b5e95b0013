//! placeholder until merged
use super::Command;
use crate::resp::{Error, Reply};
use crate::session::Session;
use bytes::Bytes;
pub fn is_immediate(_command: &Command) -> bool {
    true
}
pub fn queue_in_transaction(
    _session: &mut Session,
    _request: &[Bytes],
    _found: Result<&'static Command, Error>,
) -> Reply {
    Reply::Ok
}
