//! The cluster as a model: which settings it has, and all that may happen in it.

use pgbaton::policy::rejoin::Rejoin;

use crate::engine;
use crate::rules::Rules;
use crate::state::{Instance, Level, Node, Packed, State};
use crate::steps::{self, Step};
use crate::translate::Advisor;
use crate::words;

/// How large the cluster is and what may happen in it.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many nodes.
    pub nodes: u8,
    /// How many of them have to be there for a promotion.
    pub quorum: u8,
    /// Whether a row is acknowledged when another node has it, and not when the primary has.
    pub synchronous: bool,
    /// The parameter.
    pub rejoin: Rejoin,
    /// How many rows are written.
    pub rows: u8,
    /// How many nodes lose power, instances crash and replications are cut, together.
    pub faults: u8,
    /// How many notifications are lost, actions killed and positions not told, together.
    pub lapses: u8,
    /// How many things a person does that nobody needs.
    pub slips: u8,
    /// Which.
    pub kinds: Kinds,
}

/// What persons do that nobody needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    /// They stop instances, and make slips in their configuration.
    pub stops: bool,
    /// They ban nodes and move the primary.
    pub constraints: bool,
    /// They delay the replay.
    pub delays: bool,
}

impl Settings {
    /// Three nodes, asynchronous, as the examples have them.
    pub const THREE: Settings = Settings {
        nodes: 3,
        quorum: 2,
        synchronous: false,
        rejoin: Rejoin::Rewind,
        rows: 2,
        faults: 2,
        lapses: 0,
        slips: 0,
        kinds: Kinds { stops: true, constraints: true, delays: true },
    };
}

/// The model.
#[derive(Debug)]
pub struct Cluster {
    /// Its settings.
    pub settings: Settings,
    /// The rules that it obeys.
    pub advisor: Advisor,
}

impl Cluster {
    /// A cluster that obeys the agent's rules.
    #[must_use]
    pub fn new(settings: Settings) -> Cluster {
        Cluster::with(settings, Rules::default())
    }

    /// A cluster that obeys other ones.
    #[must_use]
    pub fn with(settings: Settings, rules: Rules) -> Cluster {
        Cluster { settings, advisor: Advisor::new(rules, settings.rejoin) }
    }

    /// Every node has an empty WAL's worth of data, the first is the primary, and all is well.
    #[must_use]
    pub fn at_full_strength(&self) -> State {
        let Settings { nodes, rows, faults, lapses, slips, .. } = self.settings;
        let mut state = State { count: nodes, rows, faults, lapses, slips, ..State::default() };
        for number in 0..nodes {
            let (instance, score) = match number {
                0 => (Instance::Primary, Level::Primary),
                1 => (Instance::Standby, Level::Rank0),
                2 => (Instance::Standby, Level::Rank1),
                _ => (Instance::Standby, Level::Rank2),
            };
            *state.node_mut(number) = Node { up: true, here: true, instance, score, ..Node::default() };
        }
        state.configuration.record = Some((0, 0));
        state.nodes[0].published = Some(0);
        state
    }

    /// Everything that may happen.
    #[must_use]
    pub fn all_steps(&self, state: &State) -> Vec<(Step, Result<State, String>)> {
        let mut to = steps::Found::default();
        steps::all(self, state, &mut to);
        to.0
    }
}

impl engine::Model for Cluster {
    type State = Packed;
    type Step = Step;

    fn initial(&self) -> Packed {
        self.at_full_strength().pack()
    }

    fn steps(&self, state: &Packed, found: &mut Vec<(Step, Result<Packed, String>)>) {
        let state = State::unpack(state);
        let packed = |(step, outcome): (Step, Result<State, String>)| {
            let outcome = outcome.map(|mut to| {
                to.tidy();
                to.pack()
            });
            (step, outcome)
        };
        found.extend(self.all_steps(&state).into_iter().map(packed));
    }

    fn complaint(&self, state: &Packed) -> Option<String> {
        let state = State::unpack(state);
        let primaries: Vec<_> = state.nodes_where(|node| node.up && node.instance == Instance::Primary).collect();
        (primaries.len() > 1).then(|| format!("{} take writes at the same time", words::nodes(&primaries)))
    }

    fn describe(&self, state: &Packed) -> String {
        words::state(&State::unpack(state))
    }
}
