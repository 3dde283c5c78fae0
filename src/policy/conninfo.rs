//! A connection string, read as libpq reads it, changed in one place and nowhere else.
//!
//! Both forms of libpq's documentation, "Connection Strings": `key=value` pairs and URIs. The details are those of
//! `conninfo_parse` and `conninfo_uri_parse` in PostgreSQL's `fe-connect.c`. One thing is left out: whether libpq knows a
//! keyword, because that differs from version to version.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// The options whose value is a secret.
const SECRETS: [&str; 5] = ["password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"];

const URI_PREFIXES: [&str; 2] = ["postgresql://", "postgres://"];

/// A connection string. It may hold a password: `Debug` shows no value, and [`Conninfo::expose`] is not for a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Conninfo {
    text: String,
    form: Form,
    options: Vec<Opt>,
}

/// Why a text is no connection string. The text may hold a password, so it is never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConninfoError {
    /// A word without `=`.
    #[error("an option has no '='")]
    NoEquals,
    /// In a URI only.
    #[error("a parameter of the URI has more than one '='; write %3D for that in a value")]
    ExtraEquals,
    /// None of libpq's keywords has other characters than small letters, digits and `_`.
    #[error("an option has a name that none of libpq's options has")]
    Keyword,
    /// A value that begins with a quote goes on to the end of the text.
    #[error("a quote is not closed")]
    OpenQuote,
    /// In a URI only.
    #[error("a '%' is not followed by two hexadecimal digits other than 00; write %25 for the character itself")]
    Percent,
    /// In a URI only.
    #[error(
        "an IPv6 address in brackets is empty, has a '/', is not closed, or not followed by a port, '/', '?' or ','"
    )]
    Bracket,
}

#[derive(Clone, PartialEq, Eq)]
enum Form {
    Pairs,
    /// With the place of all hosts and ports, and that of the `?`.
    Uri {
        hosts: Range<usize>,
        query: Option<usize>,
    },
}

/// One option as it stands in the text.
#[derive(Clone, PartialEq, Eq)]
struct Opt {
    key: String,
    value: String,
    /// Where the value stands. `None` when it does not stand in one piece of its own: several hosts of a URI.
    raw: Option<Range<usize>>,
    /// What goes when the option is removed.
    gone: Range<usize>,
}

impl FromStr for Conninfo {
    type Err = ConninfoError;

    fn from_str(text: &str) -> Result<Self, ConninfoError> {
        let prefix = URI_PREFIXES.iter().find(|prefix| text.starts_with(**prefix));
        let (form, options) = match prefix {
            Some(prefix) => read_uri(text, prefix.len())?,
            None => (Form::Pairs, read_pairs(text)?),
        };
        Ok(Conninfo { text: text.to_owned(), form, options })
    }
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.options.iter().map(|option| &option.key)).finish()
    }
}

