//! A blocking client of RESP2 and RESP3.

use super::value::{Value, decode};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Long enough for anything but a hang on a machine that does other work too.
const REPLY_WAIT_MAX: Duration = Duration::from_secs(60);

/// The version of the protocol that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Resp2,
    Resp3,
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    /// How much of `received` has been handed out already; moved down only now and then.
    taken: usize,
    /// Whether each reply is also decoded by an independent library.
    cross_check: Option<Protocol>,
}

impl Client {
    /// Connects, speaking RESP2.
    pub fn connect(port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_WAIT_MAX))?;
        stream.set_write_timeout(Some(REPLY_WAIT_MAX))?;
        Ok(Client { stream, received: Vec::new(), taken: 0, cross_check: None })
    }

    /// Connects and says HELLO if the protocol asks for it; every reply is also decoded by an independent library.
    pub fn connect_checked(port: u16, protocol: Protocol) -> io::Result<Client> {
        let mut client = Client::connect(port)?;
        client.cross_check = Some(protocol);
        if protocol == Protocol::Resp3 {
            let hello = client.ask(&["HELLO", "3"])?;
            assert!(matches!(hello, Value::Map(_)), "HELLO 3 answers a map, got {hello:?}");
        }
        Ok(client)
    }

    /// Changes how long a reply is waited for.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.stream.set_read_timeout(Some(timeout)).expect("a positive timeout is accepted");
        self.stream.set_write_timeout(Some(timeout)).expect("a positive timeout is accepted");
    }

    /// A second handle on the same socket, to hang up from another thread.
    pub fn socket(&self) -> TcpStream {
        self.stream.try_clone().expect("a socket can be duplicated")
    }

    /// Sends one command and waits for its reply.
    pub fn ask<A: AsRef<[u8]>>(&mut self, words: &[A]) -> io::Result<Value> {
        self.send(words)?;
        self.reply()
    }

    /// Sends one command and waits for its reply; panics if the connection fails.
    pub fn must<A: AsRef<[u8]>>(&mut self, words: &[A]) -> Value {
        self.ask(words).unwrap_or_else(|error| panic!("{}: {error}", describe(words)))
    }

    /// The same, of a line whose words are parted by spaces.
    pub fn line(&mut self, line: &str) -> Value {
        self.must(&line.split(' ').collect::<Vec<_>>())
    }

    /// Sends one command without waiting.
    pub fn send<A: AsRef<[u8]>>(&mut self, words: &[A]) -> io::Result<()> {
        let mut wire = Vec::new();
        encode(&mut wire, words);
        self.stream.write_all(&wire)
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends several commands in one write and waits for all their replies.
    pub fn pipeline(&mut self, commands: &[Vec<Vec<u8>>]) -> io::Result<Vec<Value>> {
        let mut wire = Vec::new();
        for words in commands {
            encode(&mut wire, words);
        }
        self.stream.write_all(&wire)?;
        commands.iter().map(|_| self.reply()).collect()
    }

    /// Waits for the next reply. A closed connection is `UnexpectedEof`, malformed bytes are `InvalidData`.
    pub fn reply(&mut self) -> io::Result<Value> {
        loop {
            match decode(&self.received[self.taken..]) {
                Ok(Some((value, length))) => {
                    self.check_independently(length);
                    self.taken += length;
                    self.give_back_room();
                    return Ok(value);
                }
                Ok(None) => self.receive()?,
                Err(malformed) => return Err(io::Error::new(ErrorKind::InvalidData, malformed.0)),
            }
        }
    }

    /// Whether the server has closed the connection and sent nothing more.
    pub fn is_closed_by_server(&mut self) -> bool {
        match self.reply() {
            Ok(value) => panic!("expected the end of the connection, got {value:?}"),
            Err(error) => {
                matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
            }
        }
    }

    /// The section of INFO as names and values; empty if the server has no such section.
    pub fn info(&mut self, section: &str) -> std::collections::BTreeMap<String, String> {
        let text = self.must(&["INFO", section]).text();
        text.lines()
            .filter_map(|line| line.trim_end().split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.received.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }

    fn give_back_room(&mut self) {
        if self.taken == self.received.len() {
            self.received.clear();
            self.taken = 0;
        } else if self.taken > 1 << 20 {
            self.received.drain(..self.taken);
            self.taken = 0;
        }
    }

    fn check_independently(&self, length: usize) {
        let bytes = &self.received[self.taken..];
        let seen = match self.cross_check {
            None => return,
            Some(Protocol::Resp2) => redis_protocol::resp2::decode::decode(bytes)
                .map(|found| found.map(|(_, length)| length))
                .map_err(|error| error.to_string()),
            Some(Protocol::Resp3) => redis_protocol::resp3::decode::complete::decode(bytes)
                .map(|found| found.map(|(_, length)| length))
                .map_err(|error| error.to_string()),
        };
        // That library keeps a set's members in a hash set, in which maps cannot be: COMMAND INFO's key specifications.
        if matches!(&seen, Err(why) if why.contains("to_set: Invalid hash key")) {
            return;
        }
        // An error may repeat a client's bytes, which that library wants to be UTF-8; the protocol does not.
        if matches!(&seen, Err(why) if why.contains("utf-8") || why.contains("Utf8")) {
            return;
        }
        assert_eq!(
            seen,
            Ok(Some(length)),
            "an independent decoder reads {:?} otherwise",
            bytes[..length].escape_ascii()
        );
    }
}

/// Appends one command in the form that clients send.
pub fn encode<A: AsRef<[u8]>>(wire: &mut Vec<u8>, words: &[A]) {
    wire.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        let word = word.as_ref();
        wire.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        wire.extend_from_slice(word);
        wire.extend_from_slice(b"\r\n");
    }
}

fn describe<A: AsRef<[u8]>>(words: &[A]) -> String {
    words.iter().map(|word| String::from_utf8_lossy(word.as_ref()).into_owned()).collect::<Vec<_>>().join(" ")
}
