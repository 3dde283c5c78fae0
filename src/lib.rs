//! pgbaton: PostgreSQL high availability under Pacemaker.
//!
//! One action is a small loop: facts, policy, one step, facts again. [`policy`] decides and does
//! nothing else; [`instance`] knows the local PostgreSQL, [`cluster`] knows Pacemaker, [`action`] is
//! the only place that sees all three.

pub mod action;
pub mod cluster;
pub mod instance;
pub mod ocf;
pub mod operator;
pub mod policy;
pub mod sys;
pub mod types;
