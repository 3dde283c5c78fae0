//! The variables that describe a transition ("Pacemaker Explained", clone notifications).

use super::Environment;
use crate::types::{Gather, NodeName};

/// Before or after the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before.
    Pre,
    /// After.
    Post,
}

/// The operation that a notification is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Instances start.
    Start,
    /// Instances stop.
    Stop,
    /// An instance is promoted.
    Promote,
    /// An instance is demoted.
    Demote,
}

/// What Pacemaker plans. The lists describe the cluster *before* the transition.
///
/// They are whole in `notify` actions only. Others have them, too, which is not promised; where a node is fenced in the
/// same transition, their list of stops has that node's alone (seen, 2.1.5: `pe__order_notifs_after_fencing` collects what
/// it knows so far, and the first list that an action gets stays).
#[derive(Clone, Debug, Default)]
pub struct Notification {
    /// When and of what, in a `notify` action.
    pub event: Option<(Moment, Operation)>,
    /// Nodes with a running unpromoted instance, in older versions all with a running instance.
    pub active: Vec<NodeName>,
    /// Nodes with a promoted instance.
    pub promoted: Vec<NodeName>,
    /// Nodes with an unpromoted instance.
    pub unpromoted: Vec<NodeName>,
    /// Nodes on which an instance is started.
    pub start: Vec<NodeName>,
    /// Nodes on which an instance is stopped.
    pub stop: Vec<NodeName>,
    /// Nodes on which an instance is promoted.
    pub promote: Vec<NodeName>,
    /// Nodes on which an instance is demoted.
    pub demote: Vec<NodeName>,
}

impl Notification {
    pub(super) fn read(environment: &Environment) -> Self {
        let list = |name: &str| environment.meta(&format!("notify_{name}_uname")).map(nodes);
        let either = |new, old| list(new).or_else(|| list(old)).unwrap_or_default();
        Notification {
            event: moment(environment).zip(operation(environment)),
            active: list("active").unwrap_or_default(),
            promoted: either("promoted", "master"),
            unpromoted: either("unpromoted", "slave"),
            start: list("start").unwrap_or_default(),
            stop: list("stop").unwrap_or_default(),
            promote: list("promote").unwrap_or_default(),
            demote: list("demote").unwrap_or_default(),
        }
    }

    /// The nodes whose instance runs when the planned promotion comes: those that run now or are
    /// started in this transition, less those that are stopped in it for good.
    #[must_use]
    pub fn present_at_promotion(&self) -> Vec<NodeName> {
        let running = [&self.active, &self.promoted, &self.unpromoted].into_iter().flatten();
        let staying = running.filter(|node| !self.stop.contains(node));
        staying.chain(&self.start).cloned().into_set().into_iter().collect()
    }
}

fn moment(environment: &Environment) -> Option<Moment> {
    match environment.meta("notify_type")? {
        "pre" => Some(Moment::Pre),
        "post" => Some(Moment::Post),
        _ => None,
    }
}

fn operation(environment: &Environment) -> Option<Operation> {
    match environment.meta("notify_operation")? {
        "start" => Some(Operation::Start),
        "stop" => Some(Operation::Stop),
        "promote" => Some(Operation::Promote),
        "demote" => Some(Operation::Demote),
        _ => None,
    }
}

/// Words that cannot be node names are left out.
fn nodes(list: &str) -> Vec<NodeName> {
    list.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Vec<NodeName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn who_is_present_when_the_primary_is_restarted() {
        let notification = Notification::read(&Environment::from([
            ("OCF_RESKEY_CRM_meta_notify_type", "pre"),
            ("OCF_RESKEY_CRM_meta_notify_operation", "promote"),
            ("OCF_RESKEY_CRM_meta_notify_active_uname", "srv1 srv2 srv3"),
            ("OCF_RESKEY_CRM_meta_notify_master_uname", "srv1"),
            ("OCF_RESKEY_CRM_meta_notify_stop_uname", "srv1 srv3"),
            ("OCF_RESKEY_CRM_meta_notify_start_uname", "srv1"),
        ]));
        assert_eq!(notification.event, Some((Moment::Pre, Operation::Promote)));
        assert_eq!(notification.promoted, named(&["srv1"]));
        assert_eq!(notification.present_at_promotion(), named(&["srv1", "srv2"]));
    }

    #[test]
    fn an_empty_list_is_one_blank() {
        let given = Notification::read(&Environment::from([
            ("OCF_RESKEY_CRM_meta_notify_active_uname", "srv1"),
            ("OCF_RESKEY_CRM_meta_notify_stop_uname", " "),
        ]));
        assert_eq!(given.stop, named(&[]));
    }
}
