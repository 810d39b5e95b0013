//! Bad input harms at most its own connection; a bad start says why and ends with the right exit code.

use crate::harness::{self, Client, Server, Value, encode};
use std::fs;
use std::io::ErrorKind;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

/// What Redis says when a request begins with neither `*` nor text.
const UNBALANCED: &str = "ERR Protocol error: unbalanced quotes in request";

// --- requests ---

#[test]
fn wrong_commands_are_answered_and_the_connection_lives_on() {
    let server = Server::millpond(&[]);
    let mut client = server.client();
    client.line("SET string value");
    for (line, error) in [
        ("NOSUCH a b", "ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' "),
        ("GET", "ERR wrong number of arguments for 'get' command"),
        ("get a b", "ERR wrong number of arguments for 'get' command"),
        ("LPUSH string a", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("CLIENT NOSUCH", "ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP."),
        ("SELECT 99", "ERR DB index is out of range"),
        ("BRPOP list -1", "ERR timeout is negative"),
        ("SET a b EX 0", "ERR invalid expire time in 'set' command"),
        ("INCR string", "ERR value is not an integer or out of range"),
        ("EXEC", "ERR EXEC without MULTI"),
        ("EVALSHA 0123456789012345678901234567890123456789 0", "NOSCRIPT No matching script. Please use EVAL."),
    ] {
        assert_eq!(client.line(line), Value::Error(error.into()), "{line}");
    }
    assert_eq!(client.line("GET string").text(), "value");
}

#[test]
fn a_queued_mistake_spoils_its_transaction_only() {
    let server = Server::millpond(&[]);
    let mut client = server.client();
    client.line("MULTI");
    client.line("SET a 1");
    assert!(client.line("NOSUCH").is_error());
    let error = "EXECABORT Transaction discarded because of previous errors.";
    assert_eq!(client.line("EXEC"), Value::Error(error.into()));
    assert_eq!(client.line("EXISTS a"), Value::Integer(0));
    assert_eq!(client.line("SET a 1"), Value::Simple("OK".into()));
}

#[test]
fn malformed_requests_get_redis_errors_and_end_only_their_connection() {
    let server = Server::millpond(&[]);
    let mut bystander = server.client();
    for (wire, error) in [
        (b"*x\r\n".as_slice(), "ERR Protocol error: invalid multibulk length"),
        (b"*3000000000\r\n", "ERR Protocol error: invalid multibulk length"),
        (b"*1\r\n$999999999999\r\n", "ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$-5\r\n", "ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$x\r\n", "ERR Protocol error: invalid bulk length"),
        (b"*1\r\n:4\r\nPING\r\n", "ERR Protocol error: expected '$', got ':'"),
        (b"set a \"unbalanced\r\n", UNBALANCED),
    ] {
        let mut client = server.client();
        client.send_raw(wire).expect("the server reads");
        assert_eq!(client.reply().expect("an error"), Value::Error(error.into()), "{}", wire.escape_ascii());
        assert!(client.is_closed_by_server(), "{}", wire.escape_ascii());
        assert_eq!(bystander.line("PING"), Value::Simple("PONG".into()));
    }
}

#[test]
fn requests_before_a_malformed_one_are_still_run_and_answered() {
    let server = Server::millpond(&[]);
    let mut client = server.client();
    client
        .send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*1\r\n$x\r\n*2\r\n$3\r\nDEL\r\n$1\r\na\r\n")
        .expect("sent");
    assert_eq!(client.reply().expect("a reply"), Value::Simple("OK".into()));
    assert!(client.reply().expect("an error").is_error());
    assert!(client.is_closed_by_server());
    assert_eq!(server.client().line("GET a").text(), "1");
}

#[test]
fn a_megabyte_of_garbage_ends_only_its_connection() {
    let server = Server::millpond(&[]);
    let mut bystander = server.client();
    let mut chance = harness::Chance::new(1);
    for without_line_ends in [true, false] {
        let mut client = server.client();
        let garbage = (0..1 << 20).map(|_| match chance.bits() as u8 {
            b'\n' | b'*' if without_line_ends => b'?',
            byte => byte,
        });
        // The server may hang up before it has read all.
        let _ = client.send_raw(&garbage.collect::<Vec<_>>());
        client.set_timeout(Duration::from_secs(20));
        let mut ended = false;
        for _ in 0..1_000_000 {
            match client.reply() {
                Ok(reply) => assert!(reply.is_error(), "garbage was answered {reply:?}"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    ended = true;
                    break;
                }
            }
        }
        assert!(ended || !without_line_ends, "a line of a megabyte must end its connection");
        assert_eq!(bystander.line("PING"), Value::Simple("PONG".into()));
    }
}

#[test]
fn half_a_request_and_a_hang_up_leave_nothing_behind() {
    let server = Server::millpond(&[]);
    let mut wire = Vec::new();
    encode(&mut wire, &["SET", "half", "never"]);
    for cut in 1..wire.len() {
        let mut client = server.client();
        client.send_raw(&wire[..cut]).expect("the server reads");
        drop(client);
    }
    let mut client = server.client();
    assert_eq!(client.line("EXISTS half"), Value::Integer(0));
    for _ in 0..1000 {
        let connected = client.info("clients").get("connected_clients").cloned();
        if connected.as_deref() == Some("1") {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("connections that hung up are still counted: {:?}", client.info("clients"));
}

#[test]
fn a_request_in_single_bytes_is_one_request() {
    let server = Server::millpond(&[]);
    let mut client = server.client();
    let mut wire = Vec::new();
    encode(&mut wire, &[b"SET".as_slice(), b"k\r\n", b"a value\r\nof two lines"]);
    encode(&mut wire, &[b"GET".as_slice(), b"k\r\n"]);
    wire.extend_from_slice(b"PING\r\n\r\nget \"k\\r\\n\"\r\n");
    for byte in &wire {
        client.send_raw(&[*byte]).expect("the server reads");
    }
    let value = Value::Bulk(b"a value\r\nof two lines".to_vec());
    for expected in [Value::Simple("OK".into()), value.clone(), Value::Simple("PONG".into()), value] {
        assert_eq!(client.reply().expect("a reply"), expected);
    }
}

#[test]
fn inline_commands_know_quotes_and_escapes() {
    let server = Server::millpond(&[]);
    let mut client = server.client();
    for (line, expected) in [
        ("PING\r\n", Value::Simple("PONG".into())),
        ("PING\n", Value::Simple("PONG".into())),
        ("  echo   'a b'  \r\n", Value::Bulk(b"a b".to_vec())),
        ("ECHO \"\\x41\\n\\\"\"\r\n", Value::Bulk(b"A\n\"".to_vec())),
        ("ECHO 'it\\'s'\r\n", Value::Bulk(b"it's".to_vec())),
    ] {
        client.send_raw(line.as_bytes()).expect("the server reads");
        assert_eq!(client.reply().expect("a reply"), expected, "{line:?}");
    }
}

#[test]
fn ten_thousand_pipelined_commands_are_answered_in_order() {
    let server = Server::millpond(&[]);
    let mut client = server.client();
    let commands = (0..10_000).map(|n| vec![b"ECHO".to_vec(), n.to_string().into_bytes()]).collect::<Vec<_>>();
    // Some of the requests wait in the server's socket while the replies are not read; both sides must go on.
    let replies = client.pipeline(&commands).expect("all are answered");
    for (n, reply) in replies.iter().enumerate() {
        assert_eq!(reply.text(), n.to_string());
    }
}

#[test]
fn a_slow_reader_does_not_hold_up_the_others() {
    let server = Server::millpond(&[]);
    let mut slow = server.client();
    slow.must(&[b"SET".as_slice(), b"large", &vec![b'x'; 100_000]]);
    let mut wire = Vec::new();
    (0..100).for_each(|_| encode(&mut wire, &["GET", "large"]));
    slow.send_raw(&wire).expect("requests are small");
    let mut other = server.client();
    for n in 0..1000 {
        assert_eq!(other.must(&["SET", "n", &n.to_string()]), Value::Simple("OK".into()));
    }
    for _ in 0..100 {
        assert_eq!(slow.reply().expect("nothing is dropped").bytes().len(), 100_000);
    }
}

#[test]
fn a_value_over_the_limit_is_refused_before_it_is_sent() {
    let server = Server::millpond(&["--proto-max-bulk-len", "1mb"]);
    let mut client = server.client();
    assert_eq!(client.must(&[b"SET".as_slice(), b"fits", &vec![b'x'; 1 << 20]]), Value::Simple("OK".into()));
    client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1048577\r\n").expect("the server reads");
    let error = "ERR Protocol error: invalid bulk length";
    assert_eq!(client.reply().expect("an error"), Value::Error(error.into()));
    assert!(client.is_closed_by_server());
}

#[test]
fn one_client_more_than_maxclients_is_told_so() {
    let server = Server::millpond(&["--maxclients", "10"]);
    // The connections that waited for the start may not have been noticed as closed yet.
    let mut clients = connect_until_refused(&server);
    clients.truncate(5);
    for client in &mut clients {
        assert_eq!(client.line("PING"), Value::Simple("PONG".into()));
    }
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        if let Ok(Value::Simple(_)) = server.client().ask(&["PING"]) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("closed connections never make room");
}

fn connect_until_refused(server: &Server) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..=10 {
        let mut client = server.client();
        match client.ask(&["PING"]) {
            Ok(Value::Simple(_)) => clients.push(client),
            Ok(refusal) => {
                assert_eq!(refusal, Value::Error("ERR max number of clients reached".into()));
                assert!(client.is_closed_by_server());
                return clients;
            }
            // It was closed while the request was on its way.
            Err(_) => return clients,
        }
    }
    panic!("{} clients were taken, ten are allowed", clients.len());
}

// --- starting and stopping ---

#[test]
fn sigterm_ends_with_0_and_keeps_the_data() {
    let mut server = Server::millpond(&["--appendfsync", "no"]);
    let mut client = server.client();
    client.line("RPUSH jobs a b c");
    client.line("ZADD due 1.5 a");
    let mut blocked = server.client();
    blocked.send(&["BRPOP", "none", "0"]).expect("the server takes a command");
    assert_eq!(server.term().code(), Some(0));
    assert!(blocked.is_closed_by_server());
    server.start();
    let mut client = server.client();
    assert_eq!(client.line("LRANGE jobs 0 -1").items().len(), 3);
    assert_eq!(client.line("ZSCORE due a").text(), "1.5");
}

#[test]
fn shutdown_ends_with_0_and_keeps_the_data() {
    let mut server = Server::millpond(&[]);
    let mut client = server.client();
    client.line("SET a 1");
    client.send(&["SHUTDOWN"]).expect("the server takes a command");
    assert!(client.is_closed_by_server());
    assert_eq!(server.wait_for_exit().code(), Some(0));
    server.start();
    assert_eq!(server.client().line("GET a").text(), "1");
}

#[test]
fn an_unknown_setting_ends_with_2_and_is_named() {
    for words in
        [["--no-such-setting", "1"], ["--appendfsync", "sometimes"], ["--port", "many"], ["--maxmemory", "lots"]]
    {
        let Some(output) = start_in_vain(&words) else { return };
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {text}");
        assert!(text.contains(words[0].trim_start_matches('-')), "{words:?} is not named: {text}");
    }
}

#[test]
fn a_bad_setting_in_the_config_file_ends_with_2_and_is_named() {
    let home = harness::temporary_directory();
    let path = home.path().join("millpond.toml");
    std::fs::write(&path, "appendfsync = \"everysec\"\nno-such-setting = 1\n")
        .expect("a fresh directory can be filled");
    let Some(output) = start_in_vain(&["--config", path.to_str().expect("temporary paths are text")]) else { return };
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("no-such-setting"), "{text}");
}

#[test]
fn a_data_directory_that_cannot_be_written_is_refused_by_name() {
    let home = harness::temporary_directory();
    let file = home.path().join("a-file");
    std::fs::write(&file, "not a directory").expect("a fresh directory can be filled");
    // Tests may run as root, whom permissions do not stop: so a path that nobody can write to.
    for directory in [file.to_str().expect("temporary paths are text"), "/proc/millpond"] {
        let Some(output) = start_in_vain(&["--dir", directory]) else { return };
        let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{directory}: {text}");
        assert!(text.contains(directory), "the message does not name {directory}: {text}");
    }
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    if harness::is_stand_in() {
        return;
    }
    let server = Server::millpond(&[]);
    let directory = server.directory();
    let directory = directory.to_str().expect("temporary paths are text");
    let Some(output) = start_in_vain(&["--dir", directory]) else { return };
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && text.contains(directory), "{text}");
    assert_eq!(server.client().line("PING"), Value::Simple("PONG".into()));
}

