//! The functions of Lua's base and string libraries that need to know of the sandbox.
//!
//! Whatever catches errors passes a stop on, whatever goes past metatables looks for locked tables, and what could run
//! out of the C stack has a limit.

use std::os::raw::c_int;

use super::Text;
use super::context::Context;
use super::raw::{self, Native, State, ffi};
use super::sandbox::{guard, original, push_real, refuse_locked};

/// How long a pattern may be. Lua 5.1 matches by recursion, a C frame for each item of the pattern; longer ones would run
/// over the end of the stack.
const PATTERN_BYTES_MAX: usize = 4096;

/// Functions of the base library that are replaced, most of them keeping the original for the ordinary case.
const BASE: [(&str, Native); 10] = [
    ("pcall", protected_call),
    ("xpcall", handled_call),
    ("load", load),
    ("loadstring", loadstring),
    ("collectgarbage", collectgarbage),
    ("gcinfo", gcinfo),
    ("next", next),
    ("rawget", rawget),
    ("rawset", rawset),
    ("setmetatable", setmetatable),
];

/// Changes what must be changed in the real table of globals.
pub unsafe fn open(lua: State, context: *mut Context, globals: c_int) {
    raw::get(lua, globals, "next");
    let plain_next = ffi::lua_gettop(lua);
    for (name, native) in BASE {
        guard(lua, context, globals, name, native);
    }
    ffi::lua_pushvalue(lua, globals);
    raw::get(lua, globals, "next");
    ffi::lua_pushvalue(lua, plain_next);
    raw::push_native(lua, context, pairs, 2);
    raw::set(lua, "pairs");

    raw::get(lua, globals, "coroutine");
    guard(lua, context, ffi::lua_gettop(lua), "resume", resume);
    raw::get(lua, globals, "table");
    guard(lua, context, ffi::lua_gettop(lua), "insert", insert);
    raw::get(lua, globals, "string");
    let string = ffi::lua_gettop(lua);
    for (name, native) in
        [("find", find as Native), ("match", pattern), ("gmatch", pattern), ("gfind", pattern), ("gsub", pattern)]
    {
        guard(lua, context, string, name, native);
    }
    guard(lua, context, string, "rep", repeat);
    ffi::lua_settop(lua, globals);
}

/// `pcall` as Redis has it: of an error that is a table with a field `err`, the script gets the text.
unsafe extern "C-unwind" fn protected_call(lua: State) -> c_int {
    let context = raw::context(lua);
    ffi::luaL_checkany(lua, 1);
    // The results may leave no room on the stack, so the place of the verdict is taken before the call.
    ffi::lua_pushboolean(lua, 1);
    ffi::lua_insert(lua, 1);
    let status = ffi::lua_pcall(lua, ffi::lua_gettop(lua) - 2, ffi::LUA_MULTRET, 0);
    pass_stop_on(lua, context);
    if status == ffi::LUA_OK {
        return ffi::lua_gettop(lua);
    }
    if ffi::lua_type(lua, -1) == ffi::LUA_TTABLE {
        raw::push_kept(lua, (*context).names.err);
        ffi::lua_rawget_(lua, -2);
        if ffi::lua_isstring(lua, -1) != 0 {
            ffi::lua_replace(lua, -2);
        } else {
            ffi::lua_settop(lua, -2);
        }
    }
    ffi::lua_pushboolean(lua, 0);
    ffi::lua_replace(lua, 1);
    2
}

/// `xpcall`, with the difference that the handler runs after the stack was unwound: a handler that runs before, inside
/// an interrupt, could not be interrupted itself. Nothing in the sandbox can see the difference.
unsafe extern "C-unwind" fn handled_call(lua: State) -> c_int {
    let context = raw::context(lua);
    ffi::luaL_checkany(lua, 2);
    ffi::lua_settop(lua, 2);
    ffi::lua_pushboolean(lua, 1);
    ffi::lua_pushvalue(lua, 1);
    let status = ffi::lua_pcall(lua, 0, ffi::LUA_MULTRET, 0);
    pass_stop_on(lua, context);
    if status == ffi::LUA_OK {
        return ffi::lua_gettop(lua) - 2;
    }
    if status != ffi::LUA_ERRMEM {
        ffi::lua_pushvalue(lua, 2);
        ffi::lua_insert(lua, -2);
        if ffi::lua_pcall(lua, 1, 1, 0) != ffi::LUA_OK {
            pass_stop_on(lua, context);
            raw::push(lua, b"error in error handling");
            ffi::lua_replace(lua, -2);
        }
    }
    ffi::lua_pushboolean(lua, 0);
    ffi::lua_insert(lua, -2);
    2
}

unsafe extern "C-unwind" fn resume(lua: State) -> c_int {
    let context = raw::context(lua);
    let results = original(lua);
    pass_stop_on(lua, context);
    results
}

/// Raises again if the script is being abandoned.
unsafe fn pass_stop_on(lua: State, context: *mut Context) {
    if (*context).stopping {
        raw::stop(lua, context);
    }
}

unsafe extern "C-unwind" fn loadstring(lua: State) -> c_int {
    let mut len = 0;
    let start = ffi::luaL_checklstring(lua, 1, &mut len);
    let name = ffi::luaL_optlstring(lua, 2, start, std::ptr::null_mut());
    let bytecode = len > 0 && *start.cast::<u8>() == raw::BYTECODE_MARK;
    if !bytecode && ffi::luaL_loadbuffer(lua, start, len, name) == ffi::LUA_OK {
        return 1;
    }
    if bytecode {
        raw::push(lua, b"attempt to load bytecode");
    }
    ffi::lua_pushnil(lua);
    ffi::lua_insert(lua, -2);
    2
}

