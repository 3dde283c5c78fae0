//! Logging in: what the agent's own connection is like, and what it means when there is none.
//!
//! All of it runs in a thread that is the instance's owner: that is what `peer` authentication asks for, and the owner's
//! password file is read with the owner's rights.

use std::error::Error;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgres::{Client, Config, NoTls};

use super::SqlError;
use super::first_words::first_words;
use crate::policy::passfile::{Wanted, password};
use crate::policy::refusal::{Meaning, meaning};

/// The name of the password file in the owner's home, where `psql` looks for it, too. Pacemaker sets no PGPASSFILE.
const PASSWORD_FILE: &str = ".pgpass";

/// A password file of any sensible length.
const LIMIT: u64 = 1 << 20;

/// Settings of the session that come before those that its role or database has: each of these would keep a question
/// from being answered, or change the answer. Every role may set them.
const SETTINGS: [&str; 14] = [
    "search_path=pg_catalog",
    "role=none",
    // Hot standbys refuse serializable transactions.
    "default_transaction_isolation=read\\ committed",
    "default_transaction_read_only=off",
    "default_transaction_deferrable=off",
    "idle_in_transaction_session_timeout=0",
    "synchronous_commit=local",
    // A library of the role that is missing ends its sessions.
    "local_preload_libraries=",
    // A question that the role may not ask is not the end of the session.
    "exit_on_error=off",
    "row_security=on",
    "client_min_messages=warning",
    // No helpers: there may be no room for them.
    "max_parallel_workers_per_gather=0",
    "jit=off",
    "standard_conforming_strings=on",
];

/// The same, with the first version that knows them.
const NEWER_SETTINGS: [(&str, u32); 2] = [("idle_session_timeout=0", 14), ("transaction_timeout=0", 17)];

/// What a login needs to know.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) database: String,
    /// The owner's home, for the password file.
    pub(super) home: PathBuf,
    /// The server's major version, where it is known.
    pub(super) version: Option<u32>,
    /// How long a connection and each question may take. The server is told, too, so that it ends what this side has given up.
    pub(super) bound: Duration,
}

