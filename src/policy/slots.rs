//! Which of the agent's replication slots are made, moved and removed?
//!
//! | the slot | step |
//! |---|---|
//! | is not the agent's: another name, logical, or temporary | never touched |
//! | slots are not used | removed, unless it is active |
//! | unbounded, the WAL volume nearly full, and it is the one that retains most | given up; nothing else happens then |
//! | would be given up or removed, and `synchronized_standby_slots` names it (17 and newer) | kept: logical decoding waits for a slot that is named there and missing |
//! | invalidated on the primary by `idle_replication_slot_timeout` (18 and newer), its node does not stream | left: the administrator wanted no WAL kept for it any longer |
//! | invalidated by the server otherwise, not active | removed and made anew, also when it is named: nothing waits for longer then |
//! | of a node that left the cluster [`GRACE`] ago, not active | removed |
//! | of a member with an instance, missing | made, if unbounded only where there is room |
//! | on the primary, of a standby that streams without it | moved to what the standby has flushed |
//! | on a standby | moved to where the primary and the standby's own replay allow, never back |
//!
//! A slot of a standby is an insurance: the primary of tomorrow has what the others need. A standby does not know
//! what the others have. It knows from the primary which members need old WAL ([`super::hold`]), and the word is as
//! old as the primary's last monitor. So it moves the other members' slots to where its own replay was at the
//! look before, which is older than that.
//!
//! A node without an instance (one for quorum, one for other resources) gets no slot: nobody would ever use it, and it
//! would retain WAL for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::hold::Hold;
use crate::ocf::UseSlots;
use crate::types::{Gather, Lsn, NodeName, Role, SlotName};

/// How long the slot of a node that left the cluster's configuration is kept.
pub const GRACE: Duration = Duration::from_secs(600);

/// After a slot was given up its WAL is removed by the next checkpoint; only then is it clear whether another slot
/// has to go.
pub const AFTER_GIVING_UP: Duration = Duration::from_secs(20);

/// The oldest server that can bound what a slot retains, by `max_slot_wal_keep_size`.
pub const BOUNDED_FROM: u32 = 13;

/// How far behind a standby's replay the other members' slots are kept, in segments.
pub const DISTANCE: u64 = 2;

/// How far a slot of a standby may fall behind before the standby looks where it may move it, in segments.
pub const LOOK_BEYOND: u64 = 4;

/// A replication slot of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// `slot_name`.
    pub name: String,
    /// Whether it is a physical slot that outlives its connection.
    pub lasting_physical: bool,
    /// `active_pid`: the process that uses it.
    pub user: Option<i32>,
    /// `restart_lsn`: the oldest WAL that it retains.
    pub restart: Option<Lsn>,
    /// Whether `wal_status` is `lost`.
    pub lost: bool,
    /// Whether that is so because nobody used it for `idle_replication_slot_timeout`.
    pub idled_out: bool,
    /// The server has told its process to end, because the slot retains too much, and waits for that. The checkpointer
    /// does nothing else meanwhile: WAL is not removed, and no checkpoint ends (seen, 15: a sender whose standby has lost
    /// power tries to send its last words until TCP gives up).
    pub revoked: bool,
}

/// A slot of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnSlot<'a> {
    /// Its name.
    pub name: SlotName,
    /// The slot.
    pub slot: &'a Slot,
}

/// The volume that holds `pg_wal`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// What the server may still write.
    pub free: u64,
    /// All of it.
    pub size: u64,
}

/// The nodes of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// All nodes that the cluster knows.
    pub nodes: BTreeSet<NodeName>,
    /// Those that have an instance of the resource, running or not.
    pub instances: BTreeSet<NodeName>,
}

/// A standby's look at the primary's word.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// What the primary says.
    pub hold: &'a Hold,
    /// How far this standby had replayed at its look before.
    pub replayed_before: Lsn,
}

