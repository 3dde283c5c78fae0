//! What is a running instance doing, in words for people, and is it degraded?
//!
//! | the instance | words | degraded |
//! |---|---|---|
//! | standby, streams | `streaming`, or `catching up` far behind | no |
//! | standby, replay paused | `paused` | yes |
//! | standby, needs WAL that the primary has no more | `catching up from its archive`, as long as that may bring it | yes |
//! | standby, does not stream | `not streaming`, or what keeps it from following | yes |
//! | standby, started without an archive that hung | the same, and `without its archive` | yes |
//! | standby, streams from its own server | `streaming from itself` | yes |
//! | does not let the agent in | `refuses the agent` | yes |
//! | is being rewound or cloned | `rewinding`, `cloning 35 %` | yes |
//! | recovers and takes no connections yet, after that, after a crash or at a start | `recovering` | yes |
//! | primary, every other node's standby streams | `primary` | no |
//! | primary, fewer do | `primary, 1 of 2 standbys` | yes |
//! | primary, none does | `alone` | yes |
//! | primary that a person has promoted | `promoted by hand` | yes |

use crate::types::Role;

/// A standby that is further behind than this is catching up: four WAL segments of the usual size.
const FAR: u64 = 64 << 20;

/// What an instance is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// As the instance.
    pub role: Role,
    /// In few words, for the node attribute.
    pub words: String,
    /// Why the instance is degraded, with the cure, if it is. The same as long as it is so for the same reason: no byte counts.
    pub degraded: Option<String>,
}

impl Condition {
    /// A standby that follows, or should.
    #[must_use]
    pub fn of_standby(streams: bool, paused: bool, behind: u64) -> Self {
        let (words, degraded) = match (paused, streams) {
            (true, _) => ("paused", Some("its replay is paused; SELECT pg_wal_replay_resume() goes on")),
            (_, false) => ("not streaming", Some("it does not stream from the primary; PostgreSQL's log says why")),
            _ if behind > FAR => ("catching up", None),
            _ => ("streaming", None),
        };
        Self::standby(words, degraded.map(str::to_owned))
    }

    /// A standby that cannot follow, in words, and why.
    #[must_use]
    pub fn standby(words: impl Into<String>, degraded: Option<String>) -> Self {
        Condition { role: Role::Standby, words: words.into(), degraded }
    }

    /// A standby whose WAL the primary has no more, and which its archive brings.
    #[must_use]
    pub fn catching_up_from_archive() -> Self {
        let reason = "the primary has no more the WAL that it needs; it is left to catch up by its restore_command";
        Self::standby("catching up from its archive", Some(reason.to_owned()))
    }

    /// The same without its archive.
    #[must_use]
    pub fn too_far_behind() -> Self {
        let reason = "the primary has no more the WAL that it needs".to_owned();
        Self::standby("too far behind", Some(reason)).without_archive()
    }

    /// The same of a standby that was started without its archive.
    #[must_use]
    pub fn without_archive(self) -> Self {
        let reason = "restore_command did not answer, and it was started without its archive; when that works again, restart \
             the resource on this node";
        let degraded = self.degraded.map_or(reason.to_owned(), |first| format!("{first}; {reason}"));
        Condition { words: format!("{}, without its archive", self.words), degraded: Some(degraded), ..self }
    }

    /// An instance that recovers and takes no connections yet.
    #[must_use]
    pub fn recovering(role: Role) -> Self {
        let reason = "it recovers and takes no connections yet; PostgreSQL's log says how far it is";
        Condition { role, words: "recovering".to_owned(), degraded: Some(reason.to_owned()) }
    }

    /// A standby whose upstream is its own server.
    #[must_use]
    pub fn own_upstream() -> Self {
        let reason = "it streams from itself, so it gets nothing: the address in primary_conninfo is this node's; \
             reject replication from 'samehost' in pg_hba.conf";
        Self::standby("streaming from itself", Some(reason.to_owned()))
    }

    /// An instance that is alive and does not let the agent in.
    #[must_use]
    pub fn shut_out(role: Role, why: &str) -> Self {
        let degraded = format!("the server refuses the agent, which sees nothing of it: {why}");
        Condition { role, words: "refuses the agent".to_owned(), degraded: Some(degraded) }
    }

    /// A primary that is not the cluster's, in words, and why.
    #[must_use]
    pub fn primary(words: &str, degraded: String) -> Self {
        Condition { role: Role::Primary, words: words.to_owned(), degraded: Some(degraded) }
    }

    /// A primary with that many streaming standbys, of those that the other nodes in the cluster could have.
    #[must_use]
    pub fn of_primary(streaming: usize, others: usize) -> Self {
        let lack = format!("{streaming} of {others} standbys");
        let degraded = (streaming < others).then(|| format!("{lack} stream from this primary"));
        let words = match (streaming, &degraded) {
            (_, None) => "primary".to_owned(),
            (0, Some(_)) => "alone".to_owned(),
            (_, Some(_)) => format!("primary, {lack}"),
        };
        Condition { role: Role::Primary, words, degraded }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_in_few_words() {
        for (streams, paused, behind, words, degraded) in [
            (true, false, 0, "streaming", false),
            (true, false, FAR, "streaming", false),
            (true, false, FAR + 1, "catching up", false),
            (true, true, 0, "paused", true),
            (false, true, 0, "paused", true),
            (false, false, 0, "not streaming", true),
            (false, false, FAR * 2, "not streaming", true),
        ] {
            let condition = Condition::of_standby(streams, paused, behind);
            assert_eq!((condition.words.as_str(), condition.degraded.is_some()), (words, degraded));
            let without = condition.without_archive();
            assert_eq!((without.words, without.degraded.is_some()), (format!("{words}, without its archive"), true));
        }
    }

    #[test]
    fn a_primary_in_few_words() {
        for (streaming, others, words, degraded) in [
            (0, 0, "primary", false),
            (2, 2, "primary", false),
            (3, 2, "primary", false),
            (1, 2, "primary, 1 of 2 standbys", true),
            (0, 1, "alone", true),
        ] {
            let condition = Condition::of_primary(streaming, others);
            assert_eq!((condition.words.as_str(), condition.degraded.is_some()), (words, degraded));
        }
    }
}
