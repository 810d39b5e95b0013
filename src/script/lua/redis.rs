//! The table `redis`, and the `math.random` that Redis replaces.

use std::os::raw::c_int;

use bytes::Bytes;

use super::context::Context;
use super::random::Random;
use super::raw::{self, Native, State, ffi};
use super::{Text, convert};
use crate::resp::{DOUBLE_BYTES_MAX, Protocol, Reply, write_double};
use crate::script::Called;

/// The version that Millpond answers to.
const VERSION: &str = "7.2.4";
const VERSION_NUMBER: f64 = 0x0007_0204 as f64;

const FUNCTIONS: [(&str, Native); 11] = [
    ("call", call),
    ("pcall", protected_call),
    ("log", log),
    ("sha1hex", sha1hex),
    ("error_reply", error_reply),
    ("status_reply", status_reply),
    ("replicate_commands", replicate_commands),
    ("set_repl", set_repl),
    ("setresp", setresp),
    ("breakpoint", breakpoint),
    ("debug", debug),
];

const NUMBERS: [(&str, f64); 10] = [
    ("LOG_DEBUG", 0.0),
    ("LOG_VERBOSE", 1.0),
    ("LOG_NOTICE", 2.0),
    ("LOG_WARNING", 3.0),
    ("REPL_NONE", 0.0),
    ("REPL_AOF", 1.0),
    ("REPL_SLAVE", 2.0),
    ("REPL_REPLICA", 2.0),
    ("REPL_ALL", 3.0),
    ("REDIS_VERSION_NUM", VERSION_NUMBER),
];

/// Pushes the table `redis`.
pub unsafe fn open(lua: State, context: *mut Context) {
    ffi::lua_createtable(lua, 0, 0);
    for (name, native) in FUNCTIONS {
        raw::push_native(lua, context, native, 0);
        raw::set(lua, name);
    }
    for (name, number) in NUMBERS {
        ffi::lua_pushnumber(lua, number);
        raw::set(lua, name);
    }
    raw::push(lua, VERSION.as_bytes());
    raw::set(lua, "REDIS_VERSION");
}

/// Puts `random` and `randomseed` into the table on top of the stack.
pub unsafe fn open_random(lua: State, context: *mut Context) {
    raw::push_native(lua, context, random, 0);
    raw::set(lua, "random");
    raw::push_native(lua, context, randomseed, 0);
    raw::set(lua, "randomseed");
}

unsafe extern "C-unwind" fn call(lua: State) -> c_int {
    if command(lua) { ffi::lua_error(lua) } else { 1 }
}

unsafe extern "C-unwind" fn protected_call(lua: State) -> c_int {
    command(lua);
    1
}

/// Runs the command in the arguments, pushes its reply, and tells whether that is an error.
unsafe fn command(lua: State) -> bool {
    let context = raw::context(lua);
    match hand_over(lua, context) {
        Handed::Answered => {}
        Handed::Refused(line) => {
            raw::push_error(lua, line);
            return true;
        }
        Handed::Stop => raw::stop(lua, context),
    }
    ffi::lua_settop(lua, 0);
    let mut failed = false;
    if let Some(reply) = &(*context).reply {
        failed = matches!(reply, Reply::Error(_));
        convert::push_reply(lua, reply, (*context).protocol);
    }
    (*context).reply = None;
    failed
}

