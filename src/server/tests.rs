//! The server over real loopback sockets. Server and clients share one thread, so that a test decides what has arrived
//! when the server looks: `try_write` puts bytes into the kernel before the server runs again.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::{JoinHandle, spawn_local};

use super::hub::Hub;
use super::{Limits, Listeners, Options, serve};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::settings::{Profile, Settings};
use crate::shard::{Input, Shard};

/// A test that takes longer hangs; nothing is asserted about time otherwise.
const HANG: Duration = Duration::from_secs(30);
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

struct Server {
    hub: Rc<Hub>,
    address: SocketAddr,
    ended: JoinHandle<io::Result<i32>>,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Server {
        let socket = super::listen::listen_tcp((Ipv4Addr::LOCALHOST, 0).into(), 511).expect("loopback has a free port");
        Server::start_on(Listeners::of(socket))
    }

    fn start_on(listeners: Listeners) -> Server {
        let limits = Limits {
            maxclients: AtomicU64::new(1000),
            timeout_s: AtomicU64::new(0),
            tcp_keepalive_s: AtomicU64::new(300),
            proto_max_bulk_bytes: AtomicU64::new(512 << 20),
            protected: AtomicBool::new(true),
            clients_bytes: AtomicU64::new(64 << 20),
        };
        let metrics = Arc::<Metrics>::default();
        let hub = Rc::new(Hub::new(Arc::new(limits), metrics.clone()));
        let address = listeners.addresses()[0].as_socket().unwrap_or((Ipv4Addr::LOCALHOST, 0).into());
        let directory = tempfile::tempdir().expect("a directory for the data");
        let mut settings = Settings::defaults(Profile::Tiny);
        settings.dir = directory.path().to_owned();
        let shard = Shard::open(settings, Clock::start(), metrics).expect("an empty directory opens");
        let ended = spawn_local(serve(hub.clone(), shard, listeners, Clock::start()));
        Server { hub, address, ended, _directory: directory }
    }

    /// Connects and has been heard, so that the server has nothing left to do for it.
    async fn connect(&self) -> TcpStream {
        let mut client = TcpStream::connect(self.address).await.expect("the server listens");
        expect(&mut client, PING, b"+PONG\r\n").await;
        client
    }

    /// Lets the server run until something is so.
    async fn until(&self, so: impl Fn(&Hub) -> bool) {
        while !so(&self.hub) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn turns(&self) -> u64 {
        self.hub.metrics.turns.get()
    }

    fn writes(&self) -> u64 {
        self.hub.metrics.writes_processed.get()
    }
}

fn check(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async { tokio::time::timeout(HANG, test).await }).expect("the test hangs");
}

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Puts all of the bytes into the kernel, before the server runs.
fn send_now(client: &TcpStream, bytes: &[u8]) {
    assert_eq!(client.try_write(bytes).unwrap(), bytes.len(), "the kernel's buffer is too small for this test");
}

async fn read(client: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut reply = vec![0; count];
    client.read_exact(&mut reply).await.expect("a reply");
    reply
}

async fn expect(client: &mut TcpStream, send: &[u8], reply: &[u8]) {
    client.write_all(send).await.expect("the server reads");
    let found = read(client, reply.len()).await;
    assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(reply));
}

async fn read_to_end(client: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.expect("closed in order");
    String::from_utf8_lossy(&rest).into_owned()
}

#[test]
fn a_burst_of_requests_is_one_turn_and_one_write() {
    check(async {
        let server = Server::start();
        let mut client = server.connect().await;
        let (turns, writes) = (server.turns(), server.writes());
        send_now(&client, &PING.repeat(100));
        assert_eq!(read(&mut client, 700).await, b"+PONG\r\n".repeat(100));
        assert_eq!((server.turns() - turns, server.writes() - writes), (1, 1));
    });
}

#[test]
fn all_clients_that_are_ready_share_one_turn() {
    check(async {
        let server = Server::start();
        let mut clients = Vec::new();
        for _ in 0..200 {
            clients.push(server.connect().await);
        }
        let turns = server.turns();
        for client in &clients {
            send_now(client, PING);
        }
        for client in &mut clients {
            assert_eq!(read(client, 7).await, b"+PONG\r\n");
        }
        assert_eq!(server.turns() - turns, 1);
    });
}

