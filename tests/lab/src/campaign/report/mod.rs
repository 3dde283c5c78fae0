//! What came of a campaign, by kind of fault: as Markdown, as JSON and as a picture.
//!
//! A fault of a pair counts under both kinds, with the outage and the losses of their round, and is marked; the line of all
//! rounds counts every round once.

mod did;
mod markdown;
mod spread;
mod svg;
pub(super) mod title;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::did::{Did, did};
use self::spread::Spread;
use super::checker::rows_lost;
use super::fault::Kind;
use super::outage::outage_ms;
use super::record::{Campaign, Finding, Round};
use crate::error::{Doing, Result};

/// What the reports are made of; campaigns of the same agent and cluster can be joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub agent: String,
    /// How many nodes the cluster has.
    pub nodes: usize,
    pub synchronous: bool,
    pub seeds: Vec<u64>,
    /// What the cluster was like, by seed.
    #[serde(default)]
    pub profiles: BTreeMap<u64, String>,
    /// How many rounds there were, those included in which no fault could be made.
    pub rounds: usize,
    pub faults: Vec<Made>,
    /// How often a kind was drawn and could not be made.
    pub not_made: BTreeMap<Kind, usize>,
    pub findings: Vec<Seeded>,
}

/// A fault that was made, and what came of its round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub seed: u64,
    pub round: usize,
    pub kind: Kind,
    /// Whether it overlapped with another one.
    pub paired: bool,
    pub outage_ms: Option<u64>,
    pub rows_lost: usize,
    pub manual_steps: usize,
    pub did: Did,
}

/// A finding, and the seed that repeats it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seeded {
    pub seed: u64,
    #[serde(flatten)]
    pub finding: Finding,
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Line {
    struck: usize,
    in_pairs: usize,
    not_made: usize,
    outage_ms: Option<Spread>,
    rows_lost: usize,
    manual_steps: usize,
    did: BTreeMap<Did, usize>,
}

/// The summary with what follows from it.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    kinds: BTreeMap<Kind, Line>,
    all_rounds: Line,
}

impl Summary {
    pub(crate) fn of(campaign: &Campaign, findings: &[Finding]) -> Self {
        let seeded = |finding: &Finding| Seeded { seed: campaign.seed, finding: finding.clone() };
        let strikes = campaign.rounds.iter().flat_map(|round| &round.strikes);
        let mut not_made = BTreeMap::new();
        for strike in strikes.filter(|strike| strike.failed.is_some()) {
            *not_made.entry(strike.kind).or_default() += 1;
        }
        Self {
            agent: campaign.agent.clone(),
            nodes: campaign.nodes.len(),
            synchronous: campaign.synchronous,
            seeds: vec![campaign.seed],
            profiles: BTreeMap::from([(campaign.seed, campaign.profile.to_string())]),
            rounds: campaign.rounds.len(),
            faults: campaign.rounds.iter().flat_map(|round| faults_of(campaign, round)).collect(),
            not_made,
            findings: findings.iter().map(seeded).collect(),
        }
    }

    /// Both together, when they are of the same agent and of clusters alike. Their seeds must differ: a round is told by its
    /// seed and its number.
    pub(crate) fn joined(mut self, other: Self) -> Self {
        self.seeds.extend(other.seeds);
        self.profiles.extend(other.profiles);
        self.rounds += other.rounds;
        self.faults.extend(other.faults);
        self.findings.extend(other.findings);
        for (kind, count) in other.not_made {
            *self.not_made.entry(kind).or_default() += count;
        }
        self
    }

    /// The table of this agent.
    pub(crate) fn markdown(&self) -> String {
        markdown::table(self)
    }

    /// Outage by kind of fault, one dot per fault.
    pub(crate) fn svg(&self) -> String {
        svg::picture(self)
    }

    /// The summary, readable as such again, and the table's lines.
    pub(crate) fn json(&self) -> Result<String> {
        let whole = Whole { summary: self, kinds: self.lines(), all_rounds: self.all_rounds() };
        serde_json::to_string_pretty(&whole).doing(|| "write the summary".to_owned())
    }

    /// By kind; a kind that was only drawn has a line, too.
    fn lines(&self) -> BTreeMap<Kind, Line> {
        let made = self.faults.iter().map(|fault| fault.kind);
        let kinds: BTreeSet<Kind> = made.chain(self.not_made.keys().copied()).collect();
        kinds.into_iter().map(|kind| (kind, self.line(kind))).collect()
    }

    fn line(&self, kind: Kind) -> Line {
        let faults: Vec<&Made> = self.faults.iter().filter(|fault| fault.kind == kind).collect();
        Line { not_made: self.not_made.get(&kind).copied().unwrap_or_default(), ..Line::of(&faults) }
    }

    /// Every round once.
    fn all_rounds(&self) -> Line {
        let mut seen = BTreeSet::new();
        let first = |fault: &&Made| seen.insert((fault.seed, fault.round));
        let rounds: Vec<&Made> = self.faults.iter().filter(first).collect();
        let (struck, not_made) = (self.faults.len(), self.not_made.values().sum());
        let in_pairs = self.faults.iter().filter(|fault| fault.paired).count();
        Line { struck, in_pairs, not_made, ..Line::of(&rounds) }
    }
}

