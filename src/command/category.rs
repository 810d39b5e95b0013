//! Redis' ACL categories, which follow from a command's group and flags. Nobody is refused by them here; COMMAND and
//! ACL CAT show them.

use super::{Command, Flag, Group};

/// In the order of ACL CAT.
pub const CATEGORIES: &[&str] = &[
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
    "job",
    "jobread",
    "jobadmin",
];

/// Of the group `generic`, but not about keys of any type.
const NOT_KEYSPACE: &[&str] = &["wait", "waitaof", "sort", "sort_ro"];
/// About keys, but of another group.
const KEYSPACE_TOO: &[&str] = &["dbsize", "flushall", "flushdb", "swapdb"];
/// They tell what an owner may want to keep, though they change nothing.
const ADMIN_TOO: &[&str] = &["lastsave", "role"];
/// They can stop a server, or tell much of it.
const DANGEROUS_TOO: &[&str] =
    &["flushall", "flushdb", "info", "keys", "lastsave", "role", "sort", "sort_ro", "swapdb"];
/// Redis counts these as connection commands.
const CONNECTION_TOO: &[&str] = &["command", "wait", "waitaof"];

/// Gives a command's categories in the order of ACL CAT.
pub fn categories(command: &Command) -> impl Iterator<Item = &'static str> {
    CATEGORIES.iter().copied().filter(|category| is_in(command, category))
}

fn is_in(command: &Command, category: &str) -> bool {
    let name = command.parent().map_or(command.name, |(container, _)| container);
    // A container does nothing itself.
    let is_group = |group| command.group == group && !is_container(command);
    match category {
        "keyspace" => is_group(Group::Generic) && !NOT_KEYSPACE.contains(&name) || KEYSPACE_TOO.contains(&name),
        "read" => command.has(Flag::ReadOnly) && command.group != Group::Scripting,
        "write" => command.has(Flag::Write),
        "set" => is_group(Group::Set),
        "sortedset" => is_group(Group::SortedSet),
        "list" => is_group(Group::List),
        "hash" => is_group(Group::Hash),
        "string" => is_group(Group::String),
        "bitmap" => is_group(Group::Bitmap),
        "stream" => is_group(Group::Stream),
        "pubsub" => command.has(Flag::PubSub),
        "admin" => command.has(Flag::Admin) || ADMIN_TOO.contains(&name),
        "fast" => command.has(Flag::Fast),
        "slow" => !command.has(Flag::Fast),
        "blocking" => command.has(Flag::Blocking),
        "dangerous" => command.has(Flag::Admin) || DANGEROUS_TOO.contains(&name),
        "connection" => is_group(Group::Connection) || CONNECTION_TOO.contains(&name),
        "transaction" => is_group(Group::Transactions),
        "scripting" => is_group(Group::Scripting),
        "job" => command.group == Group::Job,
        "jobread" => command.group == Group::Job && command.has(Flag::ReadOnly),
        "jobadmin" => command.group == Group::Job && command.has(Flag::Admin),
        _ => false,
    }
}

/// Only containers have neither flags nor keys.
fn is_container(command: &Command) -> bool {
    command.flags.is_empty() && command.parent().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::by_name;

    fn check(name: &str, expected: &[&str]) {
        let command = by_name(name.as_bytes()).expect("it is declared");
        assert_eq!(categories(command).collect::<Vec<_>>(), expected, "{name}");
    }

    #[test]
    fn categories_are_those_of_redis() {
        check("lpush", &["write", "list", "fast"]);
        check("blpop", &["write", "list", "slow", "blocking"]);
        check("client", &["slow"]);
        check("client|id", &["slow", "connection"]);
        check("client|kill", &["admin", "slow", "dangerous", "connection"]);
        check("command", &["slow", "connection"]);
        check("config|get", &["admin", "slow", "dangerous"]);
        check("info", &["slow", "dangerous"]);
        check("role", &["admin", "fast", "dangerous"]);
        check("ping", &["fast", "connection"]);
        check("subscribe", &["pubsub", "slow"]);
        check("pubsub|help", &["slow"]);
        check("wait", &["slow", "connection"]);
    }
}
