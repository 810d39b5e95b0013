//! What a key can hold, and how a value that is not a list is written whole.

use super::fields::Fields;
use super::layout::{self, Corrupt, Reader};
use super::list::List;
use super::zset::Zset;

/// The type of a value. The numbers are persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    String = 1,
    List = 2,
    Hash = 3,
    Set = 4,
    Zset = 5,
}

impl Kind {
    pub fn from_number(number: u8) -> Result<Kind, Corrupt> {
        Ok(match number {
            1 => Kind::String,
            2 => Kind::List,
            3 => Kind::Hash,
            4 => Kind::Set,
            5 => Kind::Zset,
            _ => return Err(Corrupt("value of an unknown type")),
        })
    }

    /// The name that TYPE answers.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Hash => "hash",
            Kind::Set => "set",
            Kind::Zset => "zset",
        }
    }
}

pub type Hash = Fields<Box<[u8]>>;
pub type Set = Fields<()>;

/// See the module.
#[derive(Debug)]
pub enum Value {
    String(Vec<u8>),
    List(Box<List>),
    Hash(Box<Hash>),
    Set(Box<Set>),
    Zset(Box<Zset>),
    /// In the cold store, whole; its object says how to fetch it.
    Cold(Cold),
}

/// What stays of a value that has left memory.
#[derive(Debug, Clone, Copy)]
pub struct Cold {
    pub kind: Kind,
    /// Bytes of the whole in the store.
    pub bytes: u64,
    /// In how many rows it lies; 0 when it lies inline in its key's row.
    pub pieces: u32,
}

impl Value {
    /// Makes an empty value.
    pub fn new(kind: Kind) -> Value {
        match kind {
            Kind::String => Value::String(Vec::new()),
            Kind::List => Value::List(Box::default()),
            Kind::Hash => Value::Hash(Box::default()),
            Kind::Set => Value::Set(Box::default()),
            Kind::Zset => Value::Zset(Box::default()),
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Value::String(_) => Kind::String,
            Value::List(_) => Kind::List,
            Value::Hash(_) => Kind::Hash,
            Value::Set(_) => Kind::Set,
            Value::Zset(_) => Kind::Zset,
            Value::Cold(cold) => cold.kind,
        }
    }

    /// Tells whether this is a collection without elements, whose key goes with it.
    pub fn is_empty_collection(&self) -> bool {
        match self {
            Value::String(_) | Value::Cold(_) => false,
            Value::List(list) => list.is_empty(),
            Value::Hash(hash) => hash.is_empty(),
            Value::Set(set) => set.is_empty(),
            Value::Zset(zset) => zset.is_empty(),
        }
    }

    /// What the value costs in memory.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Value::String(bytes) => bytes.capacity(),
            Value::List(list) => list.memory_bytes(),
            Value::Hash(hash) => hash.memory_bytes(),
            Value::Set(set) => set.memory_bytes(),
            Value::Zset(zset) => zset.memory_bytes(),
            Value::Cold(_) => 0,
        }
    }

    /// How many of its pieces are in the store only.
    pub fn cold_count(&self) -> usize {
        match self {
            Value::List(list) => list.cold_count(),
            Value::Cold(_) => 1,
            _ => 0,
        }
    }

    /// Writes a value that is in memory and not a list.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::String(bytes) => out.extend_from_slice(bytes),
            Value::Hash(hash) => {
                layout::put_varint(out, hash.len() as u64);
                for (field, value) in hash.iter() {
                    layout::put_bytes(out, field);
                    layout::put_bytes(out, value);
                }
            }
            Value::Set(set) => {
                layout::put_varint(out, set.len() as u64);
                set.iter().for_each(|(member, ())| layout::put_bytes(out, member));
            }
            Value::Zset(zset) => {
                layout::put_varint(out, zset.len() as u64);
                for (member, score) in zset.iter_from_rank(0) {
                    out.extend_from_slice(&score.to_le_bytes());
                    layout::put_bytes(out, member);
                }
            }
            Value::List(_) | Value::Cold(_) => unreachable!("lists are saved by chunks, and what is cold is saved"),
        }
    }

    /// Reads what [`write`](Self::write) wrote.
    pub fn read(kind: Kind, bytes: &[u8]) -> Result<Value, Corrupt> {
        let mut value = Value::new(kind);
        let mut reader = Reader::new(bytes);
        match &mut value {
            Value::String(string) => string.extend_from_slice(reader.rest()),
            Value::Hash(hash) => {
                for _ in 0..reader.varint()? {
                    let field = reader.bytes()?;
                    hash.put(field, reader.bytes()?.into());
                }
            }
            Value::Set(set) => {
                for _ in 0..reader.varint()? {
                    set.put(reader.bytes()?, ());
                }
            }
            Value::Zset(zset) => {
                for _ in 0..reader.varint()? {
                    let score = f64::from_le_bytes(reader.take(8)?.try_into().expect("eight bytes were taken"));
                    if score.is_nan() {
                        return Err(Corrupt("score is not a number"));
                    }
                    zset.put(reader.bytes()?, score);
                }
            }
            Value::List(_) | Value::Cold(_) => return Err(Corrupt("a list is not stored whole")),
        }
        Ok(value)
    }

    /// Frees part of the memory, so that a huge value dies in steps; tells whether any is left.
    pub fn shrink(&mut self, entries: usize) -> bool {
        match self {
            Value::Hash(hash) => hash.shrink(entries),
            Value::Set(set) => set.shrink(entries),
            Value::Zset(zset) => zset.shrink(entries),
            Value::String(_) | Value::List(_) | Value::Cold(_) => false,
        }
    }
}
