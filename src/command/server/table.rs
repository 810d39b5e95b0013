//! COMMAND: the table of commands as clients read it.

use bytes::Bytes;

use crate::command::argument::is;
use crate::command::category::categories;
use crate::command::container::help_of;
use crate::command::{Command, Context, Flag, Group, Keys, Outcome, by_name, find, table};
use crate::glob;
use crate::resp::{Error, Reply};

const FLAGS: &[Flag] = &[Flag::Loading, Flag::Stale];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "command",
        run: |_, _| Ok(Reply::Array(top_level().map(info).collect())),
        syntax: "[subcommand]",
        summary: "Returns detailed information about all commands.",
        since: "2.8.13",
        complexity: "O(N) where N is the total number of commands",
        examples: &["COMMAND", "COMMAND NOSUCH"],
        ..ABOUT_COMMANDS
    },
    Command {
        name: "command|count",
        run: |_, _| Ok(Reply::Integer(top_level().count() as i64)),
        summary: "Returns a count of commands.",
        since: "2.8.13",
        examples: &["COMMAND COUNT", "COMMAND COUNT x"],
        ..ABOUT_COMMANDS
    },
    Command {
        name: "command|info",
        run: |_, request| {
            let infos = match &request[2..] {
                [] => top_level().map(info).collect(),
                names => names.iter().map(|name| named(name).map_or(Reply::NullArray, info)).collect(),
            };
            Ok(Reply::Array(infos))
        },
        syntax: "[command-name [command-name ...]]",
        summary: "Returns information about one, multiple or all commands.",
        since: "2.8.13",
        complexity: "O(N) where N is the number of commands to look up",
        examples: &["COMMAND INFO lpush nosuch client|id", "COMMAND INFO"],
        ..ABOUT_COMMANDS
    },
    Command {
        name: "command|docs",
        run: |_, request| {
            let documents = match &request[2..] {
                [] => top_level().map(documents).collect(),
                names => names.iter().filter_map(|name| named(name)).map(documents).collect(),
            };
            Ok(Reply::Map(documents))
        },
        syntax: "[command-name [command-name ...]]",
        summary: "Returns documentary information about one, multiple or all commands.",
        since: "7.0.0",
        complexity: "O(N) where N is the number of commands to look up",
        examples: &["COMMAND DOCS lpush nosuch client", "COMMAND DOCS nosuch"],
        ..ABOUT_COMMANDS
    },
    Command {
        name: "command|list",
        run: list,
        syntax: "[FILTERBY MODULE module-name | ACLCAT category | PATTERN pattern]",
        summary: "Returns a list of command names.",
        since: "7.0.0",
        complexity: "O(N) where N is the total number of commands",
        examples: &[
            "COMMAND LIST",
            "COMMAND LIST FILTERBY PATTERN client|g*",
            "COMMAND LIST FILTERBY ACLCAT connection",
            "COMMAND LIST FILTERBY MODULE none",
            "COMMAND LIST FILTERBY x y",
            "COMMAND LIST x",
        ],
        ..ABOUT_COMMANDS
    },
    Command {
        name: "command|getkeys",
        run: keys_of,
        syntax: "command [argument ...] argument",
        summary: "Extracts the key names from an arbitrary command.",
        since: "2.8.13",
        complexity: "O(N) where N is the number of arguments to the command",
        examples: &[
            "COMMAND GETKEYS lmove a b left right",
            "COMMAND GETKEYS lmpop 2 a b LEFT",
            "COMMAND GETKEYS lmpop 0 a LEFT",
            "COMMAND GETKEYS ping x",
            "COMMAND GETKEYS nosuch x",
            "COMMAND GETKEYS llen a b",
        ],
        ..ABOUT_COMMANDS
    },
    help_of("command|help", "5.0.0", Group::Server, &["COMMAND HELP"]),
];

