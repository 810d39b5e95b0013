//! Running jobs that ordinary pops have handed out: when they begin, and what says that they have ended.

use std::borrow::Cow;

use crate::command::job::charge::Counted;
use crate::job::Job;
use crate::keyspace::{Seen, Sighting};
use crate::sched::{HeldBy, Lease};

use super::record::{Record, Stage};
use super::{hold, id_of, let_go, room};
use crate::command::{Context, Stop};

/// How long the jobs of a process are waited for whose key is gone: it may only have been slow.
const GONE_MS: u64 = 60_000;

/// Follows a job that an ordinary pop hands out, since it counts for limits. Where the server follows as many as it may, it
/// is let go uncounted rather than held.
pub fn follow(
    context: &mut Context,
    queue: &[u8],
    payload: &[u8],
    Counted { charges, account }: Counted,
) -> Result<(), Stop> {
    // What the command wrote before was not about this run.
    see(context)?;
    if room(context).is_err() {
        let now_ns = context.now.mono.as_nanos() as u64;
        charges.iter().for_each(|charge| context.jobs.limits.end(charge.gate, now_ns));
        return Ok(());
    }
    let database = context.keys.selected();
    let job = Job::new(payload);
    let worker = context.session.peer.address.clone();
    let record = Record {
        stage: Stage::Popped,
        identity: job.identity(),
        attempt: 1,
        at_ms: context.keys.now_ms(),
        lease_ms: 0,
        queue: Cow::Borrowed(queue),
        token: context.jobs.leases.free_token(database, &id_of(&job), 1).into(),
        worker: worker.into(),
        cursor: Cow::Borrowed(b""),
        charges,
        account,
        payload: Cow::Borrowed(b""),
    };
    hold(context, &record)
}

/// Takes note of what workers have told by what they wrote.
pub fn see(context: &mut Context) -> Result<(), Stop> {
    if context.keys.sightings.is_empty() {
        return Ok(());
    }
    let selected = context.keys.selected();
    let host = context.keys.sightings.host.clone();
    let now_ms = context.keys.now_ms();
    for Seen { database, sighting } in context.keys.sightings.take() {
        context.keys.select(database);
        match sighting {
            Sighting::Came(job) => end_one(context, job, &End::Back)?,
            Sighting::Failed { job, error } => end_one(context, job, &End::Failed(error.as_deref()))?,
            Sighting::Done(job) => end_one(context, job, &End::Done)?,
            Sighting::Notes { key, job } => context.jobs.heartbeats.note(database, &key, job),
            Sighting::Unnoted(key) => {
                if let Some(job) = context.jobs.heartbeats.take_note(database, &key) {
                    end_one(context, job, &End::Done)?;
                }
            }
            Sighting::Works { process, job } => context.jobs.heartbeats.works_on(database, &process, job),
            Sighting::Beat(process) => {
                for (_, number) in context.jobs.heartbeats.beat(database, &process, &host, now_ms) {
                    end(context, number, &End::DoneBefore)?;
                }
                hear(context, database, &host);
            }
            Sighting::Gone(process) => {
                for (_, number) in context.jobs.heartbeats.gone(database, &process) {
                    context.jobs.leases.put_off(database, number, now_ms + GONE_MS);
                }
            }
        }
    }
    context.keys.select(selected);
    Ok(())
}

/// How a run has ended.
pub enum End<'a> {
    Done,
    /// Well, as heartbeats tell, which is up to two of them later.
    DoneBefore,
    /// By an error of a class, if that is known.
    Failed(Option<&'a str>),
    /// It was handed back, moved or scheduled, and says nothing.
    Back,
}

/// Ends the oldest run of a job that an ordinary pop has handed out.
fn end_one(context: &mut Context, job: u64, how: &End) -> Result<(), Stop> {
    let database = context.keys.selected();
    let is_popped = |(_, lease): &(u64, &Lease)| matches!(lease.held_by, HeldBy::Popped { .. });
    let oldest = context.jobs.leases.numbers_of(database, job).find(is_popped);
    let Some((number, _)) = oldest else { return Ok(()) };
    end(context, number, how)
}

