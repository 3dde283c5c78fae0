//! Explores the decisions of pgbaton: a small cluster with rows, faults, lapses and slips, in which every node obeys the
//! agent's own rules of `pgbaton::policy`, is taken through every order of events, and each promotion is judged by
//! the truth, which no rule sees.

pub mod engine;
pub mod fair;
pub mod judge;
pub mod model;
pub mod rules;
pub mod set;
pub mod state;
pub mod steps;
pub mod translate;
pub mod wal;
pub mod words;
