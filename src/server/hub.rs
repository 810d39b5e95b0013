//! What the tasks of the event loop share: the connections, the inbox of the next turn, and the clients' memory.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use socket2::Socket;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tracing::{debug, warn};

use super::Limits;
use super::connection::{Connection, State, Written, read_requests};
use crate::metrics::Metrics;
use crate::resp::{DecodeLimits, Decoder};
use crate::shard::{ClientId, Input, Outgoing, Peer, Sockets};

/// What one read takes at most: large enough for a deep pipeline, small enough to stay in the processor's cache.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Messages that a subscriber does not read; Redis' hard limit of the class `pubsub`.
const UNSENT_MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How often it is seen whether the last replies are out.
const FLUSH_LOOK_EVERY: Duration = Duration::from_millis(5);

/// See the module.
pub struct Hub {
    pub limits: Arc<Limits>,
    pub metrics: Arc<Metrics>,
    /// Every connection reads into this: only one reads at a time, and what it read is decoded before the next.
    pub read_buffer: RefCell<Box<[u8]>>,
    pub inbox: RefCell<VecDeque<Input>>,
    /// Wakes the turn task, from any thread.
    pub wake: Arc<Notify>,
    connections: RefCell<HashMap<ClientId, Rc<Connection>, BuildHasherDefault<ClientIdHasher>>>,
    last_id: Cell<ClientId>,
    /// Those that stopped reading until there is room.
    paused: RefCell<Vec<Rc<Connection>>>,
    /// Incomplete requests and unsent replies of all connections.
    pub held_bytes: Cell<usize>,
    /// Requests of all connections that the shard has but did not run.
    under_way_bytes: Cell<usize>,
    /// Seconds since the start, counted by a timer: near enough for idle connections, and no clock is read for it.
    pub seconds: Cell<u64>,
}

impl Hub {
    pub fn new(limits: Arc<Limits>, metrics: Arc<Metrics>) -> Hub {
        Hub {
            limits,
            metrics,
            read_buffer: RefCell::new(vec![0; READ_BYTES_MAX].into_boxed_slice()),
            inbox: RefCell::default(),
            wake: Arc::default(),
            connections: RefCell::default(),
            last_id: Cell::new(0),
            paused: RefCell::default(),
            held_bytes: Cell::new(0),
            under_way_bytes: Cell::new(0),
            seconds: Cell::new(0),
        }
    }

    /// Puts something into the next turn.
    pub fn deliver(&self, input: Input) {
        let mut inbox = self.inbox.borrow_mut();
        // Once is enough, and a second call would be remembered and make an empty turn after this one.
        if inbox.is_empty() {
            self.wake.notify_one();
        }
        inbox.push_back(input);
    }

