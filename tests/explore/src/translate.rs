//! From a state to the facts that the rules take, and from their verdicts back. The verdicts are remembered: the rules are
//! pure, and the same facts come a million times.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use pgbaton::policy::candidacy::{Lacks, Objection, OnRecord};
use pgbaton::policy::election::{Ballot, Reach, Verdict, Vote, insists};
use pgbaton::policy::leaving::{Facts, Left, last_before};
use pgbaton::policy::rejoin::{OwnWal, Reference, Rejoin, Remedy, Standing, Trouble};
use pgbaton::policy::score::{Connected, GRACE, View};
use pgbaton::policy::strike;
use pgbaton::types::{History, Lsn, NodeName, Position, Role, Score, SystemId, Timeline};

use crate::rules::{Correction, Rules};
use crate::set::Quickly;
use crate::state::{Away, Configuration, Instance, LEVELS, Level, Marker, NODES, Node, Paper, State};
use crate::wal::{At, Tree};

/// Bytes of a record: more than the differences that do not turn the order of the scores.
const LENGTH: u64 = 32 << 20;

/// How it comes that this node is the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// It was picked.
    First,
    /// It was picked the last time as well, and not promoted.
    Again,
    /// It is being promoted.
    Promoting,
}

/// What an election decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Promote, without the nodes of these bits.
    Promote(u8),
    /// This node is better.
    Yield(u8),
    /// Fetch what this node has.
    CatchUp(u8),
    /// Ask again.
    Wait,
    /// A stopped node has more.
    DataElsewhere(u8),
    /// There is a primary.
    AnotherPrimary(u8),
    /// What is on record speaks against it.
    Barred,
}

/// How an instance was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// What it was.
    pub role: Role,
    /// A primary that wrote a shutdown checkpoint.
    pub is_clean: bool,
    /// What it has told counts.
    pub was_told: bool,
    /// Pacemaker starts it again.
    pub restarts: bool,
}

/// How a returning instance is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// It can follow.
    Follows,
    /// It is rewound.
    Rewind,
    /// It is cloned.
    Clone,
    /// A person has to do something.
    Refused,
}

/// What a primary's monitor decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The scores.
    pub changes: Changes,
    /// Who is away, a bit for each.
    pub away: u8,
    /// Who is struck off then, a bit for each.
    pub struck: u8,
}

/// Scores, a node each; none where it stays.
pub type Changes = [Option<Level>; NODES];

type Memory<V> = RefCell<HashMap<[u64; 6], V, Quickly>>;

/// What was told before, or is now.
fn remembered<V: Copy>(memory: &Memory<V>, key: Key, tell: impl FnOnce() -> V) -> V {
    if let Some(known) = memory.borrow().get(&key.0) {
        return *known;
    }
    let told = tell();
    memory.borrow_mut().insert(key.0, told);
    told
}

/// The rules, and what they have said so far.
#[derive(Debug)]
pub struct Advisor {
    rules: Rules,
    rejoin: Rejoin,
    names: [NodeName; NODES],
    decisions: Memory<(Decision, Changes)>,
    plans: Memory<Judgement>,
    returns: Memory<Return>,
}

