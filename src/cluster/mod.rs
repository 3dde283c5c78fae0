//! Pacemaker: nodes, attributes, scores, votes. It knows nothing of PostgreSQL.

mod attributes;
mod durable;
mod hold;
mod members;
mod record;
mod scores;
mod state;
mod votes;

use std::time::Duration;

pub use attributes::Entry;
pub use durable::Durable;
pub use members::{Addresses, own_name};
pub use record::Record;
pub use votes::Paper;

use crate::sys::{Deadline, Program, ProgramError, Running};
use crate::types::NodeName;

/// What follows the resource in the names of its attributes.
const WORDS: [&str; 11] =
    ["address", "announced", "blind", "here", "hold", "lacks", "left", "oldest", "record", "reserved", "timeline"];

/// The resource as the cluster knows it.
#[derive(Clone, Debug)]
pub struct Cluster {
    resource: String,
    /// This node, where Pacemaker has told: its tools know by themselves where they run, but for a remote node or a bundle.
    own: Option<NodeName>,
}

/// Why the cluster's knowledge is not available.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A tool failed or was too slow.
    #[error("the cluster did not answer: {0}")]
    Program(#[from] ProgramError),
    /// A tool printed something unexpected.
    #[error("{0} printed something that is not understood")]
    Output(&'static str),
    /// This node's name is unknown.
    #[error("the name of this node is not known: '{0}' cannot be one")]
    Name(String),
}

impl Cluster {
    /// The cluster's view of this resource.
    #[must_use]
    pub fn new(resource: &str) -> Self {
        Cluster { resource: resource.to_owned(), own: None }
    }

    /// The same, seen from this node.
    #[must_use]
    pub fn seen_from(self, own: Option<NodeName>) -> Self {
        Cluster { own, ..self }
    }

    /// The names of this resource's attributes are `pgbaton-<resource>` and `pgbaton-<resource>-<word>`. The resource, if its own
    /// name ends with such a word, that would take this one's first for its own.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn namesake(&self, deadline: Deadline) -> Result<Option<String>, ClusterError> {
        let Some(other) = WORDS.iter().find_map(|word| self.resource.strip_suffix(word)?.strip_suffix('-')) else {
            return Ok(None);
        };
        let path = format!("//primitive[@provider='pgbaton'][@id='{other}']");
        let output = Program::new("cibadmin").args(["--query", "--xpath", &path]).output(bounded(deadline))?;
        Ok(output.status.success().then(|| other.to_owned()))
    }
}

/// Waits for a tool that was started, if it was.
fn finish(begun: Result<Running, ClusterError>, deadline: Deadline) -> Result<(), ClusterError> {
    Ok(begun?.finish(bounded(deadline)).map(drop)?)
}

/// The longest that one call of a cluster tool may take: each needs about 10 ms when all is well.
fn bounded(deadline: Deadline) -> Deadline {
    deadline.at_most(Duration::from_secs(5))
}
