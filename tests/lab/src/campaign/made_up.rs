//! Made-up campaigns of one round, for the tests: a healthy one to begin with, and what can be wrong with it. Times are
//! milliseconds from the first client's start.

use std::collections::BTreeMap;
use std::ops::Range;

use super::checker::{check, rows_lost};
use crate::profile::Profile;

use super::fault::{Fault, Kind, Victim};
use super::record::{
    Aftermath, Campaign, Finding, KeptAside, Lsn, Micros, Outcome, Promotion, Read, Round, Sight, Strike, Verdict,
    Write,
};

/// Where timeline 1 ends in a failover: the end of row 10.
pub(super) const FORK: Lsn = 0x500_1234;
const ADDRESS: &str = "10.0.0.100";
/// When a new primary is first seen, in a failover.
const SEEN: u64 = 2_000;
/// WAL of one row, in bytes.
const ROW: Lsn = 200;

/// So that something can be earlier than the beginning.
fn micros(ms: u64) -> Micros {
    10_000_000 + ms * 1_000
}

#[derive(Debug, Clone)]
pub(super) struct MadeUp(pub(super) Campaign);

/// The attribute daemon of db3 is killed, and nothing happens. Client 1 writes row n at 10 n ms, acknowledged 5 ms later
/// by db1.
pub(super) fn quiet() -> MadeUp {
    let mut case = empty("db1").struck_node(Kind::KillAttributeDaemon, "db3");
    for n in 1..=20 {
        case = case.row(n, 0, "db1", 1, FORK - 10 * ROW);
    }
    for ms in (0..300).step_by(100) {
        case = case.sights(ms, &[("db1", false, 1), ("db2", true, 1), ("db3", true, 1)]);
    }
    case
}

/// A fault of db1 after row 10, and db2 takes over on timeline 2 without any loss: it is seen as the primary at 2000 ms,
/// and row 11 is sent at 2010 ms. db1 comes back as a standby.
pub(super) fn failover(kind: Kind) -> MadeUp {
    let mut case = empty("db2").struck_node(kind, "db1").promoted_at("db2", 2, 1, FORK, SEEN);
    case.round().strikes[0].primary_lost = true;
    case.round().aftermath.power_lost = vec!["db1".to_owned()];
    for n in 1..=10 {
        case = case.row(n, 0, "db1", 1, FORK - 10 * ROW);
    }
    for n in 11..=20 {
        case = case.row(n, 1_900, "db2", 2, FORK - 10 * ROW);
    }
    case = case.sights(0, &[("db1", false, 1)]);
    for ms in (0..SEEN).step_by(100) {
        case = case.sights(ms, &[("db2", true, 1), ("db3", true, 1)]);
    }
    for ms in (SEEN..SEEN + 500).step_by(100) {
        case = case.sights(ms, &[("db2", false, 2), ("db3", true, 2)]);
    }
    case.sights(6_000, &[("db1", true, 2)]).new_run("db1", 5_000)
}

fn empty(survivor: &str) -> MadeUp {
    let aftermath = Aftermath {
        healed_after: Some(6_000_000),
        missing: None,
        survivor: Some(survivor.to_owned()),
        rows: BTreeMap::new(),
        order: BTreeMap::new(),
        failures: Vec::new(),
        power_lost: Vec::new(),
        kept: Vec::new(),
        manual_steps: Vec::new(),
    };
    let round = Round {
        number: 3,
        began: micros(0),
        ended: micros(9_000),
        strikes: Vec::new(),
        writes: Vec::new(),
        reads: Vec::new(),
        sights: Vec::new(),
        promotions: Vec::new(),
        load_mb: 0,
        aftermath,
    };
    let nodes = ["db1", "db2", "db3"].map(str::to_owned).to_vec();
    MadeUp(Campaign {
        seed: 1,
        agent: "pgbaton".to_owned(),
        nodes,
        synchronous: false,
        profile: Profile::default(),
        rounds: vec![round],
    })
}

impl MadeUp {
    pub(super) fn findings_of(&self, verdict: Verdict) -> Vec<Finding> {
        check(&self.0).into_iter().filter(|finding| finding.verdict == verdict).collect()
    }

    pub(super) fn rows_lost(&self) -> usize {
        rows_lost(&self.0, &self.0.rounds[0])
    }

    fn round(&mut self) -> &mut Round {
        &mut self.0.rounds[0]
    }

    fn with(mut self, change: impl FnOnce(&mut Round)) -> Self {
        change(self.round());
        self
    }

    // --- what clients do -------------------------------------------------------------------------------------------

