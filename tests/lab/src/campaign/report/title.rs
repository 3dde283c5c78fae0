//! What people call the kinds of faults.

use crate::campaign::fault::Kind;

pub(in crate::campaign) fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::KillPostmaster => "SIGKILL of the postmaster",
        Kind::KillBackend => "SIGKILL of a backend",
        Kind::KillStartup => "SIGKILL of the startup process",
        Kind::KillCheckpointer => "SIGKILL of the checkpointer",
        Kind::KillAll => "SIGKILL of all processes",
        Kind::StopPostmaster => "SIGSTOP of the postmaster",
        Kind::PowerLossOne => "power loss of a node",
        Kind::PowerLossTwo => "power loss of two nodes",
        Kind::PowerLossAll => "power loss of all nodes",
        Kind::Cut => "cut of a node",
        Kind::CutOneDirection => "cut in one direction",
        Kind::CutReplication => "cut of replication",
        Kind::Freeze => "freeze of a node",
        Kind::KillAttributeDaemon => "SIGKILL of the attribute daemon",
        Kind::KillScheduler => "SIGKILL of the scheduler",
        Kind::KillController => "SIGKILL of the controller",
        Kind::KillAgent => "SIGKILL of the agent",
        Kind::ConnectionsExhausted => "connections exhausted",
        Kind::WalVolumeFull => "WAL volume full",
        Kind::InstanceStoppedByAdmin => "standby stopped by hand",
        Kind::StandbyMode => "node in standby mode",
        Kind::Switchover => "switchover",
        Kind::ParametersChanged => "parameters changed",
        Kind::RestartByHand => "restart by hand",
        Kind::ReplayPaused => "replay paused",
        Kind::ClockSet => "clock set",
        Kind::BadConfiguration => "wrong configuration at a restart",
        Kind::NonsenseByAlterSystem => "nonsense by ALTER SYSTEM",
        Kind::AgentShutOut => "agent shut out by pg_hba",
        Kind::PromotedByHand => "pg_promote() by hand",
        Kind::RestartThroughPacemaker => "restart through Pacemaker",
        Kind::ServicesRestarted => "cluster services restarted",
        Kind::Maintenance => "maintenance mode",
        Kind::ForgottenBan => "forgotten ban",
        Kind::CleanedUp => "cleanup or refresh",
        Kind::RestoredBackup => "backup restored",
    }
}
