//! Commands that only hold subcommands, and what all of those have in common.

use bytes::Bytes;

use crate::resp::Error;

use super::help::help;
use super::{Command, Flag, Group, Keys};

/// Declares a container, so that the table knows its name without a subcommand.
pub const fn container(
    name: &'static str,
    since: &'static str,
    group: Group,
    summary: &'static str,
    examples: &'static [&'static str],
) -> Command {
    Command {
        name,
        // Only asked when a request has a subcommand, and then the table finds that one or refuses.
        run: |_, request| Err(wrong_form(request).into()),
        syntax: "subcommand [argument ...]",
        summary,
        since,
        group,
        complexity: "Depends on subcommand.",
        flags: &[],
        keys: Keys::None,
        examples,
    }
}

/// Declares a container's HELP.
pub const fn help_of(
    name: &'static str,
    since: &'static str,
    group: Group,
    examples: &'static [&'static str],
) -> Command {
    Command {
        name,
        run: |_, request| help(&String::from_utf8_lossy(&request[0]).to_lowercase()),
        syntax: "",
        summary: "Shows helpful text about the subcommands.",
        since,
        group,
        complexity: "O(1)",
        flags: &[Flag::Loading, Flag::Stale],
        keys: Keys::None,
        examples,
    }
}

/// What Redis says to a subcommand that is called in no form it has.
pub fn wrong_form(request: &[Bytes]) -> Error {
    Error::new(format!(
        "ERR unknown subcommand or wrong number of arguments for '{}'. Try {} HELP.",
        String::from_utf8_lossy(&request[1]),
        String::from_utf8_lossy(&request[0]).to_uppercase()
    ))
}
