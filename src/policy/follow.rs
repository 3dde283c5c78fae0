//! Which host does a standby's `primary_conninfo` have to name?
//!
//! | | |
//! |---|---|
//! | nobody is promoted, or several nodes are | leave it |
//! | this node is promoted | leave it: it is read again when the node is a standby |
//! | the host is the promoted node's address, and nothing overrides it | leave it |
//! | anything else, this node's own address included | the promoted node's address |
//!
//! Only `host` changes, with two exceptions that would keep it from counting: `hostaddr` wins over it and is removed,
//! and of several ports, which libpq wants to be as many as the hosts, one stays.

use std::collections::BTreeMap;

use super::conninfo::Conninfo;
use crate::types::NodeName;

/// The first version that reads `primary_conninfo` anew on a reload ("Release 13", replication).
pub const FIRST_RELOADABLE_VERSION: u32 = 13;

/// The node that this one has to follow.
#[must_use]
pub fn leader<'a>(own: &NodeName, promoted: &'a [NodeName]) -> Option<&'a NodeName> {
    match promoted {
        [node] if node != own => Some(node),
        _ => None,
    }
}

/// The address of a node: what its attribute says, else its name. An empty attribute is as good as none.
#[must_use]
pub fn address<'a>(node: &'a NodeName, attributes: &'a BTreeMap<NodeName, String>) -> &'a str {
    attributes.get(node).map(|address| address.trim()).filter(|address| !address.is_empty()).unwrap_or(node.as_str())
}

/// The connection string with this host, or `None` when the present one is right already.
#[must_use]
pub fn wanted(present: &Conninfo, host: &str) -> Option<Conninfo> {
    let mut wanted = present.clone();
    if present.get("host") != Some(host) {
        wanted = wanted.with("host", host);
    }
    // An empty hostaddr is none.
    if present.get("hostaddr").is_some_and(|address| !address.is_empty()) {
        wanted = wanted.without(&["hostaddr"]);
    }
    if let Some(port) = one_port(present, host) {
        wanted = wanted.with("port", port);
    }
    (wanted != *present).then_some(wanted)
}

/// Of several ports the one that the host had, else the first; `None` when there are not several.
fn one_port<'a>(present: &'a Conninfo, host: &str) -> Option<&'a str> {
    let ports: Vec<&str> = present.get("port")?.split(',').collect();
    if ports.len() < 2 {
        return None;
    }
    let place = present.get("host").and_then(|hosts| hosts.split(',').position(|name| name == host));
    place.and_then(|place| ports.get(place)).or(ports.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nodes(names: &str) -> Vec<NodeName> {
        names.split_whitespace().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn the_one_other_promoted_node_is_followed() {
        let own = "srv1".parse().unwrap();
        for (promoted, expected) in
            [("", None), ("srv2", Some("srv2")), ("srv10", Some("srv10")), ("srv1", None), ("srv2 srv3", None)]
        {
            assert_eq!(leader(&own, &nodes(promoted)).map(NodeName::as_str), expected, "{promoted}");
        }
    }

    #[test]
    fn an_attribute_is_another_address() {
        let [one, two] = ["srv1", "srv2"].map(|name| name.parse::<NodeName>().unwrap());
        let attributes = [(one.clone(), " 10.0.0.1".to_owned()), (two.clone(), " ".to_owned())].into();
        assert_eq!((address(&one, &attributes), address(&two, &attributes)), ("10.0.0.1", "srv2"));
    }

    #[test]
    fn only_what_keeps_the_host_from_counting_changes_with_it() {
        for (present, expected) in [
            ("host=srv1 application_name=srv3", Some("host=srv2 application_name=srv3")),
            ("host=srv2 application_name=srv3", None),
            ("host = 'srv2'", None),
            ("user=a", Some("host=srv2 user=a")),
            ("", Some("host=srv2")),
            ("host=srv2 hostaddr=10.0.0.1", Some("host=srv2")),
            ("hostaddr=10.0.0.1 port=5433", Some("host=srv2 port=5433")),
            ("host=srv2 hostaddr=", None),
            ("host=srv20", Some("host=srv2")),
            ("host=srv1,srv2,srv3", Some("host=srv2")),
            ("host=srv1,srv2 port=5433", Some("host=srv2 port=5433")),
            ("host=srv1,srv2 port=5433,5434", Some("host=srv2 port=5434")),
            ("host=srv1,srv3 port=5433,5434", Some("host=srv2 port=5433")),
            ("password='a  b'  host=srv1", Some("password='a  b'  host=srv2")),
            ("postgresql://u:p@srv1:5433/?application_name=x", Some("postgresql://u:p@srv2:5433/?application_name=x")),
        ] {
            let conninfo: Conninfo = present.parse().unwrap();
            assert_eq!(wanted(&conninfo, "srv2").as_ref().map(Conninfo::expose), expected, "{present}");
        }
    }

    proptest! {
        #[test]
        fn what_is_wanted_is_right(text in "((host|hostaddr|port|user)=[a-z0-9,']{0,6} ){0,5}|\\PC*", host in "[a-z0-9./:-]{1,9}") {
            let Ok(present) = text.parse::<Conninfo>() else { return Ok(()) };
            let right = wanted(&present, &host).unwrap_or(present);
            prop_assert_eq!(right.get("host"), Some(host.as_str()));
            prop_assert_eq!(wanted(&right, &host), None);
        }
    }
}
