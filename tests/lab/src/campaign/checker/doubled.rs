//! Doubled: a row that the survivor has more than once, though no attempt was made twice.

use super::case::{Case, named};
use crate::campaign::record::{Finding, Verdict};

pub(super) fn findings(case: &Case<'_>) -> Vec<Finding> {
    let rows = case.round.aftermath.rows.iter();
    let counted = rows.flat_map(|(client, rows)| rows.iter().map(|(n, count)| (*client, *n, *count)));
    let doubled: Vec<_> = counted.filter(|(_, _, count)| *count > 1).map(|(client, n, _)| (client, n)).collect();
    if doubled.is_empty() {
        return Vec::new();
    }
    let text = format!("{} has rows more than once: {}", case.survivor(), named(doubled));
    vec![case.finding(Verdict::Doubled, text)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::made_up::quiet;

    #[test]
    fn a_row_that_is_there_twice_is_doubled() {
        assert!(quiet().findings_of(Verdict::Doubled).is_empty());
        let found = quiet().with_row(1, 3).findings_of(Verdict::Doubled);
        assert_eq!(found[0].text, "db1 has rows more than once: client 1: 3");
    }
}
