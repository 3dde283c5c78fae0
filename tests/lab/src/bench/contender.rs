//! The three agents, and how each is brought into the same cluster.

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use crate::cluster::build::Wish;
use crate::error::{Doing, Result, unexpected};
use crate::profile::Profile;
use crate::{image, paths, plan};

const NODES: [&str; 3] = ["srv1", "srv2", "srv3"];
const SHELL_FUNCTIONS: &str = "usr/lib/ocf/lib/heartbeat/ocf-shellfuncs";
/// How Debian 12's functions set a promotion score, and what its crm_attribute understands also for -INFINITY.
const BROKEN_CALL: &str = "${HA_SBIN_DIR}/crm_attribute -p $@";
const REPAIRED_CALL: &str = "if [ \"$1\" = -v ]; then ${HA_SBIN_DIR}/crm_attribute \
     \"--promotion=${OCF_RESOURCE_INSTANCE}\" \"--update=$2\"; else ${HA_SBIN_DIR}/crm_attribute -p $@; fi";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Contender {
    Pgbaton,
    Paf,
    Shell,
}

impl Contender {
    pub(super) const ALL: [Self; 3] = [Self::Pgbaton, Self::Paf, Self::Shell];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Pgbaton => "pgbaton",
            Self::Paf => "PAF",
            Self::Shell => "shell agent",
        }
    }

    pub(super) fn agent(self) -> &'static str {
        match self {
            Self::Pgbaton => "ocf:pgbaton:postgresql",
            Self::Paf => "ocf:heartbeat:pgsqlms",
            Self::Shell => "ocf:heartbeat:pgsql",
        }
    }

    /// The agent as a program in the nodes.
    pub(super) fn program(self) -> String {
        let mut parts = self.agent().split(':').skip(1);
        let (provider, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        format!("/usr/lib/ocf/resource.d/{provider}/{name}")
    }

    fn example(self) -> &'static str {
        match self {
            Self::Pgbaton => "three-nodes-vip",
            Self::Paf => "paf",
            Self::Shell => "shell-agent",
        }
    }

    /// Seconds between two monitors of the promoted instance, as in the definition that is run.
    pub(super) fn promoted_interval(self) -> u32 {
        match self {
            Self::Pgbaton => 2,
            Self::Paf => 15,
            Self::Shell => 3,
        }
    }

    /// The same of an unpromoted instance.
    pub(super) fn unpromoted_interval(self) -> u32 {
        match self {
            Self::Pgbaton => 10,
            Self::Paf => 16,
            Self::Shell => 4,
        }
    }

    /// In synchronous mode the shell agent makes one standby of several promotable.
    pub(super) fn promotable_standbys(self, standbys: usize) -> usize {
        match self {
            Self::Shell => standbys.min(1),
            Self::Pgbaton | Self::Paf => standbys,
        }
    }

    /// The shell agent wants a fresh base backup before it starts a crashed primary again.
    pub(super) fn takes_crashed_primary_back(self) -> bool {
        self != Self::Shell
    }

    /// The others' lost nodes need a fresh base backup.
    pub(super) fn takes_lost_node_back(self) -> bool {
        self == Self::Pgbaton
    }

    /// What was done for it that its users would have to do, or that the reader has to know.
    pub(super) fn remarks(self) -> &'static [&'static str] {
        match self {
            Self::Pgbaton => &["asynchronous replication; monitors every 2 s (promoted) and 10 s (unpromoted)"],
            Self::Paf => &[
                "asynchronous replication; monitors every 15 s (promoted) and 16 s (unpromoted), as its documentation \
                 advises",
                "before each round one monitor is run by hand on the primary, so that the standbys have their scores at \
                 once and not after up to 15 s",
                "after a lost node the cluster is built anew, outside of the measurement: it cannot take the old primary \
                 back",
            ],
            Self::Shell => &[
                "rep_mode=sync; monitors every 3 s (promoted) and 4 s (unpromoted)",
                "ocf-shellfuncs is repaired in the nodes: with Debian 12's own the agent cannot set a score of -INFINITY \
                 and does not start",
                "PGSQL.lock is removed by hand after each switchover and each shutdown, and after a crash or a lost \
                 node the cluster is built anew, outside of the measurement",
            ],
        }
    }

    pub(crate) fn wish(self, install: Option<&Path>) -> Result<Wish> {
        let install = match self {
            Self::Pgbaton => install.map(Path::to_path_buf),
            Self::Paf => None,
            Self::Shell => Some(repaired_shell_functions()?),
        };
        Ok(Wish {
            nodes: NODES.map(str::to_owned).to_vec(),
            example: self.example().to_owned(),
            agent: self.agent().to_owned(),
            install,
            checksums: true,
            clocks: false,
            profile: Profile::default(),
        })
    }
}

/// A tree with the functions repaired, for the nodes of the shell agent.
fn repaired_shell_functions() -> Result<PathBuf> {
    let suite = plan::suite()?;
    image::ensure(&suite)?;
    let original = paths::image(&suite).join(SHELL_FUNCTIONS);
    let text = fs::read_to_string(&original).doing(|| format!("read {}", original.display()))?;
    let tree = paths::lab().join("shell-agent-install");
    let repaired = tree.join(SHELL_FUNCTIONS);
    let Some(directory) = repaired.parent() else {
        return unexpected(format!("{} has no parent", repaired.display()));
    };
    fs::create_dir_all(directory).doing(|| format!("make {}", directory.display()))?;
    fs::write(&repaired, text.replace(BROKEN_CALL, REPAIRED_CALL)).doing(|| format!("write {}", repaired.display()))?;
    Ok(tree)
}
