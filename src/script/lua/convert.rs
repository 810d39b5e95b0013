//! Values between Redis and Lua, after the table in Redis' documentation of the Lua API.

use bytes::Bytes;

use super::context::Context;
use super::raw::{self, State, ffi};
use crate::resp::{DOUBLE_BYTES_MAX, Error, Protocol, Reply, write_double};

/// How deep a reply may be nested. Redis stops at what Lua's stack bears, some thousands; clients stop earlier (hiredis
/// at 9), and each level takes a piece of the C stack.
const DEPTH_MAX: usize = 128;

/// How deep replies nearly always are; a deeper one is read a second time, with a larger Lua stack.
const DEPTH_USUAL: usize = 8;

/// Stack slots that one level of a reply takes while it is read.
const SLOTS_A_LEVEL: usize = 4;

/// What a value is counted as beyond its bytes: about what a `Reply` takes.
const VALUE_BYTES: usize = 48;

/// Pushes a reply as the value that `redis.call` returns.
pub unsafe fn push_reply(lua: State, reply: &Reply, protocol: Protocol) {
    ffi::luaL_checkstack(lua, 6, c"reply nested too deeply".as_ptr());
    let resp3 = protocol == Protocol::Resp3;
    match reply {
        Reply::Ok => push_field(lua, "ok", b"OK"),
        Reply::Status(text) => push_field(lua, "ok", text),
        Reply::Error(error) => push_command_error(lua, error),
        Reply::Integer(value) => ffi::lua_pushnumber(lua, *value as f64),
        Reply::Double(value) => push_double(lua, *value, resp3),
        Reply::Bulk(bytes) => raw::push(lua, bytes),
        Reply::Verbatim(bytes) if resp3 => {
            ffi::lua_createtable(lua, 0, 0);
            push_field(lua, "string", bytes);
            raw::push(lua, b"txt");
            raw::set(lua, "format");
            raw::set(lua, "verbatim_string");
        }
        Reply::Verbatim(bytes) => raw::push(lua, bytes),
        Reply::Null | Reply::NullArray if resp3 => ffi::lua_pushnil(lua),
        Reply::Null | Reply::NullArray | Reply::Silent => ffi::lua_pushboolean(lua, 0),
        Reply::Array(items) | Reply::Push(items) | Reply::Many(items) => push_items(lua, items, protocol),
        Reply::Set(items) if resp3 => {
            ffi::lua_createtable(lua, 0, 0);
            ffi::lua_createtable(lua, 0, 0);
            for item in items {
                push_reply(lua, item, protocol);
                ffi::lua_pushboolean(lua, 1);
                ffi::lua_rawset(lua, -3);
            }
            raw::set(lua, "set");
        }
        Reply::Set(items) => push_items(lua, items, protocol),
        Reply::Map(pairs) if resp3 => {
            ffi::lua_createtable(lua, 0, 0);
            ffi::lua_createtable(lua, 0, 0);
            for (key, value) in pairs {
                push_reply(lua, key, protocol);
                push_reply(lua, value, protocol);
                ffi::lua_rawset(lua, -3);
            }
            raw::set(lua, "map");
        }
        Reply::Pairs(pairs) if resp3 => {
            ffi::lua_createtable(lua, 0, 0);
            for (index, (first, second)) in pairs.iter().enumerate() {
                ffi::lua_createtable(lua, 0, 0);
                push_reply(lua, first, protocol);
                ffi::lua_rawseti_(lua, -2, 1);
                push_reply(lua, second, protocol);
                ffi::lua_rawseti_(lua, -2, 2);
                ffi::lua_rawseti_(lua, -2, index as i32 + 1);
            }
        }
        Reply::Map(pairs) | Reply::Pairs(pairs) => {
            ffi::lua_createtable(lua, 0, 0);
            for (index, (key, value)) in pairs.iter().enumerate() {
                push_reply(lua, key, protocol);
                ffi::lua_rawseti_(lua, -2, 2 * index as i32 + 1);
                push_reply(lua, value, protocol);
                ffi::lua_rawseti_(lua, -2, 2 * index as i32 + 2);
            }
        }
        Reply::Scored(members) => push_scored(lua, members, resp3),
    }
}

