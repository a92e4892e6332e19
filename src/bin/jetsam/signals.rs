//! Interruption: at once while reading, after the stream at hand while writing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Exit code of an interrupted run.
pub const INTERRUPTED: u8 = 32;

/// Keeps an interruption from falling into the middle of a change.
///
/// The thread that handles signals ends the process while it holds the lock, so a change either
/// has not begun or will be finished.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    writing: Arc<Mutex<bool>>,
    interrupted: Arc<AtomicBool>,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before the first change to a stream; never returns once an interruption was
    /// acted upon.
    pub fn begin_writing(&self) {
        *self.lock() = true;
    }

    /// To be called when a stream is finished.
    pub fn end_writing(&self) {
        *self.lock() = false;
    }

    /// Whether to stop before the next stream.
    pub fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    /// Notes an interruption. Ends the process through `exit` unless a change is under way;
    /// returns whether one is.
    fn interrupt(&self, exit: impl FnOnce()) -> bool {
        self.interrupted.store(true, Ordering::SeqCst);
        let writing = self.lock();
        if !*writing {
            exit();
        }
        *writing
    }
}

/// Listens for SIGINT and SIGTERM for the rest of the run.
#[cfg(unix)]
pub fn listen(gate: &Gate) -> std::io::Result<()> {
    use std::io::Write;

    use signal_hook::consts::{SIGINT, SIGTERM};

    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let gate = gate.clone();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for _ in signals.forever() {
                let writing = gate.interrupt(|| {
                    let _ = writeln!(std::io::stderr(), "\njetsam: interrupted");
                    std::process::exit(i32::from(INTERRUPTED));
                });
                if writing {
                    let _ = writeln!(
                        std::io::stderr(),
                        "\njetsam: interrupted; finishing the stream at hand, nothing is left \
                         half done"
                    );
                }
            }
        })?;
    Ok(())
}

/// Without signals the system's own way of ending a program applies.
#[cfg(not(unix))]
pub fn listen(_gate: &Gate) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_while_reading_exits_at_once() {
        let gate = Gate::default();
        let mut exited = false;
        assert!(!gate.interrupt(|| exited = true));
        assert!(exited && gate.interrupted());
    }

    #[test]
    fn an_interruption_while_writing_only_leaves_word() {
        let gate = Gate::default();
        gate.begin_writing();
        let mut exited = false;
        assert!(gate.interrupt(|| exited = true));
        assert!(!exited && gate.interrupted());
        gate.end_writing();
        assert!(!gate.interrupt(|| exited = true));
        assert!(exited);
    }
}