impl Advisor {
    /// An advisor with these rules.
    #[must_use]
    pub fn new(rules: Rules, rejoin: Rejoin) -> Advisor {
        let memory = || RefCell::new(HashMap::default());
        Advisor {
            rules,
            rejoin,
            names: std::array::from_fn(name),
            decisions: memory(),
            plans: RefCell::new(HashMap::default()),
            returns: RefCell::new(HashMap::default()),
        }
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    fn number(&self, node: &NodeName) -> u8 {
        self.names.iter().position(|name| name == node).unwrap_or(NODES) as u8
    }

    /// The verdict over `candidate`, whose own paper is given, and the scores that are to be corrected.
    pub fn judge(
        &self,
        state: &State,
        candidate: u8,
        own: Paper,
        among: u8,
        timed_out: bool,
        pick: Pick,
    ) -> (Decision, Changes) {
        let mut key = Key::new();
        key.put(candidate, 2).put(u8::from(timed_out), 1).put(pick as u8, 2).put(among, 4);
        put_paper(&mut key, &state.wal, own);
        for node in 0..state.count {
            put_paper(&mut key, &state.wal, state.node(node).paper);
            put_at(&mut key, &state.wal, state.node(node).left);
            key.put(state.node(node).score as u8, 4).put(u8::from(state.node(node).unfit), 1);
            key.put(state.node(node).reserved, 4);
        }
        put_configuration(&mut key, &state.wal, &state.configuration);
        remembered(&self.decisions, key, || self.judge_anew(state, candidate, own, among, timed_out, pick))
    }

    fn judge_anew(
        &self,
        state: &State,
        candidate: u8,
        own: Paper,
        among: u8,
        timed_out: bool,
        pick: Pick,
    ) -> (Decision, Changes) {
        let is_among = |node: &u8| among >> node & 1 != 0;
        let told = |node: u8, paper| with_fitness(vote(&state.wal, paper), state.node(node).unfit);
        let others = (0..state.count).filter(|node| *node != candidate && is_among(node));
        let votes: Vec<_> = others.map(|node| (self.name(node), told(node, state.node(node).paper))).collect();
        let left: Vec<_> = (0..state.count).flat_map(|node| self.left_by(state, node)).collect();
        let left = (self.rules.binding)(&left, &self.name(candidate), &votes);
        let own = told(candidate, own);
        let (name, on_record) = (self.name(candidate), self.on_record(state));
        let judge = |insists| {
            let ballot = Ballot { own: &own, votes: &votes, left: &left, timed_out, insists, can_fetch: true };
            (self.rules.judge)(&name, &ballot, &on_record)
        };
        let mut verdict = judge(pick == Pick::Promoting);
        let is_corrected = |to: &NodeName| {
            pick == Pick::Again
                && state.node(candidate).score <= Level::Candidate
                && state.node(self.number(to)).score >= Level::Elected
        };
        let corrected = matches!(&verdict, Verdict::Yield { to, .. } if is_corrected(to));
        // A third pick is not told from the second.
        let insists = matches!(&verdict, Verdict::Yield { theirs, ours, .. } if insists(2, *theirs, ours));
        if corrected && insists {
            verdict = judge(true);
        }
        let changes = (self.rules.correct)(&Correction { verdict: &verdict, candidate: &name, corrected });
        (self.decision(&verdict), self.changes(changes))
    }

    /// Among whom a promotion is decided at its last moment.
    #[must_use]
    pub fn electorate(&self, state: &State) -> u8 {
        let voted = |node: &Node| !matches!(node.paper, Paper::None | Paper::Left(_));
        let papers = state.nodes_where(voted).map(|node| (self.name(node), self.set(state, state.node(node).among)));
        let papers: Vec<_> = papers.map(|(node, among)| (node, among.into_iter().collect::<Vec<_>>())).collect();
        self.bits(&(self.rules.electorate)(&papers))
    }

    fn decision(&self, verdict: &Verdict) -> Decision {
        match verdict {
            Verdict::Promote { left_out } => {
                Decision::Promote(left_out.iter().fold(0, |bits, (node, _)| bits | 1 << self.number(node)))
            }
            Verdict::Yield { to, .. } => Decision::Yield(self.number(to)),
            Verdict::CatchUp { from, .. } => Decision::CatchUp(self.number(from)),
            Verdict::Wait { .. } | Verdict::Replays { .. } => Decision::Wait,
            Verdict::DataElsewhere { node, .. } | Verdict::DataInFork { node, .. } | Verdict::Hidden { node, .. } => {
                Decision::DataElsewhere(self.number(node))
            }
            Verdict::AnotherPrimary { node } => Decision::AnotherPrimary(self.number(node)),
            Verdict::Barred { .. } => Decision::Barred,
        }
    }

    fn left_by(&self, state: &State, node: u8) -> impl Iterator<Item = (NodeName, Position)> {
        let private = match state.node(node).paper {
            Paper::Left(at) => Some(at),
            _ => None,
        };
        let name = self.name(node);
        let left = [private, state.node(node).left].into_iter().flatten();
        left.map(move |at| (name.clone(), last_before(position(&state.wal, at)))).collect::<Vec<_>>().into_iter()
    }

    /// What the stopped instance of this node leaves, and whether that is permanent: what it has told, the record that its
    /// shutdown has written, or its end.
    #[must_use]
    pub fn left(&self, state: &State, number: u8, stopped: Stopped) -> Option<(At, bool)> {
        let node = state.node(number);
        let told = match node.paper {
            Paper::Left(at) | Paper::At(at) if stopped.was_told => Some(at),
            _ => None,
        };
        let somewhere = |at: u64| Position { timeline: Timeline(1), end: Lsn(at) };
        let facts = Facts {
            role: stopped.role,
            checkpoint: stopped.is_clean.then(|| somewhere(2)),
            told: told.map(|_| somewhere(1)),
            primary_elsewhere: state.nodes_where(|node| node.up && node.published.is_some()).any(|node| node != number),
            is_void: node.marker == Marker::Kept,
        };
        let at = match (self.rules.left)(&facts) {
            Left::Nothing => return None,
            Left::At(position) if Some(position) == facts.told => told?,
            Left::At(_) | Left::EndOfWal(_) => node.tip,
        };
        Some((at, (self.rules.is_permanent)(&facts, stopped.restarts)))
    }

    fn name(&self, node: u8) -> NodeName {
        self.names[usize::from(node)].clone()
    }

    fn scores(&self, state: &State) -> BTreeMap<NodeName, Score> {
        let score = |node: u8| score_of(state.node(node).score).map(|score| (self.name(node), score));
        (0..state.count).filter_map(score).collect()
    }

    fn changes(&self, changes: Vec<(NodeName, Score)>) -> Changes {
        let mut by_node = [None; NODES];
        for (node, score) in changes {
            by_node[usize::from(self.number(&node))] = Some(level_of(score));
        }
        by_node
    }

    /// What the primary's monitor decides when these are connected.
    pub fn plan(&self, state: &State, primary: u8, connected: u8) -> Judgement {
        let mut key = Key::new();
        key.put(primary, 2)
            .put(state.configuration.struck, 4)
            .put(connected, 4)
            .put(state.wal.depth(state.node(primary).tip), 5);
        for node in 0..state.count {
            let away = state.node(primary).away[usize::from(node)];
            key.put(state.node(node).score as u8, 4).put(away as u8, 2).put(state.wal.depth(state.node(node).tip), 5);
            key.put(u8::from(state.node(node).up), 1);
        }
        remembered(&self.plans, key, || self.plan_anew(state, primary, connected))
    }

    fn plan_anew(&self, state: &State, primary: u8, connected: u8) -> Judgement {
        let receivers = (0..state.count).filter(|node| connected >> node & 1 != 0).map(|node| Connected {
            name: self.name(node),
            state: "streaming".to_owned(),
            flushed: Some(end(&state.wal, state.node(node).tip)),
            replayed: Some(end(&state.wal, state.node(node).tip)),
        });
        let receivers: Vec<_> = receivers.collect();
        let missing_for = (0..state.count).filter_map(|node| match state.node(primary).away[usize::from(node)] {
            Away::No => None,
            Away::Short => Some((self.name(node), Duration::ZERO)),
            Away::Long => Some((self.name(node), GRACE)),
        });
        let (own, scores, missing_for) = (self.name(primary), self.scores(state), missing_for.collect());
        let end = end(&state.wal, state.node(primary).tip);
        let struck = self.set(state, state.configuration.struck);
        let nodes = self.set(state, u8::MAX);
        let strikes = (self.rules.strike)(&strike::View {
            own: &own,
            end,
            connected: &receivers,
            maxlag: None,
            nodes: &nodes,
            struck: &struck,
            away_for: &missing_for,
        });
        // A node that is there and has no score runs no instance.
        let counts = |node: &NodeName| scores.contains_key(node) || !state.node(self.number(node)).up;
        let new = strikes.strike.iter().map(|(node, _)| node).filter(|node| counts(node));
        let barred: BTreeSet<_> =
            struck.iter().chain(new).filter(|node| !strikes.take_back.contains(node)).cloned().collect();
        let plan = (self.rules.plan)(&View {
            own: &own,
            end,
            connected: &receivers,
            scores: &scores,
            missing_for: &missing_for,
            maxlag: None,
            barred: &barred,
        });
        Judgement { changes: self.changes(plan.changes), away: self.bits(&strikes.away), struck: self.bits(&barred) }
    }

    fn bits<'a>(&self, nodes: impl IntoIterator<Item = &'a NodeName>) -> u8 {
        nodes.into_iter().fold(0, |bits, node| bits | 1 << self.number(node))
    }

