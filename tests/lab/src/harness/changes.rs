//! What a scenario changes in the cluster's configuration. What was there before is noted in a file first: it is taken
//! back before the next scenario, whatever became of this one.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lab::Lab;
use crate::cluster::state::RESOURCE;
use crate::error::{Doing, Error, Result};
use crate::paths;

/// A change of a parameter stops and starts the instances on all nodes.
const RESTART_LIMIT: Duration = Duration::from_secs(150);
/// The same for `pcs`, in seconds: it says more than a killed program.
const PCS_LIMIT: &str = "120";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Change {
    kind: Kind,
    name: String,
    /// The value before; empty when there was none.
    before: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Kind {
    /// A property of the cluster.
    Property,
    /// A parameter of the resource.
    Parameter,
}

impl Lab {
    /// Changes a cluster property for this scenario only.
    pub(crate) fn set_property(&self, name: &str, value: &str) -> Result<()> {
        let query = ["crm_attribute", "--type", "crm_config", "--name", name, "--query", "--quiet"];
        // As with a parameter, below.
        let before = self.run_somewhere(&query).unwrap_or_default().trim().to_owned();
        note(Change { kind: Kind::Property, name: name.to_owned(), before })?;
        self.write_property(name, value)
    }

    /// Changes a parameter of the agent for this scenario only, and waits until Pacemaker has restarted the instances.
    pub(crate) fn set_parameter(&self, name: &str, value: &str) -> Result<()> {
        let query = ["crm_resource", "--resource", RESOURCE, "--get-parameter", name];
        // An error says that it is not set; one of another kind will be met again by the change itself.
        let before = self.run_somewhere(&query).unwrap_or_default().trim().to_owned();
        note(Change { kind: Kind::Parameter, name: name.to_owned(), before })?;
        self.write_parameter(name, value)
    }

    /// Any other change of the configuration, which the scenario takes back itself.
    pub(crate) fn change(&self, command: &[&str]) -> Result<()> {
        self.run_somewhere_within(command, RESTART_LIMIT).map(drop)
    }

    /// Takes back what scenarios have changed, the last change first.
    pub(super) fn take_changes_back(&self) -> Result<()> {
        let mut changes = noted()?;
        while let Some(Change { kind, name, before }) = changes.last().cloned() {
            match kind {
                Kind::Property => self.write_property(&name, &before)?,
                Kind::Parameter => self.write_parameter(&name, &before)?,
            }
            changes.pop();
            write(&changes)?;
        }
        Ok(())
    }

    /// An empty value means that the property is not set.
    fn write_property(&self, name: &str, value: &str) -> Result<()> {
        let change: &[&str] = if value.is_empty() { &["--delete"] } else { &["--update", value] };
        self.run_somewhere(&[&["crm_attribute", "--type", "crm_config", "--name", name], change].concat()).map(drop)
    }

    /// For pcs an empty value means that the parameter is not set.
    fn write_parameter(&self, name: &str, value: &str) -> Result<()> {
        let wait = format!("--wait={PCS_LIMIT}");
        let update = ["pcs", "resource", "update", RESOURCE, &format!("{name}={value}"), &wait];
        self.run_somewhere_within(&update, RESTART_LIMIT).map(drop)
    }
}

fn note(change: Change) -> Result<()> {
    let mut changes = noted()?;
    changes.push(change);
    write(&changes)
}

fn noted() -> Result<Vec<Change>> {
    match fs::read(path()) {
        Ok(text) => serde_json::from_slice(&text).doing(|| format!("read {}", path().display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(Error::Io { what: format!("read {}", path().display()), source }),
    }
}

fn write(changes: &[Change]) -> Result<()> {
    let text = serde_json::to_vec_pretty(changes).doing(|| "write the changes".to_owned())?;
    fs::write(path(), text).doing(|| format!("write {}", path().display()))
}

/// It goes with the lab.
fn path() -> PathBuf {
    PathBuf::from(paths::RUN).join("changes.json")
}