impl Conninfo {
    /// The value of an option. When it is given more than once, the last one counts.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.last(key).map(|option| option.value.as_str())
    }

    /// The same with this value of an option, replaced or added. Every other byte of the text stays as it is. The key is
    /// one of libpq's keywords.
    #[must_use]
    pub fn with(&self, key: &str, value: &str) -> Conninfo {
        let before = self.with_path();
        let raw = before.last(key).and_then(|option| option.raw.clone());
        match (&before.form, raw) {
            (Form::Pairs, Some(raw)) => {
                let value = quoted(value, before.text[raw.clone()].starts_with('\''));
                before.replaced(raw, &value)
            }
            // Before the parameters of a URI, an empty value is none.
            (Form::Uri { .. }, Some(raw)) if !value.is_empty() => before.replaced(raw, &percent_encoded(value)),
            _ => before.added(key, value),
        }
    }

    /// The same without these options, however often they are given.
    #[must_use]
    pub fn without(&self, keys: &[&str]) -> Conninfo {
        let mut rest = self.with_path();
        while let Some(option) = rest.options.iter().find(|option| keys.contains(&option.key.as_str())) {
            let shared = option.raw.is_none() && ["host", "port"].contains(&option.key.as_str());
            let gone = option.gone.clone();
            rest = if shared { rest.with_hosts_in_query() } else { rest.replaced(gone, "") };
        }
        rest
    }

    /// The same without passwords and other secrets.
    #[must_use]
    pub fn without_secrets(&self) -> Conninfo {
        self.without(&SECRETS)
    }

    /// The secrets, with their names.
    #[must_use]
    pub fn secrets(&self) -> Vec<(&'static str, &str)> {
        SECRETS.iter().filter_map(|key| Some((*key, self.get(key)?))).collect()
    }

    /// The text for libpq, secrets included: never for a log, an argument list or an attribute.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    fn last(&self, key: &str) -> Option<&Opt> {
        self.options.iter().rev().find(|option| option.key == key)
    }

    /// A pair is put at the front: at the end it could become a part of the last value, as in `host=` or `user=a\`.
    fn added(&self, key: &str, value: &str) -> Conninfo {
        let text = &self.text;
        match &self.form {
            Form::Pairs => {
                let pair = format!("{key}={}", quoted(value, false));
                Conninfo::of(if text.is_empty() { pair } else { format!("{pair} {text}") })
            }
            Form::Uri { query, .. } => {
                let separator = match query {
                    None => "?",
                    Some(query) if text.len() == query + 1 || text.ends_with('&') => "",
                    Some(_) => "&",
                };
                Conninfo::of(format!("{text}{separator}{key}={}", percent_encoded(value)))
            }
        }
    }

    /// In a URI without a path, an `@` in a parameter ends the user's name unless a `/` comes before it. So that it does
    /// not begin to when that `/` goes, an empty path is put in the URI, which means nothing. Nobody writes such a URI.
    fn with_path(&self) -> Conninfo {
        match &self.form {
            Form::Uri { hosts, query: Some(query) } if hosts.end == *query && self.text[*query..].contains('@') => {
                self.replaced(*query..*query, "/")
            }
            _ => self.clone(),
        }
    }

    fn replaced(&self, range: Range<usize>, by: &str) -> Conninfo {
        Conninfo::of([&self.text[..range.start], by, &self.text[range.end..]].concat())
    }

    /// Several hosts and ports before the path of a URI become parameters, so that one can go without the other. They come
    /// first: what is a parameter already still wins.
    fn with_hosts_in_query(&self) -> Conninfo {
        let Form::Uri { hosts, query } = &self.form else { return self.clone() };
        let end = query.unwrap_or(self.text.len());
        let before = self.options.iter().filter(|option| option.raw.is_none() && option.gone == *hosts);
        let mut parameters: Vec<_> =
            before.map(|option| format!("{}={}", option.key, percent_encoded(&option.value))).collect();
        let rest = self.text.get(end + 1..).unwrap_or_default();
        parameters.extend((!rest.is_empty()).then(|| rest.to_owned()));
        let (start, path) = (&self.text[..hosts.start], &self.text[hosts.end..end]);
        Conninfo::of(format!("{start}{path}?{}", parameters.join("&")))
    }

    /// A text that was made from a connection string, and is one.
    fn of(text: String) -> Conninfo {
        text.parse().unwrap_or(Conninfo { text, form: Form::Pairs, options: Vec::new() })
    }
}

/// C's `isspace`, as `conninfo_parse` uses it.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

/// Where the first of these characters stands at or after `from`, or the end of the text.
fn find(text: &str, from: usize, wanted: &[char]) -> usize {
    text[from..].find(wanted).map_or(text.len(), |n| from + n)
}

fn skip_blanks(text: &str, from: usize) -> usize {
    text[from..].find(|c| !is_blank(c)).map_or(text.len(), |n| from + n)
}

