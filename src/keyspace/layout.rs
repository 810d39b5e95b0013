//! Every byte layout that is persisted, as one table. Numbers here are on people's disks: none is ever used anew.
//!
//! | where | key | value |
//! |---|---|---|
//! | keys | `namespace u64 BE · hash64(key) u64 BE · tag u8 · key` | `version u8 · kind u8 · object · expire_ms · lsn · pieces · long key · body` (numbers as varints) |
//! | keys, list | | body = `next_front · next_back · length · last popped side` |
//! | keys, other, pieces = 0 | | body = the object whole (module `value`) |
//! | rows | `object u64 BE · piece u32 BE` | the object's bytes, ≤ `piece_bytes` each |
//! | dir | `object u64 BE · base u64 BE` | `version u8 · flags u8 · low · high · bytes · holes · [summary] · [batch·index, or items]` |
//! | sys | `state` | `version u8 · last lsn · complete up to lsn · next object · next namespace · next batch · count of databases · namespace of each` |
//! | sys | `queue/` · `database · key` | `version u8 · flags u8 · lsn · pushed · popped · removed` |
//! | chunks | batch u44 · index u20 | `version u8 · LZ4(object · items) · crc32 LE` |
//!
//! Keys over [`KEY_BYTES_MAX`] are cut to a prefix and followed by a 256-bit hash, with a tag byte of their own, and stand
//! whole in the value.

/// Version of a stored chunk.
pub const CHUNK_VERSION: u8 = 1;
/// Version of a row in `keys` and `dir`.
pub const ROW_VERSION: u8 = 1;
/// The row of `sys` with numbers and namespaces.
pub const SYS_STATE_KEY: &[u8] = b"state";
/// The rows of `sys` with what became of each queue's jobs.
pub const SYS_QUEUE_PREFIX: &[u8] = b"queue/";
/// The namespace of what the server keeps for itself, such as rules; no flush gives it another.
pub const SYSTEM_NAMESPACE: u64 = u64::MAX;
/// Tag bytes before the key in the name of a key's row.
pub const SHORT_KEY: u8 = 0;
pub const LONG_KEY: u8 = 1;
/// fjall takes keys of up to 64 KiB; longer ones than this are stored hashed.
pub const KEY_BYTES_MAX: usize = 32 * 1024;

/// Bytes on disk that are not what this program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored data is damaged: {0}")]
pub struct Corrupt(pub &'static str);

/// Appends a LEB128 number.
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends bytes with their length before them.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads a layout from its front; every read is checked against the end.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    pub fn byte(&mut self) -> Result<u8, Corrupt> {
        Ok(self.take(1)?[0])
    }

    pub fn varint(&mut self) -> Result<u64, Corrupt> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Corrupt("number too long"))
    }

    pub fn u64(&mut self) -> Result<u64, Corrupt> {
        Ok(u64::from_be_bytes(self.take(8)?.try_into().expect("eight bytes were taken")))
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], Corrupt> {
        let length = self.varint()?;
        self.take(usize::try_from(length).map_err(|_| Corrupt("length too long"))?)
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Corrupt> {
        if count > self.rest.len() {
            return Err(Corrupt("ends too early"));
        }
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(taken)
    }

    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}