/// `load`: gathers the pieces first, so that bytecode cannot hide in them.
unsafe extern "C-unwind" fn load(lua: State) -> c_int {
    let context = raw::context(lua);
    ffi::luaL_checktype(lua, 1, ffi::LUA_TFUNCTION);
    ffi::lua_settop(lua, 2);
    if ffi::lua_type(lua, 2) == ffi::LUA_TNIL {
        raw::push(lua, b"=(load)");
        ffi::lua_replace(lua, 2);
    }
    raw::push(lua, b"");
    loop {
        ffi::lua_pushvalue(lua, 1);
        let status = ffi::lua_pcall(lua, 0, 1, 0);
        pass_stop_on(lua, context);
        if status == ffi::LUA_OK && ffi::lua_type(lua, -1) == ffi::LUA_TNIL {
            ffi::lua_settop(lua, 3);
            break;
        }
        let text = ffi::lua_isstring(lua, -1) != 0;
        if status == ffi::LUA_OK && !text {
            raw::push(lua, b"reader function must return a string");
        }
        if status != ffi::LUA_OK || !text {
            ffi::lua_pushnil(lua);
            ffi::lua_insert(lua, -2);
            return 2;
        }
        let end = ffi::lua_objlen(lua, -1) == 0;
        ffi::lua_concat(lua, 2);
        if end {
            break;
        }
    }
    ffi::lua_insert(lua, 2);
    ffi::lua_remove(lua, 1);
    loadstring(lua)
}

/// `collectgarbage` without the options that would slow down or stop collection for all later scripts.
unsafe extern "C-unwind" fn collectgarbage(lua: State) -> c_int {
    let option = if ffi::lua_gettop(lua) == 0 { b"collect" } else { raw::text_at(lua, 1).unwrap_or_default() };
    match option {
        b"collect" => {
            ffi::lua_gc(lua, ffi::LUA_GCCOLLECT, 0);
            ffi::lua_pushnumber(lua, 0.0);
        }
        b"step" => {
            let done = ffi::lua_gc(lua, ffi::LUA_GCSTEP, 0);
            ffi::lua_pushboolean(lua, done);
        }
        b"count" => {
            let kilobytes = f64::from(ffi::lua_gc(lua, ffi::LUA_GCCOUNT, 0));
            let bytes = f64::from(ffi::lua_gc(lua, ffi::LUA_GCCOUNTB, 0));
            ffi::lua_pushnumber(lua, kilobytes + bytes / 1024.0);
        }
        b"stop" | b"restart" | b"setpause" | b"setstepmul" => ffi::lua_pushnumber(lua, 0.0),
        _ => {
            ffi::luaL_argerror(lua, 1, c"invalid option".as_ptr());
        }
    }
    1
}

unsafe extern "C-unwind" fn gcinfo(lua: State) -> c_int {
    let kilobytes = f64::from(ffi::lua_gc(lua, ffi::LUA_GCCOUNT, 0));
    ffi::lua_pushnumber(lua, kilobytes);
    1
}

unsafe extern "C-unwind" fn next(lua: State) -> c_int {
    see_through_lock(lua);
    original(lua)
}

unsafe extern "C-unwind" fn rawget(lua: State) -> c_int {
    see_through_lock(lua);
    original(lua)
}

/// `pairs` of a locked table walks the real one, by a `next` that never shows it.
unsafe extern "C-unwind" fn pairs(lua: State) -> c_int {
    ffi::luaL_checktype(lua, 1, ffi::LUA_TTABLE);
    let locked = push_real(lua, 1);
    ffi::lua_settop(lua, 1);
    ffi::lua_pushvalue(lua, ffi::lua_upvalueindex(if locked { 2 } else { 3 }));
    ffi::lua_insert(lua, 1);
    ffi::lua_pushnil(lua);
    3
}

unsafe extern "C-unwind" fn rawset(lua: State) -> c_int {
    refuse_locked(lua);
    original(lua)
}

unsafe extern "C-unwind" fn setmetatable(lua: State) -> c_int {
    refuse_locked(lua);
    original(lua)
}

unsafe extern "C-unwind" fn insert(lua: State) -> c_int {
    refuse_locked(lua);
    original(lua)
}

/// Puts the real table in the place of a locked first argument, for a function that only reads it.
unsafe fn see_through_lock(lua: State) {
    if push_real(lua, 1) {
        ffi::lua_replace(lua, 1);
    }
}

/// `string.find`, of which a plain search may be as long as it likes.
unsafe extern "C-unwind" fn find(lua: State) -> c_int {
    if ffi::lua_toboolean(lua, 4) != 0 {
        return original(lua);
    }
    pattern(lua)
}

unsafe extern "C-unwind" fn pattern(lua: State) -> c_int {
    let pattern = raw::bytes_at(lua, 2).unwrap_or_default();
    if pattern.len() > PATTERN_BYTES_MAX && pattern.iter().any(|byte| b"^$*+?.([%-".contains(byte)) {
        let text = Text::new(format_args!("pattern is longer than {PATTERN_BYTES_MAX} bytes"));
        raw::raise(lua, text.bytes());
    }
    original(lua)
}

/// `string.rep`; nothing repeated a billion times would take a second of nothing but counting.
unsafe extern "C-unwind" fn repeat(lua: State) -> c_int {
    if raw::bytes_at(lua, 1).is_some_and(<[u8]>::is_empty) && ffi::lua_isnumber(lua, 2) != 0 {
        ffi::lua_settop(lua, 1);
        return 1;
    }
    original(lua)
}