    /// Row n of client 1, 10 n ms after `offset`, on the survivor.
    fn row(mut self, n: i64, offset: u64, node: &str, timeline: u32, before: Lsn) -> Self {
        let place = u64::try_from(n).unwrap();
        let sent = offset + 10 * place;
        self = self.acknowledged(1, n, sent, sent + 5, node, timeline).told_lsn(n, Some(before + place * ROW));
        self.with(|round| round.writes.last_mut().unwrap().target = ADDRESS.to_owned())
    }

    /// A row that is acknowledged directly by a node, and on the survivor.
    pub(super) fn acknowledged(self, client: i32, n: i64, sent: u64, at: u64, node: &str, timeline: u32) -> Self {
        let outcome = Outcome::Acknowledged { at: micros(at), node: node.to_owned(), timeline, lsn: None };
        self.write(client, n, sent, outcome).with_row(client, n).with(|round| {
            round.aftermath.order.entry(client).or_default().push(n);
        })
    }

    pub(super) fn refused(self, client: i32, n: i64, sent: u64) -> Self {
        self.write(client, n, sent, Outcome::Refused { at: micros(sent + 1), reason: "read-only".to_owned() })
    }

    pub(super) fn unknown(self, client: i32, n: i64, sent: u64) -> Self {
        self.write(client, n, sent, Outcome::Unknown { at: micros(sent + 1), reason: "connection lost".to_owned() })
    }

    fn write(self, client: i32, n: i64, sent: u64, outcome: Outcome) -> Self {
        let write = Write { client, n, target: "db1".to_owned(), sent: micros(sent), outcome };
        self.with(|round| round.writes.push(write))
    }

    fn write_of(&mut self, n: i64) -> &mut Write {
        self.round().writes.iter_mut().find(|write| write.client == 1 && write.n == n).unwrap()
    }

    pub(super) fn told_lsn(mut self, n: i64, told: Option<Lsn>) -> Self {
        if let Outcome::Acknowledged { lsn, .. } = &mut self.write_of(n).outcome {
            *lsn = told;
        }
        self
    }

    pub(super) fn begins_earlier(mut self, n: i64, ms: u64) -> Self {
        let write = self.write_of(n);
        write.sent -= ms * 1_000;
        if let Outcome::Acknowledged { at, .. } = &mut write.outcome {
            *at -= ms * 1_000;
        }
        self
    }

    pub(super) fn forget_outcome(mut self, n: i64) -> Self {
        self.write_of(n).outcome = Outcome::Unknown { at: micros(900), reason: "no answer in time".to_owned() };
        self
    }

    /// By the node's role of that time.
    pub(super) fn read(self, node: &str, sent: u64, answered: u64, count: i64, highest: i64) -> Self {
        let is_promoted = !self.0.rounds[0].promotions.is_empty() && sent >= SEEN;
        let (primary, timeline) = if is_promoted { ("db2", 2) } else { ("db1", 1) };
        self.read_as(node, node != primary, timeline, sent, answered, count, highest)
    }

    #[expect(clippy::too_many_arguments, reason = "a read has as many properties")]
    pub(super) fn read_as(
        self,
        node: &str,
        standby: bool,
        timeline: u32,
        sent: u64,
        answered: u64,
        count: i64,
        highest: i64,
    ) -> Self {
        let (node, target) = (node.to_owned(), node.to_owned());
        let (sent, answered) = (micros(sent), micros(answered));
        let read = Read { target, sent, answered, node, standby, timeline, client: 1, count, highest };
        self.with(|round| round.reads.push(read))
    }

    // --- what nodes are --------------------------------------------------------------------------------------------

    /// Each with all that there is at the fork.
    fn sights(self, ms: u64, nodes: &[(&str, bool, u32)]) -> Self {
        nodes.iter().fold(self, |case, (node, standby, timeline)| case.sight(node, ms, *standby, *timeline, FORK))
    }

    /// Asked at that time, and answered a millisecond later.
    pub(super) fn sight(self, node: &str, ms: u64, standby: bool, timeline: u32, lsn: Lsn) -> Self {
        let (asked, answered) = (micros(ms), micros(ms + 1));
        let (node, server_started) = (node.to_owned(), "once".to_owned());
        self.with(|round| round.sights.push(Sight { node, asked, answered, server_started, standby, timeline, lsn }))
    }

    pub(super) fn new_run(self, node: &str, from: u64) -> Self {
        self.with(|round| {
            let later = round.sights.iter_mut().filter(|sight| sight.node == node && sight.asked >= micros(from));
            later.for_each(|sight| "again".clone_into(&mut sight.server_started));
        })
    }

    pub(super) fn without_sights(self, node: &str, ms: Range<u64>) -> Self {
        let gone = micros(ms.start)..micros(ms.end);
        self.with(|round| round.sights.retain(|sight| sight.node != node || !gone.contains(&sight.asked)))
    }

