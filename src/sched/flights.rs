//! Whose jobs run: for queues in which a tenant that has very many of them yields. Pure.

use std::collections::{BTreeSet, HashMap};

/// A tenant is noisy with at least so many running jobs …
const NOISY_MIN: u32 = 30;
/// … if they are more than this part of all, as one over it.
const NOISY_PART: u32 = 10;

/// The running jobs of one queue.
#[derive(Debug, Default)]
pub struct Flights {
    jobs: u32,
    of: HashMap<Box<str>, u32>,
    /// Those of tenants that have enough of them, by their number.
    many: BTreeSet<(u32, Box<str>)>,
}

impl Flights {
    pub fn began(&mut self, tenant: &str) {
        self.jobs += 1;
        self.change(tenant, |jobs| jobs + 1);
    }

    pub fn ended(&mut self, tenant: &str) {
        self.jobs = self.jobs.saturating_sub(1);
        self.change(tenant, |jobs| jobs.saturating_sub(1));
    }

    fn change(&mut self, tenant: &str, change: impl Fn(u32) -> u32) {
        let old = self.of.get(tenant).copied().unwrap_or(0);
        let new = change(old);
        if new == 0 {
            self.of.remove(tenant);
        } else {
            *self.of.entry(tenant.into()).or_default() = new;
        }
        if old >= NOISY_MIN {
            self.many.remove(&(old, tenant.into()));
        }
        if new >= NOISY_MIN {
            self.many.insert((new, tenant.into()));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.jobs == 0
    }

    /// Tenants that are noisy, fewer than ten.
    pub fn noisy(&self) -> Vec<Box<str>> {
        let loud = self.many.iter().rev().take_while(|(jobs, _)| jobs * NOISY_PART > self.jobs);
        loud.map(|(_, tenant)| tenant.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_noisy_with_thirty_jobs_and_a_tenth_of_all() {
        let mut flights = Flights::default();
        (0..29).for_each(|_| flights.began("a"));
        assert_eq!(flights.noisy(), [] as [Box<str>; 0]);
        flights.began("a");
        assert_eq!(flights.noisy(), [Box::from("a")]);
        (0..270).for_each(|at| flights.began(&format!("t{at}")));
        assert_eq!(flights.noisy(), [] as [Box<str>; 0], "30 of 300 are not more than a tenth");
        flights.ended("t5");
        assert_eq!(flights.noisy(), [Box::from("a")]);
        flights.ended("a");
        assert_eq!(flights.noisy(), [] as [Box<str>; 0]);
        (0..29).for_each(|_| flights.ended("a"));
        (0..270).filter(|at| *at != 5).for_each(|at| flights.ended(&format!("t{at}")));
        assert!(flights.is_empty() && flights.of.is_empty() && flights.many.is_empty());
    }
}
