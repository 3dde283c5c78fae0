//! Unhealed: no full strength in time, or a failed action or a kept-aside directory left over that nothing of the round
//! explains. A directory is explained by a promotion away from its timeline at its fork, or from the same timeline as its own
//! beside it, on a node that has written on that timeline or was seen with WAL beyond the fork. What explains failed actions
//! stands in `explained`.

use super::case::{Case, position};
use super::explained::is_explained;
use crate::campaign::record::{Finding, KeptAside, Promotion, Verdict};
use crate::profile::Rejoin;

pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let aftermath = &case.round.aftermath;
    let failures = aftermath.failures.iter().filter(|failure| !is_explained(case, failure));
    let failures = failures.map(|failure| format!("no fault of the round explains the failed action '{failure}'"));
    let kept = aftermath.kept.iter().filter(|kept| !is_due(case, kept)).map(without_reason);
    let texts = not_healed(case).into_iter().chain(failures).chain(kept);
    texts.map(|text| case.finding(Verdict::Unhealed, text)).collect()
}

fn not_healed(case: &Case<'_>) -> Option<String> {
    let aftermath = &case.round.aftermath;
    let missing = aftermath.missing.as_deref().unwrap_or("what is missing was not told");
    aftermath.healed_after.is_none().then(|| format!("no full strength in time: {missing}"))
}

fn without_reason(kept: &KeptAside) -> String {
    let (node, directory, timeline, fork) = (&kept.node, &kept.directory, kept.timeline, position(kept.fork));
    format!("{node} keeps {directory} aside, and had nothing of its own on timeline {timeline} beyond {fork}")
}

/// Whether there was something to be kept. Before a clone the whole directory is, whatever it has.
fn is_due(case: &Case<'_>, kept: &KeptAside) -> bool {
    if kept.whole && case.campaign.profile.rejoin == Rejoin::Clone {
        return true;
    }
    let mut own = case.round.sights.iter().filter(|sight| sight.node == kept.node && sight.timeline == kept.timeline);
    is_by_hand(case, kept)
        || is_fork(case, kept)
            && (case.was_primary(&kept.node, kept.timeline) || own.any(|sight| sight.lsn > kept.fork))
}

/// Whether it is the timeline that a person has made there, and that is left for the one that it forked off from.
fn is_by_hand(case: &Case<'_>, kept: &KeptAside) -> bool {
    let made = |own: &Promotion| (&own.node, own.timeline, own.fork) == (&kept.node, kept.timeline, kept.fork);
    case.is_by_hand(&kept.node) && case.round.promotions.iter().any(made)
}

