//! Raw arguments: what was typed, not yet what it means.

use std::ffi::{OsStr, OsString};

use crate::flags::{self, FLAGS, Flag, KEY_VALUES, Verb};

/// Wrong usage, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage(pub String);

/// What the command line comes to.
#[derive(Debug)]
pub enum Invocation {
    /// The help, of one verb or all.
    Help(Option<Verb>),
    /// The version.
    Version,
    /// Work.
    Work(RawArgs),
}

/// A verb with its operands and flags as typed.
#[derive(Debug)]
pub struct RawArgs {
    /// The verb.
    pub verb: Verb,
    /// The paths.
    pub operands: Vec<OsString>,
    given: Vec<(&'static Flag, OsString)>,
}

impl RawArgs {
    /// The last value of a flag; empty for a switch.
    pub fn get(&self, long: &str) -> Option<&OsStr> {
        let last = self.given.iter().rev().find(|(flag, _)| flag.long == long);
        last.map(|(_, value)| value.as_os_str())
    }

    /// Every value of these flags, in the order given.
    pub fn all<'a>(
        &'a self,
        names: &'a [&str],
    ) -> impl Iterator<Item = (&'static str, &'a OsStr)> + 'a {
        let named = self
            .given
            .iter()
            .filter(|(flag, _)| names.contains(&flag.long));
        named.map(|(flag, value)| (flag.long, value.as_os_str()))
    }

    /// Whether a flag was given.
    pub fn has(&self, long: &str) -> bool {
        self.get(long).is_some()
    }

    /// Which of two switches came last, if any did.
    pub fn last_of(&self, yes: &str, no: &str) -> Option<bool> {
        let mut given = self.given.iter().rev().map(|(flag, _)| flag.long);
        given
            .find(|long| *long == yes || *long == no)
            .map(|long| long == yes)
    }
}

/// Reads the arguments after the program's name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, Usage> {
    use lexopt::Arg::{Long, Short, Value};

    let mut parser = lexopt::Parser::from_args(args);
    let mut verb = None;
    let mut operands = Vec::new();
    let mut given = Vec::new();
    while let Some(arg) = parser.next().map_err(spoilt)? {
        let flag = match arg {
            Short('h') | Long("help") => return Ok(Invocation::Help(verb)),
            Short('V') | Long("version") => return Ok(Invocation::Version),
            Long(name) => match flags::by_long(name) {
                Some(flag) => flag,
                None => return Err(unknown_flag(name)),
            },
            Short(letter) => match flags::by_short(letter) {
                Some(flag) => flag,
                None => return Err(Usage(format!("unknown flag -{letter}"))),
            },
            Value(word) if verb.is_none() => {
                match word.to_str() {
                    Some("help") => return help_about(&mut parser),
                    Some(name) => verb = Some(find_verb(name)?),
                    None => return Err(Usage("the first word must be a verb".into())),
                }
                continue;
            }
            Value(operand) => {
                operands.push(operand);
                continue;
            }
        };
        let value = match flag.value {
            Some(_) => parser.value().map_err(spoilt)?,
            None => OsString::new(),
        };
        given.push((flag, value));
    }
    let Some(verb) = verb else {
        return Err(Usage(format!("a verb is missing; there are {}", verbs())));
    };
    for (flag, _) in &given {
        belongs(flag, verb)?;
    }
    Ok(Invocation::Work(RawArgs {
        verb,
        operands,
        given,
    }))
}

fn spoilt(error: lexopt::Error) -> Usage {
    Usage(match error {
        lexopt::Error::MissingValue {
            option: Some(option),
        } => {
            format!("{option} needs a value")
        }
        // The value may be a secret in the wrong place, so it is not repeated.
        lexopt::Error::UnexpectedValue { option, .. } => format!("{option} takes no value"),
        other => other.to_string(),
    })
}

fn help_about(parser: &mut lexopt::Parser) -> Result<Invocation, Usage> {
    match parser.next().map_err(spoilt)? {
        Some(lexopt::Arg::Value(word)) => match word.to_str() {
            Some(name) => Ok(Invocation::Help(Some(find_verb(name)?))),
            None => Ok(Invocation::Help(None)),
        },
        _ => Ok(Invocation::Help(None)),
    }
}

