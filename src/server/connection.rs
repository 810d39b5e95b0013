//! One connection: what it holds, and the task that reads from it.
//!
//! ```text
//! Open ──▶ Closing ──▶ Lingering ──▶ Closed
//!  │          │        output is out, the peer was told; what it still sends is thrown away
//!  │          the shard wants it closed once the output is out
//!  └──────────┴──▶ Closed   the socket failed, or the connection held too much
//! ```

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use socket2::Socket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{AbortHandle, yield_now};

use super::hub::Hub;
use crate::resp::Decoder;
use crate::shard::{ClientId, Input};

/// A connection is not read from while so many of its requests have not run: as many as a turn takes.
const WAITING_REQUESTS_MAX: usize = 1024;
/// The same in bytes of requests.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// A connection is not read from while so many bytes of its replies are unsent: asking on costs it nothing otherwise.
const UNSENT_BYTES_MAX: usize = 1024 * 1024;
/// How long a peer has to stop sending after it was told that the connection ends. Closing at once would reset the
/// connection and could take the last reply, which says why, away from it.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// See the module.
pub struct Connection {
    pub id: ClientId,
    socket: AsyncFd<Socket>,
    pub state: Cell<State>,
    /// Wakes the task that reads.
    reader: RefCell<Option<Waker>>,
    /// Ends the task that writes what the socket did not take.
    pub writer: RefCell<Option<AbortHandle>>,
    unsent: RefCell<Unsent>,
    pub unsent_bytes: Cell<usize>,
    /// What the beginning of an incomplete request holds.
    pub partial_bytes: Cell<usize>,
    /// Requests handed to the shard that have not run, and about how many bytes they hold.
    pub under_way_requests: Cell<usize>,
    pub under_way_bytes: Cell<usize>,
    pub subscribed: Cell<bool>,
    /// In the hub's list of those that wait for room.
    pub paused: Cell<bool>,
    /// The peer sends no more: what lies in the kernel is finite and may be read without regard to limits.
    ended: Cell<bool>,
    /// When something last came or went, by the hub's count of seconds.
    pub active_at_s: Cell<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Open,
    Closing,
    Lingering,
    Closed,
}

#[derive(Default)]
struct Unsent {
    buffers: VecDeque<Vec<u8>>,
    /// How much of the first buffer the socket has taken.
    taken: usize,
}

/// What became of bytes that were to be written.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    All,
    /// The socket takes no more for now.
    Some,
    Lost,
}

/// What a read brought.
enum Arrival {
    Bytes(usize),
    End,
    Lost,
    /// The connection was closed from this side.
    Closed,
}

impl Connection {
    pub fn new(id: ClientId, socket: Socket, now_s: u64) -> io::Result<Connection> {
        Ok(Connection {
            id,
            socket: watch(socket)?,
            state: Cell::new(State::Open),
            reader: RefCell::default(),
            writer: RefCell::default(),
            unsent: RefCell::default(),
            unsent_bytes: Cell::new(0),
            partial_bytes: Cell::new(0),
            under_way_requests: Cell::new(0),
            under_way_bytes: Cell::new(0),
            subscribed: Cell::new(false),
            paused: Cell::new(false),
            ended: Cell::new(false),
            active_at_s: Cell::new(now_s),
        })
    }

    pub fn is_open(&self) -> bool {
        self.state.get() == State::Open
    }

    /// Lets the reading task look at the state again.
    pub fn wake_reader(&self) {
        if let Some(reader) = &*self.reader.borrow() {
            reader.wake_by_ref();
        }
    }

    /// Tells whether reading has to wait. A connection with nothing under way may always read: otherwise the parked
    /// requests of a few could silence everybody.
    pub fn is_full(&self, hub: &Hub) -> bool {
        !self.ended.get()
            && (self.under_way_requests.get() >= WAITING_REQUESTS_MAX
                || self.under_way_bytes.get() >= WAITING_BYTES_MAX
                || self.unsent_bytes.get() >= UNSENT_BYTES_MAX
                || (self.under_way_requests.get() > 0 && hub.is_full()))
    }