/// Whether another node's timeline and the kept one part there: the one began on the other, or both began on the same.
fn is_fork(case: &Case<'_>, kept: &KeptAside) -> bool {
    let promotions = &case.round.promotions;
    let own = promotions.iter().find(|promotion| promotion.timeline == kept.timeline);
    let others = promotions.iter().filter(|other| other.node != kept.node && other.timeline != kept.timeline);
    let is_brother =
        |other: &Promotion| own.is_some_and(|own| own.parent == other.parent && own.fork.min(other.fork) == kept.fork);
    others.into_iter().any(|other| (other.parent, other.fork) == (kept.timeline, kept.fork) || is_brother(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::fault::Kind;
    use crate::campaign::made_up::{FORK, MadeUp, failover, quiet};

    fn count(case: &MadeUp) -> usize {
        case.findings_of(Verdict::Unhealed).len()
    }

    #[test]
    fn a_healthy_round_is_healed() {
        assert_eq!(count(&quiet()), 0);
        assert_eq!(count(&failover(Kind::PowerLossOne)), 0);
    }

    #[test]
    fn a_cluster_that_does_not_come_back_is_found_with_what_is_missing() {
        let found = quiet().not_healed("db3 is offline").findings_of(Verdict::Unhealed);
        assert_eq!(found[0].text, "no full strength in time: db3 is offline");
    }

    #[test]
    fn a_failed_monitor_is_explained_by_the_kill_of_the_postmaster_on_that_node() {
        let case = || failover(Kind::KillPostmaster).no_power_lost();
        assert_eq!(count(&case().failure("pgsql_monitor_3000 on db1: not running ''")), 0);
        assert_eq!(count(&case().failure("pgsql_monitor_4000 on db2: not running ''")), 1, "not there");
        assert_eq!(count(&case().failure("pgsql_promote_0 on db1: error ''")), 1, "not that action");
        assert_eq!(count(&case().failure("pgsql-vip_monitor_10000 on db1: not running ''")), 1, "not that resource");
        assert_eq!(count(&case().strike_failed().failure("pgsql_monitor_3000 on db1: not running ''")), 1);
    }

    #[test]
    fn a_slip_explains_what_it_cannot_but_cause() {
        let case = |kind: Kind, failure: &str| count(&failover(kind).no_power_lost().failure(failure));
        let (start, monitor) = ("pgsql_start_0 on db1: error ''", "pgsql_monitor_3000 on db1: error ''");
        assert_eq!([case(Kind::BadConfiguration, start), case(Kind::BadConfiguration, monitor)], [0, 0]);
        assert_eq!([case(Kind::RestoredBackup, start), case(Kind::RestoredBackup, monitor)], [0, 1]);
        assert_eq!([case(Kind::PromotedByHand, start), case(Kind::PromotedByHand, monitor)], [1, 0]);
        assert_eq!([case(Kind::AgentShutOut, start), case(Kind::AgentShutOut, monitor)], [1, 1]);
    }

    #[test]
    fn a_lost_node_explains_what_was_going_on_there_and_no_failed_start() {
        assert_eq!(count(&failover(Kind::Switchover).failure("pgsql_demote_0 on db1: error ''")), 0);
        assert_eq!(count(&failover(Kind::PowerLossOne).failure("pgsql_start_0 on db1: error ''")), 1);
    }

    #[test]
    fn a_killed_agent_explains_any_action_there() {
        let case = || failover(Kind::KillAgent).no_power_lost();
        assert_eq!(count(&case().failure("pgsql_start_0 on db1: error ''")), 0);
        assert_eq!(count(&case().failure("pgsql_start_0 on db3: error ''")), 1);
    }

    #[test]
    fn a_refused_promotion_is_explained_where_it_is_how_the_agent_elects() {
        let case =
            |said: &str| failover(Kind::PowerLossOne).failure(&format!("pgsql_promote_0 on db2: error '{said}'"));
        assert_eq!(count(&case("db3 is the best candidate to promote, aborting current promotion")), 0);
        assert_eq!(count(&case("Switchover has been canceled from pre-promote action")), 0);
        assert_eq!(count(&case("this node is not the best: db3 has more WAL")), 1);
    }

    #[test]
    fn a_start_that_the_lock_of_the_shell_agent_forbids_is_explained() {
        let lock = "My data may be inconsistent. You have to remove /var/lib/agent/PGSQL.lock file to force start.";
        let case =
            |action: &str| failover(Kind::Switchover).failure(&format!("pgsql_{action}_0 on db3: error '{lock}'"));
        assert_eq!(count(&case("start")), 0);
        assert_eq!(count(&case("stop")), 1);
    }

    #[test]
    fn a_former_primary_may_keep_its_wal_aside() {
        assert_eq!(count(&failover(Kind::PowerLossOne).kept("db1", 1, FORK, FORK + 100)), 0);
    }

    #[test]
    fn a_clone_keeps_the_whole_directory_where_clones_are_wanted() {
        let kept = || failover(Kind::PowerLossOne).kept_whole("db3", 1);
        assert_eq!(count(&kept().with_profile("rejoin=clone")), 0);
        assert_eq!(count(&kept()), 1, "nobody asked for a clone");
        let part = failover(Kind::PowerLossOne).kept("db3", 1, FORK, FORK + 100).with_profile("rejoin=clone");
        assert_eq!(count(&part), 1, "WAL alone is of a rewind");
    }

    /// It was promoted and lost before anybody received its timeline, so the next one began on the same parent.
    #[test]
    fn a_primary_that_nobody_followed_may_keep_its_timeline_aside() {
        let took_a_row = || failover(Kind::PowerLossOne).acknowledged(1, 21, 1_000, 1_100, "db1", 3);
        let promoted = |fork| took_a_row().promoted_at("db1", 3, 1, fork, 1_000);
        assert_eq!(count(&promoted(FORK).kept("db1", 3, FORK, FORK + 100)), 0);
        assert_eq!(count(&promoted(FORK - 8).kept("db1", 3, FORK - 8, FORK + 100)), 0, "it had received less");
        assert_eq!(count(&promoted(FORK).kept("db1", 3, FORK - 8, FORK + 100)), 1, "another fork");
        assert_eq!(count(&promoted(FORK).kept("db3", 3, FORK, FORK + 100)), 1, "a node that wrote nothing there");
        assert_eq!(count(&took_a_row().kept("db1", 3, FORK, FORK + 100)), 1, "an unknown timeline");
    }

    #[test]
    fn what_a_person_has_promoted_may_keep_its_timeline_aside() {
        let promoted = || quiet().promoted_at("db2", 3, 1, FORK, 1_000).kept("db2", 3, FORK, FORK + 100);
        assert_eq!(count(&promoted().struck_node(Kind::PromotedByHand, "db2")), 0);
        assert_eq!(count(&promoted().struck_node(Kind::PromotedByHand, "db3")), 1, "another node");
    }

    #[test]
    fn a_directory_that_no_promotion_explains_is_found() {
        let case = || failover(Kind::PowerLossOne);
        assert_eq!(count(&case().kept("db1", 1, FORK + 8, FORK + 100)), 1, "another fork");
        assert_eq!(count(&case().kept("db1", 2, FORK, FORK + 100)), 1, "another timeline");
        assert_eq!(count(&case().kept("db3", 1, FORK, FORK + 100)), 1, "a standby without WAL of its own");
        assert_eq!(count(&quiet().kept("db1", 1, FORK, FORK + 100)), 1, "no promotion at all");
    }

    #[test]
    fn a_standby_that_had_more_than_the_promoted_one_may_keep_it_aside() {
        let case = failover(Kind::PowerLossOne).sight("db3", 1_500, true, 1, FORK + 100);
        assert_eq!(count(&case.kept("db3", 1, FORK, FORK + 100)), 0);
        let promoted = failover(Kind::PowerLossOne).sight("db2", 1_500, true, 1, FORK + 100);
        assert_eq!(count(&promoted.kept("db2", 1, FORK, FORK + 100)), 1, "it has begun the next timeline itself");
        let newer = failover(Kind::PowerLossOne).sight("db3", 2_100, true, 2, FORK + 100);
        assert_eq!(count(&newer.kept("db3", 2, FORK, FORK + 100)), 1, "timeline 2 begins there, and ends nowhere");
    }
}
