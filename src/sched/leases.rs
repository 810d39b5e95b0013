//! Jobs that have left their queues and that the server still answers for: a *lease* gives one to a worker for a time, a
//! *delay* keeps one until it is due. Pure: numbers and moments in, numbers out.
//!
//! The jobs themselves stand in a list of the server's own, one for each database; the ordinal of a job's record there is
//! its number here. What is here follows from those records, but when a lease ends and what its worker has told since.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use xxhash_rust::xxh3::xxh3_64;

use super::costs::Account;
use super::flights::Flights;
use super::lanes::Gates;

/// Jobs of one database that came back and whose attempts are counted on; beyond them the oldest begins anew.
pub const RETURNED_MAX: usize = 100_000;
/// Jobs of one database that are remembered as done.
const DONE_MAX: usize = 100_000;
/// What one job costs in the maps, without its names.
const IN_MAPS_BYTES: usize = 160;

/// One job.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// By which its worker speaks of it.
    pub token: Box<str>,
    /// The key that it came from, or is to go to.
    pub queue: Box<[u8]>,
    /// Says that two payloads are the same job.
    pub identity: u64,
    /// 1 for the first.
    pub attempt: u32,
    /// Unix milliseconds at which it goes (back) to its queue.
    pub due_ms: u64,
    pub held_by: HeldBy,
    /// Those that it has passed and counts for.
    pub gates: Gates,
    /// Who is charged for the time that it runs, if somebody is.
    pub account: Option<Account>,
}

/// Who has the job.
#[derive(Debug, Clone, PartialEq)]
pub enum HeldBy {
    Worker {
        name: Box<str>,
        /// Unix milliseconds.
        since_ms: u64,
        lease_ms: u64,
        /// What it has told last of how far it is.
        progress: Option<Box<str>>,
    },
    /// Whoever has got it by an ordinary pop; at the end of its time nothing is known of it any more.
    Popped {
        /// The address of the client.
        worker: Box<str>,
        since_ms: u64,
    },
    /// Nobody: it is not due yet.
    Delay,
}

/// How often a job was tried that has come back, and the number of the record that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    pub number: u64,
    pub attempts: u32,
}

/// How many jobs are held by whom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub leased: u64,
    pub popped: u64,
    pub delayed: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Leases {
    databases: BTreeMap<usize, OfDatabase>,
}

/// The leases of one database.
#[derive(Debug, Default)]
pub struct OfDatabase {
    leases: HashMap<u64, Lease>,
    /// By a hash of the token.
    tokens: HashMap<u64, u64>,
    /// (identity, number).
    jobs: BTreeSet<(u64, u64)>,
    /// (due, number).
    due: BTreeSet<(u64, u64)>,
    /// By identity.
    returned: HashMap<u64, Returned>,
    /// (number, identity).
    returned_in_order: BTreeMap<u64, u64>,
    done: VecDeque<u64>,
    done_known: HashMap<u64, u32>,
    name_bytes: usize,
    counts: Counts,
    /// Whose jobs run, by a hash of their queue, as far as somebody is charged for them.
    flights: HashMap<u64, Flights>,
}

impl Leases {
    fn of(&mut self, database: usize) -> &mut OfDatabase {
        self.databases.entry(database).or_default()
    }

    pub fn put(&mut self, database: usize, number: u64, lease: Lease) {
        let of = self.of(database);
        of.name_bytes += lease.name_bytes();
        *of.counts.of(&lease.held_by) += 1;
        of.tokens.insert(hash_of(&lease.token), number);
        of.jobs.insert((lease.identity, number));
        of.due.insert((lease.due_ms, number));
        if let (Some(account), false) = (&lease.account, lease.held_by == HeldBy::Delay) {
            of.flights.entry(xxh3_64(&lease.queue)).or_default().began(&account.tenant);
        }
        of.leases.insert(number, lease);
    }

