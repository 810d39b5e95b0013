//! What jobs are charged to that go out: the limits of their queue.

use bytes::Bytes;

use crate::job::Job;
use crate::keyspace::{Side, Slot};
use crate::sched::Charge;

use super::{lease, serve, share};
use crate::command::{Context, Stop};

/// What some jobs are charged to, which are about to be taken out of a queue.
#[derive(Default)]
pub struct Charges {
    jobs: Vec<OfJob>,
    key: Vec<u8>,
}

struct OfJob {
    charges: Vec<Charge>,
    /// It was handed back before, and counted for a rate when it went out first.
    comes_back: bool,
}

impl Charges {
    /// Finds what they are charged to; changes nothing.
    pub fn of(context: &mut Context, slot: Slot, side: Side, items: &[(u64, Bytes)]) -> Charges {
        let Some((id, rules)) = serve::rules_of(context, slot).filter(|(_, rules)| !rules.limits().is_empty()) else {
            return Charges::default();
        };
        let now_ms = context.keys.now_ms();
        let start = context.jobs.state(id).and_then(|state| state.shared.as_ref()).map_or(0, |of| of.lanes.start());
        let (database, leases) = (context.keys.selected(), &context.jobs.leases);
        let of_job = |(ordinal, item): &(u64, Bytes)| {
            let job = Job::new(item);
            let is_back = share::place_of(side, *ordinal) < start;
            OfJob {
                charges: rules.charges(&job, now_ms).collect(),
                // What comes back from a lease was tried, and counts again.
                comes_back: is_back && leases.returned(database, job.identity()).is_none(),
            }
        };
        let key = context.keys.object(slot).key.to_vec();
        Charges { jobs: items.iter().map(of_job).collect(), key }
    }

    /// Charges them, once they have been taken. Answers of each what it counts for while it runs.
    pub fn begin(self, context: &mut Context) -> Vec<Vec<Charge>> {
        let now_ns = context.now.mono.as_nanos() as u64;
        let database = context.keys.selected();
        let rules = context.jobs.rules.of(database);
        let mut counted = Vec::with_capacity(self.jobs.len());
        for OfJob { mut charges, comes_back } in self.jobs {
            charges.retain(|charge| {
                let Some(bounds) = rules.iter().find_map(|rule| rule.bounds_of(charge.gate.limit)) else {
                    return false;
                };
                let follows = bounds.follows();
                let without_rate;
                let bounds = match comes_back {
                    true => {
                        without_rate = bounds.without_rate();
                        &without_rate
                    }
                    false => bounds,
                };
                context.jobs.limits.begin(charge, bounds, now_ns);
                follows
            });
            counted.push(charges);
        }
        counted
    }

    /// The same of jobs that an ordinary pop has handed out: those that count while they run are followed.
    pub fn begin_and_follow(mut self, context: &mut Context, items: &[(u64, Bytes)]) -> Result<(), Stop> {
        let key = std::mem::take(&mut self.key);
        for (charges, (_, item)) in self.begin(context).into_iter().zip(items) {
            if !charges.is_empty() {
                lease::follow(context, &key, item, charges)?;
            }
        }
        Ok(())
    }
}
