//! How far the cases of one store are, on stderr.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::progress::Mode;
use crate::units;

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

const TEMPLATE: &str = "{msg} [{bar:30}] {human_pos}/{human_len} cases {eta}";

/// Shows it.
pub struct Meter {
    label: String,
    total: u64,
    bar: Option<ProgressBar>,
    last_line: Option<Mutex<Instant>>,
}

impl Meter {
    /// Begins counting.
    pub fn new(mode: Mode, label: &str, total: u64) -> Self {
        let bar = (mode == Mode::Bar).then(|| {
            let target = ProgressDrawTarget::stderr();
            let bar = ProgressBar::with_draw_target(Some(total), target);
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style);
            }
            bar.set_message(label.to_owned());
            bar
        });
        Meter {
            label: label.to_owned(),
            total,
            bar,
            last_line: (mode == Mode::Lines).then(|| Mutex::new(Instant::now())),
        }
    }

    /// Takes news, from any thread.
    pub fn update(&self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
        // Whoever holds the lock is writing; this piece of news can be missed.
        if let Some(Ok(mut last)) = self.last_line.as_ref().map(Mutex::try_lock)
            && last.elapsed() >= LINE_EVERY
        {
            *last = Instant::now();
            let _ = writeln!(
                std::io::stderr(),
                "{}: {} of {} cases",
                self.label,
                units::count(done),
                units::count(self.total)
            );
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_of_the_bar_is_sound() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
