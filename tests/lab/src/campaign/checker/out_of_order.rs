//! Out of order: rows of one client that are committed, or seen, in another order than the client was told.
//!
//! | where | what must hold |
//! |---|---|
//! | the survivor's commits | a row that was sent after another one was acknowledged comes after it |
//! | a read on the primary | sees every row that was acknowledged before the read was sent |
//! | a read on a node that a person promoted, past the cluster | as on a standby |
//! | a read on a standby | sees every row that was acknowledged before the highest row that it sees was sent |
//!
//! Rows that the survivor lacks are not asked for: what is to be said about them, `lost` says. So this cannot see a read that
//! misses a row for a while that is lost later.

use std::collections::{BTreeMap, BTreeSet};

use super::case::{Ack, Case, moment};
use crate::campaign::fault::Kind;
use crate::campaign::record::{Finding, Micros, Read, Verdict};

/// The acknowledged rows of each client.
type ByClient<'c> = BTreeMap<i32, Vec<&'c Ack<'c>>>;

pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let mut clients = ByClient::new();
    case.acks.iter().for_each(|ack| clients.entry(ack.client).or_default().push(ack));
    let commits = clients.iter().filter_map(|(client, acks)| commits(case, *client, acks));
    let reads = clients.iter().filter_map(|(client, acks)| first_read(case, *client, acks));
    commits.chain(reads).collect()
}

/// The first two acknowledged rows of the client whose commits stand in the wrong order. The order comes from the time of day,
/// which proves nothing in a round in which a clock was set.
fn commits(case: &Case<'_>, client: i32, acks: &[&Ack<'_>]) -> Option<Finding> {
    if case.round.strikes.iter().any(|strike| strike.kind == Kind::ClockSet) {
        return None;
    }
    let acks: BTreeMap<i64, &Ack<'_>> = acks.iter().map(|ack| (ack.n, *ack)).collect();
    let mut seen = BTreeSet::new();
    let order = case.round.aftermath.order.get(&client)?.iter().filter(|n| seen.insert(**n));
    let order: Vec<&Ack<'_>> = order.filter_map(|n| acks.get(n).copied()).collect();
    let wrong = order.windows(2).find(|pair| pair[0].n > pair[1].n && pair[1].at <= pair[0].sent)?;
    let (survivor, earlier, later) = (case.survivor(), wrong[0].n, wrong[1].n);
    let text = format!("{survivor} has row {earlier} of client {client} committed before row {later}");
    Some(case.finding(Verdict::OutOfOrder, text))
}

/// What a client's reads are held against.
struct Told {
    /// When its rows that the survivor has were acknowledged, in order.
    acknowledged: Vec<Micros>,
    /// When each of its rows was sent.
    sent: BTreeMap<i64, Micros>,
}

impl Told {
    fn by(case: &Case<'_>, client: i32, acks: &[&Ack<'_>]) -> Self {
        let surviving = acks.iter().filter(|ack| case.survives(client, ack.n));
        let mut acknowledged: Vec<Micros> = surviving.map(|ack| ack.at).collect();
        acknowledged.sort_unstable();
        let writes = case.round.writes.iter().filter(|write| write.client == client);
        Self { acknowledged, sent: writes.map(|write| (write.n, write.sent)).collect() }
    }

    fn acknowledged_by(&self, at: Micros) -> usize {
        self.acknowledged.partition_point(|acknowledged| *acknowledged <= at)
    }
}

/// The first read of the client's rows that misses one.
fn first_read(case: &Case<'_>, client: i32, acks: &[&Ack<'_>]) -> Option<Finding> {
    let told = Told::by(case, client, acks);
    let reads = case.round.reads.iter().filter(|read| read.client == client);
    let missing = reads.filter_map(|read| Some((read, told_too_little(case, read, &told)?)));
    let (read, what) = missing.min_by_key(|(read, _)| read.answered)?;
    let role = if read.standby { "standby" } else { "primary" };
    let (node, at, count) = (&read.node, moment(read.answered), read.count);
    let text = format!("a read on {role} {node} at {at} sees {count} rows of client {client}, and {what}");
    Some(case.finding(Verdict::OutOfOrder, text))
}

/// A highest row that was never sent proves nothing here: it is told elsewhere.
fn told_too_little(case: &Case<'_>, read: &Read, told: &Told) -> Option<String> {
    let (before, what) = match is_primary_throughout(case, read) {
        true => (read.sent, "were acknowledged before it was sent"),
        false => (*told.sent.get(&read.highest)?, "were acknowledged before the highest of them was sent"),
    };
    let due = told.acknowledged_by(before);
    let too_few = usize::try_from(read.count).map_or(true, |count| count < due);
    too_few.then(|| format!("{due} {what} (highest seen: {})", read.highest))
}

