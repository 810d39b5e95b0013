//! `kill -9` under mixed load: nothing that was answered is lost, nothing comes back, nothing is half there.
//!
//! - `MILLPOND_TEST_CRASH_ROUNDS` kills per durability policy (3; 50 in full)
//! - `MILLPOND_TEST_CRASH_BACKLOG_MB` jobs that wait in a deep list meanwhile (8; 1024 in full)
//! - `MILLPOND_TEST_CRASH_LOG_MB` what is overwritten beforehand, so that there is log to replay (0; 250 in full)
//! - `MILLPOND_TEST_CRASH_SEED`

use crate::harness::{self, Chance, Client, Server, encode};
use crate::ledger::{Ledger, write_while};
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

const CLIENTS: usize = 6;
const BACKLOG_JOB_BYTES: usize = 300;

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
    let mut server = Server::millpond(&["--appendfsync", harness::kill_safe(policy)]);
    let backlog = Backlog::push(&server, &mut chance);
    overwrite(&server);

    let mut ledgers = (0..CLIENTS).map(|client| Ledger::new(client, chance.fork())).collect::<Vec<_>>();
    let mut ready = Vec::new();
    for round in 0..rounds {
        let life = Duration::from_millis(chance.between(50, 900) as u64);
        write_while(&mut ledgers, server.port(), || {
            thread::sleep(life);
            println!("{policy} round {round}: {}", describe_log(&server));
            server.kill9();
        });
        if chance.one_in(3) {
            let recovery = ready.last().copied().unwrap_or(Duration::from_millis(100));
            server.start_and_kill_after(recovery.mul_f64(chance.below(100) as f64 / 100.0));
        }
        let began = Instant::now();
        server.start();
        ready.push(began.elapsed());
        let mut client = server.client();
        for ledger in &mut ledgers {
            if let Err(why) = ledger.verify_nothing_answered_is_lost(&mut client) {
                panic!("{policy}, round {round}: {why}");
            }
        }
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
    println!(
        "{policy}: {rounds} kills, {} answered writes, ready after {:?} (median) and {:?} (most)",
        ledgers.iter().map(|ledger| ledger.answered_in_total).sum::<u64>(),
        harness::quantile(&ready, 0.5),
        harness::quantile(&ready, 1.0),
    );
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

/// Writes the same few keys again and again, which leaves nothing but log.
fn overwrite(server: &Server) {
    let megabytes = harness::size_from_environment("MILLPOND_TEST_CRASH_LOG_MB", 0);
    let mut client = server.client();
    let value = "y".repeat(32 * 1024);
    for n in 0..megabytes * 32 {
        client.must(&["SET", &format!("overwritten:{}", n % 64), &value]);
    }
}

fn describe_log(server: &Server) -> String {
    let Ok(mut client) = Client::connect(server.port()) else { return "no connection".into() };
    client
        .info("millpond")
        .iter()
        .filter(|(name, _)| name.contains("log") || name.contains("chunks"))
        .map(|(name, value)| format!("{name}={value} "))
        .collect()
}
