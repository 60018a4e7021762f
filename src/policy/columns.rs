//! Sets of a table's columns.

use smallvec::SmallVec;

/// Which columns of a [`crate::change::Table`], by their place in its list.
///
/// Sets compare equal when they hold the same columns of the same table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ColumnSet {
    words: SmallVec<[u64; 2]>,
}

impl ColumnSet {
    /// Whether the column is in the set.
    pub fn contains(&self, column: usize) -> bool {
        self.words.get(column / 64).is_some_and(|word| word >> (column % 64) & 1 == 1)
    }

    /// Adds a column.
    pub fn insert(&mut self, column: usize) {
        let word = column / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (column % 64);
    }

    /// Whether no column is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The columns in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut words: SmallVec<[u64; 2]> =
            self.words.iter().zip(&other.words).map(|(left, right)| left & right).collect();
        // Equal sets must have equal words.
        while words.last() == Some(&0) {
            words.pop();
        }
        Self { words }
    }
}

impl FromIterator<usize> for ColumnSet {
    fn from_iter<I: IntoIterator<Item = usize>>(columns: I) -> Self {
        let mut set = Self::default();
        columns.into_iter().for_each(|column| set.insert(column));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_put_in_and_nothing_else() {
        let set: ColumnSet = [0, 63, 64, 1599].into_iter().collect();
        let held: Vec<usize> = (0..2000).filter(|column| set.contains(*column)).collect();
        assert_eq!(held, [0, 63, 64, 1599]);
    }

    #[test]
    fn equal_sets_compare_equal_however_made() {
        let large: ColumnSet = [1, 200].into_iter().collect();
        let small: ColumnSet = [1].into_iter().collect();
        assert_eq!(large.intersection(&small), small);
        assert!(large.intersection(&[3].into_iter().collect()).is_empty());
    }
}
