//! Lost: acknowledged, and not on the survivor.
//!
//! | a commit waits for a standby | the primary was taken away | the row's WAL | verdict |
//! |---|---|---|---|
//! | any | a person has promoted the node that acknowledged it | any | allowed |
//! | yes | any | any | lost |
//! | no | no | any | lost |
//! | no | yes | ended before the fork, so it had been sent | lost |
//! | no | yes | ended beyond the fork | allowed |
//! | no | yes | not told: acknowledged within the lag before the timeline's last acknowledgement | allowed |
//! | no | yes | not told, and earlier than that | lost |
//! | no | yes | no promotion followed: nothing was cut off | lost |

use std::collections::BTreeMap;

use super::case::{Ack, Case, named};
use crate::campaign::record::{Finding, Micros, Verdict};

/// How far the standby that is promoted may be behind, when only the time tells: a standby that streams is behind by some
/// milliseconds, and one whose link has broken is found out within the time in which the primary is.
const LAG: Micros = 3_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    Synchronous,
    PrimaryNotTaken,
    NothingCutOff,
    BeforeTheFork,
    TooEarly,
}

impl Reason {
    fn text(self) -> &'static str {
        match self {
            Self::Synchronous => "a commit waits for a standby here, so that none may be lost",
            Self::PrimaryNotTaken => "no fault of the round took the primary away",
            Self::NothingCutOff => "no promotion followed that could have cut WAL off",
            Self::BeforeTheFork => "their WAL ends before the fork of the timeline that followed: it had been sent",
            Self::TooEarly => "they are older than what may not have been sent yet",
        }
    }
}

pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let mut guilty: BTreeMap<Reason, Vec<(i32, i64)>> = BTreeMap::new();
    for ack in case.lost() {
        if let Some(reason) = reason_against(case, &ack) {
            guilty.entry(reason).or_default().push((ack.client, ack.n));
        }
    }
    let finding = |(reason, rows): (Reason, Vec<(i32, i64)>)| {
        let (count, survivor) = (rows.len(), case.survivor());
        let text = format!("rows not on {survivor} though acknowledged: {count} ({}); {}", named(rows), reason.text());
        case.finding(Verdict::Lost, text)
    };
    guilty.into_iter().map(finding).collect()
}

/// Why the loss of that row is not allowed.
fn reason_against(case: &Case<'_>, ack: &Ack<'_>) -> Option<Reason> {
    // That it is kept aside is the affair of `destroyed`.
    if case.is_by_hand(ack.node) {
        return None;
    }
    if case.campaign.synchronous {
        return Some(Reason::Synchronous);
    }
    if !was_taken_away(case, ack.node) {
        return Some(Reason::PrimaryNotTaken);
    }
    match (case.end_of(ack.timeline), ack.lsn) {
        (Some(next), Some(lsn)) => (lsn <= next.fork).then_some(Reason::BeforeTheFork),
        (Some(_), None) => too_early(case, ack),
        // The whole timeline was given up, and all that was written on it.
        (None, _) if case.lineage().iter().any(|promotion| promotion.timeline > ack.timeline) => too_early(case, ack),
        (None, _) => Some(Reason::NothingCutOff),
    }
}

fn was_taken_away(case: &Case<'_>, node: &str) -> bool {
    let by_fault = case.round.strikes.iter().any(|strike| strike.primary_lost && strike.failed.is_none());
    by_fault || case.round.aftermath.power_lost.iter().any(|lost| lost == node)
}

