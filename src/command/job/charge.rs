//! What jobs are charged to that go out: the limits of their queue, and the time that tenants share.

use bytes::Bytes;

use crate::job::Job;
use crate::keyspace::{Side, Slot};
use crate::sched::{Account, Charge, Costs, Level};

use super::{lease, serve, share};
use crate::command::{Context, Stop};

/// What some jobs are charged to, which are about to be taken out of a queue.
#[derive(Default)]
pub struct Charges {
    jobs: Vec<OfJob>,
    key: Vec<u8>,
}

struct OfJob {
    counted: Counted,
    /// What it was promised, and since when it has waited.
    promised: Option<(Level, u64)>,
    /// It was handed back before, and counted for a rate when it went out first.
    comes_back: bool,
}

/// What one job counts for while it runs.
#[derive(Default)]
pub struct Counted {
    pub charges: Vec<Charge>,
    pub account: Option<Account>,
}

impl Charges {
    /// Finds what they are charged to; changes nothing.
    pub fn of(context: &mut Context, slot: Slot, side: Side, items: &[(u64, Bytes)]) -> Charges {
        let Some((id, rules)) = serve::rules_of(context, slot) else { return Charges::default() };
        if rules.limits().is_empty() && !rules.charges_tenants() && !rules.asks_arrivals() {
            return Charges::default();
        }
        let now_ms = context.keys.now_ms();
        let start = context.jobs.state(id).and_then(|state| state.shared.as_ref()).map_or(0, |of| of.lanes.start());
        let database = context.keys.selected();
        let of_job = |(ordinal, item): &(u64, Bytes)| {
            let job = Job::new(item);
            let is_back = share::place_of(side, *ordinal) < start;
            let account = rules.charges_tenants().then(|| {
                let (tenant, class) = (rules.tenant(&job), Costs::class_of(job.class().as_deref()));
                let estimate_ms = context.jobs.costs(id).estimate_ms(&tenant, class);
                Account { tenant: (*tenant).into(), class, estimate_ms }
            });
            let promised = rules.asks_arrivals().then(|| {
                let state = context.jobs.state(id).expect("a queue with rules has a state");
                let since_ms = share::since_ms(&job, &state.arrivals, *ordinal).unwrap_or(now_ms);
                (rules.level(&job, now_ms), since_ms)
            });
            // What comes back from a lease was tried, and counts again.
            let comes_back = is_back && context.jobs.leases.returned(database, job.identity()).is_none();
            OfJob { counted: Counted { charges: rules.charges(&job, now_ms).collect(), account }, promised, comes_back }
        };
        let jobs = items.iter().map(of_job).collect();
        Charges { jobs, key: context.keys.object(slot).key.to_vec() }
    }

    /// Charges them, once they have been taken. Answers of each what it counts for while it runs.
    pub fn begin(self, context: &mut Context) -> Vec<Counted> {
        let now_ns = context.now.mono.as_nanos() as u64;
        let database = context.keys.selected();
        let now_ms = context.keys.now_ms();
        for (level, since_ms) in self.jobs.iter().filter_map(|of| of.promised) {
            context.jobs.promised(database, &self.key, level, since_ms, now_ms);
        }
        let rules = context.jobs.rules.of(database);
        let mut all = Vec::with_capacity(self.jobs.len());
        for OfJob { mut counted, comes_back, .. } in self.jobs {
            counted.charges.retain(|charge| {
                let Some(bounds) = rules.iter().find_map(|rule| rule.bounds_of(charge.gate.limit)) else {
                    return false;
                };
                let without_rate;
                let begun = match comes_back {
                    true => {
                        without_rate = bounds.without_rate();
                        &without_rate
                    }
                    false => bounds,
                };
                context.jobs.limits.begin(charge, begun, now_ns);
                bounds.follows()
            });
            all.push(counted);
        }
        all
    }

    /// The same of jobs that an ordinary pop has handed out: those that count while they run are followed.
    pub fn begin_and_follow(self, context: &mut Context, items: &[(u64, Bytes)]) -> Result<(), Stop> {
        let key = self.key.clone();
        for (counted, (_, item)) in self.begin(context).into_iter().zip(items) {
            if !counted.charges.is_empty() || counted.account.is_some() {
                lease::follow(context, &key, item, counted)?;
            }
        }
        Ok(())
    }
}
