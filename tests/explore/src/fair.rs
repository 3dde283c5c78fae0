//! Does it end well? From every state on, when nothing breaks any more and everybody does what is due, a primary has to be
//! reached, unless the README says that a person decides.
//!
//! What is due comes in the order of its haste: what Pacemaker has planned, starts, plans, the way back, monitors. When
//! that goes round in a circle, the election timeout passes; when it still does, nodes that are off come back.

use crate::engine::{Model, Report, Violation};
use crate::model::Cluster;
use crate::set::IndexSet;
use crate::state::{Instance, Lacks, Packed, Paper, State};
use crate::steps::{Demotion, Notice, Promotion, Step};

/// More steps than any way to a primary takes.
const PATIENCE: usize = 400;

/// Whether nodes that are off come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// They stay away.
    StayAway,
    /// They come back when all else has led to nothing.
    ComeBack,
}

/// From how many states a primary is reached, and from how many only by a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// By itself.
    pub primary: usize,
    /// By a person.
    pub person: usize,
}

/// Looks at every state.
///
/// # Errors
/// The first state from which neither is the case.
pub fn all_end_well(cluster: &Cluster, report: &Report<Packed>, absent: Absent) -> Result<Ends, Box<Violation>> {
    let states = &report.states;
    let mut known = vec![0_u8; states.len()];
    let mut ends = Ends::default();
    for number in 0..states.len() {
        let end = end_of(cluster, states, &mut known, number, absent);
        let end = end.map_err(|violation| led_to(cluster, report, number, *violation))?;
        match end {
            End::Primary => ends.primary += 1,
            End::Person => ends.person += 1,
        }
    }
    Ok(ends)
}

fn led_to(cluster: &Cluster, report: &Report<Packed>, number: usize, violation: Violation) -> Box<Violation> {
    let mut trace = report.way_to(cluster, number);
    trace.push("and from here on nothing breaks any more".to_owned());
    trace.extend(violation.trace);
    Box::new(Violation { trace, ..violation })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Primary = 1,
    Person = 2,
}

fn end_of(
    cluster: &Cluster,
    states: &IndexSet<Packed>,
    known: &mut [u8],
    from: usize,
    absent: Absent,
) -> Result<End, Box<Violation>> {
    let mut way: Vec<Packed> = vec![states.at(from)];
    let mut words = Vec::new();
    let mut patience = Patience::default();
    let end = loop {
        let last = way[way.len() - 1];
        // What a state leads to does not depend on how it was reached, but for the patience.
        match states.number_of(&last).map_or(0, |number| known[number]) {
            1 => break End::Primary,
            2 => break End::Person,
            _ => {}
        }
        let state = State::unpack(&last);
        if is_settled(&state) {
            break End::Primary;
        }
        match due(cluster, &state, &mut patience, &way, absent) {
            Some((step, next)) if way.len() < PATIENCE => {
                words.push(step.to_string());
                way.push(next);
            }
            _ if is_for_a_person(cluster, &state) => break End::Person,
            _ => return Err(Box::new(violation(cluster, &way, words))),
        }
    };
    for state in &way {
        if let Some(number) = states.number_of(state) {
            known[number] = end as u8;
        }
    }
    Ok(end)
}

fn violation(cluster: &Cluster, way: &[Packed], steps: Vec<String>) -> Violation {
    let mut trace = vec![format!("    {}", cluster.describe(&way[0]))];
    for (step, state) in steps.into_iter().zip(&way[1..]) {
        trace.push(step);
        trace.push(format!("    {}", cluster.describe(state)));
    }
    Violation { what: "no primary is reached, and nothing says that a person decides".to_owned(), trace }
}

/// There is a primary, the record names it, and Pacemaker leaves it where it is.
fn is_settled(state: &State) -> bool {
    let is_there = state.primary().is_some_and(|primary| state.node(primary).published.is_some());
    is_there && state.plan.is_none() && crate::steps::stays(state)
}

/// What the run has waited for already.
#[derive(Default)]
struct Patience {
    timed_out: bool,
    /// Where the present circle may begin.
    since: usize,
}

/// The step that is due.
fn due(
    cluster: &Cluster,
    state: &State,
    patience: &mut Patience,
    way: &[Packed],
    absent: Absent,
) -> Option<(Step, Packed)> {
    let steps = cluster.all_steps(state).into_iter();
    let mut steps: Vec<_> = steps.filter_map(|(step, to)| Some((haste(step, state)?, step, to.ok()?))).collect();
    steps.sort_by_key(|(haste, ..)| *haste);
    let packed = |mut to: State| {
        to.tidy();
        to.pack()
    };
    let last = way[way.len() - 1];
    let is_circle = way[patience.since..way.len() - 1].contains(&last);
    let mut steps = steps.into_iter().map(|(haste, step, to)| (haste, step, packed(to))).filter(|(.., to)| *to != last);
    if !is_circle {
        if let Some((_, step, to)) = steps.clone().find(|(haste, ..)| *haste < TIMEOUT) {
            return Some((step, to));
        }
    }
    if !patience.timed_out {
        if let Some((_, step, to)) = steps.clone().find(|(haste, ..)| *haste == TIMEOUT) {
            (patience.timed_out, patience.since) = (true, way.len());
            return Some((step, to));
        }
    }
    let returned = steps.find(|(haste, ..)| *haste == RETURN && absent == Absent::ComeBack);
    returned.map(|(_, step, to)| {
        *patience = Patience { timed_out: false, since: way.len() };
        (step, to)
    })
}

const TIMEOUT: u8 = 20;
const RETURN: u8 = 21;

/// How soon a step is due; none when it need not happen at all.
fn haste(step: Step, state: &State) -> Option<u8> {
    Some(match step {
        Step::Notify(_, Notice::Heard) => 0,
        Step::GiveUp | Step::Promote(_, Promotion::Done) => 1,
        Step::Mend(_) => 2,
        Step::Start(_) => 3,
        Step::Monitor(node) if state.node(node).instance == Instance::Primary => 4,
        Step::Plan(_) => 5,
        Step::Switch(_, _, Demotion::HandedOver) | Step::Demote(_, Demotion::HandedOver) => 6,
        Step::Work(_) => 7,
        Step::Monitor(_) => 8,
        Step::Retry(_) => 9,
        Step::TimedOut => TIMEOUT,
        Step::Return(_) => RETURN,
        _ => return None,
    })
}

/// What the README leaves to a person, or what no agent can mend.
fn is_for_a_person(cluster: &Cluster, state: &State) -> bool {
    let up = state.nodes_where(|node| node.up).count();
    let standbys: Vec<_> = state.nodes_where(|node| node.up && node.instance == Instance::Standby).collect();
    let has_left = |node: u8| matches!(state.node(node).paper, Paper::Left(_)) || state.node(node).left.is_some();
    let may_be_promoted = |node: &u8| state.node(*node).lacks != Lacks::Known && !state.node(*node).banned;
    up < usize::from(cluster.settings.quorum)
        || !standbys.iter().any(may_be_promoted)
        || (0..state.count).any(has_left)
        || state.nodes_where(|node| node.up && node.banned).next().is_some()
}

/// The end in words.
impl std::fmt::Display for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} states lead to a primary, {} to a person", self.primary, self.person)
    }
}