/// What is known when the slots are looked after.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// This node.
    pub own: &'a NodeName,
    /// What the instance is.
    pub role: Role,
    /// Whether slots are used, see [`is_used`].
    pub used: bool,
    /// Whether the server bounds what a slot retains.
    pub bounded: bool,
    /// The volume of `pg_wal`; it matters where nothing is bounded.
    pub volume: Option<Volume>,
    /// The end of the primary's WAL, or what the standby has replayed.
    pub end: Lsn,
    /// Bytes of a WAL segment.
    pub segment: u64,
    /// All slots of the server.
    pub slots: &'a [Slot],
    /// The slots that `synchronized_standby_slots` names.
    pub named: &'a BTreeSet<String>,
    /// The nodes; none when the cluster did not tell.
    pub members: Option<&'a Members>,
    /// What the connected standbys have flushed; empty on a standby.
    pub flushed: &'a BTreeMap<NodeName, Lsn>,
    /// How long the cluster has not known the nodes of these slots.
    pub left_for: &'a BTreeMap<SlotName, Duration>,
    /// A standby's look, where there was reason for one.
    pub look: Option<Look<'a>>,
    /// How long ago a slot was given up.
    pub gave_up: Option<Duration>,
}

/// Why a slot is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Slots are not used.
    Unused,
    /// The server has invalidated it.
    Lost,
    /// Its node is not in the cluster any more.
    Left,
}

/// One thing to do with one slot of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make it; it retains WAL from the last checkpoint on.
    Create(SlotName),
    /// Remove it if it is not active.
    Drop(SlotName, Why),
    /// Leave it, although it should be removed: `synchronized_standby_slots` names it.
    Keep(SlotName),
    /// Let it retain less.
    Advance(SlotName, Lsn),
    /// Tell this process, which the server waits for, once more to end.
    Release(SlotName, i32),
    /// Remove it, ending the process that uses it, because the WAL volume is nearly full.
    GiveUp {
        /// The slot.
        name: SlotName,
        /// The process.
        user: Option<i32>,
        /// Bytes that it retains.
        retained: u64,
        /// Bytes that are free.
        free: u64,
    },
}

/// Whether slots are used. `auto` never lets a slot fill a disk.
#[must_use]
pub fn is_used(wish: UseSlots, version: u32, bounded: bool) -> bool {
    match wish {
        UseSlots::Auto => version >= BOUNDED_FROM && bounded,
        UseSlots::Yes => true,
        UseSlots::No => false,
    }
}

/// What an administrator may want to know before the first start. It is no complaint.
#[must_use]
pub fn advice(wish: UseSlots, version: u32, bounded: bool) -> Option<String> {
    let unbounded = if version < BOUNDED_FROM {
        format!("PostgreSQL {version} has no max_slot_wal_keep_size to bound what a replication slot retains")
    } else {
        "max_slot_wal_keep_size is -1, so nothing bounds what a replication slot retains".to_owned()
    };
    match wish {
        UseSlots::No => None,
        UseSlots::Auto | UseSlots::Yes if version >= BOUNDED_FROM && bounded => None,
        UseSlots::Auto if version < BOUNDED_FROM => Some(format!("{unbounded}: slots=auto keeps none; slots=yes does")),
        UseSlots::Auto => Some(format!("{unbounded}: slots=auto keeps none; set a size, or slots=yes")),
        UseSlots::Yes => Some(format!("{unbounded}: one is given up when the volume of pg_wal is nearly full")),
    }
}

/// The slots that belong to the agent.
#[must_use]
pub fn own_slots(slots: &[Slot]) -> Vec<OwnSlot<'_>> {
    let lasting = slots.iter().filter(|slot| slot.lasting_physical);
    lasting.filter_map(|slot| Some(OwnSlot { name: SlotName::recognized(&slot.name)?, slot })).collect()
}

/// The agent's slots of nodes that the cluster does not know, or of this very node.
#[must_use]
pub fn left_behind(slots: &[Slot], members: &Members, own: &NodeName) -> BTreeSet<SlotName> {
    let kept = members.others(own);
    own_slots(slots).into_iter().map(|slot| slot.name).filter(|name| !kept.contains_key(name)).into_set()
}

/// Whether a standby's slots have fallen so far behind, and its replay has come so far since the last look, that
/// another look is worth a program.
#[must_use]
pub fn needs_look(slots: &[Slot], replayed: Lsn, looked_at: Lsn, segment: u64) -> bool {
    let far = |from: Lsn| replayed.bytes_beyond(from) > LOOK_BEYOND * segment;
    far(looked_at) && own_slots(slots).iter().any(|own| own.slot.user.is_none() && own.slot.restart.is_some_and(far))
}

