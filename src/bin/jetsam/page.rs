//! How much is told, and how wide a line may be.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;

use crate::console::Style;

/// No line is laid out narrower than this.
const WIDTH_MIN: usize = 60;
/// The width where neither a terminal nor `COLUMNS` names one.
const WIDTH_USUAL: usize = 120;
/// Running text is hard to read in wider lines.
const TEXT_WIDTH_MAX: usize = 96;
/// More streams with nothing to say than this become one line.
const FOLDED_ABOVE: usize = 10;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Show {
    /// Every stream has its row.
    pub all: bool,
    /// What is ordinary is told too.
    pub verbose: bool,
    /// The verdict alone.
    pub quiet: bool,
}

/// Where text is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Columns of a line.
    pub width: usize,
    /// Whether somebody named that width. Nobody did where the text goes into a file or another program, for which the
    /// verdict had better stay one line.
    pub is_given: bool,
    /// Colour.
    pub style: Style,
    /// How much is told.
    pub show: Show,
}

impl Page {
    /// For what was asked, on a terminal of `width`.
    pub fn new(width: Option<usize>, style: Style, show: Show) -> Page {
        Page {
            width: width.unwrap_or(WIDTH_USUAL),
            is_given: width.is_some(),
            style,
            show,
        }
    }

    /// The verdict: one line, or as many as the width makes of it.
    pub fn verdict(&self, sentence: &str) -> String {
        if !self.is_given {
            return sentence.to_owned();
        }
        let mut text = String::new();
        self.broken(&mut text, (0, 0), sentence, self.width);
        text.trim_end().to_owned()
    }

    /// A sentence in lines that begin with `indent` blanks.
    pub fn paragraph(&self, text: &mut String, indent: usize, sentence: &str) {
        self.hanging(text, indent, indent, sentence);
    }

    /// A sentence whose first line begins with `first` blanks and all others with `rest`.
    pub fn hanging(&self, text: &mut String, first: usize, rest: usize, sentence: &str) {
        self.broken(
            text,
            (first, rest),
            sentence,
            self.width.min(TEXT_WIDTH_MAX),
        );
    }

    fn broken(&self, text: &mut String, indents: (usize, usize), sentence: &str, width: usize) {
        let (first, rest) = indents;
        let mut line = " ".repeat(first);
        let mut fresh = true;
        for word in sentence.split(' ') {
            let wider = console::measure_text_width(&line) + 1 + console::measure_text_width(word);
            if !fresh && wider > width {
                let _ = writeln!(text, "{line}");
                line = " ".repeat(rest);
                fresh = true;
            }
            if !fresh {
                line.push(' ');
            }
            line.push_str(word);
            fresh = false;
        }
        let _ = writeln!(text, "{line}");
    }

    /// A sentence in lines that all begin with `prefix`.
    pub fn prefixed(&self, text: &mut String, prefix: &str, sentence: &str) {
        let mut lines = String::new();
        let width = self.width.min(TEXT_WIDTH_MAX).saturating_sub(prefix.len());
        self.broken(&mut lines, (0, 0), sentence, width);
        for line in lines.lines() {
            let _ = writeln!(text, "{prefix}{line}");
        }
    }

    /// Splits off those with nothing to say, where they are too many to list.
    pub fn fold<'r, R>(&self, all: &'r [R], silent: impl Fn(&R) -> bool) -> Folded<'r, R> {
        let (folded, shown): (Vec<_>, Vec<_>) = all.iter().partition(|one| silent(one));
        if self.show.all || folded.len() <= FOLDED_ABOVE {
            return Folded {
                shown: all.iter().collect(),
                folded: Vec::new(),
            };
        }
        Folded { shown, folded }
    }
}

/// Which streams have a row, and which share one line.
pub struct Folded<'r, R> {
    /// Those with a row.
    pub shown: Vec<&'r R>,
    /// Those without.
    pub folded: Vec<&'r R>,
}

/// The width of the terminal behind stdout, or what `COLUMNS` says.
pub fn width(variable: &dyn Fn(&OsStr) -> Option<OsString>) -> Option<usize> {
    let asked = variable(OsStr::new("COLUMNS"))
        .and_then(|columns| columns.to_str()?.parse::<usize>().ok())
        .filter(|columns| *columns > 0);
    let terminal = || {
        let (_rows, columns) = console::Term::stdout().size_checked()?;
        Some(usize::from(columns))
    };
    Some(asked.or_else(terminal)?.max(WIDTH_MIN))
}

#[cfg(test)]
pub fn plain(width: usize) -> Page {
    Page::new(Some(width), Style::PLAIN, Show::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_decide_and_sixty_is_the_least() {
        let with = |columns: &str| width(&|name| (name == "COLUMNS").then(|| columns.into()));
        assert_eq!((with("80"), with("20")), (Some(80), Some(60)));
        // Not a number, or none: the terminal's width, or the usual one.
        assert!(with("wide").is_none_or(|columns| columns >= 60));
        assert!(Page::new(None, Style::PLAIN, Show::default()).width >= 60);
    }

    #[test]
    fn lines_break_between_words() {
        let mut text = String::new();
        plain(60).hanging(&mut text, 2, 4, "word ".repeat(20).trim_end());
        assert!(text.lines().count() > 1);
        assert!(text.lines().all(|line| line.chars().count() <= 60));
        assert!(text.starts_with("  word") && text.contains("\n    word"));
    }

    #[test]
    fn a_verdict_stays_one_line_where_no_width_is_known() {
        let sentence = "word ".repeat(60);
        let piped = Page::new(None, Style::PLAIN, Show::default());
        assert_eq!(piped.verdict(&sentence).lines().count(), 1);
        let lines = plain(60).verdict(&sentence);
        assert!(lines.lines().all(|line| line.len() <= 60) && lines.lines().count() > 1);
    }

    #[test]
    fn ten_are_listed_and_eleven_are_folded() {
        let page = plain(80);
        let few = [1; 10];
        let many = [1; 11];
        assert_eq!(page.fold(&few, |_| true).shown.len(), 10);
        let folded = page.fold(&many, |_| true);
        assert_eq!((folded.shown.len(), folded.folded.len()), (0, 11));
        let all = Page {
            show: Show {
                all: true,
                ..Show::default()
            },
            ..page
        };
        assert_eq!(all.fold(&many, |_| true).shown.len(), 11);
    }
}
