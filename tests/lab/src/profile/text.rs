//! How a profile is written: its choices that are not plain, as `slots=yes,rejoin=clone`, or a name of a well-known one.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;

use super::Profile;

/// Well-known ones.
const NAMED: [(&str, &str); 5] = [
    ("plain", ""),
    ("debian", "layout=debian,guard=hints,slots=bounded"),
    ("careful", "commits=any,slots=bounded,rejoin=clone,wal=much"),
    ("two-nodes", "nodes=two,slots=bounded"),
    ("second-site", "delay=last,constraint=rule,archive=primary"),
];

/// The choices and their words; the order is the one in which they are written.
macro_rules! choices {
    ($($field:ident),+ $(,)?) => {
        impl Profile {
            /// All choices, as `(what, word)`.
            fn words(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($field), word(self.$field))),+]
            }

            fn choose(&mut self, what: &str, chosen: &str) -> Result<(), String> {
                match what {
                    $(stringify!($field) => self.$field = value(what, chosen)?,)+
                    _ => {
                        let all = [$(stringify!($field)),+].join(", ");
                        return Err(format!("a profile has no '{what}', it has {all}"));
                    }
                }
                Ok(())
            }
        }
    };
}

choices!(nodes, wal, slots, guard, rejoin, follow, commits, role, layout, archive, delay, cascade, constraint);

fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn value<T: ValueEnum>(what: &str, chosen: &str) -> Result<T, String> {
    T::from_str(chosen, false).map_err(|_| {
        let words: Vec<String> = T::value_variants().iter().map(|value| word(value.clone())).collect();
        format!("'{what}' is one of {}, not '{chosen}'", words.join(", "))
    })
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = Self::default().words();
        let own = self.words().into_iter().filter(|choice| !plain.contains(choice));
        let texts: Vec<String> = own.map(|(what, word)| format!("{what}={word}")).collect();
        f.write_str(if texts.is_empty() { "plain".to_owned() } else { texts.join(",") }.as_str())
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = NAMED.iter().find(|(name, _)| *name == text).map_or(text, |(_, choices)| choices);
        let mut profile = Self::default();
        for choice in text.split(',').filter(|choice| !choice.is_empty()) {
            let names = NAMED.map(|(name, _)| name).join(", ");
            let words = choice.split_once('=');
            let (what, word) = words.ok_or_else(|| format!("'{choice}' is no choice and no name ({names})"))?;
            profile.choose(what, word)?;
        }
        profile.clash().map_or(Ok(profile), |reason| Err(format!("'{text}' cannot be had: {reason}")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Layout, Rejoin, Slots};
    use super::*;

    #[test]
    fn a_profile_is_read_as_it_is_written() {
        let profile =
            Profile { slots: Slots::Yes, rejoin: Rejoin::Clone, layout: Layout::DebianByDatadir, ..Profile::default() };
        assert_eq!(profile.to_string(), "slots=yes,rejoin=clone,layout=debian-by-datadir");
        assert_eq!(profile.to_string().parse(), Ok(profile));
        assert_eq!(Profile::default().to_string(), "plain");
        assert_eq!("plain".parse(), Ok(Profile::default()));
    }

    #[test]
    fn every_named_one_can_be_had() {
        for (name, choices) in NAMED {
            let profile: Profile = name.parse().unwrap();
            assert_eq!(Ok(profile), choices.parse(), "{name}");
        }
    }

    #[test]
    fn a_slip_is_told_with_what_there_is() {
        let told = |text: &str| text.parse::<Profile>().unwrap_err();
        assert!(told("slots=maybe").contains("off, bounded, yes"));
        assert!(told("colour=red").contains("nodes, wal, slots"));
        assert!(told("nonsense").contains("careful"));
        assert!(told("slots=yes,role=monitor").contains("superuser"));
    }
}