    pub(super) fn promoted(self, node: &str, timeline: u32, parent: u32, ms: u64) -> Self {
        self.promoted_at(node, timeline, parent, FORK + 20 * ROW, ms)
    }

    pub(super) fn promoted_at(self, node: &str, timeline: u32, parent: u32, fork: Lsn, ms: u64) -> Self {
        let promotion = Promotion { node: node.to_owned(), timeline, parent, fork, seen: micros(ms) };
        self.with(|round| round.promotions.push(promotion))
    }

    pub(super) fn promotion_seen(self, ms: u64) -> Self {
        self.with(|round| round.promotions[0].seen = micros(ms))
    }

    pub(super) fn without_promotions(self) -> Self {
        self.with(|round| round.promotions.clear())
    }

    // --- faults ----------------------------------------------------------------------------------------------------

    pub(super) fn struck(self, kind: Kind) -> Self {
        self.struck_node(kind, "db1")
    }

    pub(super) fn struck_node(self, kind: Kind, node: &str) -> Self {
        let fault = Fault { kind, victim: Victim::Primary, lasts_ms: 0, after_ms: 0, choice: 0 };
        let strike = Strike {
            kind,
            fault,
            nodes: vec![node.to_owned()],
            hit_primary: node == "db1",
            primary_lost: false,
            began: micros(107),
            ended: micros(107),
            failed: None,
        };
        self.with(|round| round.strikes.push(strike))
    }

    pub(super) fn strike_failed(self) -> Self {
        self.with(|round| round.strikes[0].failed = Some("not possible here".to_owned()))
    }

    pub(super) fn not_taken(self) -> Self {
        self.with(|round| round.strikes[0].primary_lost = false)
    }

    pub(super) fn synchronous(mut self) -> Self {
        self.0.synchronous = true;
        self
    }

    // --- the aftermath ---------------------------------------------------------------------------------------------

    /// Once more, when it is there.
    pub(super) fn with_row(self, client: i32, n: i64) -> Self {
        self.with(|round| *round.aftermath.rows.entry(client).or_default().entry(n).or_default() += 1)
    }

    pub(super) fn without_row(self, n: i64) -> Self {
        self.with(|round| {
            round.aftermath.rows.entry(1).or_default().remove(&n);
            round.aftermath.order.entry(1).or_default().retain(|there| *there != n);
        })
    }

    pub(super) fn swapped(self, one: i64, other: i64) -> Self {
        self.with(|round| {
            let order = round.aftermath.order.get_mut(&1).unwrap();
            let place = |n| order.iter().position(|there| *there == n).unwrap();
            let (one, other) = (place(one), place(other));
            order.swap(one, other);
        })
    }

    pub(super) fn no_power_lost(self) -> Self {
        self.with(|round| round.aftermath.power_lost.clear())
    }

    pub(super) fn power_lost(self, node: &str) -> Self {
        self.with(|round| round.aftermath.power_lost.push(node.to_owned()))
    }

    pub(super) fn survivor(self, node: &str) -> Self {
        self.with(|round| round.aftermath.survivor = Some(node.to_owned()))
    }

    pub(super) fn no_survivor(self) -> Self {
        self.with(|round| round.aftermath.survivor = None)
    }

    pub(super) fn not_healed(self, missing: &str) -> Self {
        self.with(|round| {
            round.aftermath.healed_after = None;
            round.aftermath.missing = Some(missing.to_owned());
        })
    }

    pub(super) fn failure(self, text: &str) -> Self {
        self.with(|round| round.aftermath.failures.push(text.to_owned()))
    }

    pub(super) fn kept(self, node: &str, timeline: u32, fork: Lsn, end: Lsn) -> Self {
        self.kept_unread(node, timeline, fork).with(|round| round.aftermath.kept.last_mut().unwrap().end = Some(end))
    }

    pub(super) fn kept_unread(self, node: &str, timeline: u32, fork: Lsn) -> Self {
        let (node, directory) = (node.to_owned(), "main.kept-1".to_owned());
        let kept = KeptAside { node, directory, timeline, fork, whole: false, end: None, rows: BTreeMap::new() };
        self.with(|round| round.aftermath.kept.push(kept))
    }

    /// As before a clone: nobody knows of a fork.
    pub(super) fn kept_whole(self, node: &str, timeline: u32) -> Self {
        self.kept_unread(node, timeline, 0).with(|round| round.aftermath.kept.last_mut().unwrap().whole = true)
    }

    pub(super) fn with_profile(mut self, profile: &str) -> Self {
        self.0.profile = profile.parse().unwrap();
        self
    }

    pub(super) fn kept_rows(self, rows: &[i64]) -> Self {
        self.with(|round| drop(round.aftermath.kept.last_mut().unwrap().rows.insert(1, rows.to_vec())))
    }
}
