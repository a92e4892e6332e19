//! Subjects: which are valid, and which a filter selects.
//!
//! A subject is tokens separated by dots. In a filter, the token `*` stands for any one token and a last token `>` for
//! one or more.

const SEPARATOR: u8 = b'.';
const ONE_TOKEN: &[u8] = b"*";
const REST: &[u8] = b">";

/// Whether a subject found in a state file is acceptable there; one that is not makes recovery reject the file.
///
/// Rejected are: the empty subject, an empty token, anything behind a token `>`, a space, tab, carriage return, line
/// feed or form feed, a NUL, and bytes that are not UTF-8 or spell U+FFFD. Wildcards are not.
#[must_use]
pub fn is_valid(subject: &[u8]) -> bool {
    if is_plainly_valid(subject) {
        return true;
    }
    let Ok(text) = std::str::from_utf8(subject) else {
        return false;
    };
    let unwanted = |c: char| matches!(c, '\0' | ' ' | '\t' | '\r' | '\n' | '\u{c}' | '\u{fffd}');
    if text.contains(unwanted) {
        return false;
    }
    let mut closed = false;
    subject.split(|&byte| byte == SEPARATOR).all(|token| {
        let sound = !token.is_empty() && !closed;
        closed = token == REST;
        sound
    })
}

/// Whether a subject is acceptable by a look at its bytes, as nearly every one is: printable ASCII without `>`, no token empty.
#[inline]
fn is_plainly_valid(subject: &[u8]) -> bool {
    let (Some(first), Some(last)) = (subject.first(), subject.last()) else {
        return false;
    };
    let odd = |byte: &u8| !byte.is_ascii_graphic() || *byte == b'>';
    let is_odd = subject.iter().fold(false, |any, byte| any | odd(byte));
    let behind = subject.get(1..).unwrap_or_default();
    let both_separate = |(one, next): (&u8, &u8)| *one == SEPARATOR && *next == SEPARATOR;
    let neighbours = subject.iter().zip(behind);
    let has_empty = neighbours.fold(false, |any, pair| any | both_separate(pair));
    !is_odd && !has_empty && *first != SEPARATOR && *last != SEPARATOR
}

/// Whether a message can be stored under a subject: a valid one without a wildcard, and without the byte 0x7F, with which the server's
/// subject index marks nodes of its own.
#[must_use]
pub fn is_storable(subject: &[u8]) -> bool {
    // Of what is plainly valid only the star is left.
    let has_star = subject
        .iter()
        .fold(false, |any, byte| any | (*byte == b'*'));
    if !has_star && is_plainly_valid(subject) {
        return true;
    }
    is_valid(subject) && is_literal(subject) && !subject.contains(&0x7F)
}

/// Whether no token of a subject is a wildcard.
#[must_use]
pub fn is_literal(subject: &[u8]) -> bool {
    let could_be = |byte: &u8| matches!(byte, b'*' | b'>');
    if !subject.iter().fold(false, |any, byte| any | could_be(byte)) {
        return true;
    }
    !subject
        .split(|&byte| byte == SEPARATOR)
        .any(|token| token == ONE_TOKEN || token == REST)
}

/// Whether the server keeps a subject to itself: JetStream's requests, acknowledgements, flow control, snapshots and events,
/// replies of services, and replies that went through a gateway. Nothing may be delivered to one.
#[must_use]
pub fn is_reserved(subject: &str) -> bool {
    const SERVICE_REPLY: &str = "_R_.";
    let behind = |prefix: &str| {
        subject
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty())
    };
    if subject.starts_with(SERVICE_REPLY) || behind("_GR_.") || behind("$GR.") {
        return true;
    }
    let mut tokens = subject.split('.');
    if tokens.next() != Some("$JS") {
        return false;
    }
    let kind = tokens.next();
    matches!(kind, Some("API" | "ACK" | "FC" | "SNAPSHOT" | "EVENT"))
        // The requests of a domain.
        || tokens.next() == Some("API")
}