fn checked(key: &str) -> Result<String, ConninfoError> {
    let word = key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if word && !key.is_empty() { Ok(key.to_owned()) } else { Err(ConninfoError::Keyword) }
}

fn read_pairs(text: &str) -> Result<Vec<Opt>, ConninfoError> {
    let mut options = Vec::new();
    let mut begin = skip_blanks(text, 0);
    let mut previous_end = begin;
    while begin < text.len() {
        let (key, raw) = read_pair(text, begin)?;
        let next = skip_blanks(text, raw.end);
        let end = raw.end;
        // The blanks after the pair go with it, and those before the last one.
        let gone = if next < text.len() { begin..next } else { previous_end..end };
        options.push(Opt { key, value: unescaped(&text[raw.clone()]), raw: Some(raw), gone });
        (begin, previous_end) = (next, end);
    }
    Ok(options)
}

/// The keyword that begins at `begin`, and where its value stands.
fn read_pair(text: &str, begin: usize) -> Result<(String, Range<usize>), ConninfoError> {
    let key_end = text[begin..].find(|c| c == '=' || is_blank(c)).map_or(text.len(), |n| begin + n);
    let equals = skip_blanks(text, key_end);
    if !text[equals..].starts_with('=') {
        return Err(ConninfoError::NoEquals);
    }
    let value = skip_blanks(text, equals + 1);
    let length = raw_length(&text[value..])?;
    Ok((checked(&text[begin..key_end])?, value..value + length))
}

/// The length of the value at the beginning of the text: up to its closing quote, or to the next blank.
fn raw_length(text: &str) -> Result<usize, ConninfoError> {
    let quoted = text.starts_with('\'');
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(usize::from(quoted)) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' if quoted => return Ok(index + 1),
            c if !quoted && is_blank(c) => return Ok(index),
            _ => {}
        }
    }
    if quoted { Err(ConninfoError::OpenQuote) } else { Ok(text.len()) }
}

/// Without the quotes around it, and every `\` makes the next character literal.
fn unescaped(raw: &str) -> String {
    let inner = raw.strip_prefix('\'').map_or(raw, |rest| rest.strip_suffix('\'').unwrap_or(rest));
    let mut escape = false;
    let keep = |c: &char| {
        escape = *c == '\\' && !escape;
        !escape
    };
    inner.chars().filter(keep).collect()
}

/// A value for a pair, in quotes where it needs them.
fn quoted(value: &str, always: bool) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:/,@%+-".contains(c);
    if !always && !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn read_uri(text: &str, begin: usize) -> Result<(Form, Vec<Opt>), ConninfoError> {
    let mut options = Vec::new();
    let hosts = read_credentials(text, begin, &mut options)?;
    let path = read_hosts(text, hosts, &mut options)?;
    let query = find(text, path, &['?']);
    if query > path {
        push_part(text, "dbname", path + 1..query, path + 1..query, &mut options)?;
    }
    read_query(text, query + 1, &mut options)?;
    let query = (query < text.len()).then_some(query);
    Ok((Form::Uri { hosts: hosts..path, query }, options))
}

/// `user:password@`; returns where the hosts begin. As in libpq a `/` ends the search for the `@`, and a `?` does not.
fn read_credentials(text: &str, begin: usize, options: &mut Vec<Opt>) -> Result<usize, ConninfoError> {
    let at = find(text, begin, &['@', '/']);
    if !text[at..].starts_with('@') {
        return Ok(begin);
    }
    let user_end = find(text, begin, &[':', '@']);
    push_part(text, "user", begin..user_end, begin..user_end, options)?;
    if user_end < at {
        push_part(text, "password", user_end + 1..at, user_end..at, options)?;
    }
    Ok(at + 1)
}

