//! The actions: facts, policy, one step, facts again, under one deadline.

mod archive;
mod attempt;
mod blind;
mod candidacy;
mod catch_up;
mod demote;
mod election;
mod elsewhere;
mod follow;
mod leaving;
mod makeshift;
mod monitor;
mod notify;
mod origin;
mod planted;
mod promote;
mod record;
mod rejoin;
mod scores;
mod shut_out;
mod slots;
mod start;
mod state;
mod stop;
mod strike;
mod validate;
mod waiting;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster::{self, Cluster, ClusterError};
use crate::instance::Instance;
use crate::ocf::{Action, Environment, ExitCode, Failure, META_DATA, Meta, Request};
use crate::sys::{Deadline, Owner, Running};
use crate::types::NodeName;

/// What every action returns: an exit code that is no failure, or a failure with its reason.
pub type Outcome = Result<ExitCode, Failure>;

/// Everything that an action works with.
#[derive(Debug)]
pub struct Agent {
    request: Request,
    instance: Instance,
    cluster: Cluster,
    /// When the answer is due; Pacemaker's own deadline is a little later.
    deadline: Deadline,
}

/// Runs the action that Pacemaker asked for by `word`.
///
/// # Errors
/// When the action fails or is unknown; the failure has the exit code and the reason.
pub fn run(word: &str, environment: &Environment) -> Outcome {
    let action = word.parse().map_err(|()| unknown_action(word))?;
    match action {
        Action::MetaData => return print(META_DATA),
        Action::Methods => return print(&Action::ALL.map(|(name, _)| format!("{name}\n")).concat()),
        _ => {}
    }
    let request = Request::read(environment);
    let request = request.map_err(|e| Failure::new(ExitCode::Arguments, format!("OCF_RESOURCE_INSTANCE: {e}")))?;
    crate::sys::start_log(&format!("pgbaton({})", request.resource), log::LevelFilter::Info);
    Agent::new(request).act(action)
}

/// How long the agent's work is waited for. It answers before that unless it hangs.
#[must_use]
pub fn patience(environment: &Environment) -> Duration {
    let timeout = Meta::read(environment).timeout;
    timeout.saturating_sub(reserve(timeout) / 4).max(Duration::from_secs(1))
}

/// Does what the marker of a rejoin says: the work of a process of its own.
///
/// # Errors
/// When it is not done.
pub fn rejoin(environment: &Environment, ticket: u64) -> Result<(), Failure> {
    let request = Request::read(environment).map_err(|e| Failure::generic(format!("OCF_RESOURCE_INSTANCE: {e}")))?;
    crate::sys::start_log(&format!("pgbaton({})", request.resource), log::LevelFilter::Info);
    crate::instance::rejoin::work(&request, ticket)
}

/// Ends the return of an instance that is half rewound or cloned, and tells what there is now. Nothing is destroyed.
///
/// # Errors
/// When it is under way, or a file cannot be renamed.
pub fn abandon(data: &Path) -> Result<String, Failure> {
    let unknown = || {
        let data = data.display();
        Failure::generic(format!(
            "{data}: no such directory, root's, or behind another user's link; name a data directory"
        ))
    };
    // The marker lies beside the path that the agent is given, which may be a link, and may lead to nothing now.
    let owner = owner_of_return(data)?.ok_or_else(unknown)?;
    let parent = data.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let data = match data.file_name() {
        Some(name) => parent.canonicalize().map(|parent| parent.join(name)),
        None => data.canonicalize(),
    };
    let data = data.map_err(|_| unknown())?;
    let environment = Environment::from([
        ("OCF_RESOURCE_INSTANCE", "abandon"),
        ("OCF_RESKEY_pgdata", data.to_str().ok_or_else(unknown)?),
        ("OCF_RESKEY_system_user", owner.name()),
    ]);
    let request = Request::read(&environment).map_err(|e| Failure::generic(e.to_string()))?;
    Instance::new(&request.parameters, &request.resource).abandon_rejoin(Deadline::after(Duration::from_secs(60)))
}