/// The steps that set the slots right.
#[must_use]
pub fn plan(view: &View<'_>) -> Vec<Step> {
    let slots = own_slots(view.slots);
    if !view.used {
        let idle = slots.iter().filter(|own| own.slot.user.is_none());
        return idle.map(|own| unless_named(view, Step::Drop(own.name.clone(), Why::Unused))).collect();
    }
    let (named, free): (Vec<_>, Vec<_>) = slots.iter().cloned().partition(|own| view.names(&own.name));
    if let Some(step) = given_up(view, &free) {
        return vec![step];
    }
    let kept = given_up(view, &named).map(|step| unless_named(view, step));
    let dropped = dropped(view, &slots);
    let gone: BTreeSet<_> = dropped.iter().map(|(name, _)| name.clone()).into_set();
    let staying: Vec<_> = slots.into_iter().filter(|own| !gone.contains(&own.name)).collect();
    let drops = dropped.into_iter().map(|(name, why)| unless_named(view, Step::Drop(name, why)));
    kept.into_iter()
        .chain(released(&staying))
        .chain(drops)
        .chain(created(view, &staying))
        .chain(advanced(view, &staying))
        .collect()
}

/// One that is named there is made anew when it is lost, and never just removed.
fn unless_named(view: &View<'_>, step: Step) -> Step {
    match step {
        Step::Drop(name, Why::Unused | Why::Left) | Step::GiveUp { name, .. } if view.names(&name) => Step::Keep(name),
        step => step,
    }
}

fn released(slots: &[OwnSlot<'_>]) -> Vec<Step> {
    let revoked = slots.iter().filter(|own| own.slot.revoked);
    revoked.filter_map(|own| Some(Step::Release(own.name.clone(), own.slot.user?))).collect()
}

fn given_up(view: &View<'_>, slots: &[OwnSlot<'_>]) -> Option<Step> {
    let volume = view.volume.filter(|_| !view.bounded)?;
    let limit = volume.limit(view.segment);
    if volume.free >= limit || view.gave_up.is_some_and(|ago| ago < AFTER_GIVING_UP) {
        return None;
    }
    let worth_it =
        |own: &&OwnSlot<'_>| own.retained(view.end) >= if own.slot.user.is_some() { limit } else { view.segment };
    let most = slots.iter().filter(worth_it).max_by_key(|own| (own.retained(view.end), own.slot.user.is_none()))?;
    let (name, retained) = (most.name.clone(), most.retained(view.end));
    Some(Step::GiveUp { name, user: most.slot.user, retained, free: volume.free })
}

fn dropped(view: &View<'_>, slots: &[OwnSlot<'_>]) -> Vec<(SlotName, Why)> {
    let left = view.members.map(|members| left_behind(view.slots, members, view.own)).unwrap_or_default();
    let long_ago = |name: &SlotName| view.left_for.get(name).is_some_and(|left| *left >= GRACE);
    let why = |own: &OwnSlot<'_>| match () {
        () if left.contains(&own.name) => long_ago(&own.name).then_some(Why::Left),
        () => (own.slot.lost && !is_left_idle(view, own)).then_some(Why::Lost),
    };
    let idle = slots.iter().filter(|own| own.slot.user.is_none());
    idle.filter_map(|own| Some((own.name.clone(), why(own)?))).collect()
}

/// A standby's slots are never in use, so that they go by the timeout while their nodes stream from the primary.
fn is_left_idle(view: &View<'_>, own: &OwnSlot<'_>) -> bool {
    let streams = || view.flushed.keys().any(|node| SlotName::of(node) == own.name);
    own.slot.idled_out && view.role == Role::Primary && !streams()
}

fn created(view: &View<'_>, staying: &[OwnSlot<'_>]) -> Vec<Step> {
    let roomy = |volume: Volume| volume.free > 2 * volume.limit(view.segment);
    if !view.bounded && !view.volume.is_some_and(roomy) {
        return Vec::new();
    }
    let instances = view.members.into_iter().flat_map(|members| &members.instances);
    let wanted: BTreeSet<_> = instances.filter(|node| *node != view.own).map(SlotName::of).into_set();
    let is_there = |name: &SlotName| staying.iter().any(|own| own.name == *name);
    wanted.into_iter().filter(|name| !is_there(name)).map(Step::Create).collect()
}

