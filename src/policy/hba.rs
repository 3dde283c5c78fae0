//! Does `pg_hba.conf` let a node replicate from itself?
//!
//! An old primary whose address is still on its node would stream from its own server: it looks well fed and gets nothing. So a
//! line that rejects the node itself comes before the first one that lets replication in. Only what is plain is judged: the file
//! as it stands, without what it includes, and not what a loopback address is let in for.

use std::net::IpAddr;

/// The number of the first line that lets replication in from other hosts, if none before it rejects any.
#[must_use]
pub fn lets_itself_in(text: &str) -> Option<usize> {
    for (number, line) in text.lines().enumerate() {
        let words: Vec<_> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let [kind, databases, _, address, rest @ ..] = words.as_slice() else { continue };
        let replicates = databases.split(',').any(|name| name == "replication");
        let is_loopback = ["127.", "::1", "localhost"].iter().any(|start| address.starts_with(start));
        if !kind.starts_with("host") || !replicates || is_loopback {
            continue;
        }
        // An address without a length is followed by its mask.
        let method = rest.iter().find(|word| word.parse::<IpAddr>().is_err());
        return (method != Some(&"reject")).then_some(number + 1);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_line() {
        const ADVISED: &str = "host replication all samehost reject\n";
        const IN: &str = "host replication all 10.0.0.0/24 scram-sha-256\n";
        for (text, expected) in [
            (String::new(), None),
            (IN.to_owned(), Some(1)),
            (format!("{ADVISED}{IN}"), None),
            (format!("{IN}{ADVISED}"), Some(1)),
            (format!("# {ADVISED}{IN}"), Some(2)),
            ("local replication all peer\nhost replication all 127.0.0.1/32 trust\nhost replication all ::1/128 trust".to_owned(), None),
            ("hostssl all,replication rep 10.0.0.0 255.255.255.0 trust".to_owned(), Some(1)),
            ("host replication all 10.0.0.7 255.255.255.255 reject\nhost replication all all md5".to_owned(), None),
            // `all` does not match replication (documentation, "The pg_hba.conf File").
            ("host all all all md5\nhost \"replication\" all all md5\nhost replication all".to_owned(), None),
        ] {
            assert_eq!(lets_itself_in(&text), expected, "{text}");
        }
    }
}
