//! Which password does a password file have for a connection?
//!
//! As libpq reads it ("The Password File" in PostgreSQL's documentation, `passwordFromFile` in `fe-connect.c`): the
//! first line counts whose four fields all match.
//!
//! | in a line | |
//! |---|---|
//! | `host:port:database:user:password` | every other line is none |
//! | `*` as a whole field | matches everything |
//! | `\:` and `\\` | a colon and a backslash, in the password too |
//! | `#` in front | a comment |
//! | host `localhost` | a Unix socket in the default directory, too |
//!
//! libpq does not compare the default directory's own name with the lines; here it matches as well, because the default
//! differs between builds.

/// Whom and what a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The host, or the directory of the Unix socket.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// The database.
    pub database: &'a str,
    /// The role.
    pub user: &'a str,
}

/// The directories in which PostgreSQL's builds put their socket: that of the sources, and that of the distributions.
const DEFAULT_DIRECTORIES: [&str; 3] = ["/tmp", "/var/run/postgresql", "/run/postgresql"];

/// The password in the text of a password file.
#[must_use]
pub fn password(text: &str, wanted: &Wanted<'_>) -> Option<String> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| password_in(line, wanted))
}

fn password_in(line: &str, wanted: &Wanted<'_>) -> Option<String> {
    let (host, rest) = field(line.trim_end_matches('\r'))?;
    let (port, rest) = field(rest)?;
    let (database, rest) = field(rest)?;
    let (user, rest) = field(rest)?;
    let matches = |field: &Field, value: &str| field.is_any || field.text == value;
    let by_default = DEFAULT_DIRECTORIES.contains(&wanted.host) && host.text == "localhost";
    let all = (matches(&host, wanted.host) || by_default)
        && matches(&port, &wanted.port.to_string())
        && matches(&database, wanted.database)
        && matches(&user, wanted.user);
    let password = split(rest).0.text;
    (all && !password.is_empty()).then_some(password)
}

struct Field {
    text: String,
    is_any: bool,
}

/// A field that a colon ends, and what follows it.
fn field(line: &str) -> Option<(Field, &str)> {
    let (field, rest) = split(line);
    Some((field, rest?))
}

/// The text up to a colon that nothing escapes, and what follows the colon, if there is one.
fn split(line: &str) -> (Field, Option<&str>) {
    let mut text = String::new();
    let mut characters = line.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            ':' => return (Field { is_any: &line[..at] == "*", text }, line.get(at + 1..)),
            '\\' => text.push(characters.next().map_or('\\', |(_, escaped)| escaped)),
            other => text.push(other),
        }
    }
    (Field { is_any: line == "*", text }, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WANTED: Wanted<'_> = Wanted { host: "/run/pg", port: 5432, database: "postgres", user: "agent" };

    #[test]
    fn a_line_matches_as_for_psql() {
        for (line, expected) in [
            ("/run/pg:5432:postgres:agent:secret", Some("secret")),
            ("*:*:*:*:secret", Some("secret")),
            ("*:*:*:agent:with\\:colon and \\\\", Some("with:colon and \\")),
            ("*:*:*:agent:ends at:a colon", Some("ends at")),
            ("*:*:*:agent:*", Some("*")),
            ("*:*:*:agent:trailing\\", Some("trailing\\")),
            ("*:*:*:agent:secret\r", Some("secret")),
            ("*:*:*:agent:", None),
            ("*:*:*:agent", None),
            ("", None),
            ("localhost:*:*:*:secret", None),
            ("/run:*:*:*:secret", None),
            ("/run/pg:5433:*:*:secret", None),
            ("/run/pg:5432:other:*:secret", None),
            ("/run/pg:5432:*:Agent:secret", None),
            ("**:5432:*:agent:secret", None),
            ("\\*:5432:*:agent:secret", None),
            ("#*:*:*:*:secret", None),
            ("/run\\/pg:*:*:*:secret", Some("secret")),
        ] {
            assert_eq!(password(line, &WANTED).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn localhost_is_the_socket_in_a_default_directory_too() {
        for (host, expected) in [
            ("/var/run/postgresql", Some("secret")),
            ("/run/postgresql", Some("secret")),
            ("/tmp", Some("secret")),
            ("localhost", Some("secret")),
            ("/var/run/postgresql2", None),
            ("127.0.0.1", None),
        ] {
            let wanted = Wanted { host, ..WANTED };
            assert_eq!(password("localhost:*:*:*:secret", &wanted).as_deref(), expected, "{host}");
            assert_eq!(password(&format!("{host}:*:*:*:own"), &wanted).as_deref(), Some("own"), "{host}");
        }
    }

    #[test]
    fn an_address_with_colons_is_escaped() {
        let wanted = Wanted { host: "fd00::1", ..WANTED };
        assert_eq!(password("fd00\\:\\:1:*:*:*:secret", &wanted).as_deref(), Some("secret"));
        assert_eq!(password("fd00::1:*:*:*:secret", &wanted), None);
    }

    #[test]
    fn the_first_line_that_matches_counts() {
        let text = "# for the agent\nother:*:*:*:first\n\n*:*:*:agent:second\n*:*:*:*:third\n";
        assert_eq!(password(text, &WANTED).as_deref(), Some("second"));
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(text in "([*:\\\\a#\n]|\\PC)*") {
            let _ = password(&text, &WANTED);
        }

        #[test]
        fn a_password_is_read_as_it_was_escaped(secret in "[^\r\n\u{0}]{1,20}") {
            let escaped = secret.replace('\\', "\\\\").replace(':', "\\:");
            let line = format!("*:*:*:*:{escaped}");
            prop_assume!(line.lines().count() == 1);
            let found = password(&line, &WANTED);
            prop_assert_eq!(found.as_deref(), Some(secret.as_str()));
        }
    }
}
