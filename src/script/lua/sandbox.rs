//! What a script may see, and the locks that keep it from leaving anything behind.
//!
//! Redis patches Lua so that tables can be read-only. Here a **locked table** is an empty table before the real one: its
//! metatable sends reads to the real table and turns writes into Redis' error. The few functions of Lua that go past
//! metatables (`rawset`, `setmetatable`, `table.insert`, `next`, …) are taught to look for the lock.

use std::os::raw::{c_int, c_void};

use super::context::Context;
use super::raw::{self, Native, State, ffi};
use super::{base, json, redis};

/// Globals of Lua's own base library that scripts see; `base` changes some of them.
const BASE: [&str; 23] = [
    "_VERSION",
    "assert",
    "collectgarbage",
    "coroutine",
    "error",
    "gcinfo",
    "getmetatable",
    "ipairs",
    "load",
    "loadstring",
    "next",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawset",
    "select",
    "setmetatable",
    "tonumber",
    "tostring",
    "type",
    "unpack",
    "xpcall",
];

/// The libraries of Lua that scripts see.
const LIBRARIES: [&str; 3] = ["math", "string", "table"];

/// Where the metatable of a locked table keeps the mark by which it is known, and the real table.
const MARK_SLOT: c_int = 1;
const REAL_SLOT: c_int = 2;

const READ_ONLY: &[u8] = b"Attempt to modify a readonly table";

/// Builds the globals, locks them, and makes them the state's own; returns the real table, for KEYS and ARGV.
pub unsafe fn open(lua: State, context: *mut Context) -> c_int {
    keep_names(lua, context);
    ffi::lua_createtable(lua, 0, 0);
    let globals = ffi::lua_gettop(lua);
    for name in BASE.into_iter().chain(LIBRARIES) {
        raw::get(lua, ffi::LUA_GLOBALSINDEX, name);
        raw::set(lua, name);
    }
    base::open(lua, context, globals);
    redis::open(lua, context);
    raw::set(lua, "redis");
    json::open(lua, context);
    raw::set(lua, "cjson");
    // `cmsgpack`, `bit` and `struct` will stand here, each opened like `cjson` and locked below.
    raw::get(lua, globals, "math");
    redis::open_random(lua, context);
    ffi::lua_settop(lua, globals);

    raw::get(lua, globals, "string");
    let string = ffi::lua_gettop(lua);
    for name in ["coroutine", "redis", "cjson"].into_iter().chain(LIBRARIES) {
        raw::get(lua, globals, name);
        lock(lua, context);
        ffi::lua_pushvalue(lua, globals);
        ffi::lua_insert(lua, -2);
        raw::set(lua, name);
        ffi::lua_settop(lua, string);
    }
    lock_string_metatable(lua, context, globals, string);
    ffi::lua_settop(lua, globals);
    lock_globals(lua, context, globals)
}

/// Makes the table of globals, which is on top of the stack, what every script and coroutine starts from.
unsafe fn lock_globals(lua: State, context: *mut Context, globals: c_int) -> c_int {
    ffi::lua_createtable(lua, 0, 0);
    raw::push_native(lua, context, redis::nonexistent_global, 0);
    raw::set(lua, "__index");
    ffi::lua_setmetatable(lua, globals);
    ffi::lua_pushvalue(lua, globals);
    lock(lua, context);
    let locked = ffi::lua_gettop(lua);
    // Scripts may look at the metatable of `_G` in Redis; it is read-only like all the rest.
    ffi::lua_getmetatable(lua, locked);
    ffi::lua_createtable(lua, 0, 0);
    lock(lua, context);
    raw::set(lua, "__metatable");
    ffi::lua_settop(lua, locked);
    ffi::lua_pushvalue(lua, globals);
    ffi::lua_pushvalue(lua, locked);
    raw::set(lua, "_G");
    let kept = raw::keep(lua);
    ffi::lua_replace(lua, ffi::LUA_GLOBALSINDEX);
    ffi::lua_settop(lua, globals - 1);
    kept
}

