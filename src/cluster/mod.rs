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

use crate::sys::{Deadline, ProgramError, Running};

/// The resource as the cluster knows it.
#[derive(Clone, Debug)]
pub struct Cluster {
    resource: String,
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
        Cluster { resource: resource.to_owned() }
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
