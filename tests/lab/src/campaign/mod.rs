//! A campaign: random faults against the cluster, one or two at a time, with clients that write and read all the while, and
//! a checker that decides afterwards from what they were told.

mod checker;
mod draw;
mod fault;
#[cfg(test)]
mod made_up;
mod outage;
mod record;
mod report;
