//! Which failed actions a fault explains, in one place. It begins strict: a fault explains what it cannot but cause, on the
//! nodes that it hit and for the resource of the instances; whatever else is listed is a finding until somebody has understood
//! it and written it here.
//!
//! | fault | explains, of its victims |
//! |---|---|
//! | a process killed, an instance stopped or restarted by hand | a failed monitor |
//! | a full volume | a failed monitor, start or promote: the instance cannot write; on other nodes a promote that was refused, because the full one has more WAL |
//! | a wrong configuration | a failed monitor, start or promote: the server cannot be started |
//! | a restored backup | a failed start: the agent does not start it unasked |
//! | a promotion by hand | a failed monitor: Pacemaker has promoted nobody there |
//! | a stopped or frozen process, a cut | a failed monitor, demote or stop: they cannot but time out |
//! | the agent killed | the action in which it was |
//! | power loss, by fault or by fencing | what was going on; but no start: that comes after the power |
//! | any that has a node promoted | `pgsqlms` only: a promotion refused, for a better candidate or a successor that lacks something; it fails so to have Pacemaker choose again |
//! | any that ends a primary | `pgsql` only: a start that its PGSQL.lock forbids; to remove that by hand is what it is for |
//! | anything else | nothing: the agent has to bear it |

use super::case::Case;
use crate::campaign::fault::Kind;
use crate::cluster::state::{RESOURCE, is_degraded};

const MONITOR: &[&str] = &["monitor"];
const WHILE_IT_STANDS_STILL: &[&str] = &["monitor", "demote", "stop"];
const WHILE_IT_LOSES_POWER: &[&str] = &["monitor", "notify", "promote", "demote", "stop"];
const ANY: &[&str] = &["monitor", "notify", "start", "promote", "demote", "stop"];
const WHILE_IT_CANNOT_WRITE: &[&str] = &["monitor", "start", "promote"];
const START: &[&str] = &["start"];
const NOTHING: &[&str] = &[];
/// What `promote` says when another node has more WAL.
const REFUSAL: &str = "is not the best";
/// What the Perl agent says then. It has no other way to correct an election, and cleans up nothing afterwards.
const REFUSALS_OF_PGSQLMS: [&str; 2] =
    ["is the best candidate to promote, aborting", "Switchover has been canceled from pre-promote action"];
/// What the shell agent says of the file that it leaves on every old primary.
const LOCK_OF_PGSQL: &str = "PGSQL.lock file to force start";

fn explains(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::KillPostmaster
        | Kind::KillBackend
        | Kind::KillStartup
        | Kind::KillCheckpointer
        | Kind::KillAll
        | Kind::InstanceStoppedByAdmin
        | Kind::RestartByHand
        | Kind::PromotedByHand => MONITOR,
        Kind::StopPostmaster | Kind::Freeze | Kind::Cut | Kind::CutOneDirection => WHILE_IT_STANDS_STILL,
        Kind::WalVolumeFull | Kind::BadConfiguration | Kind::NonsenseByAlterSystem => WHILE_IT_CANNOT_WRITE,
        Kind::KillAgent => ANY,
        Kind::PowerLossOne | Kind::PowerLossTwo | Kind::PowerLossAll => WHILE_IT_LOSES_POWER,
        Kind::CutReplication
        | Kind::KillAttributeDaemon
        | Kind::KillScheduler
        | Kind::KillController
        | Kind::ConnectionsExhausted
        | Kind::StandbyMode
        | Kind::Switchover
        | Kind::ParametersChanged
        | Kind::ReplayPaused
        | Kind::ClockSet
        | Kind::AgentShutOut
        | Kind::RestartThroughPacemaker
        | Kind::ServicesRestarted
        | Kind::Maintenance
        | Kind::ForgottenBan
        | Kind::CleanedUp => NOTHING,
        Kind::RestoredBackup => START,
    }
}

/// Whether a fault of the round explains the failed action, as `crm_mon` lists it: `pgsql_monitor_4000 on db1: ...`.
pub(super) fn is_explained(case: &Case<'_>, failure: &str) -> bool {
    // The agent takes it back when its reason is gone, with a monitor that may not have come yet.
    if is_degraded(failure) {
        return true;
    }
    let Some((operation, node)) = parse(failure) else {
        return false;
    };
    let has_lost_power = case.round.aftermath.power_lost.iter().any(|lost| lost == node);
    let made = case.round.strikes.iter().filter(|strike| strike.failed.is_none());
    let is_full = made.clone().any(|strike| strike.kind == Kind::WalVolumeFull);
    let mut hits = made.filter(|strike| strike.nodes.iter().any(|hit| hit == node));
    let is_refused = |words: &str| operation == "promote" && failure.contains(words);
    REFUSALS_OF_PGSQLMS.into_iter().any(is_refused)
        || (operation == "start" && failure.contains(LOCK_OF_PGSQL))
        || (is_full && is_refused(REFUSAL))
        || (has_lost_power && WHILE_IT_LOSES_POWER.contains(&operation))
        || hits.any(|strike| explains(strike.kind).contains(&operation))
}

/// The operation and the node, when the failure is one of the instances' resource.
fn parse(failure: &str) -> Option<(&str, &str)> {
    let (action, rest) = failure.split_once(" on ")?;
    let (node, _) = rest.split_once(':')?;
    let mut parts = action.rsplitn(3, '_');
    let (_interval, operation, resource) = (parts.next()?, parts.next()?, parts.next()?);
    (resource.split(':').next() == Some(RESOURCE)).then_some((operation, node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operation_and_node_are_read_from_what_crm_mon_lists() {
        assert_eq!(parse("pgsql_monitor_4000 on db1: not running ''"), Some(("monitor", "db1")));
        assert_eq!(parse("pgsql:0_promote_0 on db-2: error 'a: b'"), Some(("promote", "db-2")));
        assert_eq!(parse("pgsql-vip_monitor_10000 on db1: error ''"), None);
        assert_eq!(parse("anything else"), None);
    }
}