    fn set(&self, state: &State, bits: u8) -> BTreeSet<NodeName> {
        (0..state.count).filter(|node| bits >> node & 1 != 0).map(|node| self.name(node)).collect()
    }

    fn on_record(&self, state: &State) -> OnRecord {
        let lacks = || Lacks { from: None, since: String::new(), why: "it was away".to_owned() };
        let timeline = |number: u8| Timeline(u32::from(number));
        let reserved = state.nodes_where(|node| node.up && node.reserved > 0);
        OnRecord {
            lacks: self.set(state, state.configuration.struck).into_iter().map(|node| (node, lacks())).collect(),
            last: state.configuration.record.map(|(at, by)| (self.name(by), timeline(state.wal.timeline(at)))),
            witnessed: reserved.map(|node| (self.name(node), timeline(state.node(node).reserved))).collect(),
        }
    }

    /// What on record speaks against this node.
    #[must_use]
    pub fn objection(&self, state: &State, node: u8) -> Option<Objection> {
        let timeline = Timeline(u32::from(state.wal.timeline(state.node(node).tip)));
        (self.rules.objection)(&self.name(node), Some(timeline), &self.on_record(state))
    }

    /// Whether it stands for election all the same. Pacemaker takes an instance that is on its way for a standby.
    #[must_use]
    pub fn may_fetch(&self, state: &State, node: u8, against: &Objection) -> bool {
        let runs = |node: &Node| node.up && matches!(node.instance, Instance::Standby | Instance::Void);
        let standbys: Vec<_> = state.nodes_where(runs).map(|node| self.name(node)).collect();
        let (own, last) = (state.node(node).tip, state.configuration.record);
        let follows = last.is_some_and(|(at, _)| self.returning(&state.wal, own, at) == Return::Follows);
        follows && (self.rules.may_fetch)(&self.name(node), against, &self.on_record(state), &standbys)
    }

