//! The log: syslog, or stderr where there is none.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use nix::unistd::getpgrp;
use syslog::{Facility, Formatter3164};

/// Logging must not delay an action: a syslog daemon that hangs blocks its clients, so a thread of its
/// own talks to it.
struct Journal(Sender<Entry>);

enum Entry {
    Line(log::Level, String),
    Flush(Sender<()>),
}

/// Starts logging under `tag`, for instance `pgbaton(pgsql)`.
pub fn start_log(tag: &str, level: LevelFilter) {
    let (sender, receiver) = mpsc::channel();
    let tag = tag.to_owned();
    let started = std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&tag, &receiver));
    if started.is_ok() && log::set_boxed_logger(Box::new(Journal(sender))).is_ok() {
        log::set_max_level(level);
    }
}

/// Waits until what was logged has been written, 300 ms at most.
pub fn flush_log() {
    log::logger().flush();
}

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.target().starts_with("pgbaton")
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let line = one_line(&record.args().to_string());
            let _ = self.0.send(Entry::Line(record.level(), line));
        }
    }

    fn flush(&self) {
        let (done, written) = mpsc::channel();
        if self.0.send(Entry::Flush(done)).is_ok() {
            let _ = written.recv_timeout(Duration::from_millis(300));
        }
    }
}

fn write_all(tag: &str, entries: &Receiver<Entry>) {
    let formatter = Formatter3164 {
        facility: Facility::LOG_DAEMON,
        hostname: None,
        process: tag.to_owned(),
        // The process that Pacemaker has started, and names in its own log, leads the group.
        pid: getpgrp().as_raw().unsigned_abs(),
    };
    let mut syslog = None;
    for entry in entries {
        match entry {
            Entry::Flush(done) => drop(done.send(())),
            Entry::Line(level, line) => {
                let logger = syslog.get_or_insert_with(|| syslog::unix(formatter.clone()).ok());
                if !logger.as_mut().is_some_and(|logger| write(logger, level, &line)) {
                    eprintln_quietly(tag, level, &line);
                }
            }
        }
    }
}

fn write(logger: &mut syslog::Logger<syslog::LoggerBackend, Formatter3164>, level: log::Level, line: &str) -> bool {
    match level {
        log::Level::Error => logger.err(line),
        log::Level::Warn => logger.warning(line),
        log::Level::Info => logger.notice(line),
        log::Level::Debug | log::Level::Trace => logger.debug(line),
    }
    .is_ok()
}

/// `eprintln!` panics when stderr is closed.
fn eprintln_quietly(tag: &str, level: log::Level, line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{tag}: {level}: {line}");
}

/// A value from outside must not be able to forge a second line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(2000).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(super::one_line("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(super::one_line(&"x".repeat(10_000)).len(), 2000);
    }
}
