//! The primary that a rewind or a clone copies from, reached as the instance itself reaches it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use super::{Marker, Task};
use crate::instance::Instance;
use crate::policy::conninfo::Conninfo;
use crate::policy::follow::wanted;
use crate::sys::{Deadline, Owner, Program};

/// How the source is reached. The password is apart from the rest: it must not be in an argument list.
pub(super) struct Source {
    conninfo: Conninfo,
    password: Option<String>,
    database: String,
    /// For the instance's own configuration, secrets included.
    own: Conninfo,
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
                instance.settings_in(kept, &NAMES, deadline).map_err(|e| e.to_string())?
            }
            _ => instance.settings(&NAMES, deadline).unwrap_or_default(),
        };
        let text = settings.get("primary_conninfo").map(String::as_str).unwrap_or_default();
        let present: Conninfo = text.parse().map_err(|e| format!("primary_conninfo cannot be used: {e}"))?;
        let own = own_conninfo(&present, instance, marker);
        // Not under the node's name: a copy in the making must not count as a synchronous standby, nor get a score.
        let conninfo = own.without_secrets().without(&["replication", "dbname", "application_name"]);
        let password = own.get("password").map(str::to_owned);
        let database = instance.parameters.pgdatabase.clone();
        Ok(Source { conninfo, password, database, own })
    }

    /// Writes to the instance's configuration whom it follows, where nothing else does: the last setting in this file
    /// is the one that counts.
    pub(super) fn name_primary(&self, data: &Path) -> io::Result<()> {
        let value = self.own.expose().replace('\\', "\\\\").replace('\'', "''");
        let mut file = OpenOptions::new().append(true).create(true).open(data.join("postgresql.auto.conf"))?;
        writeln!(file, "primary_conninfo = '{value}'")?;
        file.sync_all()
    }

    /// For an argument list.
    pub(super) fn conninfo(&self) -> &str {
        self.conninfo.expose()
    }

    /// The same with a database, for SQL.
    pub(super) fn conninfo_for_sql(&self) -> String {
        self.conninfo.with("dbname", &self.database).expose().to_owned()
    }

    /// One of PostgreSQL's programs that connects to the source.
    pub(super) fn program(&self, instance: &Instance, owner: &Owner, name: &str) -> Program {
        let program = Program::new(instance.program(name)).owned_by(owner);
        // A role may have a timeout of its own, which would end a long copy.
        let program = program.variable("PGOPTIONS", "-c statement_timeout=0");
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
        let program = self.program(instance, owner, "psql").args(["-X", "-A", "-t", "-q", "-w"]);
        let program = program.args(["-d", &self.conninfo_for_sql(), "-c", sql]);
        program.run(deadline).map(|text| text.trim().to_owned()).map_err(|e| e.to_string())
    }
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
