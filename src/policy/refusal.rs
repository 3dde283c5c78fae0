//! What does an error say of the server that answers with it?
//!
//! | SQLSTATE | meaning | why |
//! |---|---|---|
//! | 57P01 to 57P03 | not now | it starts, recovers or shuts down |
//! | 58000, 58030, XX... | failing | its disk does not give what it needs, or gives rubbish |
//! | 58P01, a file is missing | shut out | a library that a setting names is missing: a slip. A server whose directory is gone ends by itself, it looks for its lock file every minute |
//! | 53..., connections, memory, disk | shut out | what runs goes on; without room for WAL the server ends by itself |
//! | everything else | shut out | roles, databases, rules, passwords, settings: the server is well |
//!
//! One failing answer proves nothing: a block that cannot be read may be one database's, and an error may pass. So a server
//! counts as failing only where every look for some seconds ends so, through another database, too. It can take no
//! client then, and a primary on which nobody can work any more is better replaced; a standby that fails so would be of no
//! use as a primary. A server that is shut out by a slip would come back from a restart no better: it is left alone.

/// What the server means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It takes no connections at this moment.
    NotNow,
    /// It is alive and does not do this for the agent.
    ShutOut,
    /// It cannot do its work.
    Failing,
}

/// The meaning of an error's SQLSTATE (appendix A of PostgreSQL's documentation).
#[must_use]
pub fn meaning(sqlstate: &str) -> Meaning {
    match sqlstate {
        "57P01" | "57P02" | "57P03" => Meaning::NotNow,
        "58000" | "58030" => Meaning::Failing,
        code if code.starts_with("XX") => Meaning::Failing,
        _ => Meaning::ShutOut,
    }
}

/// The database through which a server is asked that fails in another one. Both are made by initdb.
#[must_use]
pub fn other_database(database: &str) -> &'static str {
    if database == "template1" { "postgres" } else { "template1" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_its_meaning() {
        for (codes, expected) in [
            ("57P01 57P02 57P03", Meaning::NotNow),
            ("58000 58030 XX000 XX001 XX002", Meaning::Failing),
            ("58P01 58P02 53100 53200 53300 53400", Meaning::ShutOut),
            ("28000 28P01 3D000 42501 55000 57014 25001 22023 08P01 0A000 42704 57P04 P0001", Meaning::ShutOut),
            ("00000", Meaning::ShutOut),
        ] {
            for code in codes.split(' ') {
                assert_eq!(meaning(code), expected, "{code}");
            }
        }
        assert_eq!(meaning(""), Meaning::ShutOut);
    }

    #[test]
    fn another_database_is_another() {
        for database in ["postgres", "template1", "home", ""] {
            assert_ne!(other_database(database), database);
        }
    }
}