#[test]
fn a_request_may_come_byte_by_byte() {
    check(async {
        let server = Server::start();
        let mut client = server.connect().await;
        let reads = server.hub.metrics.reads_processed.get();
        let bytes = request(&[b"ECHO", b"slow"]);
        for (index, byte) in bytes.iter().enumerate() {
            send_now(&client, &[*byte]);
            server.until(|hub| hub.metrics.reads_processed.get() > reads + index as u64).await;
        }
        assert_eq!(read(&mut client, 10).await, b"$4\r\nslow\r\n");
        assert_eq!(server.hub.held_bytes.get(), 0, "nothing is held for an idle client");
    });
}

#[test]
fn a_slow_reader_gets_everything_and_delays_nobody() {
    check(async {
        let server = Server::start();
        let mut slow = server.connect().await;
        let mut other = server.connect().await;
        let value = vec![b'v'; 256 * 1024];
        let total = 100;
        let (mut reader, mut writer) = slow.split();
        let writing = async {
            for _ in 0..total {
                writer.write_all(&request(&[b"ECHO", &value])).await.unwrap();
            }
        };
        let reading = async {
            // The server stops reading from it, or else its replies would fill this server's memory.
            server.until(|hub| hub.held_bytes.get() >= 1 << 20).await;
            for _ in 0..100 {
                expect(&mut other, PING, b"+PONG\r\n").await;
                assert!(server.hub.held_bytes.get() < 4 << 20, "{} bytes held", server.hub.held_bytes.get());
            }
            let expected = bulk(&value);
            let mut reply = vec![0; expected.len()];
            for _ in 0..total {
                reader.read_exact(&mut reply).await.unwrap();
                assert!(reply == expected);
            }
        };
        tokio::join!(writing, reading);
        assert_eq!(server.hub.held_bytes.get(), 0);
    });
}

