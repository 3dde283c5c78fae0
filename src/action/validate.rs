//! `validate-all`, and the part of it that `start` needs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Agent, Outcome, print};
use crate::instance::Session;
use crate::ocf::{ExitCode, Failure, Follow};
use crate::policy::follow::FIRST_RELOADABLE_VERSION;
use crate::policy::hba::lets_itself_in;
use crate::policy::settings::{NEEDED_TO_SERVE, NEEDED_TO_START, OLDEST_VERSION, Settings, complaints};
use crate::policy::slots::{BOUNDED_FROM, advice};
use crate::policy::stop::budget;

impl Agent {
    /// Everything that can be checked before the first start. Each complaint is logged; all of them are
    /// in the reason.
    pub(super) fn validate_all(&self) -> Outcome {
        let mut failures = self.complaints_of_start();
        failures.extend(self.complaints_of_parameters());
        failures.extend(self.complaint_of_owner());
        failures.extend(self.complaint_of_socket());
        if failures.is_empty() {
            failures.extend(self.complaints_of_settings(&[&NEEDED_TO_START[..], &NEEDED_TO_SERVE[..]].concat()));
        }
        for failure in &failures {
            log::error!("{failure}");
        }
        if failures.is_empty() {
            self.advise_on_slots();
            self.advice_on_login().iter().for_each(|text| advise(text));
            self.advice_on_parent().iter().for_each(|text| advise(text));
            self.advice_on_hba().iter().for_each(|text| advise(text));
        }
        all_in_one(&failures).map(|()| ExitCode::Success)
    }

    fn advise_on_slots(&self) {
        let (Ok(wish), Ok(version)) = (self.request.parameters.slots(), self.instance.version().parse()) else {
            return;
        };
        let bound = || self.instance.settings(&["max_slot_wal_keep_size"], self.deadline).ok();
        let unbounded = |settings: Settings| settings.values().any(|size| size == "-1");
        let bounded = version >= BOUNDED_FROM && bound().is_some_and(|settings| !unbounded(settings));
        if let Some(text) = advice(wish, version, bounded) {
            advise(&text);
        }
    }

    fn advice_on_hba(&self) -> Option<String> {
        let (path, text) = self.instance.hba_file(self.deadline)?;
        let line = lets_itself_in(&text)?;
        Some(format!(
            "line {line} of {} lets the replication role in, and none before it rejects this node itself, which would stream from its \
             own server while the address is still here; put 'host replication all samehost reject' before it",
            path.display()
        ))
    }

    fn advice_on_parent(&self) -> Option<String> {
        let may = self.instance.may_write_beside(self.deadline).unwrap_or(true);
        let (owner, data) = (self.instance.configured_owner().ok()?, self.instance.data_directory());
        let parent = data.parent().unwrap_or(Path::new("/")).display();
        (!may).then(|| {
            format!(
                "{} may not write in {parent}, beside the data directory: a promotion cannot note its timeline there, and nothing \
                 can be kept aside, rewound or cloned; let it write there",
                owner.name()
            )
        })
    }

    /// What `start` refuses before it starts the server.
    pub(super) fn refuse_bad_environment(&self) -> Result<(), Failure> {
        all_in_one(&self.complaints_of_start())
    }

    /// What `start` refuses of a server that it has just started: one that could not do its part. Asked of
    /// the server itself, this costs a millisecond, and before the start a program for each setting.
    pub(super) fn stop_if_misconfigured(&self, session: Option<&Session>) -> Result<(), Failure> {
        let asked = session.and_then(|session| session.settings(&NEEDED_TO_START, self.deadline).ok());
        let complete = asked.filter(|settings| settings.len() == NEEDED_TO_START.len());
        let complaints = match complete {
            Some(settings) => self.complaints_of(&settings),
            None => self.complaints_of_settings(&NEEDED_TO_START),
        };
        self.stop_for(&complaints)
    }

    /// A server with `hot_standby` off never takes connections, so it is not asked but its files.
    pub(super) fn stop_if_not_hot_standby(&self) -> Result<(), Failure> {
        self.stop_for(&self.complaints_of_settings(&["hot_standby"]))
    }

    pub(super) fn stop_for(&self, complaints: &[Failure]) -> Result<(), Failure> {
        if !complaints.is_empty() {
            log::warn!("stopping the server that was just started: it could not do its part");
            let ended = self.instance.end(budget(self.deadline.remaining()), &|| false);
            ended.map_err(|e| Failure::generic(e.to_string()))?;
        }
        all_in_one(complaints)
    }

    fn complaints_of_start(&self) -> Vec<Failure> {
        let installed = |text: String| Failure::new(ExitCode::NotInstalled, text);
        let arguments = |text: &str| Failure::new(ExitCode::Arguments, text);
        let mut failures: Vec<Failure> =
            self.instance.configured_owner().err().map(|e| installed(e.to_string())).into_iter().collect();
        failures.extend(self.instance.missing().map(installed));
        if failures.is_empty() {
            failures
                .extend(complaint_of_version(self.instance.data_directory(), &self.instance.version()).map(installed));
        }
        if self.request.parameters.recovery_template.is_some() {
            failures.push(arguments(
                "parameter recovery_template is set: PostgreSQL 12 and newer read no recovery.conf; remove the parameter and set primary_conninfo in postgresql.conf",
            ));
        }
        let meta = &self.request.meta;
        if meta.promotable && meta.notify == Some(false) {
            failures.push(arguments("the clone has notify=false, and without notifications no election can be held; set the meta attribute notify=true"));
        }
        if let Some(max) = meta.promoted_max.filter(|max| *max != 1) {
            failures.push(arguments(&format!(
                "the clone has promoted-max={max}, and there can be one primary; set the meta attribute promoted-max=1"
            )));
        }
        failures.extend(self.complaint_of_names());
        failures
    }

