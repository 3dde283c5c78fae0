//! Cables and switches that fail, as a whole or in part.

use super::{Made, Scene};
use crate::error::Result;

pub(super) fn cut(scene: &Scene<'_>) -> Result<Made> {
    scene.lasting(|node| scene.lab.cut(node), |node| scene.lab.heal(node))
}

/// Nothing that the node sends arrives any more, or nothing that is sent to it.
pub(super) fn cut_one_direction(scene: &Scene<'_>) -> Result<Made> {
    match scene.fault.choice % 2 {
        0 => leak(scene, "from-node"),
        _ => leak(scene, "to-node"),
    }
}

/// Nobody on these nodes reaches a PostgreSQL server on another one: replication and rewinds stand still, while the cluster and
/// the clients see all nodes.
pub(super) fn cut_replication(scene: &Scene<'_>) -> Result<Made> {
    leak(scene, "to-servers")
}

fn leak(scene: &Scene<'_>, word: &str) -> Result<Made> {
    scene.lasting(|node| scene.lab.leak(node, word), |node| scene.lab.stop_leak(node, word))
}