    pub fn remove(&mut self, database: usize, number: u64) -> Option<Lease> {
        let of = self.of(database);
        let lease = of.leases.remove(&number)?;
        of.name_bytes -= lease.name_bytes();
        *of.counts.of(&lease.held_by) -= 1;
        of.tokens.remove(&hash_of(&lease.token));
        of.jobs.remove(&(lease.identity, number));
        of.due.remove(&(lease.due_ms, number));
        let queue = xxh3_64(&lease.queue);
        if let (Some(account), Some(flights)) = (&lease.account, of.flights.get_mut(&queue)) {
            flights.ended(&account.tenant);
            if flights.is_empty() {
                of.flights.remove(&queue);
            }
        }
        Some(lease)
    }

    /// The job that a token means, and its number.
    pub fn find(&self, database: usize, token: &str) -> Option<(u64, &Lease)> {
        let of = self.databases.get(&database)?;
        let number = *of.tokens.get(&hash_of(token))?;
        let lease = of.leases.get(&number).filter(|lease| &*lease.token == token)?;
        Some((number, lease))
    }

    pub fn get(&self, database: usize, number: u64) -> Option<&Lease> {
        self.databases.get(&database)?.leases.get(&number)
    }

    /// The leases and delays of one job.
    pub fn of_job(&self, database: usize, identity: u64) -> impl Iterator<Item = &Lease> {
        self.numbers_of(database, identity).map(|(_, lease)| lease)
    }

    /// The same with their numbers, the oldest first.
    pub fn numbers_of(&self, database: usize, identity: u64) -> impl Iterator<Item = (u64, &Lease)> {
        let of = self.databases.get(&database);
        let numbers = of.into_iter().flat_map(move |of| of.jobs.range((identity, 0)..=(identity, u64::MAX)));
        numbers.filter_map(move |(_, number)| Some((*number, of?.leases.get(number)?)))
    }

    /// A token for an attempt at a job that nobody has: the id itself, with a number where that would not tell attempts, or
    /// two jobs of one id, apart.
    pub fn free_token(&self, database: usize, id: &str, attempt: u32) -> String {
        let is_free = |token: &str| self.find(database, token).is_none();
        if attempt == 1 && is_free(id) {
            return id.to_owned();
        }
        let mut numbered = (attempt.max(2)..).map(|number| format!("{id}#{number}"));
        numbered.find(|token| is_free(token)).expect("numbers do not end")
    }

    /// Lets a lease go on from now, for as long as it was made for; tells until when that is.
    pub fn extend(&mut self, database: usize, number: u64, now_ms: u64, told: Option<&str>) -> Option<u64> {
        let of = self.of(database);
        let lease = of.leases.get_mut(&number)?;
        let HeldBy::Worker { lease_ms, progress, .. } = &mut lease.held_by else { return None };
        let due_ms = now_ms + *lease_ms;
        if let Some(told) = told {
            of.name_bytes -= progress.as_deref().map_or(0, str::len);
            of.name_bytes += told.len();
            *progress = Some(told.into());
        }
        of.due.remove(&(lease.due_ms, number));
        of.due.insert((due_ms, number));
        lease.due_ms = due_ms;
        Some(due_ms)
    }

    /// Lets a job wait longer, of which nothing can be done now.
    pub fn put_off(&mut self, database: usize, number: u64, due_ms: u64) {
        let of = self.of(database);
        if let Some(lease) = of.leases.get_mut(&number) {
            of.due.remove(&(lease.due_ms, number));
            of.due.insert((due_ms, number));
            lease.due_ms = due_ms;
        }
    }

