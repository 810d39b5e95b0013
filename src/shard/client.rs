//! One connection as the shard sees it: its session, what it sent and has not run, and what it has not been told yet.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::command::{Stop, Wait, Walk};
use crate::keyspace::recovery::Fetched;
use crate::keyspace::{Kind, Missing};
use crate::log::Lsn;
use crate::resp::{Error, Reply, encode};
use crate::session::Session;

use super::waiters::Place;

/// A request: the command's name and its arguments.
pub type Request = Vec<Bytes>;

/// What a client is doing.
///
/// ```text
/// Ready ── blocking command finds nothing ──▶ Parked ── its key grew, or time is over ──▶ Ready
///   ├──── data is not in memory ────────────▶ Fetching ── all of it is here ─────────────▶ Ready (the command runs again)
///   ├──── more than may be fetched ─────────▶ Walking ── walked over ────────────────────▶ Ready
///   └──── the store is behind ──────────────▶ Held ── it has caught up, or push-wait ────▶ Ready (it runs, or is refused)
/// ```
/// A client that hangs up while it is parked or held is dropped, and its command with it.
#[derive(Debug)]
pub enum State {
    Ready,
    Parked(Parked),
    Fetching(Fetching),
    Walking(Walking),
    Held { request: Request, until: Duration },
}

/// A client in a blocking command.
#[derive(Debug)]
pub struct Parked {
    pub request: Request,
    pub wait: Wait,
    pub place: Place,
    pub database: usize,
}

/// A client whose command waits for the store.
#[derive(Debug)]
pub struct Fetching {
    pub request: Request,
    /// All that it has asked for so far: what came early may have had to leave memory again, so all is held until the
    /// last piece is here, and then put into place at once.
    pub wanted: Vec<Missing>,
    pub arrived: Vec<(Missing, Fetched)>,
    pub outstanding: usize,
    pub failed: Option<String>,
    /// It was parked before; it keeps its place and its deadline.
    pub parked: Option<(Wait, Place, usize)>,
}

/// A client whose command walks.
#[derive(Debug)]
pub struct Walking {
    pub walk: Box<Walk>,
    pub outstanding: usize,
    pub failed: Option<String>,
    pub token: u64,
    pub database: usize,
    /// What its end has asked for so far, all of it put into place at once, as in [`Fetching`].
    pub wanted: Vec<Missing>,
    pub arrived: Vec<(Missing, Fetched)>,
}

/// See the module.
#[derive(Debug)]
pub struct Client {
    /// Taken out while one of its commands runs.
    pub session: Option<Box<Session>>,
    pub pending: VecDeque<Request>,
    pub malformed: Option<Error>,
    /// It sends nothing more.
    pub ended: bool,
    pub state: State,
    /// It stands in the queue of those whose requests may run.
    pub queued: bool,
    /// The server is to hear of it at the end of the turn.
    pub touched: bool,
    /// Replies that may leave once this frame is durable …
    out: Vec<u8>,
    gate: Lsn,
    /// … and those behind them, which may have to wait for a later one.
    behind: Vec<u8>,
    behind_gate: Lsn,
}

impl Client {
    pub fn new(session: Session) -> Client {
        Client {
            session: Some(Box::new(session)),
            pending: VecDeque::new(),
            malformed: None,
            ended: false,
            state: State::Ready,
            queued: false,
            touched: false,
            out: Vec::new(),
            gate: 0,
            behind: Vec::new(),
            behind_gate: 0,
        }
    }

    /// Puts a reply behind what is there already; it leaves once `gate` is durable.
    pub fn reply(&mut self, reply: &Reply, protocol: crate::resp::Protocol, gate: Lsn, free: &mut Vec<Vec<u8>>) {
        if self.out.is_empty() || self.gate >= gate && self.behind.is_empty() {
            if self.out.capacity() == 0 {
                self.out = free.pop().unwrap_or_default();
            }
            self.gate = self.gate.max(gate);
            encode(reply, protocol, &mut self.out);
        } else {
            self.behind_gate = self.behind_gate.max(gate);
            encode(reply, protocol, &mut self.behind);
        }
    }

    /// Takes what may leave when everything up to `durable` is on disk.
    pub fn take_replies(&mut self, durable: Lsn) -> Vec<u8> {
        if self.gate > durable {
            return Vec::new();
        }
        let mut out = std::mem::take(&mut self.out);
        self.gate = 0;
        if !self.behind.is_empty() {
            if self.behind_gate <= durable {
                out.append(&mut self.behind);
            } else {
                self.out = std::mem::take(&mut self.behind);
                self.gate = self.behind_gate;
            }
            self.behind_gate = 0;
        }
        out
    }

    /// Nothing is left to be written.
    pub fn is_drained(&self) -> bool {
        self.out.is_empty() && self.behind.is_empty()
    }

    /// How many of its requests have not run, the one under way included.
    pub fn waiting_requests(&self) -> usize {
        self.pending.len() + usize::from(!matches!(self.state, State::Ready))
    }

    /// It is closed once its replies are out, and nothing more of it runs.
    pub fn is_closing(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.closing)
    }

    /// Forgets what it sent and did not run.
    pub fn drop_requests(&mut self) {
        self.pending.clear();
        self.malformed = None;
    }

    /// It is parked until some key is of this kind, and nobody has ended it meanwhile.
    pub fn waits_for(&self, kind: Kind) -> bool {
        matches!(&self.state, State::Parked(parked) if parked.wait.kind == kind) && !self.is_closing()
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready)
    }
}

/// Turns what a command could not deal with into the error that the client reads; none where it has to wait.
pub fn error_of(stop: &Stop) -> Option<Error> {
    match stop {
        Stop::Error(error) => Some(error.clone()),
        Stop::Killed => Some(Error::constant(
            "ERR Error running script: it ran longer than busy-reply-threshold and was ended; nothing of it was written",
        )),
        Stop::Wait(_) | Stop::Fetch(_) | Stop::Walk(_) | Stop::Refused => None,
    }
}