/// What most subcommands have in common.
const ABOUT_COMMANDS: Command = Command {
    name: "",
    run: |_, _| Err(Error::SYNTAX.into()),
    syntax: "",
    summary: "",
    since: "",
    group: Group::Server,
    complexity: "O(1)",
    flags: FLAGS,
    keys: Keys::None,
    examples: &[],
};

fn top_level() -> impl Iterator<Item = &'static Command> {
    table().filter(|command| command.parent().is_none())
}

fn subcommands(container: &str) -> impl Iterator<Item = &'static Command> {
    table().filter(move |command| command.parent().is_some_and(|(parent, _)| parent == container))
}

fn named(name: &[u8]) -> Option<&'static Command> {
    by_name(&name.to_ascii_lowercase())
}

/// The ten elements of COMMAND INFO.
fn info(command: &'static Command) -> Reply {
    let statuses = |texts: &mut dyn Iterator<Item = String>| texts.map(|text| Reply::Status(text.into())).collect();
    let (first, last, step) = match command.keys {
        Keys::Range { first, last, step } => (first, last, step),
        Keys::None | Keys::Count { .. } | Keys::Find(_) => (0, 0, 0),
    };
    Reply::Array(vec![
        Reply::bulk(command.name),
        Reply::Integer(command.arity().into()),
        Reply::Set(statuses(&mut command.flags.iter().map(|flag| flag.name().to_owned()))),
        Reply::Integer(first.into()),
        Reply::Integer(last.into()),
        Reply::Integer(step.into()),
        Reply::Set(statuses(&mut categories(command).map(|category| format!("@{category}")))),
        Reply::Set(Vec::new()),
        Reply::Set(key_specification(command).into_iter().collect()),
        Reply::Set(subcommands(command.name).map(info).collect()),
    ])
}

/// How to find the keys, as cluster clients read it.
fn key_specification(command: &Command) -> Option<Reply> {
    let number = |value: i32| Reply::Integer(value.into());
    let (index, search) = match command.keys {
        Keys::None => return None,
        Keys::Range { first, last, step } => {
            let last = if last < 0 { last } else { last - first };
            let range = [("lastkey", number(last)), ("keystep", number(step)), ("limit", number(0))];
            (Some(first), ("range", fields(range)))
        }
        Keys::Count { at } => {
            let numbers = [("keynumidx", number(0)), ("firstkey", number(1)), ("keystep", number(1))];
            (Some(at as i32), ("keynum", fields(numbers)))
        }
        Keys::Find(_) => (None, ("unknown", fields([]))),
    };
    let begin = match index {
        Some(index) => ("index", fields([("index", number(index))])),
        None => ("unknown", fields([])),
    };
    let typed = |(kind, spec): (&str, Reply)| fields([("type", Reply::bulk(kind)), ("spec", spec)]);
    let access = if command.has(Flag::Write) { ["RW", "update"] } else { ["RO", "access"] };
    Some(fields([
        ("flags", Reply::Set(access.map(Reply::status).into())),
        ("begin_search", typed(begin)),
        ("find_keys", typed(search)),
    ]))
}

fn fields<const N: usize>(fields: [(&str, Reply); N]) -> Reply {
    Reply::Map(fields.into_iter().map(|(name, value)| (Reply::bulk(name), value)).collect())
}

/// One pair of COMMAND DOCS.
fn documents(command: &'static Command) -> (Reply, Reply) {
    let texts = [
        ("summary", command.summary),
        ("since", command.since),
        ("group", command.group.name()),
        ("complexity", command.complexity),
    ];
    let mut pairs: Vec<_> = texts.into_iter().map(|(name, text)| (Reply::bulk(name), Reply::bulk(text))).collect();
    let subcommands: Vec<_> = subcommands(command.name).map(documents).collect();
    if !subcommands.is_empty() {
        pairs.push((Reply::bulk("subcommands"), Reply::Map(subcommands)));
    }
    (Reply::bulk(command.name), Reply::Map(pairs))
}

