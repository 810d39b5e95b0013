//! What the functions of one machine share.

use std::any::Any;
use std::os::raw::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::json::JsonSettings;
use super::random::Random;
use crate::resp::{Protocol, Reply};
use crate::script::Host;

/// The state behind the scripts: one a machine, at an address that does not change.
pub struct Context {
    /// Set while a script runs.
    pub host: Option<*mut dyn Host>,
    /// The script is being abandoned; whatever catches errors raises again.
    pub stopping: bool,
    /// A panic of the host, on its way around Lua.
    pub panic: Option<Box<dyn Any + Send>>,
    /// The reply that is being converted; kept here because the conversion may raise.
    pub reply: Option<Reply>,
    /// Text that is being built; kept here for the same reason.
    pub text: Vec<u8>,
    /// Where the error that ends the script was raised.
    pub place: Option<Place>,
    pub random: Random,
    pub json: JsonSettings,
    /// What `redis.setresp` asked for.
    pub protocol: Protocol,
    /// What the values of one reply or of one command may take together.
    pub values_bytes_max: usize,
    pub names: Names,
}

/// A place in a script.
pub struct Place {
    pub source: [u8; 60],
    pub source_len: usize,
    pub line: i64,
}

/// Field names, kept as Lua strings so that a look-up allocates nothing and so cannot raise.
#[derive(Default)]
pub struct Names {
    pub err: c_int,
    pub ok: c_int,
    pub double: c_int,
    pub map: c_int,
    pub set: c_int,
    pub verbatim_string: c_int,
    pub string: c_int,
    pub big_number: c_int,
}

/// A built text longer than this is given back after the run.
const TEXT_KEPT_BYTES: usize = 64 << 10;

impl Context {
    pub fn new(values_bytes_max: usize) -> Context {
        Context {
            host: None,
            stopping: false,
            panic: None,
            reply: None,
            text: Vec::new(),
            place: None,
            random: Random::default(),
            json: JsonSettings::default(),
            protocol: Protocol::Resp2,
            values_bytes_max,
            names: Names::default(),
        }
    }

    /// Makes everything a script can change as it was for the first one.
    pub fn reset(&mut self) {
        self.host = None;
        self.stopping = false;
        self.reply = None;
        self.place = None;
        self.random = Random::default();
        self.json = JsonSettings::default();
        self.protocol = Protocol::Resp2;
        self.text.clear();
        self.text.shrink_to(TEXT_KEPT_BYTES);
    }

    /// Asks the host something; `None` when the script is to be abandoned because the host panicked.
    pub unsafe fn ask<R>(context: *mut Context, question: impl FnOnce(&mut dyn Host) -> R) -> Option<R> {
        let host = (*context).host?;
        match catch_unwind(AssertUnwindSafe(|| question(&mut *host))) {
            Ok(answer) => Some(answer),
            Err(panic) => {
                (*context).panic = Some(panic);
                None
            }
        }
    }
}
