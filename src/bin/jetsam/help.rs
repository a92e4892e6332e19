//! The help, made from the table of flags.

use std::fmt::Write as _;

use crate::console::Style;
use crate::flags::{FLAGS, Flag, Verb};
use crate::page::{Page, Show};

const EXIT_CODES: [(u8, &str); 7] = [
    (
        0,
        "clean: nothing wrong, nothing lost; it may have been killed",
    ),
    (1, "damage found; every message is accounted for"),
    (
        2,
        "preflight: nothing is lost, and the start outlasts the probe",
    ),
    (4, "messages are lost, or would be lost"),
    (
        8,
        "a stream could not be read at all (no key, no permission, an I/O error), or a server uses the store",
    ),
    (16, "wrong usage"),
    (32, "interrupted"),
];

/// Wide enough for a flag and its help beside each other.
const WIDE: usize = 96;
/// Where the help of a flag begins.
const HELP_AT: usize = 36;

/// The help of one verb, or of the whole command.
pub fn text(verb: Option<Verb>, width: Option<usize>) -> String {
    let help = Help {
        page: Page::new(width, Style::PLAIN, Show::default()),
        text: String::new(),
    };
    match verb {
        Some(verb) => help.of_verb(verb),
        None => help.overview(),
    }
}

struct Help {
    page: Page,
    text: String,
}

impl Help {
    fn overview(mut self) -> String {
        self.line(
            0,
            "jetsam: recover, verify and salvage NATS JetStream file stores",
        );
        self.line(0, "\nUsage: jetsam VERB PATH [FLAGS]\n");
        self.line(
            0,
            "PATH is a stream directory (it holds msgs/), an account directory, the jetstream/ directory, or the \
             server's store_dir; every stream below it is taken. With --config FILE it may be left out.",
        );
        self.line(0, "\nVerbs:");
        for verb in Verb::ALL {
            let line = format!("{:<14} {}", verb.name(), verb.summary());
            self.page.hanging(&mut self.text, 2, 17, &line);
        }
        self.line(0, "\nFlags of every verb:");
        self.shared_flags();
        self.exit_codes();
        self.line(0, "\n`jetsam VERB --help` tells the flags of a verb.");
        self.text
    }

    fn of_verb(mut self, verb: Verb) -> String {
        let name = verb.name();
        self.line(0, &format!("jetsam {name}: {}", verb.summary()));
        self.line(
            0,
            &format!("\nUsage: jetsam {name} {} [FLAGS]", verb.operands()),
        );
        let own: Vec<_> = FLAGS
            .iter()
            .filter(|flag| flag.verbs.contains(&verb))
            .collect();
        if !own.is_empty() {
            self.line(0, &format!("\nFlags of {name}:"));
            for flag in own {
                self.flag(flag);
            }
        }
        self.line(
            0,
            "\nFlags of every verb (`jetsam --help` says what they do):",
        );
        let names: Vec<String> = FLAGS
            .iter()
            .filter(|flag| flag.verbs.is_empty())
            .map(|flag| format!("--{}", flag.long))
            .chain(["--help".into(), "--version".into()])
            .collect();
        self.line(2, &names.join(" "));
        let examples = verb.examples();
        self.line(
            0,
            if examples.len() == 1 {
                "\nExample:"
            } else {
                "\nExamples:"
            },
        );
        for example in examples {
            // A command is copied as a whole, however long its line is.
            let _ = writeln!(self.text, "  {example}");
        }
        self.exit_codes();
        self.text
    }

    fn shared_flags(&mut self) {
        for flag in FLAGS.iter().filter(|flag| flag.verbs.is_empty()) {
            self.flag(flag);
        }
        self.named("  -h, --help", "this text; after a verb, that verb's");
        self.named("  -V, --version", "the version");
    }

    fn exit_codes(&mut self) {
        self.line(0, "\nExit codes:");
        for (code, meaning) in EXIT_CODES {
            let line = format!("{code:>2}  {meaning}");
            self.page.hanging(&mut self.text, 2, 6, &line);
        }
        self.line(0, "Over several streams: the highest.");
    }

    fn flag(&mut self, flag: &Flag) {
        let short = flag
            .short
            .map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
        let name = match flag.value {
            Some(value) => format!("  {short}--{} {value}", flag.long),
            None => format!("  {short}--{}", flag.long),
        };
        self.named(&name, flag.help);
    }

    /// A name, and what it means beside or, on a narrow page, below it.
    fn named(&mut self, name: &str, meaning: &str) {
        if self.page.width < WIDE {
            let _ = writeln!(self.text, "{name}");
            self.line(10, meaning);
        } else if HELP_AT + meaning.len() <= self.page.width {
            let _ = writeln!(self.text, "{name:<width$} {meaning}", width = HELP_AT - 1);
        } else {
            let mut told = String::new();
            self.page.paragraph(&mut told, HELP_AT, meaning);
            let _ = write!(self.text, "{name:<HELP_AT$}{}", told.trim_start());
        }
    }

    fn line(&mut self, indent: usize, sentence: &str) {
        let (gap, sentence) = match sentence.strip_prefix('\n') {
            Some(rest) => ("\n", rest),
            None => ("", sentence),
        };
        self.text.push_str(gap);
        self.page.paragraph(&mut self.text, indent, sentence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_help_that_fits_the_page() {
        for width in [60, 80, 120] {
            for verb in Verb::ALL.into_iter().map(Some).chain([None]) {
                let text = text(verb, Some(width));
                assert!(text.contains("--json") && text.contains("Exit codes:"));
                let is_command = |line: &str| line.starts_with("  jetsam ");
                for line in text.lines().filter(|line| !is_command(line)) {
                    assert!(line.chars().count() <= width, "{width}: {line}");
                }
            }
        }
    }

    #[test]
    fn a_verb_tells_its_own_flags_first_and_the_shared_by_name() {
        let cat = text(Some(Verb::Cat), Some(100));
        assert!(cat.contains("--subject FILTER"));
        assert!(!text(Some(Verb::Check), Some(100)).contains("--subject FILTER"));
        let own = cat.find("--subject FILTER").expect("its own");
        let shared = cat.find("--key-file").expect("a shared one");
        assert!(
            own < shared && !cat.contains("file with the server's JetStream key"),
            "{cat}"
        );
        assert!(cat.contains("\n  jetsam cat "), "an example");
    }

    #[test]
    fn the_overview_lists_every_verb_and_exit_code() {
        let text = text(None, Some(80));
        for verb in Verb::ALL {
            assert!(
                text.contains(&format!("\n  {:<14} ", verb.name())),
                "{}",
                verb.name()
            );
            assert!(!verb.examples().is_empty());
        }
        for code in [0, 1, 2, 4, 8, 16, 32] {
            assert!(text.contains(&format!("\n  {code:>2}  ")), "{code}");
        }
        assert!(text.contains("file with the server's JetStream key"));
    }
}
