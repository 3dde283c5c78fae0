//! One call of the agent: the action and its environment.

use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::{Notification, Parameters};
use crate::types::{NodeName, ParseNodeNameError};

/// The variables that the agent was called with.
#[derive(Clone, Debug, Default)]
pub struct Environment(HashMap<String, String>);

impl Environment {
    /// The process's environment. Values that are not UTF-8 are kept as far as they are.
    #[must_use]
    pub fn of_this_process() -> Self {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Environment(std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect())
    }

    /// A variable that is set and not blank: Pacemaker passes an empty list as one blank.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// A meta attribute, `OCF_RESKEY_CRM_meta_<name>`.
    #[must_use]
    pub fn meta(&self, name: &str) -> Option<&str> {
        self.get(&format!("OCF_RESKEY_CRM_meta_{name}"))
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Environment(variables.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect())
    }
}

/// The actions of this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the instance as a standby.
    Start,
    /// Stop the instance.
    Stop,
    /// Tell the instance's state.
    Monitor,
    /// Make the standby the primary.
    Promote,
    /// Make the primary a standby.
    Demote,
    /// Something is about to happen or has happened on some node.
    Notify,
    /// Check the configuration.
    ValidateAll,
    /// Print the agent's description.
    MetaData,
    /// Print the names of the actions.
    Methods,
}

impl Action {
    /// Every action with the word that Pacemaker uses for it.
    pub const ALL: [(&'static str, Action); 9] = [
        ("start", Action::Start),
        ("stop", Action::Stop),
        ("monitor", Action::Monitor),
        ("promote", Action::Promote),
        ("demote", Action::Demote),
        ("notify", Action::Notify),
        ("validate-all", Action::ValidateAll),
        ("meta-data", Action::MetaData),
        ("methods", Action::Methods),
    ];
}

impl FromStr for Action {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Action::ALL.into_iter().find(|(name, _)| *name == word).map(|(_, action)| action).ok_or(())
    }
}

/// What Pacemaker tells about the operation itself.
#[derive(Clone, Debug)]
pub struct Meta {
    /// When Pacemaker would kill the action.
    pub timeout: Duration,
    /// A monitor that asks whether the resource is there at all: its interval is 0, or not given (2.1.5).
    pub probe: bool,
    /// Between two monitors of this kind, in milliseconds; 0 for a probe.
    pub interval_ms: u64,
    /// A monitor that looks at more than whether the instance runs: `OCF_CHECK_LEVEL` of 10 or more.
    pub deep: bool,
    /// This node's name, where Pacemaker gave it.
    pub node: Option<NodeName>,
    /// Whether the resource is a promotable clone, as far as Pacemaker says.
    pub promotable: bool,
    /// The value of the meta attribute `notify`, where Pacemaker gave it.
    pub notify: Option<bool>,
    /// The value of `promoted-max`, where Pacemaker gave it.
    pub promoted_max: Option<u32>,
    /// Whether the exit codes 190 and 191 are known: they came with version 1.1 of the resource agent API. Before that,
    /// they were failures.
    pub knows_degraded: bool,
}

impl Meta {
    /// Pacemaker's own default for an operation's timeout.
    const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);

    /// Reads the environment.
    #[must_use]
    pub fn read(environment: &Environment) -> Self {
        let number = |name| environment.meta(name).and_then(|value| value.parse::<u64>().ok());
        let flag = |name| environment.meta(name).map(is_true);
        let promoted_max = number("promoted_max").or(number("master_max"));
        Meta {
            timeout: number("timeout").map_or(Meta::DEFAULT_TIMEOUT, Duration::from_millis),
            probe: number("interval").unwrap_or(0) == 0,
            interval_ms: number("interval").unwrap_or(0),
            deep: environment.get("OCF_CHECK_LEVEL").and_then(|level| level.parse::<u32>().ok()) >= Some(10),
            node: environment.meta("on_node").and_then(|name| name.parse().ok()),
            promotable: flag("promotable").unwrap_or(false) || promoted_max.is_some(),
            notify: flag("notify"),
            promoted_max: promoted_max.and_then(|n| u32::try_from(n).ok()),
            knows_degraded: api_version(environment) >= (1, 1),
        }
    }
}

/// The version of the resource agent API that Pacemaker speaks; 2.1.0 was the first with 1.1.
fn api_version(environment: &Environment) -> (u32, u32) {
    let part = |name| environment.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
    (part("OCF_RA_VERSION_MAJOR"), part("OCF_RA_VERSION_MINOR"))
}

