//! The agent as others see it: its meta-data against the schemas of Debian's packages, Debian's ocf-tester, and the
//! two command lines that define resources. These tests install the agent, so they run in the sandbox only.
//!
//! OCF's own schema, `ra-api.rng` of version 1.1, is in no Debian package; pcs brings one of its own for 1.1.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Once;

use support::agent::Call;
use support::cluster::{Cluster, public_directory};
use support::node::{Node, Seen, bindir, run};

/// Where Pacemaker's tools look for it.
const AGENT: &str = "/usr/lib/ocf/resource.d/pgbaton/postgresql";

/// Installs what `make install` installs.
fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let host = run(&mut Command::new("hostname"));
        assert_eq!(host.trim(), "sandbox", "these tests install the agent; run them by `make test-agent`");
        let entry = Path::new(env!("CARGO_MANIFEST_DIR")).join("ocf/postgresql");
        run(Command::new("install").args(["-D", "-m755"]).arg(entry).arg(AGENT));
        run(Command::new("install").args(["-m755", env!("CARGO_BIN_EXE_pgbaton"), "/usr/sbin/pgbaton"]));
    });
}

/// The text of a program that may fail.
fn output_of(command: &mut Command) -> (bool, String) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn the_meta_data_passes_the_schemas_of_resource_agents_and_pcs() {
    let directory = public_directory();
    let file = directory.path().join("meta-data.xml");
    fs::write(&file, Call::new("meta-data").run().expect_code(0).stdout).unwrap();
    for (kind, schema) in [
        ("--dtdvalid", "/usr/share/resource-agents/ra-api-1.dtd"),
        ("--relaxng", "/usr/share/resource-agents/metadata.rng"),
        ("--relaxng", "/usr/share/pcs/data/ocf-1.0.rng"),
        ("--relaxng", "/usr/share/pcs/data/ocf-1.1.rng"),
    ] {
        assert!(Path::new(schema).is_file(), "{schema} is missing; install resource-agents and pcs");
        let mut xmllint = Command::new("xmllint");
        let (passes, text) = output_of(xmllint.args(["--nonet", "--noout", kind, schema]).arg(&file));
        assert!(passes, "{schema}: {text}");
    }
}

/// Names of the child elements, in their order.
fn children(node: roxmltree::Node<'_, '_>) -> String {
    let elements = node.children().filter(roxmltree::Node::is_element);
    elements.map(|child| child.tag_name().name().to_owned()).collect::<Vec<_>>().join(" ")
}

/// What `ra-api.rng` of OCF 1.1 asks for, in words of our own.
#[test]
fn the_meta_data_has_the_shape_that_ocf_1_1_asks_for() {
    let text = Call::new("meta-data").run().expect_code(0).stdout;
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(&text, options).unwrap();
    assert_eq!(children(document.root_element()), "version longdesc shortdesc parameters actions");
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let attributes: Vec<_> = node.attributes().map(|attribute| attribute.name()).collect();
        let allowed: &[&str] = match node.tag_name().name() {
            "resource-agent" => &["name", "version"],
            "parameter" => &["name", "unique", "required"],
            "longdesc" | "shortdesc" => &["lang"],
            "content" => &["type", "default"],
            "action" => &["name", "timeout", "interval", "depth", "role"],
            "version" | "parameters" | "actions" => &[],
            other => panic!("element {other}"),
        };
        assert!(attributes.iter().all(|name| allowed.contains(name)), "{node:?}");
        match node.tag_name().name() {
            "parameter" => assert_eq!(children(node), "longdesc shortdesc content"),
            "content" => assert!(["boolean", "string", "integer"].contains(&node.attribute("type").unwrap())),
            "action" => assert!(node.attribute("timeout").unwrap().ends_with('s')),
            _ => {}
        }
    }
}

/// ocf-tester gives no node name, so the instance is the host's.
fn instance_of_this_host() -> Node {
    let host = run(&mut Command::new("hostname"));
    Cluster::new().node(host.trim())
}