impl Login {
    /// Where it leads, for messages.
    pub(super) fn target(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Connects. The password file is read only where the server asks for a password: a home that hangs costs those nothing
    /// who need none.
    pub(super) fn open(&self) -> Result<Client, SqlError> {
        let mut config = self.config();
        match config.connect(NoTls) {
            Err(error) if wants_password(&error) => {
                let secret = self.password().map_err(SqlError::Refused)?;
                config.password(secret).connect(NoTls).map_err(|error| self.classify(&error))
            }
            result => result.map_err(|error| self.classify(&error)),
        }
    }

    fn config(&self) -> Config {
        let bound = self.bound.max(Duration::from_millis(1));
        let mut config = Config::new();
        config.host(&self.host).port(self.port).user(name(&self.user)).dbname(name(&self.database));
        config.connect_timeout(bound).application_name("pgbaton").options(&self.options(bound.as_millis()));
        config
    }

    fn options(&self, ms: u128) -> String {
        let timeouts = [format!("statement_timeout={ms}"), format!("lock_timeout={ms}")];
        let newer = NEWER_SETTINGS.iter().filter(|(_, since)| self.version.is_some_and(|version| version >= *since));
        let settings = SETTINGS.iter().copied().chain(newer.map(|(setting, _)| *setting));
        let all = timeouts.iter().map(String::as_str).chain(settings).map(|setting| format!("-c {setting}"));
        all.collect::<Vec<_>>().join(" ")
    }

    /// The password from the owner's file, or why there is none, with the cure.
    fn password(&self) -> Result<String, String> {
        let file = self.home.join(PASSWORD_FILE);
        let (shown, Login { host, port, user, database, .. }) = (file.display(), self);
        let wanted = Wanted { host, port: *port, database: name(database), user: name(user) };
        let why = match read_private(&file) {
            Ok(text) => match password(&text, &wanted) {
                Some(secret) => return Ok(secret),
                None => format!("{shown} has no line for {host}:{port}:{database}:{user}"),
            },
            Err(why) => format!("{shown} {why}"),
        };
        Err(format!(
            "it asks for a password for role '{user}', and {why}; correct that file, or let the role in by 'peer' in pg_hba.conf"
        ))
    }

    /// What a failed connection or question means.
    pub(super) fn classify(&self, error: &postgres::Error) -> SqlError {
        if let Some(server) = error.as_db_error() {
            let text = server.message().to_owned();
            return match meaning(server.code().code()) {
                Meaning::NotNow => SqlError::NotNow(text),
                Meaning::ShutOut => SqlError::Refused(text),
                Meaning::Failing => SqlError::Failing(text),
            };
        }
        if let Some(wish) = authentication_wish(error) {
            return SqlError::Refused(format!(
                "it asks the agent for what it does not have: {wish}; let the role in by 'peer' in pg_hba.conf"
            ));
        }
        let cause = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
        match cause.map(std::io::Error::kind) {
            Some(ErrorKind::NotFound | ErrorKind::ConnectionRefused) => SqlError::NoListener(self.target()),
            Some(ErrorKind::TimedOut) => SqlError::Timeout(self.target(), self.bound.as_millis()),
            _ => SqlError::Broken(in_words(error)),
        }
    }

    /// What a server said at first that has given no connection, if it said anything: then it is alive.
    pub(super) fn first_words(&self, bound: Duration) -> Option<String> {
        first_words(&self.host, self.port, name(&self.user), name(&self.database), bound).ok().flatten()
    }
}

/// Names are cut as PostgreSQL cuts them (NAMEDATALEN): a start-up packet that is too long would be
/// answered by a closed connection, which looks like a crash.
fn name(text: &str) -> &str {
    let end = (0..=63).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end.min(text.len())).unwrap_or(text)
}

/// Reads a file that must be nobody else's business, as libpq demands of it.
fn read_private(path: &Path) -> Result<String, String> {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    let open = |path| std::fs::OpenOptions::new().read(true).open(path);
    // A pipe in its place would hold up the open.
    let found = std::fs::metadata(path).map_err(|e| format!("cannot be read: {e}"))?;
    if !found.is_file() {
        return Err("is no plain file".to_owned());
    }
    if found.permissions().mode() & 0o077 != 0 {
        return Err("is not used, since group or others have access to it: chmod 0600".to_owned());
    }
    let mut text = Vec::new();
    let read = open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut text));
    read.map_err(|e| format!("cannot be read: {e}"))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The client library, and not the server, gives up where a password is wanted and none was given. It has no kinds of
/// errors for callers, only words; a test holds them.
fn wants_password(error: &postgres::Error) -> bool {
    error.to_string() == "invalid configuration" && source_of(error).as_deref() == Some("password missing")
}

/// The server asked for an authentication that the client library, or the agent, cannot give.
fn authentication_wish(error: &postgres::Error) -> Option<String> {
    matches!(error.to_string().as_str(), "authentication error" | "invalid configuration")
        .then(|| source_of(error).unwrap_or_default())
}

fn source_of(error: &postgres::Error) -> Option<String> {
    error.source().map(ToString::to_string)
}

