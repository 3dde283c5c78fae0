//! The PostgreSQL instances: making the first, copying it, rebuilding one from the primary.

use std::process::Command;
use std::time::Duration;

use super::node_shell::{check_on, run_on};
use crate::error::{Error, Result};
use crate::plan::{Plan, VIP};
use crate::profile::{Guard, Layout, MONITOR_ROLE, PASSWORD, Role};
use crate::{paths, run};

const INITDB_LIMIT: Duration = Duration::from_secs(120);
const BASEBACKUP_LIMIT: Duration = Duration::from_secs(120);

/// The same on all nodes; what differs per node is in the file that is included. Everything else is as `initdb` makes it, and
/// Debian's `pg_createcluster`: no WAL is kept for standbys, and timeouts are those of most clusters out there.
const SETTINGS: &str = "\
listen_addresses = '*'
unix_socket_directories = '/var/run/postgresql'
log_line_prefix = '%m [%p] %q%u@%d '
log_replication_commands = on
logging_collector = on
log_directory = 'log'
log_filename = 'postgresql.log'
log_rotation_age = 0
log_truncate_on_rotation = off
include '/etc/postgresql/node.conf'
";

/// What the client writes into, and who it is; what pg_rewind asks of its source's role. One statement per line, for the single-user server.
const FIRST_STATEMENTS: &str = "\
create role replicator login replication
create role client login
create schema lab authorization client
create table lab.rows (client integer not null, n bigint not null)
alter table lab.rows owner to client
grant execute on function pg_catalog.pg_ls_dir(text, boolean, boolean) to replicator
grant execute on function pg_catalog.pg_stat_file(text, boolean) to replicator
grant execute on function pg_catalog.pg_read_binary_file(text) to replicator
grant execute on function pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) to replicator
";

/// Makes the instance on the first node and copies it, cleanly stopped, to the others.
pub(crate) fn make(plan: &Plan) -> Result<()> {
    let nodes: Vec<&str> = plan.cluster_nodes().map(|node| node.name.as_str()).collect();
    let Some((first, others)) = nodes.split_first() else {
        return Ok(());
    };
    init(plan, first)?;
    for other in others {
        copy(first, other)?;
        let signal = plan.pgdata().join("standby.signal").display().to_string();
        check_on(other, &["runuser", "-u", "postgres", "--", "touch", &signal])?;
    }
    nodes.iter().try_for_each(|node| lay_out(plan, node))
}

/// The configuration goes where the profile has it.
fn lay_out(plan: &Plan, node: &str) -> Result<()> {
    if !plan.profile.has_configuration_outside() {
        return Ok(());
    }
    let (data, configuration) = (plan.pgdata().display().to_string(), plan.configuration().display().to_string());
    let script = "set -e
        { cat \"$1/postgresql.conf\"; echo \"data_directory = '$1'\"; } > \"$2/postgresql.conf\"
        rm \"$1/postgresql.conf\" \"$1/pg_hba.conf\" \"$1/pg_ident.conf\"";
    check_on(node, &["runuser", "-u", "postgres", "--", "bash", "-c", script, "lay-out", &data, &configuration])
        .map(drop)
}

fn init(plan: &Plan, node: &str) -> Result<()> {
    let bindir = plan.bindir().display().to_string();
    let pgdata = plan.pgdata().display().to_string();
    let checksums = checksums_option(plan);
    // No standby is there that the statements' commits could wait for (`synchronous_standby_names=`): since 15.13 a single-user server waits as well.
    let statements = first_statements(plan);
    let volume = plan.volume().display().to_string();
    // Both are made before the server runs for the first time.
    let elsewhere = match plan.profile.layout {
        Layout::Linked => {
            format!("mkdir -m 700 {volume}/space; mv {pgdata}/pg_wal {volume}/wal; ln -s {volume}/wal {pgdata}/pg_wal")
        }
        Layout::Together | Layout::Debian | Layout::DebianByDatadir => String::new(),
    };
    let script = format!(
        "set -e
         {bindir}/initdb --pgdata={pgdata} {checksums} --auth-local=peer --auth-host=trust \
            --encoding=UTF8 --locale=C.UTF-8 --no-sync >/dev/null
         cat >> {pgdata}/postgresql.conf <<'END'\n{SETTINGS}END
         {elsewhere}
         {bindir}/postgres --single -D {pgdata} -c logging_collector=off -c synchronous_standby_names= postgres <<'END' >/dev/null\n{statements}END\n"
    );
    let output = run_on(node, &["runuser", "-u", "postgres", "--", "bash", "-c", &script], INITDB_LIMIT)?;
    match output.code == 0 && !output.stderr.contains("ERROR") {
        true => Ok(()),
        false => Err(Error::Program {
            command: format!("initdb and first statements (on {node})"),
            code: output.code.to_string(),
            said: output.stderr,
        }),
    }
}

fn first_statements(plan: &Plan) -> String {
    let mut statements = FIRST_STATEMENTS.to_owned();
    if plan.profile.has_role_of_its_own() {
        let password = if plan.profile.role == Role::Password { PASSWORD } else { "" };
        statements += &format!("create role {MONITOR_ROLE} login password '{password}'\n");
        statements += &format!("grant pg_monitor to {MONITOR_ROLE}\n");
    }
    if plan.profile.layout == Layout::Linked {
        let space = plan.volume().join("space");
        statements += &format!("create tablespace elsewhere location '{}'\n", space.display());
        statements += "alter table lab.rows set tablespace elsewhere\n";
    }
    statements
}

/// initdb makes checksums by itself from version 18 on, and knows the option against them only since then.
fn checksums_option(plan: &Plan) -> &'static str {
    match (plan.checksums && plan.profile.guard == Guard::Checksums, plan.postgres_major) {
        (true, _) => "--data-checksums",
        (false, 18..) => "--no-data-checksums",
        (false, _) => "",
    }
}

/// The whole volume: what a profile has beside the data directory is there as well.
fn copy(from: &str, to: &str) -> Result<()> {
    let mut copy = Command::new("cp");
    copy.args(["--archive", "--reflink=auto"]).arg(paths::volume(from).join(".")).arg(paths::volume(to));
    run::check(&mut copy, INITDB_LIMIT).map(drop)
}

/// Makes the node's instance anew from the primary. The cluster must have stopped it.
pub(crate) fn rebuild(plan: &Plan, node: &str) -> Result<()> {
    let bindir = plan.bindir().display().to_string();
    let pgdata = plan.pgdata().display().to_string();
    let volume = plan.volume().display().to_string();
    let waldir = match plan.profile.layout {
        Layout::Linked => format!("--waldir={volume}/wal"),
        Layout::Together | Layout::Debian | Layout::DebianByDatadir => String::new(),
    };
    let script = format!(
        "set -e
         find {pgdata} -mindepth 1 -delete
         for beside in {volume}/wal {volume}/space; do ! test -d $beside || find $beside -mindepth 1 -delete; done
         {bindir}/pg_basebackup --host={VIP} --username=replicator --pgdata={pgdata} --checkpoint=fast \
            --wal-method=stream --no-sync {waldir}
         rm -f {pgdata}/log/*
         touch {pgdata}/standby.signal\n"
    );
    let output = run_on(node, &["runuser", "-u", "postgres", "--", "bash", "-c", &script], BASEBACKUP_LIMIT)?;
    match output.code {
        0 => Ok(()),
        code => Err(Error::Program {
            command: format!("pg_basebackup (on {node})"),
            code: code.to_string(),
            said: output.stderr,
        }),
    }
}