/// Tells whether a value is a locked table, and pushes the real table behind it if so.
pub unsafe fn push_real(lua: State, index: c_int) -> bool {
    if ffi::lua_type(lua, index) != ffi::LUA_TTABLE || ffi::lua_getmetatable(lua, index) == 0 {
        return false;
    }
    ffi::lua_rawgeti_(lua, -1, MARK_SLOT);
    let locked = ffi::lua_touserdata(lua, -1) == mark();
    ffi::lua_settop(lua, -2);
    if locked {
        ffi::lua_rawgeti_(lua, -1, REAL_SLOT);
        ffi::lua_remove(lua, -2);
    } else {
        ffi::lua_settop(lua, -2);
    }
    locked
}

/// Raises Redis' error if the first argument is a locked table.
pub unsafe fn refuse_locked(lua: State) {
    if push_real(lua, 1) {
        raw::raise_bare(lua, READ_ONLY);
    }
}

/// Replaces the table on top of the stack by a locked one.
unsafe fn lock(lua: State, context: *mut Context) {
    let real = ffi::lua_gettop(lua);
    ffi::lua_createtable(lua, 0, 0);
    ffi::lua_createtable(lua, 0, 0);
    ffi::lua_pushvalue(lua, real);
    raw::set(lua, "__index");
    raw::push_native(lua, context, read_only, 0);
    raw::set(lua, "__newindex");
    ffi::lua_pushboolean(lua, 0);
    raw::set(lua, "__metatable");
    ffi::lua_pushlightuserdata(lua, mark());
    ffi::lua_rawseti_(lua, -2, MARK_SLOT);
    ffi::lua_pushvalue(lua, real);
    ffi::lua_rawseti_(lua, -2, REAL_SLOT);
    ffi::lua_setmetatable(lua, -2);
    ffi::lua_replace(lua, real);
}

/// Lets `("x"):upper()` find the real library without a detour, and shows scripts a locked metatable.
unsafe fn lock_string_metatable(lua: State, context: *mut Context, globals: c_int, string: c_int) {
    raw::push(lua, b"");
    ffi::lua_getmetatable(lua, -1);
    ffi::lua_pushvalue(lua, string);
    raw::set(lua, "__index");
    ffi::lua_createtable(lua, 0, 0);
    raw::get(lua, globals, "string");
    raw::set(lua, "__index");
    lock(lua, context);
    raw::set(lua, "__metatable");
}

unsafe extern "C-unwind" fn read_only(lua: State) -> c_int {
    raw::raise(lua, READ_ONLY)
}

/// Keeps the field names that `convert` looks up.
unsafe fn keep_names(lua: State, context: *mut Context) {
    let names = &raw mut (*context).names;
    for (slot, name) in [
        (&raw mut (*names).err, "err"),
        (&raw mut (*names).ok, "ok"),
        (&raw mut (*names).double, "double"),
        (&raw mut (*names).map, "map"),
        (&raw mut (*names).set, "set"),
        (&raw mut (*names).verbatim_string, "verbatim_string"),
        (&raw mut (*names).string, "string"),
        (&raw mut (*names).big_number, "big_number"),
    ] {
        raw::push(lua, name.as_bytes());
        *slot = raw::keep(lua);
    }
}

/// The address by which locked tables are known; scripts cannot make light userdata.
fn mark() -> *mut c_void {
    static MARK: u8 = 0;
    (&raw const MARK).cast_mut().cast()
}

/// Replaces a function in a table by a native one that has the original as its second upvalue.
pub unsafe fn guard(lua: State, context: *mut Context, table: c_int, name: &str, native: Native) {
    ffi::lua_pushvalue(lua, table);
    raw::get(lua, -1, name);
    raw::push_native(lua, context, native, 1);
    raw::set(lua, name);
    ffi::lua_settop(lua, -2);
}

/// Calls the original behind a guarded function in the same frame, so that its errors name the script's line.
pub unsafe fn original(lua: State) -> c_int {
    match ffi::lua_tocfunction(lua, ffi::lua_upvalueindex(2)) {
        Some(original) => original(lua),
        None => raw::raise(lua, b"the original of a guarded function is not a C function"),
    }
}
