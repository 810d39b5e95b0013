//! The ground rules that hold for rules of every kind: names, databases, dump and load, the log and its undo.

use super::payload::{resque, sidekiq};
use super::{field, number, refused, rule_names, start, sure, wait_until_swept, words_of};
use crate::harness::{self, Chance, Client, Server};

/// Commands that the comparison with Redis sends.
const COMPARED: usize = 1500;

#[test]
fn a_queue_without_rules_answers_as_redis_does() {
    if harness::is_stand_in() || !harness::redis_or_explain() {
        return;
    }
    let (server, redis) = (Server::millpond(&["--profile", "tiny"]), Server::redis(&[]));
    let (mut ours, mut theirs) = (server.client(), redis.client());
    // Rules of other queues, other databases, and other jobs.
    sure(&mut ours, "JOB.BLACKHOLE ADD other QUEUE queue:other ALL");
    sure(&mut ours, "JOB.PAUSE other:queue:*");
    sure(&mut ours, "SELECT 1");
    sure(&mut ours, "JOB.BLACKHOLE ADD all QUEUE * ALL");
    sure(&mut ours, "SELECT 0");
    let mut chance = Chance::new(harness::seed_from_environment("MILLPOND_TEST_JOBS_SEED"));
    for step in 0..COMPARED {
        let words = any_command(&mut chance, step);
        assert_eq!(ours.must(&words), theirs.must(&words), "{}", words.join(" "));
    }
}

fn any_command(chance: &mut Chance, step: usize) -> Vec<String> {
    let queue = format!("queue:{}", chance.below(3));
    let other = *chance.pick(&["queue:0", "queue:1", "working:1"]);
    let (end, side) = *chance.pick(&[("L", "LEFT"), ("R", "RIGHT")]);
    let count = chance.below(4).to_string();
    let job = sidekiq("ImportJob", step, chance.below(3));
    let line = match chance.below(12) {
        0..=3 => return vec![format!("{end}PUSH"), queue, job, resque("ImportJob", step, 1)],
        4 => format!("{end}POP {queue}"),
        5 => format!("{end}POP {queue} {count}"),
        6 => format!("LMOVE {queue} {other} {side} LEFT"),
        7 => format!("LMPOP 2 {queue} {other} {side} COUNT 2"),
        8 => format!("B{end}POP {queue} {other} 0.01"),
        9 => format!("LRANGE {queue} -3 -1"),
        10 => format!("LLEN {queue}"),
        _ => format!("RPOPLPUSH {other} {queue}"),
    };
    words_of(&line)
}

#[test]
fn a_name_that_is_taken_is_refused_unless_the_rule_is_to_be_replaced() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob");
    let text = refused(&mut client, "JOB.BLACKHOLE ADD imp CLASS ExportJob");
    assert!(text.contains("imp") && text.contains("REPLACE"), "{text}");
    sure(&mut client, "JOB.BLACKHOLE SET imp CLASS ExportJob REPLACE");
    assert_eq!(client.must(&["JOB.BLACKHOLE", "TEST", &sidekiq("ExportJob", 1, 1)]).text(), "imp");
    assert!(client.must(&["JOB.BLACKHOLE", "TEST", &sidekiq("ImportJob", 1, 1)]).is_nil());

    sure(&mut client, "JOB.PAUSE queue:a");
    assert!(refused(&mut client, "JOB.PAUSE queue:a FOR 5m").contains("REPLACE"));
    sure(&mut client, "JOB.PAUSE queue:a FOR 5m REPLACE");
    // Kinds have their names apart.
    sure(&mut client, "JOB.PAUSE queue:b NAME imp");
    assert_eq!(rule_names(&mut client), ["imp", "queue:a", "imp"]);
}

#[test]
fn a_predicate_that_names_only_a_queue_needs_the_word_all() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    let text = refused(&mut client, "JOB.BLACKHOLE ADD imp QUEUE queue:a");
    assert!(text.starts_with("ERR ") && text.contains("ALL"), "{text}");
    assert!(refused(&mut client, "JOB.BLACKHOLE ADD imp").starts_with("ERR "));
    assert!(rule_names(&mut client).is_empty());
    sure(&mut client, "JOB.BLACKHOLE ADD imp QUEUE queue:a ALL");
    sure(&mut client, "JOB.BLACKHOLE ADD every ALL");
}

