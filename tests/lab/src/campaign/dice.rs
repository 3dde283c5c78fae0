//! Random numbers of a seed.

use std::ops::RangeInclusive;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What they are for: each purpose has a stream of its own, so that what is drawn for one does not change the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Faults = 0,
    Profile = 1,
    Load = 2,
    Slips = 3,
    Sequences = 4,
}

/// Random numbers that mean the same everywhere. The stream of `ChaCha` is a published cipher's, `rand_chacha` documents its
/// generators as deterministic and portable and tests them against the published values; `fastrand` has changed its
/// algorithm in a minor version (2.1.0). The ranges and shuffles of `rand` may change between versions, too, so what is made
/// of the stream is written out here.
#[derive(Debug)]
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn with(seed: u64, purpose: Purpose) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8] = purpose as u8;
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A number from 0 to `count` - 1. That the lower ones come more often is not to be seen with counts like these.
    pub(crate) fn below(&mut self, count: u64) -> u64 {
        self.0.next_u64() % count.max(1)
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        usize::try_from(self.below(length)).unwrap_or_default()
    }

    pub(crate) fn within(&mut self, range: &RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// By Fisher and Yates.
    pub(crate) fn shuffle<T>(&mut self, cards: &mut [T]) {
        for last in (1..cards.len()).rev() {
            let other = self.index(last + 1);
            cards.swap(last, other);
        }
    }
}
