//! Millpond: a job-queue server that speaks the Redis protocol and keeps its backlog on disk.

pub mod clock;
pub mod command;
pub mod keyspace;
pub mod log;
pub mod logging;
pub mod metrics;
pub mod resp;
pub mod script;
pub mod server;
pub mod session;
pub mod settings;
pub mod shard;
pub mod store;
