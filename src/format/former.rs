//! What a stream may have been called whose directory was renamed. Whether it was so, a checksum or a key has to prove.

use super::names::is_valid_asset_name;

/// More names are not tried.
pub const FORMER_NAMES_MAX: usize = 64;

/// Of the directory's own parts at most this many are tried, so that names from elsewhere have their turn.
const PARTS_MAX: usize = 48;

/// Names that a stream in the directory `dir` may have, the likeliest first: those that are `given`, what is left of the
/// directory's name without an end or a beginning that somebody added, and the names of the directories `beside` it. The
/// directory's own name is not among them.
#[must_use]
pub fn former_names<'a>(
    dir: &'a str,
    given: impl IntoIterator<Item = &'a str>,
    beside: impl IntoIterator<Item = &'a str>,
) -> Vec<String> {
    let mut names = Names {
        dir,
        found: Vec::new(),
        most: FORMER_NAMES_MAX,
    };
    for name in given {
        names.add(name);
    }
    names.most = names.found.len().saturating_add(PARTS_MAX);
    let (heads, tails) = (heads(dir), tails(dir));
    names.add(&dir.to_uppercase());
    names.add(&dir.to_lowercase());
    for part in heads.iter().chain(&tails) {
        names.add(part);
    }
    for tail in &tails {
        for part in self::heads(tail) {
            names.add(part);
        }
    }
    for part in heads.iter().chain(&tails) {
        names.add(&part.to_uppercase());
        names.add(&part.to_lowercase());
    }
    names.most = FORMER_NAMES_MAX;
    for name in beside {
        names.add(name);
    }
    names.found
}

struct Names<'a> {
    dir: &'a str,
    found: Vec<String>,
    most: usize,
}

impl Names<'_> {
    fn add(&mut self, name: &str) {
        let is_new = name != self.dir && !self.found.iter().any(|known| known == name);
        let most = self.most.min(FORMER_NAMES_MAX);
        if is_new && self.found.len() < most && is_valid_asset_name(name.as_bytes()) {
            self.found.push(name.to_owned());
        }
    }
}

/// The beginnings that end where a word or a number ends, the longest first: `A-copy (1)` gives `A-copy ` and `A`.
fn heads(name: &str) -> Vec<&str> {
    let mut heads = Vec::new();
    let mut before = None;
    for (at, letter) in name.char_indices() {
        let ends = !letter.is_alphanumeric()
            || (letter.is_ascii_digit() && before.is_some_and(|b: char| !b.is_ascii_digit()));
        if ends && let Some(head) = name.get(..at) {
            heads.push(head);
        }
        before = Some(letter);
    }
    heads.reverse();
    heads
}

/// The ends that begin behind something that is neither letter nor digit, the longest first.
fn tails(name: &str) -> Vec<&str> {
    let separators = name
        .char_indices()
        .filter(|(_, letter)| !letter.is_alphanumeric());
    separators
        .filter_map(|(at, letter)| name.get(at + letter.len_utf8()..))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(dir: &str) -> Vec<String> {
        former_names(dir, [], [])
    }

    #[test]
    fn what_people_and_programs_add_is_taken_off() {
        for (dir, name) in [
            ("ORDERS_old", "ORDERS"),
            ("ORDERS.bak", "ORDERS"),
            ("ORDERS-copy (1)", "ORDERS"),
            ("ORDERS2", "ORDERS"),
            ("ORDERS.2026-01-02T03:04:05", "ORDERS"),
            ("KV_settings~", "KV_settings"),
            ("KV_settings_old_2", "KV_settings"),
            ("old_ORDERS", "ORDERS"),
            ("2026-01-02_KV_settings.bak", "KV_settings"),
            (".ORDERS", "ORDERS"),
            ("orders", "ORDERS"),
            ("Kunden\u{e4}_alt", "Kunden\u{e4}"),
        ] {
            assert!(
                of(dir).iter().any(|found| found == name),
                "{dir}: {:?}",
                of(dir)
            );
        }
    }

    #[test]
    fn what_is_given_comes_first_and_what_lies_beside_last() {
        let names = former_names("A_1", ["GIVEN"], ["A", "BESIDE", "A_1", "no name"]);
        assert_eq!(names.first().map(String::as_str), Some("GIVEN"));
        assert_eq!(names.last().map(String::as_str), Some("BESIDE"));
        let both = |name: &&String| *name == "A" || *name == "A_1";
        assert_eq!(names.iter().filter(both).collect::<Vec<_>>(), ["A"]);
    }

    #[test]
    fn names_from_beside_have_their_turn_whatever_the_directory_is_called() {
        let dir = "a-".repeat(100);
        let names = former_names(&dir, [], ["ORDERS"]);
        assert!(names.iter().any(|name| name == "ORDERS"));
    }

    proptest! {
        #[test]
        fn few_names_and_valid_ones(dir in ".{0,300}", beside in ".{0,20}") {
            let names = former_names(&dir, [], [beside.as_str()]);
            prop_assert!(names.len() <= FORMER_NAMES_MAX);
            prop_assert!(names.iter().all(|name| *name != dir && is_valid_asset_name(name.as_bytes())));
        }
    }
}