fn too_early(case: &Case<'_>, ack: &Ack<'_>) -> Option<Reason> {
    let same = case.acks.iter().filter(|other| other.timeline == ack.timeline && other.node == ack.node);
    let last = same.map(|other| other.at).max().unwrap_or(ack.at);
    (ack.at + LAG < last).then_some(Reason::TooEarly)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::fault::Kind;
    use crate::campaign::made_up::{FORK, MadeUp, failover, quiet};

    /// A failover after which the survivor lacks row 10, that the old primary acknowledged with that position.
    fn failover_without_row_10(lsn: Option<u64>) -> MadeUp {
        failover(Kind::PowerLossOne).told_lsn(10, lsn).without_row(10)
    }

    #[test]
    fn a_healthy_round_loses_nothing() {
        assert!(quiet().findings_of(Verdict::Lost).is_empty());
        assert!(failover(Kind::PowerLossOne).findings_of(Verdict::Lost).is_empty());
    }

    #[test]
    fn a_row_beyond_the_fork_of_an_asynchronous_primary_that_lost_power_may_be_lost() {
        let case = failover_without_row_10(Some(FORK + 100));
        assert!(case.findings_of(Verdict::Lost).is_empty());
        assert_eq!(case.rows_lost(), 1);
    }

    #[test]
    fn a_row_before_the_fork_may_not_be_lost() {
        let found = failover_without_row_10(Some(FORK)).findings_of(Verdict::Lost);
        assert_eq!(found.len(), 1);
        assert!(found[0].text.contains("rows not on db2 though acknowledged: 1 (client 1: 10)"), "{}", found[0].text);
        assert!(found[0].text.contains("it had been sent"));
    }

    #[test]
    fn no_row_may_be_lost_when_commits_wait_for_a_standby() {
        let case = failover_without_row_10(Some(FORK + 100)).synchronous();
        assert_eq!(case.findings_of(Verdict::Lost).len(), 1);
    }

    #[test]
    fn no_row_may_be_lost_when_the_primary_was_not_taken_away() {
        let case = failover_without_row_10(Some(FORK + 100)).no_power_lost().not_taken();
        assert_eq!(case.findings_of(Verdict::Lost).len(), 1);
        assert!(quiet().without_row(10).findings_of(Verdict::Lost).len() == 1);
    }

    #[test]
    fn a_fault_that_could_not_be_made_excuses_nothing() {
        let case = failover_without_row_10(Some(FORK + 100)).no_power_lost().strike_failed();
        assert_eq!(case.findings_of(Verdict::Lost).len(), 1);
    }

    #[test]
    fn fencing_of_the_acknowledging_node_excuses_a_loss() {
        let case = failover_without_row_10(Some(FORK + 100)).not_taken();
        assert!(case.findings_of(Verdict::Lost).is_empty());
    }

    #[test]
    fn nothing_may_be_lost_when_no_promotion_followed() {
        let case = failover_without_row_10(Some(FORK + 100)).without_promotions();
        assert!(case.findings_of(Verdict::Lost)[0].text.contains("no promotion followed"));
    }

    #[test]
    fn without_positions_the_time_tells_what_had_not_been_sent() {
        assert!(failover_without_row_10(None).findings_of(Verdict::Lost).is_empty());
        let early = failover(Kind::PowerLossOne).told_lsn(1, None).without_row(1).begins_earlier(1, 4_000);
        assert!(early.findings_of(Verdict::Lost)[0].text.contains("older than"));
        let within = failover(Kind::PowerLossOne).told_lsn(1, None).without_row(1);
        assert!(within.findings_of(Verdict::Lost).is_empty());
    }

    #[test]
    fn a_timeline_that_was_given_up_may_be_lost_with_its_primary() {
        // db2 has acknowledged rows 11 to 20 on timeline 2 when db3 takes over, from timeline 1.
        let given_up = failover(Kind::PowerLossOne).promoted_at("db3", 3, 1, FORK, 5_000).survivor("db3");
        let lost = (11..=20).fold(given_up, MadeUp::without_row);
        assert!(lost.clone().power_lost("db2").findings_of(Verdict::Lost).is_empty());
        assert_eq!(lost.not_taken().findings_of(Verdict::Lost).len(), 1);
    }

    #[test]
    fn what_a_node_took_that_a_person_promoted_may_be_lost() {
        let lost = failover_without_row_10(Some(FORK)).no_power_lost().not_taken();
        assert_eq!(lost.clone().struck_node(Kind::PromotedByHand, "db3").findings_of(Verdict::Lost).len(), 1);
        assert!(lost.struck_node(Kind::PromotedByHand, "db1").findings_of(Verdict::Lost).is_empty());
    }

    #[test]
    fn the_fork_is_the_one_on_the_way_to_the_survivors_timeline() {
        let on = failover_without_row_10(Some(FORK)).promoted("db3", 3, 2, 3_000).promoted("db2", 4, 3, 4_000);
        assert!(on.findings_of(Verdict::Lost)[0].text.contains("it had been sent"));
    }

    #[test]
    fn nobody_is_accused_while_nobody_could_be_asked() {
        assert!(failover_without_row_10(Some(FORK)).no_survivor().findings_of(Verdict::Lost).is_empty());
    }
}
