//! All WAL that there is, as a tree: what two nodes have in common is one branch, and where they part it forks.
//!
//! A node's WAL is the way from the root to a record, its end; so "has what the other has" is a question of descent, which
//! needs no positions. The agent's rules get positions only, as in reality, and are judged by the tree.

/// The most records that are told apart at a time.
pub const RECORDS: usize = 16;

/// A record, by its place in the tree.
pub type At = u8;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A client's row.
    Row,
    /// The beginning of a timeline.
    Promotion,
    /// What a clean shutdown of a primary writes last.
    Shutdown,
}

/// A record: in use, its parent, its kind, its timeline, whether its client was told that it is safe, and whether it
/// begins a timeline that the agent did not make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record(pub u16);

impl Record {
    fn new(parent: At, kind: Kind, timeline: u8) -> Record {
        let kind = match kind {
            Kind::Row => 0,
            Kind::Promotion => 1,
            Kind::Shutdown => 2,
        };
        Record(1 | u16::from(parent) << 1 | kind << 5 | u16::from(timeline.min(15)) << 7)
    }

    fn is_used(self) -> bool {
        self.0 & 1 != 0
    }

    fn parent(self) -> At {
        (self.0 >> 1 & 15) as At
    }

    fn kind(self) -> Kind {
        match self.0 >> 5 & 3 {
            0 => Kind::Row,
            1 => Kind::Promotion,
            _ => Kind::Shutdown,
        }
    }

    fn timeline(self) -> u8 {
        (self.0 >> 7 & 15) as u8
    }

    fn with_parent(self, parent: At) -> Record {
        Record(self.0 & !(15 << 1) | u16::from(parent) << 1)
    }

    fn with_timeline(self, timeline: u8) -> Record {
        Record(self.0 & !(15 << 7) | u16::from(timeline) << 7)
    }
}

/// The tree. The root, number 0, stands for all WAL that every node and every word of the cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tree(pub [Record; RECORDS]);

impl Default for Tree {
    fn default() -> Self {
        let mut records = [Record::default(); RECORDS];
        records[0] = Record::new(0, Kind::Promotion, 1);
        Tree(records)
    }
}

impl Tree {
    fn record(&self, at: At) -> Record {
        self.0[usize::from(at)]
    }

    /// Writes a record after this one. None when there is no room: the state is beyond what is explored.
    pub fn append(&mut self, parent: At, kind: Kind, timeline: u8) -> Option<At> {
        let free = self.0.iter().position(|record| !record.is_used())?;
        self.0[free] = Record::new(parent, kind, timeline);
        (timeline < 15).then_some(free as At)
    }

    /// The kind of a record.
    #[must_use]
    pub fn kind(&self, at: At) -> Kind {
        self.record(at).kind()
    }

    /// The timeline of a record.
    #[must_use]
    pub fn timeline(&self, at: At) -> u8 {
        self.record(at).timeline()
    }

    /// Whether a record's client was told that it is safe.
    #[must_use]
    pub fn is_acknowledged(&self, at: At) -> bool {
        self.record(at).0 >> 11 & 1 != 0
    }

    /// Tells a record's client that it is safe.
    pub fn acknowledge(&mut self, at: At) {
        self.0[usize::from(at)].0 |= 1 << 11;
    }

    /// Whether the timeline that begins here was made by a person.
    #[must_use]
    pub fn is_hand_made(&self, at: At) -> bool {
        self.record(at).0 >> 12 & 1 != 0
    }

    /// Notes that the timeline that begins here was made by a person.
    pub fn note_hand_made(&mut self, at: At) {
        self.0[usize::from(at)].0 |= 1 << 12;
    }

    /// The record before this one.
    #[must_use]
    pub fn parent(&self, at: At) -> At {
        self.record(at).parent()
    }

    /// How many records there are before the end of this one.
    #[must_use]
    pub fn depth(&self, mut at: At) -> u8 {
        let mut depth = 1;
        while at != 0 {
            (at, depth) = (self.parent(at), depth + 1);
        }
        depth
    }