#[test]
fn a_bad_argument_is_named_and_makes_no_rule() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    for (line, named) in [
        ("JOB.BLACKHOLE ADD x CLASS A ACTION burn", "burn"),
        ("JOB.BLACKHOLE ADD x CLASS A SAMPLE 2", "2"),
        ("JOB.BLACKHOLE ADD x CLASS A EXPIRE soon", "soon"),
        ("JOB.BLACKHOLE ADD x CLASS A SCOPE some", "some"),
        ("JOB.BLACKHOLE ADD x CLASS A NONSENSE", "NONSENSE"),
        ("JOB.BLACKHOLE ADD x WHERE \"@.args[\"", "WHERE"),
        ("JOB.BLACKHOLE ADD x ARG nothing", "ARG"),
        ("JOB.BLACKHOLE INFO x", "x"),
        ("JOB.BLACKHOLE DEL x", "x"),
        ("JOB.BLACKHOLE RESTORE x", "x"),
        ("JOB.RESUME queue:x", "queue:x"),
        ("JOB.PAUSE queue:x ARG customer_id=1", "'ARG' is no part of a pause"),
        ("JOB.PAUSE queue:x FOR 5m CLASS", "CLASS"),
        ("JOB.CONFIG LOAD nonsense", "line 1"),
    ] {
        let text = refused(&mut client, line);
        assert!(text.contains(named), "{line}: {text}");
        assert!(text.starts_with("ERR ") || text.starts_with("NORULE "), "{line}: {text}");
    }
    assert!(rule_names(&mut client).is_empty());
}

#[test]
fn rules_live_through_flushdb_and_flushall_and_a_restart() {
    let Some(mut server) = start(&["--profile", "tiny"]) else { return };
    let mut client = server.client();
    sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob COMMENT \"bad deploy\"");
    sure(&mut client, "JOB.PAUSE queue:a FOR 1h CLASS ExportJob");
    for line in ["FLUSHDB", "FLUSHALL", "FLUSHDB ASYNC"] {
        sure(&mut client, line);
        client.must(&["LPUSH", "queue:a", &sidekiq("ImportJob", 1, 1), &sidekiq("ExportJob", 2, 1)]);
        assert!(client.line("RPOP queue:a").is_nil(), "after {line}");
        assert_eq!(client.line("LLEN queue:a").integer(), 1, "after {line}");
    }
    assert!(server.term().success());
    server.start();
    let mut client = server.client();
    assert_eq!(rule_names(&mut client), ["imp", "queue:a CLASS ExportJob"]);
    assert!(client.line("RPOP queue:a").is_nil());
    let rule = sure(&mut client, "JOB.RULES INFO blackhole imp");
    assert_eq!(field(&rule, "comment").text(), "bad deploy");
    assert!(field(&rule, "by").text().contains("127.0.0.1"), "who made it: {rule:?}");
    assert!(number(&rule, "at") > 1_700_000_000_000, "and when: {rule:?}");
}

#[test]
fn rules_of_one_database_do_not_act_in_another() {
    let Some(server) = start(&[]) else { return };
    let (mut zero, mut one) = (server.client(), server.client());
    sure(&mut one, "SELECT 1");
    let reply = sure(&mut one, "JOB.BLACKHOLE ADD imp CLASS ImportJob");
    assert_eq!(number(&reply, "db"), 1);
    sure(&mut one, "JOB.PAUSE queue:a");
    assert!(rule_names(&mut zero).is_empty());
    for client in [&mut zero, &mut one] {
        client.must(&["LPUSH", "queue:a", &sidekiq("ImportJob", 1, 1), &sidekiq("ExportJob", 2, 1)]);
    }
    assert_eq!(zero.line("RPOP queue:a").text(), sidekiq("ImportJob", 1, 1));
    assert_eq!(zero.line("RPOP queue:a").text(), sidekiq("ExportJob", 2, 1));
    assert!(one.line("RPOP queue:a").is_nil());
    assert_eq!(one.line("LLEN queue:a").integer(), 1);
    assert_eq!(one.line("LLEN job:quarantine:imp:queue:a").integer(), 1);
    assert_eq!(zero.line("EXISTS job:quarantine:imp:queue:a").integer(), 0);
}

#[test]
fn add_says_how_many_queues_it_speaks_of_and_warns_if_there_are_none() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    let warnings =
        |reply| field(reply, "warnings").items().iter().map(|text| text.text()).collect::<Vec<_>>().join("; ");
    sure(&mut client, "SELECT 2");
    sure(&mut client, "LPUSH queue:a 1 2 3");
    sure(&mut client, "SELECT 0");
    let reply = sure(&mut client, "JOB.BLACKHOLE ADD imp QUEUE a ALL");
    assert_eq!((number(&reply, "queues"), field(&reply, "name").text()), (0, "imp".into()));
    assert!(warnings(&reply).contains("database 2"), "{reply:?}");
    sure(&mut client, "SELECT 2");
    let reply = sure(&mut client, "JOB.BLACKHOLE ADD imp QUEUE a ALL");
    assert_eq!((number(&reply, "queues"), number(&reply, "estimate"), number(&reply, "db")), (1, 3, 2));
    assert_eq!(warnings(&reply), "");
}

