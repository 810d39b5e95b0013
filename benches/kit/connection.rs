//! Connections that are waited for together and never block: the prober's and the workers'.

use crate::harness::{Value, decode, encode};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// One connection. What the socket does not take at once is sent later.
pub struct Connection {
    stream: TcpStream,
    unsent: Vec<u8>,
    received: Vec<u8>,
}

impl Connection {
    pub fn open(port: u16) -> Connection {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server takes connections");
        stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).expect("a socket can be set up");
        Connection { stream, unsent: Vec::new(), received: Vec::new() }
    }

    pub fn send<A: AsRef<[u8]>>(&mut self, words: &[A]) {
        encode(&mut self.unsent, words);
        self.flush();
    }

    /// Sends what can be sent, reads what is there, and gives the replies that are complete.
    pub fn replies(&mut self) -> Vec<Value> {
        self.flush();
        self.receive();
        let mut replies = Vec::new();
        let mut taken = 0;
        while let Some((value, length)) = decode(&self.received[taken..]).expect("a well-formed reply") {
            taken += length;
            replies.push(value);
        }
        self.received.drain(..taken);
        replies
    }

    fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("the server is gone: {error}"),
            }
        }
    }

    fn receive(&mut self) {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the server hung up"),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("the server is gone: {error}"),
            }
        }
    }
}

/// Waits until one of the connections has something to do, or the time is over. Gives the indexes of those that have.
pub fn wait(connections: &[Connection], at_most: Duration) -> Vec<usize> {
    let mut poll = connections
        .iter()
        .map(|connection| {
            let events = if connection.unsent.is_empty() { libc::POLLIN } else { libc::POLLIN | libc::POLLOUT };
            libc::pollfd { fd: connection.stream.as_raw_fd(), events, revents: 0 }
        })
        .collect::<Vec<_>>();
    // `poll` counts in milliseconds, as long as what the prober measures.
    let timeout =
        libc::timespec { tv_sec: at_most.as_secs() as libc::time_t, tv_nsec: i64::from(at_most.subsec_nanos()) };
    // SAFETY: `poll` is an array of valid entries, as long as it says; the timeout is valid; no signal mask is given.
    let ready = unsafe { libc::ppoll(poll.as_mut_ptr(), poll.len() as libc::nfds_t, &timeout, std::ptr::null()) };
    assert!(ready >= 0, "waiting failed: {}", std::io::Error::last_os_error());
    poll.iter().enumerate().filter(|(_, entry)| entry.revents != 0).map(|(index, _)| index).collect()
}
