//! The one owner of the data: sessions, keyspace, log and store behind one function, [`Shard::turn`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Now;
use crate::resp::{Error, Protocol, Reply, encode};

/// A connection, numbered from 1 in the order of arrival; never used twice. CLIENT ID shows it.
pub type ClientId = u64;

/// What the server hands to a turn.
#[derive(Debug)]
pub enum Input {
    Connected {
        client: ClientId,
        peer: Peer,
    },
    /// Whole requests, in the order in which they came; `requests[i][0]` is the command's name.
    Requests {
        client: ClientId,
        requests: Vec<Vec<Bytes>>,
    },
    /// The bytes after the last request are no RESP: the error is answered after what came before, then it is closed.
    Malformed {
        client: ClientId,
        error: Error,
    },
    /// The client sends nothing more, but may still read, as `printf … | nc` does. What it sent runs, until something
    /// of it would wait: then, or when all has run, the shard closes it by an [`Outgoing`] and forgets it. A client that
    /// is parked already is closed at once.
    Ended {
        client: ClientId,
    },
    /// The connection is gone: whatever it sent and did not run is dropped.
    Closed {
        client: ClientId,
    },
    /// SIGTERM or SIGINT.
    Terminate,
}

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

/// What a turn wants written to one connection. There is one for every client that had input in this turn or whose
/// `waiting_requests` changed, even if nothing is to be written: by it the server knows that it may read on.
#[derive(Debug)]
pub struct Outgoing {
    pub client: ClientId,
    pub bytes: Vec<u8>,
    /// Close the connection once the bytes are written. The shard has forgotten the client; no `Closed` will follow, and
    /// input of it that was on its way is to be ignored.
    pub close: bool,
    /// How many of the client's requests have not run yet, a parked one included; the server stops reading from it at
    /// a limit, and does not take it for idle while there are any.
    pub waiting_requests: usize,
    /// The client is subscribed to something: it may be silent for any time, and has to read what it is sent.
    pub subscribed: bool,
}

/// What the server knows of sockets and the shard has to ask.
pub trait Sockets {
    /// Tells whether the client is known to have hung up; looked at right before it is given a job.
    fn hung_up(&self, client: ClientId) -> bool;
}

/// How a turn ended.
#[derive(Debug, Default)]
pub struct Turned {
    /// When `turn` wants to be called again even without input, on the monotonic clock.
    pub wake_at: Option<Duration>,
    /// More requests are ready than one turn takes: look at the sockets, then call again at once.
    pub more: bool,
    /// The process ends with this code, after the replies are written.
    pub exit: Option<i32>,
}

/// A stand-in for the server's tests until the real shard is here.
#[derive(Default)]
pub struct Shard {
    clients: BTreeMap<ClientId, Client>,
    parked: VecDeque<ClientId>,
    jobs: VecDeque<Bytes>,
    free: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Client {
    requests: VecDeque<Vec<Bytes>>,
    output: Vec<u8>,
    parked: bool,
    subscribed: bool,
    ended: bool,
    close: bool,
    touched: bool,
    malformed: Option<Error>,
}

impl Shard {
    pub fn turn(
        &mut self,
        _now: Now,
        inputs: &mut VecDeque<Input>,
        sockets: &dyn Sockets,
        outgoing: &mut Vec<Outgoing>,
    ) -> Turned {
        let mut turned = Turned::default();
        let mut touched = Vec::new();
        for input in inputs.drain(..) {
            let client = match &input {
                Input::Connected { client, .. }
                | Input::Requests { client, .. }
                | Input::Malformed { client, .. }
                | Input::Ended { client }
                | Input::Closed { client } => *client,
                Input::Terminate => {
                    turned.exit = Some(0);
                    continue;
                }
            };
            if let Input::Connected { .. } = input {
                self.clients.insert(client, Client::default());
            }
            let Some(state) = self.clients.get_mut(&client) else { continue };
            if !state.touched {
                state.touched = true;
                touched.push(client);
            }
            match input {
                Input::Requests { requests, .. } => state.requests.extend(requests),
                Input::Malformed { error, .. } => state.malformed = Some(error),
                Input::Ended { .. } => state.ended = true,
                Input::Closed { .. } => drop(self.clients.remove(&client)),
                _ => {}
            }
        }
        let mut budget = 1024;
        let mut index = 0;
        while index < touched.len() {
            let id = touched[index];
            index += 1;
            while budget > 0 {
                let Some(client) = self.clients.get_mut(&id) else { break };
                if client.parked || client.close {
                    break;
                }
                let Some(request) = client.requests.pop_front() else { break };
                budget -= 1;
                if client.output.capacity() == 0 {
                    client.output = self.free.pop().unwrap_or_default();
                }
                self.run(id, &request, sockets, &mut turned, &mut touched);
            }
        }
        for id in touched {
            let Some(client) = self.clients.get_mut(&id) else { continue };
            client.touched = false;
            if client.requests.is_empty()
                && !client.parked
                && let Some(error) = client.malformed.take()
            {
                encode(&error.into(), Protocol::Resp2, &mut client.output);
                client.close = true;
            }
            client.close |= client.ended && (client.parked || client.requests.is_empty());
            outgoing.push(Outgoing {
                client: id,
                bytes: std::mem::take(&mut client.output),
                close: client.close,
                waiting_requests: client.requests.len() + usize::from(client.parked),
                subscribed: client.subscribed,
            });
            if client.close {
                self.clients.remove(&id);
                self.parked.retain(|parked| *parked != id);
            } else if !client.requests.is_empty() && !client.parked {
                inputs.push_back(Input::Requests { client: id, requests: Vec::new() });
                turned.more = true;
            }
        }
        turned
    }