#[test]
fn a_dump_of_all_rules_can_be_loaded_elsewhere_and_dumps_the_same() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    for line in [
        "JOB.BLACKHOLE ADD imp CLASS ImportJob ARG customer_id=123 COMMENT \"bad \\\"deploy\\\"\"",
        "JOB.BLACKHOLE ADD \"a name with spaces\" QUEUE queue:a CLASS Mail* TENANT 42 ACTION drop SCOPE queues UNLOCK",
        "JOB.BLACKHOLE ADD amounts WHERE \"@.args[0].amount > 1000 && @.queue == 'a b'\" SAMPLE 0.25",
        "JOB.BLACKHOLE ADD some JID abc def ACTION dead",
        "JOB.BLACKHOLE ADD old QUEUE queue:a OLDER 2h",
        "JOB.BLACKHOLE ADD before CLASS ExportJob BEFORE now",
        "JOB.PAUSE queue:a",
        "JOB.PAUSE imp* CLASS Mail* TENANT 7 NAME mails COMMENT why",
    ] {
        sure(&mut client, line);
    }
    let dump = sure(&mut client, "JOB.CONFIG DUMP").text();
    assert_eq!(dump.lines().count(), 8, "{dump}");
    let Some(other) = start(&[]) else { return };
    let mut other = other.client();
    assert_eq!(number(&other.must(&["JOB.CONFIG", "LOAD", &dump]), "loaded"), 8);
    assert_eq!(sure(&mut other, "JOB.CONFIG DUMP").text(), dump);
    // Again, in the place of those that are there; and with one line wrong, not at all.
    assert_eq!(number(&client.must(&["JOB.CONFIG", "LOAD", &dump]), "loaded"), 8);
    assert_eq!(sure(&mut client, "JOB.CONFIG DUMP").text(), dump);
    let broken = format!("# a comment\nJOB.PAUSE queue:new\n{dump}JOB.PAUSE queue:b FOR ever\n");
    assert!(client.must(&["JOB.CONFIG", "LOAD", &broken]).is_error());
    assert_eq!(sure(&mut client, "JOB.CONFIG DUMP").text(), dump);
}

#[test]
fn each_change_in_the_log_is_undone_by_the_command_that_it_names() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    client.must(&["LPUSH", "queue:a", &sidekiq("ImportJob", 1, 1)]);
    let first = dump(&mut client);
    for line in [
        "JOB.BLACKHOLE ADD \"bad deploy\" CLASS ImportJob COMMENT x",
        "JOB.BLACKHOLE ADD \"bad deploy\" CLASS ExportJob REPLACE",
        "JOB.PAUSE queue:a CLASS MailJob",
        "JOB.PAUSE queue:b FOR 1h NAME b",
        "JOB.RESUME queue:a CLASS MailJob",
        "JOB.BLACKHOLE DEL \"bad deploy\"",
        "JOB.RULES DEL pause b",
    ] {
        let before = dump(&mut client);
        sure(&mut client, line);
        let after = dump(&mut client);
        assert_ne!(before, after, "{line}");
        let newest = sure(&mut client, "JOB.RULES LOG 1").items()[0].clone();
        assert!(field(&newest, "by").text().contains("127.0.0.1"), "{newest:?}");
        let undo = field(&newest, "undo").text();
        sure(&mut client, &undo);
        assert_eq!(without_times(&dump(&mut client)), without_times(&before), "{line} was undone by {undo}");
        // The undo has its undo too.
        let again = field(&sure(&mut client, "JOB.RULES LOG 1").items()[0], "undo").text();
        sure(&mut client, &again);
        assert_eq!(without_times(&dump(&mut client)), without_times(&after), "{undo} was undone by {again}");
    }
    assert_eq!(dump(&mut client), first, "every rule that was made is gone");
    assert_eq!(sure(&mut client, "JOB.RULES LOG 100").items().len(), 21);
    assert_eq!(sure(&mut client, "JOB.RULES LOG 3").items().len(), 3);
}

fn dump(client: &mut Client) -> String {
    sure(client, "JOB.CONFIG DUMP").text()
}

/// Rules in the order of their names, and without what runs with time.
fn without_times(dump: &str) -> Vec<String> {
    let mut lines: Vec<String> =
        dump.lines().map(|line| line.split(" FOR ").next().expect("a line has a start").to_owned()).collect();
    lines.sort();
    lines
}

#[test]
fn of_several_rules_the_oldest_acts() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    sure(&mut client, "JOB.BLACKHOLE ADD z CLASS Import*");
    sure(&mut client, "JOB.BLACKHOLE ADD a CLASS ImportJob");
    client.must(&["LPUSH", "queue:a", &sidekiq("ImportJob", 1, 1)]);
    wait_until_swept(&mut client, "a");
    assert_eq!(client.line("LLEN job:quarantine:z:queue:a").integer(), 1);
    assert_eq!(client.line("EXISTS job:quarantine:a:queue:a").integer(), 0);
}
