//! The program itself, as a shell sees it: exit codes, help, and `millpond ping`.

use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use crate::harness::{self, Server};

fn millpond(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_millpond"))
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .expect("the program can be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_bad_setting_from_any_source_ends_with_code_2_and_its_name() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let file = directory.path().join("millpond.toml");
    std::fs::write(&file, "maxmemory = 'plenty'\n").expect("it can be written");
    let file = file.to_str().expect("a temporary path is text");
    let check = |arguments: &[&str], variables: &[(&str, &str)], name: &str| {
        let output = millpond(arguments, variables);
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {variables:?}");
        let said = text(&output.stderr);
        assert!(said.contains(name), "{said:?} names {name}");
    };
    check(&["--port", "99999"], &[], "'port'");
    check(&["--portt", "1"], &[], "--portt");
    check(&["--maxmemory-policy", "allkeys-lru"], &[], "'maxmemory-policy'");
    check(&[], &[("MILLPOND_LOGLEVEL", "loud")], "'loglevel'");
    check(&[], &[("MILLPOND_LOGLEVELS", "debug")], "MILLPOND_LOGLEVELS");
    check(&["--config", file], &[], "'maxmemory'");
    check(&["--config", "/nowhere.toml"], &[], "/nowhere.toml");
}

#[test]
fn a_data_directory_that_cannot_be_used_ends_with_code_1_and_its_path() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let file = directory.path().join("file");
    std::fs::write(&file, "").expect("it can be written");
    let path = file.to_str().expect("a temporary path is text");
    let output = millpond(&["--port", "0", "--unixsocket", "unused", "--dir", path], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(path), "{}", text(&output.stderr));
}

#[test]
fn a_data_directory_that_is_read_only_ends_with_code_1_and_its_path() {
    let directory = harness::temporary_directory();
    let (mut command, path) = where_it_is_read_only(directory.path());
    let output = command.args(["--port", "0", "--unixsocket", "unused", "--dir"]).arg(&path).output();
    let output = output.expect("the program can be started");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("cannot write in the data directory {}", path.display())), "{said}");
}

/// Gives the program, started so that the directory is read-only to it. Root may write whatever the permissions say, so
/// for root it is mounted so, in a namespace that ends with the program; where that cannot be done, /proc has to serve.
fn where_it_is_read_only(directory: &Path) -> (Command, PathBuf) {
    const MOUNT: &str = "mount --bind -o ro \"$0\" \"$0\" && exec \"$@\"";
    let program = env!("CARGO_BIN_EXE_millpond");
    std::fs::set_permissions(directory, Permissions::from_mode(0o500)).expect("it is ours");
    if File::create(directory.join("probe")).is_err() {
        return (Command::new(program), directory.to_owned());
    }
    let mounted = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", MOUNT]).arg(directory).arg(program);
        command
    };
    if mounted("true").output().is_ok_and(|output| output.status.success()) {
        return (mounted(program), directory.to_owned());
    }
    eprintln!("neither permissions nor a mount make a directory read-only here");
    (Command::new(program), "/proc".into())
}

#[test]
fn help_shows_the_settings_under_their_headings_and_hides_what_is_for_tests() {
    let help = text(&millpond(&["--help"], &[]).stdout);
    for shown in ["Network:", "Memory:", "--maxmemory", "MILLPOND_", "lazyfree-lazy-user-del"] {
        assert!(help.contains(shown), "--help has {shown}");
    }
    assert!(!help.contains("--profile") && !help.contains("examples"), "{help}");
}

#[test]
fn ping_is_satisfied_by_pong_alone() {
    let check = |answer: &'static str, flags: &[&str], code: i32| {
        let (port, server) = answering_once(answer);
        let port = port.to_string();
        let output = millpond(&[&["ping", "--port", &port], flags].concat(), &[]);
        assert_eq!(output.status.code(), Some(code), "{answer:?}: {}", text(&output.stderr));
        server.join().expect("the listener has answered")
    };
    assert_eq!(check("+PONG\r\n", &[], 0), "*1\r\n$4\r\nPING\r\n");
    check("-NOAUTH Authentication required.\r\n", &[], 1);
    check("", &[], 1);
    let asked = check("+OK\r\n+PONG\r\n", &["--requirepass", "secret"], 0);
    assert!(asked.contains("AUTH\r\n$6\r\nsecret\r\n"), "{asked}");
    check("-WRONGPASS no\r\n-NOAUTH no\r\n", &["--requirepass", "secret"], 1);
}

#[test]
fn ping_finds_the_server_by_the_same_variables_as_the_server() {
    let (port, server) = answering_once("+PONG\r\n");
    let output = millpond(&["ping"], &[("MILLPOND_PORT", &port.to_string()), ("MILLPOND_BIND", "0.0.0.0")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    server.join().expect("the listener has answered");
}

#[test]
fn ping_fails_where_nobody_listens() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = free.local_addr().expect("it is bound").port().to_string();
    drop(free);
    assert_eq!(millpond(&["ping", "--port", &port], &[]).status.code(), Some(1));
}

#[test]
fn the_unix_socket_has_the_permissions_that_are_asked_for() {
    let folder = harness::temporary_directory();
    let path = folder.path().join("socket");
    let text = path.to_str().expect("a temporary path is text");
    let _server = Server::millpond(&["--unixsocket", text, "--unixsocketperm", "700"]);
    let mode = std::fs::metadata(&path).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn no_config_set_lets_more_clients_in_than_the_system_allows() {
    if harness::is_stand_in() {
        return;
    }
    let server = Server::millpond(&["--maxclients", "5000"]);
    let mut client = server.client();
    // 512 are for log, store and listeners.
    let files = libc::rlimit { rlim_cur: 512 + 10, rlim_max: 512 + 10 };
    // SAFETY: the new limits are a live rlimit that the call only reads, and the old ones are not asked for.
    let set = unsafe { libc::prlimit(server.pid() as i32, libc::RLIMIT_NOFILE, &files, std::ptr::null_mut()) };
    assert_eq!(set, 0, "the limits of a child may be lowered");
    for _ in 0..2 {
        client.line("CONFIG SET hz 20");
        let mut others: Vec<_> = (0..10).map(|_| server.client()).collect();
        let refused = others.pop().expect("there are ten").reply().expect("a word before the door is shut");
        assert!(refused.is_error(), "{refused:?}");
        for mut other in others {
            assert_eq!(other.line("PING").text(), "PONG");
        }
        while client.info("clients")["connected_clients"] != "1" {}
    }
}

/// Listens on a free port, answers one connection's first words, and gives what it was asked.
fn answering_once(answer: &'static str) -> (u16, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("somebody comes");
        let mut asked = [0; 512];
        let n = socket.read(&mut asked).expect("it asks");
        socket.write_all(answer.as_bytes()).expect("it listens");
        text(&asked[..n])
    });
    (port, server)
}