    fn run(
        &mut self,
        id: ClientId,
        request: &[Bytes],
        sockets: &dyn Sockets,
        turned: &mut Turned,
        touched: &mut Vec<ClientId>,
    ) {
        let client = self.clients.get_mut(&id).expect("it runs");
        let reply = match &request[0].to_ascii_uppercase()[..] {
            b"PING" => Reply::status("PONG"),
            b"ECHO" => Reply::Bulk(request[1].clone()),
            b"SET" => Reply::Ok,
            b"LPOP" => self.jobs.pop_front().map_or(Reply::Null, Reply::Bulk),
            b"BLPOP" => match self.jobs.pop_front() {
                Some(job) => Reply::Array(vec![Reply::bulk("q"), Reply::Bulk(job)]),
                None => {
                    client.parked = true;
                    self.parked.push_back(id);
                    Reply::Silent
                }
            },
            b"LPUSH" => {
                self.jobs.push_back(request[2].clone());
                Reply::Integer(1)
            }
            b"SUBSCRIBE" => {
                client.subscribed = true;
                Reply::Ok
            }
            b"PUBLISH" => {
                for (other, subscriber) in self.clients.iter_mut().filter(|(_, client)| client.subscribed) {
                    encode(&Reply::Bulk(request[2].clone()), Protocol::Resp2, &mut subscriber.output);
                    if !std::mem::replace(&mut subscriber.touched, true) {
                        touched.push(*other);
                    }
                }
                Reply::Integer(1)
            }
            b"QUIT" => {
                client.close = true;
                Reply::Ok
            }
            b"SHUTDOWN" => {
                turned.exit = Some(0);
                Reply::Silent
            }
            _ => Reply::Error(Error::new("ERR unknown command")),
        };
        let client = self.clients.get_mut(&id).expect("it runs");
        encode(&reply, Protocol::Resp2, &mut client.output);
        while !self.jobs.is_empty() {
            let Some(waiter) = self.parked.pop_front() else { break };
            let Some(client) = self.clients.get_mut(&waiter).filter(|_| !sockets.hung_up(waiter)) else { continue };
            let job = self.jobs.pop_front().expect("there is one");
            client.parked = false;
            encode(&Reply::Array(vec![Reply::bulk("q"), Reply::Bulk(job)]), Protocol::Resp2, &mut client.output);
            if !std::mem::replace(&mut client.touched, true) {
                touched.push(waiter);
            }
        }
    }

    /// Sets what background threads call when they have something for the next turn; any thread, any time.
    pub fn set_waker(&mut self, _wake: std::sync::Arc<dyn Fn() + Send + Sync>) {}

    /// Takes back a reply buffer that has been written, so that its memory is used again.
    pub fn recycle(&mut self, mut bytes: Vec<u8>) {
        if self.free.len() < 64 && bytes.capacity() <= 64 * 1024 {
            bytes.clear();
            self.free.push(bytes);
        }
    }
}
