//! What the command line says.

use std::env;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use crate::driver::Side;

/// 2026-01-01.
const BASE_NS: u64 = 1_767_225_600_000_000_000;
/// 2100-01-01.
const AHEAD_NS: u64 = 4_102_444_800_000_000_000;

pub const USAGE: &str = "usage: ops_compare [--seeds A..B | --only SEED | --replay FILE] [--kill | --ended | --servers V=PATH] [--minutes N] [--keep DIR]
    [--left COMMAND] [--right COMMAND] [--scratch DIR] [--without OP,…] [--rekey] [--no-shrink] [--show N]

  --seeds A..B     the scripts of these seeds (0..200)
  --only SEED      one, each request told
  --replay FILE    a script that was kept
  --kill           instead: the left side is killed while it writes; both must find all it acknowledged
  --ended          instead: the engine's lives in memory are ended at calls to the disk, and both sides open what is left
  --servers V=PATH instead: a server of version V opens what the engine left, and the engine after it; may be given more than once
  --minutes N      no new seed after this time; without --seeds there is no other end
  --keep DIR       where scripts that disagree go (below the scratch directory)
  --left COMMAND   default: the engine's driver beside this program
  --right COMMAND  the reference; default: $CARGO_TARGET_DIR/oracle/oracle ops
  --without OP,…   scripts leave these operations out; also: consumers
  --rekey          keys and ciphers change between parts
  --show N         report at most N disagreements, then stop (1)";

/// A server to open what the engine left.
#[derive(Debug, Clone)]
pub struct Program {
    pub version: String,
    pub path: PathBuf,
}

pub struct Options {
    pub seeds: Range<u64>,
    pub only: Option<u64>,
    pub replay: Option<PathBuf>,
    pub kill: bool,
    pub ended: bool,
    pub servers: Vec<Program>,
    pub time: Option<Duration>,
    pub keep: PathBuf,
    pub left: Side,
    pub right: Side,
    pub scratch: PathBuf,
    pub shrink: bool,
    pub show: usize,
    pub without: Vec<String>,
    pub rekeys: bool,
}

fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

fn engine_driver() -> String {
    let beside = env::current_exe()
        .ok()
        .and_then(|path| path.parent().map(|dir| dir.join("ops")));
    beside
        .unwrap_or_else(|| target_dir().join("release/examples/ops"))
        .to_string_lossy()
        .into_owned()
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| {
        text.parse::<u64>()
            .map_err(|error| format!("{text}: {error}"))
    };
    match text.split_once("..") {
        Some((from, to)) => Ok(number(from)?..number(to)?),
        None => number(text).map(|seed| seed..seed + 1),
    }
}

fn program(text: &str) -> Result<Program, String> {
    let (version, path) = text
        .split_once('=')
        .ok_or_else(|| format!("{text} is not VERSION=PATH"))?;
    // It is started in a directory of its own.
    let path = std::fs::canonicalize(path).map_err(|error| format!("{path}: {error}"))?;
    Ok(Program {
        version: version.to_owned(),
        path,
    })
}

impl Options {
    /// When scripts begin. What a server opens by its own clock lies ahead of that clock, so that nothing in it is due.
    pub fn begins_ns(&self) -> u64 {
        if self.servers.is_empty() {
            BASE_NS
        } else {
            AHEAD_NS
        }
    }

    fn defaults() -> Self {
        // Memory, where there is such a place: half of the work is files.
        let memory = PathBuf::from("/dev/shm");
        let scratch = if memory.is_dir() {
            memory
        } else {
            env::temp_dir()
        };
        let scratch = scratch.join(format!("ops-{}", std::process::id()));
        let oracle = target_dir().join("oracle/oracle");
        Self {
            seeds: 0..200,
            only: None,
            replay: None,
            kill: false,
            ended: false,
            servers: Vec::new(),
            time: None,
            keep: PathBuf::new(),
            left: Side::new(&engine_driver()),
            right: Side::new(&format!("{} ops", oracle.display())),
            scratch,
            shrink: true,
            show: 1,
            without: Vec::new(),
            rekeys: false,
        }
    }

    pub fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = args;
        let mut options = Self::defaults();
        let mut bounded = false;
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--seeds" => {
                    options.seeds = seeds(&value()?)?;
                    bounded = true;
                }
                "--only" => {
                    options.seeds = seeds(&value()?)?;
                    options.only = Some(options.seeds.start);
                    bounded = true;
                }
                "--replay" => options.replay = Some(PathBuf::from(value()?)),
                "--kill" => options.kill = true,
                "--ended" => options.ended = true,
                "--servers" => options.servers.push(program(&value()?)?),
                "--minutes" => {
                    let minutes: f64 = value()?.parse().map_err(|error| format!("{error}"))?;
                    options.time = Some(Duration::from_secs_f64(minutes * 60.0));
                }
                "--keep" => options.keep = PathBuf::from(value()?),
                "--left" => options.left = Side::new(&value()?),
                "--right" => options.right = Side::new(&value()?),
                "--scratch" => options.scratch = PathBuf::from(value()?),
                "--without" => options.without = value()?.split(',').map(str::to_owned).collect(),
                "--rekey" => options.rekeys = true,
                "--no-shrink" => options.shrink = false,
                "--show" => options.show = value()?.parse().map_err(|error| format!("{error}"))?,
                _ => return Err(format!("unknown argument {arg}")),
            }
        }
        if options.rekeys && !options.servers.is_empty() {
            return Err("--rekey does not go with --servers: a server has one key".to_owned());
        }
        if options.time.is_some() && !bounded {
            options.seeds = 0..u64::MAX;
        }
        if options.keep.as_os_str().is_empty() {
            options.keep = env::temp_dir().join("ops-disagreements");
        }
        Ok(options)
    }
}
