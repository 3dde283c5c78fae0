//! A small syslog: what the node's programs send to /dev/log, in one file.

use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::error::{Doing, Result};
use crate::node::mounts;

const SOCKET: &str = "/dev/log";

/// Listens from now on, in a thread of its own.
pub(crate) fn listen(file: &Path) -> Result<()> {
    let socket = UnixDatagram::bind(SOCKET).doing(|| format!("listen at {SOCKET}"))?;
    mounts::set_mode(Path::new(SOCKET), 0o666)?;
    let mut log = File::options().create(true).append(true).open(file).doing(|| format!("open {}", file.display()))?;
    std::thread::spawn(move || {
        let mut message = vec![0; 64 * 1024];
        while let Ok(length) = socket.recv(&mut message) {
            let text = String::from_utf8_lossy(&message[..length]);
            // A log on a full disk loses lines, as everywhere.
            let _ = writeln!(log, "{}", text.trim_end_matches(['\0', '\n']));
        }
    });
    Ok(())
}
