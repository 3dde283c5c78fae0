//! What a profile means for PostgreSQL, the agent and the cluster.

use super::{Archive, Cascade, Commits, Delay, Follow, Guard, Layout, Profile, Rejoin, Slots, Wal};

/// The role of its own, for an agent that is no superuser.
pub(crate) const MONITOR_ROLE: &str = "pgbaton";
/// Its password, where it has one. A password file needs a backslash before the colon.
pub(crate) const PASSWORD: &str = "a:b c";
pub(crate) const PASSWORD_IN_FILE: &str = "a\\:b c";
/// What all nodes have, on disk: the place for archived WAL.
pub(crate) const ARCHIVE: &str = "/var/lib/archive";
/// A file that is there already is no error when it is the same one; PostgreSQL's documentation demands this with `always`.
const ARCHIVE_COMMAND: &str = "cmp --silent %p /var/lib/archive/%f || \
    { test ! -e /var/lib/archive/%f && cp %p /var/lib/archive/%f.part-$$ && mv /var/lib/archive/%f.part-$$ /var/lib/archive/%f; }";
const RESTORE_COMMAND: &str = "cp /var/lib/archive/%f %p";

impl Profile {
    /// Lines of that node's `postgresql.conf`, `nodes` being all of them.
    pub(crate) fn lines(&self, nodes: &[&str], node: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let mut add = |is_wanted: bool, line: &str| {
            if is_wanted {
                lines.push(line.to_owned());
            }
        };
        let is_last = nodes.last() == Some(&node);
        add(self.wal == Wal::Much, "wal_keep_size = '512MB'");
        add(self.slots == Slots::Bounded, "max_slot_wal_keep_size = '1GB'");
        add(self.guard == Guard::Hints, "wal_log_hints = on");
        add(self.delay == Delay::Last && is_last, "recovery_min_apply_delay = '1min'");
        if let Some(names) = self.synchronous_names(nodes, node) {
            add(true, &format!("synchronous_standby_names = '{names}'"));
        }
        if let Some(mode) = self.archive_mode() {
            add(true, &format!("archive_mode = {mode}"));
            add(true, &format!("archive_command = '{ARCHIVE_COMMAND}'"));
            add(true, &format!("restore_command = '{RESTORE_COMMAND}'"));
        }
        lines
    }

    fn synchronous_names(&self, nodes: &[&str], node: &str) -> Option<String> {
        let method = match self.commits {
            Commits::Alone => return None,
            Commits::Any => "ANY",
            Commits::First => "FIRST",
        };
        let others = nodes.iter().filter(|other| **other != node).map(|other| format!("\"{other}\""));
        Some(format!("{method} 1 ({})", others.collect::<Vec<_>>().join(", ")))
    }

    fn archive_mode(&self) -> Option<&'static str> {
        match self.archive {
            Archive::No => None,
            Archive::Primary => Some("on"),
            Archive::Always => Some("always"),
        }
    }

    /// Whom that node follows, when it is not the primary: the last one of a cascade follows the last but one.
    pub(crate) fn upstream<'a>(&self, nodes: &[&'a str], node: &str) -> Option<&'a str> {
        let [.., before, last] = nodes else { return None };
        (self.cascade == Cascade::Last && *last == node).then_some(*before)
    }

    /// The agent's parameters that are not the example's, `data` being the data directory and `configuration` where Debian has
    /// `postgresql.conf`.
    pub(crate) fn parameters(&self, data: &str, configuration: &str) -> Vec<String> {
        let mut parameters = Vec::new();
        let mut add = |is_wanted: bool, parameter: String| {
            if is_wanted {
                parameters.push(parameter);
            }
        };
        add(self.slots == Slots::Yes, "slots=yes".to_owned());
        add(self.rejoin == Rejoin::Clone, "rejoin=clone".to_owned());
        add(self.follow == Follow::Promoted, "follow=promoted".to_owned());
        add(self.has_role_of_its_own(), format!("pguser={MONITOR_ROLE}"));
        add(self.layout == Layout::Debian, format!("start_opts=\"-c config_file={configuration}/postgresql.conf\""));
        add(self.layout == Layout::DebianByDatadir, format!("datadir={data}"));
        parameters
    }

    pub(crate) fn has_configuration_outside(&self) -> bool {
        matches!(self.layout, Layout::Debian | Layout::DebianByDatadir)
    }

    /// Whether a standby applies late.
    pub(crate) fn is_delayed(&self) -> bool {
        self.delay != Delay::No
    }

    /// Whether the agent has slots of its own.
    pub(crate) fn uses_slots(&self) -> bool {
        self.slots != Slots::Off
    }

    /// How many standbys may be promoted at all: those that stream from the primary itself.
    pub(crate) fn promotable(&self, standbys: usize) -> usize {
        standbys - usize::from(self.cascade == Cascade::Last).min(standbys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [&str; 3] = ["a", "b", "c"];

    fn lines(text: &str, node: &str) -> Vec<String> {
        text.parse::<Profile>().unwrap().lines(&NODES, node)
    }

    #[test]
    fn the_plain_profile_sets_nothing() {
        assert!(lines("plain", "a").is_empty());
        assert!(Profile::default().parameters("/d", "/c").is_empty());
    }

    #[test]
    fn a_node_never_waits_for_itself() {
        assert_eq!(lines("commits=first", "b"), ["synchronous_standby_names = 'FIRST 1 (\"a\", \"c\")'"]);
    }

    #[test]
    fn one_standby_alone_is_delayed_or_cascaded() {
        assert!(lines("delay=last", "b").is_empty());
        assert_eq!(lines("delay=last", "c"), ["recovery_min_apply_delay = '1min'"]);
        let cascade: Profile = "cascade=last".parse().unwrap();
        assert_eq!([cascade.upstream(&NODES, "b"), cascade.upstream(&NODES, "c")], [None, Some("b")]);
        assert_eq!(cascade.promotable(2), 1);
    }

    #[test]
    fn debians_layout_is_told_to_the_agent_in_two_ways() {
        let told = |text: &str| text.parse::<Profile>().unwrap().parameters("/data", "/etc/pg");
        assert_eq!(told("layout=debian"), ["start_opts=\"-c config_file=/etc/pg/postgresql.conf\""]);
        assert_eq!(told("layout=debian-by-datadir"), ["datadir=/data"]);
    }
}
