//! The faults: what they are called and whom they hit. How they are made is in `strike`.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What kind of fault it is; the reports count by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    KillPostmaster,
    KillBackend,
    KillStartup,
    KillCheckpointer,
    KillAll,
    StopPostmaster,
    PowerLossOne,
    PowerLossTwo,
    PowerLossAll,
    Cut,
    CutOneDirection,
    CutReplication,
    Freeze,
    KillAttributeDaemon,
    KillScheduler,
    KillController,
    KillAgent,
    ConnectionsExhausted,
    WalVolumeFull,
    InstanceStoppedByAdmin,
    StandbyMode,
    Switchover,
    ParametersChanged,
    RestartByHand,
    ReplayPaused,
    ClockSet,
    // The slips of administrators.
    BadConfiguration,
    NonsenseByAlterSystem,
    AgentShutOut,
    PromotedByHand,
    RestartThroughPacemaker,
    ServicesRestarted,
    Maintenance,
    ForgottenBan,
    CleanedUp,
    RestoredBackup,
}

/// Whom a fault hits, by the role of that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Victim {
    Primary,
    /// The standby with this number in the order of the names, counted from 0, modulo their count.
    Standby(usize),
    /// The primary and a standby.
    PrimaryAnd(usize),
    /// All standbys.
    Standbys,
    All,
}

/// A fault as it is drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub kind: Kind,
    pub victim: Victim,
    /// How long it lasts, in milliseconds, where it has an end of its own (stop, freeze, cut, full volume ...); else 0.
    pub lasts_ms: u64,
    /// How long after the round's first strike it is made, in milliseconds; 0 for the first.
    pub after_ms: u64,
    /// Whatever else its kind needs to be drawn (which action of the agent, which parameter, how far the clock), as a number.
    pub choice: u64,
}
