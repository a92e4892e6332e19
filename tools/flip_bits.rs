//! Damages the blocks of a stream in place, the same way for the same seed.
//!
//! ```sh
//! cargo run --release --example flip_bits -- STREAM_DIR flips|overwrites|sectors COUNT [SEED]
//! ```
//!
//! `flips` flips single bits, `overwrites` writes 200 random bytes, `sectors` zeroes 4 KiB sectors. Places are drawn
//! over the bytes of all blocks, so that a longer block has more of them; two may fall together. Prints each as
//! `BLOCK OFFSET LENGTH`.

#![allow(
    clippy::disallowed_methods,
    reason = "a tool for the repository, it works on files"
)]

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use jetsam::testing::Random;

const OVERWRITE_LENGTH: u64 = 200;
const SECTOR_LENGTH: u64 = 4096;
const USAGE: &str = "usage: flip_bits STREAM_DIR flips|overwrites|sectors COUNT [SEED]";

#[derive(Clone, Copy)]
enum Kind {
    Flip,
    Overwrite,
    Sector,
}

struct Block {
    path: PathBuf,
    length: u64,
}

fn blocks(stream: &str) -> io::Result<Vec<Block>> {
    let mut blocks = Vec::new();
    for entry in fs::read_dir(PathBuf::from(stream).join("msgs"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|name| name == "blk") {
            let length = fs::metadata(&path)?.len();
            blocks.push(Block { path, length });
        }
    }
    // The order of a directory is not the same everywhere.
    blocks.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(blocks)
}

fn flip(block: &Block, at: u64, kind: Kind, random: &mut Random) -> io::Result<(u64, u64)> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&block.path)?;
    let (start, bytes) = match kind {
        Kind::Flip => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at)?;
            byte[0] ^= 1 << random.below(8);
            (at, byte.to_vec())
        }
        Kind::Overwrite => {
            let length = OVERWRITE_LENGTH.min(block.length - at);
            (at, random.bytes(length as usize))
        }
        Kind::Sector => {
            let start = at - at % SECTOR_LENGTH;
            let length = SECTOR_LENGTH.min(block.length - start);
            (start, vec![0; length as usize])
        }
    };
    file.write_all_at(&bytes, start)?;
    Ok((start, bytes.len() as u64))
}

fn run(stream: &str, kind: Kind, count: u64, seed: u64) -> io::Result<()> {
    let blocks = blocks(stream)?;
    let total: u64 = blocks.iter().map(|block| block.length).sum();
    let mut random = Random::new(seed);
    for _ in 0..count {
        let mut at = random.below(total);
        for block in &blocks {
            if at < block.length {
                let (start, length) = flip(block, at, kind, &mut random)?;
                println!("{} {start} {length}", block.path.display());
                break;
            }
            at -= block.length;
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [stream, kind, count, rest @ ..] = arguments.as_slice() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let kind = match kind.as_str() {
        "flips" => Kind::Flip,
        "overwrites" => Kind::Overwrite,
        "sectors" => Kind::Sector,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let seed = rest.first().map_or(Ok(1), |seed| seed.parse());
    let (Ok(count), Ok(seed)) = (count.parse(), seed) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(stream, kind, count, seed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flip_bits: {error}");
            ExitCode::FAILURE
        }
    }
}
