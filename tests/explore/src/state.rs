//! A situation of the cluster: what is on the disks, what runs, and what Pacemaker and the agents remember.

use crate::wal::{At, RECORDS, Record, Tree};

/// The most nodes.
pub const NODES: usize = 4;

/// What the instance of a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Instance {
    /// It is down, and the cluster will start it.
    #[default]
    Down,
    /// It is a standby.
    Standby,
    /// It takes writes.
    Primary,
    /// Its start has failed for a slip in the configuration, which a person has to correct.
    Failed,
    /// A person has stopped it.
    Held,
    /// It counts as running, and is being rewound or cloned or waits for that.
    Void,
}

/// A promotion score, in its order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// There is none.
    #[default]
    None,
    /// Minus infinity.
    Never,
    /// The weakest that allows a promotion.
    Candidate,
    /// The rank of a standby.
    Rank3,
    /// The rank of a standby.
    Rank2,
    /// The rank of a standby.
    Rank1,
    /// The rank of the best standby.
    Rank0,
    /// The primary's.
    Primary,
    /// What an election gives.
    Elected,
}

/// What a node has published for an election.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Paper {
    /// Nothing.
    #[default]
    None,
    /// Where its WAL ends.
    At(At),
    /// It cannot tell.
    Unknown,
    /// It cannot tell, and has this at least.
    AtLeast(At),
    /// It takes writes.
    Primary,
    /// It holds nothing that counts.
    Void,
    /// It was stopped, and has this.
    Left(At),
}

/// A return that was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Marker {
    /// None was.
    #[default]
    None,
    /// It is to be rewound; nothing was touched.
    Rewind,
    /// It is to be cloned; nothing was touched.
    Clone,
    /// What it alone has is kept aside, and the directory is half rewound or half a copy.
    Kept,
}

/// How long an election of which this node takes part is undecided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Undecided {
    /// There is none.
    #[default]
    No,
    /// Not yet for the election's timeout.
    Yes,
    /// For longer.
    TooLong,
}

/// How long a standby is not connected to the primary, as the primary's notes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Away {
    /// It is not away.
    #[default]
    No,
    /// Its grace is not over.
    Short,
    /// Its grace is over.
    Long,
}

/// Whether a node lacks what a primary has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lacks {
    /// It does not, or not for long.
    #[default]
    No,
    /// The primary's monitor did not find it connected.
    Seen,
    /// That was longer ago than the grace.
    Overdue,
    /// And the primary's monitor still did not find it.
    Known,
}

/// A node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// It has power and is a member of the cluster.
    pub up: bool,
    /// Replication from and to it is cut off.
    pub cut: bool,
    /// Its next start fails for a slip in the configuration.
    pub slip: bool,
    /// A person forbids its promotion.
    pub banned: bool,
    /// It should not be promoted itself: it has no room, or its replay is delayed.
    pub unfit: bool,
    /// Its instance ended as a primary, and has not been started since.
    pub was_primary: bool,
    /// Its instance.
    pub instance: Instance,
    /// The end of its WAL.
    pub tip: At,
    /// Its promotion score.
    pub score: Level,
    /// What it has published for an election.
    pub paper: Paper,
    /// The nodes of that election, a bit for each.
    pub among: u8,
    /// What a stopped instance has, on record for as long as nothing withdraws it.
    pub left: Option<At>,
    /// The timeline that a promotion has reserved here; 0 is none.
    pub reserved: u8,
    /// Whether it has published that it is the primary, and the timeline that it said.
    pub published: Option<At>,
    /// Its notes: an undecided election.
    pub undecided: Undecided,
    /// Its instance was started since it is in the cluster.
    pub here: bool,
    /// While it is off: the cluster configuration on its disk.
    pub configuration: Configuration,
    /// Its notes: who was picked the last time, 1 for the first node, 0 for nobody.
    pub picked: u8,
    /// Its notes, as a primary: who is not connected.
    pub away: [Away; NODES],
    /// A return that was begun.
    pub marker: Marker,
    /// The truth, and nothing that anybody remembers: whether it has been away from a primary for long.
    pub lacks: Lacks,
}

/// What is on record for as long as the cluster configuration is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The record: the timeline, and the node that wrote it.
    pub record: Option<(At, u8)>,
    /// Who is struck off, a bit for each.
    pub struck: u8,
}

/// A promotion that Pacemaker has planned, before it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Who is to be promoted.
    pub candidate: u8,
    /// Whose instance runs, a bit for each.
    pub among: u8,
    /// Who has been notified, a bit for each.
    pub notified: u8,
}

