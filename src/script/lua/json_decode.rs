//! `cjson.decode`: a scanner and a recursive parser that push what they read onto Lua's stack.

use std::os::raw::c_int;
use std::ptr;

use super::Text;
use super::context::Context;
use super::json::expect_one_argument;
use super::raw::{self, State, ffi};

pub unsafe extern "C-unwind" fn decode(lua: State) -> c_int {
    expect_one_argument(lua);
    let mut len = 0;
    let start = ffi::luaL_checklstring(lua, 1, &mut len);
    // Lua's strings end with a zero byte that `len` leaves out; the scanner stops at it, as lua-cjson's does, and at
    // any other zero byte.
    let text = std::slice::from_raw_parts(start.cast(), len + 1);
    if len >= 2 && (text[0] == 0 || text[1] == 0) {
        raw::raise(lua, b"JSON parser does not support UTF-16 or UTF-32");
    }
    let mut decoder = Decoder { lua, context: raw::context(lua), text, at: 0, depth: 0 };
    let token = decoder.next();
    decoder.value(token);
    let token = decoder.next();
    if token.kind != Kind::End {
        decoder.refuse("the end", &token);
    }
    1
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    /// The string is in the context's text.
    String,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Invalid(&'static str),
}

struct Token {
    kind: Kind,
    at: usize,
}

struct Decoder<'a> {
    lua: State,
    context: *mut Context,
    text: &'a [u8],
    at: usize,
    depth: i64,
}

