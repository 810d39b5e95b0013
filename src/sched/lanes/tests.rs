use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

fn equal(_: &str) -> Option<f64> {
    None
}

fn of(tenant: &str) -> Whose<'_> {
    Whose::of(tenant)
}

/// An index of a list whose jobs belong to these tenants, read whole.
fn lanes(jobs: &[&str], weight: impl Fn(&str) -> Option<f64>) -> Lanes {
    let mut lanes = Lanes::new(0, 1);
    for (place, tenant) in jobs.iter().enumerate() {
        let lane = lanes.lane(of(tenant), &weight);
        lanes.add(lane, place as u64);
    }
    lanes
}

/// Hands out up to so many jobs.
fn order(lanes: &mut Lanes, count: usize) -> Vec<u64> {
    let mut order = Vec::new();
    while order.len() < count
        && let Some((lane, place)) = lanes.turn(0)
    {
        assert_eq!(lanes.turn(0), Some((lane, place)), "asked again, it says the same");
        lanes.take(lane, 1.0);
        lanes.settle(|_| false, equal);
        order.push(place);
    }
    order
}

#[test]
fn a_job_of_each_in_turn() {
    let mut lanes = lanes(&["a", "a", "a", "a", "b", "b", "c"], equal);
    assert_eq!(order(&mut lanes, 10), [0, 4, 6, 1, 5, 2, 3]);
    assert_eq!((lanes.count(), lanes.turn(0)), (0, None));
    assert!(lanes.memory_bytes() < 100, "an idle queue keeps nothing");
}

#[test]
fn who_comes_later_has_not_saved_up() {
    let mut lanes = lanes(&["a"; 6], equal);
    assert_eq!(order(&mut lanes, 3), [0, 1, 2]);
    let b = lanes.lane(of("b"), equal);
    (6..9).for_each(|place| lanes.add(b, place));
    assert_eq!(order(&mut lanes, 4), [3, 6, 4, 7]);
}

#[test]
fn weights_are_shares() {
    let jobs: Vec<&str> = ["a", "b", "c"].into_iter().cycle().take(3_000).collect();
    let weight = |tenant: &str| match tenant {
        "a" => None,
        "b" => Some(2.5),
        _ => Some(0.5),
    };
    let mut lanes = lanes(&jobs, weight);
    let mut counts = BTreeMap::new();
    for place in order(&mut lanes, 1_200) {
        *counts.entry(jobs[place as usize]).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([("a", 300), ("b", 750), ("c", 150)]));
}

#[test]
fn small_weights_cost_no_endless_search() {
    let mut lanes = lanes(&["a", "b"], |_| Some(0.0001));
    let mut served = order(&mut lanes, 10);
    served.sort_unstable();
    assert_eq!(served, [0, 1]);
}

#[test]
fn jobs_without_a_tenant_get_the_part_that_they_have() {
    let jobs: Vec<&str> = ["-", "a", "-", "b", "-", "c", "-", "-", "d", "-"].into_iter().cycle().take(4_000).collect();
    let mut lanes = lanes(&jobs, equal);
    let served = order(&mut lanes, 1_000);
    let without = served.iter().filter(|place| jobs[**place as usize] == NO_TENANT).count();
    assert!((580..=620).contains(&without), "{without} of 1,000");
    lanes.set_weight(NO_TENANT, Some(1.0));
    let served = order(&mut lanes, 500);
    let without = served.iter().filter(|place| jobs[**place as usize] == NO_TENANT).count();
    assert!((95..=105).contains(&without), "{without} of 500");
    let mut alone = super::tests::lanes(&["-"; 20], equal);
    assert_eq!(order(&mut alone, 20).len(), 20);
}

#[test]
fn a_weight_can_be_changed_while_jobs_wait() {
    let mut lanes = lanes(&["a", "b", "a", "b", "a", "b", "a", "b"], equal);
    assert_eq!(order(&mut lanes, 2), [0, 1]);
    lanes.set_weight("a", Some(2.0));
    assert_eq!(order(&mut lanes, 9), [2, 4, 3, 5, 6, 7]);
}

#[test]
fn nobody_gains_where_jobs_of_two_rounds_were_not_taken() {
    let mut lanes = lanes(&["a", "a", "a", "a", "b", "b", "b", "b"], equal);
    assert_eq!(order(&mut lanes, 1), [0]);
    for _ in 0..2 {
        let (b, place) = lanes.turn(0).expect("there are jobs");
        assert_eq!(place, 4);
        lanes.take(b, 1.0);
        let (a, place) = lanes.turn(0).expect("there are jobs");
        assert_eq!(place, 1);
        lanes.take(a, 1.0);
        lanes.settle(|_| true, equal);
    }
    assert_eq!(order(&mut lanes, 7), [4, 1, 5, 2, 6, 3, 7]);
}

