//! `start`: the instance runs as a standby, whatever it was.

use std::time::{Duration, Instant};

use super::rejoin::WayIn;
use super::{Agent, Outcome};
use crate::instance::Launched;
use crate::ocf::{ExitCode, Failure};
use crate::policy::makeshift::{Archive, Makeshift};
use crate::policy::start::{self, Step, goes_on_by_itself};
use crate::sys::Pace;
use crate::types::State;

/// How long one look at a live server may take before the agent looks again.
pub(super) const ONE_LOOK: Duration = Duration::from_secs(2);

/// Whether the configuration is checked before the server is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// For `start`: refuse a server that could not do its part.
    Configuration,
    /// For `demote` and `promote`: a slip in the configuration must not keep a server down that was
    /// running a moment ago.
    Nothing,
}

/// The server that this action has launched, and how.
#[derive(Debug, Default)]
pub(super) struct Launching {
    server: Option<Launched>,
    makeshift: Option<Makeshift>,
    /// It has ended once.
    again: bool,
    /// Its archive hangs.
    without_archive: bool,
}

impl Launching {
    /// For a promotion, which has no primary to compare with.
    pub(super) fn begin_without_primary(&mut self, agent: &Agent) {
        if self.server.is_none() && agent.in_cluster() {
            self.makeshift = agent.makeshift_without_primary();
        }
    }

    /// Ends a server whose archive hangs. It is started once more, without that.
    pub(super) fn leave_archive(&mut self, agent: &Agent) -> Result<(), Failure> {
        agent.end_for_mending()?;
        (self.server, self.without_archive) = (None, true);
        Ok(())
    }

    fn makeshift(&self) -> Option<Makeshift> {
        if self.without_archive { Some(Makeshift::without_archive(self.makeshift)) } else { self.makeshift }
    }
}

impl Agent {
    pub(super) fn start(&self) -> Outcome {
        if !self.in_cluster() {
            return self.become_standby(Check::Configuration).map(|()| ExitCode::Success);
        }
        self.change_notes(|notes| {
            (notes.state_seen, notes.state_shown, notes.looks_without_stream) = (None, None, 0);
            (notes.by_hand, notes.cloned_behind, notes.here) = (false, false, false);
        });
        let stands = self.has_instance();
        // The score is written while the server starts: a change of it makes Pacemaker plan anew once the
        // starts have ended, and not once more after them. Nothing delays the server's own work, which takes longer.
        std::thread::scope(|scope| {
            let durable = scope.spawn(|| {
                self.await_launch();
                let durable = self.durable();
                self.stand_if_nobody_is_promoted(stands, durable.as_ref());
                durable
            });
            self.become_standby(Check::Configuration)?;
            let durable = durable.join().unwrap_or_default();
            let last_primary = durable.as_ref().and_then(|durable| durable.record.as_ref());
            self.stop_for(last_primary.and_then(|last| self.complaint_of_foreign(last)).as_slice())?;
            self.follow_after_start();
            Ok(ExitCode::Success)
        })
    }

    /// Goes through the steps of [`start::next`] until the instance is a standby that answers, or is on its way
    /// to become one: rewound or cloned, which may take longer than this action.
    pub(super) fn become_standby(&self, check: Check) -> Result<(), Failure> {
        self.launch_standby(check, Launching::default())
    }

    pub(super) fn launch_standby(&self, check: Check, mut launched: Launching) -> Result<(), Failure> {
        let mut pace = Pace::up_to(Duration::from_millis(25));
        let begin = Instant::now();
        let (patience, time) = (self.patience(), self.deadline.remaining());
        let mut recovery = None;
        let mut hot_standby_asked = check == Check::Nothing;
        loop {
            let found = self.instance.observe(self.deadline.at_most(ONE_LOOK));
            let step = start::next(&found.state);
            let is_down = matches!(step, Step::Launch | Step::RefuseAbsent(_));
            if is_down && launched.server.is_none() {
                self.refuse_unfinished_restore(check)?;
                match self.way_in()? {
                    WayIn::UnderWay => return Ok(()),
                    WayIn::Launch(makeshift) => launched.makeshift = makeshift,
                }
                // An empty directory may have been filled.
                if matches!(step, Step::RefuseAbsent(_)) && self.instance.missing().is_none() {
                    continue;
                }
            }
            if step == Step::Done {
                self.forget_rejoin();
                let as_configured = launched.server.is_some() && launched.makeshift().is_none();
                let unchecked = check == Check::Configuration && as_configured;
                return if unchecked { self.stop_if_misconfigured(found.session.as_ref()) } else { Ok(()) };
            }
            let waits_for = self.take_step(step, check, &mut launched)?;
            if !hot_standby_asked && launched.server.is_some() && begin.elapsed() > ONE_LOOK {
                hot_standby_asked = true;
                self.stop_if_not_hot_standby()?;
            }
            if patience.has_passed() && found.state == State::Starting && self.recovers_after_rejoin() {
                log::info!(
                    "the recovery after the rejoin goes on in the background; the instance joins when it is done"
                );
                return Ok(());
            }
            if found.state == State::Starting {
                let (since, watch) = recovery.get_or_insert_with(|| (Instant::now(), self.instance.watch_recovery()));
                if self.archive(watch.idle_for()) == Archive::Hangs {
                    launched.leave_archive(self)?;
                    recovery = None;
                    continue;
                }
                // Other processes work beside a startup process that is suspended.
                let works = watch.has_worked() && !self.instance.recovery_is_suspended();
                if works && goes_on_by_itself(since.elapsed(), time, watch.idle_for()) {
                    self.note_recovery();
                    log::info!(
                        "the recovery goes on in the background, monitor tells; the instance joins when it is done"
                    );
                    return Ok(());
                }
            }
            if !pace.step(self.deadline) {
                return Err(self.out_of_time(&waits_for));
            }
        }
    }

