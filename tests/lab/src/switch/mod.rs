//! The power switch: outside the nodes, out of band, reachable from each through a Unix socket. It boots the
//! nodes, takes their power, and its network namespace is the switch that their cables end in.
//!
//! Its language is one line of text: a word, a node's name, sometimes a number. The answer is `ok TEXT` or `error TEXT`.

mod power;
mod serve;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub(crate) use power::group;
pub(crate) use serve::serve;

use crate::error::{Doing, Result, unexpected};
use crate::paths;

const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Gives an order from the outside and waits for the answer.
pub(crate) fn order(line: &str) -> Result<String> {
    order_at(&paths::power_socket(), line)
}

/// Gives an order over the given socket: a node sees it at another place than the machine.
pub(crate) fn order_at(socket: &Path, line: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket).doing(|| format!("reach the power switch at {}", socket.display()))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).doing(|| "bound the wait for the power switch".to_owned())?;
    writeln!(stream, "{line}").doing(|| format!("order '{line}'"))?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).doing(|| format!("hear the answer to '{line}'"))?;
    match answer.trim_end().split_once(' ').unwrap_or((answer.trim_end(), "")) {
        ("ok", text) => Ok(text.to_owned()),
        (_, text) => unexpected(format!("power switch, order '{line}': {text}")),
    }
}