fn advanced(view: &View<'_>, staying: &[OwnSlot<'_>]) -> Vec<Step> {
    let targets = match view.role {
        Role::Primary => view.flushed.iter().map(|(node, at)| (SlotName::of(node), *at)).into_map(),
        Role::Standby => view.look.map(|look| allowed(&look, staying, view.segment)).unwrap_or_default(),
    };
    let worth_it = |own: &OwnSlot<'_>| {
        let (from, to) = (own.slot.restart?, (*targets.get(&own.name)?).min(view.end));
        let idle = own.slot.user.is_none() && !own.slot.lost;
        (idle && to.bytes_beyond(from) >= view.segment).then(|| Step::Advance(own.name.clone(), to))
    };
    staying.iter().filter_map(worth_it).collect()
}

/// How far a standby may move each slot.
fn allowed(look: &Look<'_>, staying: &[OwnSlot<'_>], segment: u64) -> BTreeMap<SlotName, Lsn> {
    let held: BTreeMap<_, _> = look.hold.held().map(|(node, at)| (SlotName::of(node), at)).into_map();
    let own = Lsn(look.replayed_before.0.saturating_sub(DISTANCE * segment));
    let limit = |name: &SlotName| held.get(name).map_or(own, |at| own.min(*at));
    staying.iter().map(|own| (own.name.clone(), limit(&own.name))).into_map()
}

impl View<'_> {
    fn names(&self, slot: &SlotName) -> bool {
        self.named.contains(slot.as_str())
    }
}

impl OwnSlot<'_> {
    /// Bytes that it retains behind this position.
    #[must_use]
    pub fn retained(&self, end: Lsn) -> u64 {
        self.slot.restart.map_or(0, |from| end.bytes_beyond(from))
    }
}

impl Volume {
    /// With less than this free, no slot may retain anything: 5 percent, and at least 8 segments.
    #[must_use]
    pub fn limit(self, segment: u64) -> u64 {
        (self.size / 20).max(8 * segment)
    }
}

impl Members {
    /// The slots of all nodes but this one.
    #[must_use]
    pub fn others(&self, own: &NodeName) -> BTreeMap<SlotName, &NodeName> {
        let others = self.nodes.iter().chain(&self.instances).filter(|node| *node != own);
        others.map(|node| (SlotName::of(node), node)).into_map()
    }
}

impl Step {
    /// The slot that is touched.
    #[must_use]
    pub fn slot(&self) -> &SlotName {
        match self {
            Step::Create(name)
            | Step::Drop(name, _)
            | Step::Keep(name)
            | Step::Advance(name, _)
            | Step::Release(name, _)
            | Step::GiveUp { name, .. } => name,
        }
    }
}

