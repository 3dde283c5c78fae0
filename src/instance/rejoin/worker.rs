//! The process that rewinds or clones, as the instance's owner, for as long as it takes.

use std::time::Duration;

use super::basebackup::Clone;
use super::keep_aside::{keep_own_files_again, restore_own_files};
use super::lock::take_lock;
use super::rewind::{Rewind, RewindError};
use super::source::Source;
use super::{Marker, Phase, Task};
use crate::instance::Instance;
use crate::ocf::{Failure, Request};
use crate::sys::{Deadline, Pace};

/// The server that is being stopped, and its WAL senders, have this long to end.
const SERVER_ENDS: Duration = Duration::from_secs(120);

/// Does what the marker says, once, if the ticket is the marker's. The agent decides about another attempt.
///
/// # Errors
/// When it is not done; the marker has the reason, too.
pub fn work(request: &Request, ticket: u64) -> Result<(), Failure> {
    let instance = Instance::new(&request.parameters, &request.resource);
    let data = instance.data_directory();
    let failed = |error: std::io::Error| Failure::generic(format!("rejoin of {}: {error}", data.display()));
    // Kept until this process ends, and by the programs that it runs.
    let Some(_lock) = take_lock(data).map_err(failed)? else { return Ok(()) };
    let has_work = |phase| matches!(phase, Phase::Planned | Phase::Saved | Phase::Kept);
    let is_for_us = |marker: &Marker| has_work(marker.phase) && marker.ticket == ticket;
    let Some(mut marker) = Marker::read(data).map_err(failed)?.filter(is_for_us) else { return Ok(()) };
    let result = await_end_of_server(&instance).and_then(|()| attempt(&instance, &mut marker));
    match &result {
        Ok(()) => marker.phase = Phase::Done,
        Err(reason) => {
            marker.failures += 1;
            marker.last_failure = Some(reason.clone());
        }
    }
    marker.write(data).map_err(failed)?;
    result.map_err(Failure::generic)
}

fn await_end_of_server(instance: &Instance) -> Result<(), String> {
    let deadline = Deadline::after(SERVER_ENDS);
    let mut pace = Pace::up_to(Duration::from_millis(100));
    while instance.is_running() {
        if !pace.step(deadline) {
            return Err("the server does not end".to_owned());
        }
    }
    Ok(())
}

fn attempt(instance: &Instance, marker: &mut Marker) -> Result<(), String> {
    if marker.task == Task::Rewind {
        match rewind(instance, marker) {
            Ok(()) => return Ok(()),
            Err(RewindError::Never(reason) | RewindError::ByHand(reason)) if marker.may_clone => {
                log::warn!("{reason}; cloning instead");
                *marker = marker.clone().clone_instead();
                let data = instance.data_directory();
                marker.write(data).map_err(|e| format!("cannot write the marker: {e}"))?;
            }
            Err(RewindError::Never(reason)) => {
                marker.hopeless = Some(reason.clone());
                return Err(reason);
            }
            Err(RewindError::Now(reason) | RewindError::ByHand(reason)) => return Err(reason),
        }
    }
    put_configuration_back(instance, marker)?;
    let (owner, source) = tools(instance, marker)?;
    Clone { instance, owner, source }.run(marker)
}

fn rewind(instance: &Instance, marker: &mut Marker) -> Result<(), RewindError> {
    put_configuration_back(instance, marker)?;
    let (owner, source) = tools(instance, marker)?;
    Rewind { instance, owner, source }.run(marker)
}

/// A rewind that was interrupted may have left the source's configuration files, which say nothing of this node. A clone
/// in its place would take them for the node's. They are put back once: what a person corrects then, counts, and is what
/// the next rewind puts back.
fn put_configuration_back(instance: &Instance, marker: &mut Marker) -> Result<(), String> {
    let data = instance.data_directory();
    let kept = match (marker.task, marker.phase) {
        (Task::Rewind, Phase::Kept) => marker.kept.as_deref(),
        // As long as it has not been moved aside.
        (Task::Clone, Phase::Planned) if data.join("PG_VERSION").exists() => marker.kept_before.as_deref(),
        _ => None,
    };
    let Some(kept) = kept.filter(|kept| kept.is_dir()) else { return Ok(()) };
    if marker.restored && marker.task == Task::Clone {
        return Ok(());
    }
    if marker.restored {
        let again = keep_own_files_again(data, kept);
        return again.map_err(|e| format!("cannot keep the configuration aside again in {}: {e}", kept.display()));
    }
    let restored = restore_own_files(kept, data);
    restored.map_err(|e| format!("cannot put the configuration back from {}: {e}", kept.display()))?;
    marker.restored = true;
    marker.write(data).map_err(|e| format!("cannot write the marker: {e}"))
}

fn tools(instance: &Instance, marker: &Marker) -> Result<(crate::sys::Owner, Source), String> {
    let owner = instance.owner().map_err(|e| e.to_string())?;
    let source = Source::of(instance, marker, Deadline::after(Duration::from_secs(30)))?;
    Ok((owner, source))
}