#[test]
fn a_subscriber_that_does_not_read_is_closed() {
    check(async {
        let server = Server::start();
        let mut subscriber = server.connect().await;
        expect(&mut subscriber, &request(&[b"SUBSCRIBE", b"news"]), b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n")
            .await;
        let mut publisher = server.connect().await;
        let message = request(&[b"PUBLISH", b"news", &vec![b'm'; 1 << 20]]);
        // The kernel's buffers take some messages too, a few megabytes at most.
        let mut listeners = b":1\r\n".to_vec();
        for _ in 0..50 {
            publisher.write_all(&message).await.unwrap();
            listeners = read(&mut publisher, listeners.len()).await;
        }
        assert_eq!(listeners, b":0\r\n");
        assert_eq!((server.hub.metrics.connections_shed.get(), server.hub.connected()), (1, 1));
    });
}

#[test]
fn whoever_fills_the_clients_share_is_closed_and_nobody_else() {
    check(async {
        let server = Server::start();
        server.hub.limits.clients_bytes.store(4 << 20, Relaxed);
        let mut modest = server.connect().await;
        send_now(&modest, &request(&[b"ECHO", b"modest"])[..20]);
        let mut greedy = server.connect().await;
        greedy.write_all(b"*2\r\n$4\r\nECHO\r\n$100000000\r\n").await.unwrap();
        let piece = vec![b'x'; 1 << 20];
        while greedy.write_all(&piece).await.is_ok() {}
        assert_eq!(server.hub.metrics.connections_shed.get(), 1);
        expect(&mut modest, &request(&[b"ECHO", b"modest"])[20..], b"$6\r\nmodest\r\n").await;
    });
}

#[test]
fn a_megabyte_of_garbage_harms_only_its_connection() {
    check(async {
        let server = Server::start();
        let mut other = server.connect().await;
        let mut client = server.connect().await;
        let garbage = vec![b'*'; 1 << 20];
        client.write_all(&[PING, &garbage].concat()).await.unwrap();
        let replies = read_to_end(&mut client).await;
        assert_eq!(replies, "+PONG\r\n-ERR Protocol error: too big mbulk count string\r\n");
        expect(&mut other, PING, b"+PONG\r\n").await;
        server.until(|hub| hub.connected() == 1).await;
    });
}

#[test]
fn half_a_request_and_a_hang_up_leave_nothing_behind() {
    check(async {
        let server = Server::start();
        let client = server.connect().await;
        send_now(&client, b"*2\r\n$4\r\nECHO\r\n$1000000\r\nabc");
        server.until(|hub| hub.held_bytes.get() > 0).await;
        assert_eq!(server.hub.metrics.memory_clients_bytes.get(), server.hub.held_bytes.get() as u64);
        drop(client);
        server.until(|hub| hub.connected() == 0).await;
        assert_eq!(server.hub.held_bytes.get(), 0);
        assert_eq!(server.hub.metrics.memory_clients_bytes.get(), 0);
    });
}

#[test]
fn what_passes_through_the_sockets_is_counted() {
    check(async {
        let server = Server::start();
        let mut client = server.connect().await;
        let figures = || {
            let metrics = &server.hub.metrics;
            let bytes = (metrics.net_input_bytes.get(), metrics.net_output_bytes.get());
            (bytes, metrics.reads_processed.get(), metrics.writes_processed.get())
        };
        assert_eq!(figures(), ((14, 7), 1, 1), "of the first PING");
        expect(&mut client, &request(&[b"ECHO", b"hello"]), b"$5\r\nhello\r\n").await;
        assert_eq!(figures(), ((14 + 25, 7 + 11), 2, 2));
        assert_eq!(server.hub.metrics.connections_received.get(), 1);
    });
}

#[test]
fn connections_above_maxclients_are_refused_until_one_leaves() {
    check(async {
        let server = Server::start();
        server.hub.limits.maxclients.store(2, Relaxed);
        let (first, mut second) = (server.connect().await, server.connect().await);
        let mut third = TcpStream::connect(server.address).await.unwrap();
        assert_eq!(read_to_end(&mut third).await, "-ERR max number of clients reached\r\n");
        expect(&mut second, PING, b"+PONG\r\n").await;
        drop(first);
        server.until(|hub| hub.connected() == 1).await;
        server.connect().await;
        assert_eq!(server.hub.metrics.connections_rejected.get(), 1);
    });
}

#[test]
fn what_a_client_sent_before_it_closed_its_side_is_answered() {
    check(async {
        let server = Server::start();
        for count in [1, 10_000] {
            let mut client = server.connect().await;
            // More than one turn takes, so that reading pauses with the end already in sight.
            client.write_all(&PING.repeat(count)).await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(read_to_end(&mut client).await.len(), 7 * count);
        }
        server.until(|hub| hub.connected() == 0).await;
    });
}

#[test]
fn a_parked_client_that_hangs_up_is_noticed_at_once() {
    check(async {
        let server = Server::start();
        // With nothing, with a little, and with more behind the parked request than is read while it waits.
        for behind in [0, 10, 2000, 6000] {
            let mut client = server.connect().await;
            client.write_all(&request(&[b"BLPOP", b"q", b"0"])).await.unwrap();
            let turns = server.turns();
            server.until(|hub| hub.metrics.turns.get() > turns).await;
            send_now(&client, &PING.repeat(behind));
            drop(client);
            server.until(|hub| hub.connected() == 0).await;
        }
    });
}

#[test]
fn a_client_that_hung_up_in_the_same_tick_is_not_given_a_job() {
    check(async {
        let server = Server::start();
        let mut producer = server.connect().await;
        for behind in [&b""[..], PING] {
            let mut client = server.connect().await;
            client.write_all(&request(&[b"BLPOP", b"q", b"0"])).await.unwrap();
            let turns = server.turns();
            server.until(|hub| hub.metrics.turns.get() > turns).await;
            // The job arrives first, so that only the second look can tell that the waiter is gone.
            send_now(&producer, &request(&[b"LPUSH", b"q", b"job"]));
            send_now(&client, behind);
            drop(client);
            assert_eq!(read(&mut producer, 4).await, b":1\r\n");
            expect(&mut producer, &request(&[b"LPOP", b"q"]), b"$3\r\njob\r\n").await;
            server.until(|hub| hub.connected() == 1).await;
        }
    });
}

#[test]
fn a_parked_client_does_not_stop_others_from_reading_when_its_requests_fill_the_share() {
    check(async {
        let server = Server::start();
        server.hub.limits.clients_bytes.store(100_000, Relaxed);
        let mut parked = server.connect().await;
        parked.write_all(&request(&[b"BLPOP", b"q", b"0"])).await.unwrap();
        parked.write_all(&request(&[b"ECHO", &[b'x'; 1000]]).repeat(500)).await.unwrap();
        server.until(Hub::is_full).await;
        let mut other = server.connect().await;
        expect(&mut other, &request(&[b"LPUSH", b"q", b"job"]), b":1\r\n").await;
        read(&mut parked, b"*2\r\n$1\r\nq\r\n$3\r\njob\r\n".len() + 500 * 1009).await;
        server.until(|hub| !hub.is_full()).await;
    });
}

#[test]
fn only_idle_clients_are_closed_after_the_timeout() {
    check(async {
        let server = Server::start();
        let mut idle = server.connect().await;
        let mut parked = server.connect().await;
        parked.write_all(&request(&[b"BLPOP", b"q", b"0"])).await.unwrap();
        let mut subscriber = server.connect().await;
        subscriber.write_all(&request(&[b"SUBSCRIBE", b"news"])).await.unwrap();
        let mut busy = server.connect().await;
        server.hub.limits.timeout_s.store(1000, Relaxed);
        server.hub.seconds.set(server.hub.seconds.get() + 1002);
        expect(&mut busy, PING, b"+PONG\r\n").await;
        server.hub.close_idle_now();
        assert_eq!(server.hub.connected(), 3);
        assert_eq!(read_to_end(&mut idle).await, "");
    });
}

#[test]
fn quit_is_answered_and_then_closed() {
    check(async {
        let server = Server::start();
        let mut client = server.connect().await;
        client.write_all(b"PING\r\nQUIT\r\nPING\r\n").await.unwrap();
        assert_eq!(read_to_end(&mut client).await, "+PONG\r\n+OK\r\n");
    });
}

#[test]
fn replies_leave_before_the_process_ends() {
    check(async {
        let server = Server::start();
        let mut client = server.connect().await;
        let value = vec![b'v'; 8 << 20];
        let (mut reader, mut writer) = client.split();
        let sent = [request(&[b"ECHO", &value]), request(&[b"SHUTDOWN"])].concat();
        let mut reply = vec![0; bulk(&value).len()];
        let (written, read) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut reply));
        written.and(read.map(drop)).unwrap();
        assert!(reply == bulk(&value));
        assert_eq!(server.ended.await.unwrap().unwrap(), 0);
        assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
    });
}