fn ocf_tester(node: &Node) -> (bool, String) {
    let mut tester = Command::new("ocf-tester");
    tester.args(["-n", &node.cluster.resource, "-v"]).current_dir("/");
    for (name, value) in [("bindir", bindir()), ("pgdata", node.data.clone()), ("pghost", node.sockets.clone())] {
        tester.arg("-o").arg(format!("{name}={}", value.display()));
    }
    output_of(tester.args(["-o", "pgport=5999", AGENT]))
}

#[test]
fn ocf_tester_passes() {
    install();
    let node = instance_of_this_host();
    let (passes, text) = ocf_tester(&node);
    assert!(passes && text.contains("passed all tests"), "{text}");
    assert_eq!(node.seen(), Seen::Down);
}

fn empty_cluster(directory: &Path) -> String {
    let file = directory.join("cib.xml");
    fs::write(&file, run(Command::new("cibadmin").arg("--empty"))).unwrap();
    file.to_str().unwrap().to_owned()
}

/// The operations of the resource, in the order of the file, with what distinguishes them.
fn operations(cib: &str) -> Vec<String> {
    let text = fs::read_to_string(cib).unwrap();
    let document = roxmltree::Document::parse(&text).unwrap();
    let primitive = document.descendants().find(|node| node.has_tag_name("primitive")).expect("a primitive");
    let names = ["provider", "type"].map(|name| primitive.attribute(name).unwrap_or_default());
    assert_eq!(names, ["pgbaton", "postgresql"]);
    let operations = primitive.descendants().filter(|node| node.has_tag_name("op"));
    let words = ["name", "role", "interval"];
    let mut found: Vec<String> = operations
        .map(|op| words.iter().filter_map(|word| op.attribute(*word)).collect::<Vec<_>>().join(" "))
        .collect();
    found.sort();
    found
}

#[test]
fn pcs_accepts_the_agent_and_takes_its_operations() {
    install();
    let directory = public_directory();
    let cib = empty_cluster(directory.path());
    let mut pcs = Command::new("pcs");
    pcs.args(["-f", &cib, "resource", "create", "pgsql", "ocf:pgbaton:postgresql", "pgdata=/srv/pgsql"]);
    let (accepted, text) = output_of(pcs.args(["promotable", "notify=true", "promoted-max=1"]));
    assert!(accepted, "{text}");
    assert!(!text.contains("Warning"), "{text}");
    let expected = [
        "demote 0s",
        "monitor Promoted 2s",
        "monitor Unpromoted 10s",
        "notify 0s",
        "promote 0s",
        "start 0s",
        "stop 0s",
    ];
    assert_eq!(operations(&cib), expected);
}

#[test]
fn pcs_refuses_a_parameter_that_the_agent_does_not_have() {
    install();
    let directory = public_directory();
    let cib = empty_cluster(directory.path());
    let mut pcs = Command::new("pcs");
    let (accepted, text) =
        output_of(pcs.args(["-f", &cib, "resource", "create", "pgsql", "ocf:pgbaton:postgresql", "no_such=1"]));
    assert!(!accepted && text.contains("no_such"), "{text}");
}

#[test]
fn crmsh_accepts_the_agent() {
    install();
    let directory = public_directory();
    let cib = empty_cluster(directory.path());
    let configure = |line: &str| {
        let mut crm = Command::new("crm");
        let (accepted, text) =
            output_of(crm.env("CIB_file", &cib).args(["-F", "configure"]).args(line.split_whitespace()));
        assert!(accepted, "{line}: {text}");
        // crmsh warns of an operation or a parameter that the meta-data lacks, and of a timeout below the one there.
        for complaint in ["pgbaton", "not advertised", "smaller than the advised", "unknown"] {
            assert!(!text.contains(complaint), "{line}: {text}");
        }
    };
    configure("property stonith-enabled=false");
    configure(
        "primitive pgsql ocf:pgbaton:postgresql params pgdata=/srv/pgsql maxlag=0 \
         op start timeout=60s interval=0s op stop timeout=60s interval=0s \
         op promote timeout=60s interval=0s op demote timeout=120s interval=0s op notify timeout=60s interval=0s \
         op monitor role=Promoted interval=2s timeout=10s op monitor role=Unpromoted interval=10s timeout=10s",
    );
    configure("clone pgsql-clone pgsql meta promotable=true notify=true promoted-max=1");
    assert_eq!(operations(&cib).len(), 7);
}
