//! What does a standby do with its `primary_slot_name`?
//!
//! | the value | the primary has this node's slot | step |
//! |---|---|---|
//! | empty | yes | set it to the node's own slot |
//! | empty | no, or not known | none: a standby that asks for a slot that is not there cannot stream |
//! | its own slot, and nothing streams for [`PATIENCE`] | no | take it back, so that it streams without |
//! | its own slot | else | none |
//! | another slot of the agent's, copied with another node's files | yes | set it to the node's own slot |
//! | the same | no, or not known | take it back: it never works |
//! | any other | | none: an administrator set it |
//!
//! Where slots are not used, a slot of the agent's is taken back.

use std::time::Duration;

use crate::types::SlotName;

/// How long a standby tries in vain to stream before it gives its slot up. The WAL receiver tries every 5 seconds
/// (`wal_retrieve_retry_interval`), and a new primary makes missing slots in its first monitor.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a standby knows of its slot.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// `primary_slot_name`.
    pub value: &'a str,
    /// The slot of this node.
    pub own: &'a SlotName,
    /// Whether slots are used.
    pub used: bool,
    /// How long no WAL receiver has been streaming.
    pub unfed_for: Duration,
}

/// What is done with `primary_slot_name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Keep,
    /// Set it to the node's own slot.
    Set,
    /// Take it back.
    Reset,
}

/// Whether the step depends on what the primary has.
#[must_use]
pub fn needs_the_primarys_word(view: &View<'_>) -> bool {
    next(view, Some(true)) != next(view, Some(false))
}

/// The step; `provided` is whether the primary has this node's slot, if that is known.
#[must_use]
pub fn next(view: &View<'_>, provided: Option<bool>) -> Step {
    let is_the_agents = SlotName::recognized(view.value).is_some();
    match provided {
        _ if !view.value.is_empty() && !is_the_agents => Step::Keep,
        _ if !view.used => {
            if is_the_agents {
                Step::Reset
            } else {
                Step::Keep
            }
        }
        Some(false) if view.value == view.own.as_str() && view.unfed_for >= PATIENCE => Step::Reset,
        _ if view.value == view.own.as_str() => Step::Keep,
        Some(true) => Step::Set,
        Some(false) | None if is_the_agents => Step::Reset,
        Some(false) | None => Step::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::Step::{Keep, Reset, Set};
    use super::*;

    const NOT_LONG: Duration = Duration::from_secs(59);

    fn steps(value: &str, used: bool, unfed_for: Duration) -> [Step; 3] {
        let own = SlotName::of(&"srv1".parse().unwrap());
        let view = View { value, own: &own, used, unfed_for };
        let steps = [Some(true), Some(false), None].map(|provided| next(&view, provided));
        assert_eq!(needs_the_primarys_word(&view), steps[0] != steps[1]);
        steps
    }

    #[test]
    fn every_value_has_its_step() {
        for unfed_for in [NOT_LONG, PATIENCE] {
            assert_eq!(steps("", true, unfed_for), [Set, Keep, Keep]);
            assert_eq!(steps("pgbaton_srv2", true, unfed_for), [Set, Reset, Reset]);
            assert_eq!(steps("mine", true, unfed_for), [Keep; 3]);
            assert_eq!(steps("", false, unfed_for), [Keep; 3]);
            assert_eq!(steps("mine", false, unfed_for), [Keep; 3]);
            assert_eq!(steps("pgbaton_srv1", false, unfed_for), [Reset; 3]);
            assert_eq!(steps("pgbaton_srv2", false, unfed_for), [Reset; 3]);
        }
        assert_eq!(steps("pgbaton_srv1", true, NOT_LONG), [Keep; 3]);
        assert_eq!(steps("pgbaton_srv1", true, PATIENCE), [Keep, Reset, Keep]);
    }
}