/// Reads the value on top of the stack as the script's reply. Never raises.
pub unsafe fn read(lua: State, context: *mut Context) -> Reply {
    let top = ffi::lua_gettop(lua);
    for depth_max in [DEPTH_USUAL, DEPTH_MAX] {
        // May raise, so nothing is built yet.
        if ffi::lua_checkstack(lua, ((depth_max + 1) * SLOTS_A_LEVEL) as i32) == 0 {
            break;
        }
        let mut reading = Reading { context, bytes_left: (*context).values_bytes_max };
        let read = reading.value(lua, depth_max);
        ffi::lua_settop(lua, top);
        match read {
            Ok(reply) => return reply,
            Err(Unreadable::TooDeep) => {}
            Err(Unreadable::TooLarge) => {
                let bytes_max = (*context).values_bytes_max;
                return Reply::Error(Error::new(format!("ERR the script's reply takes more than {bytes_max} bytes")));
            }
        }
    }
    Reply::Error(Error::new("ERR reached lua stack limit"))
}

unsafe fn push_items(lua: State, items: &[Reply], protocol: Protocol) {
    ffi::lua_createtable(lua, 0, 0);
    for (index, item) in items.iter().enumerate() {
        push_reply(lua, item, protocol);
        ffi::lua_rawseti_(lua, -2, index as i32 + 1);
    }
}

unsafe fn push_scored(lua: State, members: &[(Bytes, f64)], resp3: bool) {
    ffi::lua_createtable(lua, 0, 0);
    for (index, (member, score)) in members.iter().enumerate() {
        if resp3 {
            ffi::lua_createtable(lua, 0, 0);
            raw::push(lua, member);
            ffi::lua_rawseti_(lua, -2, 1);
            push_double(lua, *score, true);
            ffi::lua_rawseti_(lua, -2, 2);
            ffi::lua_rawseti_(lua, -2, index as i32 + 1);
        } else {
            raw::push(lua, member);
            ffi::lua_rawseti_(lua, -2, 2 * index as i32 + 1);
            push_double(lua, *score, false);
            ffi::lua_rawseti_(lua, -2, 2 * index as i32 + 2);
        }
    }
}

unsafe fn push_double(lua: State, value: f64, resp3: bool) {
    if resp3 {
        ffi::lua_createtable(lua, 0, 0);
        ffi::lua_pushnumber(lua, value);
        raw::set(lua, "double");
    } else {
        let mut text = [0; DOUBLE_BYTES_MAX];
        raw::push(lua, write_double(value, &mut text));
    }
}

unsafe fn push_field(lua: State, name: &str, text: &[u8]) {
    ffi::lua_createtable(lua, 0, 0);
    raw::push(lua, text);
    raw::set(lua, name);
}

/// Pushes the table of an error that a command replied; one that is a code without a sentence gets the code ERR.
unsafe fn push_command_error(lua: State, error: &Error) {
    ffi::lua_createtable(lua, 0, 0);
    if error.line().contains(' ') {
        raw::push(lua, error.line().as_bytes());
    } else {
        raw::push(lua, b"ERR ");
        raw::push(lua, error.line().as_bytes());
        ffi::lua_concat(lua, 2);
    }
    raw::set(lua, "err");
    // Redis' own mark for errors that the command has counted already.
    ffi::lua_pushboolean(lua, 1);
    raw::set(lua, "ignore_error_stats_update");
}

enum Unreadable {
    TooDeep,
    TooLarge,
}

/// One reading of a reply. It calls nothing that raises: the replies in its hands have destructors.
struct Reading {
    context: *mut Context,
    bytes_left: usize,
}

impl Reading {
    /// Reads the value on top of the stack and leaves it there; on failure more may be left.
    unsafe fn value(&mut self, lua: State, depth_left: usize) -> Result<Reply, Unreadable> {
        self.spend(VALUE_BYTES)?;
        Ok(match ffi::lua_type(lua, -1) {
            ffi::LUA_TSTRING => Reply::Bulk(self.bytes(lua)?),
            ffi::LUA_TNUMBER => Reply::Integer(truncated(ffi::lua_tonumber(lua, -1))),
            ffi::LUA_TBOOLEAN if ffi::lua_toboolean(lua, -1) != 0 => Reply::Integer(1),
            ffi::LUA_TTABLE if depth_left == 0 => return Err(Unreadable::TooDeep),
            ffi::LUA_TTABLE => self.table(lua, depth_left - 1)?,
            _ => Reply::Null,
        })
    }

