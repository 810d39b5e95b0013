//! Lua 5.1 scripts as Redis 7.2 runs them. A leaf: it is handed a [`Host`] that runs commands, and knows nothing of keys.
//!
//! [`Engine`] keeps the sources by their SHA1 and one Lua state, in which each script is compiled once. What a script
//! sees (globals, `redis.*`, `cjson`) and how values are converted is in `lua/`, the only place with `unsafe`.

mod lua;
mod shebang;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::resp::{Error, Reply};
use lua::{Ended, Machine, Reference, Refused};
pub use shebang::Flags;

/// The SHA1 of a script's source as 40 lower-case hexadecimal digits.
pub type Sha = String;

/// What Lua may hold unless the host says otherwise.
pub const MEMORY_BYTES_MAX: usize = 64 << 20;

/// What the kept sources may hold together; the oldest are forgotten first, which Redis' script cache allows as well.
const SOURCES_BYTES_MAX: usize = 64 << 20;

/// How many scripts stay compiled. Clients that generate their scripts would fill Lua's memory otherwise; a dropped one
/// is compiled again when it next runs.
const COMPILED_MAX: usize = 1000;

/// How an [`Engine`] reaches the world while a script runs.
pub trait Host {
    /// Runs one command.
    fn call(&mut self, args: Vec<Bytes>) -> Called;

    /// Takes a line of `redis.log`; the level is 0 (debug) to 3 (warning).
    fn log(&mut self, level: i64, text: &str);

    /// Tells whether the script is to be abandoned; asked every 100,000 instructions.
    fn interrupted(&mut self) -> bool;
}

/// What a [`Host`] answers to a command.
#[derive(Debug)]
pub enum Called {
    Reply(Reply),
    /// The script is to be abandoned at once: it met data that must be fetched first, or it was killed.
    Stop,
}

/// How a run ended.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    Reply(Reply),
    /// The host abandoned the script.
    Stopped,
}

/// The scripts and the Lua state that runs them.
///
/// One script runs at a time. Nothing that a script does is seen by the next one: it cannot set a global, change a
/// library, or leave a seed or a setting behind.
pub struct Engine {
    machine: Option<Machine>,
    scripts: HashMap<Sha, Script>,
    /// Oldest first; what is forgotten when the sources take too much memory.
    order: VecDeque<Sha>,
    sources_bytes: usize,
    compiled: usize,
    memory_bytes_max: usize,
}

struct Script {
    source: Arc<[u8]>,
    /// Where the Lua text begins: after the `#!` line, at its line break so that line numbers stay right.
    body: usize,
    flags: Flags,
    function: Option<Reference>,
}

impl Default for Engine {
    fn default() -> Engine {
        Engine::new()
    }
}

impl Engine {
    /// Makes an engine without scripts; Lua itself is started by the first of them.
    pub fn new() -> Engine {
        Engine {
            machine: None,
            scripts: HashMap::new(),
            order: VecDeque::new(),
            sources_bytes: 0,
            compiled: 0,
            memory_bytes_max: MEMORY_BYTES_MAX,
        }
    }

    /// Sets what Lua may hold, compiled scripts and garbage included.
    pub fn set_memory_limit(&mut self, bytes: usize) {
        self.memory_bytes_max = bytes;
        if let Some(machine) = &mut self.machine {
            machine.set_memory_limit(bytes);
        }
    }

    /// The bytes that Lua holds now.
    pub fn memory_bytes(&self) -> usize {
        self.machine.as_ref().map_or(0, Machine::memory_bytes)
    }

    /// The bytes of the kept sources.
    pub fn sources_bytes(&self) -> usize {
        self.sources_bytes
    }

    /// The number of kept scripts.
    pub fn len(&self) -> usize {
        self.scripts.len()
    }

    /// Tells whether no script is kept.
    pub fn is_empty(&self) -> bool {
        self.scripts.is_empty()
    }

    /// Compiles and keeps a script, as SCRIPT LOAD and EVAL do.
    ///
    /// A script that is kept already costs its SHA1.
    pub fn load(&mut self, source: &[u8]) -> Result<Sha, Error> {
        let sha = sha1_smol::Sha1::from(source).digest().to_string();
        if self.scripts.contains_key(&sha) {
            return Ok(sha);
        }
        let (body, flags) = shebang::read(source)?;
        let bytes_max = SOURCES_BYTES_MAX;
        if source.len() > bytes_max {
            return Err(Error::new(format!(
                "ERR script is longer than the {bytes_max} bytes that are kept of scripts"
            )));
        }
        let function = self.compile(&source[body..])?;
        while self.sources_bytes + source.len() > bytes_max {
            self.forget_oldest();
        }
        self.sources_bytes += source.len();
        self.order.push_back(sha.clone());
        self.scripts.insert(sha.clone(), Script { source: source.into(), body, flags, function: Some(function) });
        Ok(sha)
    }

    /// Tells whether a script is kept; the SHA1 in any letter case.
    pub fn exists(&self, sha: &str) -> bool {
        self.script(sha).is_some()
    }

