//! CONFIG over the settings.

use bytes::Bytes;

use crate::command::container::{container, help_of};
use crate::command::{Command, Context, Flag, Group, Keys, Outcome};
use crate::glob;
use crate::resp::{Error, Reply};

const FLAGS: &[Flag] = &[Flag::Admin, Flag::NoScript, Flag::Loading, Flag::Stale];

pub const COMMANDS: &[Command] = &[
    container(
        "config",
        "2.0.0",
        Group::Server,
        "A container for server configuration commands.",
        &["CONFIG", "CONFIG NOSUCH"],
    ),
    Command {
        name: "config|get",
        run: get,
        syntax: "parameter [parameter ...]",
        summary: "Returns the effective values of configuration parameters.",
        since: "2.0.0",
        group: Group::Server,
        complexity: "O(N) when N is the number of configuration parameters provided",
        flags: FLAGS,
        keys: Keys::None,
        examples: &["CONFIG GET maxmemory-policy", "CONFIG GET hz MAXMEMORY-*", "CONFIG GET nosuch", "CONFIG GET"],
    },
    Command {
        name: "config|set",
        run: |context, request| {
            let (pairs, rest) = request[2..].as_chunks::<2>();
            if !rest.is_empty() {
                return Err(Error::SYNTAX.into());
            }
            let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|[name, value]| (&name[..], &value[..])).collect();
            context.host.configure(&pairs)?;
            Ok(Reply::Ok)
        },
        syntax: "parameter value [parameter value ...]",
        summary: "Sets configuration parameters while the server runs.",
        since: "2.0.0",
        group: Group::Server,
        complexity: "O(N) when N is the number of configuration parameters provided",
        flags: FLAGS,
        keys: Keys::None,
        examples: &[
            "CONFIG SET hz 20",
            "CONFIG GET hz",
            "CONFIG SET hz 10 timeout x",
            "CONFIG SET nosuch 1",
            "CONFIG SET hz 10 timeout",
            "CONFIG SET hz 10",
        ],
    },
    Command {
        name: "config|resetstat",
        run: |context, _| {
            context.host.metrics().reset_statistics();
            Ok(Reply::Ok)
        },
        syntax: "",
        summary: "Resets the server's statistics.",
        since: "2.0.0",
        group: Group::Server,
        complexity: "O(1)",
        flags: FLAGS,
        keys: Keys::None,
        examples: &["CONFIG RESETSTAT"],
    },
    Command {
        name: "config|rewrite",
        run: |_, _| Err(NOT_REWRITTEN.into()),
        syntax: "",
        summary: "Refuses: the configuration file belongs to its owner and is never written.",
        since: "2.8.0",
        group: Group::Server,
        complexity: "O(1)",
        flags: FLAGS,
        keys: Keys::None,
        examples: &["CONFIG REWRITE"],
    },
    help_of("config|help", "5.0.0", Group::Server, &["CONFIG HELP"]),
];

const NOT_REWRITTEN: Error = Error::constant(
    "ERR The configuration file is never written by the server; edit the file, the environment or the flags instead",
);

fn get(context: &mut Context, request: &[Bytes]) -> Outcome {
    let patterns: Vec<Vec<u8>> = request[2..].iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
    let wanted = |name: &str| patterns.iter().any(|pattern| glob::matches(pattern, name.as_bytes()));
    let found = context.host.settings().matching(wanted);
    Ok(Reply::Map(found.into_iter().map(|(name, value)| (Reply::bulk(name), Reply::bulk(value))).collect()))
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;
    use crate::resp::Reply;

    #[test]
    fn several_patterns_give_each_setting_once() {
        let mut bench = Bench::default();
        let pair = |name: &str, value: &str| (Reply::bulk(name), Reply::bulk(value));
        assert_eq!(bench.run("CONFIG GET HZ h[z] nosuch"), Reply::Map(vec![pair("hz", "10")]));
        let expected = vec![pair("maxmemory-policy", "noeviction"), pair("maxmemory-samples", "5")];
        assert_eq!(bench.run("CONFIG GET maxmemory-*"), Reply::Map(expected));
        assert_eq!(bench.run("CONFIG GET nosuch"), Reply::Map(Vec::new()));
    }

    #[test]
    fn set_takes_pairs_and_tells_what_is_wrong() {
        let mut bench = Bench::default();
        assert_eq!(bench.resp2("CONFIG SET hz 20 maxclients 7"), "+OK\r\n");
        assert_eq!(bench.host.settings.maxclients, 7);
        assert_eq!(bench.resp2("CONFIG SET hz 20 maxclients"), "-ERR syntax error\r\n");
        let unknown = "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'\r\n";
        assert_eq!(bench.resp2("CONFIG SET nosuch 1"), unknown);
    }
}
