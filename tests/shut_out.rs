//! A server that shuts the agent out is alive: whatever keeps the agent from logging in, no action takes the server for
//! dead, and what a role or a database has for settings does not bend the agent's questions. Nor is a server taken for
//! what it is not: another instance's for this one, its own for an upstream.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, MutexGuard};

use support::agent::Call;
use support::cluster::Cluster;
use support::node::{Node, Seen, own, owner};
use support::transition::Promotion;
use support::{at_once, wait_until};

/// The agent's role. The tests themselves are `postgres`.
const ROLE: &str = "agent";

/// How one way of being shut out is made: the method for the agent's role in `pg_hba.conf`, statements on the primary.
struct Way {
    what: &'static str,
    method: &'static str,
    statements: &'static [&'static str],
    undo: &'static [&'static str],
    /// Part of the warning.
    says: &'static str,
}

const fn by_method(what: &'static str, method: &'static str, says: &'static str) -> Way {
    Way { what, method, statements: &[], undo: &[], says }
}

const fn by_statements(
    what: &'static str,
    statements: &'static [&'static str],
    undo: &'static [&'static str],
    says: &'static str,
) -> Way {
    Way { what, method: "trust", statements, undo, says }
}

const WAYS: [Way; 14] = [
    by_method("a SCRAM password is wanted", "scram-sha-256", "password"),
    by_method("an MD5 password is wanted", "md5", "password"),
    by_method("a plain password is wanted", "password", "password"),
    by_method("PAM is asked", "pam", "password"),
    by_method("it is rejected", "reject", "pg_hba.conf rejects connection"),
    by_method("it is not mentioned", "", "no pg_hba.conf entry"),
    by_method("it is another user's", "peer", "Peer authentication failed"),
    by_statements(
        "it may not log in",
        &["alter role agent nologin"],
        &["alter role agent login"],
        "not permitted to log",
    ),
    by_statements(
        "the role is gone",
        &["alter role agent rename to other"],
        &["alter role other rename to agent"],
        "does not exist",
    ),
    by_statements(
        "the role has used up its connections",
        &["alter role agent connection limit 0"],
        &["alter role agent connection limit -1"],
        "too many connections for role",
    ),
    by_statements(
        "the database is gone",
        &["alter database home rename to moved"],
        &["alter database moved rename to home"],
        "does not exist",
    ),
    by_statements(
        "the database lets nobody in",
        &["alter database home allow_connections false"],
        &["alter database home allow_connections true"],
        "not currently accepting connections",
    ),
    by_statements(
        "the role may not enter the database",
        &["revoke connect on database home from public"],
        &["grant connect on database home to public"],
        "permission denied for database",
    ),
    by_statements(
        "a library of the role is missing",
        &["alter role agent set session_preload_libraries = 'nowhere'"],
        &["alter role agent reset session_preload_libraries"],
        "could not access file",
    ),
];

/// A setting of the role that would change what the agent's session does.
const SETTINGS: [&str; 23] = [
    "default_transaction_isolation = 'serializable'",
    "default_transaction_read_only = on",
    "default_transaction_deferrable = on",
    "statement_timeout = 1",
    "lock_timeout = 1",
    "idle_session_timeout = 1",
    "idle_in_transaction_session_timeout = 1",
    "search_path = 'nowhere'",
    "role = 'nobody'",
    "row_security = off",
    "client_min_messages = 'debug5'",
    "local_preload_libraries = 'nowhere'",
    "exit_on_error = on",
    "force_parallel_mode = regress",
    "jit_above_cost = 0",
    "standard_conforming_strings = off",
    "datestyle = 'SQL, DMY'",
    "timezone = 'Asia/Kathmandu'",
    "client_encoding = 'LATIN1'",
    "bytea_output = 'escape'",
    "application_name = 'other'",
    "quote_all_identifiers = on",
    "synchronous_commit = remote_apply",
];

/// Puts the owner's password file there for as long as the value lives. It is one for all tests.
struct PasswordFile {
    _lock: MutexGuard<'static, ()>,
}

static ONE_PASSWORD_FILE: Mutex<()> = Mutex::new(());

