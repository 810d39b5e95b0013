//! The jobs of the backlog: each follows from its number, so that every check is exact though none is kept.

use crate::harness::Chance;
use std::io::Write;

/// The class that the bad deploy filled the queue with.
const BAD_CLASS: &str = "ImportJob";
const OTHER_CLASSES: [&str; 9] = [
    "MailJob",
    "ThumbnailJob",
    "ReportJob",
    "WebhookJob",
    "BillingJob",
    "SearchIndexJob",
    "CleanupJob",
    "ExportJob",
    "NotifyJob",
];

/// Whose jobs are taken out: 1 % of all jobs are the first one's, 0.15 % each later one's.
pub const CUSTOMERS: [u64; 9] = [123, 200, 201, 202, 203, 204, 205, 206, 207];
/// Nobody's number.
pub const ABSENT_CUSTOMER: u64 = 999_999_999;

/// Shares of the jobs, of ten thousand: the first customer's, then those of the later ones, then all of the class.
const SHARES: u64 = 10_000;
const FIRST_CUSTOMER_SHARES: u64 = 100;
const LATER_CUSTOMER_SHARES: u64 = 15;
const BAD_CLASS_SHARES: u64 = 1_000;

/// Jobs alike in the clustered layout; fewer where there are few jobs, so that there still are many runs.
const RUN_JOBS_MAX: u64 = 1_000;
/// Good jobs behind the solid million.
pub const GOOD_BEHIND: u64 = 1_000;

/// How the jobs lie in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Each job is decided by its number alone.
    Spread,
    /// Runs of a thousand jobs are alike.
    Clustered,
    /// The first customer's jobs are one block at the pop end, the others are spread.
    Solid,
    /// All jobs are one customer's of one class, but for the last thousand.
    BadDeploy,
}

impl Layout {
    pub const MEASURED: [Layout; 3] = [Layout::Spread, Layout::Clustered, Layout::Solid];

    pub fn name(self) -> &'static str {
        match self {
            Layout::Spread => "spread",
            Layout::Clustered => "clustered",
            Layout::Solid => "solid",
            Layout::BadDeploy => "bad deploy",
        }
    }
}

/// What a rule looks at. A rule is one of these too: it matches the jobs that equal it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub class: &'static str,
    pub customer: u64,
}

impl Kind {
    /// The faulty class, for one customer.
    pub fn bad(customer: u64) -> Kind {
        Kind { class: BAD_CLASS, customer }
    }

    /// What fills the queue in the layout of the bad deploy.
    pub const BAD_DEPLOY: Kind = Kind { class: "BadJob", customer: 7 };

    /// The predicate that selects this kind.
    pub fn predicate(self) -> Vec<String> {
        let argument = format!("customer_id={}", self.customer);
        ["CLASS", self.class, "ARG", &argument].map(String::from).to_vec()
    }
}

/// All jobs of one backlog, numbered from 0 in the order in which they are pushed.
pub struct Jobs {
    count: u64,
    layout: Layout,
    salt: u64,
    /// When the first one was created; each later one a millisecond after the one before.
    born_ms: u64,
}

impl Jobs {
    pub fn new(count: u64, layout: Layout, salt: u64) -> Jobs {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the clock is set");
        Jobs { count, layout, salt, born_ms: now.as_millis() as u64 - count }
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// What the job of this number is. Those beyond the count are pushed while a rule is in force, and match it.
    pub fn kind(&self, n: u64) -> Kind {
        if n >= self.count {
            return Kind::bad(CUSTOMERS[0]);
        }
        match self.layout {
            Layout::Spread => spread_kind(&mut self.chance(n), 0),
            Layout::Clustered => spread_kind(&mut self.chance(n / (self.count / 1000).clamp(1, RUN_JOBS_MAX)), 0),
            Layout::Solid if n < self.count / (SHARES / FIRST_CUSTOMER_SHARES) => Kind::bad(CUSTOMERS[0]),
            Layout::Solid => spread_kind(&mut self.chance(n), FIRST_CUSTOMER_SHARES),
            Layout::BadDeploy if n < self.count - GOOD_BEHIND => Kind::BAD_DEPLOY,
            Layout::BadDeploy => spread_kind(&mut self.chance(n), BAD_CLASS_SHARES),
        }
    }

    /// How many there are of a kind.
    pub fn count_of(&self, kind: Kind) -> u64 {
        (0..self.count).filter(|n| self.kind(*n) == kind).count() as u64
    }

    /// How many there are of the faulty class, whoever's.
    pub fn count_of_bad_class(&self) -> u64 {
        (0..self.count).filter(|n| self.kind(*n).class == BAD_CLASS).count() as u64
    }

    /// The job as Sidekiq 7 writes it, about 300 B. Its note is chance, which no compressor shortens much.
    pub fn payload(&self, n: u64) -> Vec<u8> {
        let Kind { class, customer } = self.kind(n);
        let mut chance = self.chance(!n);
        let mut job = Vec::with_capacity(320);
        write!(
            job,
            r#"{{"retry":true,"queue":"default","class":"{class}","args":[{{"customer_id":{customer},"note":""#
        )
        .expect("memory takes it");
        for _ in 0..7 {
            write!(job, "{:016x}", chance.bits()).expect("memory takes it");
        }
        let created_ms = self.born_ms + n;
        let created = format!("{}.{:03}", created_ms / 1000, created_ms % 1000);
        let id = chance.bits() >> 8;
        write!(job, r#""}}],"jid":"{id:014x}{n:010x}","created_at":{created},"enqueued_at":{created}}}"#)
            .expect("memory takes it");
        job
    }

    /// The number of a job that came back; panics unless it is, byte for byte, what was pushed.
    pub fn identify(&self, payload: &[u8]) -> u64 {
        const BEFORE_ID: &[u8] = br#""jid":""#;
        let number = payload
            .windows(BEFORE_ID.len())
            .position(|window| window == BEFORE_ID)
            .and_then(|at| payload.get(at + BEFORE_ID.len() + 14..at + BEFORE_ID.len() + 24))
            .and_then(|digits| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match number {
            Some(n) if self.payload(n) == payload => n,
            _ => panic!("not what was pushed: {}", payload.escape_ascii()),
        }
    }

    fn chance(&self, n: u64) -> Chance {
        Chance::new(self.salt ^ n.wrapping_mul(0x9e37_79b9))
    }
}

/// Draws a kind by the shares, the first of them left out.
fn spread_kind(chance: &mut Chance, first_share: u64) -> Kind {
    let share = first_share + chance.bits() % (SHARES - first_share);
    let later_customers = FIRST_CUSTOMER_SHARES..FIRST_CUSTOMER_SHARES + LATER_CUSTOMER_SHARES * 8;
    if share < FIRST_CUSTOMER_SHARES {
        Kind::bad(CUSTOMERS[0])
    } else if later_customers.contains(&share) {
        Kind::bad(CUSTOMERS[1 + ((share - FIRST_CUSTOMER_SHARES) / LATER_CUSTOMER_SHARES) as usize])
    } else if share < BAD_CLASS_SHARES {
        Kind::bad(300 + chance.bits() % 9_700)
    } else {
        // The customers whose import jobs go have other jobs as well, which must stay.
        Kind { class: OTHER_CLASSES[(share % 9) as usize], customer: 100 + chance.bits() % 200 }
    }
}
