//! What tombstones, limits and age take away comes out the same at once as step by step, whatever the blocks lose: a few
//! messages, most of them, or all.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jetsam::block::builder::BlockBuilder;
use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::format::compression::compress;
use jetsam::format::record::NewRecord;
use jetsam::format::state::StateFile;
use jetsam::recovery::RecoverOptions;
use jetsam::report::events::EventCode;
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;
use jetsam::stream::writer::{Sealing, StoreWriter};

use crate::made::{KEY, Made, every_kind, server, time};
use crate::recover::{mend, snapshot};
use crate::support::{copy_tree, everything, look};

/// Numbers that a seed stands for.
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.throw() % bound.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What is put into a block: a message, or a tombstone.
enum Put {
    Message(u64),
    Tombstone(u64),
}

/// Blocks, some of whose messages have tombstones: soon behind them, or at the end.
fn plan(dice: &mut Dice) -> Vec<Vec<Put>> {
    let mut blocks: Vec<Vec<Put>> = Vec::new();
    let (mut seq, mut late) = (dice.below(3), Vec::new());
    for _ in 0..2 + dice.below(4) {
        let share = [0, 0, 10, 34, 60, 97, 100, 100][dice.below(8) as usize];
        let is_late = dice.chance(50);
        let mut block = Vec::new();
        let mut gone = Vec::new();
        for _ in 0..1 + dice.below(48) {
            seq += 1 + u64::from(dice.chance(8)) * dice.below(4);
            block.push(Put::Message(seq));
            if dice.chance(share) {
                gone.push(seq);
            }
            if !is_late && dice.chance(20) {
                block.extend(gone.drain(..).map(Put::Tombstone));
            }
        }
        match dice.chance(70) {
            true => late.extend(gone),
            false => block.extend(gone.into_iter().map(Put::Tombstone)),
        }
        blocks.push(block);
    }
    for at in (1..late.len()).rev() {
        late.swap(at, dice.below(at as u64 + 1) as usize);
    }
    let late = late.into_iter().map(Put::Tombstone);
    match blocks.last_mut().filter(|_| dice.chance(40)) {
        Some(last) => last.extend(late),
        None => blocks.push(late.collect()),
    }
    blocks
}

fn encode(number: u32, puts: &[Put], body_length: usize, dice: &mut Dice) -> Vec<u8> {
    let mut block = BlockBuilder::new(b"S", number);
    let body = vec![b'b'; body_length];
    for put in puts {
        let subject;
        let record = match put {
            Put::Tombstone(sequence) => NewRecord::Tombstone {
                sequence: *sequence,
                timestamp_ns: time(*sequence),
            },
            Put::Message(sequence) => {
                subject = match dice.below(6) {
                    0 => format!("s.{sequence}.{}", "long".repeat(9)),
                    few => format!("s.{few}"),
                };
                NewRecord::Message {
                    sequence: *sequence,
                    timestamp_ns: time(*sequence),
                    subject: subject.as_bytes(),
                    headers: match dice.below(10) {
                        0..3 => b"NATS/1.0\r\nNats-TTL: 900000h\r\n\r\n",
                        3 => b"NATS/1.0\r\nNats-Schedule: @at 2090-01-02T03:04:05Z\r\n\r\n",
                        4 => b"NATS/1.0\r\nA: b\r\n\r\n",
                        _ => b"",
                    },
                    body: body
                        .get(..dice.below(body_length as u64) as usize)
                        .unwrap_or_default(),
                }
            }
        };
        block.push(&record).expect("a record");
    }
    block.into_content()
}

