//! What a client saw, and what follows from it: outages, missing rows, two nodes that took writes at once.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

use crate::error::{Result, unexpected};

/// A gap between two acknowledgements that is worth a line in the report.
const OUTAGE_WORTH_TELLING: Duration = Duration::from_millis(200);

/// One acknowledged row; times count from the client's start.
#[derive(Debug, Clone)]
pub(crate) struct Ack {
    pub n: i64,
    pub begin: Duration,
    pub ack: Duration,
    pub node: String,
    pub timeline: u32,
}

#[derive(Debug)]
pub(crate) struct History {
    pub client: i32,
    /// The time of day that the others count from.
    pub began: SystemTime,
    pub acks: Vec<Ack>,
    /// Each reason once per run of equal ones, with the time of the first.
    errors: Vec<(Duration, String)>,
}

impl History {
    pub(crate) fn new(client: i32) -> Self {
        Self { client, began: SystemTime::now(), acks: Vec::new(), errors: Vec::new() }
    }

    pub(crate) fn note_error(&mut self, at: Duration, reason: String) {
        if self.errors.last().is_none_or(|(_, last)| *last != reason) {
            self.errors.push((at, reason));
        }
    }

    pub(crate) fn last_error(&self) -> &str {
        self.errors.last().map_or("no error", |(_, reason)| reason)
    }

    /// The history as text, one event per line.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("client {}: {} rows acknowledged\n", self.client, self.acks.len());
        for (at, reason) in &self.errors {
            let _ = writeln!(text, "{:>9.3} s  error: {reason}", at.as_secs_f64());
        }
        for ack in &self.acks {
            let (begin, end) = (ack.begin.as_secs_f64(), ack.ack.as_secs_f64());
            let _ = writeln!(
                text,
                "{begin:>9.3} s  row {} acknowledged at {end:.3} by {} on timeline {}",
                ack.n, ack.node, ack.timeline
            );
        }
        text
    }

    /// Compares with the rows that `survivor` has: how often each number is there.
    pub(crate) fn report(&self, rows: &HashMap<i64, u64>, survivor: &str) -> Report {
        let is_missing = |ack: &&Ack| !rows.contains_key(&ack.n);
        Report {
            client: self.client,
            acknowledged: self.acks.len(),
            outages: self.outages(),
            missing: self.acks.iter().filter(is_missing).map(|ack| ack.n).collect(),
            doubled: rows.iter().filter(|(_, count)| **count > 1).map(|(n, _)| *n).collect(),
            both_wrote: two_writers(&self.acks),
            takers: takers(&self.acks),
            survivor: survivor.to_owned(),
        }
    }

    fn outages(&self) -> Vec<Outage> {
        let pairs = self.acks.windows(2);
        pairs
            .map(|pair| Outage { begin: pair[0].ack, end: pair[1].ack })
            .filter(|outage| outage.length() >= OUTAGE_WORTH_TELLING)
            .collect()
    }
}

/// The time between two acknowledgements, of which the second came late.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outage {
    pub begin: Duration,
    pub end: Duration,
}

impl Outage {
    pub(crate) fn length(&self) -> Duration {
        self.end.saturating_sub(self.begin)
    }
}

/// What became of a client's rows.
#[derive(Debug)]
pub(crate) struct Report {
    /// What its rows bear.
    pub client: i32,
    pub acknowledged: usize,
    pub outages: Vec<Outage>,
    /// Acknowledged numbers that the survivor lacks.
    pub missing: Vec<i64>,
    pub doubled: Vec<i64>,
    /// Proof that two nodes took writes at the same time.
    pub both_wrote: Option<String>,
    /// Who acknowledged, in the order of their first row.
    pub takers: Vec<String>,
    pub survivor: String,
}

impl Report {
    /// The longest time without an acknowledgement; zero when nothing was worth telling.
    pub(crate) fn outage(&self) -> Duration {
        self.outages.iter().map(Outage::length).max().unwrap_or_default()
    }

    /// Every acknowledged row is there, once, and never did two nodes take writes.
    pub(crate) fn assert_nothing_lost(&self) -> Result<()> {
        self.assert_no_two_writers()?;
        match (self.missing.is_empty(), self.doubled.is_empty()) {
            (true, true) => Ok(()),
            _ => unexpected(format!(
                "of {} acknowledged rows {} lacks {} (first {:?}) and has {} twice",
                self.acknowledged,
                self.survivor,
                self.missing.len(),
                self.missing.iter().take(5).collect::<Vec<_>>(),
                self.doubled.len()
            )),
        }
    }

