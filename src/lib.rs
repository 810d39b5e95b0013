//! Millpond: a job-queue server that speaks the Redis protocol and keeps its backlog on disk.

pub mod clock;
pub mod log;
pub mod resp;
pub mod script;
pub mod server;
pub mod shard;
pub mod store;
