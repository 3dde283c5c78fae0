//! Since when is the present election undecided?
//!
//! The election's timeout is kept over all attempts: a candidate that waits for somebody is excluded, stands again with its
//! next monitor, and is picked again. It is another election when nobody was picked for [`GAP`]: the candidates had been
//! taken away, or the cluster was stopped, and what was waited for then says nothing about now.

use std::time::Duration;

/// Longer than it takes until an excluded candidate is picked again: a monitor's interval, usually 10 s.
pub const GAP: Duration = Duration::from_secs(300);

/// What was noted, in milliseconds since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// When the election began.
    pub since: Option<u64>,
    /// When somebody was picked the last time.
    pub seen: Option<u64>,
}

/// When the election began that somebody is picked in now. What seems to come from the future was noted before a boot.
#[must_use]
pub fn begin(noted: Noted, now: u64) -> u64 {
    let (Some(since), Some(seen)) = (noted.since, noted.seen) else { return now };
    let gap = now.checked_sub(seen).map(Duration::from_millis);
    if since <= seen && gap.is_some_and(|gap| gap <= GAP) { since } else { now }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_election_is_another_one_after_a_gap_and_after_a_boot() {
        let gap = u64::try_from(GAP.as_millis()).unwrap();
        for (since, seen, now, expected) in [
            (None, None, 500, 500),
            (Some(100), None, 500, 500),
            (Some(100), Some(100), 500, 100),
            (Some(100), Some(100 + gap), 100 + 2 * gap, 100),
            (Some(100), Some(100), 101 + gap, 101 + gap),
            // Noted before a boot.
            (Some(9_000), Some(9_000), 500, 500),
            (Some(9_000), Some(400), 500, 500),
        ] {
            assert_eq!(begin(Noted { since, seen }, now), expected, "{since:?} {seen:?} {now}");
        }
    }
}
