//! Pages of the README: their commands are run as they stand there.

use super::payload::sidekiq;
use super::{start, sure, words_of};
use crate::harness::Client;

#[test]
fn the_commands_of_the_page_for_a_bad_deploy_run_as_they_stand_there() {
    let Some(server) = start(&["--maxmemory", "32mb"]) else { return };
    let mut client = server.client();
    sure(&mut client, "SADD queues default");
    for first in (0..3000).step_by(100) {
        let jobs = (first..first + 100).map(|number| match number % 4 {
            0 => sidekiq("ImportJob", number, 123),
            1 => sidekiq("ImportJob", number, 7),
            _ => sidekiq("MailJob", number, 123),
        });
        client.must(&["LPUSH".to_owned(), "queue:default".to_owned()].into_iter().chain(jobs).collect::<Vec<_>>());
    }
    let commands = commands_of_the_page("## A bad deploy at 3 a.m.");
    assert!(commands.len() > 5, "README has no such page, or no commands on it: {commands:?}");
    let mut is_in_force = false;
    for line in commands {
        if line.contains("BLACKHOLE DEL") {
            // A person would look first whether the sweep is done.
            super::wait_until_swept(&mut client, "imp");
        }
        let words = words_of(&line);
        let reply = client.must(&words[1..]);
        println!("{line}\n{reply:?}");
        assert!(!reply.is_error(), "{line}: {reply:?}");
        is_in_force |= line.contains("BLACKHOLE ADD") && !line.contains("DRYRUN");
        is_in_force &= !line.contains("BLACKHOLE DEL");
        if is_in_force {
            let job = client.line("RPOP queue:default").text();
            assert!(
                !(job.contains("ImportJob") && job.contains("123")),
                "after {line} a bad job was handed out: {job}"
            );
        }
    }
}

#[test]
fn the_commands_of_the_page_for_workers_in_any_language_run_as_they_stand_there() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    run_page(&mut client, "## Workers in any language");
    assert!(client.must(&["JOB.ACK", "5f2c9a"]).is_error(), "the page has ended the job");
}

#[test]
fn the_commands_of_the_page_for_a_slow_partner_run_as_they_stand_there() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    client.must(&["LPUSH", "queue:default", &sidekiq("SyncJob", 1, 1)]);
    run_page(&mut client, "## A partner that is slow");
}

#[test]
fn the_commands_of_the_page_for_service_levels_run_as_they_stand_there() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    client.must(&["LPUSH", "queue:default", &sidekiq("MailJob", 1, 1)]);
    run_page(&mut client, "## Mail within 30 seconds");
}

/// Runs the commands of a page, none of which may be refused.
fn run_page(client: &mut Client, heading: &str) {
    let commands = commands_of_the_page(heading);
    assert!(commands.len() > 4, "README has no such page, or no commands on it: {commands:?}");
    for line in commands {
        sure(client, line.strip_prefix("redis-cli ").expect("it was looked for"));
    }
}

/// The lines that begin with `redis-cli ` in the shell blocks below the heading.
fn commands_of_the_page(heading: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("there is a README");
    let Some((_, page)) = readme.split_once(heading) else { return Vec::new() };
    let page = page.split("\n## ").next().expect("a split has a first part");
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().expect("a split has a first part"));
    blocks.flat_map(str::lines).filter(|line| line.starts_with("redis-cli ")).map(str::to_owned).collect()
}
