//! How does a copy of the primary come to its places?
//!
//! A clone fills the data directory, and `pg_wal` and tablespaces that lie elsewhere. In each of these places the copy is
//! made in a directory of its own, whose random name the marker has, and moved up from there, entry by entry, when all of
//! it is whole. So nothing in a place is ever removed but that directory, and it needs no right beside the place, which may
//! be a mount point.
//!
//! | the copies are | in the place | next |
//! |---|---|---|
//! | being made | nothing, or the directory of an attempt before | make it anew |
//! | being made | anything else | refuse: somebody has put that there |
//! | whole | the directory, and some that were moved up | go on moving up |
//! | whole | the directory, and a name that it has, too | refuse: somebody has put that there |
//! | whole | no directory, but entries, in the place that was filled | done |
//! | whole | neither, or it is another place | make all anew if all places are empty, else refuse |
//! | either | it was a mount point at the beginning and is none | refuse: its volume is missing |

/// What is found in a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its path.
    pub path: String,
    /// The directory is there in which the copy is made.
    pub has_copy: bool,
    /// Something else that is in the place.
    pub entry: Option<String>,
    /// Something that is in the place and in the copy, too.
    pub twice: Option<String>,
    /// It is the directory that was filled from the beginning.
    pub is_same: bool,
    /// It was a mount point at the beginning and is none now.
    pub is_unmounted: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Make all copies, in empty directories.
    Copy,
    /// Move up what is in the copy of this place.
    MoveUp(usize),
    /// Everything is in its place.
    Done,
    /// A person has to look: the reason with the cure.
    Refuse(String),
}

/// The next step. The data directory is the last place: it is an instance when all others are whole.
#[must_use]
pub fn next(is_whole: bool, places: &[Place]) -> Next {
    if let Some(place) = places.iter().find(|place| place.is_unmounted) {
        return Next::Refuse(format!("{} was a mount point and is none now; mount its volume", place.path));
    }
    if !is_whole {
        return copy_unless_in_use(places);
    }
    if let Some((place, name)) = places.iter().find_map(|place| Some((place, place.twice.as_ref()?))) {
        return Next::Refuse(in_the_way(place, name));
    }
    let is_lost = |place: &Place| !place.has_copy && (place.entry.is_none() || !place.is_same);
    if places.iter().any(is_lost) {
        return copy_unless_in_use(places);
    }
    places.iter().position(|place| place.has_copy).map_or(Next::Done, Next::MoveUp)
}

fn copy_unless_in_use(places: &[Place]) -> Next {
    let in_use = places.iter().find_map(|place| Some((place, place.entry.as_ref()?)));
    in_use.map_or(Next::Copy, |(place, entry)| Next::Refuse(in_the_way(place, entry)))
}

fn in_the_way(place: &Place, entry: &str) -> String {
    format!(
        "{} is to be filled with a copy of the primary, and '{entry}' is in it, which was put there by somebody else; move \
         all that is in it away and the copy is made, or, if it is to stay, end this return (README, \"When a node comes \
         back\")",
        place.path
    )
}

/// Why a tablespace of the primary, which this node has never had, cannot come to the place that it has there.
#[must_use]
pub fn refusal_of_new(oid: &str, site: &NewSite) -> Option<String> {
    let NewSite { place, parent, .. } = site;
    let why = match site {
        NewSite { is_in_data: true, .. } => {
            "which is in the data directory; move it elsewhere on the primary".to_owned()
        }
        NewSite { entry: Some(_), .. } => format!("and {place} is not empty here; empty it"),
        NewSite { exists: true, may_write: false, .. } => {
            format!("and the owner may not write in {place} here; allow that")
        }
        NewSite { exists: false, has_parent: false, .. } => {
            format!("and {parent} is not there on this node; make {place}, as a directory of the owner's")
        }
        NewSite { exists: false, may_write: false, .. } => {
            format!("and the owner may not write in {parent} here; make {place}, as a directory of the owner's")
        }
        _ => return None,
    };
    Some(format!("tablespace {oid} lies in {place} on the primary, {why}"))
}

/// What is known of the place of a new tablespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSite {
    /// Its path, as on the primary.
    pub place: String,
    /// The directory that it is in.
    pub parent: String,
    /// It is there.
    pub exists: bool,
    /// The directory that it is in is there.
    pub has_parent: bool,
    /// The owner may write in the place, or, where that does not exist, in the directory that it would be made in.
    pub may_write: bool,
    /// It is below the data directory.
    pub is_in_data: bool,
    /// Something in it.
    pub entry: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `c`: the copy is there, `e`: something else is, `t`: a name is in both, `s`: the same directory as at the beginning,
    /// `u`: unmounted, `-`: nothing.
    fn places(text: &str) -> Vec<Place> {
        let one = |word: &str| Place {
            path: "/place".to_owned(),
            has_copy: word.contains('c'),
            entry: word.contains(['e', 't']).then(|| "base".to_owned()),
            twice: word.contains('t').then(|| "base".to_owned()),
            is_same: word.contains('s'),
            is_unmounted: word.contains('u'),
        };
        text.split_whitespace().map(one).collect()
    }

    #[test]
    fn every_state_has_its_step() {
        for (is_whole, found, expected) in [
            (false, "- -", "copy"),
            (false, "cs cs", "copy"),
            (false, "c -", "copy"),
            (false, "cs es", "put there"),
            (false, "es cs", "put there"),
            (false, "ces -", "put there"),
            (false, "u -", "mount its volume"),
            (true, "cs cs", "move up 0"),
            // Killed while it was moved up.
            (true, "ces cs", "move up 0"),
            (true, "es cs", "move up 1"),
            (true, "es ces", "move up 1"),
            (true, "es es", "done"),
            // A person has put something there, of a name that the copy has.
            (true, "es cets", "put there"),
            (true, "cets cs", "put there"),
            // The copy is gone: a volume that is another one, or somebody has cleaned up.
            (true, "- -", "copy"),
            (true, "cs -", "copy"),
            (true, "e cs", "put there"),
            (true, "es -", "put there"),
            (true, "esu cs", "mount its volume"),
        ] {
            let matches = match next(is_whole, &places(found)) {
                Next::Copy => expected == "copy",
                Next::MoveUp(at) => expected == format!("move up {at}"),
                Next::Done => expected == "done",
                Next::Refuse(why) => why.contains(expected) && why.contains("/place"),
            };
            assert!(matches, "{is_whole} {found} is not {expected}");
        }
    }

    #[test]
    fn a_place_that_a_new_tablespace_cannot_come_to_is_refused_with_the_cure() {
        let site = NewSite {
            place: "/v/space".to_owned(),
            parent: "/v".to_owned(),
            exists: true,
            has_parent: true,
            may_write: true,
            ..NewSite::default()
        };
        assert_eq!(refusal_of_new("7", &site), None);
        assert_eq!(refusal_of_new("7", &NewSite { exists: false, ..site.clone() }), None);
        for (site, words) in [
            (NewSite { is_in_data: true, ..site.clone() }, "in the data directory"),
            (NewSite { entry: Some("1".to_owned()), ..site.clone() }, "not empty here"),
            (NewSite { may_write: false, ..site.clone() }, "may not write in /v/space"),
            (NewSite { exists: false, may_write: false, ..site.clone() }, "may not write in /v here; make /v/space"),
            (NewSite { exists: false, has_parent: false, ..site }, "/v is not there on this node; make /v/space"),
        ] {
            let why = refusal_of_new("7", &site).unwrap();
            assert!(why.starts_with("tablespace 7 lies in /v/space on the primary") && why.contains(words), "{why}");
        }
    }
}
