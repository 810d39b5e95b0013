use super::super::sample::testing::*;
use super::*;
use crate::command::job::text;
use crate::resp::Reply;

fn job(id: &str) -> String {
    format!(r#"{{"class":"Mail","jid":"{id}","tenant_id":7}}"#)
}

fn add(bench: &mut Bench, id: &str) {
    assert_eq!(bench.run(&format!("JOB.ADD mails '{}'", job(id))), text(id));
}

fn state(bench: &mut Bench, id: &str) -> String {
    let status = tell(bench, &format!("JOB.STATUS {id}"));
    let Reply::Bulk(state) = field(&status, "state") else { panic!("{status:?}") };
    String::from_utf8_lossy(&state).into_owned()
}

/// The ids of what was reserved, each with its attempt.
fn reserved(reply: &Reply) -> Vec<String> {
    let told = |job: &Reply| {
        let [_, Reply::Bulk(id), Reply::Bulk(_), info] = elements(job) else { panic!("{job:?}") };
        format!("{} {}", String::from_utf8_lossy(id), figure(info, "attempt"))
    };
    elements(reply).iter().map(told).collect()
}

fn reserve(bench: &mut Bench, words: &str) -> Vec<String> {
    reserved(&bench.send(&format!("JOB.RESERVE {words}")))
}

fn is_refused(reply: &Reply, with: &str) -> bool {
    matches!(reply, Reply::Error(error) if error.line().starts_with(with))
}

/// Puts back what is due, as between two commands.
fn put_back(bench: &mut Bench) -> usize {
    let mut count = 0;
    loop {
        match bench.with_context(put_back_due) {
            Ok(true) => count += 1,
            Ok(false) => return count,
            Err(Stop::Fetch(missing)) => {
                for wanted in &missing {
                    let fetched = bench.host.disk.read(&bench.keys, wanted);
                    bench.keys.install(wanted, fetched);
                }
            }
            Err(stop) => panic!("{stop:?}"),
        }
    }
}

/// Forgets what only the scheduler knows, as a crash does.
fn restart(bench: &mut Bench) {
    bench.jobs.leases = Default::default();
    bench.with_context(load);
}

/// Records that there are.
fn records(bench: &mut Bench) -> u64 {
    bench.with_context(|context| {
        let slot = list_of(context).expect("it is a list");
        slot.map_or(0, |slot| context.keys.list(slot).len())
    })
}

#[test]
fn a_job_is_added_reserved_and_acknowledged_once() {
    let mut bench = bench(1000);
    add(&mut bench, "a");
    assert_eq!(bench.run("SMEMBERS queues"), Reply::Set(vec![text("mails")]));
    assert_eq!(state(&mut bench, "a"), "queued");
    let reply = bench.run("JOB.RESERVE LEASE 30s WORKER w1 FROM mails");
    let [Reply::Array(first)] = elements(&reply) else { panic!("{reply:?}") };
    assert_eq!(first[..3], [text("queue:mails"), text("a"), text(job("a"))]);
    assert_eq!((figure(&first[3], "lease_ms"), field(&first[3], "tenant")), (30_000, text("7")));
    assert_eq!(bench.run("EXISTS queue:mails"), Reply::Integer(0));
    let status = bench.run("JOB.STATUS a");
    assert_eq!((field(&status, "state"), field(&status, "worker")), (text("running"), text("w1")));
    assert_eq!(bench.run("JOB.RESERVE FROM mails queue:none"), Reply::Array(vec![]));

    assert_eq!(bench.run("JOB.ACK a"), Reply::Ok);
    assert!(is_refused(&bench.run("JOB.ACK a"), "NOLEASE "));
    assert_eq!((state(&mut bench, "a").as_str(), records(&mut bench)), ("done", 0));
    assert_eq!(state(&mut bench, "b"), "unknown");
    add(&mut bench, "a");
    assert_eq!(state(&mut bench, "a"), "queued", "it was added again");
}

#[test]
fn a_lease_that_runs_out_gives_the_job_back_for_another_attempt_and_the_older_one_may_not_end_it() {
    let mut bench = bench(1000);
    add(&mut bench, "a");
    add(&mut bench, "b");
    assert_eq!(reserve(&mut bench, "LEASE 10s FROM mails"), ["a 1"]);
    bench.pass_ms(9_000);
    assert_eq!(bench.run("JOB.HEARTBEAT a PROGRESS half CURSOR 4711"), Reply::Ok);
    bench.pass_ms(9_000);
    assert_eq!(put_back(&mut bench), 0, "it has beaten");
    assert_eq!(field(&bench.run("JOB.STATUS a"), "progress"), text("half"));
    bench.pass_ms(1_001);
    assert_eq!(put_back(&mut bench), 1);
    assert_eq!(bench.run("LINDEX queue:mails -1"), text(job("a")), "it is next");

    restart(&mut bench);
    let reply = bench.run("JOB.RESERVE LEASE 10s FROM mails");
    assert_eq!(reserved(&reply), ["a#2 2"]);
    assert_eq!(field(&elements(&elements(&reply)[0])[3], "cursor"), text("4711"));
    assert!(is_refused(&bench.run("JOB.ACK a"), "NOLEASE "), "that attempt is over");
    assert!(is_refused(&bench.run("JOB.HEARTBEAT a"), "NOLEASE "));
    restart(&mut bench);
    assert!(is_refused(&bench.run("JOB.ACK a"), "NOLEASE "));
    assert_eq!(bench.run("JOB.ACK a#2"), Reply::Ok);
    assert_eq!(records(&mut bench), 0, "that it had come back is forgotten");
    assert_eq!(reserve(&mut bench, "FROM mails"), ["b 1"]);
}

#[test]
fn a_job_that_fails_goes_back_now_or_later() {
    let mut bench = bench(1000);
    add(&mut bench, "a");
    add(&mut bench, "b");
    reserve(&mut bench, "FROM mails");
    assert_eq!(bench.run("JOB.NACK a ERROR Timeout slow"), Reply::Ok);
    assert_eq!(reserve(&mut bench, "FROM mails"), ["a#2 2"]);
    assert_eq!(bench.run("JOB.NACK a#2 DELAY 5m"), Reply::Ok);
    assert_eq!(state(&mut bench, "a"), "retrying");
    assert!(is_refused(&bench.run("JOB.ACK a#2"), "NOLEASE "), "nobody has it");
    restart(&mut bench);
    bench.pass_ms(299_999);
    assert_eq!(put_back(&mut bench), 0);
    bench.pass_ms(1);
    assert_eq!(put_back(&mut bench), 1);
    assert_eq!(reserve(&mut bench, "COUNT 5 FROM mails"), ["b 1", "a#3 3"], "a retry goes behind the others");
    assert_eq!(bench.run("JOB.ACK b nobody a#3"), {
        let nobody = bench.run("JOB.ACK nobody");
        Reply::Array(vec![Reply::Ok, nobody, Reply::Ok])
    });
}

#[test]
fn a_job_may_be_added_for_later_and_only_once() {
    let mut bench = bench(1000);
    bench.run(r#"JOB.ADD mails '{"class":"Mail"}' ID x DELAY 10s UNIQUE mail:7 FOR 1m"#);
    assert_eq!(bench.run(r#"JOB.ADD mails '{"class":"Mail"}' ID y UNIQUE mail:7 FOR 1m"#), text("x"));
    assert_eq!((bench.run("EXISTS queue:mails"), state(&mut bench, "x").as_str()), (Reply::Integer(0), "scheduled"));
    restart(&mut bench);
    bench.pass_ms(10_000);
    assert_eq!(put_back(&mut bench), 1);
    assert_eq!(bench.run("LRANGE queue:mails 0 -1"), Reply::Array(vec![text(r#"{"jid":"x","class":"Mail"}"#)]));
    assert_eq!(reserve(&mut bench, "FROM mails"), ["x 1"]);
    bench.pass_ms(50_001);
    assert_eq!(bench.run(r#"JOB.ADD mails '{}' ID y UNIQUE mail:7 FOR 1m"#), text("y"));
    assert_eq!(bench.run("LRANGE queue:mails 0 -1"), Reply::Array(vec![text(r#"{"jid":"y"}"#)]));
    let Reply::Bulk(made) = bench.run(r#"JOB.ADD mails '{"class":"Mail"}'"#) else { panic!("it has an id") };
    assert_eq!(made.len(), 24);
    for (line, with) in [
        (r#"JOB.ADD mails '{"jid":"a"}' ID b"#, "ERR the payload has an id of its own"),
        ("JOB.ADD mails text ID b", "ERR ID needs"),
        ("JOB.ADD mails text DELAY", "ERR DELAY needs a value"),
        ("JOB.ADD mails text DELAY 20000d", "ERR DELAY takes"),
        ("JOB.ADD mails text UNIQUE a", "ERR UNIQUE takes"),
        ("JOB.ADD mails text LATER 5", "ERR 'LATER' is no option"),
        ("JOB.RESERVE COUNT 1001 FROM mails", "ERR COUNT takes"),
        ("JOB.RESERVE LEASE 2d FROM mails", "ERR LEASE takes"),
        ("JOB.RESERVE WORKER FROM mails", "ERR WORKER needs a value"),
        ("JOB.RESERVE BLOCK 5", "ERR JOB.RESERVE takes"),
    ] {
        let reply = bench.run(line);
        assert!(is_refused(&reply, with), "{line}: {reply:?}");
    }
}

#[test]
fn two_jobs_of_one_id_and_jobs_without_any_are_told_apart() {
    let mut bench = bench(1000);
    for payload in [job("a"), job("a"), "text".to_owned(), "text".to_owned()] {
        push(&mut bench, "queue:mails", [payload]);
    }
    let ids = reserve(&mut bench, "COUNT 9 FROM mails");
    let text = format!("{:016x}", Job::new(b"text").identity());
    assert_eq!(ids, ["a 1".to_owned(), "a#2 1".to_owned(), format!("{text} 1"), format!("{text}#2 1")]);
    assert_eq!(bench.run("JOB.ACK a#2"), Reply::Ok);
    assert_eq!(bench.run("JOB.NACK a"), Reply::Ok);
    assert_eq!(reserve(&mut bench, "FROM mails"), ["a#2 2"]);
}

#[test]
fn what_rules_hold_or_take_out_is_not_reserved_and_tenants_have_their_turns() {
    let mut bench = bench(1000);
    let of = |tenant: u32, id: &str| format!(r#"{{"class":"Mail","jid":"{id}","tenant_id":{tenant}}}"#);
    push(&mut bench, "queue:mails", [of(1, "a1"), of(1, "a2"), of(1, "bad"), of(2, "b1"), of(3, "held")]);
    bench.run("JOB.SHUFFLE mails");
    bench.run("JOB.BLACKHOLE ADD imp JID bad");
    bench.run("JOB.PAUSE mails TENANT 3");
    assert_eq!(state(&mut bench, "held"), "held");
    assert_eq!(reserve(&mut bench, "COUNT 9 FROM mails"), ["a1 1", "b1 1", "a2 1"]);
    assert_eq!(reserve(&mut bench, "FROM mails"), [""; 0]);
    bench.run("JOB.PAUSE mails");
    bench.run("JOB.NACK a2");
    assert_eq!(reserve(&mut bench, "FROM mails"), [""; 0]);
    let nothing = bench.outcome("JOB.RESERVE BLOCK 100 FROM mails other");
    let Err(Stop::Wait(wait)) = nothing else { panic!("{nothing:?}") };
    assert_eq!(wait.keys, ["queue:mails", "queue:other"]);
    assert_eq!((wait.until.map(|until| until.as_millis()), wait.timed_out), (Some(100), Reply::Array(vec![])));
}

#[test]
fn records_leave_memory_and_are_read_again() {
    let mut bench = bench(100);
    (0..30).for_each(|number| add(&mut bench, &format!("a{number}")));
    assert_eq!(reserve(&mut bench, "COUNT 30 LEASE 5s FROM mails").len(), 30);
    bench.cool();
    assert_eq!(bench.send("JOB.NACK a3"), Reply::Ok);
    assert_eq!(bench.send("JOB.HEARTBEAT a4 a5 CURSOR x"), Reply::Array(vec![Reply::Ok, Reply::Ok]));
    bench.cool();
    assert_eq!(bench.send("JOB.ACK a6"), Reply::Ok);
    bench.pass_ms(5_000);
    assert_eq!(put_back(&mut bench), 28);
    bench.cool();
    assert_eq!(bench.run("LLEN queue:mails"), Reply::Integer(29));
    let (reply, fetches) = bench.send_counting("JOB.RESERVE COUNT 30 FROM mails");
    assert!(fetches.len() <= 3, "an end is fetched, all jobs, then what is known of them: {fetches:?}");
    let again = reserved(&reply);
    assert!(again.len() == 29 && again.contains(&"a4#2 2".to_owned()), "{again:?}");
    assert_eq!(records(&mut bench), 29);
}

#[test]
fn a_transaction_reserves_and_ends_leases_at_once() {
    let mut bench = bench(1000);
    add(&mut bench, "a");
    add(&mut bench, "b");
    for line in ["MULTI", "JOB.RESERVE FROM mails", "JOB.RESERVE BLOCK 0 FROM mails", "JOB.RESERVE BLOCK 0 FROM mails"]
    {
        bench.send(line);
    }
    let done = bench.send("EXEC");
    let [first, second, third] = elements(&done) else { panic!("{done:?}") };
    assert_eq!((reserved(first), reserved(second), reserved(third)), (vec!["a 1".into()], vec!["b 1".into()], vec![]));
    for line in ["MULTI", "JOB.HEARTBEAT a", "JOB.ACK a", "JOB.NACK b", "LLEN queue:mails"] {
        bench.send(line);
    }
    assert_eq!(bench.send("EXEC"), Reply::Array(vec![Reply::Ok, Reply::Ok, Reply::Ok, Reply::Integer(1)]));
    let script = r#"EVAL "return redis.call('JOB.RESERVE', 'FROM', 'mails')[1][2]" 0"#;
    assert_eq!(bench.send(script), text("b#2"));
}

#[test]
fn a_flush_forgets_the_jobs_of_its_database_and_there_are_only_so_many() {
    let mut bench = bench(1000);
    add(&mut bench, "a");
    reserve(&mut bench, "FROM mails");
    bench.run("SELECT 1");
    add(&mut bench, "a");
    bench.run("JOB.ADD mails x DELAY 5s");
    bench.host.settings.job_runs_max = 3;
    assert_eq!(reserve(&mut bench, "FROM mails"), ["a 1"]);
    assert!(is_refused(&bench.run("JOB.RESERVE FROM mails"), "ERR 3 jobs are leased"));
    assert!(is_refused(&bench.run("JOB.ADD mails x DELAY 5s"), "ERR 3 jobs are leased"));
    bench.run("FLUSHDB");
    assert_eq!((records(&mut bench), bench.jobs.leases.len()), (0, 1));
    bench.run("FLUSHALL");
    restart(&mut bench);
    assert_eq!((bench.jobs.leases.len(), bench.jobs.leases.memory_bytes()), (0, 0));
    assert_eq!(bench.keys.memory.leases_bytes, 0);
}

#[test]
fn a_job_whose_queue_is_something_else_by_now_is_kept() {
    let mut bench = bench(1000);
    add(&mut bench, "a");
    reserve(&mut bench, "LEASE 5s FROM mails");
    bench.run("SET queue:mails x");
    assert!(is_refused(&bench.run("JOB.NACK a"), "WRONGTYPE "));
    bench.pass_ms(5_000);
    assert_eq!(put_back(&mut bench), 1, "it is put off");
    assert_eq!(state(&mut bench, "a"), "running");
    bench.run("DEL queue:mails");
    bench.pass_ms(10_000);
    put_back(&mut bench);
    assert_eq!(state(&mut bench, "a"), "queued");
}
