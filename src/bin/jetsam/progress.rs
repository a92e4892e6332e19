//! A bar on stderr, once the work has taken long enough to be worth one.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::engine::{Phase, Progress};
use crate::units;

/// Shorter work shows nothing.
const QUIET_FOR: Duration = Duration::from_millis(500);
/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Not at all.
    Off,
    /// A moving bar.
    Bar,
    /// A line now and then.
    Lines,
}

impl Mode {
    /// A bar on a terminal; lines elsewhere, if asked for.
    pub fn choose(wish: Option<bool>) -> Mode {
        match (wish, std::io::stderr().is_terminal()) {
            (Some(false), _) | (None, false) => Mode::Off,
            (_, true) => Mode::Bar,
            (Some(true), false) => Mode::Lines,
        }
    }
}

/// Progress of one stream.
pub struct Meter {
    mode: Mode,
    label: String,
    started: Instant,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
}

impl Meter {
    /// Begins counting time.
    pub fn new(mode: Mode, label: &str) -> Self {
        Meter {
            mode,
            label: units::printable(label),
            started: Instant::now(),
            shown: Mutex::default(),
        }
    }

    /// Takes news from the library, from any thread.
    pub fn update(&self, progress: Progress) {
        if self.mode == Mode::Off || self.started.elapsed() < QUIET_FOR {
            return;
        }
        // Whoever holds the lock is drawing; this piece of news can be missed.
        let Ok(mut shown) = self.shown.try_lock() else {
            return;
        };
        let verb = match progress.phase {
            Phase::Scan => "reading",
            Phase::Verify => "verifying",
            Phase::Apply | Phase::Copy => "writing",
        };
        match self.mode {
            Mode::Off => {}
            Mode::Bar => {
                let bar = shown.bar.get_or_insert_with(bar);
                bar.set_length(progress.total);
                bar.set_message(format!("{verb} {}", self.label));
                bar.set_position(progress.done);
            }
            Mode::Lines => {
                if shown
                    .last_line
                    .is_none_or(|last| last.elapsed() >= LINE_EVERY)
                {
                    shown.last_line = Some(Instant::now());
                    let _ = writeln!(
                        std::io::stderr(),
                        "{verb} {}: {} of {} blocks",
                        self.label,
                        units::count(progress.done),
                        units::count(progress.total)
                    );
                }
            }
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Ok(shown) = self.shown.get_mut()
            && let Some(bar) = shown.bar.take()
        {
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "{msg} [{bar:30}] {human_pos}/{human_len} blocks {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_of_the_bar_is_sound() {
        let template = "{msg} [{bar:30}] {human_pos}/{human_len} blocks {eta}";
        assert!(ProgressStyle::with_template(template).is_ok());
    }

    #[test]
    fn short_work_shows_nothing() {
        let meter = Meter::new(Mode::Bar, "S");
        meter.update(Progress {
            phase: Phase::Scan,
            done: 1,
            total: 2,
        });
        assert!(meter.shown.lock().unwrap().bar.is_none());
    }
}
