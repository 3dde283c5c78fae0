//! A simulated cluster that does everything right, drawn from a seed: the checker must not find anything in it, and must
//! find each defect that is put into its record.

use std::collections::BTreeMap;

use super::check;
use crate::campaign::dice::{Dice, Purpose};
use crate::campaign::draw::draw;
use crate::campaign::fault::{Fault, Kind};
use crate::campaign::record::{
    Aftermath, Campaign, Finding, KeptAside, Lsn, Micros, Outcome, Promotion, Read, Round, Sight, Strike, Verdict,
    Write,
};
use crate::profile::Profile;

const NODES: [&str; 3] = ["db1", "db2", "db3"];
const SECOND: Micros = 1_000_000;
/// How long a write, a read or a look takes.
const ANSWER: Micros = 400;

/// A row that is committed, where its WAL ends.
struct Row {
    client: i32,
    n: i64,
    end: Lsn,
}

struct World {
    dice: Dice,
    now: Micros,
    primary: usize,
    timeline: u32,
    /// The primary's flush position.
    lsn: Lsn,
    /// When the primary came to which position.
    flushed: Vec<(Micros, Lsn)>,
    /// What each node has at least.
    floor: [Lsn; 3],
    /// How far each standby is behind.
    lag: [Micros; 3],
    runs: [u32; 3],
    has_power: [bool; 3],
    rows: Vec<Row>,
    /// The next number of each client of the round.
    next: BTreeMap<i32, i64>,
}

fn campaign(seed: u64) -> Campaign {
    let mut world = World {
        dice: Dice::with(seed, Purpose::Faults),
        now: 0,
        primary: 0,
        timeline: 1,
        lsn: 0x300_0028,
        flushed: Vec::new(),
        floor: [0x300_0028; 3],
        lag: [0; 3],
        runs: [0; 3],
        has_power: [true; 3],
        rows: Vec::new(),
        next: BTreeMap::new(),
    };
    let rounds = draw(seed, 3).take(12).enumerate();
    let rounds = rounds.map(|(number, faults)| world.round(number, faults)).collect();
    let nodes = NODES.map(str::to_owned).to_vec();
    Campaign { seed, agent: "simulated".to_owned(), nodes, synchronous: false, profile: Profile::default(), rounds }
}

impl World {
    fn round(&mut self, number: usize, faults: Vec<Fault>) -> Round {
        self.begin(number);
        let mut round = blank(number, self.now);
        self.work(&mut round, SECOND / 2);
        let fate = self.dice.below(4);
        round.strikes = faults.into_iter().map(|fault| self.strike(fault, fate > 1)).collect();
        match fate {
            0 => {}
            1 => self.restart(),
            _ => self.fail_over(&mut round),
        }
        self.work(&mut round, SECOND);
        self.end(&mut round);
        round
    }

    fn begin(&mut self, number: usize) {
        let first = i32::try_from(number).unwrap() * 10;
        self.next = (first..first + 3).map(|client| (client, 1)).collect();
        self.lag = [0; 3].map(|_: Micros| self.dice.below(200_000));
        self.floor = [self.lsn; 3];
        self.flushed.clear();
        self.rows.clear();
    }

    fn strike(&mut self, fault: Fault, primary_lost: bool) -> Strike {
        let nodes = vec![NODES[self.primary].to_owned()];
        let (began, ended) = (self.now, self.now + fault.lasts_ms * 1_000);
        Strike { kind: fault.kind, fault, nodes, hit_primary: true, primary_lost, began, ended, failed: None }
    }

    /// Clients write and read, and nodes are looked at.
    fn work(&mut self, round: &mut Round, length: Micros) {
        let end = self.now + length;
        while self.now < end {
            self.now += 1_000 + self.dice.below(3_000);
            match self.dice.below(10) {
                0 => self.look(round),
                1 | 2 => self.read(round),
                3 => self.refuse(round),
                _ => self.write(round),
            }
        }
    }

    fn row(&mut self) -> (i32, i64) {
        let place = self.dice.index(self.next.len());
        let (client, n) = self.next.iter_mut().nth(place).unwrap();
        *n += 1;
        (*client, *n - 1)
    }

    fn commit(&mut self, client: i32, n: i64) {
        self.lsn += 150 + self.dice.below(300);
        self.flushed.push((self.now, self.lsn));
        self.rows.push(Row { client, n, end: self.lsn });
    }

