//! Sockets: the only async code. Accepts, decodes, hands batches to the shard, writes the replies. It knows no keys.
//!
//! ```text
//! connection task   wait until readable ─▶ read into the buffer that all share ─▶ decode ─▶ inbox, wake the turn task
//! turn task         all of the inbox ─▶ Shard::turn ─▶ write each reply ─▶ (what a socket does not take: writer task)
//! ```
//! All of it runs on one thread. The scheduler runs woken tasks first in, first out, so the turn task comes behind every
//! connection that was ready in the same tick: they share one turn, and with it one write of the log. Replies are
//! written by the turn task itself; no hop to another thread or task lies on the way of a request.

mod accept;
mod connection;
mod hub;
mod listen;
mod open_files;
mod page;
#[cfg(test)]
mod tests;
mod turns;

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_local;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::shard::{Input, Shard};
use hub::Hub;
pub use listen::Listeners;
pub use open_files::fit_to_open_files;
pub use page::serve_page;

/// Where the server listens; settled at start.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Addresses or host names; `*` and `::*` stand for all, a leading `-` for "if it is there".
    pub bind: Vec<String>,
    /// 0: no TCP.
    pub port: u16,
    pub unixsocket: Option<PathBuf>,
    /// Permission bits of the Unix socket; 0 leaves what the umask gives.
    pub unixsocketperm: u32,
    /// How many connections wait in the kernel to be accepted, from one listener; the system has a limit too.
    pub tcp_backlog: u32,
}

/// What CONFIG SET may change while the server runs.
#[derive(Debug, Default)]
pub struct Limits {
    /// Connections above this are refused.
    pub maxclients: AtomicU64,
    /// Idle connections are closed after so many seconds; 0: never.
    pub timeout_s: AtomicU64,
    /// Seconds until the kernel asks whether a silent peer is still there; 0: never. Concerns new connections.
    pub tcp_keepalive_s: AtomicU64,
    /// The longest argument, in bytes.
    pub proto_max_bulk_bytes: AtomicU64,
    /// `protected-mode yes` and no password: only loopback and Unix sockets are let in.
    pub protected: AtomicBool,
    /// What requests under way and unsent replies of all connections together may hold: the clients' share of memory.
    pub clients_bytes: AtomicU64,
}

/// How long replies may take to leave once the shard wants the process to end.
const FLUSH_AT_EXIT_MAX: Duration = Duration::from_secs(3);

/// Serves until the shard says with which code the process ends. Call it when recovery is done: from here on it listens.
///
/// # Errors
/// An address that cannot be listened on, or no event loop from the kernel.
pub fn run(
    shard: Shard,
    options: &Options,
    limits: Arc<Limits>,
    metrics: Arc<Metrics>,
    clock: Clock,
) -> io::Result<i32> {
    let listeners = Listeners::bind(options)?;
    metrics.page.set_ready();
    let hub = Rc::new(Hub::new(limits, metrics));
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let code = runtime.block_on(serve(hub, shard, listeners, clock));
    if let Some(path) = &options.unixsocket {
        // Nobody answers there any more; the next start removes it too, so a failure harms nobody.
        let _ = std::fs::remove_file(path);
    }
    code
}

async fn serve(hub: Rc<Hub>, shard: Shard, listeners: Listeners, clock: Clock) -> io::Result<i32> {
    hear_signal(&hub, SignalKind::terminate())?;
    hear_signal(&hub, SignalKind::interrupt())?;
    spawn_local(hub::close_idle(hub.clone()));
    let mut accepting = Vec::new();
    for listener in listeners.into_sockets() {
        accepting.push(spawn_local(accept::accept_connections(hub.clone(), listener?)));
    }
    // A task of its own, not the future that `block_on` polls: that one is polled before the woken connections.
    let code = spawn_local(turns::run_turns(hub.clone(), shard, clock)).await;
    for task in accepting {
        task.abort();
    }
    // Fails only if time runs out, and then there is nobody to tell.
    let _ = tokio::time::timeout(FLUSH_AT_EXIT_MAX, hub.flushed()).await;
    code.map_err(io::Error::other)
}

fn hear_signal(hub: &Rc<Hub>, kind: SignalKind) -> io::Result<()> {
    let mut signals = signal(kind)?;
    let hub = hub.clone();
    spawn_local(async move {
        while signals.recv().await.is_some() {
            hub.deliver(Input::Terminate);
        }
    });
    Ok(())
}
