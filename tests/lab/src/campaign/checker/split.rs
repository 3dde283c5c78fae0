//! Split: two nodes that took writes in overlapping time. The order of the tenures is the order of their timelines.
//!
//! | proof | why it is one |
//! |---|---|
//! | two nodes acknowledged on one timeline | a timeline belongs to the node that began it |
//! | a write was sent after one on a newer timeline was acknowledged, and acknowledged on the older one | the newer primary was one already |
//! | a write was sent after a node was seen promoted, and acknowledged on an older timeline | the same |
//!
//! What a node took that a person promoted past the cluster is no proof. A write that was sent before and acknowledged after is no proof: it may have been committed before. So this cannot see an
//! overlap that is shorter than a write.

use std::collections::BTreeMap;

use super::case::{Ack, Case, moment};
use crate::campaign::record::{Finding, Verdict};

pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let proofs = [one_timeline(case), after_newer_write(case), after_promotion(case)];
    proofs.into_iter().flatten().map(|text| case.finding(Verdict::Split, text)).collect()
}

/// What a node took that a person promoted is that person's: two primaries are what was asked for.
fn acks<'c, 'a>(case: &'c Case<'a>) -> impl Iterator<Item = &'c Ack<'a>> {
    case.acks.iter().filter(|ack| !case.is_by_hand(ack.node))
}

fn one_timeline(case: &Case<'_>) -> Option<String> {
    let mut owners: BTreeMap<u32, &Ack<'_>> = BTreeMap::new();
    acks(case).find_map(|ack| {
        let first = *owners.entry(ack.timeline).or_insert(ack);
        let text = || format!("timeline {}: {} and {}", ack.timeline, told(first), told(ack));
        (first.node != ack.node).then(text)
    })
}

fn after_newer_write(case: &Case<'_>) -> Option<String> {
    let mut firsts: BTreeMap<u32, &Ack<'_>> = BTreeMap::new();
    for ack in acks(case) {
        let first = firsts.entry(ack.timeline).or_insert(ack);
        if ack.at < first.at {
            *first = ack;
        }
    }
    acks(case).find_map(|ack| {
        let newer = firsts.range(ack.timeline + 1..).find(|(_, first)| first.at <= ack.sent);
        newer.map(|(_, first)| format!("{}, after {}", told(ack), told(first)))
    })
}

fn after_promotion(case: &Case<'_>) -> Option<String> {
    acks(case).find_map(|ack| {
        let mut promotions = case.round.promotions.iter().filter(|promotion| !case.is_by_hand(&promotion.node));
        let newer = promotions.find(|promotion| promotion.timeline > ack.timeline && promotion.seen < ack.sent)?;
        let (node, timeline, seen) = (&newer.node, newer.timeline, moment(newer.seen));
        Some(format!("{}, after {node} was seen as the primary of timeline {timeline} at {seen}", told(ack)))
    })
}

fn told(ack: &Ack<'_>) -> String {
    let (sent, at) = (moment(ack.sent), moment(ack.at));
    let (client, n, node, timeline) = (ack.client, ack.n, ack.node, ack.timeline);
    format!("row {n} of client {client} (sent {sent}, acknowledged {at} by {node} on timeline {timeline})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::fault::Kind;
    use crate::campaign::made_up::{MadeUp, failover, quiet};

    fn count(case: &MadeUp) -> usize {
        case.findings_of(Verdict::Split).len()
    }

    #[test]
    fn a_failover_has_one_writer_at_a_time() {
        assert_eq!(count(&quiet()), 0);
        assert_eq!(count(&failover(Kind::PowerLossOne)), 0);
    }

    #[test]
    fn two_nodes_on_one_timeline_are_two_writers() {
        let found = quiet().acknowledged(2, 1, 100, 105, "db2", 1).findings_of(Verdict::Split);
        assert_eq!(found.len(), 1);
        assert!(found[0].text.starts_with("timeline 1: row 1 of client 1"), "{}", found[0].text);
    }

    #[test]
    fn a_node_that_a_person_promoted_is_no_second_writer_of_the_clusters() {
        let two = || quiet().acknowledged(2, 1, 100, 105, "db2", 1);
        assert_eq!(count(&two().struck_node(Kind::PromotedByHand, "db2")), 0);
        assert_eq!(count(&two().struck_node(Kind::PromotedByHand, "db3")), 1, "another node");
    }

    #[test]
    fn a_write_on_the_old_timeline_after_one_on_the_new_proves_two_writers() {
        // Seen promoted at 2000 ms, first row of the new timeline acknowledged at 2015 ms.
        let late = failover(Kind::Freeze).acknowledged(2, 1, 2_016, 2_020, "db1", 1);
        assert_eq!(count(&late), 2, "after the row, and after the promotion");
    }

    #[test]
    fn a_write_on_the_old_timeline_after_the_promotion_was_seen_proves_two_writers() {
        let found = failover(Kind::Freeze).acknowledged(2, 1, 2_001, 2_004, "db1", 1).findings_of(Verdict::Split);
        assert_eq!(found.len(), 1);
        assert!(found[0].text.contains("after db2 was seen as the primary of timeline 2"), "{}", found[0].text);
    }

    #[test]
    fn a_write_that_was_sent_before_the_promotion_proves_nothing() {
        assert_eq!(count(&failover(Kind::Freeze).acknowledged(2, 1, 1_999, 2_500, "db1", 1)), 0);
    }

    #[test]
    fn a_primary_that_comes_back_on_a_new_timeline_is_no_second_writer() {
        let back = failover(Kind::Switchover).promoted("db1", 3, 2, 5_000).acknowledged(1, 99, 5_001, 5_004, "db1", 3);
        assert_eq!(count(&back), 0);
    }
}
