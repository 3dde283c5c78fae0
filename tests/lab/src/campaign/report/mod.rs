//! TODO: a stand-in until the reports are there.

use super::record::{Campaign, Finding};
use crate::error::Result;

pub(crate) struct Summary;

impl Summary {
    pub(crate) fn of(_campaign: &Campaign, _findings: &[Finding]) -> Self {
        Self
    }

    pub(crate) fn markdown(&self) -> String {
        String::new()
    }

    pub(crate) fn svg(&self) -> String {
        String::new()
    }

    pub(crate) fn json(&self) -> Result<String> {
        Ok(String::new())
    }
}
