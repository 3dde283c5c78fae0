//! A server that is alive and does not let the agent in. It is left alone, whatever the reason; a person is told.

use super::Agent;
use crate::instance::SqlError;
use crate::policy::condition::Condition;
use crate::types::Role;

impl Agent {
    /// Tells of a refusal, once until it is another one or gone, and what to show for it.
    pub(super) fn note_shut_out(&self, found: Option<(Role, &str)>) -> Option<Condition> {
        let refused = found.map(|(_, why)| why.to_owned());
        let mut is_new = false;
        self.change_notes(|notes| {
            is_new = refused.is_some() && notes.shut_out != refused;
            notes.shut_out = refused;
        });
        let (role, why) = found?;
        if is_new {
            log::warn!("the server is alive and refuses the agent: {why}; it is a {role} by its files");
        }
        Some(Condition::shut_out(role, why))
    }

    /// For `validate-all`: what would keep the agent from asking the server that runs now.
    pub(super) fn advice_on_login(&self) -> Option<String> {
        if !self.instance.is_running() {
            return None;
        }
        match self.instance.connect(self.deadline) {
            Err(SqlError::Refused(why)) => Some(format!("the server is alive and refuses the agent: {why}")),
            Err(error @ SqlError::Stranger(_)) => Some(error.to_string()),
            Err(_) | Ok(_) => None,
        }
    }
}