impl fmt::Display for Step {
    /// What is done, without values that change: it also tells whether this was tried before.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Create(name) => write!(f, "create the replication slot {name}"),
            Step::Drop(name, Why::Unused) => write!(f, "drop the replication slot {name}: slots are not used"),
            Step::Drop(name, Why::Lost) => write!(f, "drop the replication slot {name}: the server invalidated it"),
            Step::Drop(name, Why::Left) => write!(f, "drop the replication slot {name}: it belongs to no other node"),
            Step::Keep(name) => write!(f, "remove the replication slot {name}"),
            Step::Advance(name, _) => write!(f, "advance the replication slot {name}"),
            Step::Release(name, _) => {
                write!(f, "end the process that the server has taken the replication slot {name} from")
            }
            Step::GiveUp { name, .. } => write!(f, "give up the replication slot {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MB: u64 = 1 << 20;
    const SEGMENT: u64 = 16 * MB;
    const GB: u64 = 1 << 30;

    fn node(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    fn name(of: &str) -> SlotName {
        SlotName::of(&node(of))
    }

    fn slot(of: &str, restart: u64) -> Slot {
        let name = name(of).to_string();
        Slot {
            name,
            lasting_physical: true,
            user: None,
            restart: Some(Lsn(restart)),
            lost: false,
            idled_out: false,
            revoked: false,
        }
    }

    fn active(slot: Slot) -> Slot {
        Slot { user: Some(42), ..slot }
    }

    /// srv1 with bounded slots, in a cluster of three; its WAL ends at 10 GB.
    #[derive(Clone, Debug)]
    struct Case {
        role: Role,
        used: bool,
        bounded: bool,
        volume: Option<Volume>,
        slots: Vec<Slot>,
        named: BTreeSet<String>,
        members: Option<Members>,
        flushed: BTreeMap<NodeName, Lsn>,
        left_for: BTreeMap<SlotName, Duration>,
        look: Option<(Hold, Lsn)>,
        gave_up: Option<Duration>,
    }

    impl Case {
        fn new(role: Role, slots: &[Slot]) -> Case {
            let three = BTreeSet::from(["srv1", "srv2", "srv3"].map(node));
            Case {
                role,
                used: true,
                bounded: true,
                volume: None,
                slots: slots.to_vec(),
                named: BTreeSet::new(),
                members: Some(Members { nodes: three.clone(), instances: three }),
                flushed: BTreeMap::new(),
                left_for: BTreeMap::new(),
                look: None,
                gave_up: None,
            }
        }

        fn unbounded(role: Role, free: u64, slots: &[Slot]) -> Case {
            Case { bounded: false, volume: Some(Volume { free, size: 100 * GB }), ..Case::new(role, slots) }
        }

        fn plan(&self) -> Vec<Step> {
            let own = node("srv1");
            plan(&View {
                own: &own,
                role: self.role,
                used: self.used,
                bounded: self.bounded,
                volume: self.volume,
                end: Lsn(10 * GB),
                segment: SEGMENT,
                slots: &self.slots,
                named: &self.named,
                members: self.members.as_ref(),
                flushed: &self.flushed,
                left_for: &self.left_for,
                look: self
                    .look
                    .as_ref()
                    .map(|(hold, replayed_before)| Look { hold, replayed_before: *replayed_before }),
                gave_up: self.gave_up,
            })
        }
    }

    #[test]
    fn a_process_that_the_server_waits_for_is_told_once_more() {
        let stuck = Slot { revoked: true, user: Some(7), ..slot("srv2", 0) };
        let steps = Case::new(Role::Primary, &[stuck]).plan();
        assert!(
            steps.iter().any(|step| matches!(step, Step::Release(name, 7) if name.to_string() == "pgbaton_srv2")),
            "{steps:?}"
        );
    }

    #[test]
    fn auto_needs_a_bound() {
        for (wish, version, bounded, used) in [
            (UseSlots::Auto, 13, true, true),
            (UseSlots::Auto, 18, false, false),
            (UseSlots::Auto, 12, false, false),
            (UseSlots::Yes, 12, false, true),
            (UseSlots::Yes, 18, true, true),
            (UseSlots::No, 18, true, false),
        ] {
            assert_eq!(is_used(wish, version, bounded), used, "{wish:?} {version} {bounded}");
        }
    }

    #[test]
    fn where_nothing_bounds_a_slot_the_administrator_is_told() {
        let told = |wish, version, bounded| advice(wish, version, bounded).unwrap_or_default();
        assert!(told(UseSlots::Auto, 15, false).contains("max_slot_wal_keep_size is -1"));
        assert!(told(UseSlots::Auto, 12, false).contains("slots=yes"));
        assert!(told(UseSlots::Yes, 12, false).contains("given up"));
        assert_eq!(told(UseSlots::Auto, 13, true), "");
        assert_eq!(told(UseSlots::Yes, 13, true), "");
        assert_eq!(told(UseSlots::No, 13, false), "");
    }

    #[test]
    fn every_other_node_with_an_instance_gets_a_slot() {
        for role in [Role::Primary, Role::Standby] {
            let mut case = Case::new(role, &[]);
            assert_eq!(case.plan(), [Step::Create(name("srv2")), Step::Create(name("srv3"))]);
            case.members.as_mut().unwrap().instances.remove(&node("srv3"));
            assert_eq!(case.plan(), [Step::Create(name("srv2"))]);
            case.members = None;
            assert_eq!(case.plan(), []);
        }
    }

    #[test]
    fn nothing_is_done_when_all_slots_are_there() {
        for role in [Role::Primary, Role::Standby] {
            assert_eq!(Case::new(role, &[active(slot("srv2", 10 * GB)), slot("srv3", GB)]).plan(), []);
        }
    }

    #[test]
    fn unused_slots_are_removed_when_nobody_uses_them() {
        let foreign = Slot { name: "backup".to_owned(), ..slot("srv2", GB) };
        let case =
            Case { used: false, ..Case::new(Role::Primary, &[active(slot("srv2", GB)), slot("srv3", GB), foreign]) };
        assert_eq!(case.plan(), [Step::Drop(name("srv3"), Why::Unused)]);
    }

    #[test]
    fn what_the_server_invalidated_is_made_anew() {
        let lost = |of: &str| Slot { lost: true, restart: None, ..slot(of, 0) };
        let case = Case::new(Role::Primary, &[lost("srv2"), active(lost("srv3"))]);
        assert_eq!(case.plan(), [Step::Drop(name("srv2"), Why::Lost), Step::Create(name("srv2"))]);
    }

    #[test]
    fn the_slot_of_a_node_that_left_is_removed_after_a_while() {
        let slots = [slot("srv2", GB), slot("srv3", GB), slot("srv4", GB), slot("srv1", GB)];
        let mut case = Case::new(Role::Standby, &slots);
        let left = left_behind(&slots, case.members.as_ref().unwrap(), &node("srv1"));
        assert_eq!(left, BTreeSet::from([name("srv1"), name("srv4")]));
        assert_eq!(case.plan(), []);
        case.left_for = [(name("srv4"), GRACE - Duration::from_millis(1)), (name("srv1"), GRACE)].into();
        assert_eq!(case.plan(), [Step::Drop(name("srv1"), Why::Left)]);
        case.left_for = [(name("srv4"), GRACE), (name("srv3"), GRACE)].into();
        assert_eq!(case.plan(), [Step::Drop(name("srv4"), Why::Left)]);
        case.slots[2].user = Some(42);
        assert_eq!(case.plan(), []);
        case.slots[2].user = None;
        case.members = None;
        assert_eq!(case.plan(), []);
    }

    #[test]
    fn the_primary_moves_the_slot_of_a_standby_that_streams_without_it() {
        let mut case = Case::new(Role::Primary, &[slot("srv2", 9 * GB), active(slot("srv3", 9 * GB))]);
        case.flushed = [(node("srv2"), Lsn(10 * GB)), (node("srv3"), Lsn(10 * GB))].into();
        assert_eq!(case.plan(), [Step::Advance(name("srv2"), Lsn(10 * GB))]);
        case.slots[0].restart = Some(Lsn(10 * GB - SEGMENT + 1));
        assert_eq!(case.plan(), []);
    }

    #[test]
    fn a_standby_moves_slots_to_where_it_was_and_no_further_than_the_primary_allows() {
        let replayed_before = Lsn(9 * GB);
        let own = Lsn(9 * GB - DISTANCE * SEGMENT);
        for (hold, expected) in [
            ("none", vec![Step::Advance(name("srv2"), own), Step::Advance(name("srv3"), own)]),
            ("srv2=- srv3=-", vec![Step::Advance(name("srv2"), own), Step::Advance(name("srv3"), own)]),
            ("srv2=- srv3=1/0", vec![Step::Advance(name("srv2"), own), Step::Advance(name("srv3"), Lsn(4 * GB))]),
            ("srv2=0/1 srv3=-", vec![Step::Advance(name("srv3"), own)]),
            ("srv2=FF/0 srv3=0/1", vec![Step::Advance(name("srv2"), own)]),
        ] {
            let mut case = Case::new(Role::Standby, &[slot("srv2", 2 * GB), slot("srv3", 3 * GB)]);
            assert_eq!(case.plan(), []);
            case.look = Some((hold.parse().unwrap(), replayed_before));
            assert_eq!(case.plan(), expected, "{hold}");
        }
    }

    #[test]
    fn a_look_is_worth_it_when_a_slot_fell_behind_and_replay_went_on() {
        let end = Lsn(10 * GB);
        let (near, far) = (end.0 - LOOK_BEYOND * SEGMENT, end.0 - LOOK_BEYOND * SEGMENT - 1);
        let looks = |restart, looked_at| needs_look(&[slot("srv2", restart)], end, Lsn(looked_at), SEGMENT);
        assert!(looks(far, far));
        assert!(!looks(near, far));
        assert!(!looks(far, near));
        assert!(!needs_look(&[active(slot("srv2", far))], end, Lsn(far), SEGMENT));
    }

    #[test]
    fn an_unbounded_slot_is_given_up_before_the_volume_is_full() {
        let slots = [slot("srv2", 9 * GB), slot("srv3", 8 * GB)];
        let gives_up = |case: &Case| match case.plan().as_slice() {
            [Step::GiveUp { name, user, .. }] => Some((name.clone(), *user)),
            _ => None,
        };
        for role in [Role::Primary, Role::Standby] {
            let mut case = Case::unbounded(role, 5 * GB - 1, &slots);
            assert_eq!(gives_up(&case), Some((name("srv3"), None)));
            case.gave_up = Some(AFTER_GIVING_UP - Duration::from_millis(1));
            assert_eq!(gives_up(&case), None);
            case.gave_up = Some(AFTER_GIVING_UP);
            assert_eq!(gives_up(&case), Some((name("srv3"), None)));
            assert_eq!(gives_up(&Case { bounded: true, ..case.clone() }), None);
            case.volume = Some(Volume { free: 5 * GB, size: 100 * GB });
            assert_eq!(gives_up(&case), None);
        }
    }

    #[test]
    fn an_active_slot_is_given_up_only_if_it_is_what_fills_the_volume() {
        let gives_up = |slots: &[Slot]| Case::unbounded(Role::Primary, GB, slots).plan();
        let user = |steps: &[Step]| match steps {
            [Step::GiveUp { user, .. }] => *user,
            other => panic!("{other:?}"),
        };
        assert_eq!(user(&gives_up(&[active(slot("srv2", 4 * GB)), slot("srv3", 8 * GB)])), Some(42));
        assert_eq!(gives_up(&[active(slot("srv2", 6 * GB)), slot("srv3", 10 * GB - 1)]), []);
        assert_eq!(user(&gives_up(&[active(slot("srv2", 6 * GB)), slot("srv3", 8 * GB)])), None);
    }

    #[test]
    fn an_unbounded_slot_is_made_only_where_there_is_room() {
        let both = [Step::Create(name("srv2")), Step::Create(name("srv3"))];
        assert_eq!(Case::unbounded(Role::Primary, 10 * GB + 1, &[]).plan(), both);
        assert_eq!(Case::unbounded(Role::Primary, 10 * GB, &[]).plan(), []);
        assert_eq!(Case { volume: None, ..Case::unbounded(Role::Primary, 0, &[]) }.plan(), []);
        let small = Volume { free: 16 * SEGMENT, size: 20 * SEGMENT };
        assert_eq!(Case { volume: Some(small), ..Case::unbounded(Role::Primary, 0, &[]) }.plan(), []);
    }

    #[test]
    fn a_slot_that_logical_decoding_waits_for_is_never_just_removed() {
        let named = |case: Case| Case { named: ["pgbaton_srv3".to_owned()].into(), ..case };
        let kept = [Step::Keep(name("srv3"))];
        let unused = Case { used: false, ..Case::new(Role::Primary, &[slot("srv3", GB)]) };
        assert_eq!(named(unused).plan(), kept);
        let mut left = named(Case::new(Role::Primary, &[slot("srv2", GB), slot("srv3", GB)]));
        let two = BTreeSet::from(["srv1", "srv2"].map(node));
        left.members = Some(Members { nodes: two.clone(), instances: two });
        left.left_for = [(name("srv3"), GRACE)].into();
        assert_eq!(left.plan(), kept);
        left.named.clear();
        assert_eq!(left.plan(), [Step::Drop(name("srv3"), Why::Left)]);
        // It retains most; the next one is given up, and when there is no other one, nothing is.
        let full = named(Case::unbounded(Role::Primary, GB, &[slot("srv2", 9 * GB), slot("srv3", 8 * GB)]));
        assert!(matches!(&full.plan()[..], [Step::GiveUp { name: given_up, .. }] if *given_up == name("srv2")));
        let full = named(Case::unbounded(Role::Primary, GB, &[slot("srv3", 8 * GB)]));
        assert_eq!(full.plan(), kept);
        // Logical decoding waits for one that is invalid as well.
        let lost = named(Case::new(Role::Primary, &[slot("srv2", GB), Slot { lost: true, ..slot("srv3", GB) }]));
        assert_eq!(lost.plan(), [Step::Drop(name("srv3"), Why::Lost), Step::Create(name("srv3"))]);
    }

    #[test]
    fn what_the_administrators_timeout_took_is_made_anew_when_its_node_streams() {
        let idle = Slot { lost: true, idled_out: true, restart: None, ..slot("srv3", 0) };
        let anew = [Step::Drop(name("srv3"), Why::Lost), Step::Create(name("srv3"))];
        let mut case = Case::new(Role::Primary, &[active(slot("srv2", 10 * GB)), idle]);
        assert_eq!(case.plan(), []);
        case.flushed = [(node("srv3"), Lsn(10 * GB))].into();
        assert_eq!(case.plan(), anew);
        // On a standby nobody ever uses it.
        let standby = Case { role: Role::Standby, flushed: BTreeMap::new(), ..case };
        assert_eq!(standby.plan(), anew);
    }

    fn any_slot() -> impl Strategy<Value = Slot> {
        let names = proptest::sample::select(vec![
            "pgbaton_srv1",
            "pgbaton_srv2",
            "pgbaton_srv9",
            "pgbaton_",
            "pgbaton",
            "srv2",
            "backup",
            "pgbaton_SRV2",
            "",
        ]);
        let facts = (any::<bool>(), proptest::option::of(1..9_i32), proptest::option::of(0..11 * GB), any::<bool>());
        (names, facts).prop_map(|(name, (lasting_physical, user, restart, lost))| Slot {
            name: name.to_owned(),
            lasting_physical,
            user,
            restart: restart.map(Lsn),
            lost,
            idled_out: lost,
            revoked: lost,
        })
    }

    fn any_case() -> impl Strategy<Value = Case> {
        let slots = proptest::collection::vec(any_slot(), 0..6);
        let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), 0..20 * GB);
        (slots, flags, proptest::option::of(0..11 * GB)).prop_map(|(slots, (standby, used, bounded, old, free), at)| {
            let role = if standby { Role::Standby } else { Role::Primary };
            let left = if old { GRACE } else { Duration::ZERO };
            let mut case = Case { used, bounded, ..Case::unbounded(role, free, &slots) };
            case.left_for = ["srv1", "srv9"].map(|of| (name(of), left)).into();
            case.named = if old { ["pgbaton_srv2".to_owned()].into() } else { BTreeSet::new() };
            case.look = at.map(|at| ("srv2=1/0 srv3=-".parse().unwrap(), Lsn(at)));
            case.flushed = at.map(|at| (node("srv2"), Lsn(at))).into_iter().collect();
            case
        })
    }

