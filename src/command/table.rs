//! All commands, found by name.

use std::sync::LazyLock;

use bytes::Bytes;
use hashbrown::HashTable;

use crate::resp::Error;

use super::{
    Command, bitmap, connection, generic, hash, job, list, pubsub, scripting, server, set, string, transaction, zset,
};

/// The families; each declares its commands beside their code.
const FAMILIES: &[&[Command]] = &[
    bitmap::COMMANDS,
    bitmap::bitfield::COMMANDS,
    connection::COMMANDS,
    connection::LOGIN_COMMANDS,
    connection::client::COMMANDS,
    generic::COMMANDS,
    generic::expire::COMMANDS,
    generic::flush::COMMANDS,
    generic::object::COMMANDS,
    generic::rename::COMMANDS,
    generic::sort::COMMANDS,
    hash::COMMANDS,
    list::COMMANDS,
    pubsub::COMMANDS,
    scripting::COMMANDS,
    server::COMMANDS,
    server::access::COMMANDS,
    server::alone::COMMANDS,
    server::config::COMMANDS,
    server::diagnosis::COMMANDS,
    server::table::COMMANDS,
    set::COMMANDS,
    set::combine::COMMANDS,
    string::COMMANDS,
    string::counter::COMMANDS,
    string::lcs::COMMANDS,
    string::part::COMMANDS,
    transaction::COMMANDS,
    zset::combine::COMMANDS,
    zset::members::COMMANDS,
    zset::pop::COMMANDS,
    zset::range::COMMANDS,
    zset::remove::COMMANDS,
    zset::write::COMMANDS,
];

/// No command's name is longer, its subcommand's included.
const NAME_BYTES_MAX: usize = 40;
/// So much of a wrong request is told back, as Redis does.
const SHOWN_BYTES_MAX: usize = 128;

/// A command with what follows from its declaration, so that a request does not work it out again.
#[derive(Debug)]
struct Entry {
    command: &'static Command,
    arity: i32,
    is_container: bool,
}

static TABLE: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let families = FAMILIES.iter().chain(job::FAMILIES);
    let mut commands: Vec<&'static Command> = families.flat_map(|family| family.iter()).collect();
    commands.sort_by_key(|command| command.name);
    let is_container = |name| commands.iter().any(|other| other.parent().is_some_and(|(parent, _)| parent == name));
    commands
        .iter()
        .map(|command| Entry { command, arity: command.arity(), is_container: is_container(command.name) })
        .collect()
});

/// All commands and subcommands, sorted by name.
pub fn table() -> impl Iterator<Item = &'static Command> {
    TABLE.iter().map(|entry| entry.command)
}

/// Finds a command by its name in lower case, subcommands as `parent|name`.
pub fn by_name(name: &[u8]) -> Option<&'static Command> {
    entry(name).map(|entry| entry.command)
}

/// The places of all names by their hash, since every request asks for one: twice as many places as names at least.
static PLACES: LazyLock<HashTable<&'static Entry>> = LazyLock::new(|| {
    let mut places = HashTable::with_capacity(TABLE.len() * 2);
    for entry in TABLE.iter() {
        places.insert_unique(hash_of(entry.command.name.as_bytes()), entry, |entry| {
            hash_of(entry.command.name.as_bytes())
        });
    }
    places
});

fn entry(name: &[u8]) -> Option<&'static Entry> {
    PLACES.find(hash_of(name), |entry| entry.command.name.as_bytes() == name).copied()
}

fn hash_of(name: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name)
}

/// Finds the command of a request and checks the number of its arguments.
pub fn find(request: &[Bytes]) -> Result<&'static Command, Error> {
    let mut buffer = [0; NAME_BYTES_MAX];
    let name = &request[0];
    let found = lowered(&mut buffer, name, b"").and_then(entry).ok_or_else(|| unknown(request))?;
    if request.len() > 1 && found.is_container {
        let subcommand = lowered(&mut buffer, name, &request[1]).and_then(entry);
        return checked(subcommand.ok_or_else(|| unknown_subcommand(found.command, request))?, request);
    }
    checked(found, request)
}

fn checked(entry: &'static Entry, request: &[Bytes]) -> Result<&'static Command, Error> {
    let given = request.len() as i32;
    if entry.arity >= 0 && given != entry.arity || given < -entry.arity {
        return Err(Error::new(format!("ERR wrong number of arguments for '{}' command", entry.command.name)));
    }
    Ok(entry.command)
}

fn lowered<'a>(buffer: &'a mut [u8; NAME_BYTES_MAX], name: &[u8], subcommand: &[u8]) -> Option<&'a [u8]> {
    let parts: [&[u8]; 3] = [name, if subcommand.is_empty() { b"" } else { b"|" }, subcommand];
    let mut end = 0;
    for part in parts {
        buffer.get_mut(end..end + part.len())?.copy_from_slice(part);
        end += part.len();
    }
    buffer[..end].make_ascii_lowercase();
    Some(&buffer[..end])
}

fn unknown(request: &[Bytes]) -> Error {
    let mut arguments = Vec::new();
    for argument in &request[1..] {
        if arguments.len() >= SHOWN_BYTES_MAX {
            break;
        }
        let shown = shown(argument, SHOWN_BYTES_MAX - arguments.len());
        arguments.extend_from_slice(&[b"'", shown, b"' "].concat());
    }
    Error::new(format!(
        "ERR unknown command '{}', with args beginning with: {}",
        String::from_utf8_lossy(shown(&request[0], SHOWN_BYTES_MAX)),
        String::from_utf8_lossy(&arguments)
    ))
}

/// What Redis shows of a word: its beginning, up to a zero byte.
fn shown(text: &[u8], bytes_max: usize) -> &[u8] {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    &text[..text.len().min(bytes_max)]
}

fn unknown_subcommand(container: &Command, request: &[Bytes]) -> Error {
    Error::new(format!(
        "ERR unknown subcommand '{}'. Try {} HELP.",
        String::from_utf8_lossy(shown(&request[1], SHOWN_BYTES_MAX)),
        container.name.to_uppercase()
    ))
}