    /// Names that could not be told from others. Where none looks so, nobody is asked.
    fn complaint_of_names(&self) -> Option<Failure> {
        let resource = &self.request.resource;
        if let Ok(Some(other)) = self.cluster.namesake(self.deadline) {
            return Some(Failure::new(
                ExitCode::Arguments,
                format!(
                    "the resources {other} and {resource} share the name of a node attribute, pgbaton-{resource}; give one of them \
                     another name"
                ),
            ));
        }
        let own = self.own_name().ok().filter(|own| own.application_name() != own.as_str())?;
        let nodes = self.cluster.nodes(self.deadline).ok()?;
        let other = nodes.into_iter().find(|node| *node != own && node.application_name() == own.application_name())?;
        Some(Failure::new(
            ExitCode::NotInstalled,
            format!(
                "PostgreSQL cannot tell {own} from {other}: it cuts an application_name after 63 bytes, and these are the same \
                 up to there; give one of the nodes another name"
            ),
        ))
    }

    fn complaints_of_parameters(&self) -> Vec<Failure> {
        let parameters = &self.request.parameters;
        let numbers = [parameters.pgport().err(), parameters.maxlag().err(), parameters.election_timeout().err()];
        let words = [
            parameters.rejoin().err(),
            parameters.keep_aside().err(),
            parameters.slots().err(),
            parameters.degraded().err(),
        ];
        let follow = parameters.follow().map_or_else(Some, |follow| self.complaint_of_follow(follow));
        numbers.into_iter().chain(words).flatten().chain(follow).collect()
    }

    fn complaint_of_follow(&self, follow: Follow) -> Option<Failure> {
        let too_old = self.instance.major_version().is_some_and(|major| major < FIRST_RELOADABLE_VERSION);
        (follow == Follow::Promoted && too_old).then(|| {
            let text = format!(
                "parameter follow is 'promoted', and this instance reads primary_conninfo only when it starts; \
                 set follow=conninfo, or upgrade to PostgreSQL {FIRST_RELOADABLE_VERSION}"
            );
            Failure::new(ExitCode::Arguments, text)
        })
    }

    fn complaint_of_owner(&self) -> Option<Failure> {
        let (owner, data) = (self.instance.configured_owner().ok()?, self.instance.data_directory());
        let uid = fs::metadata(data).ok()?.uid();
        let (path, name) = (data.display(), owner.name());
        (uid != owner.uid()).then(|| {
            let text = format!(
                "{path} belongs to user id {uid} and not to system_user '{name}'; chown it, or correct system_user"
            );
            Failure::new(ExitCode::NotInstalled, text)
        })
    }

    fn complaint_of_socket(&self) -> Option<Failure> {
        let host = &self.request.parameters.pghost;
        let missing = host.starts_with('/') && !Path::new(host).is_dir();
        missing.then(|| {
            let text = format!(
                "the socket directory {host} does not exist; create it at boot (tmpfiles.d), or correct pghost"
            );
            Failure::new(ExitCode::NotInstalled, text)
        })
    }

    fn complaints_of_settings(&self, names: &[&'static str]) -> Vec<Failure> {
        match self.instance.settings(names, self.deadline) {
            Ok(settings) => self.complaints_of(&settings),
            Err(error) => vec![Failure::new(ExitCode::NotInstalled, error.to_string())],
        }
    }

    fn complaints_of(&self, settings: &Settings) -> Vec<Failure> {
        match self.own_name() {
            Ok(node) => {
                complaints(settings, &node).into_iter().map(|text| Failure::new(ExitCode::NotInstalled, text)).collect()
            }
            Err(failure) => vec![failure],
        }
    }
}

/// What is no failure but good to know: on standard output, which the cluster's shells show, and in the log.
fn advise(text: &str) {
    log::info!("{text}");
    let _ = print(&format!("{text}\n"));
}

/// One failure with all reasons and the exit code of the first.
fn all_in_one(failures: &[Failure]) -> Result<(), Failure> {
    let Some(first) = failures.first() else { return Ok(()) };
    let reasons: Vec<_> = failures.iter().map(ToString::to_string).collect();
    Err(Failure::new(first.code(), reasons.join(" | ")))
}

fn complaint_of_version(data: &Path, version: &str) -> Option<String> {
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    let supported = major.is_some_and(|major| major >= OLDEST_VERSION);
    let version: String = version.chars().take(20).flat_map(char::escape_default).collect();
    (!supported).then(|| {
        format!("{} is of PostgreSQL '{version}'; version {OLDEST_VERSION} or newer is needed", data.display())
    })
}