/// Ends a run, and tells the limits that it counts for how.
pub fn end(context: &mut Context, number: u64, how: &End) -> Result<(), Stop> {
    let Some(lease) = let_go(context, number)? else { return Ok(()) };
    let (database, now_ns) = (context.keys.selected(), context.now.mono.as_nanos() as u64);
    if let End::Done | End::DoneBefore = how {
        context.jobs.leases.done(database, lease.identity);
    }
    let since_ms = match lease.held_by {
        HeldBy::Worker { since_ms, .. } | HeldBy::Popped { since_ms, .. } => since_ms,
        HeldBy::Delay => context.keys.now_ms(),
    };
    // How long it has run is not known where its end was not seen.
    if let (Some(account), false) = (&lease.account, matches!(how, End::DoneBefore))
        && let Some(queue) = context.keys.queues.find(database, &lease.queue)
    {
        context.jobs.ran(queue, account, context.keys.now_ms().saturating_sub(since_ms) as f32);
    }
    for gate in lease.gates {
        match how {
            End::Done | End::DoneBefore => context.jobs.limits.hears(gate, now_ns),
            End::Failed(class) => {
                let mut rules = context.jobs.rules.of(database).iter();
                if let Some(bounds) = rules.find_map(|rule| rule.bounds_of(gate.limit)) {
                    context.jobs.limits.failed(gate, bounds, 1, *class, now_ns);
                }
            }
            End::Back => {}
        }
    }
    Ok(())
}

/// The limits that jobs of a host count for hear that its workers live.
fn hear(context: &mut Context, database: usize, host: &str) {
    let now_ns = context.now.mono.as_nanos() as u64;
    let runs = context.jobs.heartbeats.at_host(host).filter(|(of, _)| *of == database);
    let leases = runs.filter_map(|(database, number)| context.jobs.leases.get(database, number));
    let gates: Vec<_> = leases.flat_map(|lease| lease.gates.iter().copied()).collect();
    gates.into_iter().for_each(|gate| context.jobs.limits.hears(gate, now_ns));
}

#[cfg(test)]
mod tests {
    use super::super::super::sample::testing::*;
    use crate::resp::Reply;