/// `host:port,[host]:port`; returns where they end.
fn read_hosts(text: &str, begin: usize, options: &mut Vec<Opt>) -> Result<usize, ConninfoError> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    let mut end = begin;
    loop {
        let host = read_host(text, end)?;
        let port_end =
            if text[host.end..].starts_with(':') { find(text, host.end, &['/', '?', ',']) } else { host.end };
        end = port_end;
        ports.push(host.end..port_end);
        hosts.push(host);
        if !text[end..].starts_with(',') {
            break;
        }
        end += 1;
    }
    if let ([host], [port]) = (hosts.as_slice(), ports.as_slice()) {
        push_host(text, host.clone(), options)?;
        let number = port.end.min(port.start + 1)..port.end;
        push_part(text, "port", number, port.clone(), options)?;
        return Ok(end);
    }
    let hosts: Vec<_> = hosts.iter().map(|host| without_brackets(&text[host.clone()])).collect();
    let ports: Vec<_> = ports.iter().map(|port| text[port.clone()].get(1..).unwrap_or_default()).collect();
    for (key, joined) in [("host", hosts.join(",")), ("port", ports.join(","))] {
        options.push(Opt { key: key.to_owned(), value: percent_decoded(&joined)?, raw: None, gone: begin..end });
    }
    Ok(end)
}

/// Where the host that begins here stands, its brackets included.
fn read_host(text: &str, begin: usize) -> Result<Range<usize>, ConninfoError> {
    if !text[begin..].starts_with('[') {
        return Ok(begin..find(text, begin, &[':', '/', '?', ',']));
    }
    let close = find(text, begin, &[']']);
    let after = text.get(close + 1..).ok_or(ConninfoError::Bracket)?;
    // A '/' libpq takes for a part of the address, which then is none.
    if close == begin + 1
        || text[begin..close].contains('/')
        || !(after.is_empty() || after.starts_with([':', '/', '?', ',']))
    {
        return Err(ConninfoError::Bracket);
    }
    Ok(begin..close + 1)
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').map_or(host, |rest| rest.strip_suffix(']').unwrap_or(rest))
}

fn push_host(text: &str, raw: Range<usize>, options: &mut Vec<Opt>) -> Result<(), ConninfoError> {
    let value = percent_decoded(without_brackets(&text[raw.clone()]))?;
    if !value.is_empty() {
        options.push(Opt { key: "host".to_owned(), value, raw: Some(raw.clone()), gone: raw });
    }
    Ok(())
}

/// A part of a URI before its parameters. An empty one is as good as none.
fn push_part(
    text: &str,
    key: &str,
    raw: Range<usize>,
    gone: Range<usize>,
    options: &mut Vec<Opt>,
) -> Result<(), ConninfoError> {
    let value = percent_decoded(&text[raw.clone()])?;
    if !value.is_empty() {
        options.push(Opt { key: key.to_owned(), value, raw: Some(raw), gone });
    }
    Ok(())
}

fn read_query(text: &str, first: usize, options: &mut Vec<Opt>) -> Result<(), ConninfoError> {
    let mut begin = first;
    while begin < text.len() {
        let end = find(text, begin, &['&']);
        let gone = match end < text.len() {
            true => begin..end + 1,
            false if begin > first => begin - 1..end,
            false => begin..end,
        };
        options.push(read_parameter(text, begin..end, gone)?);
        begin = end + 1;
    }
    Ok(())
}

fn read_parameter(text: &str, pair: Range<usize>, gone: Range<usize>) -> Result<Opt, ConninfoError> {
    let (key, value) = text[pair.clone()].split_once('=').ok_or(ConninfoError::NoEquals)?;
    if value.contains('=') {
        return Err(ConninfoError::ExtraEquals);
    }
    let raw = pair.start + key.len() + 1..pair.end;
    let (key, value) = (percent_decoded(key)?, percent_decoded(value)?);
    // For the sake of JDBC's URIs.
    if key == "ssl" && value == "true" {
        return Ok(Opt { key: "sslmode".to_owned(), value: "require".to_owned(), raw: None, gone });
    }
    Ok(Opt { key: checked(&key)?, value, raw: Some(raw), gone })
}

