//! The slips of administrators: what is done with the best intentions, or forgotten.

use std::slice;
use std::thread;
use std::time::Duration;

use super::{Made, Scene, until_done};
use crate::cluster::node_shell::COMMAND_LIMIT;
use crate::error::{Result, unexpected};
use crate::harness::Lab;
use crate::harness::lab::CLONE;
use crate::profile::{MONITOR_ROLE, Role};

const NODE_CONF: &str = "/etc/postgresql/node.conf";
const RESTART_LIMIT: Duration = Duration::from_secs(150);

/// A line that no server accepts at its start, or files that its owner cannot read.
const BAD_LINES: [&str; 3] = ["work_mem = nonsense", "shared_buffers = '1000TB'", "include 'no-such-file.conf'"];
/// What `ALTER SYSTEM` takes without a word.
const NONSENSE: [(&str, &str); 4] = [
    ("primary_conninfo", "host=nowhere.invalid user=nobody"),
    ("primary_slot_name", "no_such_slot"),
    ("shared_preload_libraries", "no_such_library"),
    ("max_connections", "262000"),
];
/// Behind the server's back: it may be down.
const FORGET: &str = "sed -i \"/^$2 = /d\" \"$1/postgresql.auto.conf\"";
/// Sockets let nobody in without a password; whoever comes over the network comes in as before.
const SHUT_OUT: &str = "sed -i.before 's/^\\(local .*\\) peer.*/\\1 scram-sha-256/' /etc/postgresql/pg_hba.conf";
const LET_IN: &str = "if test -e /etc/postgresql/pg_hba.conf.before; then \
    mv /etc/postgresql/pg_hba.conf.before /etc/postgresql/pg_hba.conf; fi";
/// The postmaster reads it again without being asked in SQL.
const RELOAD: &str = "pkill -HUP -o -u postgres -x postgres; true";
/// What a backup is restored with, in the place of what a standby has.
const AS_RESTORED: &str =
    "cd \"$1\" && rm -f standby.signal && touch recovery.signal && chown postgres: recovery.signal";
const AS_STANDBY: &str = "cd \"$1\" && rm -f recovery.signal && touch standby.signal && chown postgres: standby.signal";

/// Its configuration is wrong, or cannot be read, when a server is started anew. Whoever did it sees it after a while.
pub(super) fn bad_configuration(scene: &Scene<'_>) -> Result<Made> {
    let choice = usize::try_from(scene.fault.choice).unwrap_or_default() % (BAD_LINES.len() + 1);
    let spoil = match BAD_LINES.get(choice) {
        Some(line) => format!("echo \"{line} # slip\" >> {NODE_CONF}"),
        None => format!("chmod 000 {NODE_CONF}"),
    };
    let mend = format!("chmod 644 {NODE_CONF}; sed -i '/# slip$/d' {NODE_CONF}");
    scene.lasting_whatever(
        |node| {
            shell(scene.lab, node, &spoil)?;
            scene.lab.signal_server(node, "KILL")
        },
        |node| shell(scene.lab, node, &mend),
    )
}

pub(super) fn nonsense_by_alter_system(scene: &Scene<'_>) -> Result<Made> {
    let choice = usize::try_from(scene.fault.choice).unwrap_or_default() % NONSENSE.len();
    let (name, value) = NONSENSE[choice];
    let data = scene.lab.plan.pgdata().display().to_string();
    scene.lasting_whatever(
        |node| {
            scene.lab.sql(node, &format!("alter system set {name} = '{value}'"))?;
            scene.lab.signal_server(node, "KILL")
        },
        |node| {
            scene.lab.run(node, &["runuser", "-u", "postgres", "--", "bash", "-c", FORGET, "forget", &data, name])?;
            shell(scene.lab, node, RELOAD)
        },
    )
}

/// On all nodes at once: nobody comes in over the socket, the agent among them; or the agent's password has expired.
pub(super) fn shut_the_agent_out(scene: &Scene<'_>) -> Result<Made> {
    if scene.lab.plan.profile.role == Role::Password {
        return let_the_password_expire(scene);
    }
    scene.lasting_whatever(
        |node| shell(scene.lab, node, &format!("{SHUT_OUT}; {RELOAD}")),
        |node| shell(scene.lab, node, &format!("{LET_IN}; {RELOAD}")),
    )
}

