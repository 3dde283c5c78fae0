//! Visits every state that a model can reach, breadth first, so that what it finds is found by the shortest way.

use std::fmt::{self, Display};
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::set::IndexSet;

/// A step, with the state that it leads to, or with the words of what it violates.
pub type Taken<T, S> = (T, Result<S, String>);

/// What is explored.
pub trait Model {
    /// A situation.
    type State: Copy + Eq + Hash;
    /// What happens in it.
    type Step: Display;

    /// Where everything begins.
    fn initial(&self) -> Self::State;

    /// All that may happen in this state, each with the state that it leads to, or with the words of what it violates.
    fn steps(&self, state: &Self::State, found: &mut Vec<Taken<Self::Step, Self::State>>);

    /// What is wrong with the state itself.
    fn complaint(&self, state: &Self::State) -> Option<String>;

    /// The state in words, short enough for one line of a trace.
    fn describe(&self, state: &Self::State) -> String;
}

/// Where the exploration ends if there is more.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Not more states than these.
    pub states: usize,
    /// Not longer than this.
    pub time: Duration,
}

/// What was seen.
#[derive(Debug)]
pub struct Report<S> {
    /// All states, in the order in which they were found.
    pub states: IndexSet<S>,
    /// From which state each was found.
    parents: Vec<u32>,
    /// How many steps were taken from them.
    pub steps: u64,
    /// How many steps the last state is away from the first.
    pub depth: u32,
    /// Whether there was nothing left to visit.
    pub complete: bool,
    /// How long it took.
    pub time: Duration,
    /// The first violation, and the way to it.
    pub violation: Option<Violation>,
}

/// A violation.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What is violated.
    pub what: String,
    /// The way to it: each line is a step and the state after it.
    pub trace: Vec<String>,
}

impl<S: Copy + Eq + Hash> Display for Report<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (states, steps, depth, seconds) = (self.states.len(), self.steps, self.depth, self.time.as_secs_f64());
        let end = match (&self.violation, self.complete) {
            (Some(_), _) => "until a violation was found",
            (None, true) => "all there are",
            (None, false) => "not all there are",
        };
        write!(f, "{states} states, {end}; {steps} steps, {depth} in a row, {seconds:.1} s")?;
        let Some(violation) = &self.violation else { return Ok(()) };
        write!(f, "\n{}:\n{}", violation.what, violation.trace.join("\n"))
    }
}

/// Visits the states of the model.
pub fn explore<M: Model>(model: &M, limit: Limit) -> Report<M::State> {
    let begin = Instant::now();
    let mut states = IndexSet::new();
    let mut parents: Vec<u32> = vec![0];
    states.insert(model.initial());
    let (mut steps, mut next, mut depth, mut end_of_level) = (0_u64, 0_usize, 0_u32, 1_usize);
    let mut found = Vec::new();
    let mut violation = None;
    'visit: while next < states.len() {
        if next == end_of_level {
            (depth, end_of_level) = (depth + 1, states.len());
        }
        if states.len() >= limit.states || (next % 4096 == 0 && begin.elapsed() > limit.time) {
            break;
        }
        let state = states.at(next);
        found.clear();
        model.steps(&state, &mut found);
        for (step, outcome) in &found {
            steps += 1;
            let what = match outcome {
                Ok(to) => {
                    let (_, is_new) = states.insert(*to);
                    if !is_new {
                        continue;
                    }
                    parents.push(u32::try_from(next).unwrap_or(u32::MAX));
                    model.complaint(to)
                }
                Err(what) => Some(what.clone()),
            };
            if let Some(what) = what {
                let mut trace = way_to(model, &states, &parents, next);
                trace.push(step.to_string());
                if let Ok(to) = outcome {
                    trace.push(format!("    {}", model.describe(to)));
                }
                violation = Some(Violation { what, trace });
                break 'visit;
            }
        }
        next += 1;
    }
    let complete = violation.is_none() && next == states.len();
    Report { states, parents, steps, depth, complete, time: begin.elapsed(), violation }
}

impl<S: Copy + Eq + Hash> Report<S> {
    /// The steps from the beginning to the state with this number, and what is between them.
    pub fn way_to<M: Model<State = S>>(&self, model: &M, number: usize) -> Vec<String> {
        way_to(model, &self.states, &self.parents, number)
    }
}

fn way_to<M: Model>(model: &M, states: &IndexSet<M::State>, parents: &[u32], to: usize) -> Vec<String> {
    let mut numbers = vec![to];
    let mut at = to;
    while at != 0 {
        at = parents[at] as usize;
        numbers.push(at);
    }
    numbers.reverse();
    let mut words = vec![format!("    {}", model.describe(&states.at(0)))];
    let mut found = Vec::new();
    for pair in numbers.windows(2) {
        let (from, to) = (states.at(pair[0]), states.at(pair[1]));
        found.clear();
        model.steps(&from, &mut found);
        let step = found.iter().find(|(_, outcome)| outcome.as_ref().is_ok_and(|state| *state == to));
        words.push(step.map_or("?".to_owned(), |(step, _)| step.to_string()));
        words.push(format!("    {}", model.describe(&to)));
    }
    words
}
