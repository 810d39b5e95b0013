//! Values by number, in blocks: growing never moves what is there, so it costs no turn however many there are.

use std::ops::{Index, IndexMut};

const BLOCK: usize = 4096;

/// See the module.
#[derive(Debug)]
pub struct Slab<T> {
    blocks: Vec<Vec<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab { blocks: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Puts a value in, and gives its number.
    pub fn insert(&mut self, value: T) -> u32 {
        if let Some(free) = self.free.pop() {
            self[free] = value;
            return free;
        }
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            // The first block grows as it must: most queues have few lanes.
            self.blocks.push(if self.blocks.is_empty() { Vec::new() } else { Vec::with_capacity(BLOCK) });
        }
        let before = (self.blocks.len() - 1) * BLOCK;
        let block = self.blocks.last_mut().expect("there is one with room");
        block.push(value);
        u32::try_from(before + block.len() - 1).expect("memory ends before numbers do")
    }

    /// Frees a number; its value stays until the number is used again.
    pub fn free(&mut self, number: u32) {
        self.free.push(number);
    }

    pub fn memory_bytes(&self) -> usize {
        // All but the first are made whole.
        let values = self.blocks.first().map_or(0, |first| first.capacity() + (self.blocks.len() - 1) * BLOCK);
        values * size_of::<T>() + self.free.capacity() * size_of::<u32>()
    }

    /// One more than the largest number that was ever in use.
    pub fn end(&self) -> u32 {
        self.blocks.last().map_or(0, |last| ((self.blocks.len() - 1) * BLOCK + last.len()) as u32)
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        &self.blocks[number as usize / BLOCK][number as usize % BLOCK]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.blocks[number as usize / BLOCK][number as usize % BLOCK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_and_values_stay_where_they_are() {
        let mut slab = Slab::default();
        let numbers: Vec<u32> = (0..3 * BLOCK as u32).map(|value| slab.insert(value)).collect();
        assert!(numbers.iter().all(|number| slab[*number] == *number));
        slab.free(7);
        slab.free(BLOCK as u32 + 1);
        assert_eq!((slab.insert(1), slab.insert(2)), (BLOCK as u32 + 1, 7));
        assert_eq!((slab[BLOCK as u32 + 1], slab[7]), (1, 2));
        assert_eq!(slab.end() as usize, 3 * BLOCK);
    }
}