    fn write(&mut self, round: &mut Round) {
        let (client, n) = self.row();
        let (sent, node) = (self.now, NODES[self.primary].to_owned());
        self.now += ANSWER;
        self.commit(client, n);
        let outcome = Outcome::Acknowledged { at: self.now, node, timeline: self.timeline, lsn: Some(self.lsn) };
        round.writes.push(Write { client, n, target: "10.0.0.100".to_owned(), sent, outcome });
    }

    fn refuse(&mut self, round: &mut Round) {
        let (client, n) = self.row();
        let outcome = Outcome::Refused { at: self.now + ANSWER, reason: "read-only".to_owned() };
        round.writes.push(Write { client, n, target: "db2".to_owned(), sent: self.now, outcome });
    }

    /// What the node has on its disk.
    fn has(&self, node: usize) -> Lsn {
        if node == self.primary {
            return self.lsn;
        }
        let received = self.flushed.iter().rfind(|(at, _)| at + self.lag[node] <= self.now);
        received.map_or(self.floor[node], |(_, lsn)| self.floor[node].max(*lsn))
    }

    fn read(&mut self, round: &mut Round) {
        let node = self.dice.index(3);
        let client = *self.next.keys().nth(self.dice.index(3)).unwrap();
        if !self.has_power[node] {
            return;
        }
        let has = self.has(node);
        let seen: Vec<i64> =
            self.rows.iter().filter(|row| row.client == client && row.end <= has).map(|row| row.n).collect();
        let (count, highest) = (i64::try_from(seen.len()).unwrap(), seen.iter().max().copied().unwrap_or(0));
        let (target, standby, timeline) = (NODES[node].to_owned(), node != self.primary, self.timeline);
        let (sent, answered, node) = (self.now, self.now + ANSWER, target.clone());
        round.reads.push(Read { target, sent, answered, node, standby, timeline, client, count, highest });
    }

    fn look(&mut self, round: &mut Round) {
        for node in (0..3).filter(|node| self.has_power[*node]) {
            let (asked, answered, server_started) = (self.now, self.now + ANSWER, self.runs[node].to_string());
            let (name, standby, timeline, lsn) =
                (NODES[node].to_owned(), node != self.primary, self.timeline, self.has(node));
            round.sights.push(Sight { node: name, asked, answered, server_started, standby, timeline, lsn });
        }
    }

    fn restart(&mut self) {
        self.runs[self.primary] += 1;
        self.now += SECOND;
    }

    /// The primary loses its power in the midst of a write, and the standby that has received most takes over.
    fn fail_over(&mut self, round: &mut Round) {
        let old = self.primary;
        self.die(round);
        let (one, other) = ((old + 1) % 3, (old + 2) % 3);
        let (new, second) = if self.floor[one] >= self.floor[other] { (one, other) } else { (other, one) };
        let fork = self.floor[new];
        let lost = self.rows.iter().filter(|row| row.end > fork);
        let mut rows: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        lost.for_each(|row| rows.entry(row.client).or_default().push(row.n));
        let (node, directory, end) = (NODES[old].to_owned(), "main.kept-1".to_owned(), Some(self.lsn));
        if self.lsn > fork {
            round.aftermath.kept.push(KeptAside {
                node,
                directory,
                timeline: self.timeline,
                fork,
                whole: false,
                end,
                rows,
            });
        }
        self.rows.retain(|row| row.end <= fork);
        assert!(self.floor[second] <= fork);
        (self.primary, self.lsn, self.timeline) = (new, fork, self.timeline + 1);
        let (node, timeline, parent) = (NODES[new].to_owned(), self.timeline, self.timeline - 1);
        round.promotions.push(Promotion { node, timeline, parent, fork, seen: self.now });
        self.look(round);
    }

    fn die(&mut self, round: &mut Round) {
        let (old, sent) = (self.primary, self.now);
        let (client, n) = self.row();
        self.now += ANSWER;
        if self.dice.below(2) == 0 {
            self.commit(client, n);
        }
        let outcome = Outcome::Unknown { at: self.now + SECOND, reason: "no answer in time".to_owned() };
        round.writes.push(Write { client, n, target: "10.0.0.100".to_owned(), sent, outcome });
        self.floor = [0, 1, 2].map(|node| self.has(node));
        self.flushed.clear();
        self.has_power[old] = false;
        round.aftermath.power_lost.push(NODES[old].to_owned());
        for _ in 0..20 {
            self.now += SECOND / 10;
            self.look(round);
        }
        self.now += SECOND / 20;
    }

