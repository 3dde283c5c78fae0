//! The checker: decides from a campaign's record what the cluster must never do. Every round is checked by itself, for it
//! begins at full strength and its clients begin with fresh numbers.
//!
//! | verdict | what it means |
//! |---|---|
//! | lost | an acknowledged row that the survivor lacks, and no asynchronous commit excuses it |
//! | invented | a row that nobody sent, or that was refused |
//! | doubled | a row that is there more than once |
//! | out of order | rows of one client that are committed, or seen, in another order than it was told |
//! | split | two nodes that took writes in overlapping time |
//! | stale | a promoted node whose WAL ended before that of another one that was present |
//! | unhealed | no full strength in time, or traces that no fault of the round explains |
//! | destroyed | WAL beyond a fork that is neither on the survivor nor kept aside |
//!
//! Where the record has a gap, nothing is reported: a finding is a proof. What this cannot see is said at each rule.

mod case;
mod destroyed;
mod doubled;
mod explained;
mod invented;
mod lost;
mod out_of_order;
#[cfg(test)]
mod simulated;
mod split;
mod stale;
mod unhealed;

use self::case::Case;
use super::record::{Campaign, Finding, Round};

const RULES: [fn(&Case<'_>) -> Vec<Finding>; 8] = [
    lost::findings,
    invented::findings,
    doubled::findings,
    out_of_order::findings,
    split::findings,
    stale::findings,
    unhealed::findings,
    destroyed::findings,
];

/// All findings of all rounds, in the order of the rounds.
pub(crate) fn check(campaign: &Campaign) -> Vec<Finding> {
    let cases = campaign.rounds.iter().map(|round| Case::new(campaign, round));
    cases.flat_map(|case| RULES.iter().flat_map(move |rule| rule(&case)).collect::<Vec<_>>()).collect()
}

/// How many acknowledged rows of the round the survivor lacks, allowed or not.
pub(crate) fn rows_lost(campaign: &Campaign, round: &Round) -> usize {
    Case::new(campaign, round).lost().len()
}
