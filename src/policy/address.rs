//! Where is the server asked, and whose word counts?
//!
//! `postmaster.pid` of a live server says where that server listens; a parameter may be wrong, or another instance's. A
//! connection by TCP is governed by other rules of `pg_hba.conf` than one by socket, so a host that is a parameter is not
//! given up for a socket.
//!
//! | pghost and pgport | asked, in this order |
//! |---|---|
//! | as the file says, or there is no file | there |
//! | another directory, or another port | where the file says; then as configured |
//! | a host, and the file's port or none is known | as configured; then where the file says |
//!
//! What is asked where the file says is certain to be this instance. Elsewhere an answer counts only with a proof, and a
//! refusal not at all while there is a place that is certain.

/// A place to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A host, or the directory of a Unix socket.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The server itself has said that it listens there.
    pub is_certain: bool,
}

/// Where to ask, by the parameters (the port may be unusable) and by what `postmaster.pid` says. Directories are compared
/// as text: links are resolved by the caller.
#[must_use]
pub fn places(configured: (&str, Option<u16>), file: (Option<&str>, Option<u16>)) -> Vec<Place> {
    let by_file = match file {
        (Some(directory), Some(port)) => Some(Place { host: directory.to_owned(), port, is_certain: true }),
        _ => None,
    };
    let (host, port) = configured;
    let by_parameters = port.map(|port| Place { host: host.to_owned(), port, is_certain: false });
    let (Some(by_file), Some(by_parameters)) = (by_file.clone(), by_parameters.clone()) else {
        return by_file.into_iter().chain(by_parameters).collect();
    };
    if (&by_file.host, by_file.port) == (&by_parameters.host, by_parameters.port) {
        return vec![by_file];
    }
    if host.starts_with('/') || by_file.port != by_parameters.port {
        return vec![by_file, by_parameters];
    }
    vec![by_parameters, by_file]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_in_which_places_are_asked() {
        let file = (Some("/run/a"), Some(5432));
        for (configured, file, expected) in [
            (("/run/a", Some(5432)), file, "/run/a:5432!"),
            (("/run/b", Some(5432)), file, "/run/a:5432! /run/b:5432"),
            (("/run/a", Some(5433)), file, "/run/a:5432! /run/a:5433"),
            (("/run/a", None), file, "/run/a:5432!"),
            (("db", Some(5432)), file, "db:5432 /run/a:5432!"),
            (("db", Some(5433)), file, "/run/a:5432! db:5433"),
            (("db", Some(5432)), (None, Some(5432)), "db:5432"),
            (("/run/a", Some(5432)), (None, None), "/run/a:5432"),
            (("/run/a", Some(5432)), (Some("/run/b"), None), "/run/a:5432"),
            (("/run/a", None), (None, None), ""),
        ] {
            let word =
                |place: &Place| format!("{}:{}{}", place.host, place.port, if place.is_certain { "!" } else { "" });
            let found: Vec<_> = places(configured, file).iter().map(word).collect();
            assert_eq!(found.join(" "), expected, "{configured:?} {file:?}");
        }
    }
}