/// All verbs, in one list.
fn verbs() -> String {
    Verb::ALL.map(Verb::name).join(", ")
}

fn find_verb(name: &str) -> Result<Verb, Usage> {
    Verb::from_name(name).ok_or_else(|| {
        let names = Verb::ALL.iter().map(|verb| verb.name());
        Usage(match flags::nearest(name, names) {
            Some(near) => format!("unknown verb {name:?}; did you mean {near}?"),
            None => format!("unknown verb {name:?}; there are {}", verbs()),
        })
    })
}

fn unknown_flag(name: &str) -> Usage {
    if KEY_VALUES.contains(&name) {
        return Usage(
            "a key is not taken from the command line, where everyone on the machine can read it \
             and the shell remembers it; use --key-env VAR, --key-file FILE or --config FILE"
                .into(),
        );
    }
    Usage(
        match flags::nearest(name, FLAGS.iter().map(|flag| flag.long)) {
            Some(near) => format!("unknown flag --{name}; did you mean --{near}?"),
            None => format!("unknown flag --{name}"),
        },
    )
}

fn belongs(flag: &Flag, verb: Verb) -> Result<(), Usage> {
    if flag.verbs.is_empty() || flag.verbs.contains(&verb) {
        return Ok(());
    }
    let owners: Vec<_> = flag
        .verbs
        .iter()
        .map(|owner| format!("`jetsam {}`", owner.name()))
        .collect();
    Err(Usage(format!(
        "--{} is not a flag of `jetsam {}`; it belongs to {}",
        flag.long,
        verb.name(),
        owners.join(" and ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Invocation, Usage> {
        super::parse(line.split_whitespace().map(OsString::from))
    }

    fn refusal(line: &str) -> String {
        match parse(line) {
            Err(Usage(message)) => message,
            Ok(other) => panic!("{line:?} was taken: {other:?}"),
        }
    }

    #[test]
    fn flags_may_stand_anywhere() {
        for line in ["-j check --threads 2 DIR", "check DIR --threads=2 --json"] {
            let Ok(Invocation::Work(raw)) = parse(line) else {
                panic!("{line}")
            };
            assert_eq!(raw.verb, Verb::Check);
            assert_eq!(raw.operands, ["DIR"]);
            assert!(raw.has("json") && !raw.has("quick"));
            assert_eq!(raw.get("threads"), Some(OsStr::new("2")));
        }
    }

    #[test]
    fn the_last_of_two_wins() {
        let Ok(Invocation::Work(raw)) =
            parse("check D --progress --no-progress --threads 1 --threads 2")
        else {
            panic!()
        };
        assert_eq!(raw.last_of("progress", "no-progress"), Some(false));
        assert_eq!(raw.get("threads"), Some(OsStr::new("2")));
    }

    #[test]
    fn help_and_version_win() {
        assert!(matches!(parse("--help"), Ok(Invocation::Help(None))));
        assert!(matches!(
            parse("check -h"),
            Ok(Invocation::Help(Some(Verb::Check)))
        ));
        assert!(matches!(
            parse("help cat"),
            Ok(Invocation::Help(Some(Verb::Cat)))
        ));
        assert!(matches!(parse("--version"), Ok(Invocation::Version)));
    }

    #[test]
    fn slips_get_a_hint() {
        assert_eq!(
            refusal("check D --jsn"),
            "unknown flag --jsn; did you mean --json?"
        );
        assert_eq!(
            refusal("chekc D"),
            "unknown verb \"chekc\"; did you mean check?"
        );
        assert_eq!(refusal("check D -x"), "unknown flag -x");
        assert_eq!(refusal("check D --threads"), "--threads needs a value");
        assert_eq!(refusal("check D --json=1"), "--json takes no value");
        assert!(refusal("").contains("a verb is missing"));
        assert!(refusal("recover D --quick").contains("belongs to `jetsam check`"));
    }

    #[test]
    fn a_key_is_never_taken_nor_repeated() {
        for line in [
            "check D --key s3cret",
            "check D --key=s3cret",
            "check D --prev-key=s3cret",
        ] {
            let message = refusal(line);
            assert!(message.contains("--key-env"), "{message}");
            assert!(!message.contains("s3cret"), "{message}");
        }
    }
}
