//! The resource's parameters.

use std::path::PathBuf;
use std::time::Duration;

use super::{Environment, ExitCode, Failure};
use crate::policy::rejoin::Rejoin;

/// Whether the agent keeps replication slots, the parameter `slots`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseSlots {
    /// Where `max_slot_wal_keep_size` bounds what a slot can retain.
    Auto,
    /// Everywhere.
    Yes,
    /// Nowhere.
    No,
}

/// Whether a deep monitor answers 190 and 191 for a degraded instance, the parameter `degraded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Degraded {
    /// It does.
    Report,
    /// Only the node attribute shows it.
    Hide,
}

/// The parameters with their defaults. Those that could be malformed are kept as text and read where
/// they are needed, so that a slip in one of them cannot stop an action that does not need it.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// The operating system user that owns the instance.
    pub system_user: String,
    /// The directory of PostgreSQL's programs.
    pub bindir: PathBuf,
    /// What `postgres -D` gets.
    pub pgdata: PathBuf,
    /// The data directory, when it is another than `pgdata`.
    pub datadir: Option<PathBuf>,
    /// The directory of the Unix socket, or a host.
    pub pghost: String,
    /// Additional options for the server.
    pub start_opts: String,
    /// The role for the agent's SQL.
    pub pguser: String,
    /// The database for the agent's SQL.
    pub pgdatabase: String,
    /// PAF's deprecated parameter, when it is set.
    pub recovery_template: Option<String>,
    pgport: String,
    maxlag: String,
    election_timeout: String,
    follow: String,
    rejoin: String,
    keep_aside: String,
    slots: String,
    degraded: String,
}

/// Whom the standbys follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Whom `primary_conninfo` names. It is left as it is.
    Conninfo,
    /// The promoted node: the agent keeps the host in `primary_conninfo` right.
    Promoted,
}

impl Parameters {
    /// Default of `system_user`.
    pub const SYSTEM_USER: &str = "postgres";
    /// Default of `bindir`.
    pub const BINDIR: &str = "/usr/bin";
    /// Default of `pgdata`.
    pub const PGDATA: &str = "/var/lib/pgsql/data";
    /// Default of `pghost`.
    pub const PGHOST: &str = "/var/run/postgresql";
    /// Default of `pgport`.
    pub const PGPORT: &str = "5432";
    /// Default of `maxlag`.
    pub const MAXLAG: &str = "0";
    /// Default of `pgdatabase`.
    pub const PGDATABASE: &str = "postgres";
    /// Default of `election_timeout`.
    pub const ELECTION_TIMEOUT: &str = "60";
    /// Default of `rejoin`.
    pub const REJOIN: &str = "rewind";
    /// Default of `keep_aside`.
    pub const KEEP_ASIDE: &str = "3";
    /// Default of `slots`.
    pub const SLOTS: &str = "auto";
    /// Default of `degraded`.
    pub const DEGRADED: &str = "report";
    /// Default of `follow`.
    pub const FOLLOW: &str = "conninfo";

    pub(super) fn read(environment: &Environment) -> Self {
        let get = |name: &str| environment.get(&format!("OCF_RESKEY_{name}"));
        let or = |name: &str, default: &str| get(name).unwrap_or(default).to_owned();
        let system_user = or("system_user", Self::SYSTEM_USER);
        Parameters {
            bindir: or("bindir", Self::BINDIR).into(),
            pgdata: or("pgdata", Self::PGDATA).into(),
            datadir: get("datadir").map(PathBuf::from),
            pghost: or("pghost", Self::PGHOST),
            start_opts: or("start_opts", ""),
            pguser: or("pguser", &system_user),
            pgdatabase: or("pgdatabase", Self::PGDATABASE),
            recovery_template: get("recovery_template").map(str::to_owned),
            pgport: or("pgport", Self::PGPORT),
            maxlag: or("maxlag", Self::MAXLAG),
            election_timeout: or("election_timeout", Self::ELECTION_TIMEOUT),
            rejoin: or("rejoin", Self::REJOIN),
            keep_aside: or("keep_aside", Self::KEEP_ASIDE),
            slots: or("slots", Self::SLOTS),
            follow: or("follow", Self::FOLLOW),
            degraded: or("degraded", Self::DEGRADED),
            system_user,
        }
    }