fn make(dir: &Path, made: Made, dice: &mut Dice) -> StreamDir {
    let server = server(KEY);
    let sealing = match made.sealed {
        Some(cipher) => Sealing::Key {
            server: &server,
            cipher,
        },
        None => Sealing::Plain,
    };
    let writer =
        StoreWriter::create(&OsFileSystem, dir, b"S", b"A", sealing, &OsEntropy).expect("a store");
    let limit = |asked: bool, least: u64, dice: &mut Dice| match asked {
        true => (least + dice.below(least * 40)) as i64,
        false => -1,
    };
    let kind = dice.below(6);
    let json = format!(
        "{{\"name\":\"S\",\"subjects\":[\"s.>\"],\"retention\":\"limits\",\"max_consumers\":-1,\"max_msgs\":{},\
         \"max_bytes\":{},\"discard\":\"old\",\"max_age\":{},\"max_msgs_per_subject\":{},\"storage\":\"file\",\
         \"num_replicas\":1,\"allow_msg_ttl\":{},\"allow_msg_schedules\":{},\"Created\":\"2026-01-02T03:04:05.678Z\"}}",
        limit(kind == 1, 2, dice),
        limit(kind == 2, 900, dice),
        if kind == 3 { 1_000_000_000 } else { 0 },
        limit(kind == 4, 1, dice),
        dice.chance(70),
        dice.chance(30),
    );
    writer.meta(json.as_bytes()).expect("metadata");
    let body_length = if dice.chance(40) { 190_000 } else { 300 };
    for (number, puts) in (1..).zip(plan(dice)) {
        let mut content = encode(number, &puts, body_length, dice);
        if made.compressed && dice.chance(80) {
            let mut packed = Vec::new();
            if compress(&content, &mut packed).is_ok() {
                content = packed;
            }
        }
        writer.block(number, &mut content).expect("a block");
    }
    writer.finish().expect("a durable store");
    StreamDir {
        account: Some("A".into()),
        name: "S".into(),
        dir: dir.to_owned(),
    }
}

/// Everything a recovery leaves, but for the order of subjects in the index and what it says of removed messages, which
/// depends on when a block was read last.
fn left(stream: &StreamDir, options: &Options) -> BTreeMap<String, String> {
    let what = RecoverOptions {
        accept_loss: true,
        accept_expiry: true,
        undo: false,
    };
    mend(stream, options, &what);
    let mut left = BTreeMap::new();
    for (name, (bytes, _)) in snapshot(&stream.dir) {
        let text = match name.as_str() {
            "msgs/index.db" => {
                let payload = bytes.get(..bytes.len() - 8).expect("a hash behind it");
                let mut state = StateFile::decode(payload).expect("an index");
                let mut subjects: Vec<_> = state.subjects.iter().collect();
                subjects.sort_by_key(|entry| entry.subject);
                let subjects = format!("{subjects:?}");
                state.subjects = std::iter::empty().collect();
                for block in &mut state.blocks {
                    (block.ttl_count, block.schedule_count) = (0, 0);
                }
                format!("{subjects} {state:?}")
            }
            _ => format!("{bytes:?}"),
        };
        left.insert(name, text);
    }
    left
}

#[test]
fn what_goes_at_once_is_what_goes_step_by_step() {
    let (mut rewritten, mut emptied, mut at_once) = (0, 0, 0);
    let kinds: Vec<Made> = every_kind().collect();
    for (seed, made) in (0..60).zip(kinds.into_iter().cycle()) {
        let mut dice = Dice(seed);
        let temp = tempfile::tempdir().expect("a temporary directory");
        let stream = make(&temp.path().join("A/streams/S"), made, &mut dice);
        let mut options = everything(time(dice.below(200)) + 1_000_000_000);
        options.keys.current = made.sealed.map(|_| server(KEY));
        options.careful = true;
        let carefully = look(&stream, &options);
        let codes = |code| carefully.events.iter().filter(|e| e.code == code).count();
        at_once += codes(EventCode::TombstoneApplied);
        for action in &carefully.actions {
            let kind = format!("{:?}", action.kind);
            rewritten += usize::from(kind == "RewriteBlock");
            emptied += usize::from(kind == "RemoveBlock");
        }
        options.careful = false;
        for threads in [1, 2, 8] {
            options.threads = threads;
            let found = look(&stream, &options);
            assert_eq!(found, carefully, "seed {seed}, {threads} threads, {made:?}");
        }
        if made.sealed.is_some() {
            // What is written under a fresh key has no fixed bytes.
            continue;
        }
        let copy = StreamDir {
            dir: temp.path().join("copy"),
            ..stream.clone()
        };
        copy_tree(&stream.dir, &copy.dir);
        fs::create_dir_all(copy.dir.join("obs")).expect("a directory");
        fs::create_dir_all(stream.dir.join("obs")).expect("a directory");
        let found = left(&stream, &options);
        options.careful = true;
        let expected = left(&copy, &options);
        for (name, text) in &expected {
            assert!(
                found.get(name) == Some(text),
                "seed {seed}: {name} differs, {made:?}"
            );
        }
        assert_eq!(found.len(), expected.len(), "seed {seed}");
    }
    assert!(
        rewritten > 5 && emptied > 5 && at_once > 30,
        "{rewritten} rewritten, {emptied} emptied, {at_once} with tombstones"
    );
}
