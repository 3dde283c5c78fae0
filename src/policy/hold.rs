//! What does the primary tell the standbys about the members' slots?
//!
//! | the member's slot on the primary | the word |
//! |---|---|
//! | there, the member is connected and near | listed, not held |
//! | there, the member is connected and more than [`FAR`] segments behind | held at its position, rounded down |
//! | there, the member is away | held at its position |
//! | missing or invalidated | not listed |
//!
//! Each change is a call of a tool, so the word changes rarely: the position of a member that is connected is rounded
//! down to a multiple of [`COARSE`] segments, and one that is held is held until it has less than one segment to go.
//!
//! A member that is not listed has no slot on the primary. If it asked for one it could not stream, so it does not
//! ask; see [`super::primary_slot`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::slots::{View, own_slots};
use crate::types::{Gather, Lsn, NodeName, SlotName};

/// Segments that a connected member may be behind without being held.
const FAR: u64 = 2;

/// Segments to which the position of a connected member is rounded.
const COARSE: u64 = 16;

/// The members that have a slot on the primary, with the position at which their WAL is to be held, if it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold(BTreeMap<NodeName, Option<Lsn>>);

impl Hold {
    /// Whether the primary has a slot for the node.
    #[must_use]
    pub fn lists(&self, node: &NodeName) -> bool {
        self.0.contains_key(node)
    }

    /// The nodes whose WAL is to be held, and from where on.
    pub fn held(&self) -> impl Iterator<Item = (&NodeName, Lsn)> {
        self.0.iter().filter_map(|(node, at)| Some((node, (*at)?)))
    }
}

/// The word of a primary; `before` is its last one.
#[must_use]
pub fn hold(view: &View<'_>, before: &Hold) -> Hold {
    let members = view.members.map(|members| members.others(view.own)).unwrap_or_default();
    let word = |own: &super::slots::OwnSlot<'_>| {
        let node = *members.get(&own.name)?;
        let restart = own.slot.restart.filter(|_| !own.slot.lost)?;
        let connected = view.flushed.get(node).copied().or(own.slot.user.map(|_| restart));
        let was_held = before.0.get(node).is_some_and(Option::is_some);
        Some((node.clone(), held_at(view, restart, connected, was_held)))
    };
    Hold(own_slots(view.slots).iter().filter_map(word).into_map())
}

/// Where the WAL of a member is held. `connected` is what a connected member has.
fn held_at(view: &View<'_>, restart: Lsn, connected: Option<Lsn>, was_held: bool) -> Option<Lsn> {
    let Some(flushed) = connected else { return Some(restart) };
    let position = restart.max(flushed);
    let tolerance = if was_held { 1 } else { FAR };
    let far = view.end.bytes_beyond(position) > tolerance * view.segment;
    let step = (COARSE * view.segment).max(1);
    far.then(|| Lsn(position.0 / step * step))
}

/// The nodes whose slots are on the standby and on hold at the primary, or unknown there.
#[must_use]
pub fn is_away(slot: &SlotName, hold: &Hold) -> bool {
    !hold.0.iter().any(|(node, at)| at.is_none() && SlotName::of(node) == *slot)
}

/// `none`, or `<node>=<lsn or ->` with blanks between. A node's name may have `=` in it, an LSN has not.
impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |(node, at): (&NodeName, &Option<Lsn>)| {
            format!("{node}={}", at.map_or("-".to_owned(), |at| at.to_string()))
        };
        let words: Vec<_> = self.0.iter().map(word).collect();
        f.write_str(if words.is_empty() { "none" } else { "" })?;
        f.write_str(&words.join(" "))
    }
}

impl FromStr for Hold {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "none" {
            return Ok(Hold::default());
        }
        let words: Result<Vec<_>, ()> = text.split(' ').map(word).collect();
        words.map(|words| Hold(words.into_iter().into_map()))
    }
}

