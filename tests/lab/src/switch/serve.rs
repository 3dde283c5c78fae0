//! The power switch's server: one thread per caller, one order per connection.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::close;

use super::power::Board;
use crate::cgroup::Group;
use crate::error::{Doing, Result, unexpected};
use crate::plan::Plan;
use crate::{net, paths};

const READ_LIMIT: Duration = Duration::from_secs(5);

/// Serves until it is killed.
pub(crate) fn serve() -> Result<()> {
    close_what_was_inherited()?;
    // Node 'switch' cannot collide with a real one: those have 'node-' before their names.
    Group::make("switch")?.join()?;
    let board = Arc::new(Board::new(Plan::load()?));
    unshare(CloneFlags::CLONE_NEWNET).doing(|| "make the switch's network namespace".to_owned())?;
    net::make_bridge()?;
    let socket = paths::power_socket();
    let listener = UnixListener::bind(&socket).doing(|| format!("listen at {}", socket.display()))?;
    for stream in listener.incoming() {
        let stream = stream.doing(|| "accept a caller".to_owned())?;
        let board = Arc::clone(&board);
        std::thread::spawn(move || {
            if let Err(error) = answer(&board, &stream) {
                eprintln!("power switch: {error}");
            }
        });
    }
    Ok(())
}

/// The switch and the nodes outlive the command that made the lab: a lock that its caller holds (`flock lock lab up`)
/// must not live on in them.
fn close_what_was_inherited() -> Result<()> {
    let there = fs::read_dir("/proc/self/fd").doing(|| "look at the open descriptors".to_owned())?;
    let descriptors: Vec<i32> = there.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in descriptors.into_iter().filter(|descriptor| *descriptor > 2) {
        // The one of the directory that was read is closed already.
        let _ = close(descriptor);
    }
    Ok(())
}

fn answer(board: &Arc<Board>, mut stream: &UnixStream) -> Result<()> {
    stream.set_read_timeout(Some(READ_LIMIT)).doing(|| "bound the wait for the order".to_owned())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).doing(|| "read the order".to_owned())?;
    let answer = match obey(board, line.trim()) {
        Ok(text) => format!("ok {text}"),
        Err(error) => format!("error {error}"),
    };
    if !["status", "pid", "list", "is-cut"].iter().any(|question| line.starts_with(question)) {
        eprintln!("{} {}: {answer}", epoch_seconds(), line.trim());
    }
    writeln!(stream, "{answer}").doing(|| "answer the caller".to_owned())
}

fn obey(board: &Arc<Board>, line: &str) -> Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["list"] => Ok(board.list()),
        ["status", node] => board.status(node),
        ["pid", node] => board.pid(node).map(|pid| pid.to_string()),
        ["on", node] => board.on(node, true),
        ["on-without-services", node] => board.on(node, false),
        ["off", node] => board.off(node),
        ["cut", node] => board.cut(node),
        ["heal", node] => board.heal(node),
        ["leak", node, word] => board.leak(node, word),
        ["stop-leak", node, word] => board.stop_leak(node, word),
        ["stop-leaks", node] => board.stop_leaks(node),
        ["is-cut", node] => board.is_cut(node).map(|cut| cut.to_string()),
        ["after-fencing", node, word] => board.set_after_fencing(node, word),
        ["fence-off", node] => board.off(node),
        ["fence-on", node] => board.on_after_fencing(node),
        ["fence-reboot", node] => board.reboot(node),
        ["plug", port, pid] => board.plug_client(port, pid),
        _ => unexpected(format!("unknown order '{line}'")),
    }
}

/// A stamp for the log that can be compared with the nodes' own logs.
fn epoch_seconds() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:03}", now.as_secs(), now.subsec_millis())
}

/// The power switch's own log.
pub(super) fn log_file() -> Result<File> {
    let path = std::path::Path::new(paths::RUN).join("power-switch.log");
    File::options().create(true).append(true).open(&path).doing(|| format!("open {}", path.display()))
}