#[test]
fn a_signal_ends_the_process_through_the_shard() {
    check(async {
        let server = Server::start();
        server.hub.deliver(Input::Terminate);
        assert_eq!(server.ended.await.unwrap().unwrap(), 0);
    });
}

#[test]
fn another_thread_wakes_the_turn_task() {
    check(async {
        let server = Server::start();
        server.connect().await;
        let turns = server.turns();
        let wake = server.hub.wake.clone();
        std::thread::spawn(move || wake.notify_one()).join().unwrap();
        server.until(|hub| hub.metrics.turns.get() > turns).await;
    });
}

#[test]
fn a_unix_socket_serves_and_replaces_one_that_was_left_behind() {
    check(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let options = Options { unixsocket: Some(path.clone()), ..Options::default() };
        drop(Listeners::bind(&options).unwrap());
        assert!(path.exists(), "a killed server leaves its socket behind");
        let _server = Server::start_on(Listeners::bind(&options).unwrap());
        let mut client = UnixStream::connect(&path).await.unwrap();
        client.write_all(PING).await.unwrap();
        let mut reply = [0; 7];
        client.read_exact(&mut reply).await.unwrap();
        assert_eq!(&reply, b"+PONG\r\n");
    });
}

#[test]
fn a_large_random_stream_of_requests_is_answered_in_order() {
    check(async {
        let server = Server::start();
        let mut client = server.connect().await;
        let mut expected = VecDeque::new();
        let mut bytes = Vec::new();
        let mut state = 7_u64;
        for _ in 0..3000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let length = [5, 300, 5000, 70_000][(state >> 62) as usize] + (state >> 40) as usize % 100;
            let value = vec![b'a' + (state >> 50) as u8 % 26; length];
            bytes.extend(request(&[b"ECHO", &value]));
            expected.push_back(bulk(&value));
        }
        let (mut reader, mut writer) = client.split();
        let reading = async {
            for expected in expected {
                let mut reply = vec![0; expected.len()];
                reader.read_exact(&mut reply).await.unwrap();
                assert!(reply == expected);
            }
        };
        let (written, ()) = tokio::join!(writer.write_all(&bytes), reading);
        written.unwrap();
    });
}
