//! The primary that a rewind or a clone copies from, reached as the instance itself reaches it.

use std::cell::OnceCell;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::keep_aside::own_files_in;
use super::outside::resolve;
use super::{Marker, Phase, Task};
use crate::instance::files::beside;
use crate::instance::{Instance, SettingsError};
use crate::policy::conninfo::Conninfo;
use crate::policy::follow::wanted;
use crate::sys::{Deadline, Owner, Program};

/// The options that name files. A server looks for them from its working directory, which is the data directory.
const FILES: [&str; 6] = ["passfile", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir"];
/// How long the source may take for one answer.
const SHORT: Duration = Duration::from_secs(60);
/// The section of the file that has the secrets which no variable of libpq's can have.
const SERVICE: &str = "pgbaton";

/// How the source is reached. Secrets are apart from the rest: they must not be in an argument list.
pub(super) struct Source {
    conninfo: Conninfo,
    password: Option<String>,
    secrets: Option<SecretsFile>,
    database: String,
    /// For the instance's own configuration, secrets included.
    own: Conninfo,
    /// The data directory, as configured and without links.
    homes: [PathBuf; 2],
    /// Where the files of the data directory are to be looked for first.
    kept: Option<PathBuf>,
    /// The same, once a rewind has kept them.
    kept_since: OnceCell<PathBuf>,
}

impl Source {
    /// By the instance's own `primary_conninfo`, passfile included. Where there is none, as in an empty data
    /// directory that holds the configuration, too: as the owner, by name, to the primary's node.
    ///
    /// Once the old directory was renamed, it has the configuration: the new one has none, or the primary's.
    pub(super) fn of(instance: &Instance, marker: &Marker, deadline: Deadline) -> Result<Source, String> {
        const NAMES: [&str; 1] = ["primary_conninfo"];
        let is_apart = instance.parameters.pgdata != instance.data_directory();
        let settings = match marker.kept.as_deref().filter(|kept| kept.is_dir() && !is_apart) {
            Some(kept) if marker.task == Task::Clone => {
                instance.settings_in(kept, &NAMES, deadline).map_err(|e| unreadable(e, kept))?
            }
            _ => match instance.settings(&NAMES, deadline) {
                // There is an instance, which would not start with it either.
                Err(error) if instance.missing().is_none() => {
                    return Err(unreadable(error, &instance.parameters.pgdata));
                }
                settings => settings.unwrap_or_default(),
            },
        };
        let text = settings.get("primary_conninfo").map(String::as_str).unwrap_or_default();
        let present: Conninfo = text.parse().map_err(|e| format!("primary_conninfo cannot be used: {e}"))?;
        let own = own_conninfo(&present, instance, marker);
        // Not under the node's name: a copy in the making must not count as a synchronous standby, nor get a score.
        let mut conninfo = own.without_secrets().without(&["replication", "dbname", "application_name"]);
        let data = instance.data_directory();
        let secrets =
            SecretsFile::of(&own, data).map_err(|e| format!("cannot write a file beside {}: {e}", data.display()))?;
        if secrets.is_some() {
            conninfo = conninfo.with("service", SERVICE);
        }
        let password = own.get("password").map(str::to_owned);
        let database = instance.parameters.pgdatabase.clone();
        let homes = [data.to_owned(), resolve(data)];
        let kept = marker.kept.as_deref().filter(|kept| kept.is_dir()).map(own_files_in);
        Ok(Source { conninfo, password, secrets, database, own, homes, kept, kept_since: OnceCell::new() })
    }

    /// Writes to the instance's configuration whom it follows, where nothing else does: the last setting in this file
    /// is the one that counts.
    pub(super) fn name_primary(&self, data: &Path) -> io::Result<()> {
        let value = self.own.expose().replace('\\', "\\\\").replace('\'', "''");
        let mut file = OpenOptions::new().append(true).create(true).open(data.join("postgresql.auto.conf"))?;
        writeln!(file, "primary_conninfo = '{value}'")?;
        file.sync_all()
    }

    /// The files that were in the data directory are in this one from now on.
    pub(super) fn look_in(&self, kept: &Path) {
        let _ = self.kept_since.set(own_files_in(kept));
    }

    /// For an argument list.
    pub(super) fn conninfo(&self) -> String {
        self.located().expose().to_owned()
    }

    /// The same with a database, for SQL.
    pub(super) fn conninfo_for_sql(&self) -> String {
        self.located().with("dbname", &self.database).expose().to_owned()
    }

    /// With files named by where they are now. The programs work elsewhere than a server does, and the directory may have
    /// been moved aside.
    fn located(&self) -> Conninfo {
        let mut located = self.conninfo.clone();
        for key in FILES {
            if let Some(path) = self.conninfo.get(key).and_then(|value| self.locate(value)) {
                located = located.with(key, &path.to_string_lossy());
            }
        }
        located
    }

    /// Where a file is that is named in the configuration; `None` when it is not in the data directory.
    fn locate(&self, value: &str) -> Option<PathBuf> {
        // `sslrootcert=system` is no file (libpq, 16 and newer).
        if value.is_empty() || value == "system" {
            return None;
        }
        let path = Path::new(value);
        let inside = match path.is_absolute() {
            false => path,
            true => self.homes.iter().find_map(|home| path.strip_prefix(home).ok())?,
        };
        let [data, _] = &self.homes;
        let places = self.kept_since.get().into_iter().chain(&self.kept).chain([data]);
        let mut paths = places.map(|place| place.join(inside));
        Some(paths.find(|path| path.exists()).unwrap_or_else(|| data.join(inside)))
    }

    /// Asks the source, as `pg_basebackup` will, whether it lets this node in, is what it should be, and has two WAL
    /// senders free: one for the files, one for the WAL. Nothing is changed before.
    pub(super) fn refuse_unless_it_serves(
        &self,
        instance: &Instance,
        owner: &Owner,
        marker: &Marker,
    ) -> Result<(), String> {
        let untouched = if marker.phase == Phase::Planned { "; nothing was changed" } else { "" };
        let failed = |why: String| format!("{} cannot be cloned yet: {why}{untouched}", marker.primary);
        let conninfo = self.located().with("replication", "true");
        let identified = self.ask_by(conninfo.expose(), instance, owner, "IDENTIFY_SYSTEM", Deadline::after(SHORT));
        let identified = identified.map_err(failed)?;
        let system = identified.split('|').next().unwrap_or_default();
        if !marker.system.is_empty() && system != marker.system {
            return Err(failed(format!(
                "what answers there has the system identifier {system} and not {}; correct primary_conninfo, or the address",
                marker.system
            )));
        }
        let sql = "select current_setting('max_wal_senders')::int - count(*) from pg_stat_replication";
        // A role that may not ask that is told by `pg_basebackup`.
        let free =
            self.ask(instance, owner, sql, Deadline::after(SHORT)).ok().and_then(|free| free.parse::<i64>().ok());
        match free {
            Some(free) if free < 2 => Err(failed(format!(
                "it has {free} of its WAL senders free, and a copy needs two; raise max_wal_senders there"
            ))),
            _ => Ok(()),
        }
    }

    /// One of PostgreSQL's programs that connects to the source.
    pub(super) fn program(&self, instance: &Instance, owner: &Owner, name: &str) -> Program {
        let program = Program::new(instance.program(name)).owned_by(owner);
        // A role may have a timeout of its own, which would end a long copy.
        let program = program.variable("PGOPTIONS", "-c statement_timeout=0");
        let program = match &self.secrets {
            Some(file) => program.variable("PGSERVICEFILE", file.0.to_string_lossy()),
            None => program,
        };
        match &self.password {
            Some(password) => program.variable("PGPASSWORD", password),
            None => program,
        }
    }

    /// Runs one statement and returns its only value.
    pub(super) fn ask(
        &self,
        instance: &Instance,
        owner: &Owner,
        sql: &str,
        deadline: Deadline,
    ) -> Result<String, String> {
        self.ask_by(&self.conninfo_for_sql(), instance, owner, sql, deadline)
    }

    fn ask_by(
        &self,
        conninfo: &str,
        instance: &Instance,
        owner: &Owner,
        sql: &str,
        deadline: Deadline,
    ) -> Result<String, String> {
        let program = self.program(instance, owner, "psql").args(["-X", "-A", "-t", "-q", "-w"]);
        let program = program.args(["-d", conninfo, "-c", sql]);
        program.run(deadline).map(|text| text.trim().to_owned()).map_err(|e| e.to_string())
    }
}

fn unreadable(error: SettingsError, place: &Path) -> String {
    format!("{error}; correct the configuration in {}, the next attempt goes by it", place.display())
}

/// A service file for the secrets that are no password, for instance that of a key. What the connection string says itself
/// comes before what is in it, and it is gone with this.
#[derive(Debug)]
struct SecretsFile(PathBuf);

impl SecretsFile {
    fn of(conninfo: &Conninfo, data: &Path) -> io::Result<Option<SecretsFile>> {
        let text = service_of(conninfo);
        // The connection string has a service of its own: its file must be the one that is read.
        if text.is_empty() || conninfo.get("service").is_some() {
            return Ok(None);
        }
        let path = beside(data, ".rejoin.service");
        let _ = fs::remove_file(&path);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(Some(SecretsFile(path)))
    }
}

impl Drop for SecretsFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Empty when there is nothing to be kept secret in it.
fn service_of(conninfo: &Conninfo) -> String {
    let secrets = conninfo.secrets().into_iter().filter(|(key, value)| *key != "password" && !value.contains('\n'));
    let lines: String = secrets.map(|(key, value)| format!("{key}={value}\n")).collect();
    if lines.is_empty() { lines } else { format!("[{SERVICE}]\n{lines}") }
}

fn own_conninfo(present: &Conninfo, instance: &Instance, marker: &Marker) -> Conninfo {
    let is_empty = present.expose().is_empty();
    let mut own = present.clone();
    if own.get("application_name") != Some(&marker.node) {
        own = own.with("application_name", &marker.node);
    }
    if is_empty {
        own = own.with("user", &instance.parameters.system_user);
    }
    match &marker.host {
        Some(host) => wanted(&own, host).unwrap_or(own),
        None if is_empty => own.with("host", &marker.primary),
        None => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str, data: &Path, kept: Option<&Path>) -> Source {
        let conninfo: Conninfo = text.parse().unwrap();
        Source {
            conninfo: conninfo.clone(),
            password: None,
            secrets: None,
            database: "postgres".to_owned(),
            own: conninfo,
            homes: [data.to_owned(), data.to_owned()],
            kept: kept.map(own_files_in),
            kept_since: OnceCell::new(),
        }
    }

    #[test]
    fn files_of_the_data_directory_are_named_by_where_they_are() {
        let home = tempfile::tempdir().unwrap();
        let (data, whole, part) = (home.path().join("main"), home.path().join("whole"), home.path().join("part"));
        for file in [data.join("tls/cert"), whole.join("tls/cert"), whole.join("pass"), part.join("config/pass")] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        fs::write(part.join("pg_control"), "").unwrap();
        let text = format!(
            "host=a passfile=pass sslcert={}/tls/cert sslkey=/etc/key sslrootcert=system sslcrl=",
            data.display()
        );
        let seen = |source: &Source, key: &str| source.located().get(key).unwrap().to_owned();
        let at = |path: PathBuf| path.display().to_string();
        let before = source(&text, &data, None);
        assert_eq!(seen(&before, "passfile"), at(data.join("pass")));
        before.look_in(&part);
        assert_eq!(seen(&before, "passfile"), at(part.join("config/pass")));
        let after = source(&text, &data, Some(&whole));
        for (key, value) in [
            ("passfile", at(whole.join("pass"))),
            ("sslcert", at(whole.join("tls/cert"))),
            ("sslkey", "/etc/key".to_owned()),
            ("sslrootcert", "system".to_owned()),
            ("sslcrl", String::new()),
            ("host", "a".to_owned()),
        ] {
            assert_eq!(seen(&after, key), value);
        }
    }

    #[test]
    fn secrets_that_are_no_password_go_by_a_file_that_is_gone_afterwards() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("main");
        let of = |text: &str| SecretsFile::of(&text.parse().unwrap(), &data).unwrap();
        assert!(of("host=a password=p").is_none() && of("service=own sslpassword=s").is_none());
        let file = of("host=a password=p sslpassword='of the key'").unwrap();
        let path = file.0.clone();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[pgbaton]\nsslpassword=of the key\n");
        drop(file);
        assert!(!path.exists());
    }
}
