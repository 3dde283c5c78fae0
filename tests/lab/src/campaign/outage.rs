//! TODO: a stand-in until the reports are there.

use super::record::{Campaign, Round};

pub(crate) fn outage_ms(_campaign: &Campaign, _round: &Round) -> Option<u64> {
    None
}
