//! The plan of one lab: which nodes, which addresses, which example, which agent.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error, Result, unexpected};
use crate::paths;
use crate::profile::{Layout, Profile};

/// The nodes' network, from the block that is reserved for documentation (RFC 5737).
const NETWORK: &str = "192.0.2";
pub(crate) const VIP: &str = "192.0.2.100";
pub(crate) const PREFIX_LENGTH: u8 = 24;
pub(crate) const NETWORK_CIDR: &str = "192.0.2.0/24";
const FIRST_NODE: usize = 11;
const WITNESS: usize = 50;
const FIRST_CLIENT: usize = 200;
const LAST_HOST: usize = 254;

/// What runs on a node when it boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Duty {
    /// corosync, Pacemaker and PostgreSQL.
    Cluster,
    /// corosync-qnetd only.
    Witness,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Node {
    pub name: String,
    /// Its number in corosync's node list, counted from 1.
    pub id: usize,
    pub address: String,
    pub duty: Duty,
}

impl Node {
    /// The name of its network port on the switch (a name of at most 15 characters).
    pub(crate) fn port(&self) -> String {
        format!("port{}", self.id)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub suite: String,
    pub postgres_major: u32,
    pub nodes: Vec<Node>,
    pub example: String,
    pub agent: String,
    /// A tree made by `make install DESTDIR=…`, copied into every node.
    pub install: Option<PathBuf>,
    /// Whether the instances are made with data checksums.
    pub checksums: bool,
    /// Whether each node has a clock of its own that can be set.
    pub clocks: bool,
    pub profile: Profile,
}

impl Plan {
    pub(crate) fn new(names: &[String], example: &str, agent: &str, postgres_major: u32) -> Result<Self> {
        refuse_bad_names(names)?;
        let mut nodes: Vec<Node> = names
            .iter()
            .enumerate()
            .map(|(index, name)| node(name, index + 1, FIRST_NODE + index, Duty::Cluster))
            .collect();
        if example.contains("qdevice") {
            nodes.push(node("witness", nodes.len() + 1, WITNESS, Duty::Witness));
        }
        Ok(Self {
            suite: suite()?,
            postgres_major,
            nodes,
            example: example.to_owned(),
            agent: agent.to_owned(),
            install: None,
            checksums: true,
            clocks: false,
            profile: Profile::default(),
        })
    }

    pub(crate) fn load() -> Result<Self> {
        let path = paths::plan();
        let text = fs::read(&path).map_err(|error| {
            Error::Unexpected(format!("no lab is up ({}: {error}); `lab up` makes one", path.display()))
        })?;
        serde_json::from_slice(&text).doing(|| format!("read {}", path.display()))
    }

    pub(crate) fn save(&self) -> Result<()> {
        let path = paths::plan();
        let text = serde_json::to_vec_pretty(self).doing(|| "write the plan".to_owned())?;
        fs::write(&path, text).doing(|| format!("write {}", path.display()))
    }

    /// The data directory, as the nodes see it.
    pub(crate) fn pgdata(&self) -> PathBuf {
        self.volume().join(paths::DATA_DIRECTORY)
    }

    /// Where Debian has the configuration.
    pub(crate) fn configuration(&self) -> PathBuf {
        PathBuf::from(format!("/etc/postgresql/{}/main", self.postgres_major))
    }

    /// What the agent's parameter `pgdata` is.
    pub(crate) fn pgdata_of_agent(&self) -> PathBuf {
        match self.profile.layout {
            Layout::DebianByDatadir => self.configuration(),
            Layout::Together | Layout::Debian | Layout::Linked => self.pgdata(),
        }
    }

    /// The directory that the data directory lies in, as the nodes see it: a volume of its own.
    pub(crate) fn volume(&self) -> PathBuf {
        PathBuf::from(format!("/var/lib/postgresql/{}", self.postgres_major))
    }

    /// PostgreSQL's programs, as the nodes see them.
    pub(crate) fn bindir(&self) -> PathBuf {
        PathBuf::from(format!("/usr/lib/postgresql/{}/bin", self.postgres_major))
    }

