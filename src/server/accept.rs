//! Who is let in.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use socket2::{SockAddr, Socket, TcpKeepalive};
use tokio::io::unix::AsyncFd;
use tracing::{debug, warn};

use super::hub::Hub;
use crate::shard::Peer;

/// How long accepting rests when the process has no file left for another connection.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// How often a silent peer is asked before it is given up.
const KEEPALIVE_PROBES: u32 = 3;

const TOO_MANY: &str = "-ERR max number of clients reached\r\n";
/// Clients know the code and the words "protected mode"; the rest is for the person who reads it.
const DENIED: &str = "-DENIED Millpond is running in protected mode, because no password is set and protected-mode is \
    on: only connections from this machine (loopback or Unix socket) are accepted. To let other machines in, do one of \
    these: 1) set a password with --requirepass, or with CONFIG SET requirepass from this machine; 2) listen only on \
    addresses that nobody else can reach, and start with --protected-mode no; 3) send CONFIG SET protected-mode no from \
    this machine, if you are sure that the network in front of it keeps strangers out.\r\n";

/// Accepts from one listener for as long as the server runs.
pub async fn accept_connections(hub: Rc<Hub>, listener: AsyncFd<Socket>) {
    loop {
        let Ok(mut ready) = listener.readable().await else { return };
        match listener.get_ref().accept() {
            Ok((socket, address)) => {
                if let Err(error) = admit(&hub, socket, &address) {
                    debug!(%error, "connection lost while it was accepted");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(REST_AFTER_FAILURE).await;
            }
        }
    }
}

fn admit(hub: &Rc<Hub>, socket: Socket, address: &SockAddr) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let peer = describe(&socket, address)?;
    let protected = hub.limits.protected.load(Relaxed);
    if let Some(text) = refusal(hub.connected(), hub.limits.maxclients.load(Relaxed), protected, &peer) {
        hub.metrics.connections_rejected.count();
        // The peer may be gone already; there is nobody else to tell.
        let _ = socket.send(text.as_bytes());
        return Ok(());
    }
    if !peer.unix_socket {
        socket.set_tcp_nodelay(true)?;
        keep_alive(&socket, hub.limits.tcp_keepalive_s.load(Relaxed))?;
    }
    hub.connect(socket, peer)
}

/// Tells with which words a new connection is turned away, if it is.
fn refusal(connected: usize, maxclients: u64, protected: bool, peer: &Peer) -> Option<&'static str> {
    if connected as u64 >= maxclients {
        Some(TOO_MANY)
    } else if protected && !peer.unix_socket && !peer.loopback {
        Some(DENIED)
    } else {
        None
    }
}

fn describe(socket: &Socket, address: &SockAddr) -> io::Result<Peer> {
    let fd = std::os::fd::AsRawFd::as_raw_fd(socket);
    let local = socket.local_addr()?;
    Ok(match (address.as_socket(), local.as_socket()) {
        (Some(address), Some(local)) => Peer {
            address: address.to_string(),
            local_address: local.to_string(),
            fd,
            unix_socket: false,
            loopback: is_loopback(address.ip()),
        },
        _ => {
            let path = local.as_pathname().map(|path| path.display().to_string()).unwrap_or_default();
            let address = format!("{path}:0");
            Peer { local_address: address.clone(), address, fd, unix_socket: true, loopback: true }
        }
    })
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Asks a peer that was silent for so long whether it is there, three times in as long again, as Redis does.
fn keep_alive(socket: &Socket, seconds: u64) -> io::Result<()> {
    if seconds == 0 {
        return Ok(());
    }
    let time = Duration::from_secs(seconds);
    let interval = Duration::from_secs((seconds / u64::from(KEEPALIVE_PROBES)).max(1));
    let keepalive = TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)
}

/// Tells errors of one connection, gone before it was accepted, from those of this process.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
        || error.raw_os_error() == Some(libc::EPROTO)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::Arc;

    use tokio::runtime::{Builder, LocalOptions};

    use super::*;

    fn check(address: &str, protected: bool, connected: usize, expected: Option<&str>) {
        let loopback = is_loopback(address.parse().unwrap());
        let peer = Peer { loopback, ..Peer::default() };
        let refused = refusal(connected, 2, protected, &peer).map(|text| text.split(' ').next().unwrap());
        assert_eq!(refused, expected, "{address}, protected {protected}, {connected} connected");
    }

    #[test]
    fn protected_mode_lets_only_this_machine_in() {
        check("127.0.0.1", true, 0, None);
        check("127.3.2.1", true, 0, None);
        check("::1", true, 0, None);
        check("::ffff:127.0.0.1", true, 0, None);
        check("192.0.2.1", true, 0, Some("-DENIED"));
        check("2001:db8::1", true, 0, Some("-DENIED"));
        check("192.0.2.1", false, 0, None);
        let unix = Peer { unix_socket: true, ..Peer::default() };
        assert_eq!(refusal(0, 2, true, &unix), None);
    }

    #[test]
    fn connections_above_maxclients_are_refused() {
        check("127.0.0.1", false, 1, None);
        check("127.0.0.1", false, 2, Some("-ERR"));
        check("192.0.2.1", true, 2, Some("-ERR"));
    }

    /// Loopback alone can be connected to in a test, so only the address is made up; the rest is as it is with strangers.
    #[test]
    fn a_stranger_reads_why_it_is_denied_and_is_let_in_without_protected_mode() {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
        runtime.block_on(async {
            let hub = Rc::new(Hub::new(Arc::default(), Arc::default()));
            hub.limits.maxclients.store(10, Relaxed);
            let stranger = SockAddr::from("192.0.2.1:40000".parse::<SocketAddr>().unwrap());
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let come = |protected: bool| {
                hub.limits.protected.store(protected, Relaxed);
                let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                admit(&hub, listener.accept().unwrap().0.into(), &stranger).unwrap();
                client
            };
            let mut told = String::new();
            come(true).read_to_string(&mut told).unwrap();
            assert_eq!(told, DENIED);
            assert_eq!((hub.connected(), hub.metrics.connections_rejected.get()), (0, 1));
            let _let_in = come(false);
            assert_eq!((hub.connected(), hub.metrics.connections_rejected.get()), (1, 1));
        });
    }

    #[test]
    fn the_explanation_is_one_line() {
        assert_eq!(DENIED.find(['\r', '\n']), Some(DENIED.len() - 2));
        assert!(!DENIED.contains("  "));
    }
}
