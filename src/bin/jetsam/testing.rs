//! Runs a command line against a stand-in engine, as the tests of every verb do.

use std::ffi::OsString;

use crate::args::{Invocation, parse};
use crate::console::{Console, Style};
use crate::progress::Mode;
use crate::resolve::{Surroundings, resolve};
use crate::session::{Session, Worker};
use crate::signals::Gate;
use crate::test_support::Fake;

/// What a run left behind.
pub struct Ran {
    /// Exit code.
    pub exit: u8,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs `line` without the program's name, where nothing names a width.
pub fn run(line: &str, fake: &Fake) -> Ran {
    run_at(None, line, fake)
}

/// The same on a terminal of `width` columns.
pub fn run_at(width: Option<usize>, line: &str, fake: &Fake) -> Ran {
    let args = line.split_whitespace().map(OsString::from);
    let Ok(Invocation::Work(raw)) = parse(args) else {
        panic!("{line:?} is no work")
    };
    let surroundings = Surroundings {
        variable: &|_| None,
        now_ns: 0,
    };
    let command = resolve(&raw, &surroundings).expect(line);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let gate = Gate::default();
    let mut session = Session {
        worker: Worker {
            engine: fake,
            gate: &gate,
            progress: Mode::Off,
        },
        console: Console {
            out: &mut out,
            err: &mut err,
            style: Style::PLAIN,
            width,
        },
    };
    let exit = crate::work(&mut session, &command).expect("writing to memory");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ran {
        exit,
        out: text(out),
        err: text(err),
    }
}
