//! Positions in the write-ahead log.

use std::fmt;
use std::str::FromStr;

/// A byte position in the WAL, printed as PostgreSQL prints `pg_lsn`: `0/5328398`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// A timeline of the WAL. It grows by one or more at every promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeline(pub u32);

/// How far a node's WAL reaches: the timeline first, then the end of WAL on it.
///
/// The order of the fields is the order of comparison: the younger timeline wins, whatever the LSN,
/// because its WAL is what the last primary wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The timeline that the end of WAL is on.
    pub timeline: Timeline,
    /// The first byte that the node does not have.
    pub end: Lsn,
}

/// Text that should have been an LSN, a timeline or a position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a WAL position")]
pub struct ParsePositionError(String);

impl ParsePositionError {
    pub(super) fn of(text: &str) -> Self {
        ParsePositionError(excerpt(text))
    }
}

impl Lsn {
    /// How many bytes `self` is ahead of `other`, 0 when it is not.
    #[must_use]
    pub fn bytes_beyond(self, other: Lsn) -> u64 {
        self.0.saturating_sub(other.0)
    }

    /// The number of the WAL segment that holds the last byte before this position.
    #[must_use]
    pub fn segment(self, segment_size: u64) -> u64 {
        self.0.saturating_sub(1) / segment_size.max(1)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || ParsePositionError::of(text);
        let (high, low) = text.split_once('/').ok_or_else(invalid)?;
        let high = hex_u32(high).ok_or_else(invalid)?;
        let low = hex_u32(low).ok_or_else(invalid)?;
        Ok(Lsn(u64::from(high) << 32 | u64::from(low)))
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Timeline {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && number > 0 => Ok(Timeline(number)),
            _ => Err(ParsePositionError::of(text)),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on timeline {}", self.end, self.timeline)
    }
}

/// `from_str_radix` alone would accept a sign.
fn hex_u32(text: &str) -> Option<u32> {
    let hex = !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    hex.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

/// Foreign text may be of any length: an error message shows its beginning.
fn excerpt(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_lsn_is_read_and_written_as_postgresql_does() {
        assert_eq!("0/5328398".parse(), Ok(Lsn(0x532_8398)));
        assert_eq!("16/B374D848".parse(), Ok(Lsn(0x16_B374_D848)));
        assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
    }

    #[test]
    fn nonsense_is_not_an_lsn() {
        for text in ["", "/", "0", "0/", "/0", "+1/0", "0/-1", "1/100000000", "0/5 ", "0/5/6", "x/y"] {
            assert!(text.parse::<Lsn>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_timeline_is_a_positive_number() {
        assert_eq!("3".parse(), Ok(Timeline(3)));
        for text in ["", "0", "-1", "+1", "4294967296", "3 "] {
            assert!(text.parse::<Timeline>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn the_timeline_is_compared_before_the_lsn() {
        let old = Position { timeline: Timeline(2), end: Lsn(900) };
        let new = Position { timeline: Timeline(3), end: Lsn(100) };
        assert!(new > old);
    }

    #[test]
    fn a_position_at_a_boundary_belongs_to_the_segment_before_it() {
        assert_eq!(Lsn(0x100_0000).segment(0x100_0000), 0);
        assert_eq!(Lsn(0x100_0001).segment(0x100_0000), 1);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = text.parse::<Lsn>();
            let _ = text.parse::<Timeline>();
        }

        #[test]
        fn what_was_written_is_read_back(value: u64) {
            prop_assert_eq!(Lsn(value).to_string().parse(), Ok(Lsn(value)));
        }
    }
}