    /// The records from this one back to the root, the root left out.
    pub fn way_back(&self, at: At) -> impl Iterator<Item = At> {
        let mut at = at;
        std::iter::from_fn(move || {
            let here = at;
            at = self.parent(here);
            (here != 0).then_some(here)
        })
    }

    /// Whether WAL that ends at `holder` contains `wanted`.
    #[must_use]
    pub fn has(&self, holder: At, wanted: At) -> bool {
        wanted == 0 || self.way_back(holder).any(|at| at == wanted)
    }

    /// The last record that both have.
    #[must_use]
    pub fn common(&self, one: At, other: At) -> At {
        self.way_back(one).find(|at| self.has(other, *at)).unwrap_or(0)
    }

    /// The record after `from` on the way to `to`.
    #[must_use]
    pub fn next_towards(&self, from: At, to: At) -> Option<At> {
        self.way_back(to).find(|at| self.parent(*at) == from).filter(|_| from == 0 || self.has(to, from))
    }

    /// The record that begins the timeline of this one; 0 when that is before everything that is told apart.
    #[must_use]
    pub fn begin_of_timeline(&self, at: At) -> At {
        self.way_back(at).find(|at| self.kind(*at) == Kind::Promotion).unwrap_or(0)
    }

    /// Forgets what nobody points at, makes what all have the new root, and gives the rest numbers that depend on nothing
    /// but who points at what. Timelines count from the root's; the difference is returned.
    pub fn tidy(&mut self, pointers: &mut [&mut At]) -> u8 {
        let root = self.root_of_all(pointers);
        let mut number = [0xFF_u8; RECORDS];
        number[usize::from(root)] = 0;
        let mut tidy = Tree::default();
        let (mut used, shift) = (1, self.timeline(root) - 1);
        for pointer in pointers {
            let mut way = [0; RECORDS];
            let mut length = 0;
            let mut at = **pointer;
            while number[usize::from(at)] == 0xFF {
                way[length] = at;
                (length, at) = (length + 1, self.parent(at));
            }
            for at in way[..length].iter().rev().copied() {
                let parent = number[usize::from(self.parent(at))];
                let record = self.record(at);
                tidy.0[usize::from(used)] = record.with_parent(parent).with_timeline(record.timeline() - shift);
                number[usize::from(at)] = used;
                used += 1;
            }
            **pointer = number[usize::from(**pointer)];
        }
        *self = tidy;
        shift
    }

    fn root_of_all(&self, pointers: &[&mut At]) -> At {
        let mut common = None;
        for pointer in pointers {
            common = Some(common.map_or(**pointer, |common| self.common(common, **pointer)));
        }
        common.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_knows_who_has_what() {
        let mut tree = Tree::default();
        let a = tree.append(0, Kind::Row, 1).unwrap();
        let b = tree.append(a, Kind::Row, 1).unwrap();
        let c = tree.append(a, Kind::Promotion, 2).unwrap();
        assert!(tree.has(b, a) && tree.has(c, a) && !tree.has(b, c) && tree.has(a, 0));
        assert_eq!((tree.common(b, c), tree.depth(c)), (a, 3));
        assert_eq!(
            (tree.next_towards(0, c), tree.next_towards(a, c), tree.next_towards(b, c)),
            (Some(a), Some(c), None)
        );
    }

    #[test]
    fn what_all_have_is_one_root_and_what_nobody_has_is_gone() {
        let mut tree = Tree::default();
        let a = tree.append(0, Kind::Row, 1).unwrap();
        let lost = tree.append(a, Kind::Row, 1).unwrap();
        let b = tree.append(a, Kind::Promotion, 2).unwrap();
        let c = tree.append(b, Kind::Row, 2).unwrap();
        let (mut one, mut other) = (c, b);
        assert_eq!(tree.tidy(&mut [&mut one, &mut other]), 1);
        assert_eq!((one, other, tree.timeline(one)), (1, 0, 1));
        assert_eq!(tree.0.iter().filter(|record| record.is_used()).count(), 2);
        let _ = lost;
    }
}