#[test]
fn a_directory_of_a_newer_schema_is_refused_and_left_as_it_is() {
    if harness::is_stand_in() {
        return;
    }
    let mut server = Server::millpond(&[]);
    server.client().line("SET a 1");
    server.term();
    let version = server.directory().join("VERSION");
    let written = fs::read_to_string(&version).expect("the server has left its schema");
    let (words, _) = written.trim_end().rsplit_once(' ').expect("a number stands at its end");
    let newer = format!("{words} 9999\n");
    fs::write(&version, &newer).expect("the directory is ours");
    let why = server.try_start().expect_err("a newer schema must be refused");
    assert!(why.contains("did not start: it ended") && server.log().contains("9999"), "{why}");
    assert_eq!(fs::read_to_string(&version).expect("it is still there"), newer);
    fs::write(&version, &written).expect("the directory is ours");
    server.start();
    assert_eq!(server.client().line("GET a").text(), "1");
}

#[test]
fn ping_as_a_subcommand_tells_whether_the_server_answers() {
    if harness::is_stand_in() {
        return;
    }
    let mut server = Server::millpond(&[]);
    let ping = |port: u16| {
        let output = Command::new(harness::millpond_binary().1).args(["ping", "--port", &port.to_string()]).output();
        output.expect("the binary runs").status.success()
    };
    assert!(ping(server.port()));
    server.term();
    assert!(!ping(server.port()));
}

/// Starts Millpond where it must not start; None where a Redis stands in for it.
fn start_in_vain(words: &[&str]) -> Option<Output> {
    if harness::is_stand_in() {
        return None;
    }
    let home = harness::temporary_directory();
    let mut command = Command::new(harness::millpond_binary().1);
    command.args(words).current_dir(home.path()).stdin(std::process::Stdio::null());
    if !words.contains(&"--port") {
        command.args(["--port", &harness::free_port().to_string()]);
    }
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let began = Instant::now();
    while child.try_wait().expect("a child can be asked").is_none() {
        if began.elapsed() > Duration::from_secs(20) {
            child.kill().expect("a child can be killed");
            let output = child.wait_with_output().expect("a killed child ends");
            panic!("{words:?} started a server: {}", String::from_utf8_lossy(&output.stderr));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Some(child.wait_with_output().expect("it has ended"))
}
