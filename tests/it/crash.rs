//! `kill -9` under mixed load: nothing that was answered is lost, nothing comes back, nothing is half there.
//!
//! - `MILLPOND_TEST_CRASH_ROUNDS` kills per durability policy (3; 50 in full)
//! - `MILLPOND_TEST_CRASH_BACKLOG_MB` jobs that wait in a deep list meanwhile (8; 1024 in full)
//! - `MILLPOND_TEST_CRASH_LOG_MB` how long the log is to be at every kill at least (0; 200 in full)
//! - `MILLPOND_TEST_CRASH_SEED`
//! - `MILLPOND_TEST_ASSERT_TIMES=1` also asserts that the server is ready again within five seconds, which is printed always

use crate::harness::{self, Chance, Client, Server, encode};
use crate::ledger::{Ledger, write_while};
use crate::long_log::{Writer, while_log_is_long};
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::Duration;

const CLIENTS: usize = 6;
const BACKLOG_JOB_BYTES: usize = 300;
/// However long the log and the backlog are.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// One round in so many is also killed while the server recovers.
const ROUNDS_PER_KILL_IN_RECOVERY: u64 = 3;
/// What the log says when a recovery has come so far; it is killed there, or a part of the usual time later.
const STAGES: [&str; 2] = ["INFO starting", "INFO read the store's rows"];
/// With so many rounds at least one kill must have come before the server listened.
const ROUNDS_THAT_MEET_RECOVERY: u64 = 20;

#[test]
fn every_answered_write_survives_kill_9_when_synced_every_second() {
    check("everysec");
}

#[test]
fn every_answered_write_survives_kill_9_when_synced_always() {
    check("always");
}

#[test]
fn every_answered_write_survives_a_panic() {
    if harness::is_stand_in() {
        return;
    }
    let mut server = Server::millpond(&["--profile", "tiny", "--enable-debug-command", "local"]);
    let mut client = server.client();
    for n in 0..500 {
        client.must(&["RPUSH", "list", &n.to_string()]);
    }
    // What the turn of the panic has done is not answered, and so may be there or not.
    client.ask(&["DEBUG", "PANIC"]).expect_err("the server ends");
    let status = server.wait_for_exit();
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{status}");
    server.start();
    let mut client = server.client();
    assert_eq!(client.must(&["LLEN", "list"]).integer(), 500);
    assert_eq!(client.must(&["LINDEX", "list", "-1"]).text(), "499");
}

