//! An ordered map that also knows ranks: sorted leaves of at most `FENCE_ROWS` entries, and over them the fences —
//! separator and count of every leaf. Rank and select cost one pass over the counts, which is short because leaves are
//! long; nothing is ever rehashed, so no insert stalls.

use std::cmp::Ordering;

/// Entries in one leaf: inserts move at most this many entries, and a million entries have some 10,000 fences.
const FENCE_ROWS: usize = 128;

/// See the module. Keys are unique.
#[derive(Debug, Clone)]
pub struct Ordered<K, V> {
    leaves: Vec<Vec<(K, V)>>,
    len: usize,
}

impl<K, V> Default for Ordered<K, V> {
    fn default() -> Self {
        Ordered { leaves: Vec::new(), len: 0 }
    }
}

/// Where an entry is: leaf and place in it. Valid until the next change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    leaf: usize,
    at: usize,
}

impl<K, V> Ordered<K, V> {
    /// The number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Finds by a comparison: `order(key)` tells how the key stands to what is looked for.
    pub fn get_by(&self, order: impl Fn(&K) -> Ordering) -> Option<&(K, V)> {
        let (place, found) = self.place(&order);
        found.then(|| &self.leaves[place.leaf][place.at])
    }

    /// Removes by a comparison.
    pub fn remove_by(&mut self, order: impl Fn(&K) -> Ordering) -> Option<(K, V)> {
        let (place, found) = self.place(&order);
        if !found {
            return None;
        }
        let leaf = &mut self.leaves[place.leaf];
        let entry = leaf.remove(place.at);
        if leaf.is_empty() {
            self.leaves.remove(place.leaf);
        } else if leaf.len() < FENCE_ROWS / 4 {
            self.join(place.leaf);
        }
        self.len -= 1;
        Some(entry)
    }

    /// The number of entries for which `before` holds; they must be a prefix of the order.
    pub fn rank_by(&self, before: impl Fn(&K) -> bool) -> usize {
        let place = self.partition(&before);
        self.leaves[..place.leaf].iter().map(Vec::len).sum::<usize>() + place.at
    }

    /// The entry with this many entries before it.
    pub fn select(&self, rank: usize) -> Option<&(K, V)> {
        self.iter_from_rank(rank).next()
    }

    /// Visits entries in order, from the one with this many before it.
    pub fn iter_from_rank(&self, rank: usize) -> impl Iterator<Item = &(K, V)> {
        let place = self.at_rank(rank);
        self.iter_from_place(place)
    }

    /// Visits entries in order, from the first for which `before` does not hold.
    pub fn iter_from(&self, before: impl Fn(&K) -> bool) -> impl Iterator<Item = &(K, V)> {
        let place = self.partition(&before);
        self.iter_from_place(place)
    }

    /// Visits the entries with fewer than `rank` entries before them, last first.
    pub fn iter_back_from_rank(&self, rank: usize) -> impl Iterator<Item = &(K, V)> {
        let place = self.at_rank(rank);
        let head = self.leaves.get(place.leaf).map_or(&[][..], |leaf| &leaf[..place.at]);
        head.iter()
            .rev()
            .chain(self.leaves[..place.leaf.min(self.leaves.len())].iter().rev().flat_map(|leaf| leaf.iter().rev()))
    }

    /// Visits all entries in order.
    pub fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.leaves.iter().flatten()
    }

    /// Takes the last entry.
    pub fn pop_last(&mut self) -> Option<(K, V)> {
        let leaf = self.leaves.last_mut()?;
        let entry = leaf.pop()?;
        if leaf.is_empty() {
            self.leaves.pop();
        }
        self.len -= 1;
        Some(entry)
    }

    fn iter_from_place(&self, place: Place) -> impl Iterator<Item = &(K, V)> {
        let tail = self.leaves.get(place.leaf).map_or(&[][..], |leaf| &leaf[place.at..]);
        let rest = self.leaves.get(place.leaf + 1..).unwrap_or(&[]);
        tail.iter().chain(rest.iter().flatten())
    }

    fn at_rank(&self, rank: usize) -> Place {
        let mut left = rank;
        for (index, leaf) in self.leaves.iter().enumerate() {
            if left < leaf.len() {
                return Place { leaf: index, at: left };
            }
            left -= leaf.len();
        }
        Place { leaf: self.leaves.len(), at: 0 }
    }

    /// The first place for which `before` does not hold.
    fn partition(&self, before: &impl Fn(&K) -> bool) -> Place {
        let leaf = self.leaves.partition_point(|leaf| leaf.last().is_some_and(|(key, _)| before(key)));
        let at = self.leaves.get(leaf).map_or(0, |leaf| leaf.partition_point(|(key, _)| before(key)));
        Place { leaf, at }
    }

    fn place(&self, order: &impl Fn(&K) -> Ordering) -> (Place, bool) {
        let place = self.partition(&|key: &K| order(key) == Ordering::Less);
        let found = self.leaves.get(place.leaf).is_some_and(|leaf| order(&leaf[place.at].0) == Ordering::Equal);
        (place, found)
    }

    /// Joins a short leaf with a neighbour, if both fit into one.
    fn join(&mut self, index: usize) {
        if self.leaves.len() < 2 {
            return;
        }
        let other = index.min(self.leaves.len() - 2);
        if self.leaves[other].len() + self.leaves[other + 1].len() <= FENCE_ROWS / 2 {
            let tail = self.leaves.remove(other + 1);
            self.leaves[other].extend(tail);
        }
    }
}

