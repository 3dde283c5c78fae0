//! What several rules read from a round.

use std::collections::BTreeMap;

use crate::campaign::fault::Kind;
use crate::campaign::record::{Campaign, Finding, Lsn, Micros, Outcome, Promotion, Round, Sight, Verdict};

/// Rows that a text names before it only counts them.
const ROWS_NAMED: usize = 5;
/// A WAL page, in bytes. The primary flushes, and standbys receive, whole pages while a record is not complete.
const PAGE: Lsn = 8192;
/// The header of a WAL page, at most, in bytes: as far apart can two positions be that mean the same.
const PAGE_HEADER: Lsn = 40;

/// An acknowledged row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ack<'a> {
    pub(super) client: i32,
    pub(super) n: i64,
    pub(super) sent: Micros,
    pub(super) at: Micros,
    pub(super) node: &'a str,
    pub(super) timeline: u32,
    pub(super) lsn: Option<Lsn>,
}

/// A round to be judged.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) campaign: &'a Campaign,
    pub(super) round: &'a Round,
    /// In the order of the record.
    pub(super) acks: Vec<Ack<'a>>,
}

impl<'a> Case<'a> {
    pub(super) fn new(campaign: &'a Campaign, round: &'a Round) -> Self {
        Self { campaign, round, acks: acks(round) }
    }

    pub(super) fn finding(&self, verdict: Verdict, text: String) -> Finding {
        Finding { round: self.round.number, verdict, text }
    }

    /// Acknowledged rows that the survivor lacks; none when nobody could be asked.
    pub(super) fn lost(&self) -> Vec<Ack<'a>> {
        let has_survivor = self.round.aftermath.survivor.is_some();
        self.acks.iter().filter(|ack| has_survivor && !self.survives(ack.client, ack.n)).copied().collect()
    }

    /// Whether the survivor has that row.
    pub(super) fn survives(&self, client: i32, n: i64) -> bool {
        let rows = self.round.aftermath.rows.get(&client);
        rows.and_then(|rows| rows.get(&n)).is_some_and(|count| *count > 0)
    }

    pub(super) fn survivor(&self) -> &'a str {
        self.round.aftermath.survivor.as_deref().unwrap_or("the survivor")
    }

    /// The survivor's change of timeline away from that one: what the old timeline has beyond its fork is not on the
    /// survivor. Timelines that were begun and given up again do not count.
    pub(super) fn end_of(&self, timeline: u32) -> Option<&'a Promotion> {
        self.lineage().into_iter().find(|promotion| promotion.parent == timeline)
    }

    /// The round's promotions that led to the survivor's timeline, the last one first.
    pub(super) fn lineage(&self) -> Vec<&'a Promotion> {
        let promotions = &self.round.promotions;
        let own = promotions.iter().filter(|promotion| Some(&promotion.node) == self.round.aftermath.survivor.as_ref());
        let mut lineage: Vec<&Promotion> = own.max_by_key(|promotion| promotion.timeline).into_iter().collect();
        while let Some(earlier) = lineage.last().and_then(|last| made(promotions, last.parent)) {
            lineage.push(earlier);
        }
        lineage
    }

    /// Timelines of the round, and where the survivor's history left them: those that it went on from, and those that were
    /// begun beside its own and given up.
    pub(super) fn departures(&self) -> Vec<(u32, Lsn)> {
        let lineage = self.lineage();
        let promotions = self.round.promotions.iter();
        let given_up = promotions.filter(|promotion| lineage.iter().all(|own| own.timeline != promotion.timeline));
        let beside = given_up.filter_map(|other| {
            let own = lineage.iter().find(|own| own.parent == other.parent)?;
            Some((other.timeline, own.fork.min(other.fork)))
        });
        lineage.iter().map(|own| (own.parent, own.fork)).chain(beside).collect()
    }

    /// Whether a person has promoted that node in this round, past the cluster: what it does from then on is that person's.
    pub(super) fn is_by_hand(&self, node: &str) -> bool {
        let made = self.round.strikes.iter().filter(|strike| strike.failed.is_none());
        made.filter(|strike| strike.kind == Kind::PromotedByHand)
            .any(|strike| strike.nodes.iter().any(|hit| hit == node))
    }

    /// Whether the node was a primary on that timeline, as far as anybody saw.
    pub(super) fn was_primary(&self, node: &str, timeline: u32) -> bool {
        let as_primary = |sight: &Sight| !sight.standby && sight.node == node && sight.timeline == timeline;
        self.acks.iter().any(|ack| ack.node == node && ack.timeline == timeline)
            || self.round.sights.iter().any(as_primary)
    }
}

/// The promotion that made that timeline. A timeline's parent is older, so that a chain of them ends.
fn made(promotions: &[Promotion], timeline: u32) -> Option<&Promotion> {
    promotions.iter().find(|promotion| promotion.timeline == timeline && promotion.parent < timeline)
}

fn acks(round: &Round) -> Vec<Ack<'_>> {
    let acks = round.writes.iter().filter_map(|write| match &write.outcome {
        Outcome::Acknowledged { at, node, timeline, lsn } => Some(Ack {
            client: write.client,
            n: write.n,
            sent: write.sent,
            at: *at,
            node,
            timeline: *timeline,
            lsn: *lsn,
        }),
        Outcome::Refused { .. } | Outcome::Unknown { .. } => None,
    });
    acks.collect()
}

/// Whether a whole record that ends at `lsn` lies beyond `fork`. At the end of a page a record may be cut in two, so that
/// such a position proves nothing.
pub(super) fn is_beyond(lsn: Lsn, fork: Lsn) -> bool {
    lsn > fork + PAGE_HEADER && lsn % PAGE != 0
}

/// Whether WAL that ends at `end` has everything up to `lsn`.
pub(super) fn reaches(end: Lsn, lsn: Lsn) -> bool {
    end + PAGE_HEADER >= lsn
}

/// A position as PostgreSQL writes it.
pub(super) fn position(lsn: Lsn) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xFFFF_FFFF)
}

/// A moment, in seconds from the campaign's start.
pub(super) fn moment(at: Micros) -> String {
    format!("{}.{:06} s", at / 1_000_000, at % 1_000_000)
}

/// Rows by client, the first ones by number.
pub(super) fn named(rows: impl IntoIterator<Item = (i32, i64)>) -> String {
    let mut clients: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    rows.into_iter().for_each(|(client, n)| clients.entry(client).or_default().push(n));
    let texts: Vec<String> = clients.iter().map(|(client, numbers)| named_of(*client, numbers)).collect();
    texts.join("; ")
}

fn named_of(client: i32, numbers: &[i64]) -> String {
    let named: Vec<String> = numbers.iter().take(ROWS_NAMED).map(i64::to_string).collect();
    match numbers.len().saturating_sub(ROWS_NAMED) {
        0 => format!("client {client}: {}", named.join(", ")),
        more => format!("client {client}: {} and {more} more", named.join(", ")),
    }
}
