//! Since when is the present election undecided?
//!
//! The election's timeout is kept over all attempts: a candidate that waits for somebody is excluded, stands again with its
//! next monitor, and is picked again. It is another election when nobody was picked for [`GAP`]: the candidates had been
//! taken away, or the cluster was stopped, and what was waited for then says nothing about now.
//!
//! Within an election each node is waited for as long as any other: from when it first was to vote. One that comes late, and whose
//! notification is lost, is not left out at once because others were waited for before. Whoever comes and goes is not waited for
//! anew each time.
//!
//! Before a promotion the wait costs nothing: the candidate is excluded. A promotion that is under way all the same:
//!
//! | waits for | what it does |
//! |---|---|
//! | one that has voted, and cannot tell | fails at once: the next election asks it anew |
//! | one that did not vote, for the first time | the same: its notification may have been killed |
//! | the same again, or one whose notifications Pacemaker does not run: unmanaged, or in maintenance | waits: each failure brings the candidate nearer to its `migration-threshold` |

use std::collections::BTreeMap;
use std::time::Duration;

use crate::types::{NodeName, Vote};

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

/// Since when each node is to vote, in milliseconds since boot.
pub type Voters = BTreeMap<String, u64>;

/// The same with those who are to vote now, in an election that goes on or is another one.
#[must_use]
pub fn voters(noted: &Voters, among: &[NodeName], goes_on: bool, now: u64) -> Voters {
    let mut voters = if goes_on { noted.clone() } else { Voters::new() };
    for node in among {
        voters.entry(node.to_string()).or_insert(now);
    }
    voters
}

/// Whether nothing is waited for any more: the election has lasted for the timeout, and so long has everybody been to vote who
/// has not told. One that is not noted came a moment ago.
#[must_use]
pub fn is_over(since: u64, voters: &Voters, votes: &[(NodeName, Vote)], now: u64, timeout: Duration) -> bool {
    let has_waited = |since: u64| Duration::from_millis(now.saturating_sub(since)) >= timeout;
    let mut silent = votes.iter().filter(|(_, vote)| matches!(vote, Vote::Silent | Vote::Unknown { .. }));
    has_waited(since) && silent.all(|(node, _)| has_waited(voters.get(node.as_str()).copied().unwrap_or(now)))
}

/// Whether a promotion that is under way waits for these nodes, when its candidate was picked so often in a row.
#[must_use]
pub fn is_waited_for(others: &[(NodeName, Vote)], picked: u32, unmanaged: &[NodeName]) -> bool {
    let will_not_vote = |node: &NodeName| picked >= 2 || unmanaged.contains(node);
    !others.is_empty() && others.iter().all(|(node, vote)| *vote == Vote::Silent && will_not_vote(node))
}

/// For so long a candidate that was excluded stands again at once.
const EAGER: Duration = Duration::from_secs(20);

/// After that it waits so long, a little less than a monitor's usual interval. Each attempt is a transition of Pacemaker's, and
/// an excluded candidate is monitored at once: a night in which a stopped node is waited for would be full of them.
const PAUSE: Duration = Duration::from_secs(8);

/// Whether a candidate that was excluded may stand again now.
#[must_use]
pub fn may_stand_again(noted: Noted, now: u64) -> bool {
    let ago = |then: Option<u64>| then.and_then(|then| now.checked_sub(then)).map(Duration::from_millis);
    let (Some(age), Some(pause)) = (ago(noted.since), ago(noted.seen)) else { return true };
    age < EAGER || pause >= PAUSE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promotion_waits_for_nobody_who_may_still_tell_in_another_election() {
        let [a, b] = ["a", "b"].map(|name| name.parse::<NodeName>().unwrap());
        let unknown = Vote::Unknown { why: String::new(), at_least: None };
        let vote = |node: &NodeName, vote: &Vote| (node.clone(), vote.clone());
        let (silent, mixed) = ([vote(&a, &Vote::Silent)], [vote(&a, &Vote::Silent), vote(&b, &unknown)]);
        let in_maintenance = std::slice::from_ref(&a);
        for (others, picked, unmanaged, waits) in [
            (&silent[..], 1, &[][..], false),
            (&silent, 2, &[], true),
            (&silent, 1, in_maintenance, true),
            (&silent, 1, std::slice::from_ref(&b), false),
            (&mixed, 2, in_maintenance, false),
            (&mixed[1..], 9, &[], false),
            // The candidate itself.
            (&[], 9, in_maintenance, false),
        ] {
            assert_eq!(is_waited_for(others, picked, unmanaged), waits, "{others:?} {picked} {unmanaged:?}");
        }
    }

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

    #[test]
    fn who_comes_late_is_waited_for_as_long_as_any_other_and_once() {
        let [a, b] = ["a", "b"].map(|name| name.parse::<NodeName>().unwrap());
        let (both, alone) = ([a.clone(), b.clone()], [a.clone()]);
        let first = voters(&Voters::new(), &alone, false, 1_000);
        let came = voters(&first, &both, true, 9_000);
        let went = voters(&came, &alone, true, 10_000);
        let again = voters(&went, &both, true, 11_000);
        assert_eq!(again, Voters::from([("a".to_owned(), 1_000), ("b".to_owned(), 9_000)]));
        assert_eq!(voters(&again, &alone, false, 20_000), Voters::from([("a".to_owned(), 20_000)]));
        let unknown = Vote::Unknown { why: String::new(), at_least: None };
        for (voter, vote, now, expected) in [
            (&b, Vote::Silent, 13_999, false),
            (&b, unknown.clone(), 13_999, false),
            (&b, Vote::Silent, 14_000, true),
            (&b, Vote::Void, 10_000, true),
            (&b, Vote::Void, 5_999, false),
            (&a, unknown, 6_000, true),
        ] {
            let over = is_over(1_000, &again, &[(voter.clone(), vote.clone())], now, Duration::from_secs(5));
            assert_eq!(over, expected, "{voter} {vote:?} {now}");
        }
        let not_noted = [("c".parse().unwrap(), Vote::Silent)];
        assert!(!is_over(1_000, &again, &not_noted, 99_000, Duration::from_secs(5)));
    }

    #[test]
    fn an_excluded_candidate_stands_again_at_once_and_after_a_while_less_often() {
        let may = |since, seen, now| may_stand_again(Noted { since, seen }, now);
        assert!(may(None, None, 5) && may(Some(9_000), Some(9_000), 5), "nothing was noted, or before a boot");
        assert!(may(Some(1_000), Some(20_000), 20_400));
        assert!(!may(Some(1_000), Some(30_000), 30_400));
        assert!(may(Some(1_000), Some(30_000), 38_000));
    }
}
