//! The cluster that runs on the nodes: looking at it, building it, its PostgreSQL instances.

pub(crate) mod build;
pub(crate) mod instances;
pub(crate) mod node_shell;
pub(crate) mod state;