impl Decoder<'_> {
    /// Pushes the value that begins with a token.
    unsafe fn value(&mut self, token: Token) {
        match token.kind {
            Kind::String => raw::push(self.lua, &(*self.context).text),
            Kind::Number(number) => ffi::lua_pushnumber(self.lua, number),
            Kind::Boolean(value) => ffi::lua_pushboolean(self.lua, c_int::from(value)),
            Kind::Null => ffi::lua_pushlightuserdata(self.lua, ptr::null_mut()),
            Kind::ObjectBegin => self.object(),
            Kind::ArrayBegin => self.array(),
            _ => self.refuse("value", &token),
        }
    }

    unsafe fn object(&mut self) {
        self.descend();
        ffi::lua_createtable(self.lua, 0, 0);
        let mut token = self.next();
        if token.kind == Kind::ObjectEnd {
            self.depth -= 1;
            return;
        }
        loop {
            if token.kind != Kind::String {
                self.refuse("object key string", &token);
            }
            raw::push(self.lua, &(*self.context).text);
            token = self.next();
            if token.kind != Kind::Colon {
                self.refuse("colon", &token);
            }
            token = self.next();
            self.value(token);
            ffi::lua_rawset(self.lua, -3);
            token = self.next();
            match token.kind {
                Kind::ObjectEnd => break,
                Kind::Comma => token = self.next(),
                _ => self.refuse("comma or object end", &token),
            }
        }
        self.depth -= 1;
    }

    unsafe fn array(&mut self) {
        self.descend();
        ffi::lua_createtable(self.lua, 0, 0);
        let mut token = self.next();
        if token.kind == Kind::ArrayEnd {
            self.depth -= 1;
            return;
        }
        for index in 1.. {
            self.value(token);
            ffi::lua_rawseti_(self.lua, -2, index);
            token = self.next();
            match token.kind {
                Kind::ArrayEnd => break,
                Kind::Comma => token = self.next(),
                _ => self.refuse("comma or array end", &token),
            }
        }
        self.depth -= 1;
    }

    unsafe fn descend(&mut self) {
        self.depth += 1;
        if self.depth > (*self.context).json.decode_depth_max || ffi::lua_checkstack(self.lua, 3) == 0 {
            let text = Text::new(format_args!(
                "Found too many nested data structures ({}) at character {}",
                self.depth, self.at
            ));
            raw::raise(self.lua, text.bytes());
        }
    }

    unsafe fn next(&mut self) -> Token {
        while matches!(self.here(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let at = self.at;
        let (kind, len) = match self.here() {
            b'{' => (Kind::ObjectBegin, 1),
            b'}' => (Kind::ObjectEnd, 1),
            b'[' => (Kind::ArrayBegin, 1),
            b']' => (Kind::ArrayEnd, 1),
            b':' => (Kind::Colon, 1),
            b',' => (Kind::Comma, 1),
            0 => (Kind::End, 0),
            b'"' => return self.string(),
            b't' if self.text[at..].starts_with(b"true") => (Kind::Boolean(true), 4),
            b'f' if self.text[at..].starts_with(b"false") => (Kind::Boolean(false), 5),
            b'n' if self.text[at..].starts_with(b"null") => (Kind::Null, 4),
            b'-' | b'0'..=b'9' => return self.number(),
            b'+' | b'i' | b'I' | b'n' | b'N' if (*self.context).json.decode_invalid && self.is_beyond_json() => {
                return self.number();
            }
            _ => (Kind::Invalid("invalid token"), 0),
        };
        self.at += len;
        Token { kind, at }
    }

    fn here(&self) -> u8 {
        self.text[self.at]
    }

    /// Reads a string into the context's text; `at` of an error is where it was met.
    unsafe fn string(&mut self) -> Token {
        let begin = self.at;
        self.at += 1;
        (*self.context).text.clear();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.iter().position(|&byte| matches!(byte, b'"' | b'\\' | 0)).unwrap_or(rest.len() - 1);
            let text = &mut (*self.context).text;
            text.extend_from_slice(&rest[..plain]);
            self.at += plain;
            match self.here() {
                b'"' => {
                    self.at += 1;
                    return Token { kind: Kind::String, at: begin };
                }
                b'\\' => {
                    let escape = self.text.get(self.at + 1).copied().unwrap_or(0);
                    let byte = match escape {
                        b'"' | b'\\' | b'/' => escape,
                        b'b' => 0x08,
                        b'f' => 0x0c,
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'u' => match self.code_point() {
                            Some((character, len)) => {
                                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                                self.at += len;
                                continue;
                            }
                            None => return Token { kind: Kind::Invalid("invalid unicode escape code"), at: self.at },
                        },
                        _ => return Token { kind: Kind::Invalid("invalid escape code"), at: self.at },
                    };
                    text.push(byte);
                    self.at += 2;
                }
                _ => return Token { kind: Kind::Invalid("unexpected end of string"), at: self.at },
            }
        }
    }

    /// Reads `\uXXXX`, or a pair of them that is one character, at the current place.
    fn code_point(&self) -> Option<(char, usize)> {
        let first = self.code_unit(self.at)?;
        match first {
            0xd800..=0xdbff => {
                let second = self.code_unit(self.at + 6).filter(|unit| (0xdc00..=0xdfff).contains(unit))?;
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                char::from_u32(code).map(|character| (character, 12))
            }
            _ => char::from_u32(first).map(|character| (character, 6)),
        }
    }

    fn code_unit(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |code, &digit| Some(code * 16 + char::from(digit).to_digit(16)?))
    }

    /// Reads a number as C's `strtod` does.
    unsafe fn number(&mut self) -> Token {
        let at = self.at;
        if !(*self.context).json.decode_invalid && self.is_beyond_json() {
            return Token { kind: Kind::Invalid("invalid number"), at };
        }
        let start = self.text[at..].as_ptr().cast();
        let mut end = ptr::null_mut();
        let number = libc::strtod(start, &mut end);
        let len = end.cast_const().offset_from(start);
        if len <= 0 {
            return Token { kind: Kind::Invalid("invalid number"), at };
        }
        self.at += len as usize;
        Token { kind: Kind::Number(number), at }
    }

    /// Tells whether what looks like a number is one that JSON does not have: `+1`, `01`, `0x10`, `nan`, `-inf`.
    fn is_beyond_json(&self) -> bool {
        let rest = &self.text[self.at..];
        if rest[0] == b'+' {
            return true;
        }
        let rest = rest.strip_prefix(b"-").unwrap_or(rest);
        match rest[0] {
            b'0' => matches!(rest.get(1), Some(b'x' | b'X' | b'0'..=b'9')),
            b'1'..=b'9' => false,
            _ => {
                let starts = |name: &[u8]| rest.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(name));
                starts(b"inf") || starts(b"nan")
            }
        }
    }

    unsafe fn refuse(&self, expected: &str, found: &Token) -> ! {
        let name = match found.kind {
            Kind::ObjectBegin => "T_OBJ_BEGIN",
            Kind::ObjectEnd => "T_OBJ_END",
            Kind::ArrayBegin => "T_ARR_BEGIN",
            Kind::ArrayEnd => "T_ARR_END",
            Kind::String => "T_STRING",
            Kind::Number(_) => "T_NUMBER",
            Kind::Boolean(_) => "T_BOOLEAN",
            Kind::Null => "T_NULL",
            Kind::Colon => "T_COLON",
            Kind::Comma => "T_COMMA",
            Kind::End => "T_END",
            Kind::Invalid(what) => what,
        };
        let text = Text::new(format_args!("Expected {expected} but found {name} at character {}", found.at + 1));
        raw::raise(self.lua, text.bytes())
    }
}
