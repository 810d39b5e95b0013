//! Pauses: jobs that stay where they are while those behind them go on.

use bytes::Bytes;

use crate::resp::{Error, Reply};

use super::registry::{self, Change, maker};
use super::{CHANGE, SINCE, text, words};
use crate::command::{Command, Context, Group, Keys, Outcome};

const KIND: &str = "pause";

pub const COMMANDS: &[Command] = &[
    Command {
        name: "job.pause",
        run: pause,
        syntax: "queue-glob [CLASS glob] [TENANT id] [FOR duration] [NAME name] [COMMENT text] [REPLACE]",
        summary: "Holds the jobs of queues, or those of a class or tenant, where they are; others go past them.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1) in the backlog.",
        flags: CHANGE,
        keys: Keys::None,
        examples: &[
            "JOB.PAUSE default",
            "JOB.PAUSE default",
            "JOB.PAUSE default CLASS ImportJob FOR 5m",
            "JOB.PAUSE default FOR x",
        ],
    },
    Command {
        name: "job.resume",
        run: resume,
        syntax: "queue-glob [CLASS glob] [TENANT id]",
        summary: "Ends a pause that was made with the same words, or that has this name.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1)",
        flags: CHANGE,
        keys: Keys::None,
        examples: &["JOB.RESUME default", "JOB.PAUSE default", "JOB.RESUME default"],
    },
];

fn pause(context: &mut Context, request: &[Bytes]) -> Outcome {
    if is_help(request) {
        return super::rules::help_lines(COMMANDS);
    }
    let (rule, manner) = words::parse_with_manner(request, maker(context))?;
    let undo = format!("JOB.RESUME {}", words::quoted(&rule.name));
    registry::make(context, rule, manner.replace, undo)
}

fn resume(context: &mut Context, request: &[Bytes]) -> Outcome {
    if is_help(request) {
        return super::rules::help_lines(COMMANDS);
    }
    let database = context.keys.selected();
    let by_name = String::from_utf8_lossy(&request[1]).into_owned();
    let name = match request.len() {
        2 if context.jobs.rules.find(database, KIND, &by_name).is_some() => by_name,
        _ => {
            let wanted = [&[Bytes::from_static(b"job.pause")], &request[1..]].concat();
            words::parse(&wanted, maker(context))?.name
        }
    };
    let Some(rule) = context.jobs.rules.find(database, KIND, &name).cloned() else {
        return Err(Error::new(format!("NORULE no pause is called '{name}' in this database")).into());
    };
    let change = Change {
        what: format!("JOB.RESUME {}", words::quoted(&name)),
        undo: words::line(&rule, context.keys.now_ms()),
    };
    registry::remove(context, KIND, &name, change)?;
    Ok(Reply::Map(vec![(text("name"), text(&name))]))
}

fn is_help(request: &[Bytes]) -> bool {
    request.len() == 2 && request[1].eq_ignore_ascii_case(b"help")
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;
    use crate::resp::Reply;

    #[test]
    fn a_set_that_pauses_queues_is_over_with_its_database() {
        let mut bench = Bench::default();
        bench.run("LPUSH queue:a 1");
        bench.run("SADD paused a");
        assert_eq!(bench.run("RPOP queue:a"), Reply::Null);
        bench.run("FLUSHDB");
        while bench.keys.sweep() {}
        bench.run("LPUSH queue:a 2");
        assert_eq!(bench.run("RPOP queue:a"), Reply::bulk("2"));
        assert_eq!(bench.run("JOB.RULES LIST"), Reply::Array(Vec::new()));
    }
}
