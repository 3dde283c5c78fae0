//! What keeps an instance from doing its part is refused by `validate-all` before the first start and by `start`, with
//! the value and the cure, and never by the other actions.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use support::cluster::Cluster;
use support::node::Seen;

/// A setting that is wrong, and what the reason has to say about it.
const WRONG_SETTINGS: [(&str, &str); 4] = [
    ("primary_conninfo = 'host=x application_name=srv10'", "application_name=srv1"),
    ("primary_conninfo = ''", "primary_conninfo is empty"),
    ("recovery_target_timeline = 'current'", "set it to 'latest'"),
    ("hot_standby = off", "hot_standby is 'off'"),
];

#[test]
fn a_good_instance_is_accepted() {
    Cluster::new().node("srv1").call("validate-all").run().expect_code(0);
}

#[test]
fn a_directory_in_which_nothing_can_be_noted_is_told() {
    let node = Cluster::new().node("srv1");
    let told = |node: &support::node::Node| node.call("validate-all").run().expect_code(0).stdout;
    assert!(!told(&node).contains("may not write in"));
    std::os::unix::fs::chown(node.data.parent().unwrap(), Some(0), Some(0)).unwrap();
    assert!(told(&node).contains("postgres may not write in"), "{}", told(&node));
}

#[test]
fn a_pg_hba_that_lets_a_node_stream_from_itself_is_told() {
    let node = Cluster::new().node("srv1");
    let told = || node.call("validate-all").run().expect_code(0).stdout;
    assert!(!told().contains("rejects this node itself"), "{}", told());
    node.write("pg_hba.conf", "local all all trust\nhost replication all 10.0.0.0/24 trust\n");
    assert!(told().contains("line 2 of "), "{}", told());
    node.write("pg_hba.conf", "host replication all samehost reject\nhost replication all 10.0.0.0/24 trust\n");
    assert!(!told().contains("rejects this node itself"), "{}", told());
}

/// The ballot papers of the one would be the other's timelines.
#[test]
fn resources_that_share_the_name_of_an_attribute_are_refused() {
    let cluster = Cluster::new();
    let node = cluster.node("srv1");
    let validate = |name: &str| node.call("validate-all").variable("OCF_RESOURCE_INSTANCE", name).run();
    let name = format!("{}-timeline", cluster.resource);
    validate(&name).expect_code(0);
    cluster.attributes.set_primitives(&[&cluster.resource, &name]);
    validate(&name).expect_code(2).expect_reason("share the name of a node attribute");
    validate(&cluster.resource).expect_code(0);
    validate(&format!("{}-other", cluster.resource)).expect_code(0);
}

#[test]
fn nodes_whose_long_names_postgresql_cannot_tell_apart_are_refused() {
    let cluster = Cluster::new();
    let long = |end: &str| format!("{}{end}", "x".repeat(63));
    let node = cluster.node("srv1");
    node.configure(&format!("primary_conninfo = 'host=x application_name={}'", long("1")));
    let validate = || node.call("validate-all").meta("on_node", &long("1")).run();
    cluster.attributes.set_members(&[&long("1"), "srv2"]);
    validate().expect_code(0);
    cluster.attributes.set_members(&[&long("1"), &long("2")]);
    validate().expect_code(5).expect_reason("cuts an application_name after 63 bytes");
}

#[test]
fn a_wrong_setting_is_refused_with_its_cure_and_leaves_no_server_behind() {
    for (setting, cure) in WRONG_SETTINGS {
        let node = Cluster::new().node("srv1");
        node.configure(setting);
        node.call("validate-all").run().expect_code(5).expect_reason(cure);
        node.call("start").run().expect_code(5).expect_reason(cure);
        assert_eq!(node.seen(), Seen::Down, "{setting}");
    }
}

#[test]
fn settings_that_a_promotion_needs_are_checked_before_the_first_start() {
    let node = Cluster::new().node("srv1");
    node.configure("max_wal_senders = 1");
    node.call("validate-all").run().expect_code(5).expect_reason("max_wal_senders is 1");
}

#[test]
fn a_slip_in_the_settings_of_a_running_server_disturbs_no_other_action() {
    let node = Cluster::new().node("srv1");
    node.call("start").run().expect_code(0);
    for (setting, _) in WRONG_SETTINGS {
        node.configure(setting);
        node.call("monitor").run().expect_code(0);
        node.call("start").run().expect_code(0);
        node.call("notify").run().expect_code(0);
    }
    node.call("stop").run().expect_code(0);
}

#[test]
fn following_the_promoted_node_needs_a_server_that_can_be_told() {
    let node = Cluster::new().node("srv1");
    node.call("validate-all").parameter("follow", "promoted").run().expect_code(0);
    node.write("PG_VERSION", "12\n");
    let answer = node.call("validate-all").parameter("follow", "promoted").run();
    answer.expect_code(2).expect_reason("upgrade to PostgreSQL 13");
}

#[test]
fn parameters_and_meta_attributes_that_cannot_work_are_refused() {
    let node = Cluster::new().node("srv1");
    for (name, value, cure) in [
        ("recovery_template", "/etc/recovery.conf", "remove the parameter"),
        ("pgport", "0", "a number from 1 to 65535"),
        ("maxlag", "much", "a number of bytes"),
        ("election_timeout", "-1", "a number of seconds"),
        ("follow", "primary", "'conninfo' or 'promoted'"),
        ("system_user", "nobody-at-all", "create it or set system_user"),
        ("system_user", "daemon", "chown it, or correct system_user"),
        ("bindir", "/nowhere", "correct bindir"),
        ("pgdata", "/nowhere", "correct pgdata or datadir"),
        ("pghost", "/nowhere", "correct pghost"),
    ] {
        let answer = node.call("validate-all").parameter(name, value).run();
        assert!([2, 5].contains(&answer.code), "{name}={value}: {answer:#?}");
        answer.expect_reason(cure);
    }
    node.call("validate-all").meta("notify", "false").run().expect_code(2).expect_reason("notify=true");
    node.call("validate-all").meta("promoted_max", "2").run().expect_code(2).expect_reason("promoted-max=1");
}
