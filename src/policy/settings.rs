//! Can an instance with these settings take part in the cluster?

use std::collections::BTreeMap;

use crate::policy::conninfo::Conninfo;
use crate::types::NodeName;

/// The settings that are asked for, by name.
pub type Settings = BTreeMap<String, String>;

/// What a start needs: without one of these the instance would not follow a new primary, would not be
/// recognised, or could not be asked.
pub const NEEDED_TO_START: [&str; 3] = ["primary_conninfo", "recovery_target_timeline", "hot_standby"];

/// What a promotion needs besides.
pub const NEEDED_TO_SERVE: [&str; 2] = ["wal_level", "max_wal_senders"];

/// The oldest server that is supported: it is the first with `standby.signal`.
pub const OLDEST_VERSION: u32 = 12;

/// The complaints, each one a line with the value and the cure. A setting that is not in the map was not
/// asked for.
#[must_use]
pub fn complaints(settings: &Settings, node: &NodeName) -> Vec<String> {
    let get = |name: &str| settings.get(name).map(String::as_str);
    let mut complaints = Vec::new();
    if let Some(conninfo) = get("primary_conninfo") {
        complaints.extend(complaint_of_conninfo(conninfo, node));
    }
    if let Some(value) = get("recovery_target_timeline").filter(|value| *value != "latest") {
        complaints.push(format!(
            "recovery_target_timeline is '{}', so the instance would not follow a new primary; set it to 'latest'",
            shown(value)
        ));
    }
    if let Some(value) = get("hot_standby").filter(|value| *value != "on") {
        complaints.push(format!(
            "hot_standby is '{}', so a standby cannot be asked for its position; set it to 'on'",
            shown(value)
        ));
    }
    if let Some(value) = get("wal_level").filter(|value| !["replica", "logical"].contains(value)) {
        complaints.push(format!(
            "wal_level is '{}', so no standby can follow; set it to 'replica' or 'logical'",
            shown(value)
        ));
    }
    if let Some(value) = get("max_wal_senders").filter(|value| value.parse::<u32>().is_ok_and(|n| n < 2)) {
        complaints.push(format!(
            "max_wal_senders is {}; set it to the number of standbys and some for backups, 10 for instance",
            shown(value)
        ));
    }
    complaints
}

fn complaint_of_conninfo(conninfo: &str, node: &NodeName) -> Option<String> {
    if conninfo.is_empty() {
        return Some(format!(
            "primary_conninfo is empty; set it to the primary's address with application_name={node}"
        ));
    }
    // The text may hold a password: it is never shown.
    let conninfo: Conninfo = match conninfo.parse() {
        Ok(conninfo) => conninfo,
        Err(error) => {
            return Some(format!(
                "primary_conninfo cannot be parsed: {error}; write it as 'host=... application_name={node}'"
            ));
        }
    };
    match conninfo.get("application_name") {
        Some(name) if name == node.as_str() || name == node.application_name() => None,
        Some(name) => Some(format!(
            "application_name in primary_conninfo is '{}' and this node is '{node}'; set application_name={node}",
            shown(name)
        )),
        None => Some(format!("primary_conninfo has no application_name; add application_name={node}")),
    }
}

/// A value for a message: short, on one line.
fn shown(value: &str) -> String {
    value.chars().take(60).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node() -> NodeName {
        "srv1".parse().unwrap()
    }

    fn complaints_of(pairs: &[(&str, &str)]) -> Vec<String> {
        let settings = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        complaints(&settings, &node())
    }

    #[test]
    fn good_settings() {
        let good = [
            ("primary_conninfo", "host=10.0.0.1 application_name=srv1"),
            ("recovery_target_timeline", "latest"),
            ("hot_standby", "on"),
            ("wal_level", "logical"),
            ("max_wal_senders", "10"),
        ];
        assert_eq!(complaints_of(&good), [""; 0]);
    }

    #[test]
    fn the_application_name_is_read_as_libpq_does() {
        for good in [
            "application_name=srv1",
            "host = 10.0.0.1  application_name = 'srv1' channel_binding=require",
            "application_name=other host=x application_name=srv1",
            "password='a b\\'application_name=x' application_name=srv1",
            "postgresql://u@h/db?application_name=srv1&target_session_attrs=any",
        ] {
            assert_eq!(complaints_of(&[("primary_conninfo", good)]), [""; 0], "{good}");
        }
        for bad in ["", "host=x", "application_name=srv10", "application_name=Srv1", "application_name='srv1"] {
            assert_eq!(complaints_of(&[("primary_conninfo", bad)]).len(), 1, "{bad}");
        }
    }

    #[test]
    fn a_long_name_may_be_as_postgresql_cuts_it() {
        let node: NodeName = "x".repeat(70).parse().unwrap();
        for (length, good) in [(70, true), (63, true), (62, false), (64, false)] {
            let conninfo = format!("application_name={}", "x".repeat(length));
            let settings = [("primary_conninfo".to_owned(), conninfo)].into();
            assert_eq!(complaints(&settings, &node).is_empty(), good, "{length}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let text = complaints_of(&[("primary_conninfo", "password=secret host=x")]).join(" ");
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn each_wrong_setting_is_named_with_its_value() {
        for (name, value) in [
            ("recovery_target_timeline", "current"),
            ("hot_standby", "off"),
            ("wal_level", "minimal"),
            ("max_wal_senders", "0"),
        ] {
            let text = complaints_of(&[(name, value)]).join(" ");
            assert!(text.contains(name) && text.contains(value) && text.contains("set it"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn hostile_connection_strings_never_panic(text in "\\PC*|[=' \\\\a-z?&:/]*") {
            let _ = complaints_of(&[("primary_conninfo", &text)]);
        }
    }
}
