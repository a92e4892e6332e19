//! What each event means and what to do about it, for the operator who reads the report.
//!
//! The particulars (numbers, offsets, names) are in the event itself; here is what they amount to.

use crate::report::events::EventCode;

mod messages;
mod salvage;
mod stream;
mod surroundings;

const REBUILT: &str = "Nothing to do: the state is rebuilt from the blocks, which only takes \
    longer than reading the index.";
const LOOK_AT_BLOCKS: &str = "The blocks decide now; look at the block events below to see \
    whether messages are missing.";
const SALVAGE: &str = "Before a server starts on this directory, copy what still verifies into a \
    new store with `jetsam salvage`.";
const COPY_FIRST: &str = "Keep a copy of the directory, do not start a server on it, and take out \
    what verifies with `jetsam salvage`.";
const RESCANNED: &str = "Nothing to do: the entries are read again from the messages.";
const META_BACKUP: &str = "Put the file back from a backup or a replica. The messages are still in \
    `msgs`.";
const CONSUMER_AGAIN: &str = "Restore the consumer's directory from a backup, or delete the \
    consumer and create it anew.";
const GIVE_KEYS: &str = "Give the server's JetStream key (--key-env or --key-file), and the former \
    one (--prev-key-env or --prev-key-file) if it was ever rotated.";

/// Code, meaning, advice.
type Text = (EventCode, &'static str, &'static str);

const GROUPS: [&[Text]; 10] = [
    messages::INDEX,
    messages::BLOCKS,
    messages::BLOCK_KEYS_AND_LEGACY,
    messages::TIMERS_AND_SOURCES,
    messages::LIMITS_AND_READING,
    stream::STREAM,
    stream::CONSUMER,
    stream::VERDICT,
    surroundings::SURROUNDINGS,
    salvage::SALVAGED,
];

/// Meaning and advice.
pub(super) fn of(code: EventCode) -> (&'static str, &'static str) {
    let mut texts = GROUPS.iter().flat_map(|group| group.iter());
    // A test walks every code, so the fallback never shows.
    texts
        .find(|text| text.0 == code)
        .map_or(("This event has no description.", ""), |text| {
            (text.1, text.2)
        })
}

#[cfg(test)]
mod tests {
    use crate::report::events::{EventCode, Severity};

    #[test]
    fn every_code_has_a_meaning_of_its_own() {
        let mut seen = std::collections::BTreeMap::new();
        for &code in EventCode::ALL {
            let meaning = code.meaning();
            assert!(!meaning.contains("no description"), "{code} has no text");
            assert!(meaning.ends_with('.'), "{code}: {meaning}");
            assert!(
                !meaning.contains("  "),
                "{code}: doubled blank in {meaning:?}"
            );
            if let Some(other) = seen.insert(meaning, code) {
                panic!("{code} and {other} share a meaning");
            }
        }
    }

    #[test]
    fn errors_always_say_what_to_do() {
        for &code in EventCode::ALL {
            let advice = code.advice();
            assert!(
                advice.is_empty() || advice.ends_with('.'),
                "{code}: {advice}"
            );
            assert!(
                !advice.contains("  "),
                "{code}: doubled blank in {advice:?}"
            );
            assert!(
                code.severity() != Severity::Error || !advice.is_empty(),
                "{code} is an error without advice"
            );
        }
    }

    #[test]
    fn each_code_is_described_exactly_once() {
        for &code in EventCode::ALL {
            let texts = crate::report::events::text::GROUPS
                .iter()
                .flat_map(|group| group.iter());
            assert_eq!(texts.filter(|text| text.0 == code).count(), 1, "{code}");
        }
    }

    #[test]
    fn codes_are_kebab_case_and_unique() {
        let mut seen = std::collections::BTreeSet::new();
        for &code in EventCode::ALL {
            let name = code.as_str();
            assert!(seen.insert(name), "{name} twice");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{name}"
            );
        }
    }
}