/// Pacemaker's words for true (`crm_str_to_boolean`).
fn is_true(text: &str) -> bool {
    ["true", "on", "yes", "y", "1"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Everything that an action was given.
#[derive(Clone, Debug)]
pub struct Request {
    /// The resource's name without the clone instance's number.
    pub resource: String,
    /// The resource's parameters.
    pub parameters: Parameters,
    /// About the operation.
    pub meta: Meta,
    /// About the notification, and in some versions of Pacemaker there for other actions too.
    pub notification: Notification,
    /// The directory for what lasts until the next boot.
    pub run_directory: PathBuf,
}

impl Request {
    /// Reads the environment.
    ///
    /// # Errors
    /// When the resource's name is none: it becomes part of attribute and file names.
    pub fn read(environment: &Environment) -> Result<Self, ParseNodeNameError> {
        let instance = environment.get("OCF_RESOURCE_INSTANCE").unwrap_or("default");
        let resource = instance.split_once(':').map_or(instance, |(name, _)| name);
        // The rules for node names fit: no blanks, quotes or slashes, of bounded length.
        let resource: NodeName = resource.parse()?;
        Ok(Request {
            resource: resource.as_str().to_owned(),
            parameters: Parameters::read(environment),
            meta: Meta::read(environment),
            notification: Notification::read(environment),
            run_directory: environment.get("HA_RSCTMP").unwrap_or("/run/resource-agents").into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_action_is_none() {
        assert_eq!("monitor".parse(), Ok(Action::Monitor));
        for word in ["", "Monitor", "migrate_to", "monitor ", "reload"] {
            assert!(word.parse::<Action>().is_err(), "{word:?} was accepted");
        }
    }

    #[test]
    fn meta_attributes_as_pacemaker_passes_them() {
        let environment = Environment::from([
            ("OCF_RESOURCE_INSTANCE", "pgsql:0"),
            ("OCF_RESKEY_CRM_meta_timeout", "10000"),
            ("OCF_RESKEY_CRM_meta_interval", "0"),
            ("OCF_RESKEY_CRM_meta_on_node", "srv1"),
            ("OCF_RESKEY_CRM_meta_notify", "True"),
            ("OCF_RESKEY_CRM_meta_promoted_max", "1"),
        ]);
        let request = Request::read(&environment).unwrap();
        assert_eq!(request.resource, "pgsql");
        assert_eq!(request.meta.timeout, Duration::from_secs(10));
        assert!(request.meta.probe && request.meta.promotable);
        assert_eq!(request.meta.notify, Some(true));
    }

    #[test]
    fn a_probe_is_a_monitor_without_an_interval() {
        for (interval, probe) in [("0", true), ("", true), ("10000", false)] {
            let meta = Meta::read(&Environment::from([("OCF_RESKEY_CRM_meta_interval", interval)]));
            assert_eq!(meta.probe, probe, "{interval:?}");
        }
    }

    #[test]
    fn a_monitor_is_deep_from_level_10_on() {
        for (level, deep) in [("", false), ("0", false), ("9", false), ("10", true), ("20", true), ("deep", false)] {
            assert_eq!(Meta::read(&Environment::from([("OCF_CHECK_LEVEL", level)])).deep, deep, "{level:?}");
        }
    }

    #[test]
    fn degraded_states_are_known_from_version_1_1_on() {
        for (major, minor, known) in [("1", "1", true), ("2", "0", true), ("1", "0", false), ("1", "", false)] {
            let variables = [("OCF_RA_VERSION_MAJOR", major), ("OCF_RA_VERSION_MINOR", minor)];
            assert_eq!(Meta::read(&Environment::from(variables)).knows_degraded, known, "{major}.{minor}");
        }
    }

    #[test]
    fn hostile_meta_attributes_are_as_good_as_none() {
        let long = "9".repeat(10_000);
        for nonsense in ["-1", "soon", "1e3", "$(id)", &long] {
            let environment = Environment::from([
                ("OCF_RESKEY_CRM_meta_timeout", nonsense),
                ("OCF_RESKEY_CRM_meta_on_node", "a b;c"),
            ]);
            let meta = Meta::read(&environment);
            assert_eq!(meta.timeout, Meta::DEFAULT_TIMEOUT);
            assert_eq!(meta.node, None);
        }
    }

    #[test]
    fn a_resource_name_cannot_leave_its_directory() {
        for name in ["../../etc/passwd", "a/b", "a b", "a\nb"] {
            assert!(Request::read(&Environment::from([("OCF_RESOURCE_INSTANCE", name)])).is_err());
        }
    }
}