    /// The nodes that form the cluster, the witness left out.
    pub(crate) fn cluster_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.duty == Duty::Cluster)
    }

    pub(crate) fn witness(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.duty == Duty::Witness)
    }

    /// Whether the example gives clients and standbys an address that moves with the primary.
    pub(crate) fn has_address(&self) -> bool {
        !self.example.contains("without-vip")
    }

    /// Where that node finds its upstream when it starts for the first time.
    pub(crate) fn upstream_of(&self, node: &str) -> &str {
        let nodes: Vec<_> = self.cluster_nodes().map(|node| node.name.as_str()).collect();
        self.profile.upstream(&nodes, node).unwrap_or_else(|| self.first_upstream())
    }

    /// Where a standby finds its primary when it starts for the first time: at the virtual address, or else at the first
    /// node. It is the agent's part to correct the latter.
    fn first_upstream(&self) -> &str {
        match self.cluster_nodes().next() {
            Some(first) if !self.has_address() => &first.name,
            _ => VIP,
        }
    }

    /// Where clients look for the primary: at the virtual address, or else at every node. The clients do not know the
    /// nodes' names.
    pub(crate) fn client_hosts(&self) -> Vec<String> {
        match self.has_address() {
            true => vec![VIP.to_owned()],
            false => self.cluster_nodes().map(|node| node.address.clone()).collect(),
        }
    }

    pub(crate) fn node(&self, name: &str) -> Result<&Node> {
        self.nodes
            .iter()
            .find(|node| node.name == name)
            .ok_or_else(|| Error::Unexpected(format!("the lab has no node '{name}'; it has {}", self.names())))
    }

    pub(crate) fn names(&self) -> String {
        let names: Vec<_> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        names.join(", ")
    }

    /// PAF cannot take a crashed primary back: its nodes boot without their cluster services after fencing,
    /// as its documentation advises.
    pub(crate) fn agent_takes_crashed_primary_back(&self) -> bool {
        !self.agent.ends_with(":pgsqlms")
    }

    /// In synchronous mode the shell agent makes one standby of several promotable.
    pub(crate) fn promotable_standbys(&self) -> usize {
        let standbys = self.cluster_nodes().count().saturating_sub(1);
        match self.is_of_the_shell_agent() {
            true => standbys.min(1),
            false => self.profile.promotable(standbys),
        }
    }

    /// The shell agent's documentation has a node rebuilt while its cluster services are down: what the agent has noted about
    /// the node goes with them.
    pub(crate) fn agent_is_rebuilt_without_services(&self) -> bool {
        self.is_of_the_shell_agent()
    }

    fn is_of_the_shell_agent(&self) -> bool {
        self.agent.ends_with(":pgsql")
    }

    /// Whether a node that holds WAL which the primary lacks, or that lacks WAL which the primary no longer has, comes
    /// back without a hand.
    pub(crate) fn agent_makes_standbys_anew(&self) -> bool {
        !self.agent.starts_with("ocf:heartbeat:")
    }
}

/// The address of the n-th client.
pub(crate) fn client_address(number: usize) -> String {
    let last = FIRST_CLIENT + number % (LAST_HOST + 1 - FIRST_CLIENT);
    format!("{NETWORK}.{last}")
}

/// The release of Debian that the nodes run: the machine's own, unless LAB_SUITE names another.
pub(crate) fn suite() -> Result<String> {
    if let Ok(suite) = std::env::var("LAB_SUITE") {
        return Ok(suite);
    }
    own_suite()
}

/// The release of Debian that this machine runs.
pub(crate) fn own_suite() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").doing(|| "read /etc/os-release".to_owned())?;
    release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .ok_or_else(|| Error::Missing("/etc/os-release has no VERSION_CODENAME: set LAB_SUITE=bookworm".to_owned()))
}

fn node(name: &str, id: usize, host: usize, duty: Duty) -> Node {
    Node { name: name.to_owned(), id, address: format!("{NETWORK}.{host}"), duty }
}

fn refuse_bad_names(names: &[String]) -> Result<()> {
    let plain = |name: &String| {
        !name.is_empty()
            && name.len() <= 63
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !name.starts_with('-')
    };
    if let Some(bad) = names.iter().find(|name| !plain(name)) {
        return unexpected(format!("'{bad}' is no host name; use letters, digits and '-'"));
    }
    match names.len() {
        2..=16 => Ok(()),
        count => unexpected(format!("{count} nodes; a lab has 2 to 16")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(example: &str) -> Plan {
        let nodes =
            ["a", "b"].iter().zip(1..).map(|(name, id)| node(name, id, FIRST_NODE + id, Duty::Cluster)).collect();
        let (example, agent) = (example.to_owned(), String::new());
        let profile = Profile::default();
        Plan {
            suite: String::new(),
            postgres_major: 15,
            nodes,
            example,
            agent,
            install: None,
            checksums: true,
            clocks: false,
            profile,
        }
    }

    #[test]
    fn everybody_goes_to_the_address_if_there_is_one() {
        let plan = plan("three-nodes-vip");
        assert_eq!((plan.first_upstream(), plan.client_hosts()), (VIP, vec![VIP.to_owned()]));
    }

    #[test]
    fn without_an_address_standbys_go_to_a_node_and_clients_to_all() {
        let plan = plan("three-nodes-without-vip");
        assert_eq!(plan.first_upstream(), "a");
        assert_eq!(plan.client_hosts(), ["192.0.2.12", "192.0.2.13"]);
    }
}
