//! A Lua state: how it is made, entered and left.

use std::ffi::CStr;
use std::os::raw::{c_int, c_void};
use std::panic::resume_unwind;
use std::ptr::{self, NonNull};

use bytes::Bytes;
use mlua::{Lua, LuaOptions, StdLib};

use super::context::{Context, Place};
use super::raw::{self, State, ffi};
use super::{convert, sandbox};
use crate::resp::Reply;
use crate::script::Host;

/// How many instructions run between two questions whether the script is to be abandoned; Redis' number.
const HOOK_INSTRUCTIONS: c_int = 100_000;

/// The name that scripts have in Lua's messages.
const CHUNK_NAME: &CStr = c"@user_script";

/// A compiled script of one machine.
#[derive(Debug, Clone, Copy)]
pub struct Reference(c_int);

/// How a script ended.
pub enum Ended {
    Reply(Reply),
    Failed(Failure),
    Stopped,
    OutOfMemory,
}

/// An error that no `pcall` of the script caught.
pub struct Failure {
    pub message: String,
    /// The name of the chunk and the line.
    pub place: Option<(String, i64)>,
}

/// Why a script does not compile.
pub enum Refused {
    Syntax(String),
    OutOfMemory,
}

/// One Lua state with its sandbox.
pub struct Machine {
    // Dropped before the context that its functions point to.
    lua: Lua,
    state: State,
    shared: Shared,
    globals: c_int,
    on_error: c_int,
}

// SAFETY: mlua's handle is not `Send` because its clones share a count without atomics; here there is one handle, which
// never leaves the machine, and neither Lua 5.1 nor our functions keep anything in thread-local storage. The context
// holds a pointer to a host only while `run` borrows the machine.
unsafe impl Send for Machine {}

