//! All rules of a database, whatever they are about: listed, told about, ended by name or by time, dumped and loaded.

use bytes::Bytes;

use crate::resp::{Error, Reply};
use crate::sched::Rule;

use super::registry::{self, Change};
use super::{CHANGE, READ, SINCE, container, help_of, known, map, number, text, text_of, words};
use crate::command::argument::not_negative;
use crate::command::{Command, Context, Group, Keys, Outcome, Stop, find};

/// Changes that RULES LOG tells of when it is not asked for more.
const LOG_DEFAULT: u64 = 20;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "job.help",
        run: |_, _| {
            let all = super::FAMILIES.iter().flat_map(|family| family.iter());
            Ok(help_of_all(all.filter(|command| !command.name.ends_with("|help"))))
        },
        syntax: "",
        summary: "Returns a line and a sentence about every JOB command.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N) where N is the number of commands.",
        flags: READ,
        keys: Keys::None,
        examples: &["JOB.HELP"],
    },
    container(
        "job.rules",
        SINCE,
        Group::Job,
        "A container for what concerns rules of every kind.",
        &["JOB.RULES NOSUCH"],
    ),
    Command {
        name: "job.rules|list",
        run: list,
        syntax: "",
        summary: "Returns all rules of this database, oldest first.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N) where N is the number of rules.",
        flags: READ,
        keys: Keys::None,
        examples: &["JOB.RULES LIST"],
    },
    Command {
        name: "job.rules|info",
        run: info,
        syntax: "kind name",
        summary: "Returns one rule.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N) where N is the number of rules.",
        flags: READ,
        keys: Keys::None,
        examples: &["JOB.RULES INFO pause x"],
    },
    Command {
        name: "job.rules|del",
        run: delete,
        syntax: "kind name",
        summary: "Ends a rule of any kind.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N) where N is the number of rules.",
        flags: CHANGE,
        keys: Keys::None,
        examples: &["JOB.RULES DEL pause x"],
    },
    Command {
        name: "job.rules|log",
        run: log,
        syntax: "[count]",
        summary: "Returns the last changes of the rules, newest first, each with the command that undoes it.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N) where N is the number of changes returned.",
        flags: READ,
        keys: Keys::None,
        examples: &["JOB.RULES LOG", "JOB.RULES LOG 5", "JOB.RULES LOG x"],
    },
    help_of("job.rules|help", SINCE, Group::Job, &["JOB.RULES HELP"]),
    container(
        "job.config",
        SINCE,
        Group::Job,
        "A container for all rules as text, for version control.",
        &["JOB.CONFIG NOSUCH"],
    ),
    Command {
        name: "job.config|dump",
        run: dump,
        syntax: "",
        summary: "Returns all rules of this database as text: the commands that make them.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N) where N is the number of rules.",
        flags: READ,
        keys: Keys::None,
        examples: &["JOB.CONFIG DUMP"],
    },
    Command {
        name: "job.config|load",
        run: load,
        syntax: "text",
        summary: "Makes the rules that a dump says, all or none, in the place of those of the same name.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N) where N is the number of rules.",
        flags: CHANGE,
        keys: Keys::None,
        examples: &["JOB.CONFIG LOAD \"JOB.PAUSE default\"", "JOB.CONFIG LOAD nonsense"],
    },
    help_of("job.config|help", SINCE, Group::Job, &["JOB.CONFIG HELP"]),
];

/// A rule as LIST shows it.
pub fn described(rule: &Rule, now_ms: u64) -> Reply {
    map(vec![
        ("kind", text(rule.kind_name())),
        ("name", text(&rule.name)),
        ("rule", text(words::line(rule, now_ms))),
        ("by", text(&rule.made.by)),
        ("at", number(rule.made.at_ms)),
        ("expires_at", known(rule.expires_ms)),
        ("comment", rule.comment.as_ref().map_or(Reply::Null, text)),
    ])
}

fn list(context: &mut Context, _request: &[Bytes]) -> Outcome {
    let (database, now_ms) = (context.keys.selected(), context.keys.now_ms());
    let mut all: Vec<Reply> = context.jobs.rules.of(database).iter().map(|rule| described(rule, now_ms)).collect();
    // What a set of the job library says is a rule too, which nobody made here.
    let honoured = context.host.settings().job_paused_sets;
    for (set, names) in context.keys.paused_sets(database).filter(|_| honoured) {
        for (name, ()) in names.iter() {
            let what = format!("SADD {} {}", String::from_utf8_lossy(set), String::from_utf8_lossy(name));
            all.push(map(vec![
                ("kind", text("pause")),
                ("name", text(crate::sched::PAUSED_BY_SET)),
                ("rule", text(what)),
                ("by", Reply::Null),
                ("at", Reply::Null),
                ("expires_at", Reply::Null),
                ("comment", Reply::Null),
            ]));
        }
    }
    Ok(Reply::Array(all))
}

