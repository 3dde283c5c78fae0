//! With which options of the agent's own the server runs, as its command line tells.

use std::fs;

use super::Instance;
use crate::policy::makeshift::Makeshift;

impl Instance {
    /// None as well when no postmaster is alive.
    #[must_use]
    pub fn makeshift(&self) -> Option<Makeshift> {
        let line = fs::read(format!("/proc/{}/cmdline", self.postmaster()?)).ok()?;
        let arguments = line.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned());
        Makeshift::of(&arguments.collect::<Vec<_>>())
    }
}
