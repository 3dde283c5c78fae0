//! The faults, made: each on the nodes that have the drawn roles at that moment, and ended by itself where it has an end.
//!
//! | file | what |
//! |---|---|
//! | `processes` | signals to PostgreSQL's processes |
//! | `agent` | the resource agent killed in an action |
//! | `power` | nodes that lose their power, and nodes that stand still |
//! | `network` | cuts: of a node, of one direction, of replication alone |
//! | `cluster_daemons` | Pacemaker's own processes |
//! | `clock` | a node with another date |
//! | `database` | what an administrator of the database does, or runs out of |
//! | `operator` | what an administrator of the cluster does |
//! | `slips` | what administrators do by mistake, or forget |

mod agent;
mod clock;
mod cluster_daemons;
mod database;
mod network;
mod operator;
mod power;
mod processes;
mod slips;

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use super::Clock;
use super::fault::{Fault, Kind, Victim};
use super::record::{Micros, Strike};
use crate::error::{Result, unexpected};
use crate::harness::Lab;
use crate::wait::{self, Seen};

/// How often and how long the end of a fault is tried: an order to Pacemaker may find it at work on something else.
const END_LIMIT: Duration = Duration::from_secs(60);

/// Where and when a fault was made.
#[derive(Debug)]
struct Made {
    nodes: Vec<String>,
    began: Micros,
    ended: Micros,
}

/// What a fault is made with.
struct Scene<'a> {
    lab: &'a Lab,
    clock: Clock,
    fault: &'a Fault,
    /// The nodes that it hits, as the roles are now.
    nodes: Vec<String>,
    /// Standbys in the order of their names.
    standbys: Vec<String>,
    primary: Option<String>,
}

/// Makes one of the round's faults after its delay. What cannot be made says why, and is no reason to end the campaign.
pub(super) fn strike(lab: &Lab, clock: Clock, fault: &Fault, round: &[Fault]) -> Strike {
    thread::sleep(Duration::from_millis(fault.after_ms));
    let asked = clock.now();
    let scene = Scene::of_now(lab, clock, fault);
    let primary = scene.as_ref().ok().and_then(|scene| scene.primary.clone());
    let drawn = scene.as_ref().map(|scene| scene.nodes.clone()).unwrap_or_default();
    let made = scene.and_then(|scene| match database::cannot_have_small_volume(round) {
        Some(reason) if fault.kind == Kind::WalVolumeFull => unexpected(reason),
        _ => make(&scene),
    });
    let (made, failed) = match made {
        Ok(made) => (made, None),
        Err(error) => (Made { nodes: drawn, began: asked, ended: clock.now() }, Some(error.to_string())),
    };
    let hit_primary = primary.is_some_and(|primary| made.nodes.contains(&primary));
    Strike {
        kind: fault.kind,
        fault: fault.clone(),
        hit_primary,
        primary_lost: hit_primary && failed.is_none() && takes_its_node_away(fault.kind),
        nodes: made.nodes,
        began: made.began,
        ended: made.ended,
        failed,
    }
}

/// Whether what a primary has not sent may be lost with it: its node goes, or nobody can reach it, or it cannot write any more
/// on this node. One whose processes were killed has everything on its disk and comes back in place.
fn takes_its_node_away(kind: Kind) -> bool {
    match kind {
        Kind::PowerLossOne
        | Kind::PowerLossTwo
        | Kind::PowerLossAll
        | Kind::Cut
        | Kind::CutOneDirection
        | Kind::Freeze
        | Kind::KillController
        | Kind::WalVolumeFull => true,
        Kind::KillPostmaster
        | Kind::KillBackend
        | Kind::KillStartup
        | Kind::KillCheckpointer
        | Kind::KillAll
        | Kind::StopPostmaster
        | Kind::CutReplication
        | Kind::KillAttributeDaemon
        | Kind::KillScheduler
        | Kind::KillAgent
        | Kind::ConnectionsExhausted
        | Kind::InstanceStoppedByAdmin
        | Kind::StandbyMode
        | Kind::Switchover
        | Kind::ParametersChanged
        | Kind::RestartByHand
        | Kind::ReplayPaused
        | Kind::ClockSet
        | Kind::BadConfiguration
        | Kind::NonsenseByAlterSystem
        | Kind::AgentShutOut
        | Kind::PromotedByHand
        | Kind::RestartThroughPacemaker
        | Kind::ServicesRestarted
        | Kind::Maintenance
        | Kind::ForgottenBan
        | Kind::CleanedUp
        | Kind::RestoredBackup => false,
    }
}