/// Whoever has put a marker there has no part in another user's directory.
fn owner_of_return(data: &Path) -> Result<Option<Owner>, Failure> {
    let marker = crate::instance::rejoin::marker_path(data);
    match (Owner::of_path(data), Owner::of_path(&marker)) {
        (Some(owner), Some(other)) if owner.uid() != other.uid() => Err(Failure::generic(format!(
            "{} is {}'s, and {} is {}'s; remove what is not yours",
            data.display(),
            owner.name(),
            marker.display(),
            other.name()
        ))),
        (owner, marker) => Ok(owner.or(marker)),
    }
}

impl Agent {
    fn new(request: Request) -> Self {
        Agent {
            instance: Instance::new(&request.parameters, &request.resource),
            cluster: Cluster::new(&request.resource).seen_from(request.meta.node.clone()),
            deadline: Deadline::after(request.meta.timeout.saturating_sub(reserve(request.meta.timeout))),
            request,
        }
    }

    fn act(&self, action: Action) -> Outcome {
        if matches!(action, Action::Start | Action::Monitor | Action::Promote | Action::Demote) {
            self.end_left_catching_up();
        }
        match action {
            Action::Start => self.start(),
            Action::Stop => self.stop(),
            Action::Monitor => self.monitor(),
            Action::Promote => self.promote(),
            Action::Demote => self.demote(),
            Action::Notify => self.notify(),
            Action::ValidateAll => self.validate_all(),
            Action::MetaData | Action::Methods => Ok(ExitCode::Success),
        }
    }

    /// Whether Pacemaker runs the resource as a promotable clone. Outside of a cluster, under ocf-tester
    /// for instance, there is nobody to ask and no score to write.
    fn in_cluster(&self) -> bool {
        self.request.meta.promotable
    }

    fn own_name(&self) -> Result<NodeName, Failure> {
        let name = cluster::own_name(self.request.meta.node.as_ref(), self.deadline);
        name.map_err(|e| Failure::generic(e.to_string()))
    }

    /// Where the notes for the next action are.
    fn notes_path(&self) -> PathBuf {
        self.request.run_directory.join(format!("pgbaton-{}.json", self.request.resource))
    }
}

fn failed(error: ClusterError) -> Failure {
    Failure::generic(error.to_string())
}

/// Waits for one of the cluster's tools that was started, if it was.
fn finish(begun: Result<Running, ClusterError>, deadline: Deadline) -> Result<(), String> {
    let running = begun.map_err(|e| e.to_string())?;
    running.finish(deadline).map(drop).map_err(|e| e.to_string())
}

/// The time that is kept for answering: Pacemaker kills an action at its timeout, and its reason is lost.
fn reserve(timeout: Duration) -> Duration {
    (timeout / 10).clamp(Duration::from_millis(200), Duration::from_secs(3))
}

fn unknown_action(word: &str) -> Failure {
    let word: String = word.chars().take(40).flat_map(char::escape_default).collect();
    let known = Action::ALL.map(|(name, _)| name).join(", ");
    Failure::new(ExitCode::Unimplemented, format!("action '{word}' is not known; the actions are {known}"))
}

/// `println!` panics when nobody reads.
fn print(text: &str) -> Outcome {
    use std::io::Write;
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map(|()| ExitCode::Success).map_err(|e| Failure::generic(format!("cannot write to stdout: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_action_exits_with_3() {
        for word in ["", "reload", "migrate_to", "start\n"] {
            let failure = run(word, &Environment::default()).unwrap_err();
            assert_eq!(failure.code(), ExitCode::Unimplemented, "{word:?}");
        }
    }

    #[test]
    fn the_answer_comes_before_the_timeout() {
        for ms in [300, 1_000, 10_000, 60_000, 3_600_000] {
            let timeout = Duration::from_millis(ms);
            assert!(reserve(timeout) < timeout && reserve(timeout) <= Duration::from_secs(3));
        }
    }
}