fn percent_decoded(text: &str) -> Result<String, ConninfoError> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|byte| *byte != 0);
        bytes.push(byte.ok_or(ConninfoError::Percent)?);
        bytes.extend(&part.as_bytes()[2..]);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn percent_encoded(value: &str) -> String {
    let encoded = value.bytes().map(|byte| match byte {
        b if b.is_ascii_alphanumeric() || b"._-".contains(&b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn conninfo(text: &str) -> Conninfo {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn values_are_read_as_libpq_reads_them() {
        for (text, key, value) in [
            ("", "host", None),
            ("host=srv1", "host", Some("srv1")),
            ("host = srv1", "host", Some("srv1")),
            (" host\t=\n'srv1'  port=5432 ", "port", Some("5432")),
            ("host=a host=b", "host", Some("b")),
            ("host= port=5432", "host", Some("port=5432")),
            ("host=", "host", Some("")),
            ("host=''", "host", Some("")),
            ("user=a\\ b host=c", "user", Some("a b")),
            ("user=a\\", "user", Some("a")),
            ("user=a'b", "user", Some("a'b")),
            ("password='a b\\'\\\\c host=d'host=e", "password", Some("a b'\\c host=d")),
            ("password='a b\\'\\\\c host=d'host=e", "host", Some("e")),
            ("postgresql://", "host", None),
            ("postgres://srv1", "host", Some("srv1")),
            ("postgresql://u:p%40w@srv1:5433/db?application_name=x", "password", Some("p@w")),
            ("postgresql://u:p%40w@srv1:5433/db?application_name=x", "port", Some("5433")),
            ("postgresql://u:p%40w@srv1:5433/db?application_name=x", "dbname", Some("db")),
            ("postgresql://u:p%40w@srv1:5433/db?application_name=x", "application_name", Some("x")),
            ("postgresql://u:a:b@h", "password", Some("a:b")),
            ("postgresql://u:@h", "password", None),
            ("postgresql://a,b:5433", "host", Some("a,b")),
            ("postgresql://a,b:5433", "port", Some(",5433")),
            ("postgresql://a:,b::1", "port", Some(",:1")),
            ("postgresql://[::1]:5433,[fe80::1]/", "host", Some("::1,fe80::1")),
            ("postgresql://[::1]:5433", "host", Some("::1")),
            ("postgresql://%2Ftmp/db", "host", Some("/tmp")),
            ("postgresql://a/?host=b&", "host", Some("b")),
            ("postgresql:///?ssl=true", "sslmode", Some("require")),
            ("postgresql://h?x=a@b", "user", Some("h?x=a")),
            ("postgresql://h/db@x", "dbname", Some("db@x")),
        ] {
            assert_eq!(conninfo(text).get(key), value, "{key} of {text}");
        }
    }

    #[test]
    fn what_libpq_refuses_is_refused() {
        for (text, error) in [
            ("srv1", ConninfoError::NoEquals),
            ("host srv1", ConninfoError::NoEquals),
            ("=srv1", ConninfoError::Keyword),
            ("Host=srv1", ConninfoError::Keyword),
            (" postgresql://h?a=b", ConninfoError::Keyword),
            ("host='srv1", ConninfoError::OpenQuote),
            ("host='srv1\\'", ConninfoError::OpenQuote),
            ("postgresql://h?a", ConninfoError::NoEquals),
            ("postgresql://h?a=b=c", ConninfoError::ExtraEquals),
            ("postgresql://h?&a=b", ConninfoError::NoEquals),
            ("postgresql://h%zz", ConninfoError::Percent),
            ("postgresql://h%0", ConninfoError::Percent),
            ("postgresql://h%00", ConninfoError::Percent),
            ("postgresql://[::1", ConninfoError::Bracket),
            ("postgresql://[]", ConninfoError::Bracket),
            ("postgresql://[::1]x", ConninfoError::Bracket),
            ("postgresql://[/]:@", ConninfoError::Bracket),
        ] {
            assert_eq!(text.parse::<Conninfo>(), Err(error), "{text}");
        }
    }

    #[test]
    fn one_value_changes_and_nothing_else() {
        for (text, key, value, expected) in [
            ("", "host", "srv2", "host=srv2"),
            ("host=srv1 application_name=srv1", "host", "srv2", "host=srv2 application_name=srv1"),
            (" host = 'srv1'user=a  port=1 ", "host", "srv2", " host = 'srv2'user=a  port=1 "),
            ("host=a  host=b", "host", "srv2", "host=a  host=srv2"),
            ("host=", "host", "srv2", "host=srv2"),
            ("user=a\\", "host", "srv2", "host=srv2 user=a\\"),
            ("user=a", "password", "it's \\ a", "password='it\\'s \\\\ a' user=a"),
            ("user=a", "options", "", "options='' user=a"),
            ("postgresql://u:p@srv1:5433/db?a=b", "host", "srv2", "postgresql://u:p@srv2:5433/db?a=b"),
            ("postgresql://u@[::1]/db", "host", "fe80::1", "postgresql://u@fe80%3A%3A1/db"),
            ("postgresql://a:1,b:2/db", "host", "c", "postgresql://a:1,b:2/db?host=c"),
            ("postgresql:///db", "host", "srv2", "postgresql:///db?host=srv2"),
            ("postgresql:///db?", "host", "srv2", "postgresql:///db?host=srv2"),
            ("postgresql:///db?a=?", "host", "srv2", "postgresql:///db?a=?&host=srv2"),
            ("postgresql://a?b=/&c=@", "b", "x", "postgresql://a/?b=x&c=@"),
            ("postgresql:///db?a=b", "host", "/tmp", "postgresql:///db?a=b&host=%2Ftmp"),
            ("postgresql://a?host=b&port=1", "host", "c", "postgresql://a?host=c&port=1"),
            ("postgresql:///?ssl=true", "sslmode", "prefer", "postgresql:///?ssl=true&sslmode=prefer"),
        ] {
            assert_eq!(conninfo(text).with(key, value).expose(), expected, "{text} with {key}={value}");
        }
    }

    #[test]
    fn options_go_with_the_blanks_that_set_them_off() {
        for (text, keys, expected) in [
            ("host=a hostaddr=1 port=2", ["hostaddr", ""], "host=a port=2"),
            ("hostaddr=1  host=a", ["hostaddr", ""], "host=a"),
            ("host=a   hostaddr=1 ", ["hostaddr", ""], "host=a "),
            ("hostaddr=1 hostaddr=2", ["hostaddr", ""], ""),
            ("user=a\\  port=2", ["port", ""], "user=a\\ "),
            ("host=a hostaddr='1'port=2", ["hostaddr", ""], "host=a port=2"),
            ("postgresql://u&:p@h/?a=b", ["password", ""], "postgresql://u&@h/?a=b"),
            ("postgresql://h/?a=1&b=2&a=3", ["a", ""], "postgresql://h/?b=2"),
            ("postgresql://h/?a=1&b=2", ["a", "b"], "postgresql://h/?"),
            ("postgresql://u@h:1/db", ["host", "user"], "postgresql://@:1/db"),
            ("postgresql://h:1/db", ["port", ""], "postgresql://h/db"),
            ("postgresql://a:1,b:2/db?x=y", ["host", ""], "postgresql:///db?port=1%2C2&x=y"),
            ("postgresql://a:1,b:2", ["host", "port"], "postgresql://?"),
        ] {
            assert_eq!(conninfo(text).without(&keys).expose(), expected, "{text} without {keys:?}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        for text in [
            "host=a password=secret sslpassword='secret' password=secret",
            "postgresql://u:secret@h/?password=secret&sslpassword=secret",
            "postgresql:///?oauth_client_secret=secret&host=a",
        ] {
            let conninfo = conninfo(text);
            assert!(!conninfo.without_secrets().expose().contains("=secret"), "{text}");
            assert!(!conninfo.without_secrets().expose().contains(":secret"), "{text}");
            assert!(!format!("{conninfo:?}").replace("_secret", "").contains("secret"), "{conninfo:?}");
        }
        for text in ["password='secret", "secret", "postgresql://u:secret%@h", "postgresql://[secret"] {
            let error = text.parse::<Conninfo>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }

    const KEYS: [&str; 6] = ["host", "port", "user", "password", "hostaddr", "application_name"];

    /// Every option in order, but those of one key.
    fn others(conninfo: &Conninfo, key: &str) -> Vec<(String, String)> {
        let others = conninfo.options.iter().filter(|option| option.key != key);
        others.map(|option| (option.key.clone(), option.value.clone())).collect()
    }

    fn connection_strings() -> impl Strategy<Value = String> {
        let key = proptest::sample::select(&KEYS[..]);
        let value = "[a-z]{0,3}|'[a-z =]{0,4}'|'a\\\\'b'|a\\\\ |[a-z]\\\\\\\\|=";
        let pair = (key.clone(), " {0,1}= {0,1}", value, " {1,2}").prop_map(|(k, e, v, s)| format!("{k}{e}{v}{s}"));
        let pairs = proptest::collection::vec(pair, 0..5).prop_map(|pairs| pairs.concat().trim_end().to_owned());
        let parameter = (key, "[a-z,:/]{0,3}|%[2-7][0-9]").prop_map(|(k, v)| format!("{k}={v}"));
        let query = proptest::collection::vec(parameter, 0..4).prop_map(|parameters| parameters.join("&"));
        let authority = "([a-z&]{0,2}(:[a-z&%2:]{0,0}[a-z:]{0,2})?@)?([a-z]{0,2}|\\[::1\\])(:[0-9]{0,2})?(,[a-z]{0,2}(:[0-9])?){0,2}";
        let uri = (authority, "(/[a-z]{0,2})?", query).prop_map(|(a, d, q)| format!("postgresql://{a}{d}?{q}"));
        prop_oneof![pairs, uri, "\\PC*", "(postgresql://)?[=' \\\\a-z?&:/@%,\\[\\]]*"]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_changed_value_is_read_back_and_nothing_else_changes(
            text in connection_strings(), key in proptest::sample::select(&KEYS[..]), value in "\\PC{0,6}|[' \\\\=&?/:@,]{0,4}",
        ) {
            let Ok(before) = text.parse::<Conninfo>() else { return Ok(()) };
            let after = before.with(key, &value);
            prop_assert_eq!(after.expose().parse::<Conninfo>(), Ok(after.clone()));
            prop_assert_eq!(after.get(key), Some(value.as_str()));
            prop_assert_eq!(others(&after, key), others(&before, key));
        }

        #[test]
        fn a_removed_option_is_gone_and_nothing_else_changes(
            text in connection_strings(), key in proptest::sample::select(&KEYS[..]),
        ) {
            let Ok(before) = text.parse::<Conninfo>() else { return Ok(()) };
            let after = before.without(&[key]);
            prop_assert_eq!(after.expose().parse::<Conninfo>(), Ok(after.clone()));
            prop_assert_eq!(after.get(key), None);
            let values = |conninfo: &Conninfo| KEYS.map(|k| conninfo.get(k).filter(|_| k != key).map(str::to_owned));
            prop_assert_eq!(values(&after), values(&before));
        }

        #[test]
        fn what_is_set_to_its_own_value_stays_as_good_as_it_is(text in connection_strings()) {
            let Ok(before) = text.parse::<Conninfo>() else { return Ok(()) };
            for key in KEYS {
                let Some(value) = before.get(key) else { continue };
                let after = before.with(key, value);
                prop_assert_eq!(after.get(key), Some(value));
            }
        }
    }
}