    /// When the next is due, in Unix milliseconds.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.databases.values().filter_map(|of| of.due.first()).map(|(due_ms, _)| *due_ms).min()
    }

    /// One that is due: its database and number.
    pub fn due(&self, now_ms: u64) -> Option<(usize, u64)> {
        self.databases.iter().find_map(|(database, of)| {
            let (due_ms, number) = of.due.first()?;
            (*due_ms <= now_ms).then_some((*database, *number))
        })
    }

    /// Tenants that have very many of the running jobs of a queue.
    pub fn noisy(&self, database: usize, queue: &[u8]) -> Vec<Box<str>> {
        let flights = self.databases.get(&database).and_then(|of| of.flights.get(&xxh3_64(queue)));
        flights.map_or_else(Vec::new, Flights::noisy)
    }

    /// How many jobs of a database there are of each kind.
    pub fn counts(&self, database: usize) -> Counts {
        self.databases.get(&database).map_or(Counts::default(), |of| of.counts)
    }

    /// How many there are in all databases.
    pub fn len(&self) -> usize {
        self.databases.values().map(|of| of.leases.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn memory_bytes(&self) -> usize {
        self.databases.values().map(OfDatabase::memory_bytes).sum()
    }

    /// Forgets all of a database; there may be a million.
    #[must_use]
    pub fn clear(&mut self, database: usize) -> Option<OfDatabase> {
        self.databases.remove(&database)
    }

    // ---- what became of jobs --------------------------------------------------------------------------------------

    /// Notes that a job has come back to its queue after some attempts.
    pub fn came_back(&mut self, database: usize, identity: u64, returned: Returned) {
        let of = self.of(database);
        if let Some(old) = of.returned.insert(identity, returned) {
            of.returned_in_order.remove(&old.number);
        }
        of.returned_in_order.insert(returned.number, identity);
    }

    pub fn returned(&self, database: usize, identity: u64) -> Option<Returned> {
        self.databases.get(&database)?.returned.get(&identity).copied()
    }

    /// Forgets that a job has come back: it has gone out again.
    pub fn went_out(&mut self, database: usize, identity: u64) {
        let of = self.of(database);
        if let Some(returned) = of.returned.remove(&identity) {
            of.returned_in_order.remove(&returned.number);
        }
    }

    /// The job that came back first, if there are too many of them.
    pub fn returned_too_many(&self, database: usize) -> Option<(u64, Returned)> {
        let of = self.databases.get(&database)?;
        let (number, identity) = of.returned_in_order.first_key_value().filter(|_| of.returned.len() > RETURNED_MAX)?;
        debug_assert_eq!(of.returned[identity].number, *number);
        Some((*identity, of.returned[identity]))
    }

    /// Notes that a job is done.
    pub fn done(&mut self, database: usize, identity: u64) {
        let of = self.of(database);
        if of.done.len() == DONE_MAX
            && let Some(oldest) = of.done.pop_front()
            && let Some(times) = of.done_known.get_mut(&oldest)
        {
            *times -= 1;
            if *times == 0 {
                of.done_known.remove(&oldest);
            }
        }
        of.done.push_back(identity);
        *of.done_known.entry(identity).or_default() += 1;
    }

    /// Tells whether a job was done lately.
    pub fn is_done(&self, database: usize, identity: u64) -> bool {
        self.databases.get(&database).is_some_and(|of| of.done_known.contains_key(&identity))
    }
}

impl Lease {
    fn name_bytes(&self) -> usize {
        let told = match &self.held_by {
            HeldBy::Worker { name, progress, .. } => name.len() + progress.as_deref().map_or(0, str::len),
            HeldBy::Popped { worker, .. } => worker.len(),
            HeldBy::Delay => 0,
        };
        let tenant = self.account.as_ref().map_or(0, |account| account.tenant.len());
        self.token.len() + self.queue.len() + told + tenant
    }
}

impl Counts {
    fn of(&mut self, held_by: &HeldBy) -> &mut u64 {
        match held_by {
            HeldBy::Worker { .. } => &mut self.leased,
            HeldBy::Popped { .. } => &mut self.popped,
            HeldBy::Delay => &mut self.delayed,
        }
    }
}

impl OfDatabase {
    fn memory_bytes(&self) -> usize {
        self.leases.len() * (size_of::<Lease>() + IN_MAPS_BYTES)
            + self.name_bytes
            + self.returned.len() * IN_MAPS_BYTES
            + self.done.len() * 5 * size_of::<u64>()
    }
}

fn hash_of(token: &str) -> u64 {
    xxh3_64(token.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(token: &str, identity: u64, due_ms: u64) -> Lease {
        let held_by = HeldBy::Worker { name: "w".into(), since_ms: 0, lease_ms: 100, progress: None };
        Lease {
            token: token.into(),
            queue: (*b"queue:q").into(),
            identity,
            attempt: 1,
            due_ms,
            held_by,
            gates: Gates::new(),
            account: None,
        }
    }

    #[test]
    fn a_token_means_one_attempt_at_one_job() {
        let mut leases = Leases::default();
        assert_eq!(leases.free_token(0, "a", 1), "a");
        leases.put(0, 1, lease("a", 7, 100));
        assert_eq!(leases.free_token(0, "a", 1), "a#2", "another job has the same id");
        assert_eq!(leases.free_token(1, "a", 1), "a", "databases know nothing of one another");
        leases.put(0, 2, lease("a#2", 7, 100));
        assert_eq!(leases.free_token(0, "a", 2), "a#3");
        assert_eq!(leases.find(0, "a#2").map(|(number, _)| number), Some(2));
        assert_eq!(leases.of_job(0, 7).count(), 2);
        leases.remove(0, 1);
        assert_eq!(leases.free_token(0, "a", 3), "a#3", "an older attempt is never taken for a newer one");
        assert_eq!(leases.find(0, "a"), None);
    }

    #[test]
    fn they_are_due_in_their_order_and_later_where_a_worker_beats() {
        let mut leases = Leases::default();
        for (number, due_ms) in [(1, 300), (2, 100), (3, 200)] {
            leases.put(0, number, lease(&number.to_string(), number, due_ms));
        }
        assert_eq!((leases.next_due_ms(), leases.due(99)), (Some(100), None));
        assert_eq!(leases.due(500), Some((0, 2)));
        assert_eq!(leases.extend(0, 2, 150, Some("half")), Some(250));
        assert_eq!(leases.due(500), Some((0, 3)));
        leases.put_off(0, 3, 900);
        assert_eq!(leases.due(500), Some((0, 2)));
        let bytes = leases.memory_bytes();
        assert!(leases.remove(0, 2).is_some() && leases.remove(0, 2).is_none());
        assert!(leases.memory_bytes() < bytes);
        assert_eq!(leases.counts(0), Counts { leased: 2, ..Counts::default() });
        drop(leases.clear(0));
        assert_eq!((leases.len(), leases.memory_bytes(), leases.next_due_ms()), (0, 0, None));
    }

    #[test]
    fn jobs_that_came_back_and_that_are_done_are_remembered_up_to_a_number() {
        let mut leases = Leases::default();
        for number in 0..RETURNED_MAX as u64 {
            leases.came_back(0, number + 10, Returned { number, attempts: 1 });
        }
        assert_eq!(leases.returned_too_many(0), None);
        leases.came_back(0, 10, Returned { number: 1 << 40, attempts: 2 });
        assert_eq!(leases.returned(0, 10), Some(Returned { number: 1 << 40, attempts: 2 }));
        assert_eq!(leases.returned_too_many(0), None, "the same job again is no other");
        leases.came_back(0, 5, Returned { number: 2 << 40, attempts: 1 });
        assert_eq!(leases.returned_too_many(0), Some((11, Returned { number: 1, attempts: 1 })));
        leases.went_out(0, 11);
        assert_eq!((leases.returned(0, 11), leases.returned_too_many(0)), (None, None));

        leases.done(0, 1);
        leases.done(0, 1);
        (0..DONE_MAX as u64 - 1).for_each(|number| leases.done(0, number + 100));
        assert!(leases.is_done(0, 1), "it was done twice, and only the first time is forgotten");
        leases.done(0, 99);
        assert!(!leases.is_done(0, 1) && leases.is_done(0, 99));
    }
}