    /// The parameters that another process of the agent needs to find the instance, as the environment has them.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        let mut variables = vec![
            ("system_user", self.system_user.clone()),
            ("bindir", path(&self.bindir)),
            ("pgdata", path(&self.pgdata)),
            ("pghost", self.pghost.clone()),
            ("pgport", self.pgport.clone()),
            ("start_opts", self.start_opts.clone()),
            ("pgdatabase", self.pgdatabase.clone()),
        ];
        variables.extend(self.datadir.iter().map(|directory| ("datadir", path(directory))));
        variables.into_iter().map(|(name, value)| (format!("OCF_RESKEY_{name}"), value)).collect()
    }

    /// The data directory itself.
    #[must_use]
    pub fn data_directory(&self) -> &std::path::Path {
        self.datadir.as_deref().unwrap_or(&self.pgdata)
    }

    /// The server's port.
    ///
    /// # Errors
    /// When the text is no port.
    pub fn pgport(&self) -> Result<u16, Failure> {
        let port = self.pgport.parse().ok().filter(|port| *port > 0);
        port.ok_or_else(|| malformed("pgport", &self.pgport, "a number from 1 to 65535"))
    }

    /// How many bytes a standby may lag behind and still be promoted; `None` is without a limit.
    ///
    /// # Errors
    /// When the text is no number.
    pub fn maxlag(&self) -> Result<Option<u64>, Failure> {
        let bytes: Result<u64, _> = self.maxlag.parse();
        let bytes = bytes.map_err(|_| malformed("maxlag", &self.maxlag, "a number of bytes, 0 for no limit"))?;
        Ok((bytes > 0).then_some(bytes))
    }

    /// How long an election waits for a node that cannot tell its position.
    ///
    /// # Errors
    /// When the text is no number of seconds.
    pub fn election_timeout(&self) -> Result<Duration, Failure> {
        let text = self.election_timeout.trim_end_matches('s');
        let seconds = text.parse::<u32>().ok().filter(|s| *s > 0);
        let expected = "a number of seconds, for instance 60";
        let seconds = seconds.ok_or_else(|| malformed("election_timeout", &self.election_timeout, expected))?;
        Ok(Duration::from_secs(seconds.into()))
    }

    /// What may be done with an instance that cannot follow.
    ///
    /// # Errors
    /// When the text is none of the words.
    pub fn rejoin(&self) -> Result<Rejoin, Failure> {
        match self.rejoin.as_str() {
            "none" => Ok(Rejoin::None),
            "rewind" => Ok(Rejoin::Rewind),
            "clone" => Ok(Rejoin::Clone),
            other => Err(malformed("rejoin", other, "none, rewind or clone")),
        }
    }

    /// How many directories with what was kept aside may be there.
    ///
    /// # Errors
    /// When the text is no number.
    pub fn keep_aside(&self) -> Result<u32, Failure> {
        let number = self.keep_aside.parse().ok().filter(|number| *number > 0);
        number.ok_or_else(|| malformed("keep_aside", &self.keep_aside, "a number of directories, at least 1"))
    }

    /// Whether the agent keeps replication slots.
    ///
    /// # Errors
    /// When the text is none of the three words.
    pub fn slots(&self) -> Result<UseSlots, Failure> {
        match self.slots.as_str() {
            "auto" => Ok(UseSlots::Auto),
            "yes" => Ok(UseSlots::Yes),
            "no" => Ok(UseSlots::No),
            other => Err(malformed("slots", other, "auto, yes or no")),
        }
    }

    /// Whether monitor reports a degraded instance.
    ///
    /// # Errors
    /// When the text is none of the two words.
    pub fn degraded(&self) -> Result<Degraded, Failure> {
        match self.degraded.as_str() {
            "report" => Ok(Degraded::Report),
            "hide" => Ok(Degraded::Hide),
            other => Err(malformed("degraded", other, "'report' or 'hide'")),
        }
    }

    /// Whom the standbys follow.
    ///
    /// # Errors
    /// When the text is none of the two words.
    pub fn follow(&self) -> Result<Follow, Failure> {
        match self.follow.as_str() {
            "conninfo" => Ok(Follow::Conninfo),
            "promoted" => Ok(Follow::Promoted),
            other => Err(malformed("follow", other, "'conninfo' or 'promoted'")),
        }
    }
}