    /// The text of a kept script.
    pub fn source(&self, sha: &str) -> Option<&[u8]> {
        self.script(sha).map(|(_, script)| &*script.source)
    }

    /// What a kept script says of itself in its `#!` line.
    pub fn flags(&self, sha: &str) -> Option<Flags> {
        self.script(sha).map(|(_, script)| script.flags)
    }

    /// Forgets all scripts and the Lua state with them.
    pub fn flush(&mut self) {
        *self = Engine { memory_bytes_max: self.memory_bytes_max, ..Engine::new() };
    }

    /// Runs a kept script to its end.
    ///
    /// An unknown SHA1 is answered with Redis' NOSCRIPT error. If the host panics, the panic goes on here once Lua has
    /// been unwound.
    pub fn run(&mut self, sha: &str, keys: &[Bytes], args: &[Bytes], host: &mut dyn Host) -> Outcome {
        let Some((sha, function)) = self.script(sha).map(|(sha, script)| (sha.clone(), script.function)) else {
            return Outcome::Reply(Reply::Error(Error::new("NOSCRIPT No matching script. Please use EVAL.")));
        };
        let function = match function {
            Some(function) => function,
            None => match self.compile_again(&sha) {
                Ok(function) => function,
                Err(error) => return Outcome::Reply(Reply::Error(error)),
            },
        };
        let machine = self.machine.as_mut().expect("a compiled script lives in a machine");
        let ended = machine.run(function, keys, args, host);
        self.tidy();
        match ended {
            Ended::Reply(reply) => Outcome::Reply(reply),
            Ended::Stopped => Outcome::Stopped,
            Ended::Failed(message) => Outcome::Reply(Reply::Error(with_place(message, &sha))),
            Ended::OutOfMemory => Outcome::Reply(Reply::Error(Error::new(format!(
                "{} script: {sha}",
                out_of_memory(self.memory_bytes_max)
            )))),
        }
    }

    fn script(&self, sha: &str) -> Option<(&Sha, &Script)> {
        self.scripts.get_key_value(sha).or_else(|| self.scripts.get_key_value(&sha.to_ascii_lowercase()))
    }

    fn compile_again(&mut self, sha: &str) -> Result<Reference, Error> {
        let script = &self.scripts[sha];
        let (source, body) = (Arc::clone(&script.source), script.body);
        let function = self.compile(&source[body..])?;
        self.scripts.get_mut(sha).expect("nothing was forgotten meanwhile").function = Some(function);
        Ok(function)
    }

    fn compile(&mut self, body: &[u8]) -> Result<Reference, Error> {
        if self.compiled >= COMPILED_MAX {
            self.drop_compiled();
        }
        let machine = self.machine.get_or_insert_with(|| Machine::new(self.memory_bytes_max));
        let mut compiled = machine.compile(body);
        if matches!(compiled, Err(Refused::OutOfMemory)) {
            self.drop_compiled();
            compiled = self.machine.as_mut().expect("it was made above").compile(body);
        }
        self.compiled += 1;
        compiled.map_err(|refused| match refused {
            Refused::Syntax(message) => {
                Error::new(format!("ERR Error compiling script (new function): {}", message.trim_end()))
            }
            Refused::OutOfMemory => Error::new(out_of_memory(self.memory_bytes_max)),
        })
    }

    /// Collects garbage when Lua's own pace has let it come near the limit.
    ///
    /// Lua 5.1 fails an allocation that meets the limit without collecting first, so the garbage of one script must not
    /// be what the next one fails for.
    fn tidy(&mut self) {
        let quarter = self.memory_bytes_max / 4;
        let machine = self.machine.as_mut().expect("a script ran in it");
        if machine.memory_bytes() > quarter {
            machine.collect();
            if machine.memory_bytes() > quarter {
                self.drop_compiled();
            }
        }
    }

    fn drop_compiled(&mut self) {
        // A state with nothing in it costs less than releasing a thousand functions one by one.
        self.machine = Some(Machine::new(self.memory_bytes_max));
        self.compiled = 0;
        for script in self.scripts.values_mut() {
            script.function = None;
        }
    }

    fn forget_oldest(&mut self) {
        let sha = self.order.pop_front().expect("a source takes part in the sum until it is forgotten");
        let script = self.scripts.remove(&sha).expect("the order names kept scripts");
        self.sources_bytes -= script.source.len();
        if let (Some(function), Some(machine)) = (script.function, &mut self.machine) {
            machine.release(function);
            self.compiled -= 1;
        }
    }
}

/// Says where a script failed, as Redis does.
fn with_place(failure: lua::Failure, sha: &str) -> Error {
    let lua::Failure { message, place } = failure;
    let message = message.trim_end_matches(['\r', '\n']);
    Error::new(match place {
        Some((source, line)) => format!("{message} script: {sha}, on {source}:{line}."),
        None => format!("{message} script: {sha}"),
    })
}

fn out_of_memory(bytes_max: usize) -> String {
    format!("ERR script needs more than the {bytes_max} bytes of memory that Lua may hold")
}
