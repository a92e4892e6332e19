//! Subjects in configurations: which are valid, and how two filters lie to each other.

/// Whether the server takes this for a subject or filter in a configuration. Unlike in state files, NUL and U+FFFD are
/// no obstacle.
#[must_use]
pub fn is_valid(subject: &str) -> bool {
    let mut closed = false;
    subject.split('.').all(|token| {
        let sound =
            !token.is_empty() && !closed && !token.contains([' ', '\t', '\r', '\n', '\u{c}']);
        closed = token == ">";
        sound
    })
}

/// Whether some subject is matched by both filters.
pub(super) fn collide(first: &str, second: &str) -> bool {
    let (mut left, mut right) = (first.split('.').peekable(), second.split('.').peekable());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) => {
                let ends =
                    (a == ">" && left.peek().is_none()) || (b == ">" && right.peek().is_none());
                if ends {
                    return true;
                }
                if a != b && a != "*" && b != "*" {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// Whether every subject matched by `subject` is matched by `filter`.
pub(super) fn is_subset(subject: &str, filter: &str) -> bool {
    let (mut tokens, mut wanted) = (subject.split('.'), filter.split('.').peekable());
    loop {
        match (tokens.next(), wanted.next()) {
            (None, None) => return true,
            (Some(_), Some(">")) if wanted.peek().is_none() => return true,
            (Some(""), _) | (_, Some("")) => return false,
            (Some(token), Some("*")) if token != ">" => {}
            (Some(token), Some(want)) if token == want => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collisions_and_subsets() {
        for (first, second, expected) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a.*", "*.b", true),
            ("a.>", "a", false),
            ("a.>", "*.*.c", true),
            ("a.*", "a.b.c", false),
            (">", "x.y", true),
        ] {
            assert_eq!(collide(first, second), expected, "{first} {second}");
            assert_eq!(collide(second, first), expected, "{second} {first}");
        }
        assert!(is_subset("a.*", "a.>") && !is_subset("a.>", "a.*") && is_subset("a.b", "a.*"));
    }
}