fn malformed(name: &str, value: &str, expected: &str) -> Failure {
    let value: String = value.chars().take(40).flat_map(char::escape_default).collect();
    Failure::new(ExitCode::Arguments, format!("parameter {name} is '{value}'; it must be {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_paf() {
        let parameters = Parameters::read(&Environment::default());
        assert_eq!(parameters.system_user, "postgres");
        assert_eq!(parameters.pguser, "postgres");
        assert_eq!(parameters.data_directory(), PathBuf::from("/var/lib/pgsql/data"));
        assert_eq!(parameters.pgport(), Ok(5432));
        assert_eq!(parameters.maxlag(), Ok(None));
        assert_eq!(parameters.election_timeout(), Ok(Duration::from_secs(60)));
        assert_eq!(parameters.follow(), Ok(Follow::Conninfo));
        assert_eq!(parameters.slots(), Ok(UseSlots::Auto));
        assert_eq!((parameters.rejoin(), parameters.keep_aside()), (Ok(Rejoin::Rewind), Ok(3)));
    }

    #[test]
    fn a_word_that_is_none_is_named_with_its_cure() {
        let parameters =
            Parameters::read(&Environment::from([("OCF_RESKEY_rejoin", "Clone"), ("OCF_RESKEY_keep_aside", "0")]));
        let reasons = [parameters.rejoin().unwrap_err().to_string(), parameters.keep_aside().unwrap_err().to_string()];
        assert!(reasons[0].contains("none, rewind or clone") && reasons[1].contains("at least 1"), "{reasons:?}");
    }

    #[test]
    fn degraded_is_one_of_two_words() {
        let degraded = |text| Parameters::read(&Environment::from([("OCF_RESKEY_degraded", text)])).degraded();
        assert_eq!((degraded(""), degraded("hide")), (Ok(Degraded::Report), Ok(Degraded::Hide)));
        assert!(degraded("no").unwrap_err().to_string().contains("'report' or 'hide'"));
    }

    #[test]
    fn slots_is_one_of_three_words() {
        let slots = |text| Parameters::read(&Environment::from([("OCF_RESKEY_slots", text)])).slots();
        assert_eq!(slots("yes"), Ok(UseSlots::Yes));
        assert_eq!(slots("no"), Ok(UseSlots::No));
        for text in ["Yes", "true", "1", "automatic"] {
            assert!(slots(text).unwrap_err().to_string().contains("auto, yes or no"), "{text}");
        }
    }

    #[test]
    fn a_malformed_number_is_named_with_its_cure() {
        let long = "1".repeat(10_000);
        for text in ["0", "-1", "65536", "5432;id", "5432\n", &long, "$(id)"] {
            let text = if text == "5432\n" { "54\n32" } else { text };
            let parameters = Parameters::read(&Environment::from([("OCF_RESKEY_pgport", text)]));
            let failure = parameters.pgport().unwrap_err();
            let reason = failure.to_string();
            assert!(reason.contains("pgport") && reason.contains("65535") && reason.len() < 400, "{reason}");
            assert_eq!(failure.code(), ExitCode::Arguments);
        }
    }

    #[test]
    fn whom_to_follow_is_one_of_two_words() {
        let read = |text| Parameters::read(&Environment::from([("OCF_RESKEY_follow", text)])).follow();
        assert_eq!((read("promoted"), read("conninfo")), (Ok(Follow::Promoted), Ok(Follow::Conninfo)));
        for text in ["Promoted", "primary", "promoted conninfo", "$(id)"] {
            assert!(read(text).unwrap_err().to_string().contains("'conninfo' or 'promoted'"), "{text}");
        }
    }

    #[test]
    fn the_agents_role_follows_the_system_user() {
        let user = [("OCF_RESKEY_system_user", "pg")];
        assert_eq!(Parameters::read(&Environment::from(user)).pguser, "pg");
        let both = [("OCF_RESKEY_system_user", "pg"), ("OCF_RESKEY_pguser", "monitor")];
        assert_eq!(Parameters::read(&Environment::from(both)).pguser, "monitor");
    }
}