    proptest! {
        /// "Slots that the agent did not make are never touched": what is there under the name is a lasting physical slot
        /// with the agent's prefix, and what is made was not there.
        #[test]
        fn no_step_touches_a_foreign_slot(case in any_case()) {
            for step in case.plan() {
                prop_assert!(step.slot().as_str().starts_with("pgbaton_"));
                let there: Vec<_> = case.slots.iter().filter(|slot| slot.name == step.slot().as_str()).collect();
                let is_create = matches!(step, Step::Create(_));
                prop_assert!(is_create || there.iter().any(|slot| slot.lasting_physical), "{step:?}");
            }
        }

        #[test]
        fn no_slot_is_moved_back_or_taken_from_its_user(case in any_case()) {
            for step in case.plan() {
                let there: Vec<_> = case.slots.iter().filter(|slot| slot.name == step.slot().as_str()).collect();
                match step {
                    Step::Advance(_, to) => prop_assert!(there.iter().any(|s| s.restart.is_some_and(|r| r < to) && s.user.is_none())),
                    Step::Drop(name, why) => {
                        prop_assert!(there.iter().any(|s| s.user.is_none()));
                        prop_assert!(why == Why::Lost || !case.named.contains(name.as_str()));
                    }
                    Step::GiveUp { .. } => prop_assert!(!case.bounded),
                    Step::Create(_) => prop_assert!(case.used),
                    Step::Keep(name) => prop_assert!(case.named.contains(name.as_str())),
                    Step::Release(_, user) => {
                        prop_assert!(there.iter().any(|s| s.revoked && s.user == Some(user)));
                    }
                }
            }
        }
    }
}
