//! The OCF protocol: what Pacemaker gives to an agent and what it expects back.

mod exit;
mod metadata;
mod notification;
mod parameters;
mod request;

pub use exit::{ExitCode, Failure};
pub use metadata::META_DATA;
pub use notification::{Moment, Notification, Operation};
pub use parameters::{Degraded, Follow, Parameters, UseSlots};
pub use request::{Action, Environment, Meta, Request};
