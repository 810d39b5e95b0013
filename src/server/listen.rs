//! The addresses that the server listens on.

use std::fs::{self, Permissions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::Options;
use super::connection::watch;

/// Sockets that listen, but are not accepted from yet.
#[derive(Debug)]
pub struct Listeners(Vec<Socket>);

impl Listeners {
    /// Listens on every address of the options; the error names the one that failed.
    pub fn bind(options: &Options) -> io::Result<Listeners> {
        let mut sockets = Vec::new();
        for name in options.bind.iter().filter(|_| options.port != 0) {
            let (name, optional) = name.strip_prefix('-').map_or((&**name, false), |name| (name, true));
            for address in resolve(name, options.port)? {
                match listen_tcp(address, options.tcp_backlog) {
                    Err(error) if optional && is_absent(&error) => {}
                    listening => {
                        sockets.push(listening.map_err(|error| explain(&error, &format!("{name}:{}", options.port)))?);
                    }
                }
            }
        }
        if let Some(path) = &options.unixsocket {
            // A server that was killed leaves its socket behind. The data directory's lock tells of one that lives.
            let _ = fs::remove_file(path);
            let listening = listen_unix(path, options);
            sockets.push(listening.map_err(|error| explain(&error, &path.display().to_string()))?);
        }
        if sockets.is_empty() {
            return Err(io::Error::other("nothing to listen on: bind, port and unixsocket name no address"));
        }
        Ok(Listeners(sockets))
    }

    /// The sockets, registered with the event loop that this is called in.
    pub(super) fn into_sockets(self) -> impl Iterator<Item = io::Result<AsyncFd<Socket>>> {
        self.0.into_iter().map(watch)
    }

    /// The sockets as they are.
    pub(super) fn into_plain(self) -> Vec<Socket> {
        self.0
    }

    #[cfg(test)]
    pub(super) fn of(socket: Socket) -> Listeners {
        Listeners(vec![socket])
    }

    #[cfg(test)]
    pub(super) fn addresses(&self) -> Vec<SockAddr> {
        self.0.iter().map(|socket| socket.local_addr().expect("it is bound")).collect()
    }
}

fn resolve(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let address: IpAddr = match name {
        "*" => Ipv4Addr::UNSPECIFIED.into(),
        "::*" => Ipv6Addr::UNSPECIFIED.into(),
        _ => match name.parse() {
            Ok(address) => address,
            Err(_) => {
                let found = (name, port).to_socket_addrs().map_err(|error| explain(&error, name))?;
                return Ok(found.collect());
            }
        },
    };
    Ok(vec![SocketAddr::new(address, port)])
}

pub(super) fn listen_tcp(address: SocketAddr, backlog: u32) -> io::Result<Socket> {
    let socket = bind(Domain::for_address(address), &address.into())?;
    listen(&socket, backlog)?;
    Ok(socket)
}

fn listen_unix(path: &Path, options: &Options) -> io::Result<Socket> {
    let socket = bind(Domain::UNIX, &SockAddr::unix(path)?)?;
    if options.unixsocketperm != 0 {
        // Before it listens, so that nobody is let in whom these bits keep out.
        fs::set_permissions(path, Permissions::from_mode(options.unixsocketperm))?;
    }
    listen(&socket, options.tcp_backlog)?;
    Ok(socket)
}

fn bind(domain: Domain, address: &SockAddr) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, None)?;
    if domain != Domain::UNIX {
        socket.set_reuse_address(true)?;
    }
    if domain == Domain::IPV6 {
        // So that `*` and `::*` can be listened on together.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(socket: &Socket, backlog: u32) -> io::Result<()> {
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

/// Tells whether the machine lacks the address, which `-address` forgives.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn explain(error: &io::Error, address: &str) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn bind(names: &[&str], port: u16) -> io::Result<Listeners> {
        let bind = names.iter().map(|name| (*name).to_owned()).collect();
        Listeners::bind(&Options { bind, port, ..Options::default() })
    }

    #[test]
    fn an_address_in_use_is_named_in_the_error() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = bind(&["127.0.0.1"], port).unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot listen on 127.0.0.1:{port}: ")), "{error}");
    }

    #[test]
    fn a_missing_address_is_forgiven_only_with_a_minus() {
        // 192.0.2.0/24 is reserved for documentation: no machine has it.
        assert!(bind(&["192.0.2.1"], 1).is_err());
        let error = bind(&["-192.0.2.1"], 1).unwrap_err();
        assert!(error.to_string().starts_with("nothing to listen on"), "{error}");
    }

    #[test]
    fn the_kernel_is_told_how_many_may_wait() {
        let socket = listen_tcp((Ipv4Addr::LOCALHOST, 0).into(), 7).expect("loopback has a free port");
        assert_eq!(backlog_of(&socket), 7);
    }

    /// Asks the kernel, which shows the limit of a listening socket where it counts acknowledgements of others.
    fn backlog_of(socket: &Socket) -> u32 {
        let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
        // SAFETY: tcp_info is plain data for which all zeros is a value; the call fills at most `length` bytes of it.
        let (result, info) = unsafe {
            let mut info: libc::tcp_info = std::mem::zeroed();
            let at = (&raw mut info).cast();
            (libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, at, &mut length), info)
        };
        assert_eq!(result, 0, "a TCP socket tells about itself");
        info.tcpi_sacked
    }

    #[test]
    fn a_unix_socket_gets_the_permissions_that_are_asked_for() {
        let folder = tempfile::tempdir().expect("a directory for the socket");
        let path = folder.path().join("socket");
        let mode_with = |unixsocketperm| {
            let options = Options { unixsocket: Some(path.clone()), unixsocketperm, ..Options::default() };
            let _listeners = Listeners::bind(&options).expect("it can listen there");
            fs::metadata(&path).expect("the socket is there").permissions().mode() & 0o777
        };
        let by_umask = mode_with(0);
        assert_eq!(mode_with(0o700), 0o700);
        assert_eq!(mode_with(0o777), 0o777);
        assert_eq!(mode_with(0), by_umask);
    }

    #[test]
    fn port_zero_and_no_path_leave_nothing_to_listen_on() {
        assert!(bind(&["127.0.0.1"], 0).is_err());
    }
}