    /// A backup that was restored with `recovery.signal` would not be brought to its target, but made a standby. That is
    /// for a person to decide. A server that was running a moment ago has only left the file lying.
    fn refuse_unfinished_restore(&self, check: Check) -> Result<(), Failure> {
        if check == Check::Nothing || !self.instance.has_recovery_signal() {
            return Ok(());
        }
        let data = self.instance.data_directory().display();
        Err(Failure::generic(format!(
            "{data} has a recovery.signal, as a restored backup has: either finish the restore without the cluster (pg_ctl \
             start, wait until it takes writes, pg_ctl stop), or remove {data}/recovery.signal to have it started as a standby"
        )))
    }

    /// Waits a moment until a server process is there. A start that is refused has none.
    fn await_launch(&self) {
        let mut pace = Pace::up_to(Duration::from_millis(10));
        let moment = self.deadline.at_most(Duration::from_secs(1));
        while !self.instance.is_running() && pace.step(moment) {}
    }

    /// Takes one step and says what is waited for next.
    pub(super) fn take_step(&self, step: Step, check: Check, launched: &mut Launching) -> Result<String, Failure> {
        match step {
            Step::Done => Ok(String::new()),
            Step::Wait(what) => Ok(what),
            Step::RefuseAbsent(what) => {
                self.refuse_half_made()?;
                Err(Failure::new(ExitCode::NotInstalled, what))
            }
            Step::RefusePrimary => Err(Failure::generic(
                "the instance already runs as a primary, and start only makes standbys; stop it, then let the cluster start it",
            )),
            Step::EndOrphans => {
                self.instance.end_orphans(self.deadline).map_err(|e| Failure::generic(e.to_string()))?;
                Ok("ending the processes of a dead postmaster".to_owned())
            }
            Step::Launch => self.launch_once(check, launched),
        }
    }

    /// A server that was launched by this action and ended is not launched again, but with other options: its own words are
    /// the reason.
    fn launch_once(&self, check: Check, launched: &mut Launching) -> Result<String, Failure> {
        let waiting = Ok("the server was started and has not answered yet".to_owned());
        if let Some(server) = &mut launched.server {
            let Some(status) = server.ended() else { return waiting };
            let (words, log) = (self.instance.last_words(server), self.instance.log_file().display());
            let again = if launched.again { None } else { self.makeshift_after_end(launched.makeshift, &words) };
            let Some(makeshift) = again else {
                return Err(Failure::generic(format!(
                    "the server ended while it started ({status}): {words}; see {log}"
                )));
            };
            *launched = Launching { server: None, makeshift, again: true, ..*launched };
        }
        if check == Check::Configuration {
            self.refuse_bad_environment()?;
        }
        self.refuse_half_made()?;
        let files = self.instance.write_standby_signal(self.deadline);
        let files = files.and_then(|()| self.instance.remove_stale_pid_file(self.deadline));
        files.map_err(|e| Failure::generic(e.to_string()))?;
        let planted = self.instance.remove_planted_histories(self.deadline);
        planted.map_err(|e| {
            Failure::generic(format!("cannot remove the history files of an interrupted promotion: {e}"))
        })?;
        self.set_first_segment_aside();
        let log = self.instance.log_file().display();
        log::info!("starting the server as a standby; its output until the logging collector runs goes to {log}");
        let server = self.instance.launch(launched.makeshift()).map_err(|e| Failure::generic(e.to_string()))?;
        launched.server = Some(server);
        waiting
    }

    /// That it cannot be found out keeps no server from trying.
    fn set_first_segment_aside(&self) {
        match self.instance.set_first_segment_aside(self.deadline.at_most(ONE_LOOK)) {
            Ok(None) => {}
            Ok(Some(aside)) => log::warn!(
                "the server went down while it received the first segment of a timeline; that part, from which it would not start, is \
                 set aside as {} and is fetched again",
                aside.display()
            ),
            Err(why) => {
                log::warn!("cannot see whether the WAL has the first segment of a timeline in part only: {why}")
            }
        }
    }

    pub(super) fn out_of_time(&self, waits_for: &str) -> Failure {
        let ms = self.request.meta.timeout.as_millis();
        Failure::generic(format!(
            "not done within the action's timeout of {ms} ms: {waits_for}; raise the timeout if that is normal here"
        ))
    }

    /// The state, looked at with the patience of one look.
    pub(super) fn state(&self) -> State {
        self.instance.observe(self.deadline.at_most(ONE_LOOK)).state
    }
}