#[test]
fn what_was_not_taken_is_next_again() {
    let mut lanes = lanes(&["a", "b", "a", "b", "a"], equal);
    for _ in 0..3 {
        let mut picked = Vec::new();
        for _ in 0..3 {
            let (lane, place) = lanes.turn(0).unwrap();
            lanes.take(lane, 1.0);
            picked.push(place);
        }
        assert_eq!(picked, [0, 1, 2], "each time");
        lanes.settle(|_| true, equal);
    }
    for _ in 0..2 {
        let (lane, _) = lanes.turn(0).unwrap();
        lanes.take(lane, 1.0);
    }
    lanes.settle(|place| place == 1, equal);
    assert_eq!(order(&mut lanes, 9), [1, 2, 3, 4]);
}

#[test]
fn what_has_left_the_list_costs_its_lane_nothing() {
    let mut lanes = lanes(&["a", "a", "a", "b", "b"], equal);
    let (a, _) = lanes.turn(0).unwrap();
    lanes.drop_oldest(a);
    lanes.drop_oldest(a);
    assert_eq!(order(&mut lanes, 9), [2, 3, 4]);
}

/// Serves a list that is longer than what is indexed of it, and says how much memory that took.
fn drain(jobs: &[u32], seed: u64) -> (Vec<u64>, usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut lanes = Lanes::new(0, 1);
    let mut gone = vec![false; jobs.len()];
    let (mut order, mut memory) = (Vec::new(), 0);
    while order.len() < jobs.len() {
        for _ in 0..random.random_range(0..3_000) {
            let met = lanes.frontier() as usize;
            if let Some(tenant) = jobs.get(met) {
                let lane = lanes.lane(of(&tenant.to_string()), equal);
                lanes.add(lane, met as u64);
                assert_eq!(lanes.frontier(), met as u64 + 1);
            }
        }
        if let Some(at) = lanes.begin_refill() {
            let to = (at as usize + random.random_range(1..2_000)).min(lanes.frontier() as usize);
            (at as usize..to).filter(|place| !gone[*place]).for_each(|place| {
                lanes.refill(of(&jobs[place].to_string()), place as u64);
            });
            lanes.refilled(to as u64);
        }
        for _ in 0..random.random_range(0..2_000) {
            let Some((lane, place)) = lanes.turn(0) else { break };
            lanes.take(lane, 1.0);
            let is_taken = random.random_range(0..10) > 0;
            lanes.settle(|_| !is_taken, equal);
            if is_taken {
                assert!(!std::mem::replace(&mut gone[place as usize], true), "{place} is handed out twice");
                order.push(place);
            }
        }
        memory = memory.max(lanes.memory_bytes());
    }
    assert_eq!((lanes.count(), lanes.turn(0)), (0, None), "nothing is left");
    (order, memory)
}

#[test]
fn a_long_lane_is_indexed_bit_by_bit_and_all_of_it_comes_out_in_order() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let tenants = random.random_range(1..6);
        let few = random.random_range(0..200);
        let jobs: Vec<u32> = (0..20_000)
            .map(|place| match random.random_range(0..10) {
                0 if few > 0 => 100 + random.random_range(0..few),
                _ => (place / random.random_range(1..8_000)) % tenants,
            })
            .collect();
        let (order, memory) = drain(&jobs, seed);
        let mut last = BTreeMap::new();
        for place in order {
            let before = last.insert(jobs[place as usize], place);
            assert!(before.is_none_or(|before| before < place), "seed {seed}: a lane is out of order");
        }
        assert!(memory < 400_000, "seed {seed}: {memory} bytes");
    }
}

#[test]
fn tenants_far_apart_are_all_refilled_in_time() {
    let jobs: Vec<&str> = std::iter::repeat_n("a", 20_000).chain(std::iter::repeat_n("b", 9_000)).collect();
    let mut lanes = lanes(&jobs, equal);
    let mut order = Vec::new();
    while let Some((lane, place)) = lanes.turn(0) {
        lanes.take(lane, 1.0);
        order.push(jobs[place as usize]);
        if let Some(at) = lanes.begin_refill() {
            // For each pop a few jobs are read.
            let to = (at as usize + 4).min(jobs.len());
            (at as usize..to).for_each(|place| lanes.refill(of(jobs[place]), place as u64));
            lanes.refilled(to as u64);
        }
    }
    assert_eq!(order.len(), jobs.len());
    let last = order.iter().rposition(|tenant| *tenant == "b").unwrap();
    assert!(last < 18_100, "b is served in turn: its last job was the {last}th");
}