    fn job(id: u32) -> String {
        format!(r#"{{"class":"Sync","args":[{id}],"jid":"j{id}"}}"#)
    }

    /// A queue of which one job may run at a time.
    fn limited(jobs: u32) -> Bench {
        let mut bench = bench(1000);
        push(&mut bench, "queue:q", (0..jobs).map(job));
        bench.run("JOB.LIMIT SET one CLASS Sync CONCURRENCY 1");
        bench
    }

    fn say(bench: &mut Bench, words: &[&str]) -> Reply {
        let request: Vec<_> = words.iter().map(|word| bytes::Bytes::copy_from_slice(word.as_bytes())).collect();
        bench.send_request(&request).0
    }

    fn running(bench: &mut Bench) -> usize {
        bench.jobs.leases.len()
    }

    #[test]
    fn a_job_that_comes_back_is_tried_again_or_scheduled_does_not_run() {
        let mut bench = limited(9);
        let renewed = |id: u32| job(id).replace('}', r#","retry_count":0,"error_message":"x"}"#);
        for (id, back) in [
            (0, ["RPUSH", "queue:q", "", ""]),
            (0, ["ZADD", "retry", "1", ""]),
            (1, ["ZADD", "schedule", "1", ""]),
            (2, ["ZADD", "app:dead", "1", ""]),
            (3, ["LPUSH", "queue:other", "", ""]),
        ] {
            assert_eq!(say(&mut bench, &["RPOP", "queue:q"]), Reply::bulk(job(id)));
            assert_eq!(say(&mut bench, &["RPOP", "queue:q"]), Reply::Null, "one runs");
            let payload = if back[0] == "RPUSH" { job(id) } else { renewed(id) };
            let words: Vec<&str> = back.iter().copied().filter(|word| !word.is_empty()).chain([&*payload]).collect();
            say(&mut bench, &words);
            assert_eq!(running(&mut bench), 0, "{back:?}");
        }
    }

    #[test]
    fn a_working_list_says_when_a_job_is_done_and_when_it_is_rescued() {
        let mut bench = limited(4);
        for list in ["queue:q:working", "private"] {
            let Reply::Bulk(payload) = say(&mut bench, &["LMOVE", "queue:q", list, "RIGHT", "LEFT"]) else { panic!() };
            assert_eq!(running(&mut bench), 1, "the move itself ends nothing");
            assert_eq!(say(&mut bench, &["LMOVE", "queue:q", list, "RIGHT", "LEFT"]), Reply::Null);
            let payload = String::from_utf8(payload.to_vec()).unwrap();
            say(&mut bench, &["LREM", list, "1", &payload]);
            assert_eq!(running(&mut bench), 0);
        }
        assert_ne!(say(&mut bench, &["RPOPLPUSH", "queue:q", "private"]), Reply::Null);
        assert_ne!(say(&mut bench, &["RPOPLPUSH", "private", "queue:q"]), Reply::Null);
        assert_eq!(running(&mut bench), 0);
    }

    #[test]
    fn a_job_that_is_moved_to_another_queue_or_caught_when_it_comes_back_does_not_run() {
        let mut bench = limited(3);
        assert_ne!(say(&mut bench, &["SADD", "queues", "other"]), Reply::Null);
        assert_ne!(say(&mut bench, &["LMOVE", "queue:q", "queue:other", "RIGHT", "LEFT"]), Reply::Null);
        assert_eq!(running(&mut bench), 0);
        assert_eq!(say(&mut bench, &["RPOP", "queue:q"]), Reply::bulk(job(1)));
        bench.run("JOB.BLACKHOLE ADD imp JID j1");
        say(&mut bench, &["RPUSH", "queue:q", &job(1)]);
        assert_eq!(running(&mut bench), 0);
        assert_eq!(say(&mut bench, &["LMOVE", "queue:q", "queue:q", "RIGHT", "LEFT"]), Reply::bulk(job(2)));
        assert_eq!(running(&mut bench), 0);
    }

    #[test]
    fn a_job_that_ran_before_a_restart_is_still_followed() {
        let mut bench = limited(2);
        assert_eq!(say(&mut bench, &["RPOP", "queue:q"]), Reply::bulk(job(0)));
        bench.with_context(|context| {
            let rules = std::mem::take(&mut context.jobs.rules);
            *context.jobs = Default::default();
            context.jobs.rules = rules;
            context.keys.sightings.active = false;
            super::super::load(context);
        });
        assert_eq!(say(&mut bench, &["RPOP", "queue:q"]), Reply::Null);
        say(&mut bench, &["ZADD", "retry", "1", &job(0)]);
        assert_eq!(say(&mut bench, &["RPOP", "queue:q"]), Reply::bulk(job(1)));
    }

    #[test]
    fn resque_says_what_it_works_on_and_what_has_failed() {
        let mut bench = bench(1000);
        let job = |id: u32| format!(r#"{{"class":"Sync","args":[{id}]}}"#);
        for id in 0..3 {
            say(&mut bench, &["RPUSH", "resque:queue:q", &job(id)]);
        }
        bench.run("JOB.LIMIT SET one CLASS Sync CONCURRENCY 1");
        assert_eq!(say(&mut bench, &["LPOP", "resque:queue:q"]), Reply::bulk(job(0)));
        let works = format!(r#"{{"queue":"q","run_at":"2026-11-27T00:00:00Z","payload":{}}}"#, job(0));
        say(&mut bench, &["SET", "resque:worker:h:1:q", &works]);
        assert_eq!(say(&mut bench, &["LPOP", "resque:queue:q"]), Reply::Null);
        say(&mut bench, &["DEL", "resque:worker:h:1:q"]);
        assert_eq!(say(&mut bench, &["LPOP", "resque:queue:q"]), Reply::bulk(job(1)));
        let failure = format!(r#"{{"failed_at":"now","payload":{},"exception":"E"}}"#, job(1));
        say(&mut bench, &["RPUSH", "resque:failed", &failure]);
        assert_eq!(say(&mut bench, &["LPOP", "resque:queue:q"]), Reply::bulk(job(2)));
        say(&mut bench, &["RPUSH", "resque:delayed:1764000000", &job(2)]);
        assert_eq!(running(&mut bench), 0);
    }

    /// A heartbeat as Sidekiq sends it.
    fn beat(bench: &mut Bench, process: &str, works_on: &[u32]) {
        let work = format!("{process}:work");
        say(bench, &["UNLINK", &work]);
        for (thread, id) in works_on.iter().enumerate() {
            let payload = serde_json::Value::from(job(*id)).to_string();
            let note = format!(r#"{{"queue":"queue:q","payload":{payload},"run_at":1}}"#);
            say(bench, &["HSET", &work, &thread.to_string(), &note]);
        }
        say(bench, &["HSET", process, "busy", "1", "beat", "1764000000.5"]);
        say(bench, &["EXPIRE", process, "60"]);
    }

    #[test]
    fn two_heartbeats_without_it_say_that_a_job_of_stock_sidekiq_has_ended() {
        let mut bench = limited(3);
        beat(&mut bench, "host:1:abc", &[]);
        assert_eq!(say(&mut bench, &["RPOP", "queue:q"]), Reply::bulk(job(0)));
        for _ in 0..5 {
            beat(&mut bench, "host:1:abc", &[0]);
        }
        beat(&mut bench, "host:1:abc", &[]);
        assert_eq!(say(&mut bench, &["RPOP", "queue:q"]), Reply::Null);
        beat(&mut bench, "host:1:abc", &[]);
        assert_eq!(say(&mut bench, &["RPOP", "queue:q"]), Reply::bulk(job(1)));
        // The process dies with it.
        beat(&mut bench, "host:1:abc", &[1]);
        bench.pass_ms(60_001);
        say(&mut bench, &["EXISTS", "host:1:abc"]);
        assert_eq!(running(&mut bench), 1, "it may only be slow");
        bench.pass_ms(60_000);
        bench.with_context(super::super::put_back_due).expect("it is in memory");
        assert_eq!(say(&mut bench, &["RPOP", "queue:q"]), Reply::bulk(job(2)));
    }
}