fn make(scene: &Scene<'_>) -> Result<Made> {
    match scene.fault.kind {
        Kind::KillPostmaster => processes::kill_postmaster(scene),
        Kind::KillBackend => processes::kill_backend(scene),
        Kind::KillStartup => processes::kill_titled(scene, "startup"),
        Kind::KillCheckpointer => processes::kill_titled(scene, "checkpointer"),
        Kind::KillAll => processes::kill_all(scene),
        Kind::StopPostmaster => processes::stop_postmaster(scene),
        Kind::PowerLossOne | Kind::PowerLossTwo | Kind::PowerLossAll => power::lose_power(scene),
        Kind::Cut => network::cut(scene),
        Kind::CutOneDirection => network::cut_one_direction(scene),
        Kind::CutReplication => network::cut_replication(scene),
        Kind::Freeze => power::freeze(scene),
        Kind::KillAttributeDaemon => cluster_daemons::kill(scene, "pacemaker-attrd"),
        Kind::KillScheduler => cluster_daemons::kill(scene, "pacemaker-schedulerd"),
        Kind::KillController => cluster_daemons::kill(scene, "pacemaker-controld"),
        Kind::KillAgent => agent::kill(scene),
        Kind::ConnectionsExhausted => database::take_all_connections(scene),
        Kind::WalVolumeFull => database::fill_wal_volume(scene),
        Kind::InstanceStoppedByAdmin => operator::ban(scene),
        Kind::StandbyMode => operator::standby_mode(scene),
        Kind::Switchover => operator::switch_over(scene),
        Kind::ParametersChanged => operator::change_a_parameter(scene),
        Kind::RestartByHand => database::restart_by_hand(scene),
        Kind::ReplayPaused => database::pause_replay(scene),
        Kind::BadConfiguration => slips::bad_configuration(scene),
        Kind::NonsenseByAlterSystem => slips::nonsense_by_alter_system(scene),
        Kind::AgentShutOut => slips::shut_the_agent_out(scene),
        Kind::PromotedByHand => slips::promote_by_hand(scene),
        Kind::RestartThroughPacemaker => slips::restart_through_pacemaker(scene),
        Kind::ServicesRestarted => slips::restart_services(scene),
        Kind::Maintenance => slips::maintenance(scene),
        Kind::ForgottenBan => slips::forgotten_ban(scene),
        Kind::CleanedUp => slips::clean_up(scene),
        Kind::RestoredBackup => slips::restored_backup(scene),
        Kind::ClockSet => clock::set(scene),
    }
}

/// What takes a while beforehand is done before the clients begin. Gives back the node whose WAL lies on a small volume now.
pub(super) fn prepare(lab: &Lab, faults: &[Fault]) -> Result<Option<String>> {
    let needs_volume = faults.iter().any(|fault| fault.kind == Kind::WalVolumeFull);
    match needs_volume && database::cannot_have_small_volume(faults).is_none() {
        true => lab.make_primary_with_a_small_wal_volume().map(Some),
        false => Ok(None),
    }
}

impl<'a> Scene<'a> {
    fn of_now(lab: &'a Lab, clock: Clock, fault: &'a Fault) -> Result<Self> {
        let state = lab.state()?;
        let (mut standbys, primary) = (state.unpromoted, state.promoted.into_iter().next());
        standbys.sort();
        let nodes = match victims(fault.victim, primary.as_deref(), &standbys) {
            // Whoever is not there now loses its power as well.
            Ok(_) if fault.victim == Victim::All => lab.nodes(),
            named => named?,
        };
        Ok(Self { lab, clock, fault, nodes, standbys, primary })
    }