impl Line {
    fn of(faults: &[&Made]) -> Self {
        let mut did = BTreeMap::new();
        faults.iter().for_each(|fault| *did.entry(fault.did).or_default() += 1);
        Self {
            struck: faults.len(),
            in_pairs: faults.iter().filter(|fault| fault.paired).count(),
            not_made: 0,
            outage_ms: Spread::of(faults.iter().filter_map(|fault| fault.outage_ms)),
            rows_lost: faults.iter().map(|fault| fault.rows_lost).sum(),
            manual_steps: faults.iter().map(|fault| fault.manual_steps).sum(),
            did,
        }
    }

    /// How many rounds it was made from.
    fn rounds(&self) -> usize {
        self.did.values().sum()
    }
}

/// Several agents side by side.
pub(crate) fn compare(summaries: &[Summary]) -> String {
    markdown::compare(summaries)
}

fn faults_of(campaign: &Campaign, round: &Round) -> Vec<Made> {
    let made: Vec<Kind> =
        round.strikes.iter().filter(|strike| strike.failed.is_none()).map(|strike| strike.kind).collect();
    let (outage_ms, rows_lost) = (outage_ms(campaign, round), rows_lost(campaign, round));
    let fault = |kind: &Kind| Made {
        seed: campaign.seed,
        round: round.number,
        kind: *kind,
        paired: made.len() > 1,
        outage_ms,
        rows_lost,
        manual_steps: round.aftermath.manual_steps.len(),
        did: did(round, outage_ms),
    };
    made.iter().map(fault).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::campaign::checker::check;
    use crate::campaign::made_up::{FORK, MadeUp, failover, quiet};

    fn campaign(seed: u64, agent: &str, rounds: Vec<MadeUp>) -> Campaign {
        let mut campaign = quiet().0;
        campaign.rounds = rounds.into_iter().flat_map(|made_up| made_up.0.rounds).collect();
        campaign.rounds.iter_mut().enumerate().for_each(|(number, round)| round.number = number + 1);
        Campaign { seed, agent: agent.to_owned(), ..campaign }
    }

    /// One round without an outage, one failover, one pair that loses a row and needs a hand, one fault that could not be
    /// made.
    pub(crate) fn small(agent: &str) -> Summary {
        let mut pair = failover(Kind::PowerLossOne).struck(Kind::Freeze).told_lsn(10, Some(FORK + 100)).without_row(10);
        pair.0.rounds[0].aftermath.manual_steps.push("pg_rewind on db1".to_owned());
        let rounds =
            vec![quiet(), failover(Kind::PowerLossOne), pair, quiet().not_healed("db3 is <gone>").strike_failed()];
        let campaign = campaign(7, agent, rounds);
        let findings = check(&campaign);
        Summary::of(&campaign, &findings)
    }

    #[test]
    fn a_fault_of_a_pair_counts_under_both_kinds_and_its_round_once() {
        let summary = small("pgbaton");
        let lines = summary.lines();
        assert_eq!((lines[&Kind::PowerLossOne].struck, lines[&Kind::PowerLossOne].in_pairs), (2, 1));
        assert_eq!((lines[&Kind::Freeze].struck, lines[&Kind::Freeze].rows_lost), (1, 1));
        let all = summary.all_rounds();
        assert_eq!((all.struck, all.in_pairs, all.rounds(), all.rows_lost, all.manual_steps), (4, 2, 3, 1, 1));
    }

    #[test]
    fn every_report_is_made_from_the_summary() {
        let summary = small("pgbaton");
        assert!(summary.markdown().starts_with("**pgbaton**"));
        assert!(summary.svg().starts_with("<svg "));
        assert!(compare(&[summary.clone(), summary]).starts_with("| fault | pgbaton, 3 nodes | pgbaton, 3 nodes |"));
    }

    #[test]
    fn what_could_not_be_made_is_counted_apart() {
        let lines = small("pgbaton").lines();
        let line = &lines[&Kind::KillAttributeDaemon];
        assert_eq!((line.struck, line.not_made), (1, 1));
    }

    #[test]
    fn the_json_has_the_lines_and_is_read_as_the_summary_again() {
        let summary = small("pgbaton");
        let text = summary.json().unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), summary);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["kinds"]["power-loss-one"]["outage_ms"]["worst"], 1910);
        assert_eq!(value["all_rounds"]["did"]["promoted-another"], 2);
        assert_eq!(value["findings"][0]["seed"], 7);
        assert_eq!(value["findings"][0]["verdict"], "destroyed");
    }

    #[test]
    fn joined_summaries_are_counted_together() {
        let mut other = Summary { seeds: vec![8], ..small("pgbaton") };
        other.faults.iter_mut().for_each(|fault| fault.seed = 8);
        let both = small("pgbaton").joined(other);
        assert_eq!((both.rounds, both.all_rounds().rounds(), both.all_rounds().struck), (8, 6, 8));
        assert_eq!(both.not_made[&Kind::KillAttributeDaemon], 2);
    }
}
