//! Destroyed: WAL beyond a fork that is neither on the survivor nor kept aside. Proof is
//! - an acknowledged row that is in neither: it was on the disk of the node that acknowledged it;
//! - a primary's flush position beyond the fork, when that node keeps nothing of that timeline aside that goes as far.
//!
//! Only at full strength: until then the WAL may still be where it was. What standbys had beyond a fork is not asked for: a
//! promotion that leaves it behind is `stale`.

use super::case::{Case, is_beyond, named, position, reaches};
use crate::campaign::record::{Finding, KeptAside, Lsn, Verdict};

pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    if case.round.aftermath.healed_after.is_none() {
        return Vec::new();
    }
    let nodes = case.campaign.nodes.iter();
    let left = nodes.flat_map(|node| case.departures().into_iter().map(move |left| (node.as_str(), left)));
    let wal = left.filter_map(|(node, (timeline, fork))| lost_wal(case, node, timeline, fork));
    let texts: Vec<String> = lost_rows(case).into_iter().chain(wal).collect();
    texts.into_iter().map(|text| case.finding(Verdict::Destroyed, text)).collect()
}

fn lost_rows(case: &Case<'_>) -> Option<String> {
    let kept = &case.round.aftermath.kept;
    let is_kept =
        |client: i32, n: i64| kept.iter().filter_map(|kept| kept.rows.get(&client)).any(|numbers| numbers.contains(&n));
    let rows: Vec<_> = case.lost().iter().map(|ack| (ack.client, ack.n)).collect();
    let destroyed: Vec<_> = rows.into_iter().filter(|(client, n)| !is_kept(*client, *n)).collect();
    let text = || {
        let (count, survivor, rows) = (destroyed.len(), case.survivor(), named(destroyed.clone()));
        format!("acknowledged rows neither on {survivor} nor kept aside: {count} ({rows})")
    };
    (!destroyed.is_empty()).then(text)
}

fn lost_wal(case: &Case<'_>, node: &str, timeline: u32, fork: Lsn) -> Option<String> {
    let sights = case.round.sights.iter().filter(|sight| sight.node == node && !sight.standby);
    let own = sights.filter(|sight| sight.timeline == timeline).map(|sight| sight.lsn);
    let most = own.filter(|lsn| is_beyond(*lsn, fork)).max()?;
    // How far a directory goes that could not be read is not known, and no proof.
    let has_all = |kept: &KeptAside| kept.end.is_none_or(|end| reaches(end, most));
    let mut kept = case.round.aftermath.kept.iter().filter(|kept| kept.node == node);
    let is_kept = kept.any(|kept| kept.timeline == timeline && has_all(kept));
    let (most, fork) = (position(most), position(fork));
    let text = format!(
        "{node} had flushed {most} on timeline {timeline}, which the others left at {fork}, and keeps nothing of it"
    );
    (!is_kept).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::fault::Kind;
    use crate::campaign::made_up::{FORK, MadeUp, failover, quiet};

    fn count(case: &MadeUp) -> usize {
        case.findings_of(Verdict::Destroyed).len()
    }

    fn row_10_lost() -> MadeUp {
        failover(Kind::PowerLossOne).told_lsn(10, Some(FORK + 100)).without_row(10)
    }

    /// Its former primary was seen with more than the fork.
    fn wal_beyond() -> MadeUp {
        failover(Kind::PowerLossOne).sight("db1", 110, false, 1, FORK + 100)
    }

    #[test]
    fn a_healthy_round_destroys_nothing() {
        assert_eq!(count(&quiet()), 0);
        assert_eq!(count(&failover(Kind::PowerLossOne)), 0);
    }

    #[test]
    fn a_lost_row_must_be_kept_aside() {
        assert_eq!(count(&row_10_lost().kept("db1", 1, FORK, FORK + 100).kept_rows(&[10])), 0);
        assert_eq!(count(&row_10_lost().kept("db1", 1, FORK, FORK + 100).kept_rows(&[9])), 1);
        let found = row_10_lost().findings_of(Verdict::Destroyed);
        assert_eq!(found[0].text, "acknowledged rows neither on db2 nor kept aside: 1 (client 1: 10)");
    }

    #[test]
    fn wal_beyond_the_fork_must_be_kept_as_far_as_it_was_seen() {
        assert_eq!(count(&wal_beyond()), 1);
        assert_eq!(count(&wal_beyond().kept("db1", 1, FORK, FORK + 100)), 0);
        assert_eq!(count(&wal_beyond().kept("db1", 1, FORK, FORK + 50)), 1, "not all of it");
        assert_eq!(count(&wal_beyond().kept("db1", 1, FORK, FORK + 76)), 0, "a page's header is no WAL");
        assert_eq!(count(&wal_beyond().kept("db3", 1, FORK, FORK + 100)), 1, "on another node");
    }

    #[test]
    fn what_was_written_on_a_timeline_that_was_given_up_must_be_kept_aside() {
        let given_up =
            || failover(Kind::PowerLossOne).promoted_at("db1", 3, 1, FORK, 500).sight("db1", 600, false, 3, FORK + 100);
        assert_eq!(count(&given_up()), 1);
        assert_eq!(count(&given_up().kept("db1", 3, FORK, FORK + 100)), 0);
        assert_eq!(count(&given_up().kept("db1", 1, FORK, FORK + 100)), 1, "another timeline");
    }

    #[test]
    fn a_directory_that_could_not_be_read_proves_nothing() {
        assert_eq!(count(&wal_beyond().kept_unread("db1", 1, FORK)), 0);
    }

    #[test]
    fn a_node_that_is_promoted_itself_may_not_fall_behind_what_it_had_flushed() {
        let fallen = quiet().sight("db1", 110, false, 1, FORK + 100).promoted_at("db1", 2, 1, FORK, 3_000);
        assert_eq!(count(&fallen), 1);
    }

    #[test]
    fn nothing_is_destroyed_while_the_cluster_is_not_whole() {
        assert_eq!(count(&row_10_lost().not_healed("db1 is offline")), 0);
    }

    #[test]
    fn wal_that_the_survivor_has_is_not_destroyed() {
        // db1 is promoted once more, from its own timeline: db2's was given up.
        let back = wal_beyond().promoted_at("db1", 3, 1, FORK + 200, 5_000).survivor("db1");
        assert_eq!(count(&back), 0);
        let page_end = (FORK / 8192 + 1) * 8192;
        assert_eq!(count(&failover(Kind::PowerLossOne).sight("db1", 110, false, 1, page_end)), 0);
    }
}