    /// Does it to all of them, with no end.
    fn at_once(&self, act: impl Fn(&str) -> Result<()>) -> Result<Made> {
        let began = self.clock.now();
        self.nodes.iter().try_for_each(|node| act(node))?;
        Ok(Made { nodes: self.nodes.clone(), began, ended: self.clock.now() })
    }

    /// Does it to all of them, and takes it back after the fault's time. A node that has lost its power meanwhile is free of
    /// it.
    fn lasting(&self, begin: impl Fn(&str) -> Result<()>, end: impl Fn(&str) -> Result<()>) -> Result<Made> {
        let boots = self.lab.boots();
        self.lasting_whatever(begin, |node| match end(node) {
            Err(_) if has_lost_power(self.lab, node, &boots) => Ok(()),
            result => result,
        })
    }

    /// [`Self::lasting`] for what a loss of power does not take back.
    fn lasting_whatever(&self, begin: impl Fn(&str) -> Result<()>, end: impl Fn(&str) -> Result<()>) -> Result<Made> {
        let began = self.clock.now();
        let made = self.nodes.iter().try_for_each(|node| begin(node));
        if made.is_ok() {
            thread::sleep(Duration::from_millis(self.fault.lasts_ms));
        }
        // When it could not be begun everywhere, its end may have nothing to do on some.
        self.nodes.iter().for_each(|node| until_done(self.fault.kind, || end(node)));
        made?;
        Ok(Made { nodes: self.nodes.clone(), began, ended: self.clock.now() })
    }
}

/// Tries until it is done. What is left of a fault that cannot be ended is seen when the cluster does not heal.
fn until_done(kind: Kind, act: impl Fn() -> Result<()>) {
    let ended = wait::until(&format!("end of {kind:?}"), END_LIMIT, || act().map(Seen::Yes));
    if let Err(error) = ended {
        println!("    {error}");
    }
}

/// Each boot has another PID 1.
fn has_lost_power(lab: &Lab, node: &str, before: &BTreeMap<String, Option<String>>) -> bool {
    lab.boots().get(node) != before.get(node)
}

fn victims(victim: Victim, primary: Option<&str>, standbys: &[String]) -> Result<Vec<String>> {
    let primary = || match primary {
        Some(primary) => Ok(primary.to_owned()),
        None => unexpected("there is no primary at this time"),
    };
    let standby = |number: usize| match standbys {
        [] => unexpected("there is no standby at this time"),
        standbys => Ok(standbys[number % standbys.len()].clone()),
    };
    match victim {
        Victim::Primary => Ok(vec![primary()?]),
        Victim::Standby(number) => Ok(vec![standby(number)?]),
        Victim::PrimaryAnd(number) => Ok(vec![primary()?, standby(number)?]),
        Victim::Standbys if standbys.is_empty() => unexpected("there is no standby at this time"),
        Victim::Standbys => Ok(standbys.to_vec()),
        Victim::All => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn victims_go_by_the_roles_of_the_moment() {
        let standbys = ["b".to_owned(), "c".to_owned()];
        let named = |victim| victims(victim, Some("a"), &standbys).unwrap();
        assert_eq!(named(Victim::Primary), ["a"]);
        assert_eq!(named(Victim::Standby(3)), ["c"]);
        assert_eq!(named(Victim::PrimaryAnd(0)), ["a", "b"]);
        assert_eq!(named(Victim::Standbys), ["b", "c"]);
    }

    #[test]
    fn who_is_not_there_cannot_be_hit() {
        assert!(victims(Victim::Primary, None, &[]).is_err());
        assert!(victims(Victim::Standby(0), Some("a"), &[]).is_err());
        assert!(victims(Victim::Standbys, Some("a"), &[]).is_err());
    }
}
