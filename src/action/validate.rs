//! `validate-all`, and the part of it that `start` needs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Agent, Outcome};
use crate::ocf::{ExitCode, Failure};
use crate::policy::settings::{NEEDED_TO_SERVE, NEEDED_TO_START, OLDEST_VERSION, complaints};

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
        let Some(first) = failures.first() else { return Ok(ExitCode::Success) };
        let reasons: Vec<_> = failures.iter().map(ToString::to_string).collect();
        Err(Failure::new(first.code(), reasons.join(" | ")))
    }

    /// What `start` refuses: a server that could not do its part.
    pub(super) fn refuse_bad_configuration(&self) -> Result<(), Failure> {
        let mut failures = self.complaints_of_start();
        if failures.is_empty() {
            failures = self.complaints_of_settings(&NEEDED_TO_START);
        }
        let Some(first) = failures.first() else { return Ok(()) };
        let reasons: Vec<_> = failures.iter().map(ToString::to_string).collect();
        Err(Failure::new(first.code(), reasons.join(" | ")))
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
        failures
    }

    fn complaints_of_parameters(&self) -> Vec<Failure> {
        let parameters = &self.request.parameters;
        let results = [parameters.pgport().err(), parameters.maxlag().err(), parameters.election_timeout().err()];
        results.into_iter().flatten().collect()
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
        let installed = |text: String| Failure::new(ExitCode::NotInstalled, text);
        let node = match self.own_name() {
            Ok(node) => node,
            Err(failure) => return vec![failure],
        };
        match self.instance.settings(names, self.deadline) {
            Ok(settings) => complaints(&settings, &node).into_iter().map(installed).collect(),
            Err(error) => vec![installed(error.to_string())],
        }
    }
}

fn complaint_of_version(data: &Path, version: &str) -> Option<String> {
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    let supported = major.is_some_and(|major| major >= OLDEST_VERSION);
    let version: String = version.chars().take(20).flat_map(char::escape_default).collect();
    (!supported).then(|| {
        format!("{} is of PostgreSQL '{version}'; version {OLDEST_VERSION} or newer is needed", data.display())
    })
}
