//! `cjson.encode`: the text is built in the context and becomes a Lua string at the end.

use std::os::raw::c_int;

use super::Text;
use super::context::Context;
use super::json::{InvalidNumbers, expect_one_argument};
use super::raw::{self, State, ffi};

pub unsafe extern "C-unwind" fn encode(lua: State) -> c_int {
    expect_one_argument(lua);
    let context = raw::context(lua);
    (*context).text.clear();
    Encoder { lua, context }.value(0);
    raw::push(lua, &(*context).text);
    1
}

/// Encodes the value on top of the stack. What goes wrong is raised.
#[derive(Clone, Copy)]
struct Encoder {
    lua: State,
    context: *mut Context,
}

impl Encoder {
    unsafe fn value(self, depth: i64) {
        let lua = self.lua;
        match ffi::lua_type(lua, -1) {
            ffi::LUA_TSTRING => self.string(raw::bytes_at(lua, -1).unwrap_or_default()),
            ffi::LUA_TNUMBER => self.number(ffi::lua_tonumber(lua, -1)),
            ffi::LUA_TBOOLEAN => self.write(if ffi::lua_toboolean(lua, -1) == 0 { b"false" } else { b"true" }),
            ffi::LUA_TTABLE => self.table(depth + 1),
            ffi::LUA_TNIL => self.write(b"null"),
            ffi::LUA_TLIGHTUSERDATA if ffi::lua_touserdata(lua, -1).is_null() => self.write(b"null"),
            kind => self.refuse(kind, "type not supported"),
        }
    }

    unsafe fn table(self, depth: i64) {
        if depth > (*self.context).json.encode_depth_max || ffi::lua_checkstack(self.lua, 3) == 0 {
            let text = Text::new(format_args!("Cannot serialise, excessive nesting ({depth})"));
            raw::raise(self.lua, text.bytes());
        }
        let length = self.array_length();
        if length > 0 { self.array(length, depth) } else { self.object(depth) }
    }

    /// The length of a table that can be an array, or 0: an empty table is an object.
    unsafe fn array_length(self) -> i64 {
        let lua = self.lua;
        let (mut max, mut items) = (0, 0);
        ffi::lua_pushnil(lua);
        while ffi::lua_next(lua, -2) != 0 {
            let key = ffi::lua_tonumber(lua, -2);
            if ffi::lua_type(lua, -2) != ffi::LUA_TNUMBER || key < 1.0 || key.fract() != 0.0 {
                ffi::lua_settop(lua, -3);
                return 0;
            }
            max = max.max(key as i64);
            items += 1;
            ffi::lua_settop(lua, -2);
        }
        let settings = &raw const (*self.context).json;
        let ratio = (*settings).sparse_ratio;
        if ratio > 0 && max > items * ratio && max > (*settings).sparse_safe {
            if !(*settings).sparse_convert {
                self.refuse(ffi::LUA_TTABLE, "excessively sparse array");
            }
            return 0;
        }
        max
    }

    unsafe fn array(self, length: i64, depth: i64) {
        self.write(b"[");
        for index in 1..=length {
            if index > 1 {
                self.write(b",");
            }
            ffi::lua_rawgeti_(self.lua, -1, index as c_int);
            self.value(depth);
            ffi::lua_settop(self.lua, -2);
        }
        self.write(b"]");
    }

    unsafe fn object(self, depth: i64) {
        let lua = self.lua;
        self.write(b"{");
        ffi::lua_pushnil(lua);
        let mut first = true;
        while ffi::lua_next(lua, -2) != 0 {
            if !first {
                self.write(b",");
            }
            first = false;
            match ffi::lua_type(lua, -2) {
                ffi::LUA_TSTRING => self.string(raw::bytes_at(lua, -2).unwrap_or_default()),
                ffi::LUA_TNUMBER => {
                    self.write(b"\"");
                    self.number(ffi::lua_tonumber(lua, -2));
                    self.write(b"\"");
                }
                kind => self.refuse(kind, "table key must be a number or string"),
            }
            self.write(b":");
            self.value(depth);
            ffi::lua_settop(lua, -2);
        }
        self.write(b"}");
    }

    unsafe fn number(self, number: f64) {
        let settings = &raw const (*self.context).json;
        if !number.is_finite() {
            match (*settings).encode_invalid {
                InvalidNumbers::Refused => self.refuse(ffi::LUA_TNUMBER, "must not be NaN or Inf"),
                InvalidNumbers::Null => return self.write(b"null"),
                InvalidNumbers::Written if number.is_nan() => return self.write(b"nan"),
                InvalidNumbers::Written => {}
            }
        }
        let mut text = [0_u8; 32];
        let precision = (*settings).precision as c_int;
        // A double with 14 digits is at most 21 bytes long.
        let len = libc::snprintf(text.as_mut_ptr().cast(), text.len(), c"%.*g".as_ptr(), precision, number);
        self.write(&text[..(len.max(0) as usize).min(text.len())]);
    }

    unsafe fn string(self, bytes: &[u8]) {
        self.write(b"\"");
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|&byte| is_escaped(byte)) {
            self.write(&rest[..at]);
            match rest[at] {
                b'\n' => self.write(b"\\n"),
                b'\r' => self.write(b"\\r"),
                b'\t' => self.write(b"\\t"),
                0x08 => self.write(b"\\b"),
                0x0c => self.write(b"\\f"),
                byte @ (b'"' | b'\\' | b'/') => self.write(&[b'\\', byte]),
                byte => self.write(Text::new(format_args!("\\u{byte:04x}")).bytes()),
            }
            rest = &rest[at + 1..];
        }
        self.write(rest);
        self.write(b"\"");
    }

    /// Adds to the text. It may be as long as all that Lua may hold: a table that is its own element many times over
    /// would otherwise fill the machine's memory.
    unsafe fn write(self, bytes: &[u8]) {
        let text = &mut (*self.context).text;
        if text.len() + bytes.len() > (*self.context).values_bytes_max {
            raw::raise(self.lua, b"Cannot serialise, the text takes more memory than Lua may hold");
        }
        text.extend_from_slice(bytes);
    }

    unsafe fn refuse(self, kind: c_int, why: &str) -> ! {
        let name = std::ffi::CStr::from_ptr(ffi::lua_typename(self.lua, kind)).to_str().unwrap_or("value");
        let text = Text::new(format_args!("Cannot serialise {name}: {why}"));
        raw::raise(self.lua, text.bytes())
    }
}

fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\' | b'/' | 0x7f)
}