/// The situation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// How many nodes there are.
    pub count: u8,
    /// All WAL.
    pub wal: Tree,
    /// The nodes.
    pub nodes: [Node; NODES],
    /// The planned promotion.
    pub plan: Option<Plan>,
    /// The cluster configuration of the nodes that are there.
    pub configuration: Configuration,
    /// A person wants the primary there; 1 for the first node, 0 for no wish.
    pub wish: u8,
    /// How many more rows are written.
    pub rows: u8,
    /// How many more nodes lose power, instances crash and replications are cut.
    pub faults: u8,
    /// How many more notifications are lost, actions killed and positions not told.
    pub lapses: u8,
    /// How many more things a person does that nobody needs.
    pub slips: u8,
}

/// A state in few words, to be kept and compared.
pub type Packed = [u64; 9];

struct Writer {
    words: Packed,
    at: usize,
}

impl Writer {
    fn put(&mut self, value: u64, bits: usize) {
        let (word, shift) = (self.at / 64, self.at % 64);
        self.words[word] |= value << shift;
        if shift + bits > 64 {
            self.words[word + 1] |= value >> (64 - shift);
        }
        self.at += bits;
    }
}

struct Reader<'a> {
    words: &'a Packed,
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, bits: usize) -> u8 {
        let (word, shift) = (self.at / 64, self.at % 64);
        let mut value = self.words[word] >> shift;
        if shift + bits > 64 {
            value |= self.words[word + 1] << (64 - shift);
        }
        self.at += bits;
        (value & ((1 << bits) - 1)) as u8
    }

    fn flag(&mut self) -> bool {
        self.take(1) != 0
    }

    fn maybe(&mut self) -> Option<At> {
        let (is_some, at) = (self.flag(), self.take(4));
        is_some.then_some(at)
    }
}

fn maybe(writer: &mut Writer, at: Option<At>) {
    writer.put(u64::from(at.is_some()), 1);
    writer.put(u64::from(at.unwrap_or(0)), 4);
}

impl State {
    /// In few words.
    #[must_use]
    pub fn pack(&self) -> Packed {
        let mut to = Writer { words: [0; 9], at: 0 };
        self.wal.0.iter().skip(1).for_each(|record| to.put(u64::from(record.0), 13));
        self.nodes.iter().for_each(|node| pack_node(node, &mut to));
        let plan = self.plan.unwrap_or_default();
        to.put(u64::from(self.plan.is_some()), 1);
        to.put(u64::from(plan.candidate), 2);
        to.put(u64::from(plan.among), 4);
        to.put(u64::from(plan.notified), 4);
        pack_configuration(&self.configuration, &mut to);
        to.put(u64::from(self.wish), 3);
        for budget in [self.count, self.rows, self.faults, self.lapses, self.slips] {
            to.put(u64::from(budget), 3);
        }
        to.words
    }

    /// The opposite.
    #[must_use]
    pub fn unpack(words: &Packed) -> State {
        let mut from = Reader { words, at: 0 };
        let mut state = State::default();
        for place in 1..RECORDS {
            let (low, high) = (from.take(8), from.take(5));
            state.wal.0[place] = Record(u16::from(low) | u16::from(high) << 8);
        }
        state.nodes = std::array::from_fn(|_| unpack_node(&mut from));
        let (is_planned, candidate) = (from.flag(), from.take(2));
        let plan = Plan { candidate, among: from.take(4), notified: from.take(4) };
        state.plan = is_planned.then_some(plan);
        state.configuration = unpack_configuration(&mut from);
        state.wish = from.take(3);
        [state.count, state.rows, state.faults, state.lapses, state.slips] = std::array::from_fn(|_| from.take(3));
        state
    }
}

fn pack_node(node: &Node, to: &mut Writer) {
    for flag in [node.up, node.cut, node.slip, node.banned, node.unfit, node.was_primary, node.here] {
        to.put(u64::from(flag), 1);
    }
    to.put(node.instance as u64, 3);
    to.put(u64::from(node.tip), 4);
    to.put(node.score as u64, 4);
    let (kind, at) = match node.paper {
        Paper::None => (0, 0),
        Paper::At(at) => (1, at),
        Paper::Unknown => (2, 0),
        Paper::AtLeast(at) => (3, at),
        Paper::Primary => (4, 0),
        Paper::Void => (5, 0),
        Paper::Left(at) => (6, at),
    };
    to.put(kind, 3);
    to.put(u64::from(at), 4);
    to.put(u64::from(node.among), 4);
    maybe(to, node.left);
    to.put(u64::from(node.reserved), 4);
    maybe(to, node.published);
    to.put(node.undecided as u64, 2);
    to.put(u64::from(node.picked), 3);
    node.away.iter().for_each(|away| to.put(*away as u64, 2));
    to.put(node.marker as u64, 2);
    to.put(node.lacks as u64, 2);
    pack_configuration(&node.configuration, to);
}

