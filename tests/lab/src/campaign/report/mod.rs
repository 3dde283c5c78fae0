//! TODO: a stand-in until the reports are there.

use serde::{Deserialize, Serialize};

use super::record::{Campaign, Finding};
use crate::error::{Doing, Result};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub agent: String,
    pub nodes: usize,
    pub synchronous: bool,
}

impl Summary {
    pub(crate) fn of(campaign: &Campaign, _findings: &[Finding]) -> Self {
        Self { agent: campaign.agent.clone(), nodes: campaign.nodes.len(), synchronous: campaign.synchronous }
    }

    pub(crate) fn joined(self, _other: Self) -> Self {
        self
    }

    pub(crate) fn markdown(&self) -> String {
        String::new()
    }

    pub(crate) fn svg(&self) -> String {
        String::new()
    }

    pub(crate) fn json(&self) -> Result<String> {
        serde_json::to_string(self).doing(|| "write the summary".to_owned())
    }
}

pub(crate) fn compare(_summaries: &[Summary]) -> String {
    String::new()
}
