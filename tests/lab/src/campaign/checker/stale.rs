//! Stale: a promoted node whose WAL ended before that of another one that was present.
//!
//! What the other one had counts as far as it was told while the promoted node was still in recovery: later positions may
//! belong to the new timeline. Positions at the end of a page do not count (see [`is_beyond`]).
//!
//! Present is a node that answered as a standby within [`VOICE`] before the promotion was seen, from the same run of its
//! server as the position that is held against the promoted one, and
//! - answered after it as a standby of that run, and no fault of the round had silenced it before;
//! - or answered after it from another run, and neither lost its power nor was hit by any fault: what is ahead of the new
//!   primary cannot follow it, and is soon stopped.
//!
//! So this cannot see what a node had that went away for a moment during the election.

use super::case::{Case, is_beyond, moment, position};
use crate::campaign::fault::Kind;
use crate::campaign::record::{Finding, Micros, Promotion, Sight, Verdict};

/// How long before a promotion a node must have answered to count as present.
const VOICE: Micros = 2_000_000;

pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let nodes = case.campaign.nodes.iter();
    let pairs = nodes.flat_map(|node| case.round.promotions.iter().map(move |promotion| (node.as_str(), promotion)));
    // Nobody has elected what a person has promoted.
    let others = pairs.filter(|(node, promotion)| promotion.node != *node && !case.is_by_hand(&promotion.node));
    others.filter_map(|(node, promotion)| ahead(case, node, promotion)).collect()
}

fn ahead(case: &Case<'_>, node: &str, promotion: &Promotion) -> Option<Finding> {
    if case.is_by_hand(node) {
        return None;
    }
    let run = run_when_promoted(case, node, promotion)?;
    let undecided = last_in_recovery(case, promotion)?;
    let sights = case.round.sights.iter().filter(|sight| sight.node == node && sight.server_started == run);
    let in_time =
        sights.filter(|sight| sight.standby && sight.timeline == promotion.parent && sight.answered <= undecided);
    let most = in_time.filter(|sight| is_beyond(sight.lsn, promotion.fork)).max_by_key(|sight| sight.lsn)?;
    let (has, at, fork) = (position(most.lsn), moment(most.answered), position(promotion.fork));
    let (new, timeline, parent) = (&promotion.node, promotion.timeline, promotion.parent);
    let text = format!(
        "{new} was promoted to timeline {timeline} from {fork} on timeline {parent}, when {node} was there with {has} \
         (told at {at})"
    );
    Some(case.finding(Verdict::Stale, text))
}

/// The server run in which the node was present.
fn run_when_promoted<'a>(case: &Case<'a>, node: &str, promotion: &Promotion) -> Option<&'a str> {
    let sights = case.round.sights.iter().filter(|sight| sight.node == node);
    let is_before = |sight: &&Sight| sight.answered <= promotion.seen && sight.answered + VOICE >= promotion.seen;
    let before = sights.clone().filter(is_before).max_by_key(|sight| sight.answered)?;
    let run = before.standby.then_some(&before.server_started)?;
    let mut after = sights.filter(|sight| sight.asked >= promotion.seen).peekable();
    after.peek()?;
    let went_on = after.any(|sight| sight.standby && sight.server_started == *run);
    let mut hits = case.round.strikes.iter().filter(|strike| strike.nodes.iter().any(|hit| hit == node));
    let was_present = match went_on {
        true => !hits.any(|strike| strike.began <= promotion.seen && silences(strike.kind)),
        false => hits.next().is_none() && !case.round.aftermath.power_lost.iter().any(|lost| lost == node),
    };
    was_present.then_some(run)
}

/// When the promoted node was asked for the last time that it answered as a standby.
fn last_in_recovery(case: &Case<'_>, promotion: &Promotion) -> Option<Micros> {
    let own = case.round.sights.iter().filter(|sight| sight.node == promotion.node && sight.standby);
    own.filter(|sight| sight.answered <= promotion.seen).map(|sight| sight.asked).max()
}