fn check(policy: &str) {
    let mut chance = Chance::new(harness::seed_from_environment("MILLPOND_TEST_CRASH_SEED"));
    let rounds = harness::size_from_environment("MILLPOND_TEST_CRASH_ROUNDS", 3);
    let long_log_bytes = harness::size_from_environment("MILLPOND_TEST_CRASH_LOG_MB", 0) << 20;
    let is_long = long_log_bytes > 0 && !harness::is_stand_in();
    let mut arguments = vec!["--appendfsync", harness::kill_safe(policy)];
    if is_long {
        arguments.extend(["--profile", "long-log"]);
    }
    let mut server = Server::millpond(&arguments);
    let backlog = Backlog::push(&server, &mut chance);

    let mut ledgers = (0..CLIENTS).map(|client| Ledger::new(client, chance.fork())).collect::<Vec<_>>();
    let mut writers = Writer::all();
    let (mut ready, mut logs) = (Vec::new(), Vec::new());
    let mut kills_in_recovery = 0;
    for round in 0..rounds {
        let life = Duration::from_millis(chance.between(50, 900) as u64);
        let port = server.port();
        let log_bytes = write_while(&mut ledgers, port, || {
            thread::sleep(life);
            if is_long {
                while_log_is_long(&mut writers, &mut server, long_log_bytes, Server::kill9).0
            } else {
                let log_bytes = log_bytes(&server);
                server.kill9();
                log_bytes
            }
        });
        if round % ROUNDS_PER_KILL_IN_RECOVERY == 1 {
            let usual = ready.last().copied().unwrap_or(Duration::from_millis(100));
            let later = usual.mul_f64(chance.below(60) as f64 / 100.0);
            kills_in_recovery += u64::from(server.start_and_kill_at(chance.pick::<&str>(&STAGES), later));
        }
        assert!(log_bytes >= long_log_bytes || !is_long, "only {} MB of log in round {round}", log_bytes >> 20);
        let took = server.start();
        println!("{policy} round {round}: {} MB of log at the kill, ready after {took:?}", log_bytes >> 20);
        ready.push(took);
        logs.push(log_bytes >> 20);
        let mut client = server.client();
        let mut outcome = ledgers.iter_mut().try_for_each(|ledger| ledger.verify_nothing_answered_is_lost(&mut client));
        outcome = outcome.and_then(|()| writers.iter().try_for_each(|writer| writer.verify(&mut client)));
        outcome.unwrap_or_else(|why| panic!("{policy}, round {round}: {why}"));
        backlog.verify(&mut client);
    }

    let status = server.term();
    assert!(status.success(), "SIGTERM: {status}");
    server.start();
    for ledger in &mut ledgers {
        ledger
            .verify_nothing_answered_is_lost(&mut server.client())
            .unwrap_or_else(|why| panic!("after SIGTERM: {why}"));
    }
    ready.sort();
    logs.sort_unstable();
    let most = harness::quantile(&ready, 1.0);
    println!(
        "{policy}: {rounds} kills and {kills_in_recovery} before it listened, {} answered writes, ready after {:?} (median) and \
         {most:?} (most), {} MB (least), {} MB (median) and {} MB (most) of log at the kills",
        ledgers.iter().map(|ledger| ledger.answered_in_total).sum::<u64>(),
        harness::quantile(&ready, 0.5),
        harness::quantile(&logs, 0.0),
        harness::quantile(&logs, 0.5),
        harness::quantile(&logs, 1.0),
    );
    assert!(
        rounds < ROUNDS_THAT_MEET_RECOVERY || kills_in_recovery > 0,
        "no kill came before the server listened: the waits are too long"
    );
    assert!(!harness::times_are_asserted() || most <= READY_WITHIN, "ready only after {most:?}");
}

/// Jobs in a list that nobody takes.
struct Backlog {
    jobs: u64,
    salt: u64,
}

impl Backlog {
    fn push(server: &Server, chance: &mut Chance) -> Backlog {
        let megabytes = harness::size_from_environment("MILLPOND_TEST_CRASH_BACKLOG_MB", 8);
        let backlog = Backlog { jobs: megabytes * (1 << 20) / BACKLOG_JOB_BYTES as u64, salt: chance.bits() };
        let mut client = server.client();
        let mut next = 0;
        while next < backlog.jobs {
            let batch = (backlog.jobs - next).min(500);
            let mut wire = Vec::new();
            for n in next..next + batch {
                encode(&mut wire, &[b"LPUSH".as_slice(), b"backlog", &backlog.job(n)]);
            }
            client.send_raw(&wire).expect("the server takes jobs");
            for n in next..next + batch {
                let reply = client.reply().expect("a reply");
                assert!(!reply.is_error(), "job {n} of the backlog: {reply:?}");
            }
            next += batch;
        }
        backlog
    }

    fn job(&self, n: u64) -> Vec<u8> {
        let mut chance = Chance::new(self.salt ^ n);
        let mut job = format!("{n} ").into_bytes();
        job.resize_with(BACKLOG_JOB_BYTES, || b'0' + (chance.bits() % 75) as u8);
        job
    }

    fn verify(&self, client: &mut Client) {
        if self.jobs == 0 {
            return;
        }
        assert_eq!(client.must(&["LLEN", "backlog"]).integer(), self.jobs as i64);
        for n in [0, self.jobs / 2, self.jobs - 1] {
            let index = (self.jobs - 1 - n).to_string();
            assert_eq!(client.must(&["LINDEX", "backlog", &index]).bytes(), self.job(n), "job {n} of the backlog");
        }
    }
}

/// How long the log is; 0 where the server does not tell.
fn log_bytes(server: &Server) -> u64 {
    let Ok(mut client) = Client::connect(server.port()) else { return 0 };
    client.info("millpond").get("log_bytes").and_then(|bytes| bytes.parse().ok()).unwrap_or_default()
}