enum Handed {
    /// The reply waits in the context.
    Answered,
    Refused(&'static [u8]),
    Stop,
}

/// Hands the arguments to the host. Never raises: it owns them meanwhile.
unsafe fn hand_over(lua: State, context: *mut Context) -> Handed {
    let count = ffi::lua_gettop(lua);
    if count == 0 {
        return Handed::Refused(b"ERR Please specify at least one argument for this redis lib call");
    }
    let mut args = Vec::with_capacity(count as usize);
    let mut bytes_left = (*context).values_bytes_max;
    for index in 1..=count {
        let mut text = [0; DOUBLE_BYTES_MAX];
        let arg = match ffi::lua_type(lua, index) {
            ffi::LUA_TNUMBER => write_double(ffi::lua_tonumber(lua, index), &mut text),
            ffi::LUA_TSTRING => raw::bytes_at(lua, index).unwrap_or_default(),
            _ => return Handed::Refused(b"ERR Lua redis lib command arguments must be strings or integers"),
        };
        match bytes_left.checked_sub(arg.len()) {
            Some(left) => bytes_left = left,
            None => return Handed::Refused(b"ERR the command's arguments take more memory than Lua may hold"),
        }
        args.push(Bytes::copy_from_slice(arg));
    }
    match Context::ask(context, |host| host.call(args)) {
        Some(Called::Reply(reply)) => {
            (*context).reply = Some(reply);
            Handed::Answered
        }
        Some(Called::Stop) | None => Handed::Stop,
    }
}

unsafe extern "C-unwind" fn log(lua: State) -> c_int {
    let context = raw::context(lua);
    let count = ffi::lua_gettop(lua);
    if count < 2 {
        raw::raise_table(lua, b"ERR redis.log() requires two arguments or more.");
    }
    if ffi::lua_isnumber(lua, 1) == 0 {
        raw::raise_table(lua, b"ERR First argument must be a number (log level).");
    }
    let level = ffi::lua_tonumber(lua, 1) as i64;
    if !(0..=3).contains(&level) {
        raw::raise_table(lua, b"ERR Invalid debug level.");
    }
    (*context).text.clear();
    for index in 2..=count {
        if let Some(part) = raw::text_at(lua, index) {
            let text = &mut (*context).text;
            if index > 2 {
                text.push(b' ');
            }
            text.extend_from_slice(part);
        }
    }
    if tell(context, level).is_none() {
        raw::stop(lua, context);
    }
    0
}

/// Hands the text in the context to the host's log. Never raises.
unsafe fn tell(context: *mut Context, level: i64) -> Option<()> {
    let text = std::mem::take(&mut (*context).text);
    let told = Context::ask(context, |host| host.log(level, &String::from_utf8_lossy(&text)));
    (*context).text = text;
    told
}

unsafe extern "C-unwind" fn sha1hex(lua: State) -> c_int {
    if ffi::lua_gettop(lua) != 1 {
        raw::raise_table(lua, b"ERR wrong number of arguments");
    }
    let digest = sha1_smol::Sha1::from(raw::text_at(lua, 1).unwrap_or_default()).digest().bytes();
    let mut hex = [0; 40];
    for (index, byte) in digest.into_iter().enumerate() {
        hex[2 * index] = b"0123456789abcdef"[usize::from(byte >> 4)];
        hex[2 * index + 1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    raw::push(lua, &hex);
    1
}

/// Returns `{err = "CODE sentence"}`; what has no space is taken for the sentence and gets the code ERR.
unsafe extern "C-unwind" fn error_reply(lua: State) -> c_int {
    let Some(text) = only_string(lua) else { return 1 };
    let text = text.strip_prefix(b"-").unwrap_or(text);
    ffi::lua_createtable(lua, 0, 0);
    let (code, sentence) = match text.iter().position(|&byte| byte == b' ') {
        Some(space) => (&text[..space], &text[space + 1..]),
        None => (&b"ERR"[..], text),
    };
    raw::push(lua, code);
    raw::push(lua, b" ");
    raw::push(lua, trimmed(sentence));
    ffi::lua_concat(lua, 3);
    raw::set(lua, "err");
    1
}

unsafe extern "C-unwind" fn status_reply(lua: State) -> c_int {
    if only_string(lua).is_none() {
        return 1;
    }
    ffi::lua_createtable(lua, 0, 0);
    ffi::lua_pushvalue(lua, 1);
    raw::set(lua, "ok");
    1
}

/// Returns the one argument if it is a string, and pushes an error table otherwise.
unsafe fn only_string<'a>(lua: State) -> Option<&'a [u8]> {
    let text = if ffi::lua_gettop(lua) == 1 { raw::bytes_at(lua, 1) } else { None };
    if text.is_none() {
        raw::push_error(lua, b"ERR wrong number or type of arguments");
    }
    text
}

fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [b'\r' | b'\n', rest @ ..] | [rest @ .., b'\r' | b'\n'] = text {
        text = rest;
    }
    text
}

/// Effects are all that Millpond ever logs, so what this once switched on is always on.
unsafe extern "C-unwind" fn replicate_commands(lua: State) -> c_int {
    ffi::lua_pushboolean(lua, 1);
    1
}

/// Checks its argument and does nothing: all effects go to the one log.
unsafe extern "C-unwind" fn set_repl(lua: State) -> c_int {
    if ffi::lua_gettop(lua) != 1 {
        raw::raise_table(lua, b"ERR redis.set_repl() requires two arguments.");
    }
    if !(0..=3).contains(&(ffi::lua_tonumber(lua, 1) as i64)) {
        raw::raise_table(lua, b"ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.");
    }
    0
}

unsafe extern "C-unwind" fn setresp(lua: State) -> c_int {
    if ffi::lua_gettop(lua) != 1 {
        raw::raise_table(lua, b"ERR redis.setresp() requires one argument.");
    }
    (*raw::context(lua)).protocol = match ffi::lua_tonumber(lua, 1) as i64 {
        2 => Protocol::Resp2,
        3 => Protocol::Resp3,
        _ => raw::raise_table(lua, b"ERR RESP version must be 2 or 3."),
    };
    0
}

/// There is no Lua debugger, as in a Redis session without one.
unsafe extern "C-unwind" fn breakpoint(lua: State) -> c_int {
    ffi::lua_pushboolean(lua, 0);
    1
}

unsafe extern "C-unwind" fn debug(_lua: State) -> c_int {
    0
}

unsafe extern "C-unwind" fn random(lua: State) -> c_int {
    let drawn = (*raw::context(lua)).random.draw();
    let (low, high) = match ffi::lua_gettop(lua) {
        0 => {
            ffi::lua_pushnumber(lua, drawn);
            return 1;
        }
        1 => (1, ffi::luaL_checkinteger(lua, 1) as i32),
        2 => (ffi::luaL_checkinteger(lua, 1) as i32, ffi::luaL_checkinteger(lua, 2) as i32),
        _ => raw::raise(lua, b"wrong number of arguments"),
    };
    if low > high {
        ffi::luaL_argerror(lua, ffi::lua_gettop(lua), c"interval is empty".as_ptr());
    }
    let width = f64::from(high) - f64::from(low) + 1.0;
    ffi::lua_pushnumber(lua, (drawn * width).floor() + f64::from(low));
    1
}

unsafe extern "C-unwind" fn randomseed(lua: State) -> c_int {
    let seed = ffi::luaL_checkinteger(lua, 1) as i32;
    (*raw::context(lua)).random = Random::seeded(seed);
    0
}

/// Says that a global does not exist; `__index` of the globals.
pub unsafe extern "C-unwind" fn nonexistent_global(lua: State) -> c_int {
    match raw::text_at(lua, 2) {
        Some(name) => {
            let name = String::from_utf8_lossy(&name[..name.len().min(GLOBAL_NAME_SHOWN_BYTES)]);
            let text = Text::new(format_args!("Script attempted to access nonexistent global variable '{name}'"));
            drop(name);
            raw::raise(lua, text.bytes())
        }
        None => raw::raise(lua, b"the name of a global variable must be a string or number"),
    }
}

/// How much of a global's name an error shows.
const GLOBAL_NAME_SHOWN_BYTES: usize = 100;
