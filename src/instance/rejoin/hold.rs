//! Holding the source's WAL while an instance is rewound to it, or cloned from it.
//!
//! A checkpoint of the source may remove WAL that the rewound instance needs next, or the copy. A temporary replication slot keeps
//! it, from the source's last checkpoint on, and goes with its connection. The source ends that when this node is lost: it is told
//! to look for it, which by itself it does after two hours (`tcp_keepalive_time` in tcp(7)). Where the role may
//! not make one, or there is none left, it is done without: what a rewind needs is looked for afterwards, and a copy that lacks
//! WAL fails.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::source::Source;
use crate::instance::Instance;
use crate::sys::Owner;

/// How long the source may take to make the slot.
const MAKING: Duration = Duration::from_secs(10);
/// The source's own settings of TCP, for this session: 25 seconds after a loss of this node the slot is gone. Any role may set
/// them, and over a Unix socket they are without effect.
const ENDS_SOON: &str = "set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3; \
                         set tcp_user_timeout = 25000;";
/// What `psql` prints when it has done all that it was told, with or without success.
const END: &str = "end of orders";

/// A connection that has the slot until this is dropped.
pub(super) struct Hold(Child);

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes the slot. The name must not begin with the prefix of the slots that the agent keeps.
pub(super) fn hold(source: &Source, instance: &Instance, owner: &Owner, ticket: u64) -> Option<Hold> {
    let program = source.program(instance, owner, "psql").args(["-X", "-A", "-t", "-q", "-w"]);
    let program = program.args(["-d", &source.conninfo_for_sql()]);
    let mut command = program.command();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = command.spawn().map_err(|e| log::info!("no slot holds the source's WAL: {e}")).ok()?;
    let mut hold = Hold(child);
    // The first order fails before version 14, which ends nothing: psql goes on with the next one.
    let orders = format!(
        "set idle_session_timeout = 0;\n{ENDS_SOON}\nselect 'held from ' || lsn from pg_create_physical_replication_slot('rewind_{ticket}', true, true);\n\\echo {END}\n"
    );
    hold.0.stdin.as_mut()?.write_all(orders.as_bytes()).ok()?;
    let answer = BufReader::new(hold.0.stdout.take()?).lines().map_while(Result::ok);
    let (sender, answered) = mpsc::channel();
    // Ends with the program.
    std::thread::spawn(move || answer.for_each(|line| drop(sender.send(line))));
    match answered.recv_timeout(MAKING) {
        Ok(line) if line.starts_with("held from ") => {
            log::info!("the source's WAL is {line} by a temporary slot");
            Some(hold)
        }
        _ => {
            log::info!("the role may not make a temporary slot on the source, or none is free; going on without");
            None
        }
    }
}
