//! The example for crmsh makes the same cluster as the one for pcs.

use super::Verdict;
use super::switchover_and_back::switchover_and_back;
use crate::harness::Lab;

pub(super) const EXAMPLE: &str = "three-nodes-vip-crmsh";

pub(super) fn crmsh_example(lab: &Lab) -> Verdict {
    switchover_and_back(lab)
}
