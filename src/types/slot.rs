//! Names of the replication slots that belong to the agent.

use std::fmt;

use super::NodeName;

/// What the name of every slot of the agent begins with.
const PREFIX: &str = "pgbaton_";

/// `NAMEDATALEN` less the closing zero byte: longer names are refused by PostgreSQL.
const LONGEST: usize = 63;

/// Between the readable part of a name and its hash.
const BEFORE_HASH: &str = "__";

/// Digits of a hash.
const HASH: usize = 16;

/// The name of a slot of the agent: it begins with `pgbaton_` and consists of what PostgreSQL allows in one,
/// `[a-z0-9_]`, so it needs no quoting in SQL. No other slot can be named by this type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotName(String);

impl SlotName {
    /// The slot of a node. Different nodes have different slots: a plain name stays as it is, any other one is
    /// made readable and gets a hash of the original.
    #[must_use]
    pub fn of(node: &NodeName) -> SlotName {
        let name = node.as_str();
        if is_plain(name) && name.len() <= LONGEST - PREFIX.len() && !looks_hashed(name) {
            return SlotName(format!("{PREFIX}{name}"));
        }
        let allowed = |c: char| if is_plain_char(c) { c } else { '_' };
        let room = LONGEST - PREFIX.len() - BEFORE_HASH.len() - HASH;
        let readable: String = name.to_ascii_lowercase().chars().map(allowed).take(room).collect();
        SlotName(format!("{PREFIX}{readable}{BEFORE_HASH}{:016x}", hash(name)))
    }

    /// The name, if it can be one of the agent's.
    #[must_use]
    pub fn recognized(name: &str) -> Option<SlotName> {
        let ours = name.len() <= LONGEST && name.len() > PREFIX.len() && name.starts_with(PREFIX) && is_plain(name);
        ours.then(|| SlotName(name.to_owned()))
    }

    /// The name as SQL expects it between quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_plain(text: &str) -> bool {
    text.chars().all(is_plain_char)
}

/// `ReplicationSlotValidateName` in PostgreSQL's slot.c.
fn is_plain_char(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

/// Whether a plain node name could be mistaken for a name with a hash; then it gets a hash, too.
fn looks_hashed(name: &str) -> bool {
    name.rsplit_once(BEFORE_HASH)
        .is_some_and(|(_, end)| end.len() == HASH && end.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// FNV-1a: the same on every node and in every version of the agent.
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slot(node: &str) -> String {
        SlotName::of(&node.parse().unwrap()).to_string()
    }

    #[test]
    fn a_plain_name_stays_as_it_is_and_others_get_a_hash() {
        assert_eq!(slot("srv1"), "pgbaton_srv1");
        assert_eq!(slot("db_2"), "pgbaton_db_2");
        assert_eq!(slot("DB-2.example.org"), format!("pgbaton_db_2_example_org__{:016x}", hash("DB-2.example.org")));
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn names_that_differ_in_forbidden_characters_only_have_different_slots() {
        let mut names = vec![slot("db-1"), slot("db_1"), slot("db.1"), slot("DB_1"), slot(&"x".repeat(200))];
        names.extend([slot(&"x".repeat(201)), slot(names[0].strip_prefix("pgbaton_").unwrap())]);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 7, "{names:?}");
    }

    #[test]
    fn other_slots_are_not_recognized() {
        for name in ["", "pgbaton_", "pgbaton", "srv1", "xpgbaton_srv1", "pgbaton_Srv1", "pgbaton_a'b", "PGBATON_a"] {
            assert_eq!(SlotName::recognized(name), None, "{name}");
        }
        assert_eq!(SlotName::recognized(&format!("pgbaton_{}", "x".repeat(60))), None);
        assert_eq!(SlotName::recognized("pgbaton_srv1").unwrap().as_str(), "pgbaton_srv1");
    }

    proptest! {
        #[test]
        fn every_slot_name_is_valid_and_recognized(node in "[!-~]{1,255}") {
            if let Ok(node) = node.parse::<NodeName>() {
                let slot = SlotName::of(&node);
                prop_assert!(slot.as_str().len() <= LONGEST);
                prop_assert_eq!(SlotName::recognized(slot.as_str()), Some(slot));
            }
        }

        #[test]
        fn different_nodes_have_different_slots(one in "[a-bA-B._-]{1,4}", other in "[a-bA-B._-]{1,4}") {
            if let (Ok(a), Ok(b)) = (one.parse::<NodeName>(), other.parse::<NodeName>()) {
                prop_assert_eq!(a == b, SlotName::of(&a) == SlotName::of(&b));
            }
        }
    }
}