/// A read that was sent before its node was seen as a primary may have been answered while the node still replayed. One that a
/// person promoted knows what it knew as a standby.
fn is_primary_throughout(case: &Case<'_>, read: &Read) -> bool {
    let mut promotions = case.round.promotions.iter();
    let is_new = promotions.any(|promotion| {
        promotion.node == read.node && promotion.timeline == read.timeline && promotion.seen >= read.sent
    });
    !read.standby && !is_new && !case.is_by_hand(&read.node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::made_up::{MadeUp, failover, quiet};

    fn count(case: &MadeUp) -> usize {
        case.findings_of(Verdict::OutOfOrder).len()
    }

    #[test]
    fn a_healthy_round_is_in_order() {
        assert_eq!(count(&quiet()), 0);
        assert_eq!(count(&failover(Kind::PowerLossOne)), 0);
    }

    #[test]
    fn rows_committed_in_another_order_than_acknowledged_are_found() {
        let found = quiet().swapped(4, 5).findings_of(Verdict::OutOfOrder);
        assert_eq!(found[0].text, "db1 has row 5 of client 1 committed before row 4");
    }

    #[test]
    fn rows_that_were_under_way_together_have_no_order() {
        // Row 4 is acknowledged at 45 ms, when row 5 has been sent.
        assert_eq!(count(&quiet().swapped(4, 5).begins_earlier(5, 6)), 0);
    }

    #[test]
    fn a_doubled_row_counts_where_it_is_first() {
        let mut case = quiet().with_row(1, 3);
        case.0.rounds[0].aftermath.order.entry(1).or_default().push(3);
        assert_eq!(count(&case), 0);
    }

    #[test]
    fn a_row_of_unknown_fate_may_be_committed_late() {
        assert_eq!(count(&quiet().swapped(4, 5).forget_outcome(4)), 0);
    }

    #[test]
    fn commits_have_no_order_when_a_clock_was_set() {
        assert_eq!(count(&quiet().swapped(4, 5).struck(Kind::ClockSet)), 0);
    }

    #[test]
    fn a_primarys_read_sees_all_that_was_acknowledged_before() {
        // Rows 1 to 4 are acknowledged by 45 ms, row 5 is on its way at 50 ms.
        assert_eq!(count(&quiet().read("db1", 50, 59, 4, 4)), 0);
        assert_eq!(count(&quiet().read("db1", 50, 59, 3, 3)), 1);
    }

    #[test]
    fn what_a_person_promoted_may_be_behind_and_may_not_have_holes() {
        let by_hand = || quiet().struck_node(Kind::PromotedByHand, "db2");
        assert_eq!(count(&by_hand().read_as("db2", false, 2, 90, 95, 3, 3)), 0);
        assert_eq!(count(&by_hand().read_as("db2", false, 2, 90, 95, 2, 4)), 1);
        assert_eq!(count(&by_hand().read_as("db1", false, 1, 90, 95, 3, 3)), 1, "another node");
    }

    #[test]
    fn a_standby_may_be_behind_and_may_not_have_holes() {
        assert_eq!(count(&quiet().read("db2", 90, 95, 3, 3)), 0);
        assert_eq!(count(&quiet().read("db2", 90, 95, 0, 0)), 0);
        let found = quiet().read("db2", 90, 95, 2, 4).findings_of(Verdict::OutOfOrder);
        assert_eq!(found.len(), 1);
        assert!(found[0].text.contains("3 were acknowledged before the highest"), "{}", found[0].text);
    }

    #[test]
    fn a_hole_is_allowed_where_a_row_was_lost_with_its_primary() {
        let lost = failover(Kind::PowerLossOne).without_row(10);
        // Rows 1 to 10 were the old primary's, 11 and 12 are the new one's.
        assert_eq!(count(&lost.read("db3", 2_100, 2_110, 11, 12)), 0);
        assert_eq!(count(&failover(Kind::PowerLossOne).read("db3", 2_100, 2_110, 10, 12)), 1);
    }

    #[test]
    fn a_read_during_the_promotion_counts_as_a_standbys() {
        // Seen as the primary at 2000 ms.
        assert_eq!(count(&failover(Kind::PowerLossOne).read_as("db2", false, 2, 1_990, 2_001, 3, 3)), 0);
        assert_eq!(count(&failover(Kind::PowerLossOne).read_as("db2", false, 2, 2_001, 2_003, 3, 3)), 1);
    }
}
