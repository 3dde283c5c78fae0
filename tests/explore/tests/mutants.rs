//! Every rule is needed: without any one of them the exploration finds what goes wrong. So it would find a mistake, too.

use std::time::Duration;

use pgbaton::policy::candidacy::{self, OnRecord};
use pgbaton::policy::election::{self, Ballot, Verdict};
use pgbaton::policy::leaving::{self, Left};
use pgbaton::policy::strike;
use pgbaton::types::{NodeName, Role, Timeline, Vote};
use pgbaton_explore::engine::{Limit, Violation, explore};
use pgbaton_explore::fair::{Absent, all_end_well};
use pgbaton_explore::model::{Cluster, Kinds, Settings};
use pgbaton_explore::rules::Rules;

const LIMIT: Limit = Limit { states: 4_000_000, time: Duration::from_secs(120) };
const ONE_FAULT: Settings = Settings { faults: 1, rows: 1, ..Settings::THREE };
const STOPS: Settings =
    Settings { slips: 1, kinds: Kinds { stops: true, constraints: false, delays: false }, ..ONE_FAULT };

/// What is found without a rule, with the words of the violation.
fn found(settings: Settings, rules: Rules) -> Violation {
    let cluster = Cluster::with(settings, rules);
    let report = explore(&cluster, LIMIT);
    let violation = report.violation.clone().or_else(|| {
        let end = |absent| all_end_well(&cluster, &report, absent).err().map(|violation| *violation);
        end(Absent::StayAway).or_else(|| end(Absent::ComeBack))
    });
    let violation = violation.unwrap_or_else(|| panic!("nothing is missed in {} states", report.states.len()));
    println!("{} states: {}\n{}", report.states.len(), violation.what, violation.trace.join("\n"));
    violation
}

fn missed(settings: Settings, rules: Rules, words: &str) {
    let violation = found(settings, rules);
    assert!(violation.what.contains(words), "another violation: {}", violation.what);
}

/// The election, with another ballot.
fn judged(candidate: &NodeName, ballot: &Ballot<'_>, on_record: &OnRecord) -> Verdict {
    election::judge(candidate, ballot, on_record)
}

#[test]
fn the_votes_of_the_others() {
    let judge = |candidate: &NodeName, ballot: &Ballot<'_>, record: &OnRecord| {
        judged(candidate, &Ballot { votes: &[], ..ballot.clone() }, record)
    };
    missed(ONE_FAULT, Rules { judge, ..Rules::default() }, "which is there");
}

#[test]
fn the_wait_for_who_cannot_tell() {
    let judge = |candidate: &NodeName, ballot: &Ballot<'_>, record: &OnRecord| {
        let told: Vec<_> = ballot.votes.iter().filter(|(_, vote)| vote.reach().is_some()).cloned().collect();
        judged(candidate, &Ballot { votes: &told, ..ballot.clone() }, record)
    };
    missed(Settings { lapses: 1, ..ONE_FAULT }, Rules { judge, ..Rules::default() }, "which is there");
}

#[test]
fn what_who_cannot_tell_has_at_least() {
    let judge = |candidate: &NodeName, ballot: &Ballot<'_>, record: &OnRecord| {
        let forget = |vote: &Vote| match vote {
            Vote::Unknown { why, .. } => Vote::Unknown { why: why.clone(), at_least: None },
            vote => vote.clone(),
        };
        let votes: Vec<_> = ballot.votes.iter().map(|(node, vote)| (node.clone(), forget(vote))).collect();
        match judged(candidate, &Ballot { votes: &votes, ..ballot.clone() }, record) {
            // Nobody is left out for whom more speaks than silence.
            Verdict::Promote { .. } => Verdict::Promote { left_out: Vec::new() },
            verdict => verdict,
        }
    };
    missed(Settings { lapses: 1, ..ONE_FAULT }, Rules { judge, ..Rules::default() }, "which is there");
}

