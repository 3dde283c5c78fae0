//! Invented: a row on the survivor that nobody sent, or that was refused; or a read that tells of such a row.

use std::collections::{BTreeMap, BTreeSet};

use super::case::{Case, moment, named};
use crate::campaign::record::{Finding, Micros, Outcome, Read, Verdict, Write};

/// When each row that may be there was sent, by client and number.
type Sent = BTreeMap<i32, BTreeMap<i64, Micros>>;

pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let possible = possible(case);
    let mut findings: Vec<Finding> = on_survivor(case, &possible).into_iter().collect();
    let readers: BTreeSet<i32> = case.round.reads.iter().map(|read| read.client).collect();
    findings.extend(readers.into_iter().filter_map(|client| first_read(case, &possible, client)));
    findings
}

/// Rows that may be there: acknowledged, or nobody knows.
fn possible(case: &Case<'_>) -> Sent {
    let mut sent = Sent::new();
    let may_be_there = |write: &&Write| !matches!(write.outcome, Outcome::Refused { .. });
    for write in case.round.writes.iter().filter(may_be_there) {
        sent.entry(write.client).or_default().insert(write.n, write.sent);
    }
    sent
}

fn on_survivor(case: &Case<'_>, possible: &Sent) -> Option<Finding> {
    let rows = case.round.aftermath.rows.iter();
    let rows = rows.flat_map(|(client, rows)| rows.keys().map(|n| (*client, *n)));
    let is_invented = |(client, n): &(i32, i64)| !possible.get(client).is_some_and(|sent| sent.contains_key(n));
    let invented: Vec<_> = rows.filter(is_invented).collect();
    let text =
        || format!("{} has rows that nobody sent, or that were refused: {}", case.survivor(), named(invented.clone()));
    (!invented.is_empty()).then(|| case.finding(Verdict::Invented, text()))
}

/// The first read of that client's rows that tells of more than was sent before its answer.
fn first_read(case: &Case<'_>, possible: &Sent, client: i32) -> Option<Finding> {
    let nothing = BTreeMap::new();
    let sent = possible.get(&client).unwrap_or(&nothing);
    let mut moments: Vec<Micros> = sent.values().copied().collect();
    moments.sort_unstable();
    let reads = case.round.reads.iter().filter(|read| read.client == client && read.count > 0);
    let told = reads.filter_map(|read| Some((read, told_too_much(read, sent, &moments)?)));
    let (read, what) = told.min_by_key(|(read, _)| read.answered)?;
    let text =
        format!("a read of client {client}'s rows on {} at {} tells of {what}", read.node, moment(read.answered));
    Some(case.finding(Verdict::Invented, text))
}

/// `moments` are those of `sent`, in order.
fn told_too_much(read: &Read, sent: &BTreeMap<i64, Micros>, moments: &[Micros]) -> Option<String> {
    if sent.get(&read.highest).is_none_or(|sent| *sent > read.answered) {
        return Some(format!("row {}, that nobody had sent, or that was refused", read.highest));
    }
    let most = moments.partition_point(|sent| *sent <= read.answered);
    let too_many = usize::try_from(read.count).is_ok_and(|count| count > most);
    too_many.then(|| format!("{} rows, when {most} had been sent", read.count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::fault::Kind;
    use crate::campaign::made_up::{MadeUp, failover, quiet};

    fn count(case: &MadeUp) -> usize {
        case.findings_of(Verdict::Invented).len()
    }

    #[test]
    fn a_healthy_round_invents_nothing() {
        assert_eq!(count(&quiet()), 0);
        assert_eq!(count(&failover(Kind::PowerLossOne)), 0);
    }

    #[test]
    fn a_row_that_nobody_sent_is_invented() {
        let case = quiet().with_row(1, 999);
        assert!(case.findings_of(Verdict::Invented)[0].text.contains("client 1: 999"));
        assert_eq!(count(&quiet().with_row(77, 1)), 1, "of a client that is none");
    }

    #[test]
    fn a_row_that_was_refused_is_invented_and_one_of_unknown_fate_is_not() {
        assert_eq!(count(&quiet().refused(1, 500, 900).with_row(1, 500)), 1);
        assert_eq!(count(&quiet().unknown(1, 500, 900).with_row(1, 500)), 0);
    }

    #[test]
    fn a_read_that_tells_of_more_than_was_sent_is_found() {
        // Rows 1 to 5 have been sent by 60 ms.
        assert_eq!(count(&quiet().read("db1", 50, 59, 5, 5)), 0);
        assert_eq!(count(&quiet().read("db1", 50, 59, 6, 5)), 1);
        assert_eq!(count(&quiet().read("db1", 50, 59, 5, 6)), 1);
        assert_eq!(count(&quiet().read("db2", 50, 59, 0, 0)), 0, "nothing seen is nothing invented");
    }
}