    unsafe fn table(&mut self, lua: State, depth_left: usize) -> Result<Reply, Unreadable> {
        let names = &raw const (*self.context).names;
        if self.field(lua, (*names).err) == ffi::LUA_TSTRING {
            let line = self.bytes(lua)?;
            ffi::lua_settop(lua, -2);
            let line = String::from_utf8_lossy(&line);
            return Ok(Reply::Error(Error::new(line.trim_end_matches(['\r', '\n']).to_owned())));
        }
        ffi::lua_settop(lua, -2);
        if self.field(lua, (*names).ok) == ffi::LUA_TSTRING {
            let status = self.bytes(lua)?;
            ffi::lua_settop(lua, -2);
            return Ok(Reply::Status(without_line_breaks(status)));
        }
        ffi::lua_settop(lua, -2);
        if self.field(lua, (*names).double) == ffi::LUA_TNUMBER {
            let value = ffi::lua_tonumber(lua, -1);
            ffi::lua_settop(lua, -2);
            return Ok(Reply::Double(value));
        }
        ffi::lua_settop(lua, -2);
        if self.field(lua, (*names).big_number) == ffi::LUA_TSTRING {
            let digits = self.bytes(lua)?;
            ffi::lua_settop(lua, -2);
            return Ok(Reply::Bulk(without_line_breaks(digits)));
        }
        ffi::lua_settop(lua, -2);
        if self.field(lua, (*names).verbatim_string) == ffi::LUA_TTABLE {
            if self.field(lua, (*names).string) == ffi::LUA_TSTRING {
                let text = self.bytes(lua)?;
                ffi::lua_settop(lua, -3);
                return Ok(Reply::Verbatim(text));
            }
            ffi::lua_settop(lua, -2);
        }
        ffi::lua_settop(lua, -2);
        if self.field(lua, (*names).map) == ffi::LUA_TTABLE {
            let map = self.map(lua, depth_left);
            ffi::lua_settop(lua, -2);
            return map.map(Reply::Map);
        }
        ffi::lua_settop(lua, -2);
        if self.field(lua, (*names).set) == ffi::LUA_TTABLE {
            let set = self.set(lua, depth_left);
            ffi::lua_settop(lua, -2);
            return set.map(Reply::Set);
        }
        ffi::lua_settop(lua, -2);
        self.array(lua, depth_left)
    }

    unsafe fn array(&mut self, lua: State, depth_left: usize) -> Result<Reply, Unreadable> {
        let mut items = Vec::new();
        loop {
            ffi::lua_rawgeti_(lua, -1, items.len() as i32 + 1);
            if ffi::lua_type(lua, -1) == ffi::LUA_TNIL {
                ffi::lua_settop(lua, -2);
                return Ok(Reply::Array(items));
            }
            items.push(self.value(lua, depth_left)?);
            ffi::lua_settop(lua, -2);
        }
    }

    unsafe fn map(&mut self, lua: State, depth_left: usize) -> Result<Vec<(Reply, Reply)>, Unreadable> {
        let mut pairs = Vec::new();
        ffi::lua_pushnil(lua);
        while ffi::lua_next(lua, -2) != 0 {
            let value = self.value(lua, depth_left)?;
            ffi::lua_settop(lua, -2);
            pairs.push((self.value(lua, depth_left)?, value));
        }
        Ok(pairs)
    }

    unsafe fn set(&mut self, lua: State, depth_left: usize) -> Result<Vec<Reply>, Unreadable> {
        let mut items = Vec::new();
        ffi::lua_pushnil(lua);
        while ffi::lua_next(lua, -2) != 0 {
            ffi::lua_settop(lua, -2);
            items.push(self.value(lua, depth_left)?);
        }
        Ok(items)
    }

    /// Pushes a field of the table on top of the stack, and returns its type.
    unsafe fn field(&self, lua: State, name: i32) -> i32 {
        raw::push_kept(lua, name);
        ffi::lua_rawget_(lua, -2);
        ffi::lua_type(lua, -1)
    }

    unsafe fn bytes(&mut self, lua: State) -> Result<Bytes, Unreadable> {
        let bytes = raw::bytes_at(lua, -1).unwrap_or_default();
        self.spend(bytes.len())?;
        Ok(Bytes::copy_from_slice(bytes))
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Unreadable> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or(Unreadable::TooLarge)?;
        Ok(())
    }
}

/// A number as C converts it: towards zero, and to the smallest integer where none fits.
fn truncated(number: f64) -> i64 {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if (-BEYOND..BEYOND).contains(&number) { number as i64 } else { i64::MIN }
}

fn without_line_breaks(text: Bytes) -> Bytes {
    if text.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        text.iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }).collect()
    } else {
        text
    }
}
