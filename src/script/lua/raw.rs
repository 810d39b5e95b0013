//! The few things that every piece of the engine does with a raw Lua state.

use std::fmt;
use std::os::raw::c_int;
use std::ptr;

pub use mlua::ffi;
use mlua::ffi::lua_State;

use super::Context;

/// A Lua thread; never null while one of our functions runs.
pub type State = *mut lua_State;

/// The first byte of precompiled Lua, which is never loaded: crafted bytecode can write anywhere in memory.
pub const BYTECODE_MARK: u8 = 0x1b;

/// A function that Lua can call.
pub type Native = unsafe extern "C-unwind" fn(State) -> c_int;

/// Returns the context of the running function: each has it as its first upvalue.
pub unsafe fn context(lua: State) -> *mut Context {
    ffi::lua_touserdata(lua, ffi::lua_upvalueindex(1)).cast()
}

/// Pushes a function that finds `context` as its first upvalue, and the `extra` values on top of the stack behind it.
pub unsafe fn push_native(lua: State, context: *mut Context, native: Native, extra: c_int) {
    ffi::lua_pushlightuserdata(lua, context.cast());
    ffi::lua_insert(lua, -1 - extra);
    ffi::lua_pushcclosure(lua, native, 1 + extra);
}

/// Sets a field of the table below the value on top of the stack, and takes the value off.
pub unsafe fn set(lua: State, name: &str) {
    push(lua, name.as_bytes());
    ffi::lua_insert(lua, -2);
    ffi::lua_rawset(lua, -3);
}

/// Pushes a field of the table at an index.
pub unsafe fn get(lua: State, table: c_int, name: &str) {
    push(lua, name.as_bytes());
    ffi::lua_rawget_(lua, if table < 0 && table > ffi::LUA_REGISTRYINDEX { table - 1 } else { table });
}

/// Pushes a string.
pub unsafe fn push(lua: State, bytes: &[u8]) {
    ffi::lua_pushlstring_(lua, bytes.as_ptr().cast(), bytes.len());
}

/// Returns the bytes of a string, valid as long as it stays on the stack; `None` for all else, numbers included.
pub unsafe fn bytes_at<'a>(lua: State, index: c_int) -> Option<&'a [u8]> {
    if ffi::lua_type(lua, index) != ffi::LUA_TSTRING { None } else { text_at(lua, index) }
}

/// Returns the bytes of a string or of a number, which becomes a string (so this may raise).
pub unsafe fn text_at<'a>(lua: State, index: c_int) -> Option<&'a [u8]> {
    let mut len = 0;
    let start = ffi::lua_tolstring(lua, index, &mut len);
    if start.is_null() { None } else { Some(std::slice::from_raw_parts(start.cast(), len)) }
}

/// Takes the value on top of the stack off and keeps it in the registry.
pub unsafe fn keep(lua: State) -> c_int {
    ffi::luaL_ref(lua, ffi::LUA_REGISTRYINDEX)
}

/// Pushes a value that was kept; never raises.
pub unsafe fn push_kept(lua: State, kept: c_int) {
    ffi::lua_rawgeti_(lua, ffi::LUA_REGISTRYINDEX, kept);
}

/// Raises a message that begins with the place of the calling script, as Lua's own libraries do.
pub unsafe fn raise(lua: State, message: &[u8]) -> ! {
    ffi::luaL_where(lua, 1);
    push(lua, message);
    ffi::lua_concat(lua, 2);
    ffi::lua_error(lua)
}

/// Raises a message without a place.
pub unsafe fn raise_bare(lua: State, message: &[u8]) -> ! {
    push(lua, message);
    ffi::lua_error(lua)
}

/// Raises an error as `redis.*` does: a table with the line in its field `err`.
pub unsafe fn raise_table(lua: State, line: &[u8]) -> ! {
    push_error(lua, line);
    ffi::lua_error(lua)
}

/// Pushes the table that stands for an error.
pub unsafe fn push_error(lua: State, line: &[u8]) {
    ffi::lua_createtable(lua, 0, 0);
    push(lua, line);
    set(lua, "err");
}

/// Abandons the script: our `pcall`, `xpcall`, `load` and `coroutine.resume` pass this on.
pub unsafe fn stop(lua: State, context: *mut Context) -> ! {
    (*context).stopping = true;
    // What is raised is seen by nobody; light userdata needs no memory.
    ffi::lua_pushlightuserdata(lua, ptr::null_mut());
    ffi::lua_error(lua)
}

/// A short text that owns no memory, so that a `longjmp` may pass over it; cut off when full.
pub struct Text {
    bytes: [u8; Text::BYTES_MAX],
    len: usize,
}

impl Text {
    const BYTES_MAX: usize = 200;

    pub fn new(arguments: fmt::Arguments<'_>) -> Text {
        let mut text = Text { bytes: [0; Text::BYTES_MAX], len: 0 };
        let _cut_off = fmt::Write::write_fmt(&mut text, arguments);
        text
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let len = part.len().min(Text::BYTES_MAX - self.len);
        self.bytes[self.len..self.len + len].copy_from_slice(&part.as_bytes()[..len]);
        self.len += len;
        if len == part.len() { Ok(()) } else { Err(fmt::Error) }
    }
}
