//! The Lua state and what is put into it, through Lua's C interface.
//!
//! A command from a script must cost less than a microsecond on top of itself, and errors must be raised as tables from
//! the frame that called; neither can be done through mlua's safe interface, which is used to own the state, to
//! limit its memory, and to build Lua. Everything else in this folder is `unsafe`, and sound by four rules:
//!
//! 1. **A Lua error is a `longjmp`**, which runs no destructor. Wherever Lua may raise (anything that allocates or runs a
//!    script), no local of ours has a destructor: what owns memory waits in the [`Context`], texts are a [`Text`].
//!    Functions that hold such locals call only what cannot raise: `lua_type`, `lua_rawget` and its kin, `lua_next`,
//!    `lua_tolstring` on what is a string already.
//! 2. **No entry without protection**: [`Machine`] enters Lua by `lua_cpcall` alone.
//! 3. **No reference into the [`Context`] lives across a call that may run a script**; the raw pointer is used field by
//!    field.
//! 4. **The host is reached through [`Context::ask`] alone**, which keeps its panics out of Lua's frames. The pointer to
//!    it is there only while `Machine::run` is on the stack.
#![expect(unsafe_op_in_unsafe_fn, reason = "nearly every line speaks to Lua; the rules above are the safety argument")]

mod base;
mod context;
mod convert;
mod json;
mod json_decode;
mod json_encode;
mod machine;
mod random;
mod raw;
mod redis;
mod sandbox;

use context::Context;
pub use machine::{Ended, Failure, Machine, Reference, Refused};
use raw::Text;