impl PasswordFile {
    fn of(text: &str, mode: u32) -> PasswordFile {
        let _lock = ONE_PASSWORD_FILE.lock().unwrap_or_else(|e| e.into_inner());
        let path = owner().dir.join(".pgpass");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        own(&path);
        PasswordFile { _lock }
    }
}

impl Drop for PasswordFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(owner().dir.join(".pgpass"));
    }
}

/// A primary and a standby, with a role and a database for the agent.
fn pair() -> (Arc<Cluster>, Node, Node) {
    let cluster = Cluster::new();
    cluster.attributes.set_members(&["srv1", "srv2"]);
    let primary = cluster.node("srv1");
    let_in(&primary, "trust");
    primary.run_as_primary();
    cluster.move_address_to(&primary);
    primary.sql("create role agent login replication in role pg_monitor password 'secret: \\'");
    primary.sql("create role nobody");
    primary.sql("grant nobody to agent");
    primary.sql("create database home");
    let standby = cluster.backup_of(&primary, "srv2");
    standby.run_as_standby();
    primary.await_streaming("srv2");
    (cluster, primary, standby)
}

/// Lets the agent's role in by this method, or not at all.
fn let_in(node: &Node, method: &str) {
    let agent = if method.is_empty() { String::new() } else { format!("local all {ROLE} {method}\n") };
    let text = format!("local all postgres trust\nlocal replication all trust\n{agent}");
    node.write("pg_hba.conf", &text);
    if node.seen() != Seen::Down {
        node.sql("select pg_reload_conf()");
        // The postmaster reads the file at a moment of its own, and what it has read is seen from a new connection.
        let (wanted, rules) = (if method.is_empty() { 2 } else { 3 }, "select count(*) from pg_hba_file_rules");
        wait_until("the rules", || node.sql(rules) == wanted.to_string());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

fn call(node: &Node, action: &str) -> Call {
    node.call(action).parameter("pguser", ROLE).parameter("pgdatabase", "home")
}

fn take(way: &Way, primary: &Node, standby: &Node) {
    for node in [primary, standby] {
        let_in(node, way.method);
    }
    run_all(way.statements, primary);
    primary.await_streaming("srv2");
}

fn run_all(statements: &[&str], primary: &Node) {
    for statement in statements {
        primary.sql(statement);
    }
}

#[test]
fn a_server_that_does_not_let_the_agent_in_is_alive() {
    let (_cluster, primary, standby) = pair();
    for way in &WAYS {
        take(way, &primary, &standby);
        for (node, code) in [(&primary, 8), (&standby, 0)] {
            let answer = call(node, "monitor").run();
            assert_eq!(answer.code, code, "{}: {answer:#?}", way.what);
            assert_eq!(answer.logged("refuses the agent"), 1, "{}: {answer:#?}", way.what);
            assert!(answer.logged(way.says) == 1, "{}: {answer:#?}", way.what);
            let answer = call(node, "monitor").meta("interval", "0").run();
            assert_eq!(answer.code, code, "{}: {answer:#?}", way.what);
        }
        run_all(way.undo, &primary);
        let_in(&primary, "trust");
        let_in(&standby, "trust");
        primary.await_streaming("srv2");
        call(&primary, "monitor").run().expect_code(8);
        call(&standby, "monitor").run().expect_code(0);
    }
}

#[test]
fn a_setting_of_the_role_does_not_reach_the_agent() {
    let (cluster, primary, standby) = pair();
    cluster.attributes.set_score("srv1", "1001");
    for setting in SETTINGS {
        let (name, _) = setting.split_once(' ').unwrap();
        primary.sql(&format!("alter role agent set {setting}"));
        primary.await_streaming("srv2");
        for (node, code) in [(&primary, 8), (&standby, 0)] {
            let answer = call(node, "monitor").timeout(8_000).run();
            assert_eq!(answer.code, code, "{setting}: {answer:#?}");
            let said: Vec<_> =
                ["cannot", "refuses", "not updated"].iter().filter(|word| answer.logged(word) > 0).collect();
            assert!(said.is_empty(), "{setting}: {answer:#?}");
        }
        primary.sql(&format!("alter role agent reset {name}"));
    }
    let promotion = Promotion::new(&standby, &["srv2"]);
    primary.sql("alter role agent set default_transaction_isolation = 'serializable'");
    primary.await_streaming("srv2");
    promotion.announce(&[&standby]);
    assert!(cluster.attributes.paper("srv2").starts_with("vote "), "{}", cluster.attributes.paper("srv2"));
}

/// psql under the same user would get in, and so does the agent.
#[test]
fn the_owners_password_file_lets_the_agent_in() {
    let (_cluster, primary, standby) = pair();
    let line = format!("{}:5999:home:agent:secret\\: \\\\\n", primary.sockets.display());
    for (text, mode, refused) in [
        (format!("# the agent's\n{line}"), 0o600, ""),
        ("*:*:*:agent:secret\\: \\\\\n".to_owned(), 0o400, ""),
        (line.clone(), 0o640, "chmod 0600"),
        ("*:*:*:agent:other\n".to_owned(), 0o600, "password authentication failed"),
        ("*:*:other:agent:secret\n".to_owned(), 0o600, "has no line for"),
    ] {
        let _file = PasswordFile::of(&text, mode);
        for method in ["scram-sha-256", "password"] {
            let_in(&primary, method);
            let answer = call(&primary, "monitor").run().expect_code(8);
            let logged = answer.logged("refuses the agent");
            assert_eq!(logged, usize::from(!refused.is_empty()), "{text} {method}: {answer:#?}");
            assert!(refused.is_empty() || answer.logged(refused) == 1, "{text} {method}: {answer:#?}");
            let_in(&primary, "trust");
            call(&primary, "monitor").run().expect_code(8);
        }
    }
    let _file = PasswordFile::of("*:*:*:agent:secret\\: \\\\\n", 0o600);
    primary.sql("alter role agent valid until '2000-01-01'");
    primary.await_streaming("srv2");
    for (node, code) in [(&primary, 8), (&standby, 0)] {
        let_in(node, "scram-sha-256");
        let answer = call(node, "monitor").run().expect_code(code);
        assert_eq!(answer.logged("password authentication failed"), 1, "{answer:#?}");
    }
}

/// What is the same for minutes is said once, and shown where `crm_mon` shows the node's attributes.
#[test]
fn a_refusal_is_told_once_and_shown() {
    let (cluster, primary, _standby) = pair();
    for (method, state) in [("reject", "refuses the agent"), ("trust", "primary"), ("reject", "refuses the agent")] {
        let_in(&primary, method);
        let told: usize =
            (0..3).map(|_| call(&primary, "monitor").run().expect_code(8).logged("refuses the agent")).sum();
        assert_eq!(told, usize::from(method == "reject"), "{method}");
        assert_eq!(cluster.attributes.state("srv1"), state);
    }
}

#[test]
fn a_server_that_does_not_let_the_agent_in_is_demoted_and_promoted() {
    at_once(&["scram-sha-256", "reject"], |method| {
        let (cluster, primary, standby) = pair();
        for node in [&primary, &standby] {
            let_in(node, method);
        }
        call(&primary, "demote").run().expect_code(0);
        primary.await_seen(Seen::Standby);
        for node in [&primary, &standby] {
            let notify = call(node, "notify").meta("notify_type", "pre").meta("notify_operation", "promote");
            let notify = notify.meta("notify_unpromoted_uname", "srv1 srv2").meta("notify_active_uname", "srv1 srv2");
            notify.meta("notify_promote_uname", "srv1").run().expect_code(0);
        }
        assert!(cluster.attributes.paper("srv1").starts_with("vote "), "{}", cluster.attributes.paper("srv1"));
        call(&primary, "promote").run().expect_code(0);
        primary.await_seen(Seen::Primary);
        call(&primary, "monitor").run().expect_code(8);
        call(&primary, "start").run().expect_code(1).expect_reason("already runs as a primary");
        call(&standby, "stop").run().expect_code(0);
        call(&standby, "start").run().expect_code(0);
        standby.await_seen(Seen::Standby);
    });
}

/// Beside a primary that cannot see it, nobody gives it a score; when that one is lost, it stands for election by itself.
#[test]
fn a_standby_that_does_not_let_the_agent_in_stands_for_election() {
    let (cluster, primary, standby) = pair();
    cluster.attributes.set_promoted(&["srv1"]);
    call(&primary, "monitor").run().expect_code(8);
    for node in [&primary, &standby] {
        let_in(node, "reject");
    }
    for action in ["stop", "start"] {
        call(&standby, action).run().expect_code(0);
    }
    assert_eq!(cluster.attributes.scores(), "srv1=1001 srv2=-1000000");
    primary.await_streaming("srv2");
    for _ in 0..3 {
        call(&standby, "monitor").run().expect_code(0);
    }
    assert_eq!(cluster.attributes.scores(), "srv1=1001 srv2=-1000000");
    primary.crash();
    cluster.attributes.lose_all_of("srv1");
    cluster.attributes.set_promoted(&[]);
    wait_until("it stands for election", || {
        call(&standby, "monitor").run().expect_code(0);
        cluster.attributes.scores() == "srv2=1"
    });
}

/// The attribute daemon was started anew, and what it knew is gone.
#[test]
fn a_primary_that_does_not_let_the_agent_in_keeps_its_score() {
    let (cluster, primary, _standby) = pair();
    cluster.attributes.set_promoted(&["srv1"]);
    call(&primary, "monitor").run().expect_code(8);
    let_in(&primary, "reject");
    call(&primary, "monitor").run().expect_code(8);
    cluster.attributes.lose_all_of("srv1");
    call(&primary, "monitor").run().expect_code(8);
    assert!(cluster.attributes.scores().starts_with("srv1=1001"), "{}", cluster.attributes.scores());
}

#[test]
fn validate_all_names_what_shuts_the_agent_out() {
    let (_cluster, primary, _standby) = pair();
    let_in(&primary, "reject");
    let answer = call(&primary, "validate-all").run().expect_code(0);
    assert!(answer.stdout.contains("refuses the agent") && answer.stdout.contains("pg_hba.conf"), "{answer:#?}");
    let_in(&primary, "trust");
    let answer = call(&primary, "validate-all").run().expect_code(0);
    assert!(!answer.stdout.contains("refuses"), "{answer:#?}");
}

fn notes(of: &Node) -> serde_json::Value {
    serde_json::from_slice(&fs::read(notes_path(of)).unwrap()).unwrap()
}

fn notes_path(of: &Node) -> std::path::PathBuf {
    of.data.with_file_name("run").join(format!("pgbaton-{}.json", of.cluster.resource))
}

/// As if the first look had been at boot.
fn long_ago(of: &Node, pointer: &str) {
    let mut notes = notes(of);
    *notes.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is not noted")) = 0.into();
    fs::write(notes_path(of), notes.to_string()).unwrap();
}

/// The primary cannot see that its standby is away, and the standby cannot see whether the primary is alive, but for its word.
#[test]
fn a_standby_that_does_not_stream_strikes_itself_off_beside_a_primary_that_cannot_see_it() {
    for method_of_standby in ["trust", "reject"] {
        let (cluster, primary, standby) = pair();
        let look = |node: &Node, code| drop(call(node, "monitor").run().expect_code(code));
        look(&primary, 8);
        look(&standby, 0);
        let_in(&primary, "reject");
        let_in(&standby, method_of_standby);
        look(&primary, 8);
        cluster.take_address_away();
        primary.sql("select pg_terminate_backend(pid) from pg_stat_replication");
        // A receiver that is just trying tells nothing.
        let look_until = |what: &str, seen: &dyn Fn() -> bool| {
            wait_until(what, || {
                look(&standby, 0);
                seen()
            });
        };
        look_until("it does not stream", &|| !notes(&standby)["unfed"].is_null());
        long_ago(&standby, "/unfed/since_ms");
        look_until("it has heard of the primary", &|| notes(&standby)["unfed"]["words"]["srv1"].is_string());
        for _ in 0..5 {
            look(&standby, 0);
        }
        assert_eq!(cluster.attributes.permanent("srv2", "lacks"), "", "the primary may be dead");
        look(&primary, 8);
        look_until("it strikes itself off", &|| !cluster.attributes.permanent("srv2", "lacks").is_empty());
        let lacks = cluster.attributes.permanent("srv2", "lacks");
        assert!(lacks.contains("it had not streamed for 20 s, and srv1 went on as the primary"), "{lacks}");
        let promotion = Promotion::new(&standby, &["srv2"]);
        primary.crash();
        let_in(&standby, "trust");
        promotion.announce(&[&standby]);
        promotion.promote().expect_code(1).expect_reason("srv2 is not promoted: it ");
        // The primary sees it again.
        primary.run_as_primary();
        cluster.move_address_to(&primary);
        let_in(&primary, "trust");
        primary.await_streaming("srv2");
        long_ago(&primary, "/roster/read_ms");
        look(&primary, 8);
        assert_eq!(cluster.attributes.permanent("srv2", "lacks"), "");
    }
}

#[test]
fn a_primary_that_cannot_see_its_standbys_strikes_off_who_is_not_in_the_cluster() {
    let (cluster, primary, standby) = pair();
    call(&primary, "monitor").run().expect_code(8);
    let_in(&primary, "reject");
    standby.crash();
    call(&primary, "monitor").run().expect_code(8);
    assert!(notes(&primary)["missing"].as_object().unwrap().is_empty(), "it may stream");
    cluster.attributes.lose_all_of("srv2");
    cluster.attributes.set_present(&["srv1"]);
    call(&primary, "monitor").run().expect_code(8);
    assert_eq!(cluster.attributes.permanent("srv2", "lacks"), "", "one look is not enough");
    long_ago(&primary, "/missing/srv2");
    call(&primary, "monitor").run().expect_code(8);
    let lacks = cluster.attributes.permanent("srv2", "lacks");
    assert!(lacks.starts_with("1 - - ") && lacks.ends_with("not been connected to srv1 for 20 s"), "{lacks}");
}

/// An authentication that asks somebody else who does not answer. The password is there, so that it is asked for.
#[test]
fn an_authentication_that_hangs_is_no_hung_server() {
    let (_cluster, primary, _standby) = pair();
    let _file = PasswordFile::of("*:*:*:agent:any\n", 0o600);
    // Nobody answers there: a listener that accepts nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let_in(&primary, &format!("ldap ldapserver=127.0.0.1 ldapport={port} ldapprefix=\"cn=\" ldapsuffix=\"\""));
    let answer = call(&primary, "monitor").timeout(5_000).run().expect_code(8);
    assert_eq!(answer.logged("asks for an authentication that does not come to an end"), 1, "{answer:#?}");
    drop(silent);
}

/// A parameter that names another instance's server, or none: this instance is asked where it says that it listens.
#[test]
fn the_server_of_another_instance_is_not_believed() {
    let cluster = Cluster::new();
    let other = cluster.node("other");
    other.run_as_primary();
    let node = cluster.node("srv1");
    node.run_as_standby();
    for pghost in [other.sockets.to_str().unwrap(), "/nowhere"] {
        let answer = node.call("monitor").parameter("pghost", pghost).run().expect_code(0);
        assert_eq!(answer.logged("correct pghost or pgport"), 1, "{answer:#?}");
        node.call("demote").parameter("pghost", pghost).run().expect_code(0);
        node.call("start").parameter("pghost", pghost).run().expect_code(0);
    }
    // Nothing tells where this one listens.
    node.write("postmaster.pid", "");
    let answer = node.call("monitor").parameter("pghost", other.sockets.to_str().unwrap()).run();
    assert_ne!(answer.code, 8, "{answer:#?}");
    assert_eq!(other.seen(), Seen::Primary);
}

/// With the address still on its node, an old primary that has become a standby would be fed by itself.
#[test]
fn a_standby_that_streams_from_itself_does_not_count_as_streaming() {
    let cluster = Cluster::new();
    let node = cluster.node("srv1");
    cluster.move_address_to(&node);
    node.run_as_standby();
    let streaming = "select count(*) from pg_stat_wal_receiver where status = 'streaming'";
    wait_until("it streams from itself", || node.sql(streaming) == "1");
    for _ in 0..2 {
        node.call("monitor").run().expect_code(0);
    }
    assert_eq!(cluster.attributes.state("srv1"), "streaming from itself");
}
