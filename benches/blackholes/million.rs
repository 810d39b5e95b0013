//! A solid million of bad jobs at the pop end, good ones behind: how soon the first good one comes out.

use crate::answers::{ask, ask_line, count};
use crate::backlog::{check_ledger, connect, quarantine, wait_for_sweep};
use crate::filling::{QUEUE, fill, settle};
use crate::harness::{Client, Server, Value};
use crate::jobs::{GOOD_BEHIND, Jobs, Kind, Layout};
use crate::options::Options;
use crate::report::{Heading, Report, Spread, grouped};
use std::thread;
use std::time::{Duration, Instant};

const FIRST_GOOD: Heading = Heading {
    title: "A solid block of bad jobs at the pop end, 1,000 good ones behind: seconds from the rule's reply to the first good job.",
    columns: &["rule", "bad jobs", "blocked BRPOP", "RPOP each 100 ms"],
};

const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Far over what is asked for, so that a miss is measured instead of timed out.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// What holds the bad jobs back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    Class,
    Pause,
    Argument,
}

/// How a worker asks.
#[derive(Clone, Copy)]
enum Pop {
    Blocked,
    Polled,
}

impl Hold {
    fn command(self) -> &'static str {
        match self {
            Hold::Class => "JOB.BLACKHOLE ADD bad CLASS BadJob",
            Hold::Pause => "JOB.PAUSE queue:default CLASS BadJob",
            Hold::Argument => "JOB.BLACKHOLE ADD bad CLASS BadJob ARG customer_id=7",
        }
    }

    fn seconds_max(self) -> f64 {
        match self {
            // The summaries tell that a chunk holds nothing else.
            Hold::Class | Hold::Pause => 1.0,
            Hold::Argument => 2.0,
        }
    }
}

pub fn measure(options: &Options, report: &mut Report) {
    for hold in [Hold::Class, Hold::Pause, Hold::Argument] {
        let mut cells = vec![format!("`{}`", hold.command()), grouped(options.bad_jobs())];
        for (pop, how) in [(Pop::Blocked, "blocked BRPOP"), (Pop::Polled, "RPOP each 100 ms")] {
            let seconds = Spread::of((0..options.repeats).map(|_| first_good(hold, pop, options)));
            cells.push(seconds.show(2));
            report.claim(
                format!("first good job by {how} after {}", hold.command()),
                format!("{:.2} s at most", seconds.most),
                format!("≤ {} s", hold.seconds_max()),
                seconds.most <= hold.seconds_max(),
            );
        }
        report.row(&FIRST_GOOD, cells);
    }
}

/// Fills a fresh server, makes the rule, and measures. Then checks that all good jobs come, in order, and nothing else.
fn first_good(hold: Hold, pop: Pop, options: &Options) -> f64 {
    let bad = options.bad_jobs();
    let server = Server::millpond(&options.server_flags());
    let mut control = connect(&server);
    let jobs = Jobs::new(bad + GOOD_BEHIND, Layout::BadDeploy, 8);
    fill(&mut control, QUEUE, &jobs, 0..jobs.count());
    settle(&mut control);
    let mut worker = connect(&server);

    ask_line(&mut control, hold.command());
    let added = Instant::now();
    let payload = match pop {
        Pop::Blocked => worker.line(&format!("BRPOP {QUEUE} {}", WAIT_MAX.as_secs())).items()[1].bytes().to_vec(),
        Pop::Polled => poll(&mut worker, added),
    };
    let seconds = added.elapsed().as_secs_f64();
    assert_eq!(jobs.identify(&payload), bad, "the oldest good job is the first one out");

    let held = match hold {
        Hold::Pause => bad,
        Hold::Class | Hold::Argument => check_sweep(&mut control, bad),
    };
    assert_eq!(control.must(&["LLEN", QUEUE]).integer() as u64, held + GOOD_BEHIND - 1);
    for n in bad + 1..jobs.count() {
        assert_eq!(jobs.identify(worker.must(&["RPOP", QUEUE]).bytes()), n);
    }
    assert!(worker.must(&["RPOP", QUEUE]).is_nil(), "a queue of which nothing may go out counts as empty");
    let row = check_ledger(&mut control);
    assert_eq!(count(&row, "popped"), GOOD_BEHIND, "{row:?}");
    if hold == Hold::Pause {
        ask(&mut control, &["JOB.RESUME", QUEUE, "CLASS", Kind::BAD_DEPLOY.class]);
        assert_eq!(jobs.identify(worker.must(&["RPOP", QUEUE]).bytes()), 0, "RESUME lets the oldest job out");
    }
    seconds
}

fn poll(worker: &mut Client, added: Instant) -> Vec<u8> {
    for tick in 1.. {
        match worker.must(&["RPOP", QUEUE]) {
            Value::Bulk(payload) => return payload,
            nil if nil.is_nil() && added.elapsed() < WAIT_MAX => {
                thread::sleep((POLL_INTERVAL * tick).saturating_sub(added.elapsed()));
            }
            other => panic!("no good job within {WAIT_MAX:?}, but {other:?}"),
        }
    }
    unreachable!("the loop ends by itself")
}

/// All bad jobs are in quarantine when the sweep is over. Gives how many are left in the queue: none.
fn check_sweep(control: &mut Client, bad: u64) -> u64 {
    let info = wait_for_sweep(control, "bad");
    assert_eq!(control.must(&["LLEN", &quarantine("bad")]).integer() as u64, bad, "{info:?}");
    assert_eq!(count(&info, "quarantined"), bad, "{info:?}");
    0
}
