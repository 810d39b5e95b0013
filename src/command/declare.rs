//! What a command says about itself.

use bytes::Bytes;

use super::{Context, Outcome};

/// One command, declared beside its code.
#[derive(Clone, Copy)]
pub struct Command {
    /// Lower case; a subcommand is `parent|name`.
    pub name: &'static str,
    pub run: fn(&mut Context, &[Bytes]) -> Outcome,
    /// The arguments as the Redis command page writes them: `key [NX | XX] value [value ...]`. Arity follows from it, so
    /// what is optional stands in brackets, and alternatives of which one is needed in `<` and `>`.
    pub syntax: &'static str,
    pub summary: &'static str,
    pub since: &'static str,
    pub group: Group,
    pub complexity: &'static str,
    pub flags: &'static [Flag],
    pub keys: Keys,
    /// Request lines that are run in order on an empty database, here and on a real Redis; the replies must be equal.
    pub examples: &'static [&'static str],
}

/// The groups of the Redis command pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Bitmap,
    Connection,
    Generic,
    Hash,
    List,
    PubSub,
    Scripting,
    Server,
    Set,
    SortedSet,
    Stream,
    String,
    Transactions,
    Job,
}

impl Group {
    /// As COMMAND DOCS writes it.
    pub fn name(self) -> &'static str {
        match self {
            Group::Bitmap => "bitmap",
            Group::Connection => "connection",
            Group::Generic => "generic",
            Group::Hash => "hash",
            Group::List => "list",
            Group::PubSub => "pubsub",
            Group::Scripting => "scripting",
            Group::Server => "server",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Stream => "stream",
            Group::String => "string",
            Group::Transactions => "transactions",
            Group::Job => "job",
        }
    }
}

/// Redis' command flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    Write,
    ReadOnly,
    /// May need memory or disk: waits while the store is behind, refused when there is no room.
    DenyOom,
    Admin,
    PubSub,
    NoScript,
    Blocking,
    Loading,
    Stale,
    SkipSlowlog,
    Fast,
    NoAuth,
    NoMulti,
    AllowBusy,
    MovableKeys,
}

impl Flag {
    /// As COMMAND INFO writes it.
    pub fn name(self) -> &'static str {
        match self {
            Flag::Write => "write",
            Flag::ReadOnly => "readonly",
            Flag::DenyOom => "denyoom",
            Flag::Admin => "admin",
            Flag::PubSub => "pubsub",
            Flag::NoScript => "noscript",
            Flag::Blocking => "blocking",
            Flag::Loading => "loading",
            Flag::Stale => "stale",
            Flag::SkipSlowlog => "skip_slowlog",
            Flag::Fast => "fast",
            Flag::NoAuth => "no_auth",
            Flag::NoMulti => "no_multi",
            Flag::AllowBusy => "allow_busy",
            Flag::MovableKeys => "movablekeys",
        }
    }
}

/// Which arguments are keys. Positions count from the command's name, which is 0.
#[derive(Clone, Copy)]
pub enum Keys {
    None,
    /// From `first` to `last` in steps; a negative `last` counts from the end, -1 being the last argument.
    Range {
        first: i32,
        last: i32,
        step: i32,
    },
    /// A number at this position says how many keys follow it.
    Count {
        at: usize,
    },
    /// Something else: answers the positions.
    Find(fn(&[Bytes]) -> Vec<usize>),
}

impl Keys {
    /// The argument behind the name.
    pub const ONE: Keys = Keys::Range { first: 1, last: 1, step: 1 };
    /// Everything behind the name.
    pub const ALL: Keys = Keys::Range { first: 1, last: -1, step: 1 };

    /// The positions of the keys in a request.
    pub fn positions(&self, request: &[Bytes]) -> Vec<usize> {
        match *self {
            Keys::None => Vec::new(),
            Keys::Range { first, last, step } => {
                let last = if last < 0 { request.len() as i32 + last } else { last };
                (first..=last)
                    .step_by(step.max(1) as usize)
                    .map(|at| at as usize)
                    .filter(|at| *at < request.len())
                    .collect()
            }
            Keys::Count { at } => {
                let count = request.get(at).and_then(|text| std::str::from_utf8(text).ok()?.parse::<usize>().ok());
                (at + 1..request.len()).take(count.unwrap_or(0)).collect()
            }
            Keys::Find(find) => find(request),
        }
    }
}

impl Command {
    /// The number of arguments with the name; negative if that is the least.
    pub fn arity(&self) -> i32 {
        let words = 1 + i32::from(self.name.contains('|'));
        let (mut needed, mut depth, mut open) = (0, 0, false);
        let mut alternatives = 0;
        for token in self.syntax.split_whitespace() {
            let starts = token.starts_with('[');
            if starts {
                open = true;
                depth += token.chars().filter(|c| *c == '[').count() as i32;
            }
            if token.starts_with('<') {
                needed += i32::from(depth == 0 && alternatives == 0);
                alternatives += 1;
            }
            if depth == 0 && alternatives == 0 {
                if token == "..." {
                    open = true;
                } else {
                    needed += 1;
                }
            }
            depth -= token.chars().filter(|c| *c == ']').count() as i32;
            alternatives -= token.chars().filter(|c| *c == '>').count() as i32;
        }
        if open { -(words + needed) } else { words + needed }
    }

    pub fn has(&self, flag: Flag) -> bool {
        self.flags.contains(&flag)
    }

    /// The container's name and the subcommand's, if it is one.
    pub fn parent(&self) -> Option<(&'static str, &'static str)> {
        self.name.split_once('|')
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Command({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, syntax: &'static str, arity: i32) {
        let command = Command {
            name,
            run: |_, _| Ok(crate::resp::Reply::Ok),
            syntax,
            summary: "",
            since: "",
            group: Group::Generic,
            complexity: "",
            flags: &[],
            keys: Keys::None,
            examples: &[],
        };
        assert_eq!(command.arity(), arity, "{name} {syntax}");
    }

    #[test]
    fn arity_follows_from_the_syntax() {
        check("get", "key", 2);
        check("ping", "[message]", -1);
        check("del", "key [key ...]", -2);
        check("set", "key value [NX | XX] [GET] [EX seconds | PX milliseconds | KEEPTTL]", -3);
        check("lmove", "source destination <LEFT | RIGHT> <LEFT | RIGHT>", 5);
        check("blmpop", "timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]", -5);
        check("client|id", "", 2);
        check("client|kill", "<ip:port | <ID client-id> | <TYPE normal>>", 3);
    }
}