/// It expires on the primary, and so on all of them. Whoever is the primary when it is noticed has it renewed.
fn let_the_password_expire(scene: &Scene<'_>) -> Result<Made> {
    let valid_until = |when: &str| {
        let statement = format!("alter role {MONITOR_ROLE} valid until '{when}'");
        scene.lab.sql(&scene.lab.primary()?, &statement).map(drop)
    };
    let began = scene.clock.now();
    valid_until("2000-01-01")?;
    thread::sleep(Duration::from_millis(scene.fault.lasts_ms));
    until_done(scene.fault.kind, || valid_until("infinity"));
    Ok(Made { nodes: scene.lab.nodes(), began, ended: scene.clock.now() })
}

pub(super) fn promote_by_hand(scene: &Scene<'_>) -> Result<Made> {
    scene.at_once(|node| match scene.lab.sql(node, "select pg_promote(true, 10)")?.as_str() {
        "t" => Ok(()),
        other => unexpected(format!("pg_promote on {node} said '{other}'")),
    })
}

/// All instances, by Pacemaker, while everything runs.
pub(super) fn restart_through_pacemaker(scene: &Scene<'_>) -> Result<Made> {
    let began = scene.clock.now();
    // How it ends is the healing's affair: with another fault it may well give up.
    let _ = scene.lab.run_somewhere_within(&["crm_resource", "--resource", CLONE, "--restart"], RESTART_LIMIT);
    Ok(Made { nodes: scene.lab.nodes(), began, ended: scene.clock.now() })
}

/// Pacemaker and corosync of one node, in order.
pub(super) fn restart_services(scene: &Scene<'_>) -> Result<Made> {
    scene.at_once(|node| {
        scene.lab.stop_services(slice::from_ref(&node.to_owned()))?;
        scene.lab.start_services(node)
    })
}

pub(super) fn maintenance(scene: &Scene<'_>) -> Result<Made> {
    let set = |value: &str| {
        let ask = ["crm_attribute", "--type", "crm_config", "--name", "maintenance-mode", "--update", value];
        scene.lab.run_somewhere(&ask).map(drop)
    };
    let began = scene.clock.now();
    set("true")?;
    thread::sleep(Duration::from_millis(scene.fault.lasts_ms));
    until_done(scene.fault.kind, || set("false"));
    Ok(Made { nodes: Vec::new(), began, ended: scene.clock.now() })
}

/// The node may not be promoted, until somebody remembers.
pub(super) fn forgotten_ban(scene: &Scene<'_>) -> Result<Made> {
    let ask = |node: &str, what: &str| {
        let ban = ["crm_resource", "--resource", CLONE, what, "--promoted", "--node", node];
        scene.lab.run_somewhere(&ban).map(drop)
    };
    scene.lasting_whatever(|node| ask(node, "--ban"), |node| ask(node, "--clear"))
}

pub(super) fn clean_up(scene: &Scene<'_>) -> Result<Made> {
    let word = if scene.fault.choice % 2 == 0 { "--cleanup" } else { "--refresh" };
    let began = scene.clock.now();
    scene.lab.run_somewhere(&["crm_resource", word])?;
    Ok(Made { nodes: Vec::new(), began, ended: scene.clock.now() })
}

/// A standby's files are put there as a backup is restored; after a while somebody makes them a standby's.
pub(super) fn restored_backup(scene: &Scene<'_>) -> Result<Made> {
    let data = scene.lab.plan.pgdata().display().to_string();
    let change = |node: &str, script: &str| match scene
        .lab
        .try_run(node, &["bash", "-c", script, "restored", &data], COMMAND_LIMIT)?
        .code
    {
        0 => Ok(()),
        code => unexpected(format!("the files of {node} could not be changed: {code}")),
    };
    scene.lasting_whatever(
        |node| scene.lab.while_stopped(node, |_| change(node, AS_RESTORED)),
        |node| scene.lab.while_stopped(node, |_| change(node, AS_STANDBY)),
    )
}

fn shell(lab: &Lab, node: &str, script: &str) -> Result<()> {
    lab.run(node, &["bash", "-c", script]).map(drop)
}
