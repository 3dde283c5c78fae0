//! What there is to choose, and which choices do not go together. The first word of each choice is the plain one.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// One choice of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Profile {
    pub nodes: Nodes,
    pub wal: Wal,
    pub slots: Slots,
    pub guard: Guard,
    pub rejoin: Rejoin,
    pub follow: Follow,
    pub commits: Commits,
    pub role: Role,
    pub layout: Layout,
    pub archive: Archive,
    pub delay: Delay,
    pub cascade: Cascade,
    pub constraint: Constraint,
}

/// How many nodes there are; two have a quorum device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Nodes {
    #[default]
    Three,
    Two,
    Five,
}

/// `wal_keep_size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Wal {
    #[default]
    Nothing,
    Much,
}

/// The agent's slots: none, `auto` with `max_slot_wal_keep_size`, or `yes` without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Slots {
    #[default]
    Off,
    Bounded,
    Yes,
}

/// What `pg_rewind` needs: data checksums, or `wal_log_hints` without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Guard {
    #[default]
    Checksums,
    Hints,
}

/// The agent's `rejoin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Rejoin {
    #[default]
    Rewind,
    Clone,
}

/// The agent's `follow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Follow {
    #[default]
    Conninfo,
    Promoted,
}

/// Whom a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Commits {
    #[default]
    Alone,
    /// `ANY 1 (…)`.
    Any,
    /// `FIRST 1 (…)`.
    First,
}

/// Who the agent is to PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    #[default]
    Superuser,
    /// A role of its own that is a member of `pg_monitor`, and of nothing else.
    Monitor,
    /// The same, let in by a password, which is in the password file of the system user.
    Password,
}

/// Where the instance's files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Layout {
    /// The configuration is in the data directory.
    #[default]
    Together,
    /// As Debian has it, and as PAF's documentation shows it: `pgdata` is the data, `start_opts` name the configuration.
    Debian,
    /// As Debian has it: `pgdata` is the directory of the configuration, `datadir` the data.
    DebianByDatadir,
    /// `pg_wal` is a link, and there is a tablespace elsewhere.
    Linked,
}

/// Whether WAL is archived, and restored from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Archive {
    #[default]
    No,
    /// By the primary, to a place that all nodes have.
    Primary,
    /// `archive_mode = always`: by every node.
    Always,
}

/// Whether one standby is behind on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Delay {
    #[default]
    No,
    Last,
}

/// Whether one standby follows another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cascade {
    #[default]
    No,
    Last,
}

/// What keeps the last node from being promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Constraint {
    #[default]
    No,
    /// A location rule, made on purpose.
    Rule,
    /// A ban that somebody has forgotten.
    Ban,
}

impl Nodes {
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Three => 3,
            Self::Five => 5,
        }
    }
}

impl Profile {
    /// Why these choices cannot be had together, when they cannot.
    pub(crate) fn clash(&self) -> Option<&'static str> {
        let is_small = self.nodes == Nodes::Two;
        let (has_own_role, is_cascaded) = (self.has_role_of_its_own(), self.cascade == Cascade::Last);
        let table = [
            (has_own_role && self.slots != Slots::Off, "slots need a superuser"),
            (has_own_role && self.follow == Follow::Promoted, "a change of primary_conninfo needs a superuser"),
            (is_small && is_cascaded, "a cascade needs three nodes"),
            (is_cascaded && self.follow == Follow::Promoted, "all follow the promoted node then, and nobody a standby"),
            (is_cascaded && self.commits != Commits::Alone, "a cascaded standby acknowledges no commit"),
            (is_cascaded && self.slots != Slots::Off, "the primary's slot of a cascaded standby is never used"),
            (is_small && self.constraint != Constraint::No, "with two nodes nobody is left for a failover"),
            (is_cascaded && self.constraint != Constraint::No, "the cascaded standby is not promoted anyhow"),
        ];
        table.into_iter().find_map(|(is_so, reason)| is_so.then_some(reason))
    }

    /// Whether it is a matter of PostgreSQL and its commits alone, on three nodes.
    pub(crate) fn is_for_any_agent(&self) -> bool {
        *self == Self { wal: self.wal, guard: self.guard, commits: self.commits, ..Self::default() }
    }

    /// Whether the agent is no superuser.
    pub(crate) fn has_role_of_its_own(&self) -> bool {
        self.role != Role::Superuser
    }

    pub(crate) fn is_synchronous(&self) -> bool {
        self.commits != Commits::Alone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_profile_can_be_had() {
        assert_eq!(Profile::default().clash(), None);
        assert!(!Profile::default().is_synchronous());
    }

    #[test]
    fn what_does_not_go_together_says_why() {
        let slots = Profile { role: Role::Monitor, slots: Slots::Yes, ..Profile::default() };
        assert_eq!(slots.clash(), Some("slots need a superuser"));
        let small = Profile { nodes: Nodes::Two, constraint: Constraint::Ban, ..Profile::default() };
        assert!(small.clash().is_some_and(|reason| reason.contains("failover")));
        let cascade = |follow| Profile { cascade: Cascade::Last, follow, ..Profile::default() };
        assert!(cascade(Follow::Promoted).clash().is_some());
        assert_eq!(cascade(Follow::Conninfo).clash(), None);
    }
}
