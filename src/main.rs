//! The executable: `pgbaton ocf ACTION` for Pacemaker, anything else for people.

use clap::Parser;
use pgbaton::ocf::{Environment, Failure};
use pgbaton::operator::{Command, CommandLine};
use pgbaton::{action, sys};

fn main() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or(String::new(), |at| format!(" at {}:{}", at.file(), at.line()));
        Failure::generic(format!("internal error{place}, please report it: {panic}")).report();
        std::process::exit(1);
    }));
    std::process::exit(exit_code());
}

/// The OCF side is parsed by hand: an unknown action must exit 3, and clap's usage errors exit 2, which
/// Pacemaker reads as "wrong arguments".
fn exit_code() -> i32 {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|word| word == "ocf") {
        let word = arguments.next().unwrap_or_default();
        return ocf(&word.to_string_lossy());
    }
    match CommandLine::parse().command {
        Command::Ocf { action } => ocf(&action),
        Command::Rejoin { ticket } => rejoin(ticket),
        Command::Abandon { data } => abandon(&data),
    }
}

/// By a person, as root or as the instance's owner.
fn abandon(data: &std::path::Path) -> i32 {
    match action::abandon(data) {
        Ok(told) => {
            println!("{told}");
            0
        }
        Err(failure) => {
            eprintln!("pgbaton: {failure}");
            1
        }
    }
}

/// The worker: started by the agent, as the instance's owner.
fn rejoin(ticket: u64) -> i32 {
    let done = action::rejoin(&Environment::of_this_process(), ticket);
    if let Err(failure) = &done {
        log::error!("rejoin failed: {failure}");
    }
    sys::flush_log();
    i32::from(done.is_err())
}

fn ocf(word: &str) -> i32 {
    let environment = Environment::of_this_process();
    let answered = sys::apart(action::patience(&environment), || act(word, &environment));
    answered.unwrap_or_else(|why| {
        let failure = Failure::generic(why);
        failure.report();
        failure.code().number()
    })
}

fn act(word: &str, environment: &Environment) -> i32 {
    match action::run(word, environment) {
        Ok(code) => {
            sys::flush_log();
            code.number()
        }
        Err(failure) => {
            log::error!("{word} failed: {failure}");
            sys::flush_log();
            failure.report();
            failure.code().number()
        }
    }
}
