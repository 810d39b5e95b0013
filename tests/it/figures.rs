//! What INFO tells of the running program is true.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::{self, Client, Server, Value};

/// So many writes make a checkpoint of the tiny profile, and leave it the time that it takes.
const WRITES_MAX: usize = 20_000;

fn figure(info: &BTreeMap<String, String>, name: &str) -> f64 {
    info[name].parse().unwrap_or_else(|_| panic!("{name}:{} is no number", info[name]))
}

#[test]
fn memory_is_counted_share_by_share() {
    if harness::is_stand_in() {
        return;
    }
    let server = Server::millpond(&["--profile", "tiny", "--maxmemory", "1mb"]);
    let mut client = server.client();
    for _ in 0..300 {
        client.must(&["RPUSH", "jobs", &"x".repeat(1000), &"y".repeat(1000)]);
    }
    client.must(&["SET", "key", &"z".repeat(10_000)]);
    client.line("EVAL return(1) 0");
    client.must(&["LPOP", "jobs", "100"]);
    // Half a request is held for its client.
    let mut slow = server.client();
    slow.send_raw(format!("*2\r\n$4\r\nECHO\r\n$20000\r\n{}", "x".repeat(10_000)).as_bytes()).expect("it takes it");
    while figure(&client.info("millpond"), "memory_clients_bytes") < 10_000.0 {}

    // How much has to be pushed until something leaves memory, and is read again, hangs on how fast the disk is.
    crate::jobs::wait_until("something is in the disk's cache", || {
        client.must(&["RPUSH", "jobs", &"x".repeat(1000)]);
        client.must(&["LINDEX", "jobs", "150"]);
        figure(&client.info("millpond"), "memory_cache_bytes") > 0.0
    });
    let ours = client.info("millpond");
    for share in ["objects", "cache", "fixed"] {
        assert!(figure(&ours, &format!("memory_{share}_bytes")) > 0.0, "{share}: {ours:?}");
    }
    let memory = client.info("memory");
    let (used, rss) = (figure(&memory, "used_memory"), figure(&memory, "used_memory_rss"));
    assert!(used >= 20_000.0 && figure(&memory, "used_memory_peak") >= used, "{memory:?}");
    assert!((figure(&memory, "mem_fragmentation_ratio") - rss / used).abs() < 0.02, "{memory:?}");
    assert_eq!(memory["mem_allocator"], "libc");
}

#[test]
fn traffic_is_counted() {
    if harness::is_stand_in() {
        return;
    }
    let server = Server::millpond(&["--maxclients", "2"]);
    let mut client = server.client();
    let before = client.info("stats");
    let _second = server.client();
    let refused = server.client().reply().expect("a word before the door is shut");
    assert!(matches!(&refused, Value::Error(text) if text.contains("max number of clients")), "{refused:?}");
    client.must(&["ECHO", &"x".repeat(100_000)]);
    let after = client.info("stats");
    let grown = |name| figure(&after, name) - figure(&before, name);
    assert!(grown("total_net_input_bytes") > 100_000.0 && grown("total_net_output_bytes") > 100_000.0);
    assert!(grown("total_reads_processed") > 1.0 && grown("total_writes_processed") > 1.0);
    assert_eq!(grown("rejected_connections"), 1.0);
}

#[test]
fn look_ups_of_reading_commands_are_counted_once() {
    if harness::is_stand_in() {
        return;
    }
    let server = Server::millpond(&["--profile", "tiny"]);
    let mut client = server.client();
    check(&mut client, "SET key value", 0, 0);
    check(&mut client, "GET key", 1, 0);
    check(&mut client, "GET nosuch", 0, 1);
    check(&mut client, "EXISTS key nosuch", 1, 1);
    check(&mut client, "DEL nosuch", 0, 0);
    check(&mut client, "EVAL return(redis.call('GET','key')) 0", 1, 0);
    // A long value leaves memory with the turn in which it was saved, and the command runs again once it is back.
    client.must(&["SET", "long", &"x".repeat(10_000)]);
    let has_left = (0..WRITES_MAX).any(|n| {
        client.line(&format!("SET other {n}"));
        figure(&client.info("millpond"), "cold_chunks") > 0.0
    });
    assert!(has_left, "no checkpoint has saved it");
    check(&mut client, "STRLEN long", 1, 0);
    assert!(figure(&client.info("millpond"), "fetches") > 0.0);
}

fn check(client: &mut Client, line: &str, hits: i64, misses: i64) {
    let look = |client: &mut Client| {
        let info = client.info("stats");
        (figure(&info, "keyspace_hits") as i64, figure(&info, "keyspace_misses") as i64)
    };
    let before = look(client);
    client.line(line);
    let after = look(client);
    assert_eq!((after.0 - before.0, after.1 - before.1), (hits, misses), "{line}");
}

#[test]
fn the_configuration_file_is_named() {
    if harness::is_stand_in() {
        return;
    }
    let folder = harness::temporary_directory();
    let path = folder.path().join("millpond.toml");
    std::fs::write(&path, "hz = 20\n").expect("it can be written");
    let path = path.to_str().expect("a temporary path is text");
    let server = Server::millpond(&["--config", path]);
    assert_eq!(server.client().info("server")["config_file"], path);
    assert_eq!(Server::millpond(&[]).client().info("server")["config_file"], "");
}

/// Asks the port for metrics; gives the status and what came.
fn get(port: u16, path: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("it is listened on");
    write!(socket, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it takes the request");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("it answers in text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status in {head}")), body.to_owned())
}

#[test]
fn a_port_shows_metrics_health_and_readiness() {
    if harness::is_stand_in() {
        return;
    }
    let port = harness::free_port();
    let server = Server::millpond(&["--metrics-port", &port.to_string()]);
    let mut client = server.client();
    client.must(&["LPUSH", "queue:a\"b", r#"{"class":"A","jid":"1","tenant_id":7}"#, r#"{"class":"A","jid":"2"}"#]);
    client.line("JOB.LIMIT SET one CLASS A CONCURRENCY 1");
    client.must(&["RPOP", "queue:a\"b"]);
    client.line("JOB.ADD later x DELAY 1h");
    assert_eq!(get(port, "/health"), (200, "ok\n".to_owned()));
    assert_eq!(get(port, "/ready"), (200, "ready\n".to_owned()));
    assert_eq!(get(port, "/other").0, 404);
    // The page is made anew once a second, while something happens.
    let expected = [
        r#"millpond_queue_jobs{db="0",queue="queue:a\"b"} 1"#,
        r#"millpond_queue_popped_total{db="0",queue="queue:a\"b"} 1"#,
        r#"millpond_limit_running{db="0",limit="one"} 1"#,
        "millpond_jobs_delayed 1",
        "millpond_jobs_followed 1",
    ];
    let mut page = String::new();
    for _ in 0..2_000 {
        client.line("PING");
        page = get(port, "/metrics").1;
        if expected.iter().all(|line| page.lines().any(|shown| shown == *line)) {
            let info = client.info("jobs");
            let told = ["jobs_pending", "jobs_rules", "jobs_limits", "jobs_followed"].map(|name| figure(&info, name));
            assert_eq!(told, [1.0, 1.0, 1.0, 1.0], "{info:?}");
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("not on the page: {expected:?}\n{page}");
}
