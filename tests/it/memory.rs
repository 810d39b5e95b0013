//! A server in need of memory: what is refused, what waits, and what goes on.

use crate::harness::{self, Server, encode};

/// Four times the tiny profile's memory.
const JOBS: usize = 4000;
const JOB_BYTES: usize = 1000;

#[test]
fn pushes_wait_for_a_store_that_is_behind_and_none_is_lost() {
    if harness::is_stand_in() {
        return;
    }
    let server = Server::millpond(&["--profile", "tiny", "--maxmemory", "1mb", "--push-wait", "60000"]);
    let mut client = server.client();
    let mut wire = Vec::new();
    for n in 0..JOBS {
        encode(&mut wire, &["RPUSH", "jobs", &format!("{n:0JOB_BYTES$}")]);
    }
    client.send_raw(&wire).expect("the server takes the jobs");
    for n in 1..=JOBS {
        assert_eq!(client.reply().expect("a reply").integer(), n as i64);
    }
    let waited: u64 = client.info("millpond")["push_waits"].parse().expect("a number");
    assert!(waited > 0, "no push waited: the store was never behind");
    for n in 0..JOBS {
        assert_eq!(client.line("LPOP jobs").text(), format!("{n:0JOB_BYTES$}"));
    }
}