    fn end(&mut self, round: &mut Round) {
        for node in 0..3 {
            self.runs[node] += u32::from(!self.has_power[node]);
            self.has_power[node] = true;
            self.floor[node] = self.lsn;
        }
        self.look(round);
        for Row { client, n, .. } in &self.rows {
            round.aftermath.rows.entry(*client).or_default().insert(*n, 1);
            round.aftermath.order.entry(*client).or_default().push(*n);
        }
        round.aftermath.survivor = Some(NODES[self.primary].to_owned());
        round.ended = self.now;
    }
}

fn blank(number: usize, began: Micros) -> Round {
    let aftermath = Aftermath {
        healed_after: Some(SECOND),
        missing: None,
        survivor: None,
        rows: BTreeMap::new(),
        order: BTreeMap::new(),
        failures: Vec::new(),
        power_lost: Vec::new(),
        kept: Vec::new(),
        manual_steps: Vec::new(),
    };
    let (strikes, writes, reads) = (Vec::new(), Vec::new(), Vec::new());
    let (sights, promotions) = (Vec::new(), Vec::new());
    Round { number, began, ended: began, strikes, writes, reads, sights, promotions, load_mb: 0, aftermath }
}

// --- defects, put into the first round that can have them ------------------------------------------------------------

type Defect = fn(&mut Round) -> Option<()>;

/// Puts the defect into one round, and says which it is.
fn spoiled(seed: u64, defect: Defect) -> (usize, Campaign) {
    let mut campaign = campaign(seed);
    let number = campaign.rounds.iter_mut().find_map(|round| defect(round).map(|()| round.number)).unwrap();
    (number, campaign)
}

fn first_acknowledged(round: &Round) -> Option<&Write> {
    round.writes.iter().find(|write| matches!(write.outcome, Outcome::Acknowledged { .. }))
}

fn lose_a_row(round: &mut Round) -> Option<()> {
    let (client, n) = first_acknowledged(round).map(|write| (write.client, write.n))?;
    round.aftermath.order.get_mut(&client)?.retain(|there| *there != n);
    round.aftermath.rows.get_mut(&client)?.remove(&n).map(drop)
}

fn invent_a_row(round: &mut Round) -> Option<()> {
    round.aftermath.rows.values_mut().next()?.insert(1_000_000, 1).map_or(Some(()), |_| None)
}

fn add_a_refused_row(round: &mut Round) -> Option<()> {
    let refused = round.writes.iter().find(|write| matches!(write.outcome, Outcome::Refused { .. }))?;
    round.aftermath.rows.entry(refused.client).or_default().insert(refused.n, 1).map_or(Some(()), |_| None)
}

fn double_a_row(round: &mut Round) -> Option<()> {
    *round.aftermath.rows.values_mut().next()?.values_mut().next()? = 2;
    Some(())
}

/// Its first two rows are acknowledged: what has no known fate is written later.
fn swap_two_commits(round: &mut Round) -> Option<()> {
    if round.strikes.iter().any(|strike| strike.kind == Kind::ClockSet) {
        return None;
    }
    let order = round.aftermath.order.values_mut().find(|order| order.len() > 20)?;
    order.swap(0, 1);
    Some(())
}

fn miss_a_row_on_the_primary(round: &mut Round) -> Option<()> {
    let read = round.reads.iter_mut().find(|read| !read.standby && read.count > 5)?;
    read.count -= 2;
    Some(())
}

fn see_a_hole_on_a_standby(round: &mut Round) -> Option<()> {
    let read = round.reads.iter_mut().find(|read| read.standby && read.count > 5)?;
    read.count -= 2;
    Some(())
}

fn see_too_much(round: &mut Round) -> Option<()> {
    let read = round.reads.iter_mut().find(|read| read.count > 5)?;
    read.count += 1_000;
    Some(())
}

/// The last one on the old timeline was sent after the promotion.
fn write_on_the_old_timeline(round: &mut Round) -> Option<()> {
    let (new, seen) = round.promotions.first().map(|promotion| (promotion.timeline, promotion.seen))?;
    let is_old = |write: &&mut Write| matches!(write.outcome, Outcome::Acknowledged { timeline, .. } if timeline < new);
    round.writes.iter_mut().rfind(is_old)?.sent = seen + 1;
    Some(())
}