fn unpack_node(from: &mut Reader<'_>) -> Node {
    let [up, cut, slip, banned, unfit, was_primary, here] = std::array::from_fn(|_| from.flag());
    let (instance, tip, score) = (from.take(3), from.take(4), from.take(4));
    let (kind, at) = (from.take(3), from.take(4));
    Node {
        up,
        cut,
        slip,
        banned,
        unfit,
        was_primary,
        here,
        instance: INSTANCES[usize::from(instance)],
        tip,
        score: LEVELS[usize::from(score)],
        paper: match kind {
            0 => Paper::None,
            1 => Paper::At(at),
            2 => Paper::Unknown,
            3 => Paper::AtLeast(at),
            4 => Paper::Primary,
            5 => Paper::Void,
            _ => Paper::Left(at),
        },
        among: from.take(4),
        left: from.maybe(),
        reserved: from.take(4),
        published: from.maybe(),
        undecided: [Undecided::No, Undecided::Yes, Undecided::TooLong][usize::from(from.take(2))],
        picked: from.take(3),
        away: std::array::from_fn(|_| [Away::No, Away::Short, Away::Long][usize::from(from.take(2))]),
        marker: [Marker::None, Marker::Rewind, Marker::Clone, Marker::Kept][usize::from(from.take(2))],
        lacks: [Lacks::No, Lacks::Seen, Lacks::Overdue, Lacks::Known][usize::from(from.take(2))],
        configuration: unpack_configuration(from),
    }
}

fn pack_configuration(configuration: &Configuration, to: &mut Writer) {
    maybe(to, configuration.record.map(|(at, _)| at));
    to.put(u64::from(configuration.record.map_or(0, |(_, node)| node)), 2);
    to.put(u64::from(configuration.struck), 4);
}

fn unpack_configuration(from: &mut Reader<'_>) -> Configuration {
    let (record, by) = (from.maybe(), from.take(2));
    Configuration { record: record.map(|at| (at, by)), struck: from.take(4) }
}

const INSTANCES: [Instance; 6] =
    [Instance::Down, Instance::Standby, Instance::Primary, Instance::Failed, Instance::Held, Instance::Void];

/// All scores, in their order.
pub const LEVELS: [Level; 9] = [
    Level::None,
    Level::Never,
    Level::Candidate,
    Level::Rank3,
    Level::Rank2,
    Level::Rank1,
    Level::Rank0,
    Level::Primary,
    Level::Elected,
];

impl State {
    /// Gives the state its one form: WAL that nobody has is gone, and what is remembered of it is relative to what all have.
    pub fn tidy(&mut self) {
        let mut pointers: Vec<&mut At> = Vec::with_capacity(24);
        for node in self.nodes.iter_mut().take(usize::from(self.count)) {
            pointers.push(&mut node.tip);
            if let Paper::At(at) | Paper::AtLeast(at) | Paper::Left(at) = &mut node.paper {
                pointers.push(at);
            }
            pointers.extend(node.left.as_mut());
            pointers.extend(node.published.as_mut());
            pointers.extend(node.configuration.record.as_mut().map(|(at, _)| at));
        }
        pointers.extend(self.configuration.record.as_mut().map(|(at, _)| at));
        let shift = self.wal.tidy(&mut pointers);
        for node in &mut self.nodes {
            node.reserved = node.reserved.saturating_sub(shift);
        }
    }

    /// The numbers of the nodes for which this holds.
    pub fn nodes_where(&self, holds: impl Fn(&Node) -> bool) -> impl Iterator<Item = u8> {
        (0..self.count).filter(move |node| holds(&self.nodes[usize::from(*node)]))
    }

    /// The promoted node, as far as its instance says.
    #[must_use]
    pub fn primary(&self) -> Option<u8> {
        self.nodes_where(|node| node.up && node.instance == Instance::Primary).next()
    }

    /// A node.
    #[must_use]
    pub fn node(&self, number: u8) -> &Node {
        &self.nodes[usize::from(number)]
    }

    /// A node.
    pub fn node_mut(&mut self, number: u8) -> &mut Node {
        &mut self.nodes[usize::from(number)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::Kind;

    #[test]
    fn a_state_is_unpacked_as_it_was() {
        let mut state = State { count: 4, rows: 3, faults: 2, lapses: 1, slips: 7, wish: 4, ..State::default() };
        let row = state.wal.append(0, Kind::Row, 1).unwrap();
        state.wal.acknowledge(row);
        let begin = state.wal.append(row, Kind::Promotion, 14).unwrap();
        state.wal.note_hand_made(begin);
        state.configuration = Configuration { record: Some((begin, 3)), struck: 9 };
        state.plan = Some(Plan { candidate: 3, among: 15, notified: 9 });
        state.nodes[3] = Node {
            up: true,
            lacks: Lacks::Known,
            instance: Instance::Void,
            tip: begin,
            score: Level::Elected,
            paper: Paper::Left(row),
            left: Some(row),
            was_primary: true,
            among: 13,
            reserved: 15,
            published: Some(begin),
            undecided: Undecided::TooLong,
            picked: 4,
            away: [Away::Long, Away::No, Away::Short, Away::Long],
            marker: Marker::Kept,
            ..Node::default()
        };
        assert_eq!(State::unpack(&state.pack()), state);
    }
}
