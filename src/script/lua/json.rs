//! The table `cjson`, as lua-cjson 2.1 has it, which is what Redis carries.
//!
//! Its own encoder and decoder rather than `serde_json`'s: lua-cjson passes bytes that are not UTF-8 through, reads `NaN`,
//! `0x10` and `01` as numbers, writes `%.14g` and `\/`, and scripts show its error texts to people.

use std::os::raw::c_int;
use std::ptr;

use super::context::Context;
use super::raw::{self, Native, State, ffi};
use super::{Text, json_decode, json_encode};

/// How deep arrays and objects may be nested: lua-cjson's default, and here also the most that a script can ask for,
/// since each level takes a piece of the C stack.
pub const DEPTH_MAX: i64 = 1000;

const FUNCTIONS: [(&str, Native); 10] = [
    ("encode", json_encode::encode),
    ("decode", json_decode::decode),
    ("encode_sparse_array", encode_sparse_array),
    ("encode_max_depth", encode_max_depth),
    ("decode_max_depth", decode_max_depth),
    ("encode_number_precision", encode_number_precision),
    ("encode_keep_buffer", encode_keep_buffer),
    ("encode_invalid_numbers", encode_invalid_numbers),
    ("decode_invalid_numbers", decode_invalid_numbers),
    ("new", new),
];

/// What a script can set; back at its default for the next script.
pub struct JsonSettings {
    pub sparse_convert: bool,
    pub sparse_ratio: i64,
    pub sparse_safe: i64,
    pub encode_depth_max: i64,
    pub decode_depth_max: i64,
    pub precision: i64,
    pub keep_buffer: bool,
    pub encode_invalid: InvalidNumbers,
    pub decode_invalid: bool,
}

/// How NaN and the infinities are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum InvalidNumbers {
    Refused,
    Written,
    Null,
}

impl Default for JsonSettings {
    fn default() -> JsonSettings {
        JsonSettings {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth_max: DEPTH_MAX,
            decode_depth_max: DEPTH_MAX,
            precision: 14,
            keep_buffer: true,
            encode_invalid: InvalidNumbers::Refused,
            decode_invalid: true,
        }
    }
}

/// Pushes the table `cjson`.
pub unsafe fn open(lua: State, context: *mut Context) {
    ffi::lua_createtable(lua, 0, 0);
    for (name, native) in FUNCTIONS {
        raw::push_native(lua, context, native, 0);
        raw::set(lua, name);
    }
    ffi::lua_pushlightuserdata(lua, ptr::null_mut());
    raw::set(lua, "null");
    raw::push(lua, b"cjson");
    raw::set(lua, "_NAME");
    raw::push(lua, b"2.1.0");
    raw::set(lua, "_VERSION");
}

/// Raises unless there is exactly one argument.
pub unsafe fn expect_one_argument(lua: State) {
    if ffi::lua_gettop(lua) != 1 {
        ffi::luaL_argerror(lua, 1, c"expected 1 argument".as_ptr());
    }
}

/// A fresh table of the same functions.
unsafe extern "C-unwind" fn new(lua: State) -> c_int {
    open(lua, raw::context(lua));
    1
}

unsafe extern "C-unwind" fn encode_sparse_array(lua: State) -> c_int {
    ffi::lua_settop(lua, 3);
    let settings = &raw mut (*raw::context(lua)).json;
    take_flag(lua, 1, &raw mut (*settings).sparse_convert);
    take_integer(lua, 2, 0, i64::from(i32::MAX), &raw mut (*settings).sparse_ratio);
    take_integer(lua, 3, 0, i64::from(i32::MAX), &raw mut (*settings).sparse_safe);
    3
}

unsafe extern "C-unwind" fn encode_max_depth(lua: State) -> c_int {
    take_integer(lua, 1, 1, DEPTH_MAX, &raw mut (*raw::context(lua)).json.encode_depth_max)
}

unsafe extern "C-unwind" fn decode_max_depth(lua: State) -> c_int {
    take_integer(lua, 1, 1, DEPTH_MAX, &raw mut (*raw::context(lua)).json.decode_depth_max)
}

unsafe extern "C-unwind" fn encode_number_precision(lua: State) -> c_int {
    take_integer(lua, 1, 1, 14, &raw mut (*raw::context(lua)).json.precision)
}

unsafe extern "C-unwind" fn encode_keep_buffer(lua: State) -> c_int {
    take_flag(lua, 1, &raw mut (*raw::context(lua)).json.keep_buffer)
}

unsafe extern "C-unwind" fn encode_invalid_numbers(lua: State) -> c_int {
    let setting = &raw mut (*raw::context(lua)).json.encode_invalid;
    if ffi::lua_isnoneornil(lua, 1) == 0 {
        *setting = match raw::bytes_at(lua, 1) {
            Some(b"null") => InvalidNumbers::Null,
            Some(b"on") => InvalidNumbers::Written,
            Some(b"off") => InvalidNumbers::Refused,
            None if ffi::lua_isboolean(lua, 1) != 0 && ffi::lua_toboolean(lua, 1) != 0 => InvalidNumbers::Written,
            None if ffi::lua_isboolean(lua, 1) != 0 => InvalidNumbers::Refused,
            _ => {
                ffi::luaL_argerror(lua, 1, c"invalid option".as_ptr());
                return 0;
            }
        };
    }
    match *setting {
        InvalidNumbers::Null => raw::push(lua, b"null"),
        written => ffi::lua_pushboolean(lua, c_int::from(written == InvalidNumbers::Written)),
    }
    1
}

unsafe extern "C-unwind" fn decode_invalid_numbers(lua: State) -> c_int {
    take_flag(lua, 1, &raw mut (*raw::context(lua)).json.decode_invalid)
}

/// Sets a flag from an argument, if there is one, and pushes what it is now.
unsafe fn take_flag(lua: State, index: c_int, flag: *mut bool) -> c_int {
    if ffi::lua_isnoneornil(lua, index) == 0 {
        *flag = match raw::bytes_at(lua, index) {
            Some(b"on") => true,
            Some(b"off") => false,
            None if ffi::lua_isboolean(lua, index) != 0 => ffi::lua_toboolean(lua, index) != 0,
            _ => {
                ffi::luaL_argerror(lua, index, c"invalid option".as_ptr());
                return 0;
            }
        };
    }
    ffi::lua_pushboolean(lua, c_int::from(*flag));
    1
}

/// Sets a number from an argument, if there is one, and pushes what it is now.
unsafe fn take_integer(lua: State, index: c_int, min: i64, max: i64, setting: *mut i64) -> c_int {
    if ffi::lua_isnoneornil(lua, index) == 0 {
        let value = ffi::luaL_checkinteger(lua, index);
        if !(min..=max).contains(&value) {
            let text = Text::new(format_args!("expected integer between {min} and {max}\0"));
            ffi::luaL_argerror(lua, index, text.bytes().as_ptr().cast());
        }
        *setting = value;
    }
    ffi::lua_pushnumber(lua, *setting as f64);
    1
}