#[test]
fn the_timeline_before_the_position() {
    let judge = |candidate: &NodeName, ballot: &Ballot<'_>, record: &OnRecord| {
        let flat = |vote: &Vote| match vote {
            Vote::At(reach) => {
                let mut reach = reach.clone();
                reach.position.timeline = Timeline(1);
                Vote::At(reach)
            }
            vote => vote.clone(),
        };
        let votes: Vec<_> = ballot.votes.iter().map(|(node, vote)| (node.clone(), flat(vote))).collect();
        judged(
            candidate,
            &Ballot { own: &flat(ballot.own), votes: &votes, ..ballot.clone() },
            &OnRecord { last: None, ..record.clone() },
        )
    };
    missed(Settings { rows: 3, ..Settings::THREE }, Rules { judge, ..Rules::default() }, "is promoted");
}

#[test]
fn what_a_stopped_node_left() {
    missed(STOPS, Rules { left: |_| Left::Nothing, ..Rules::default() }, "which is there");
}

#[test]
fn what_a_standby_of_a_primary_left() {
    let left = |facts: &leaving::Facts| match (facts.role, facts.primary_elsewhere) {
        (Role::Standby, true) => Left::Nothing,
        _ => leaving::left(facts),
    };
    missed(STOPS, Rules { left, ..Rules::default() }, "which is there");
}

#[test]
fn what_a_crashed_primary_left() {
    let left = |facts: &leaving::Facts| match (facts.role, facts.checkpoint) {
        (Role::Primary, None) => Left::Nothing,
        _ => leaving::left(facts),
    };
    missed(STOPS, Rules { left, ..Rules::default() }, "which is there");
}

#[test]
fn the_record_of_who_was_struck_off() {
    let judge = |candidate: &NodeName, ballot: &Ballot<'_>, record: &OnRecord| {
        judged(candidate, ballot, &OnRecord { lacks: Default::default(), ..record.clone() })
    };
    let objection = |node: &NodeName, timeline: Option<Timeline>, record: &OnRecord| {
        candidacy::objection(node, timeline, &OnRecord { lacks: Default::default(), ..record.clone() })
    };
    missed(
        Settings { rows: 1, ..Settings::THREE },
        Rules { judge, objection, ..Rules::default() },
        "to be away for long",
    );
}

#[test]
fn whom_a_primary_strikes_off() {
    let strike = |_: &strike::View<'_>| strike::Plan::default();
    missed(Settings { rows: 1, ..Settings::THREE }, Rules { strike, ..Rules::default() }, "to be away for long");
}

#[test]
fn a_node_that_comes_back_alone_does_not_trust_its_configuration() {
    let settings = Settings { nodes: 2, quorum: 1, ..ONE_FAULT };
    let settings = Settings { faults: 2, ..settings };
    missed(settings, Rules { passed_over: |_, _, _, _| false, ..Rules::default() }, "to be away for long");
}

#[test]
fn the_reservation_of_timelines() {
    let next_timeline = |own: Timeline, _: Option<Timeline>| Timeline(own.0 + 1);
    found(Settings { rows: 3, ..Settings::THREE }, Rules { next_timeline, ..Rules::default() });
}

#[test]
fn standing_again() {
    let settings = Settings { lapses: 1, ..ONE_FAULT };
    missed(settings, Rules { stands_again: |_, _, _| false, ..Rules::default() }, "no primary is reached");
}

#[test]
fn the_last_guard() {
    let rules = Rules { asks_again: false, ..Rules::default() };
    missed(Settings { lapses: 1, ..ONE_FAULT }, rules, "is promoted");
}

#[test]
fn the_votes_are_void_after_a_promotion() {
    let rules = Rules { discards_votes: false, ..Rules::default() };
    found(Settings { lapses: 1, rows: 2, ..Settings::THREE }, rules);
}

#[test]
fn the_last_guard_asks_all_who_were_to_vote() {
    // As if the candidate knew of those only who were there when it voted itself.
    let electorate = |papers: &[(NodeName, Vec<NodeName>)]| {
        let smallest = papers.iter().map(|(_, among)| among).min_by_key(|among| among.len());
        smallest.cloned().unwrap_or_default()
    };
    missed(
        Settings { lapses: 1, rows: 1, ..Settings::THREE },
        Rules { electorate, ..Rules::default() },
        "which is there",
    );
}
