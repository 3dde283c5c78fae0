//! Sets and maps that are filled one by one.
//!
//! `collect` sorts first, and the program has a sort of its own for each type then, 5 kB each. Here there are a few nodes, slots
//! or files, and nothing to gain by that.

use std::collections::{BTreeMap, BTreeSet};

/// For every iterator. Of equal keys the last one counts, as with `collect`.
pub trait Gather: Iterator + Sized {
    /// As a set.
    fn into_set(self) -> BTreeSet<Self::Item>
    where
        Self::Item: Ord,
    {
        let mut set = BTreeSet::new();
        set.extend(self);
        set
    }

    /// As a map.
    fn into_map<K: Ord, V>(self) -> BTreeMap<K, V>
    where
        Self: Iterator<Item = (K, V)>,
    {
        let mut map = BTreeMap::new();
        map.extend(self);
        map
    }
}

impl<I: Iterator> Gather for I {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_collect_makes() {
        let pairs = [(2, 'a'), (1, 'b'), (2, 'c')];
        assert_eq!(pairs.into_iter().into_map(), pairs.into_iter().collect());
        assert_eq!(pairs.into_iter().into_set(), pairs.into_iter().collect());
    }
}