/// The context, owned through a raw pointer because Lua holds copies of it.
struct Shared(NonNull<Context>);

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: it came from a box, and the Lua state with the other copies of the pointer is gone.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Machine {
    /// Starts Lua with nothing in it but what scripts may see.
    pub fn new(memory_bytes_max: usize) -> Machine {
        let lua = Lua::new_with(StdLib::STRING | StdLib::TABLE | StdLib::MATH, LuaOptions::default())
            .expect("these libraries need no permission and no memory is limited yet");
        let shared = Shared(NonNull::from(Box::leak(Box::new(Context::new(memory_bytes_max)))));
        let mut machine = Machine { lua, state: ptr::null_mut(), shared, globals: 0, on_error: 0 };
        let context = machine.context();
        let mut made = (ptr::null_mut(), 0, 0);
        // SAFETY: the closure owns nothing, and leaves the stack empty.
        unsafe {
            machine.lua.exec_raw::<()>((), |state| {
                let globals = sandbox::open(state, context);
                raw::push_native(state, context, on_error, 0);
                made = (state, globals, raw::keep(state));
                ffi::lua_pushlightuserdata(state, hook_key());
                ffi::lua_pushlightuserdata(state, context.cast());
                ffi::lua_rawset(state, ffi::LUA_REGISTRYINDEX);
                // Coroutines take the hook over from the thread that makes them.
                ffi::lua_sethook(state, Some(on_count), ffi::LUA_MASKCOUNT, HOOK_INSTRUCTIONS);
            })
        }
        .expect("nothing in the making of a sandbox raises while memory is not limited");
        (machine.state, machine.globals, machine.on_error) = made;
        machine.set_memory_limit(memory_bytes_max);
        machine
    }

    pub fn set_memory_limit(&mut self, bytes: usize) {
        self.lua.set_memory_limit(bytes).expect("mlua's own allocator knows limits");
        // SAFETY: no script runs while the machine is borrowed mutably.
        unsafe { (*self.context()).values_bytes_max = bytes };
    }

    pub fn memory_bytes(&self) -> usize {
        self.lua.used_memory()
    }

    /// Frees what no script can reach any more.
    pub fn collect(&mut self) {
        // SAFETY: the state lives, no script runs, and nothing in it has a finalizer that could raise.
        unsafe { ffi::lua_gc(self.state, ffi::LUA_GCCOLLECT, 0) };
    }

    /// Compiles source text; bytecode is refused.
    pub fn compile(&mut self, body: &[u8]) -> Result<Reference, Refused> {
        let mut job = Compile { body, result: Err(Refused::OutOfMemory) };
        // SAFETY: `compile` is handed the job that it expects; the stack is put back as it was.
        let status = unsafe { self.enter(compile, (&raw mut job).cast()) };
        if status == ffi::LUA_OK { job.result } else { Err(Refused::OutOfMemory) }
    }

    /// Forgets a compiled script.
    pub fn release(&mut self, function: Reference) {
        // SAFETY: the reference came from this machine; releasing writes existing slots and cannot raise.
        unsafe { ffi::luaL_unref(self.state, ffi::LUA_REGISTRYINDEX, function.0) };
    }

    /// Runs a compiled script.
    pub fn run(&mut self, function: Reference, keys: &[Bytes], args: &[Bytes], host: &mut dyn Host) -> Ended {
        let context = self.context();
        let mut job = Run {
            context,
            globals: self.globals,
            on_error: self.on_error,
            function: function.0,
            keys,
            args,
            ended: Ended::OutOfMemory,
        };
        // SAFETY: the context outlives the call. The host's lifetime is erased, but the pointer is taken away again by
        // `reset` before this borrow ends: `enter` does not unwind, because no panic gets into Lua's frames.
        let panic = unsafe {
            (*context).reset();
            (*context).host = Some(std::mem::transmute::<*mut dyn Host, *mut (dyn Host + 'static)>(host));
            self.enter(run, (&raw mut job).cast());
            let stopping = (*context).stopping;
            (*context).reset();
            if stopping {
                job.ended = Ended::Stopped;
            }
            (*context).panic.take()
        };
        match panic {
            Some(panic) => resume_unwind(panic),
            None => job.ended,
        }
    }

    fn context(&self) -> *mut Context {
        self.shared.0.as_ptr()
    }

    /// Calls a function with a job, protected: whatever it raises ends here.
    unsafe fn enter(&mut self, native: raw::Native, job: *mut c_void) -> c_int {
        let top = ffi::lua_gettop(self.state);
        let status = ffi::lua_cpcall(self.state, native, job);
        ffi::lua_settop(self.state, top);
        status
    }
}

struct Compile<'a> {
    body: &'a [u8],
    result: Result<Reference, Refused>,
}

unsafe extern "C-unwind" fn compile(lua: State) -> c_int {
    let job: *mut Compile<'_> = ffi::lua_touserdata(lua, 1).cast();
    let body = (*job).body;
    let status = match body.first() {
        Some(&raw::BYTECODE_MARK) => {
            raw::push(lua, b"user_script:1: unexpected symbol near '\\27'");
            ffi::LUA_ERRSYNTAX
        }
        _ => ffi::luaL_loadbuffer(lua, body.as_ptr().cast(), body.len(), CHUNK_NAME.as_ptr()),
    };
    (*job).result = match status {
        ffi::LUA_OK => Ok(Reference(raw::keep(lua))),
        ffi::LUA_ERRMEM => Err(Refused::OutOfMemory),
        _ => Err(Refused::Syntax(String::from_utf8_lossy(raw::bytes_at(lua, -1).unwrap_or_default()).into_owned())),
    };
    0
}

struct Run<'a> {
    context: *mut Context,
    globals: c_int,
    on_error: c_int,
    function: c_int,
    keys: &'a [Bytes],
    args: &'a [Bytes],
    ended: Ended,
}

