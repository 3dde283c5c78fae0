//! What a server says first to a start-up packet.
//!
//! A login may get stuck where the server itself is well: at a directory service that its authentication asks and that does not
//! answer, or because it has no process left to give. Its first words tell such a server from one that is hung, which
//! says nothing at all. "Message Flow: Start-up" in PostgreSQL's documentation; `report_fork_failure_to_client` in
//! `postmaster.c` for the error that has no length.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Version 3.0 of the protocol.
const PROTOCOL: u32 = 196_608;

/// The longest error that is looked at.
const LONGEST: u64 = 2_000;

/// The first words, if they show that the server is alive and that this login gets no further. `None` when it may.
pub(super) fn first_words(
    host: &str,
    port: u16,
    user: &str,
    database: &str,
    bound: Duration,
) -> io::Result<Option<String>> {
    let packet = start_up(user, database);
    if host.starts_with('/') {
        let stream = UnixStream::connect(Path::new(host).join(format!(".s.PGSQL.{port}")))?;
        stream.set_read_timeout(Some(bound))?;
        return listen(stream, &packet);
    }
    let address = (host, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let stream = TcpStream::connect_timeout(&address, bound)?;
    stream.set_read_timeout(Some(bound))?;
    listen(stream, &packet)
}

fn start_up(user: &str, database: &str) -> Vec<u8> {
    let mut body = PROTOCOL.to_be_bytes().to_vec();
    for text in ["user", user, "database", database, ""] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &body].concat()
}

fn listen(mut stream: impl Read + Write, packet: &[u8]) -> io::Result<Option<String>> {
    stream.write_all(packet)?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    match kind {
        [b'R'] => {
            let mut rest = [0; 8];
            stream.read_exact(&mut rest)?;
            Ok(wish(&rest))
        }
        [b'E'] => {
            let mut rest = Vec::new();
            // The server closes the connection after an error; one that does not has said it.
            let _ = stream.take(LONGEST).read_to_end(&mut rest);
            Ok(complaint(&rest))
        }
        _ => Ok(None),
    }
}

/// After the kind of message its length, then the method that is asked for; 0 is none.
fn wish(rest: &[u8; 8]) -> Option<String> {
    let method = rest.get(4..)?;
    (method != [0; 4]).then(|| "it asks for an authentication that does not come to an end".to_owned())
}

/// An error without a length, or with one and its fields. That the server starts or stops is no refusal.
fn complaint(rest: &[u8]) -> Option<String> {
    let fields = match rest {
        [0, _, _, _, fields @ ..] => fields,
        text => return Some(printable(text.split(|byte| *byte == 0).next().unwrap_or_default())),
    };
    let field = |name: u8| fields.split(|byte| *byte == 0).find(|field| field.first() == Some(&name));
    if field(b'C').is_some_and(|code| code.starts_with(b"C57P")) {
        return None;
    }
    field(b'M').map(|message| printable(&message[1..]))
}

fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).trim().chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_error_of_either_form_is_read() {
        let fork = b"could not fork new process for connection: Resource temporarily unavailable\n\0";
        assert_eq!(
            complaint(fork).as_deref(),
            Some("could not fork new process for connection: Resource temporarily unavailable")
        );
        assert_eq!(complaint(b"\0\0\0\x20SFATAL\0C53300\0Mtoo many\0\0").as_deref(), Some("too many"));
        assert_eq!(complaint(b"\0\0\0\x20SFATAL\0C57P03\0Mstarting\0\0"), None);
        assert_eq!(complaint(b"\0\0\0\x20SFATAL\0"), None);
    }

    #[test]
    fn a_wish_is_one_when_it_is_not_granted_already() {
        assert!(wish(b"\0\0\0\x08\0\0\0\x03").is_some());
        assert!(wish(b"\0\0\0\x08\0\0\0\0").is_none());
    }

    #[test]
    fn the_start_up_packet() {
        assert_eq!(start_up("a", "b"), b"\0\0\0\x1b\0\x03\0\0user\0a\0database\0b\0\0");
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = complaint(&bytes);
        }
    }
}