    pub fn connected(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Takes a new connection in.
    pub fn connect(self: &Rc<Self>, socket: Socket, peer: Peer) -> io::Result<()> {
        let client = self.last_id.get() + 1;
        let connection = Rc::new(Connection::new(client, socket, self.seconds.get())?);
        self.last_id.set(client);
        self.connections.borrow_mut().insert(client, connection.clone());
        self.deliver(Input::Connected { client, peer });
        spawn_local(read_requests(self.clone(), connection));
        Ok(())
    }

    /// Decodes the first `count` bytes of the read buffer; `false` ends the reading.
    pub fn take_in(&self, connection: &Rc<Connection>, decoder: &mut Decoder, count: usize) -> bool {
        self.metrics.reads_processed.add_alone(1);
        self.metrics.net_input_bytes.add_alone(count as u64);
        connection.active_at_s.set(self.seconds.get());
        let limits =
            DecodeLimits { bulk_bytes_max: self.limits.proto_max_bulk_bytes.load(Relaxed), authenticated: true };
        let mut requests = Vec::new();
        let decoded = decoder.feed(&self.read_buffer.borrow()[..count], &limits, &mut requests);

        let client = connection.id;
        let partial_before = connection.partial_bytes.get();
        if !requests.is_empty() {
            connection.under_way_requests.set(connection.under_way_requests.get() + requests.len());
            self.set_under_way_bytes(connection, connection.under_way_bytes.get() + partial_before + count);
            self.deliver(Input::Requests { client, requests });
        }
        self.set_held(&connection.partial_bytes, decoder.held_bytes());
        self.shed_while_over();
        if let Err(error) = decoded
            && connection.is_open()
        {
            self.deliver(Input::Malformed { client, error });
            return false;
        }
        connection.is_open()
    }

    /// Hands the replies of a turn to their sockets; gives back the buffers that are free again.
    pub fn send(self: &Rc<Self>, outgoing: &mut Vec<Outgoing>, mut recycle: impl FnMut(Vec<u8>)) {
        for Outgoing { client, bytes, close, waiting_requests, subscribed } in outgoing.drain(..) {
            let connection = self.connections.borrow().get(&client).cloned();
            let Some(connection) = connection.filter(|connection| connection.is_open()) else {
                recycle(bytes);
                continue;
            };
            self.report(&connection, waiting_requests);
            connection.subscribed.set(subscribed);
            if let Some(free) = self.write(&connection, bytes) {
                recycle(free);
            }
            if close && connection.is_open() {
                connection.state.set(State::Closing);
                if connection.unsent_bytes.get() == 0 {
                    self.close(&connection);
                }
            }
        }
        self.shed_while_over();
        self.wake_paused();
    }

    /// Takes note of how many requests of a connection have not run.
    fn report(&self, connection: &Connection, waiting: usize) {
        let before = connection.under_way_requests.replace(waiting);
        // The shard counts requests, not bytes: those that wait are taken to be as long as those that ran.
        let bytes = connection.under_way_bytes.get() as u64 * waiting as u64 / before.max(waiting).max(1) as u64;
        self.set_under_way_bytes(connection, bytes as usize);
    }

    /// Writes at once what the socket takes, and sees to the rest; gives back the buffer if it is all out.
    fn write(self: &Rc<Self>, connection: &Rc<Connection>, bytes: Vec<u8>) -> Option<Vec<u8>> {
        if bytes.is_empty() {
            return Some(bytes);
        }
        connection.active_at_s.set(self.seconds.get());
        let is_behind = connection.unsent_bytes.get() > 0;
        let mut taken = 0;
        if !is_behind {
            self.metrics.writes_processed.add_alone(1);
            match connection.try_write(&bytes) {
                Ok(count) => taken = count,
                Err(_) => {
                    self.lose(connection);
                    return Some(bytes);
                }
            }
            self.metrics.net_output_bytes.add_alone(taken as u64);
            if taken == bytes.len() {
                return Some(bytes);
            }
        }
        let unsent = connection.unsent_bytes.get() + bytes.len() - taken;
        connection.keep_unsent(bytes, taken);
        self.set_held(&connection.unsent_bytes, unsent);
        if connection.subscribed.get() && unsent > UNSENT_MESSAGE_BYTES_MAX {
            self.shed(connection, "subscriber does not read its messages");
        } else if !is_behind {
            let writer = spawn_local(write_rest(self.clone(), connection.clone()));
            *connection.writer.borrow_mut() = Some(writer.abort_handle());
        }
        None
    }

    /// Ends a connection whose output is out.
    fn close(&self, connection: &Connection) {
        connection.say_goodbye();
        self.forget(connection, State::Lingering);
    }

    /// Ends a connection whose socket failed.
    pub fn lose(&self, connection: &Connection) {
        if connection.is_open() {
            self.deliver(Input::Closed { client: connection.id });
        }
        self.forget(connection, State::Closed);
    }

    /// Ends a connection that asks too much of this server.
    fn shed(&self, connection: &Connection, reason: &'static str) {
        let (unsent_bytes, partial_bytes) = (connection.unsent_bytes.get(), connection.partial_bytes.get());
        warn!(client = connection.id, unsent_bytes, partial_bytes, "connection closed: {reason}");
        self.metrics.connections_shed.count();
        self.lose(connection);
    }

    fn forget(&self, connection: &Connection, state: State) {
        connection.state.set(state);
        self.set_held(&connection.unsent_bytes, 0);
        self.set_held(&connection.partial_bytes, 0);
        self.set_under_way_bytes(connection, 0);
        // A task that ends itself here has nothing left to do, so being aborted does it no harm.
        if let Some(writer) = connection.writer.take() {
            writer.abort();
        }
        connection.wake_reader();
        self.connections.borrow_mut().remove(&connection.id);
    }

    /// Notes that a connection stopped reading until there is room.
    pub fn pause(&self, connection: &Rc<Connection>) {
        if !connection.paused.replace(true) {
            self.paused.borrow_mut().push(connection.clone());
        }
    }

    fn wake_paused(&self) {
        self.paused.borrow_mut().retain(|connection| {
            let stays = connection.is_open() && connection.is_full(self);
            if !stays {
                connection.paused.set(false);
                connection.wake_reader();
            }
            stays
        });
    }

    /// Tells whether requests that did not run fill the clients' share.
    pub fn is_full(&self) -> bool {
        self.under_way_bytes.get() as u64 >= self.limits.clients_bytes.load(Relaxed)
    }

    /// Closes whoever holds most until the clients' share is kept.
    fn shed_while_over(&self) {
        while self.held_bytes.get() as u64 > self.limits.clients_bytes.load(Relaxed) {
            let held = |connection: &Connection| connection.unsent_bytes.get() + connection.partial_bytes.get();
            let biggest = self.connections.borrow().values().max_by_key(|connection| held(connection)).cloned();
            let Some(biggest) = biggest.filter(|connection| held(connection) > 0) else { return };
            self.shed(&biggest, "the clients' share of memory is full, and this one holds most");
        }
    }

    fn set_held(&self, part: &Cell<usize>, bytes: usize) {
        self.held_bytes.set(self.held_bytes.get() - part.replace(bytes) + bytes);
        self.show_memory();
    }

    fn set_under_way_bytes(&self, connection: &Connection, bytes: usize) {
        self.under_way_bytes.set(self.under_way_bytes.get() - connection.under_way_bytes.replace(bytes) + bytes);
        self.show_memory();
    }

    fn show_memory(&self) {
        self.metrics.memory_clients_bytes.set((self.held_bytes.get() + self.under_way_bytes.get()) as u64);
    }

    /// Waits until no reply is unsent.
    pub async fn flushed(&self) {
        while self.connections.borrow().values().any(|connection| connection.unsent_bytes.get() > 0) {
            tokio::time::sleep(FLUSH_LOOK_EVERY).await;
        }
    }

    pub fn close_idle_now(&self) {
        let timeout_s = self.limits.timeout_s.load(Relaxed);
        if timeout_s == 0 {
            return;
        }
        let idle: Vec<Rc<Connection>> = self
            .connections
            .borrow()
            .values()
            .filter(|connection| {
                // More, not equal: the count of seconds is up to one ahead of the time that passed.
                let is_silent = self.seconds.get() - connection.active_at_s.get() > timeout_s;
                is_silent && connection.under_way_requests.get() == 0 && !connection.subscribed.get()
            })
            .cloned()
            .collect();
        for connection in idle {
            debug!(client = connection.id, "idle connection closed");
            self.lose(&connection);
        }
    }
}

impl Sockets for Hub {
    fn hung_up(&self, client: ClientId) -> bool {
        let connections = self.connections.borrow();
        connections.get(&client).is_none_or(|connection| !connection.is_open() || connection.has_hung_up())
    }
}

/// Closes connections that are idle for longer than `timeout`, once a second.
pub async fn close_idle(hub: Rc<Hub>) {
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        every_second.tick().await;
        hub.seconds.set(hub.seconds.get() + 1);
        hub.close_idle_now();
    }
}

/// Writes what the socket did not take at first, as it takes it.
async fn write_rest(hub: Rc<Hub>, connection: Rc<Connection>) {
    loop {
        let (written, count) = connection.write_unsent().await;
        hub.metrics.writes_processed.add_alone(1);
        hub.metrics.net_output_bytes.add_alone(count as u64);
        connection.active_at_s.set(hub.seconds.get());
        hub.set_held(&connection.unsent_bytes, connection.unsent_bytes.get() - count);
        hub.wake_paused();
        match written {
            Written::Some => {}
            Written::All => {
                if connection.state.get() == State::Closing {
                    hub.close(&connection);
                }
                return;
            }
            Written::Lost => return hub.lose(&connection),
        }
    }
}

/// Spreads client numbers, which we give out ourselves, so that nobody can choose colliding ones.
#[derive(Default)]
struct ClientIdHasher(u64);

impl Hasher for ClientIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("client numbers are u64");
    }

    fn write_u64(&mut self, client: u64) {
        // The odd number nearest to 2^64 divided by the golden ratio.
        self.0 = client.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