fn in_words(error: &postgres::Error) -> String {
    match source_of(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// A server that reads the start-up packet, says this, and reads on.
    fn says(answer: &'static [u8]) -> Login {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let (mut stream, mut packet) = (stream, [0; 4096]);
                    let _ = stream.read(&mut packet);
                    let _ = stream.write_all(answer);
                    while stream.read(&mut packet).is_ok_and(|n| n > 0) {}
                });
            }
        });
        Login {
            host: "127.0.0.1".to_owned(),
            port,
            user: "agent".to_owned(),
            database: "postgres".to_owned(),
            home: "/nowhere".into(),
            version: Some(15),
            bound: Duration::from_secs(5),
        }
    }

    fn error_of(answer: &'static [u8]) -> SqlError {
        says(answer).open().err().unwrap()
    }

    #[test]
    fn an_authentication_that_the_agent_cannot_give_is_an_answer() {
        for (answer, words) in [
            (&b"R\0\0\0\x08\0\0\0\x03"[..], "asks for a password"),
            (b"R\0\0\0\x0c\0\0\0\x05salt", "asks for a password"),
            (b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0", "asks for a password"),
            (b"R\0\0\0\x08\0\0\0\x07", "unsupported authentication method"),
            (b"R\0\0\0\x08\0\0\0\x09", "unsupported authentication method"),
        ] {
            let error = error_of(answer);
            assert!(matches!(&error, SqlError::Refused(why) if why.contains(words)), "{error}");
        }
    }

    #[test]
    fn an_error_that_the_server_sends_is_told_by_its_code() {
        let refused = error_of(b"E\0\0\0\x1dSFATAL\0C28000\0Mno entry\0\0");
        assert!(matches!(&refused, SqlError::Refused(why) if why == "no entry"), "{refused}");
        let failing = error_of(b"E\0\0\0\x1bSFATAL\0C58030\0Mno disk\0");
        assert!(
            matches!(&failing, SqlError::Failing(why) if why.contains("no disk"))
                || matches!(failing, SqlError::Broken(_))
        );
    }

    /// As the postmaster answers when the system gives it no process for the connection.
    #[test]
    fn a_server_that_has_no_process_left_is_alive() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let login = Login { port: listener.local_addr().unwrap().port(), ..says(b"") };
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"Ecould not fork new process for connection: no room\n\0");
            }
        });
        assert!(matches!(login.open(), Err(SqlError::Broken(_))));
        let words = login.first_words(login.bound);
        assert_eq!(words.as_deref(), Some("could not fork new process for connection: no room"));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let login = Login { bound: Duration::from_millis(200), ..says(b"") };
        assert_eq!(login.first_words(login.bound), None);
    }

    #[test]
    fn settings_that_a_version_does_not_know_are_not_given() {
        let options = |version| Login { version, ..says(b"") }.options(7);
        assert!(options(None).starts_with("-c statement_timeout=7 -c lock_timeout=7 -c search_path=pg_catalog"));
        for (version, idle, transaction) in
            [(None, false, false), (Some(13), false, false), (Some(14), true, false), (Some(17), true, true)]
        {
            let options = options(version);
            assert_eq!(options.contains("idle_session_timeout=0"), idle, "{version:?}");
            assert_eq!(options.contains(" transaction_timeout=0"), transaction, "{version:?}");
        }
    }

    #[test]
    fn a_password_file_is_used_only_when_it_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let login = Login { home: home.path().to_owned(), ..says(b"") };
        let file = home.path().join(PASSWORD_FILE);
        assert!(login.password().unwrap_err().contains("cannot be read"));
        std::fs::write(&file, "*:*:*:other:secret\n").unwrap();
        for (mode, words) in [(0o640, "chmod 0600"), (0o604, "chmod 0600"), (0o600, "has no line for 127.0.0.1:")] {
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            assert!(login.password().unwrap_err().contains(words), "{mode:o}");
        }
        std::fs::write(&file, "*:*:*:agent:secret\n").unwrap();
        assert_eq!(login.password().as_deref(), Ok("secret"));
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(login.password().unwrap_err().contains("no plain file"));
    }

    #[test]
    fn a_name_is_cut_where_the_server_cuts_it() {
        assert_eq!(name(&"x".repeat(70)).len(), 63);
        assert_eq!(name(&"ä".repeat(40)).len(), 62);
        assert_eq!(name("agent"), "agent");
    }
}
