//! Median, 95th percentile and worst of some outages, by nearest rank: each is a value that was measured.

use serde::Serialize;

/// Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Spread {
    pub(super) median: u64,
    pub(super) percentile_95: u64,
    pub(super) worst: u64,
}

impl Spread {
    pub(super) fn of(values: impl Iterator<Item = u64>) -> Option<Self> {
        let mut sorted: Vec<u64> = values.collect();
        sorted.sort_unstable();
        let rank = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Self { median: rank(50)?, percentile_95: rank(95)?, worst: rank(100)? })
    }
}

/// Seconds, as exact as they are worth telling.
pub(super) fn seconds(ms: u64) -> String {
    let (whole, rest) = (ms / 1_000, ms % 1_000);
    match whole {
        0 => format!("0.{rest:03}"),
        1..10 => format!("{whole}.{:02}", rest / 10),
        _ => format!("{whole}.{}", rest / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_a_value_that_was_measured() {
        let spread = |values: &[u64]| Spread::of(values.iter().copied()).map(|s| (s.median, s.percentile_95, s.worst));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[7]), Some((7, 7, 7)));
        assert_eq!(spread(&[4, 1, 3, 2]), Some((2, 4, 4)));
        assert_eq!(spread(&(1..=100).collect::<Vec<_>>()), Some((50, 95, 100)));
    }

    #[test]
    fn seconds_are_told_as_exactly_as_they_are_worth() {
        assert_eq!([4, 999, 1_910, 12_345].map(seconds), ["0.004", "0.999", "1.91", "12.3"]);
    }
}
