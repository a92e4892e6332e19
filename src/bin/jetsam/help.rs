//! The help, made from the table of flags.

use std::fmt::Write as _;

use jetsam::recovery::events::EventCode;

use crate::flags::{FLAGS, Flag, Verb};

const EXIT_CODES: &str = "\
Exit codes:
   0  clean: nothing wrong, nothing lost
   1  damage found; every message is accounted for
   4  messages are lost, or would be lost
   8  a stream could not be read at all (no key, no permission, an I/O error)
  16  wrong usage
  32  interrupted
Over several streams: the highest.
";

/// The help of one verb, or of the whole command.
pub fn text(verb: Option<Verb>) -> String {
    match verb {
        Some(verb) => of_verb(verb),
        None => overview(),
    }
}

fn overview() -> String {
    let mut text = String::from(
        "jetsam: recover and verify NATS JetStream file stores\n\n\
         Usage: jetsam VERB PATH [FLAGS]\n\n\
         PATH is a stream directory (it holds msgs/), an account directory, the jetstream/\n\
         directory, or the server's store_dir; every stream below it is taken. With --config FILE\n\
         it may be left out.\n\nVerbs:\n",
    );
    for verb in Verb::ALL {
        let _ = writeln!(text, "  {:<10} {}", verb.name(), verb.summary());
    }
    text.push_str("\nFlags of every verb:\n");
    shared_flags(&mut text);
    let _ = write!(
        text,
        "\n{EXIT_CODES}\n`jetsam VERB --help` tells the flags of a verb.\n"
    );
    text
}

fn of_verb(verb: Verb) -> String {
    let operands = match verb {
        Verb::Merge => "PATH...",
        _ => "PATH",
    };
    let mut text = format!(
        "jetsam {name}: {summary}\n\nUsage: jetsam {name} {operands} [FLAGS]\n",
        name = verb.name(),
        summary = verb.summary()
    );
    let own: Vec<_> = FLAGS
        .iter()
        .filter(|flag| flag.verbs.contains(&verb))
        .collect();
    if !own.is_empty() {
        text.push('\n');
        let _ = writeln!(text, "Flags of {}:", verb.name());
        for flag in own {
            line(&mut text, flag);
        }
    }
    text.push_str("\nFlags of every verb:\n");
    shared_flags(&mut text);
    let _ = write!(text, "\n{EXIT_CODES}");
    text
}

fn shared_flags(text: &mut String) {
    for flag in FLAGS.iter().filter(|flag| flag.verbs.is_empty()) {
        line(text, flag);
    }
    text.push_str("  -h, --help                       this text\n");
    text.push_str("  -V, --version                    the version\n");
}

fn line(text: &mut String, flag: &Flag) {
    let short = flag
        .short
        .map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
    let name = match flag.value {
        Some(value) => format!("--{} {value}", flag.long),
        None => format!("--{}", flag.long),
    };
    let _ = writeln!(text, "  {short}{name:<28} {}", flag.help);
}

/// The documentation of every event, as Markdown. docs/EVENTS.md holds exactly this.
pub fn events_markdown() -> String {
    let mut text = String::from(
        "# Events\n\n\
         What `jetsam check` and `jetsam recover` may report, by code. The codes are stable: scripts may\n\
         rely on them. `info` is ordinary work of opening a store; `warn` says that something is stale,\n\
         missing or odd and no message is lost by it; `error` says that messages are lost or unreadable, or\n\
         that the stream cannot be opened. An event may carry another severity than its usual one where the\n\
         circumstances ask for it.\n\n\
         This page is printed by `jetsam events`; a test keeps the two equal.\n",
    );
    for &code in EventCode::ALL {
        let _ = write!(
            text,
            "\n## `{}`\n\n*{}.* {}\n",
            code.as_str(),
            code.severity().as_str(),
            code.meaning()
        );
        if !code.advice().is_empty() {
            let _ = write!(text, "\nWhat to do: {}\n", code.advice());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/EVENTS.md");
        let page = std::fs::read_to_string(path).expect("docs/EVENTS.md");
        assert!(
            page == events_markdown(),
            "docs/EVENTS.md differs; write it anew with: cargo run -- events > docs/EVENTS.md"
        );
    }

    #[test]
    fn every_verb_has_help_that_fits_a_terminal() {
        for verb in Verb::ALL.into_iter().map(Some).chain([None]) {
            let text = text(verb);
            assert!(text.contains("--json") && text.contains("Exit codes"));
            for line in text.lines() {
                assert!(line.chars().count() <= 112, "{line}");
            }
        }
        assert!(text(Some(Verb::Cat)).contains("--subject FILTER"));
        assert!(!text(Some(Verb::Check)).contains("--subject FILTER"));
    }
}
