//! Faults that come before the cluster is whole again: one round in five is made of two or three, and one in fifteen of so many
//! that full strength is not reached for ten faults. The same seed makes the same ones.

use super::dice::{Dice, Purpose};
use super::draw::SLIPS;
use super::fault::{Fault, Kind, Victim};

/// How long after the fault before it the next one is made, in milliseconds: most failovers take less, a return more.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 4_000..=15_000;
const SIEGE: usize = 10;
/// One round in so many.
const ROUNDS_PER_SEQUENCE: u64 = 5;
const SEQUENCES_PER_SIEGE: u64 = 3;
const ROUNDS_PER_SLIP: u64 = 3;
/// How long after a round's first fault a slip is made, in milliseconds.
const SLIP_MS: std::ops::RangeInclusive<u64> = 0..=6_000;

/// Joins rounds. One with a small volume for WAL stays alone: that is lost with its node's power.
pub(super) fn sequences(seed: u64, mut rounds: impl Iterator<Item = Vec<Fault>>) -> impl Iterator<Item = Vec<Fault>> {
    let mut dice = Dice::with(seed, Purpose::Sequences);
    std::iter::from_fn(move || {
        let round = rounds.next()?;
        let length = length(&mut dice);
        if length == 1 || needs_volume(&round) {
            return Some(round);
        }
        let mut joined = round;
        for next in rounds.by_ref().filter(|round| !needs_volume(round)) {
            let after = last(&joined) + dice.within(&PAUSE_MS);
            joined.extend(next.into_iter().map(|fault| Fault { after_ms: after + fault.after_ms, ..fault }));
            if joined.len() >= length {
                break;
            }
        }
        Some(joined)
    })
}

/// How many faults.
fn length(dice: &mut Dice) -> usize {
    if dice.below(ROUNDS_PER_SEQUENCE) > 0 {
        return 1;
    }
    match dice.below(SEQUENCES_PER_SIEGE) {
        0 => SIEGE,
        _ => 2 + dice.index(2),
    }
}

fn last(faults: &[Fault]) -> u64 {
    faults.iter().map(|fault| fault.after_ms).max().unwrap_or_default()
}

fn needs_volume(round: &[Fault]) -> bool {
    round.iter().any(|fault| fault.kind == Kind::WalVolumeFull)
}

/// Adds a slip of an administrator to one round in three.
pub(super) fn with_slips(
    seed: u64,
    standbys: usize,
    rounds: impl Iterator<Item = Vec<Fault>>,
) -> impl Iterator<Item = Vec<Fault>> {
    let mut dice = Dice::with(seed, Purpose::Slips);
    rounds.map(move |mut round| {
        let slip = slip(&mut dice, standbys);
        if dice.below(ROUNDS_PER_SLIP) == 0 && !needs_volume(&round) {
            round.push(slip);
        }
        round
    })
}

fn slip(dice: &mut Dice, standbys: usize) -> Fault {
    let kind = SLIPS[dice.index(SLIPS.len())];
    let standby = Victim::Standby(dice.index(standbys));
    let either = if dice.below(2) == 0 { Victim::Primary } else { standby };
    let victim = match kind {
        Kind::PromotedByHand | Kind::RestoredBackup => standby,
        Kind::AgentShutOut => Victim::All,
        _ => either,
    };
    let (lasts_ms, after_ms) = (4_000 + dice.below(10_000), dice.within(&SLIP_MS));
    Fault { kind, victim, lasts_ms, after_ms, choice: dice.below(1 << 32) }
}

#[cfg(test)]
mod tests {
    use super::super::draw::draw;
    use super::*;

    fn drawn(seed: u64) -> Vec<Vec<Fault>> {
        sequences(seed, with_slips(seed, 2, draw(seed, 3))).take(100).collect()
    }

    #[test]
    fn a_seed_means_the_same_sequences() {
        assert_eq!(drawn(5), drawn(5));
    }

    #[test]
    fn some_rounds_are_long_and_none_is_endless() {
        let rounds: Vec<_> = (0..10).flat_map(drawn).collect();
        let count = |wanted: fn(usize) -> bool| rounds.iter().filter(|round| wanted(round.len())).count();
        assert!(count(|faults| faults >= SIEGE) > 20, "{}", count(|faults| faults >= SIEGE));
        assert!(count(|faults| (3..SIEGE).contains(&faults)) > 50);
        assert_eq!(count(|faults| faults > SIEGE + 3), 0);
    }

    #[test]
    fn a_small_volume_stays_alone() {
        let full: Vec<_> = (0..10).flat_map(drawn).filter(|round| needs_volume(round)).collect();
        assert!(!full.is_empty() && full.iter().all(|round| round.len() <= 2));
    }

    #[test]
    fn every_slip_is_drawn() {
        let faults: Vec<_> = (0..10).flat_map(drawn).flatten().collect();
        assert!(SLIPS.iter().all(|slip| faults.iter().any(|fault| fault.kind == *slip)));
    }
}
