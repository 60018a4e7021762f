//! A hash table of places: small, with keys and hashes kept elsewhere.
//!
//! Open addressing with linear probing; a removal moves back what it stood in the way of, so that nothing is left behind
//! by rows that come and go.

/// Marks an empty bucket.
const EMPTY: u32 = u32::MAX;

/// How many buckets there are at least.
const BUCKETS_MIN: usize = 8;

/// A set of places, found by a hash and a test.
#[derive(Debug, Default)]
pub(super) struct PlaceTable {
    /// A power of two of them, or none.
    buckets: Vec<u32>,
    length: usize,
}

impl PlaceTable {
    /// The place with this hash that passes the test.
    pub(super) fn find(&self, hash: u64, test: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.buckets.len().checked_sub(1)?;
        let mut at = bucket(hash, mask);
        loop {
            match self.buckets.get(at).copied() {
                None | Some(EMPTY) => return None,
                Some(place) if test(place) => return Some(place),
                Some(_) => at = (at + 1) & mask,
            }
        }
    }

    /// Adds a place; `hash_of` says the hash of each that is there.
    pub(super) fn insert(&mut self, hash: u64, place: u32, hash_of: impl Fn(u32) -> u64) {
        // Up to seven eighths of the buckets are used.
        if (self.length + 1) * 8 > self.buckets.len() * 7 {
            let buckets = vec![EMPTY; (self.buckets.len() * 2).max(BUCKETS_MIN)];
            for place in std::mem::replace(&mut self.buckets, buckets) {
                if place != EMPTY {
                    self.put(hash_of(place), place);
                }
            }
        }
        self.put(hash, place);
        self.length += 1;
    }

    fn put(&mut self, hash: u64, place: u32) {
        let mask = self.buckets.len().saturating_sub(1);
        let mut at = bucket(hash, mask);
        while self.buckets.get(at).is_some_and(|bucket| *bucket != EMPTY) {
            at = (at + 1) & mask;
        }
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket = place;
        }
    }

    /// Removes a place.
    pub(super) fn remove(&mut self, hash: u64, place: u32, hash_of: impl Fn(u32) -> u64) {
        let Some(mask) = self.buckets.len().checked_sub(1) else { return };
        let mut hole = bucket(hash, mask);
        while self.buckets[hole] != place {
            if self.buckets[hole] == EMPTY {
                return;
            }
            hole = (hole + 1) & mask;
        }
        self.length -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let candidate = self.buckets[at];
            if candidate == EMPTY {
                break;
            }
            // It may move back if its own bucket is not between the hole and where it stands.
            let home = bucket(hash_of(candidate), mask);
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.buckets[hole] = candidate;
                hole = at;
            }
        }
        self.buckets[hole] = EMPTY;
    }

    /// How many bytes it holds.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<u32>()
    }
}

/// The bucket that a hash belongs to.
#[allow(clippy::cast_possible_truncation, reason = "the mask leaves fewer bits than a usize has")]
fn bucket(hash: u64, mask: usize) -> usize {
    hash as usize & mask
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few hashes, so that places stand in each other's way.
        #[test]
        fn holds_what_was_put_into_it(steps in prop::collection::vec((any::<bool>(), 0_u32..40), 0..400)) {
            let hash_of = |place: u32| u64::from(place % 7) * 3;
            let (mut table, mut model) = (PlaceTable::default(), BTreeSet::new());
            for (insert, place) in steps {
                if insert && model.insert(place) {
                    table.insert(hash_of(place), place, hash_of);
                } else if !insert {
                    model.remove(&place);
                    table.remove(hash_of(place), place, hash_of);
                }
                for place in 0..40 {
                    let found = table.find(hash_of(place), |found| found == place);
                    prop_assert_eq!(found.is_some(), model.contains(&place));
                }
            }
        }
    }
}