fn found(context: &Context, request: &[Bytes]) -> Result<Rule, Error> {
    let (kind, name) = (text_of(&request[2]).to_lowercase(), text_of(&request[3]));
    let rule = context.jobs.rules.find(context.keys.selected(), &kind, &name).cloned();
    rule.ok_or_else(|| Error::new(format!("NORULE no {kind} is called '{name}' in this database")))
}

fn info(context: &mut Context, request: &[Bytes]) -> Outcome {
    Ok(described(&found(context, request)?, context.keys.now_ms()))
}

fn delete(context: &mut Context, request: &[Bytes]) -> Outcome {
    let rule = found(context, request)?;
    let change = Change {
        what: format!("JOB.RULES DEL {} {}", rule.kind_name(), words::quoted(&rule.name)),
        undo: words::line(&rule, context.keys.now_ms()),
    };
    registry::remove(context, rule.kind_name(), &rule.name, change)?;
    Ok(map(vec![("name", text(&rule.name))]))
}

fn log(context: &mut Context, request: &[Bytes]) -> Outcome {
    let count = request.get(2).map_or(Ok(LOG_DEFAULT), |count| not_negative(count))?;
    let changes = registry::changes(context, count.min(registry::LOG_ENTRIES_MAX))?;
    let said = |value: &serde_json::Value, name: &str| text(value[name].as_str().unwrap_or_default());
    Ok(Reply::Array(
        changes
            .iter()
            .map(|change| {
                map(vec![
                    ("at", known(change["at"].as_u64())),
                    ("by", said(change, "by")),
                    ("what", said(change, "what")),
                    ("undo", said(change, "undo")),
                ])
            })
            .collect(),
    ))
}

fn dump(context: &mut Context, _request: &[Bytes]) -> Outcome {
    let (database, now_ms) = (context.keys.selected(), context.keys.now_ms());
    let lines = context.jobs.rules.of(database).iter().map(|rule| words::line(rule, now_ms) + "\n");
    Ok(Reply::Verbatim(lines.collect::<String>().into()))
}

fn load(context: &mut Context, request: &[Bytes]) -> Outcome {
    let text_of_rules = text_of(&request[2]);
    let mut commands = Vec::new();
    for (at, line) in text_of_rules.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |reason: &str| Error::new(format!("ERR line {}: {reason}", at + 1));
        let mut words = crate::resp::split_words(line.as_bytes()).ok_or_else(|| wrong("unbalanced quotes"))?;
        words::parse(&words, registry::maker(context)).map_err(|error| wrong(error.line()))?;
        words.push(Bytes::from_static(b"REPLACE"));
        commands.push(words);
    }
    for words in &commands {
        (find(words)?.run)(context, words)?;
    }
    Ok(map(vec![("loaded", number(commands.len() as u64))]))
}

/// Ends a rule whose time is over; tells whether there was one. It is called between commands.
pub fn end_expired(context: &mut Context) -> Result<bool, Stop> {
    let now_ms = context.keys.now_ms();
    let Some((database, rule)) = context.jobs.rules.expired(now_ms) else { return Ok(false) };
    let (kind, name, line) = (rule.kind_name(), rule.name.clone(), words::line(rule, now_ms));
    context.keys.select(database);
    let change = Change { what: format!("the time of {kind} '{name}' is over"), undo: line };
    registry::remove(context, kind, &name, change)
}

/// What HELP says of commands that have no subcommands.
pub fn help_lines(commands: &'static [Command]) -> Outcome {
    Ok(help_of_all(commands.iter()))
}

fn help_of_all(commands: impl Iterator<Item = &'static Command>) -> Reply {
    let lines = commands.flat_map(|command| {
        let usage = format!("{} {}", command.name.to_uppercase().replace('|', " "), command.syntax);
        [usage.trim_end().to_owned(), format!("    {}", command.summary)]
    });
    Reply::Array(lines.map(|line| Reply::Status(line.into())).collect())
}