    /// Asks the kernel whether the peer has closed its side, even if unread bytes lie before that.
    pub fn has_hung_up(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
        // SAFETY: the pointer is to one live pollfd, and a timeout of 0 makes the call return at once.
        let found = unsafe { libc::poll(&mut poll, 1, 0) };
        found > 0 && poll.revents & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) != 0
    }

    /// Writes to the socket, without waiting; tells how many bytes it took.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.socket.get_ref().send(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                taken => return taken,
            }
        }
    }

    /// Keeps bytes for later, of which the socket has taken the first `taken`.
    pub fn keep_unsent(&self, bytes: Vec<u8>, taken: usize) {
        let mut unsent = self.unsent.borrow_mut();
        if unsent.buffers.is_empty() {
            unsent.taken = taken;
        }
        unsent.buffers.push_back(bytes);
    }

    /// Waits until the socket takes bytes, and writes what it takes; tells how many left.
    pub async fn write_unsent(&self) -> (Written, usize) {
        let Ok(mut ready) = self.socket.writable().await else { return (Written::Lost, 0) };
        let mut unsent = self.unsent.borrow_mut();
        let mut left = 0;
        while let Some(first) = unsent.buffers.front() {
            let length = first.len() - unsent.taken;
            match self.try_write(&first[unsent.taken..]) {
                Err(_) => return (Written::Lost, left),
                Ok(taken) => {
                    left += taken;
                    if taken < length {
                        unsent.taken += taken;
                        ready.clear_ready();
                        return (Written::Some, left);
                    }
                    unsent.taken = 0;
                    unsent.buffers.pop_front();
                }
            }
        }
        (Written::All, left)
    }

    /// Tells the peer that nothing more will come.
    pub fn say_goodbye(&self) {
        // A peer that is gone already need not be told.
        let _ = self.socket.get_ref().shutdown(std::net::Shutdown::Write);
    }

    fn poll_arrival(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Arrival> {
        if !self.is_open() {
            return Poll::Ready(Arrival::Closed);
        }
        self.poll_read(context, buffer).map(|read| match read {
            Ok(0) => Arrival::End,
            Ok(count) => Arrival::Bytes(count),
            Err(_) => Arrival::Lost,
        })
    }

    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(context))?;
            let mut socket = self.socket.get_ref();
            match socket.read(buffer) {
                Ok(count) => {
                    if count < buffer.len() {
                        // Less than there was room for: the socket is empty. This saves the read that would say so.
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Waits until there is room to read again, or the peer hangs up.
    async fn wait_for_room(&self, hub: &Hub) {
        let room = poll_fn(|_| if self.is_open() && self.is_full(hub) { Poll::Pending } else { Poll::Ready(()) });
        tokio::select! {
            () = room => {}
            // Readable would be true at once, since there are unread bytes. This interest stands for "urgent data or
            // read side closed", of which we only ever see the second.
            _ = self.socket.ready(Interest::PRIORITY) => self.ended.set(true),
        }
    }

    /// Waits until the connection is closed from this side.
    async fn wait_for_close(&self) {
        poll_fn(|_| if self.is_open() || self.state.get() == State::Closing { Poll::Pending } else { Poll::Ready(()) })
            .await;
    }

    /// Throws away what the peer still sends.
    async fn linger(&self, hub: &Hub) {
        let rest = async {
            while let Ok(1..) = poll_fn(|context| self.poll_read(context, &mut hub.read_buffer.borrow_mut())).await {
                yield_now().await;
            }
        };
        // Whether it ends by itself or by the clock, the connection is closed.
        let _ = tokio::time::timeout(LINGER_MAX, rest).await;
    }
}

/// Registers a socket with the event loop that this is called in.
pub fn watch(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: a `Socket` owns its descriptor, is the only one to close it, and returns the same one at every call.
    unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)
}

/// Reads and decodes until the connection ends.
pub async fn read_requests(hub: Rc<Hub>, connection: Rc<Connection>) {
    poll_fn(|context| {
        *connection.reader.borrow_mut() = Some(context.waker().clone());
        Poll::Ready(())
    })
    .await;
    let mut decoder = Decoder::default();
    while connection.is_open() {
        if connection.is_full(&hub) {
            hub.pause(&connection);
            connection.wait_for_room(&hub).await;
            continue;
        }
        match poll_fn(|context| connection.poll_arrival(context, &mut hub.read_buffer.borrow_mut())).await {
            Arrival::Bytes(count) => {
                if !hub.take_in(&connection, &mut decoder, count) {
                    break;
                }
                if count == hub.read_buffer.borrow().len() {
                    // There is more to read: others first.
                    yield_now().await;
                }
            }
            Arrival::End => {
                hub.deliver(Input::Ended { client: connection.id });
                break;
            }
            Arrival::Lost => hub.lose(&connection),
            Arrival::Closed => break,
        }
    }
    drop(decoder);
    connection.wait_for_close().await;
    if connection.state.get() == State::Lingering {
        connection.linger(&hub).await;
    }
}