impl<K, V> Ordered<K, V> {
    /// Finds by a comparison, for changing the value; otherwise answers where the key belongs.
    pub fn find_mut(&mut self, order: impl Fn(&K) -> Ordering) -> Result<&mut V, Place> {
        let (place, found) = self.place(&order);
        if found { Ok(&mut self.leaves[place.leaf][place.at].1) } else { Err(place) }
    }

    /// Puts an entry where [`find_mut`](Self::find_mut) has said that it belongs; nothing may have changed since.
    pub fn insert_at(&mut self, mut place: Place, key: K, value: V) {
        if place.leaf == self.leaves.len() {
            // Behind everything: append to the last leaf.
            match self.leaves.len().checked_sub(1) {
                None => {
                    self.leaves.push(Vec::new());
                    place = Place { leaf: 0, at: 0 };
                }
                Some(last) => place = Place { leaf: last, at: self.leaves[last].len() },
            }
        }
        if self.leaves[place.leaf].len() >= FENCE_ROWS {
            // A leaf that fills in order is left full, as sorted loads would otherwise leave every leaf half empty.
            let middle = if place.at == FENCE_ROWS { FENCE_ROWS } else { FENCE_ROWS / 2 };
            let tail = self.leaves[place.leaf].split_off(middle);
            self.leaves.insert(place.leaf + 1, tail);
            if place.at >= middle {
                place = Place { leaf: place.leaf + 1, at: place.at - middle };
            }
        }
        self.leaves[place.leaf].insert(place.at, (key, value));
        self.len += 1;
    }
}

impl<K: Ord, V> Ordered<K, V> {
    /// Puts an entry; answers the value that stood there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find_mut(|other| other.cmp(&key)) {
            Ok(old) => Some(std::mem::replace(old, value)),
            Err(place) => {
                self.insert_at(place, key, value);
                None
            }
        }
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.remove_by(|other| other.cmp(key)).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_answers_as_a_btreemap_does(steps in prop::collection::vec((0u8..4, 0u32..3000), 0..4000)) {
            let (mut ours, mut model) = (Ordered::default(), BTreeMap::new());
            for (step, key) in steps {
                match step {
                    0 | 1 => prop_assert_eq!(ours.insert(key, step), model.insert(key, step)),
                    2 => prop_assert_eq!(ours.remove(&key), model.remove(&key)),
                    _ => {
                        let found = ours.get_by(|other| other.cmp(&key)).map(|(_, value)| value);
                        prop_assert_eq!(found, model.get(&key));
                        prop_assert_eq!(ours.rank_by(|other| *other < key), model.range(..key).count());
                    }
                }
                prop_assert_eq!(ours.len(), model.len());
            }
            let rank = model.len() / 2;
            prop_assert!(ours.iter_from_rank(rank).map(|(key, _)| key).eq(model.keys().skip(rank)));
            prop_assert!(ours.iter_back_from_rank(rank).map(|(key, _)| key).eq(model.keys().take(rank).rev()));
            prop_assert_eq!(ours.pop_last(), model.pop_last());
        }
    }

    #[test]
    fn a_sorted_load_fills_its_leaves() {
        let mut ours = Ordered::default();
        for key in 0..10_000 {
            ours.insert(key, ());
        }
        assert_eq!(ours.leaves.len(), 10_000usize.div_ceil(FENCE_ROWS));
    }
}