#[test]
fn in_order_of_arrival_nobody_is_passed_over_where_a_pop_is_run_again() {
    let gates = [Gate { limit: 1, key: 0 }];
    let limited = Whose { tenant: NO_TENANT, gates: &gates, level: NO_LEVEL };
    let mut lanes = Lanes::in_order(0);
    for place in 0..2 {
        let lane = lanes.lane(of(NO_TENANT), equal);
        lanes.add(lane, place);
    }
    // A pop takes all that is known, more becomes known, and it is run again.
    while let Some((lane, _)) = lanes.turn(0) {
        lanes.take(lane, 1.0);
    }
    for (place, whose) in [(2, limited), (3, of(NO_TENANT)), (4, limited), (5, of(NO_TENANT))] {
        let lane = lanes.lane(whose, equal);
        lanes.add(lane, place);
    }
    lanes.settle(|_| true, equal);
    assert_eq!(order(&mut lanes, 9), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_closed_gate_keeps_its_lane_and_opens_for_those_that_wait_longest() {
    let gates = [Gate { limit: 1, key: 0 }];
    let mut lanes = Lanes::new(0, 1);
    for (place, tenant) in ["a", "b", "a", "b", "c"].into_iter().enumerate() {
        let gates: &[Gate] = if tenant == "c" { &[] } else { &gates };
        let lane = lanes.lane(Whose { tenant, gates, level: NO_LEVEL }, equal);
        lanes.add(lane, place as u64);
    }
    let park_all = |lanes: &mut Lanes| {
        let mut free = Vec::new();
        while let Some((lane, place)) = lanes.turn(0) {
            if lanes.gates(lane).is_empty() {
                lanes.take(lane, 1.0);
                free.push(place);
            } else {
                lanes.park(lane, gates[0]);
            }
        }
        lanes.settle(|_| false, equal);
        free
    };
    assert_eq!(park_all(&mut lanes), [4]);
    assert_eq!((lanes.turn(0), lanes.is_idle()), (None, true));
    let mut through = Vec::new();
    for others in [true, true, true, false] {
        assert_eq!(lanes.open(gates[0], 1), others);
        let (lane, place) = lanes.turn(0).expect("one is let through");
        lanes.take(lane, 1.0);
        through.push(place);
        park_all(&mut lanes);
    }
    assert_eq!(through, [0, 1, 2, 3]);
    assert_eq!((lanes.count(), lanes.open(gates[0], 1)), (0, false));
    assert!(lanes.memory_bytes() < 100, "an idle queue keeps nothing");
}

#[test]
fn by_cost_tenants_share_time_and_not_jobs() {
    let jobs: Vec<&str> = (0..4_000).map(|place| if place % 2 == 0 { "long" } else { "short" }).collect();
    let mut lanes = lanes(&jobs, equal).by_cost();
    let mut spent = BTreeMap::from([("long", 0.0), ("short", 0.0)]);
    for _ in 0..1_500 {
        let (lane, place) = lanes.turn(0).expect("both wait");
        let tenant = jobs[place as usize];
        // Nothing is known before: each is charged one, and later what it was besides.
        let cost = if tenant == "long" { 8.0 } else { 0.2 };
        lanes.take(lane, 1.0);
        lanes.settle(|_| false, equal);
        lanes.charge(tenant, cost - 1.0);
        *spent.get_mut(tenant).expect("it is there") += cost;
    }
    let part = spent["long"] / spent["short"];
    assert!((0.95..=1.05).contains(&part), "{spent:?}");
}

#[test]
fn service_levels_without_end_are_told_apart_up_to_a_number_and_every_job_is_served() {
    let mut lanes = Lanes::in_order(0);
    for place in 0..500 {
        let lane = lanes.lane(Whose { level: place % 250 + 1, ..Whose::of(NO_TENANT) }, equal);
        lanes.add(lane, place);
    }
    let rings: Vec<(usize, LevelId)> = lanes.rings().collect();
    assert_eq!(rings.len(), RINGS_MAX + 1, "the last is that of jobs without a level");
    let mut served = Vec::new();
    for (ring, _) in rings {
        while let Some((lane, place)) = lanes.turn(ring) {
            served.push(place);
            lanes.take(lane, 1.0);
        }
    }
    served.sort_unstable();
    assert_eq!(served, (0..500).collect::<Vec<_>>());
    lanes.settle(|_| false, equal);
    assert_eq!((lanes.count(), lanes.rings().count()), (0, 0));
}