/// Whether `filter` selects `subject`. The subject is taken literally, wildcards in it included.
#[must_use]
pub fn matches(subject: &[u8], filter: &[u8]) -> bool {
    let mut tokens = subject.split(|&byte| byte == SEPARATOR);
    let mut wanted = filter.split(|&byte| byte == SEPARATOR).peekable();
    while let Some(want) = wanted.next() {
        let Some(token) = tokens.next() else {
            return false;
        };
        if want == REST && wanted.peek().is_none() {
            return true;
        }
        if want != ONE_TOKEN && want != token {
            return false;
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_can_be_stored_is_valid_literal_and_can_be_indexed(subject in "[a.*>\\x7F \u{e9}]{0,6}") {
            let subject = subject.as_bytes();
            let can = is_valid(subject) && is_literal(subject) && !subject.contains(&0x7F);
            prop_assert_eq!(is_storable(subject), can);
        }
    }

    #[test]
    fn a_star_within_a_token_is_no_wildcard() {
        assert!(is_storable(b"a*.b") && is_storable(b"orders.eu.1"));
        let not = [
            &b"a.*"[..],
            b"a.>",
            b"a..b",
            b"",
            b"a.\x7F",
            b"a b",
            b"\xFF",
        ];
        assert!(not.iter().all(|subject| !is_storable(subject)));
    }

    #[test]
    fn reserved_subjects() {
        for subject in [
            "$JS.API",
            "$JS.API.STREAM.DELETE.X",
            "$JS.ACK.S.C.1.2.3.4.5",
            "$JS.FC.S.C.x",
            "$JS.SNAPSHOT.ACK.x",
            "$JS.EVENT.ADVISORY.x",
            "$JS.hub.API.INFO",
            "_R_.",
            "_R_.abc.def",
            "_GR_.x",
            "$GR.x",
        ] {
            assert!(is_reserved(subject), "{subject}");
        }
        for subject in [
            "",
            "$JS",
            "$JS.x",
            "$JS.x.y.API",
            "$js.API",
            "_R_",
            "_GR_.",
            "$GR",
            "a.$JS.API",
            "_INBOX.x",
        ] {
            assert!(!is_reserved(subject), "{subject}");
        }
    }

    #[test]
    fn validity() {
        for subject in ["a", "a.b", "*", ">", "a.>", "a.*.b", "a>.b", "é.ü", "$JS.x"] {
            assert!(is_valid(subject.as_bytes()), "{subject}");
        }
        let invalid = [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            ">.a",
            "a.>.b",
            " ",
            "a b",
            "a\t",
            "\r",
            "a\nb",
            "a.\u{c}",
            "a\0b",
            "a\u{fffd}",
        ];
        for subject in invalid {
            assert!(!is_valid(subject.as_bytes()), "{subject:?}");
        }
        assert!(!is_valid(b"a\xff"));
    }

    #[test]
    fn filters() {
        for (subject, filter, selected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("a.b", "a", false),
            ("a", "a.b", false),
            ("a.b", "a.*", true),
            ("a.b", "*", false),
            ("a.b", "*.*", true),
            ("a.b.c", "a.>", true),
            ("a", "a.>", false),
            ("a", ">", true),
            ("a.b.c", "*.b.>", true),
            ("a.b.c", "a.>.c", false),
            ("a.>", "a.b", false),
            ("a.*", "a.b", false),
            ("ab", "a*", false),
            ("a*", "a*", true),
        ] {
            assert_eq!(
                matches(subject.as_bytes(), filter.as_bytes()),
                selected,
                "{subject} {filter}"
            );
        }
        assert!(is_literal(b"a.b*") && !is_literal(b"a.*") && !is_literal(b">"));
    }

    proptest! {
        #[test]
        fn a_valid_literal_subject_selects_itself(subject: Vec<u8>) {
            if is_valid(&subject) && is_literal(&subject) {
                prop_assert!(matches(&subject, &subject));
            }
            prop_assert!(matches(&subject, b">"));
        }
    }
}
