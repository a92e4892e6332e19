//! Whether a renaming of subjects is one the server can carry out.
//!
//! A destination token may stand for wildcards of the source: `$1`, or a function in double braces such as
//! `{{wildcard(1)}}`.

/// What a destination token asks of the source.
enum Token {
    /// Nothing: it stands for itself, or draws a number.
    Free,
    /// A partition over these wildcards, or over the whole subject where the source has none.
    Partition(Vec<i64>),
    /// One wildcard.
    Wildcard(i64),
}

/// Whether `destination` can be made from what `source` matches. Empty stands for every subject as source, and for no
/// renaming as destination.
pub(super) fn is_sound(source: &str, destination: &str) -> bool {
    if destination.is_empty() {
        return true;
    }
    let source = if source.is_empty() { ">" } else { source };
    let (Some((wildcards, open)), Some((0, open_end))) = (shape(source), shape(destination)) else {
        return false;
    };
    let has_wildcards = wildcards > 0 || open;
    open == open_end
        && destination.split('.').all(|text| match token(text) {
            Some(Token::Free) => true,
            Some(Token::Partition(indexes)) => {
                !has_wildcards || indexes.iter().all(|index| *index <= wildcards)
            }
            Some(Token::Wildcard(index)) => has_wildcards && index <= wildcards,
            None => false,
        })
}

/// Whether no token of a destination, functions aside, holds white space.
pub(super) fn is_tidy(destination: &str) -> bool {
    destination
        .split('.')
        .all(|text| call(text).is_some() || !text.contains([' ', '\t', '\r', '\n', '\u{c}']))
}

/// Number of `*`, and whether it ends in `>`; `None` where a token is empty or follows a `>`.
fn shape(subject: &str) -> Option<(i64, bool)> {
    let (mut wildcards, mut open) = (0, false);
    for token in subject.split('.') {
        if token.is_empty() || open {
            return None;
        }
        wildcards += i64::from(token == "*");
        open = token == ">";
    }
    Some((wildcards, open))
}

/// The inside of a token in double braces.
fn call(text: &str) -> Option<&str> {
    let inside = text.strip_prefix("{{")?.strip_suffix("}}")?;
    (!inside.is_empty()).then_some(inside)
}

/// What a destination token asks for; `None` where it is no sound function.
fn token(text: &str) -> Option<Token> {
    let Some(inside) = call(text) else {
        let index = text.strip_prefix('$').and_then(|index| index.parse().ok());
        return Some(index.map_or(Token::Free, Token::Wildcard));
    };
    let (name, rest) = inside.trim().split_once('(')?;
    let arguments: Vec<&str> = rest.strip_suffix(')')?.split(',').collect();
    let name = name.trim_end();
    let integer = |text: &str| text.trim().parse::<i64>().ok();
    let small = |text: &str| integer(text).filter(|number| *number <= i64::from(i32::MAX));
    match (canonical(name)?, arguments.as_slice()) {
        ("wildcard", [index]) => integer(index).map(Token::Wildcard),
        ("partition", [count, indexes @ ..]) => {
            small(count)?;
            indexes
                .iter()
                .map(|index| integer(index))
                .collect::<Option<_>>()
                .map(Token::Partition)
        }
        ("random", [most]) => small(most).map(|_| Token::Free),
        ("split", [index, delimiter]) => {
            let sound = !delimiter.trim_start().contains(' ');
            integer(index).filter(|_| sound).map(Token::Wildcard)
        }
        ("wildcard" | "random" | "split", _) => None,
        (_, [index, number]) => {
            small(number).filter(|number| *number >= i64::from(i32::MIN))?;
            integer(index).map(Token::Wildcard)
        }
        _ => None,
    }
}

/// A function's name in lower case. Only the first letter of each of its words may be a capital.
fn canonical(name: &str) -> Option<&'static str> {
    const FUNCTIONS: [(&str, &[&str]); 10] = [
        ("wildcard", &["wildcard"]),
        ("partition", &["partition"]),
        ("random", &["random"]),
        ("split", &["split"]),
        ("left", &["left"]),
        ("right", &["right"]),
        ("splitfromleft", &["split", "from", "left"]),
        ("splitfromright", &["split", "from", "right"]),
        ("slicefromleft", &["slice", "from", "left"]),
        ("slicefromright", &["slice", "from", "right"]),
    ];
    let spelt = |words: &[&str]| {
        let mut rest = name;
        words.iter().all(|word| {
            let Some((head, tail)) = rest.split_at_checked(word.len()) else {
                return false;
            };
            rest = tail;
            head.eq_ignore_ascii_case(word) && head.get(1..) == word.get(1..)
        }) && rest.is_empty()
    };
    FUNCTIONS
        .into_iter()
        .find(|(_, words)| spelt(words))
        .map(|(canonical, _)| canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_and_unsound_destinations() {
        for (source, destination, expected) in [
            ("a.*", "b.$1", true),
            ("a.*", "b.$2", false),
            ("a.*", "b.$x", true),
            ("a.*", "b", true),
            ("a.*", "b.*", false),
            ("a.*", "b.>", false),
            ("a.>", "b.>", true),
            ("", "b.>", true),
            ("", "b", false),
            ("a", "b", true),
            ("a", "b.$1", false),
            ("a", "", true),
            ("a..b", "c", false),
            ("a.*", "b.{{wildcard(1)}}", true),
            ("a.*", "b.{{ Wildcard( 1 ) }}", true),
            ("a.*", "b.{{WILDCARD(1)}}", false),
            ("a.*", "b.{{wildcard(1,2)}}", false),
            ("a.*", "b.{{wildcard()}}", false),
            ("a.*.*", "{{partition(10,1,2)}}", true),
            ("a.*.*", "{{partition(10,1,3)}}", false),
            ("a", "{{partition(10)}}", true),
            ("a", "{{partition(2147483648)}}", false),
            ("a.*", "{{splitFromLeft(1,3)}}", true),
            ("a.*", "{{SliceFromRight(1,3)}}", true),
            ("a.*", "{{splitfromLEFT(1,3)}}", false),
            ("a.*", "{{left(1)}}", false),
            ("a.*", "{{split(1,-)}}", true),
            ("a", "b.{{random(5)}}", true),
            ("a.*", "{{bogus(1)}}", false),
            ("a.*", "{{wildcard 1}}", false),
        ] {
            assert_eq!(
                is_sound(source, destination),
                expected,
                "{source} -> {destination}"
            );
        }
        assert!(is_tidy("a.{{wildcard( 1 )}}") && !is_tidy("a. b"));
    }
}