fn list(_: &mut Context, request: &[Bytes]) -> Outcome {
    let names = |keep: &dyn Fn(&Command) -> bool| {
        Ok(Reply::Array(table().filter(|command| keep(command)).map(|command| Reply::bulk(command.name)).collect()))
    };
    let (filter, value) = match &request[2..] {
        [] => return names(&|_| true),
        [option, filter, value] if is(option, "FILTERBY") => (filter, value.to_ascii_lowercase()),
        _ => return Err(Error::SYNTAX.into()),
    };
    match () {
        () if is(filter, "MODULE") => names(&|_| false),
        () if is(filter, "ACLCAT") => names(&|command| categories(command).any(|name| name.as_bytes() == value)),
        () if is(filter, "PATTERN") => names(&|command| glob::matches(&value, command.name.as_bytes())),
        () => Err(Error::SYNTAX.into()),
    }
}

fn keys_of(_: &mut Context, request: &[Bytes]) -> Outcome {
    let request = &request[2..];
    if named(&request[0]).is_none() {
        return Err(Error::constant("ERR Invalid command specified").into());
    }
    let wrong_number = |_| Error::constant("ERR Invalid number of arguments specified for command");
    let command = find(request).map_err(wrong_number)?;
    if matches!(command.keys, Keys::None) {
        return Err(Error::constant("ERR The command has no key arguments").into());
    }
    let positions = command.keys.positions(request);
    // Scripts may have no keys at all; others that seem to have none were given wrong arguments.
    if positions.is_empty() && command.group != Group::Scripting {
        return Err(Error::constant("ERR Invalid arguments specified for command").into());
    }
    Ok(Reply::Array(positions.into_iter().map(|at| Reply::Bulk(request[at].clone())).collect()))
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;

    #[test]
    fn info_describes_a_command_as_redis_does() {
        let mut bench = Bench::default();
        let reply = bench.resp2("COMMAND INFO llen");
        let expected = "*1\r\n*10\r\n$4\r\nllen\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n\
             *3\r\n+@read\r\n+@list\r\n+@fast\r\n*0\r\n*1\r\n*6\r\n$5\r\nflags\r\n*2\r\n+RO\r\n+access\r\n\
             $12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n*2\r\n$5\r\nindex\r\n:1\r\n\
             $9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n*6\r\n$7\r\nlastkey\r\n:0\r\n\
             $7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n*0\r\n";
        assert_eq!(reply, expected);
        assert_eq!(bench.resp2("COMMAND INFO nosuch"), "*1\r\n*-1\r\n");
    }

    #[test]
    fn keys_are_found_where_the_declaration_says() {
        let mut bench = Bench::default();
        assert_eq!(bench.resp2("COMMAND GETKEYS lmpop 2 a b LEFT"), "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
        assert_eq!(bench.resp2("COMMAND GETKEYS BLPOP a b 0"), "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
        let check = |bench: &mut Bench, line: &str, reason: &str| {
            assert_eq!(bench.resp2(&format!("COMMAND GETKEYS {line}")), format!("-ERR {reason}\r\n"), "{line}");
        };
        check(&mut bench, "nosuch a", "Invalid command specified");
        check(&mut bench, "ping a", "The command has no key arguments");
        check(&mut bench, "llen a b", "Invalid number of arguments specified for command");
        check(&mut bench, "lmpop 0 a LEFT", "Invalid arguments specified for command");
    }

    #[test]
    fn names_can_be_filtered_by_pattern_and_category() {
        let mut bench = Bench::default();
        let names = bench.resp2("COMMAND LIST FILTERBY PATTERN CLIENT|G*");
        assert_eq!(names, "*2\r\n$14\r\nclient|getname\r\n$15\r\nclient|getredir\r\n");
        assert!(bench.resp2("COMMAND LIST FILTERBY ACLCAT list").contains("\r\nlpush\r\n"));
        assert_eq!(bench.resp2("COMMAND LIST FILTERBY MODULE x"), "*0\r\n");
        assert_eq!(bench.resp2("COMMAND LIST FILTERBY x y"), "-ERR syntax error\r\n");
    }
}