fn write_on_two_nodes(round: &mut Round) -> Option<()> {
    let own = round.writes.iter_mut().rfind(|write| matches!(write.outcome, Outcome::Acknowledged { .. }))?;
    if let Outcome::Acknowledged { node, .. } = &mut own.outcome {
        "db9".clone_into(node);
    }
    Some(())
}

/// The standby that was not promoted had more, as the promoted one was not yet.
fn pass_over_a_better_one(round: &mut Round) -> Option<()> {
    let promotion = round.promotions.first()?;
    let other = *NODES
        .iter()
        .find(|node| **node != promotion.node && !round.aftermath.power_lost.iter().any(|lost| lost == *node))?;
    let (fork, seen) = (promotion.fork, promotion.seen);
    let mut before = round.sights.iter_mut().filter(|sight| sight.node == other && sight.answered + SECOND < seen);
    // Not at the end of a page.
    before.next_back()?.lsn = (fork + 100) | 4;
    Some(())
}

fn do_not_heal(round: &mut Round) -> Option<()> {
    round.aftermath.healed_after.take().map(drop)
}

fn fail_to_start(round: &mut Round) -> Option<()> {
    round.aftermath.failures.push("pgsql_start_0 on db9: error ''".to_owned());
    Some(())
}

fn keep_aside_without_reason(round: &mut Round) -> Option<()> {
    round.aftermath.kept.first_mut()?.fork += 8;
    Some(())
}

fn keep_no_rows(round: &mut Round) -> Option<()> {
    let mut acknowledged = round.writes.iter().filter(|write| matches!(write.outcome, Outcome::Acknowledged { .. }));
    let kept = round.aftermath.kept.first_mut()?;
    let rows = std::mem::take(&mut kept.rows);
    acknowledged.any(|write| rows.get(&write.client).is_some_and(|rows| rows.contains(&write.n))).then_some(())
}

fn keep_nothing_of_the_wal(round: &mut Round) -> Option<()> {
    let promotion = round.promotions.first()?;
    let is_beyond = |sight: &Sight| {
        !sight.standby && sight.timeline == promotion.parent && super::case::is_beyond(sight.lsn, promotion.fork)
    };
    round.sights.iter().any(is_beyond).then(|| round.aftermath.kept.iter_mut().for_each(|kept| kept.timeline = 99))
}

const DEFECTS: [(Verdict, Defect); 16] = [
    (Verdict::Lost, lose_a_row),
    (Verdict::Invented, invent_a_row),
    (Verdict::Invented, add_a_refused_row),
    (Verdict::Invented, see_too_much),
    (Verdict::Doubled, double_a_row),
    (Verdict::OutOfOrder, swap_two_commits),
    (Verdict::OutOfOrder, miss_a_row_on_the_primary),
    (Verdict::OutOfOrder, see_a_hole_on_a_standby),
    (Verdict::Split, write_on_the_old_timeline),
    (Verdict::Split, write_on_two_nodes),
    (Verdict::Stale, pass_over_a_better_one),
    (Verdict::Unhealed, do_not_heal),
    (Verdict::Unhealed, fail_to_start),
    (Verdict::Unhealed, keep_aside_without_reason),
    (Verdict::Destroyed, keep_no_rows),
    (Verdict::Destroyed, keep_nothing_of_the_wal),
];

#[test]
fn nothing_is_found_in_a_cluster_that_does_everything_right() {
    for seed in 0..12 {
        assert_eq!(check(&campaign(seed)), [], "seed {seed}");
    }
}

#[test]
fn every_defect_is_found_in_its_round() {
    for seed in 0..4 {
        for (place, (verdict, defect)) in DEFECTS.into_iter().enumerate() {
            let (number, campaign) = spoiled(seed, defect);
            let is_it = |finding: &Finding| finding.round == number && finding.verdict == verdict;
            let found = check(&campaign);
            assert!(found.iter().any(is_it), "seed {seed}, defect {place} ({verdict:?}) in round {number}: {found:?}");
            assert!(found.iter().all(|finding| finding.round == number), "seed {seed}, defect {place}: {found:?}");
        }
    }
}

#[test]
fn the_record_is_the_same_after_it_was_kept() {
    let (_, campaign) = spoiled(1, lose_a_row);
    let text = serde_json::to_string(&campaign).unwrap();
    let read: Campaign = serde_json::from_str(&text).unwrap();
    assert_eq!(check(&read), check(&campaign));
    assert!(!check(&read).is_empty());
}