unsafe extern "C-unwind" fn run(lua: State) -> c_int {
    let job: *mut Run<'_> = ffi::lua_touserdata(lua, 1).cast();
    raw::push_kept(lua, (*job).globals);
    push_list(lua, (*job).keys);
    raw::set(lua, "KEYS");
    push_list(lua, (*job).args);
    raw::set(lua, "ARGV");
    raw::push_kept(lua, (*job).on_error);
    raw::push_kept(lua, (*job).function);
    let status = ffi::lua_pcall(lua, 0, 1, -2);
    if (*(*job).context).stopping {
        return 0;
    }
    let ended = match status {
        ffi::LUA_OK => Ended::Reply(convert::read(lua, (*job).context)),
        ffi::LUA_ERRMEM => Ended::OutOfMemory,
        _ => Ended::Failed(failure(lua, (*job).context)),
    };
    (*job).ended = ended;
    0
}

unsafe fn push_list(lua: State, items: &[Bytes]) {
    ffi::lua_createtable(lua, 0, 0);
    for (index, item) in items.iter().enumerate() {
        raw::push(lua, item);
        ffi::lua_rawseti_(lua, -2, index as c_int + 1);
    }
}

/// Reads the error on top of the stack.
unsafe fn failure(lua: State, context: *mut Context) -> Failure {
    // A number becomes a string here, which may raise, so this comes before the first local that owns memory.
    let table = ffi::lua_type(lua, -1) == ffi::LUA_TTABLE;
    if table {
        raw::push_kept(lua, (*context).names.err);
        ffi::lua_rawget_(lua, -2);
    }
    let text = match ffi::lua_type(lua, -1) {
        ffi::LUA_TSTRING | ffi::LUA_TNUMBER => raw::text_at(lua, -1),
        ffi::LUA_TNIL if !table => Some(&b"nil"[..]),
        ffi::LUA_TBOOLEAN if !table => {
            Some(if ffi::lua_toboolean(lua, -1) == 0 { &b"false"[..] } else { &b"true"[..] })
        }
        _ => None,
    };
    let mut message = String::from_utf8_lossy(text.unwrap_or(b"ERR the error object is not a string")).into_owned();
    if !table && text.is_some() {
        message.insert_str(0, "ERR ");
    }
    let place = (*context)
        .place
        .take()
        .map(|place| (String::from_utf8_lossy(&place.source[..place.source_len]).into_owned(), place.line));
    Failure { message, place }
}

/// Notes where an error that nobody caught was raised: the innermost frame that is Lua.
unsafe extern "C-unwind" fn on_error(lua: State) -> c_int {
    let context = raw::context(lua);
    let mut frame: ffi::lua_Debug = std::mem::zeroed();
    let mut level = 1;
    while ffi::lua_getstack(lua, level, &mut frame) != 0 {
        ffi::lua_getinfo(lua, c"Sl".as_ptr(), &mut frame);
        let name = CStr::from_ptr(frame.source).to_bytes();
        if CStr::from_ptr(frame.what).to_bytes() != b"C" {
            let mut source = [0; 60];
            let source_len = name.len().min(source.len());
            source[..source_len].copy_from_slice(&name[..source_len]);
            (*context).place = Some(Place { source, source_len, line: i64::from(frame.currentline) });
            break;
        }
        level += 1;
    }
    1
}

/// Asks the host from time to time whether the script is to be abandoned.
unsafe extern "C-unwind" fn on_count(lua: State, _frame: *mut ffi::lua_Debug) {
    ffi::lua_pushlightuserdata(lua, hook_key());
    ffi::lua_rawget_(lua, ffi::LUA_REGISTRYINDEX);
    let context: *mut Context = ffi::lua_touserdata(lua, -1).cast();
    ffi::lua_settop(lua, -2);
    let interrupted = Context::ask(context, |host| host.interrupted()).unwrap_or(true);
    if interrupted || (*context).stopping {
        raw::stop(lua, context);
    }
}

/// The registry key of the context, for the hook, which has no upvalues.
fn hook_key() -> *mut c_void {
    static KEY: u8 = 0;
    (&raw const KEY).cast_mut().cast()
}