/// Whether a fault may keep its victim from telling its position, or from being asked. Faults that have ended count, too: the
/// election lies some time before the promotion is seen.
fn silences(kind: Kind) -> bool {
    match kind {
        Kind::StopPostmaster
        | Kind::PowerLossOne
        | Kind::PowerLossTwo
        | Kind::PowerLossAll
        | Kind::Cut
        | Kind::CutOneDirection
        | Kind::Freeze
        | Kind::InstanceStoppedByAdmin
        | Kind::StandbyMode
        | Kind::BadConfiguration
        | Kind::NonsenseByAlterSystem
        | Kind::AgentShutOut
        | Kind::PromotedByHand
        | Kind::ServicesRestarted
        | Kind::RestoredBackup => true,
        Kind::KillPostmaster
        | Kind::KillBackend
        | Kind::KillStartup
        | Kind::KillCheckpointer
        | Kind::KillAll
        | Kind::CutReplication
        | Kind::KillAttributeDaemon
        | Kind::KillScheduler
        | Kind::KillController
        | Kind::KillAgent
        | Kind::ConnectionsExhausted
        | Kind::WalVolumeFull
        | Kind::Switchover
        | Kind::ParametersChanged
        | Kind::RestartByHand
        | Kind::ReplayPaused
        | Kind::ClockSet
        | Kind::RestartThroughPacemaker
        | Kind::Maintenance
        | Kind::ForgottenBan
        | Kind::CleanedUp => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::made_up::{FORK, MadeUp, failover, quiet};

    fn count(case: &MadeUp) -> usize {
        case.findings_of(Verdict::Stale).len()
    }

    /// A failover to db2 while db3 has more, as it told at 1500 ms.
    fn db3_ahead() -> MadeUp {
        failover(Kind::PowerLossOne).sight("db3", 1_500, true, 1, FORK + 100)
    }

    #[test]
    fn a_failover_to_the_standby_that_has_most_is_not_stale() {
        assert_eq!(count(&quiet()), 0);
        assert_eq!(count(&failover(Kind::PowerLossOne)), 0);
    }

    #[test]
    fn a_promotion_while_another_standby_had_more_is_stale() {
        let found = db3_ahead().findings_of(Verdict::Stale);
        assert_eq!(found.len(), 1);
        assert!(found[0].text.contains("when db3 was there with 0/5001298"), "{}", found[0].text);
    }

    #[test]
    fn nobody_has_elected_what_a_person_promoted() {
        assert_eq!(count(&db3_ahead().struck_node(Kind::PromotedByHand, "db2")), 0);
        assert_eq!(count(&db3_ahead().struck_node(Kind::PromotedByHand, "db1")), 1, "another node");
    }

    #[test]
    fn a_position_within_a_record_proves_nothing() {
        let page_end = (FORK / 8192 + 1) * 8192;
        assert_eq!(count(&failover(Kind::PowerLossOne).sight("db3", 1_500, true, 1, page_end)), 0);
        assert_eq!(count(&failover(Kind::PowerLossOne).sight("db3", 1_500, true, 1, FORK + 24)), 0);
    }

    #[test]
    fn positions_told_after_the_decision_or_on_another_timeline_prove_nothing() {
        assert_eq!(count(&failover(Kind::PowerLossOne).sight("db3", 1_950, true, 1, FORK + 100)), 0);
        assert_eq!(count(&failover(Kind::PowerLossOne).sight("db3", 1_500, true, 2, FORK + 100)), 0);
    }

    #[test]
    fn a_server_that_was_started_anew_was_not_present_with_what_it_had() {
        assert_eq!(count(&db3_ahead().new_run("db3", 1_600)), 0);
    }

    #[test]
    fn a_node_that_was_silent_was_not_present() {
        assert_eq!(count(&db3_ahead().without_sights("db3", 1_501..2_000)), 1, "half a second is no silence");
        assert_eq!(count(&db3_ahead().without_sights("db3", 2_000..99_000)), 0, "never seen again");
        let late = db3_ahead().promotion_seen(4_600).sight("db3", 5_000, true, 2, FORK);
        assert_eq!(count(&late.clone().sight("db3", 4_500, true, 1, FORK)), 1);
        assert_eq!(count(&late), 0, "more than two seconds");
        assert_eq!(count(&db3_ahead().struck_node(Kind::Freeze, "db3")), 0);
        assert_eq!(count(&db3_ahead().struck_node(Kind::KillAttributeDaemon, "db3")), 1);
        let mut afterwards = db3_ahead().struck_node(Kind::Freeze, "db3");
        afterwards.0.rounds[0].strikes[1].began += 3_000_000;
        assert_eq!(count(&afterwards), 1);
    }

    #[test]
    fn a_server_that_is_stopped_right_after_the_promotion_was_present() {
        let stopped = || db3_ahead().new_run("db3", 2_000);
        assert_eq!(count(&stopped()), 1);
        assert_eq!(count(&stopped().struck_node(Kind::KillPostmaster, "db3")), 0, "it may have been stopped before");
        assert_eq!(count(&stopped().power_lost("db3")), 0, "it may have been fenced before");
    }

    #[test]
    fn the_former_primary_is_no_standby_that_was_passed_over() {
        assert_eq!(count(&failover(Kind::PowerLossOne).sight("db1", 110, false, 1, FORK + 100)), 0);
    }
}
