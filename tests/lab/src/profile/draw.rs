//! A profile drawn by a seed: each choice is plain half of the time. What cannot be had is drawn again.

use clap::ValueEnum;

use super::Profile;
use crate::campaign::dice::{Dice, Purpose};

impl Profile {
    /// The same for the same seed, on every machine.
    pub(crate) fn draw(seed: u64) -> Self {
        let mut dice = Dice::with(seed, Purpose::Profile);
        loop {
            let profile = drawn(&mut dice);
            if profile.clash().is_none() {
                return profile;
            }
        }
    }
}

fn drawn(dice: &mut Dice) -> Profile {
    Profile {
        nodes: choice(dice),
        wal: choice(dice),
        slots: choice(dice),
        guard: choice(dice),
        rejoin: choice(dice),
        follow: choice(dice),
        commits: choice(dice),
        role: choice(dice),
        layout: choice(dice),
        archive: choice(dice),
        delay: choice(dice),
        cascade: choice(dice),
        constraint: choice(dice),
    }
}

/// The plain one comes first.
fn choice<T: ValueEnum>(dice: &mut Dice) -> T {
    let all = T::value_variants();
    let number = if dice.below(2) == 0 { 0 } else { dice.index(all.len()) };
    all[number].clone()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_means_one_profile_that_can_be_had() {
        for seed in 0..200 {
            let profile = Profile::draw(seed);
            assert_eq!(profile, Profile::draw(seed));
            assert_eq!(profile.clash(), None, "seed {seed}: {profile}");
        }
    }

    #[test]
    fn every_word_is_drawn() {
        let texts: String = (0..300).map(|seed| format!("{},", Profile::draw(seed))).collect();
        let words: BTreeSet<&str> = texts.split(',').collect();
        let wanted = ["nodes=two", "nodes=five", "slots=bounded", "slots=yes", "layout=linked", "constraint=ban"];
        assert!(wanted.iter().all(|word| words.contains(word)), "{words:?}");
    }
}
