//! What one client has set: its user, database, protocol, name, transaction and subscriptions. A leaf.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use crate::resp::Protocol;

/// A connection, numbered from 1 in the order of arrival; never used twice. CLIENT ID shows it.
pub type ClientId = u64;

/// Where a connection comes from, as CLIENT LIST shows it.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// `127.0.0.1:51234`, or `path:0` for a Unix socket.
    pub address: String,
    pub local_address: String,
    pub fd: i32,
    pub unix_socket: bool,
    pub loopback: bool,
}

impl Peer {
    /// The host of its address, which its other connections share.
    pub fn host(&self) -> &str {
        self.address.rsplit_once(':').map_or(&self.address, |(host, _)| host)
    }
}

/// What CLIENT REPLY asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyMode {
    #[default]
    On,
    Off,
    /// The reply to this command is left out (it is CLIENT REPLY SKIP itself) …
    SkipNext,
    /// … and that to the next one.
    Skip,
}

/// Commands queued since MULTI.
#[derive(Debug, Default)]
pub struct Transaction {
    pub queue: Vec<Vec<Bytes>>,
    /// What the queue takes.
    pub bytes: usize,
    /// A command could not be queued: EXEC will refuse.
    pub aborted: bool,
    /// How often EXEC has asked for data so far.
    pub fetches: u8,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    pub id: ClientId,
    pub peer: Peer,
    pub protocol: Protocol,
    pub database: usize,
    pub authenticated: bool,
    pub name: Bytes,
    pub library_name: Bytes,
    pub library_version: Bytes,
    pub reply_mode: ReplyMode,
    pub no_evict: bool,
    pub no_touch: bool,
    pub transaction: Option<Transaction>,
    /// What WATCH named: (database, key).
    pub watching: Vec<(usize, Box<[u8]>)>,
    /// How often the script that is being run has begun again to have data fetched.
    pub script_attempts: u8,
    pub channels: BTreeSet<Bytes>,
    pub patterns: BTreeSet<Bytes>,
    /// On the monotonic clock.
    pub connected_at: Duration,
    pub last_command_at: Duration,
    pub last_command: &'static str,
    /// Waits in a blocking command.
    pub blocked: bool,
    /// Is closed as soon as its replies are written.
    pub closing: bool,
}

impl Session {
    pub fn new(id: ClientId, peer: Peer, now: Duration) -> Session {
        Session {
            id,
            peer,
            protocol: Protocol::Resp2,
            database: 0,
            authenticated: true,
            name: Bytes::new(),
            library_name: Bytes::new(),
            library_version: Bytes::new(),
            reply_mode: ReplyMode::On,
            no_evict: false,
            no_touch: false,
            transaction: None,
            watching: Vec::new(),
            script_attempts: 0,
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            connected_at: now,
            last_command_at: now,
            last_command: "NULL",
            blocked: false,
            closing: false,
        }
    }

    /// How many channels and patterns it listens to.
    pub fn subscriptions(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    /// In RESP2 a subscriber may only send a few commands, since replies and messages look alike.
    pub fn is_subscriber(&self) -> bool {
        self.protocol == Protocol::Resp2 && self.subscriptions() > 0
    }
}
