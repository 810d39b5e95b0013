//! The backlog that is measured: a server, its queue, and an account of every job that was ever pushed to it.

use crate::answers::{ask, count, field, known_count};
use crate::filling::{QUEUE, fill, settle};
use crate::harness::{self, Client, Server};
use crate::jobs::{CUSTOMERS, Jobs, Kind, Layout};
use crate::options::Options;
use std::time::{Duration, Instant};

/// Jobs that are pushed one by one after the first rule is made, all of which it matches.
pub const LATE_JOBS: u64 = 100;
/// Sweeps and restores of ten million jobs take seconds; what takes longer hangs.
const REPLY_WAIT_MAX: Duration = Duration::from_secs(600);

/// A filled queue, and where its jobs are.
pub struct Backlog {
    pub server: Server,
    pub control: Client,
    pub jobs: Jobs,
    pub layout: Layout,
    pub account: Account,
    /// What rules have taken out and not given back.
    pub quarantined: u64,
    pub pushed: u64,
}

/// Which jobs workers got, and what of each customer's import jobs that makes.
pub struct Account {
    delivered: Vec<u64>,
    pub delivered_count: u64,
    of_customers: [u64; CUSTOMERS.len()],
}

impl Account {
    fn new(jobs: u64) -> Account {
        let words = jobs.div_ceil(64) as usize;
        Account { delivered: vec![0; words], delivered_count: 0, of_customers: [0; CUSTOMERS.len()] }
    }

    /// Notes a delivery; panics at the second one of the same job.
    pub fn deliver(&mut self, n: u64, kind: Kind) {
        assert!(!self.is_delivered(n), "job {n} was delivered twice");
        self.delivered[(n / 64) as usize] |= 1 << (n % 64);
        self.delivered_count += 1;
        if let Some(index) = CUSTOMERS.iter().position(|customer| Kind::bad(*customer) == kind) {
            self.of_customers[index] += 1;
        }
    }

    pub fn is_delivered(&self, n: u64) -> bool {
        self.delivered[(n / 64) as usize] >> (n % 64) & 1 == 1
    }

    pub fn delivered_of(&self, customer: u64) -> u64 {
        let index = CUSTOMERS.iter().position(|known| *known == customer).expect("one of the customers");
        self.of_customers[index]
    }
}

impl Backlog {
    /// Starts a server and fills its queue.
    pub fn filled(layout: Layout, options: &Options) -> Backlog {
        let server = Server::millpond(&options.server_flags());
        let mut control = connect(&server);
        let jobs = Jobs::new(options.jobs, layout, 4 + layout as u64);
        let began = Instant::now();
        fill(&mut control, QUEUE, &jobs, 0..options.jobs);
        let filled = began.elapsed();
        settle(&mut control);
        let disk = harness::disk_usage_bytes(&server.directory());
        let memory = harness::memory_now_bytes(server.pid());
        eprintln!(
            "{}: {} jobs of {} B pushed in {filled:.1?}, {} MB in memory, {} MB on the disk",
            layout.name(),
            options.jobs,
            jobs.payload(0).len(),
            memory >> 20,
            disk >> 20
        );
        let account = Account::new(options.jobs + LATE_JOBS);
        Backlog { server, control, jobs, layout, account, quarantined: 0, pushed: options.jobs }
    }

    /// How many jobs a rule for this customer has to take out: all there ever were, without those delivered before it.
    pub fn left_of(&self, customer: u64) -> u64 {
        let late = if customer == CUSTOMERS[0] { self.pushed - self.jobs.count() } else { 0 };
        self.jobs.count_of(Kind::bad(customer)) + late - self.account.delivered_of(customer)
    }

    /// Panics unless LLEN and LEDGER agree, to the job, with what was pushed, delivered and taken out.
    pub fn check_balance(&mut self) {
        let length = self.control.must(&["LLEN", QUEUE]).integer() as u64;
        let delivered = self.account.delivered_count;
        assert_eq!(length + delivered + self.quarantined, self.pushed, "{length} queued, {delivered} delivered");
        let row = check_ledger(&mut self.control);
        assert_eq!(count(&row, "in"), self.pushed, "{row:?}");
        assert_eq!(count(&row, "pending") + known_count(&row, "held"), length, "{row:?}");
        assert_eq!(count(&row, "quarantined"), self.quarantined, "{row:?}");
        assert_eq!(count(&row, "popped"), delivered, "{row:?}");
        assert_eq!((count(&row, "dropped"), count(&row, "removed")), (0, 0), "{row:?}");
    }
}

/// Connects with RESP3 and patience.
pub fn connect(server: &Server) -> Client {
    let mut client = server.client();
    client.set_timeout(REPLY_WAIT_MAX);
    ask(&mut client, &["HELLO", "3"]);
    client
}

/// Gives the queue's row of the ledger; panics unless it adds up.
pub fn check_ledger(control: &mut Client) -> harness::Value {
    let ledger = ask(control, &["JOB.LEDGER"]);
    let row = ledger.items().iter().find(|row| field(row, "queue").bytes() == QUEUE.as_bytes());
    let row = row.unwrap_or_else(|| panic!("no {QUEUE} in {ledger:?}")).clone();
    let places = ["pending", "held", "quarantined", "dropped", "removed", "popped"];
    assert_eq!(count(&row, "in"), places.map(|place| known_count(&row, place)).iter().sum::<u64>(), "{row:?}");
    assert_eq!(count(&row, "off"), 0, "{row:?}");
    row
}

/// Waits until INFO of a rule says that its sweep is over, and gives what it says then.
pub fn wait_for_sweep(control: &mut Client, rule: &str) -> harness::Value {
    let began = Instant::now();
    loop {
        let info = ask(control, &["JOB.BLACKHOLE", "INFO", rule]);
        if count(&info, "sweeping") == 0 {
            return info;
        }
        assert!(began.elapsed() < REPLY_WAIT_MAX, "the sweep does not end: {info:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The list that a rule keeps the queue's jobs in.
pub fn quarantine(rule: &str) -> String {
    format!("job:quarantine:{rule}:{QUEUE}")
}

/// Starts the measurement of turns anew.
pub fn forget_turns(control: &mut Client) {
    ask(control, &["CONFIG", "RESETSTAT"]);
}

/// The longest turn since then, in milliseconds; None of a server that does not say.
pub fn longest_turn_ms(control: &mut Client) -> Option<f64> {
    control.info("millpond").get("turn_us_max").and_then(|us| us.parse::<f64>().ok()).map(|us| us / 1e3)
}

/// Shows a figure that may be unknown.
pub fn shown_ms(ms: Option<f64>) -> String {
    ms.map_or("–".to_owned(), |ms| format!("{ms:.2}"))
}