    /// Whether this node, which comes back, may have been passed over.
    #[must_use]
    pub fn passed_over(&self, state: &State, node: u8) -> bool {
        let nodes: Vec<_> = (0..state.count).map(|node| self.name(node)).collect();
        let present: Vec<_> = state.nodes_where(|node| node.up).map(|node| self.name(node)).collect();
        let on_record = self.on_record(state);
        !on_record.lacks.contains_key(&self.name(node))
            && (self.rules.passed_over)(&self.name(node), &nodes, &present, &on_record)
    }

    /// The score that a start gives its node.
    #[must_use]
    pub fn score_at_start(&self, own: Level, may_stand: bool) -> Option<Level> {
        (self.rules.score_at_start)(score_of(own), may_stand).map(level_of)
    }

    /// Whether a standby without a primary stands again.
    #[must_use]
    pub fn stands_again(&self, own: Level, another_is_promoted: bool, is_objected: bool) -> bool {
        (self.rules.stands_again)(score_of(own), another_is_promoted, is_objected)
    }

    /// How WAL that ends at `own` is treated when there is a primary that writes the timeline of `theirs`.
    pub fn returning(&self, wal: &Tree, own: At, theirs: At) -> Return {
        let mut key = Key::new();
        key.put(wal.depth(own), 5);
        put_history(&mut key, wal, own);
        put_history(&mut key, wal, theirs);
        remembered(&self.returns, key, || self.returning_anew(wal, own, theirs))
    }

    fn returning_anew(&self, wal: &Tree, own: At, theirs: At) -> Return {
        let system = SystemId(1);
        let own = OwnWal { system, history: history(wal, own), end: Some(end(wal, own)) };
        let reference = Reference { system, history: history(wal, theirs) };
        let trouble = match (self.rules.standing)(&own, &reference) {
            Standing::CanFollow | Standing::NeedsEnd => return Return::Follows,
            Standing::Diverged(divergence) => Trouble::Diverged(divergence, Ok(())),
            Standing::Foreign { ours, theirs } => Trouble::Foreign { ours, theirs },
        };
        match (self.rules.remedy)(&trouble, self.rejoin) {
            Remedy::Rewind => Return::Rewind,
            Remedy::Clone => Return::Clone,
            Remedy::Refuse(_) => Return::Refused,
        }
    }

    /// The number of the next timeline.
    #[must_use]
    pub fn next_timeline(&self, own: u8, used: u8) -> u8 {
        let used = (used > 0).then_some(Timeline(u32::from(used)));
        (self.rules.next_timeline)(Timeline(u32::from(own)), used).0.min(15) as u8
    }
}

/// The facts in few words, and how many bits of them are in use.
struct Key([u64; 6], u32);

impl Key {
    fn new() -> Key {
        Key([0; 6], 0)
    }

