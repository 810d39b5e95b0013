//! The first line of a script that begins with `#!`, such as `#!lua flags=no-writes,allow-stale`.

use crate::resp::Error;

/// What a script says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// There was a `#!` line; without one Redis lets a script do what its commands may do.
    pub declared: bool,
    pub no_writes: bool,
    pub allow_oom: bool,
    pub allow_stale: bool,
    pub no_cluster: bool,
    pub allow_cross_slot_keys: bool,
}

/// Returns where the Lua text begins, and the flags.
///
/// The text begins at the line break that ends the `#!` line, so that Lua counts the lines as the author does.
pub fn read(source: &[u8]) -> Result<(usize, Flags), Error> {
    if !source.starts_with(b"#!") {
        return Ok((0, Flags::default()));
    }
    let body = source.iter().position(|&byte| byte == b'\n').ok_or(Error::new("ERR Invalid script shebang"))?;
    let line = String::from_utf8_lossy(&source[..body]);
    let mut words = line.split_ascii_whitespace();
    let engine = words.next().unwrap_or_default();
    if engine != "#!lua" {
        return Err(Error::new(format!("ERR Unexpected engine in script shebang: {engine}")));
    }
    let mut flags = Flags { declared: true, ..Flags::default() };
    for word in words {
        let names =
            word.strip_prefix("flags=").ok_or_else(|| Error::new(format!("ERR Unknown lua shebang option: {word}")))?;
        for name in names.split(',') {
            match name {
                "no-writes" => flags.no_writes = true,
                "allow-oom" => flags.allow_oom = true,
                "allow-stale" => flags.allow_stale = true,
                "no-cluster" => flags.no_cluster = true,
                "allow-cross-slot-keys" => flags.allow_cross_slot_keys = true,
                _ => return Err(Error::new(format!("ERR Unexpected flag in script shebang: {name}"))),
            }
        }
    }
    Ok((body, flags))
}