    /// Without synchronous replication what was not yet sent may be lost; two writers are never allowed.
    pub(crate) fn assert_no_two_writers(&self) -> Result<()> {
        match &self.both_wrote {
            None => Ok(()),
            Some(proof) => unexpected(format!("two nodes took writes at the same time: {proof}")),
        }
    }

    pub(crate) fn assert_outage_below(&self, limit: Duration) -> Result<()> {
        match self.outage() < limit {
            true => Ok(()),
            false => unexpected(format!(
                "the longest outage is {} ms, allowed are {} ms",
                self.outage().as_millis(),
                limit.as_millis()
            )),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rows acknowledged: {} (by {})", self.acknowledged, self.takers.join(", then "))?;
        writeln!(f, "rows missing on {}: {}", self.survivor, self.missing.len())?;
        writeln!(f, "rows doubled: {}", self.doubled.len())?;
        writeln!(f, "two nodes took writes at once: {}", self.both_wrote.as_deref().unwrap_or("no"))?;
        writeln!(f, "longest outage: {} ms", self.outage().as_millis())?;
        for outage in &self.outages {
            writeln!(f, "  outage of {} ms at {:.3} s", outage.length().as_millis(), outage.begin.as_secs_f64())?;
        }
        Ok(())
    }
}

/// The order of the tenures is the order of their timelines. A write of an older one that began after a write of a newer
/// one had been acknowledged proves two primaries, and so do two nodes on one timeline.
fn two_writers(acks: &[Ack]) -> Option<String> {
    let mut owner: HashMap<u32, &str> = HashMap::new();
    for ack in acks {
        let first = owner.entry(ack.timeline).or_insert(&ack.node);
        if *first != ack.node {
            return Some(format!("timeline {}: row {} by {}, others by {first}", ack.timeline, ack.n, ack.node));
        }
    }
    let mut first: HashMap<u32, &Ack> = HashMap::new();
    for ack in acks {
        let earliest = first.entry(ack.timeline).or_insert(ack);
        if ack.ack < earliest.ack {
            *earliest = ack;
        }
    }
    acks.iter().find_map(|later| {
        let newer = first.values().find(|ack| ack.timeline > later.timeline && ack.ack <= later.begin)?;
        Some(format!(
            "row {} by {} on timeline {} after row {} by {} on timeline {}",
            later.n, later.node, later.timeline, newer.n, newer.node, newer.timeline
        ))
    })
}

fn takers(acks: &[Ack]) -> Vec<String> {
    let mut takers: Vec<String> = acks.iter().map(|ack| ack.node.clone()).collect();
    takers.dedup();
    takers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(n: i64, begin: u64, ack: u64, node: &str, timeline: u32) -> Ack {
        let (begin, ack) = (Duration::from_millis(begin), Duration::from_millis(ack));
        Ack { n, begin, ack, node: node.to_owned(), timeline }
    }

    #[test]
    fn a_switchover_and_back_has_one_writer_at_a_time() {
        let acks = [ack(1, 0, 1, "a", 1), ack(2, 2, 3, "b", 2), ack(3, 4, 5, "a", 3)];
        assert_eq!(two_writers(&acks), None);
    }

    #[test]
    fn a_write_on_the_old_timeline_after_one_on_the_new_proves_two_writers() {
        let acks = [ack(1, 0, 1, "a", 1), ack(2, 2, 3, "b", 2), ack(3, 4, 5, "a", 1)];
        assert!(two_writers(&acks).is_some());
    }

    #[test]
    fn two_nodes_on_one_timeline_prove_two_writers() {
        let acks = [ack(1, 0, 1, "a", 1), ack(2, 2, 3, "b", 1)];
        assert!(two_writers(&acks).is_some());
    }

    #[test]
    fn missing_and_doubled_rows_are_counted() {
        let mut history = History::new(1);
        history.acks = vec![ack(1, 0, 1, "a", 1), ack(2, 2, 3, "a", 1), ack(4, 900, 901, "a", 1)];
        let report = history.report(&HashMap::from([(1, 2), (3, 1), (4, 1)]), "a");
        assert_eq!(report.missing, [2]);
        assert_eq!(report.doubled, [1]);
        assert_eq!(report.outage().as_millis(), 898);
        assert!(report.assert_nothing_lost().is_err());
    }
}
