//! Promotion scores.

use std::fmt;
use std::str::FromStr;

/// A promotion score as Pacemaker counts: ±1,000,000 is infinity, and only a positive score allows a
/// promotion ("Pacemaker Explained", promotable clones).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Score(i32);

impl Score {
    /// Never to be promoted, whatever a location constraint says.
    pub const NEVER: Score = Score(-1_000_000);
    /// The weakest score that allows a promotion: a candidate until the election knows better.
    pub const CANDIDATE: Score = Score(1);
    /// What an election gives the node that it prefers to the one that Pacemaker picked: more than any
    /// other node has, a primary that was just demoted included.
    pub const ELECTED: Score = Score(1002);
    /// The primary's own score, above every standby's.
    pub const PRIMARY: Score = Score(1001);

    /// The score of the standby with this rank by position, 0 being the best.
    #[must_use]
    pub fn of_rank(rank: usize) -> Score {
        let steps = i32::try_from(rank).unwrap_or(i32::MAX).saturating_mul(10);
        Score((1000_i32.saturating_sub(steps)).max(2))
    }

    /// Whether Pacemaker may promote a node with this score.
    #[must_use]
    pub fn allows_promotion(self) -> bool {
        self.0 > 0
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Score {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "INFINITY" | "+INFINITY" => Ok(Score(1_000_000)),
            "-INFINITY" => Ok(Score::NEVER),
            number => number.parse::<i32>().map(|n| Score(n.clamp(-1_000_000, 1_000_000))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_can_be_promoted_and_none_is_above_the_primary() {
        for rank in [0, 1, 2, 99, 100, 1000, usize::MAX] {
            assert!(Score::of_rank(rank).allows_promotion());
            assert!(Score::of_rank(rank) < Score::PRIMARY);
        }
    }

    #[test]
    fn pacemakers_words_for_infinity() {
        assert_eq!("-INFINITY".parse(), Ok(Score::NEVER));
        assert_eq!("-1000000".parse(), Ok(Score::NEVER));
        assert!("INFINITY".parse::<Score>().unwrap().allows_promotion());
        assert!("many".parse::<Score>().is_err());
    }
}