    fn put(&mut self, value: u8, bits: u32) -> &mut Key {
        // A word is left when the next value does not fit, and too many facts for the key are a mistake that ends the run.
        if self.1 % 64 + bits > 64 {
            self.1 += 64 - self.1 % 64;
        }
        self.0[(self.1 / 64) as usize] |= u64::from(value) << (self.1 % 64);
        self.1 += bits;
        self
    }
}

fn put_configuration(key: &mut Key, wal: &Tree, configuration: &Configuration) {
    key.put(configuration.struck, 4).put(configuration.record.map_or(0, |(_, by)| by), 2);
    put_at(key, wal, configuration.record.map(|(at, _)| at));
}

fn put_at(key: &mut Key, wal: &Tree, at: Option<At>) {
    key.put(at.map_or(0, |at| wal.timeline(at)), 4).put(at.map_or(0, |at| wal.depth(at)), 5);
}

fn put_paper(key: &mut Key, wal: &Tree, paper: Paper) {
    let (kind, at) = match paper {
        Paper::None => (0, None),
        Paper::At(at) => (1, Some(at)),
        Paper::Unknown => (2, None),
        Paper::AtLeast(at) => (3, Some(at)),
        Paper::Primary => (4, None),
        Paper::Void => (5, None),
        Paper::Left(at) => (6, Some(at)),
    };
    key.put(kind, 3);
    put_at(key, wal, at);
}

/// Every promotion on the way: its number, its place in the WAL, and who it is.
fn put_history(key: &mut Key, wal: &Tree, at: At) {
    let promotions = promotions(wal, at);
    key.put(promotions.len() as u8, 3);
    for at in promotions {
        key.put(wal.timeline(at), 4).put(wal.depth(at), 4).put(at, 4);
    }
}

fn promotions(wal: &Tree, at: At) -> Vec<At> {
    let mut promotions: Vec<_> = wal.way_back(at).filter(|at| wal.kind(*at) == crate::wal::Kind::Promotion).collect();
    promotions.reverse();
    promotions
}

fn name(node: usize) -> NodeName {
    let name = ["srv1", "srv2", "srv3", "srv4"][node.min(NODES - 1)];
    name.parse().unwrap_or_else(|_| unreachable!("a node's name"))
}

fn end(wal: &Tree, at: At) -> Lsn {
    Lsn(u64::from(wal.depth(at)) * LENGTH)
}

fn position(wal: &Tree, at: At) -> Position {
    Position { timeline: Timeline(u32::from(wal.timeline(at))), end: end(wal, at) }
}

fn vote(wal: &Tree, paper: Paper) -> Vote {
    let unknown = |at_least| Vote::Unknown { why: "it is still replaying".to_owned(), at_least };
    match paper {
        Paper::None | Paper::Left(_) => Vote::Silent,
        Paper::At(at) => Vote::At(Reach::from(position(wal, at))),
        Paper::Unknown => unknown(None),
        Paper::AtLeast(at) => unknown(Some(position(wal, at))),
        Paper::Primary => Vote::Primary,
        Paper::Void => Vote::Void,
    }
}

fn with_fitness(vote: Vote, unfit: bool) -> Vote {
    match vote {
        Vote::At(reach) if unfit => Vote::At(Reach { unfit: Some("its replay is delayed".to_owned()), ..reach }),
        vote => vote,
    }
}

fn history(wal: &Tree, at: At) -> History {
    let mut text = "1@0/0".to_owned();
    for at in promotions(wal, at) {
        let begin = end(wal, wal.parent(at));
        text += &format!(" {}@{begin}#{:x}", wal.timeline(at), at);
    }
    text.parse().unwrap_or_else(|_| unreachable!("a history: {text}"))
}

fn score_of(level: Level) -> Option<Score> {
    Some(match level {
        Level::None => return None,
        Level::Never => Score::NEVER,
        Level::Candidate => Score::CANDIDATE,
        Level::Rank3 => Score::of_rank(3),
        Level::Rank2 => Score::of_rank(2),
        Level::Rank1 => Score::of_rank(1),
        Level::Rank0 => Score::of_rank(0),
        Level::Primary => Score::PRIMARY,
        Level::Elected => Score::ELECTED,
    })
}

fn level_of(score: Score) -> Level {
    let known = LEVELS.into_iter().find(|level| score_of(*level) == Some(score));
    known.unwrap_or_else(|| unreachable!("a score that no rule gives: {score}"))
}
