//! `lab`: a real Pacemaker cluster on one machine.

mod bench;
mod campaign;
mod cgroup;
mod cli;
mod cluster;
mod demo;
mod error;
mod fence;
mod harness;
mod image;
mod lock;
mod net;
mod node;
mod paths;
mod plan;
mod profile;
mod run;
mod sandbox;
mod scenario;
mod switch;
mod wait;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let called_as = std::env::args().next().unwrap_or_default();
    if called_as.ends_with("fence_lab") {
        return fence::main();
    }
    match cli::obey(cli::Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::FAILURE
        }
    }
}
