//! Names of cluster nodes.

use std::fmt;
use std::str::FromStr;

/// The name of a cluster node. Two names are the same only when every byte is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

/// Text that cannot be the name of a cluster node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' cannot be a node name: 1 to 255 printable characters without blanks, commas, quotes or slashes")]
pub struct ParseNodeNameError(String);

impl NodeName {
    /// The name as Pacemaker's tools expect it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What PostgreSQL shows of it as an `application_name`: it cuts names at `NAMEDATALEN`, 64 bytes with the end's
    /// (`pgstat_report_appname` in backend_status.c). The characters are of one byte each.
    #[must_use]
    pub fn application_name(&self) -> &str {
        self.0.get(..63).unwrap_or(&self.0)
    }

    /// Of these the node that a WAL receiver with this `application_name` is, if it can be only one.
    pub fn of_application<'a>(name: &str, nodes: impl IntoIterator<Item = &'a NodeName>) -> Option<&'a NodeName> {
        let mut meant = nodes.into_iter().filter(|node| node.application_name() == name);
        meant.next().filter(|_| meant.next().is_none())
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NodeName {
    type Err = ParseNodeNameError;

    /// The characters refused here would break the lists that Pacemaker separates by blanks and the
    /// agent by commas. A leading `-` would be taken for an option by the tools.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let printable = text.bytes().all(|b| b.is_ascii_graphic() && !b",\"'/\\".contains(&b));
        if printable && (1..=255).contains(&text.len()) && !text.starts_with('-') {
            return Ok(NodeName(text.to_owned()));
        }
        let start = text.chars().take(40).flat_map(char::escape_default).collect();
        Err(ParseNodeNameError(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_clusters_use_them() {
        for text in ["srv1", "srv10", "db-2.example.org", "DB_1", "10.0.0.1"] {
            assert_eq!(text.parse::<NodeName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_name_is_told_by_what_postgresql_shows_of_it() {
        let long = |end: &str| format!("{}{end}", "x".repeat(63)).parse::<NodeName>().unwrap();
        let (short, cut) = ("srv1".parse::<NodeName>().unwrap(), "x".repeat(63));
        let (one, other) = (long(".example.org"), long(".example.com"));
        assert_eq!(NodeName::of_application("srv1", [&short, &one]), Some(&short));
        assert_eq!(NodeName::of_application("srv", [&short, &one]), None);
        assert_eq!(NodeName::of_application(&cut, [&short, &one]), Some(&one));
        assert_eq!(NodeName::of_application(&cut, [&one, &other]), None);
    }

    #[test]
    fn hostile_names_are_refused() {
        let long = "x".repeat(10_000);
        for text in ["", " ", "a b", "a\nb", "a,b", "../x", "-N", "a\"b", "a'b", "ä", &long] {
            assert!(text.parse::<NodeName>().is_err(), "{text:?} was accepted");
        }
    }
}
