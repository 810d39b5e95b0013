//! A run of list items in one piece of memory, and the form in which it lies in the cold store.
//!
//! Items have a *physical* index, in the order in which they were pushed. A chunk that grows to the left keeps the same
//! form: the list that owns it knows the direction.

use super::layout::{self, Corrupt, Reader};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    data: Vec<u8>,
    /// The end of each item in `data`.
    ends: Vec<u32>,
}

impl Chunk {
    /// Makes an empty chunk with room for `bytes` of items.
    pub fn with_capacity(bytes: usize) -> Chunk {
        Chunk { data: Vec::with_capacity(bytes), ends: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of all items together.
    pub fn data_bytes(&self) -> usize {
        self.data.len()
    }

    /// What the chunk costs in memory.
    pub fn memory_bytes(&self) -> usize {
        self.data.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    /// The item with this physical index.
    pub fn item(&self, index: u32) -> &[u8] {
        let index = index as usize;
        &self.data[self.start(index)..self.ends[index] as usize]
    }

    /// Appends an item.
    pub fn push(&mut self, item: &[u8]) {
        self.data.extend_from_slice(item);
        self.ends.push(u32::try_from(self.data.len()).expect("a chunk is far smaller than 4 GiB, as is an item"));
    }

    /// Writes the stored form: version, then LZ4 of the items, and the crc over all of it.
    pub fn encode(&self, object: u64) -> Vec<u8> {
        let mut plain = Vec::with_capacity(self.data.len() + self.ends.len() * 2 + 16);
        layout::put_varint(&mut plain, object);
        self.write_items(&mut plain);
        let mut out = vec![layout::CHUNK_VERSION];
        out.extend_from_slice(&lz4_flex::block::compress_prepend_size(&plain));
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the stored form, and checks that it belongs to `object`.
    pub fn decode(bytes: &[u8], object: u64) -> Result<Chunk, Corrupt> {
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(Corrupt("chunk too short"))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(Corrupt("chunk crc does not match"));
        }
        let (version, packed) = body.split_first().ok_or(Corrupt("chunk too short"))?;
        if *version != layout::CHUNK_VERSION {
            return Err(Corrupt("chunk of an unknown version"));
        }
        let plain = lz4_flex::block::decompress_size_prepended(packed).map_err(|_| Corrupt("chunk does not unpack"))?;
        let mut reader = Reader::new(&plain);
        if reader.varint()? != object {
            return Err(Corrupt("chunk of another object"));
        }
        Chunk::read_items(&mut reader)
    }

    /// Writes count, lengths and bytes of the items.
    pub fn write_items(&self, out: &mut Vec<u8>) {
        layout::put_varint(out, self.ends.len() as u64);
        for index in 0..self.ends.len() {
            layout::put_varint(out, (self.ends[index] as usize - self.start(index)) as u64);
        }
        out.extend_from_slice(&self.data);
    }

    /// Reads what [`write_items`](Self::write_items) wrote.
    pub fn read_items(reader: &mut Reader<'_>) -> Result<Chunk, Corrupt> {
        let count = reader.varint()? as usize;
        let mut ends = Vec::with_capacity(count.min(reader.left()));
        let mut end = 0u64;
        for _ in 0..count {
            end += reader.varint()?;
            ends.push(u32::try_from(end).map_err(|_| Corrupt("chunk too long"))?);
        }
        Ok(Chunk { data: reader.take(end as usize)?.to_vec(), ends })
    }

    fn start(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.ends[index - 1] as usize }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_stored_chunk_comes_back_as_it_was(items in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..50)) {
            let mut chunk = Chunk::default();
            items.iter().for_each(|item| chunk.push(item));
            let stored = chunk.encode(7);
            prop_assert_eq!(&Chunk::decode(&stored, 7).unwrap(), &chunk);
            prop_assert!(Chunk::decode(&stored, 8).is_err());
            for (index, item) in items.iter().enumerate() {
                prop_assert_eq!(chunk.item(index as u32), &item[..]);
            }
        }

        #[test]
        fn a_flipped_bit_is_found(at in 0usize..1000, bit in 0u8..8) {
            let mut chunk = Chunk::default();
            chunk.push(b"a job");
            let mut stored = chunk.encode(7);
            let at = at % stored.len();
            stored[at] ^= 1 << bit;
            prop_assert!(Chunk::decode(&stored, 7).is_err());
        }
    }
}