fn word(text: &str) -> Result<(NodeName, Option<Lsn>), ()> {
    let (node, at) = text.rsplit_once('=').ok_or(())?;
    let at = if at == "-" { None } else { Some(at.parse().map_err(drop)?) };
    Ok((node.parse().map_err(drop)?, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::slots::{Members, Slot};
    use crate::types::Role;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const SEGMENT: u64 = 16 << 20;
    const END: u64 = 1000 * SEGMENT;

    fn node(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    fn slot(of: &str, restart: u64, user: Option<i32>) -> Slot {
        let name = SlotName::of(&node(of)).to_string();
        Slot {
            name,
            lasting_physical: true,
            user,
            restart: Some(Lsn(restart)),
            lost: false,
            idled_out: false,
            revoked: false,
        }
    }

    fn word_of(slots: &[Slot], flushed: &[(&str, u64)], before: &str) -> String {
        let (own, nodes) = (node("srv1"), BTreeSet::from(["srv1", "srv2", "srv3"].map(node)));
        let flushed = flushed.iter().map(|(name, at)| (node(name), Lsn(*at))).collect();
        let members = Members { nodes: nodes.clone(), instances: nodes };
        let view = View {
            own: &own,
            role: Role::Primary,
            used: true,
            bounded: true,
            volume: None,
            end: Lsn(END),
            segment: SEGMENT,
            slots,
            named: &BTreeSet::new(),
            members: Some(&members),
            flushed: &flushed,
            left_for: &BTreeMap::new(),
            look: None,
            gave_up: None,
        };
        hold(&view, &before.parse().unwrap()).to_string()
    }

    #[test]
    fn a_member_that_is_connected_and_near_is_listed_and_one_that_is_away_is_held() {
        let slots = [slot("srv2", END - 2 * SEGMENT, Some(7)), slot("srv3", 0x500_0000, None), slot("srv9", 5, None)];
        assert_eq!(word_of(&slots, &[], "none"), "srv2=- srv3=0/5000000");
        let streams_without_it = [("srv3", END)];
        assert_eq!(word_of(&slots, &streams_without_it, "none"), "srv2=- srv3=-");
        assert_eq!(word_of(&[], &streams_without_it, "none"), "none");
        let lost = Slot { lost: true, ..slot("srv2", 5, None) };
        assert_eq!(word_of(&[lost], &[], "none"), "none");
    }

    #[test]
    fn a_lagging_member_is_held_at_a_coarse_position() {
        let lagging = |at: u64| word_of(&[slot("srv2", at, Some(7))], &[], "none");
        let coarse = format!("srv2={}", Lsn(COARSE * SEGMENT));
        assert_eq!(lagging(COARSE * SEGMENT), coarse);
        assert_eq!(lagging(2 * COARSE * SEGMENT - 1), coarse);
        assert_eq!(lagging(END - FAR * SEGMENT), "srv2=-");
        assert_ne!(lagging(END - FAR * SEGMENT - 1), "srv2=-");
    }

    #[test]
    fn what_is_held_is_held_until_it_has_nearly_caught_up() {
        let word = |at: u64, before: &str| word_of(&[slot("srv2", at, Some(7))], &[], before);
        assert_eq!(word(END - FAR * SEGMENT, "srv2=-"), "srv2=-");
        assert_ne!(word(END - FAR * SEGMENT, "srv2=0/5"), "srv2=-");
        assert_eq!(word(END - SEGMENT, "srv2=0/5"), "srv2=-");
    }

    #[test]
    fn who_is_away_by_the_word() {
        let hold: Hold = "srv2=- srv3=0/5".parse().unwrap();
        let away = |name: &str| is_away(&SlotName::of(&node(name)), &hold);
        assert_eq!((away("srv2"), away("srv3"), away("srv4")), (false, true, true));
        assert_eq!((hold.lists(&node("srv3")), hold.lists(&node("srv4"))), (true, false));
    }

    #[test]
    fn words_are_read_as_they_were_written() {
        for text in ["none", "srv2=-", "a=b=0/5000000 srv10=-"] {
            assert_eq!(text.parse::<Hold>().unwrap().to_string(), text);
        }
        for text in ["", " ", "srv2", "srv2=", "srv2=5", "=-", "srv2=- ", "srv2=-  srv3=-", "none srv2=-"] {
            assert!(text.parse::<Hold>().is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(text in "(none|srv2|=|-| |[0-9A-F/])*") {
            let _ = text.parse::<Hold>();
        }
    }
}
