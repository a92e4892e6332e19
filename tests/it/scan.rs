//! The salvage scan over blocks that servers wrote: undamaged it finds what the walk finds, and one flipped bit loses
//! nothing of a plain or encrypted block.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use jetsam::block::walk::{Known, walk};
use jetsam::crypto::{BlockCipher, KeyRing, OpenedKey, ServerKey, block_context};
use jetsam::format::checksum::HashKey;
use jetsam::format::compression::{self, Framing};
use jetsam::format::record::{RecordKind, RecordRef, Run};
use jetsam::format::subject;
use jetsam::salvage::scan::{
    Hints, RecordSink, Scratch, SubjectStanding, SubjectWitness, replay_block, scan_block,
};
use jetsam::salvage::{BlockFindings, Lifetimes};

use crate::support::{Fixture, KEY, golden};

struct Subjects(BTreeSet<Vec<u8>>);

impl SubjectWitness for Subjects {
    fn standing(&self, subject: &[u8]) -> SubjectStanding {
        if self.0.contains(subject) {
            SubjectStanding::Known
        } else if subject::is_valid(subject) {
            SubjectStanding::Possible
        } else {
            SubjectStanding::Impossible
        }
    }

    fn is_live(&self, _seq: u64) -> Option<bool> {
        Some(true)
    }
}

/// Sequence, time, and the bytes between, of every message.
#[derive(Default, PartialEq, Debug)]
struct Messages(Vec<(u64, i64, Vec<u8>, Vec<u8>)>);

impl RecordSink for Messages {
    fn record(&mut self, record: &RecordRef, content: &[u8]) {
        if record.kind() == RecordKind::Message {
            let parts = record
                .covered_parts(content)
                .expect("the record lies in its content");
            self.0.push((
                record.sequence(),
                record.timestamp_ns(),
                parts[1].to_vec(),
                parts[2].to_vec(),
            ));
        }
    }
}

struct Block {
    path: PathBuf,
    number: u32,
    bytes: Vec<u8>,
}

fn blocks(fixture: &Fixture) -> Vec<Block> {
    let msgs = fixture.dir.join("msgs");
    let mut found: Vec<Block> = fs::read_dir(&msgs)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let number: u32 = path
                .file_name()?
                .to_str()?
                .strip_suffix(".blk")?
                .parse()
                .ok()?;
            let mut bytes = fs::read(&path).ok()?;
            if let Ok(key) = fs::read(path.with_extension("key")) {
                let OpenedKey { seed, nonce, .. } = open_key(&key, fixture, number)?;
                BlockCipher::new(&seed, &nonce).apply(&mut bytes, 0).ok()?;
            }
            Some(Block {
                path,
                number,
                bytes,
            })
        })
        .collect();
    found.sort_by_key(|block| block.number);
    found
}

fn open_key(key: &[u8], fixture: &Fixture, number: u32) -> Option<OpenedKey> {
    let context = block_context(fixture.name.as_bytes(), number);
    let server = ServerKey::new(KEY.to_vec());
    let ring = KeyRing {
        current: Some(&server),
        previous: None,
        cipher: None,
        account: fixture.account.as_bytes(),
    };
    ring.open(key, &context).ok()
}

fn scan(
    block: &Block,
    bytes: &[u8],
    key: &HashKey,
    subjects: &Subjects,
    scratch: &mut Scratch,
) -> (BlockFindings, Messages) {
    let sequences: RangeInclusive<u64> = 0..=u64::MAX;
    let hints = Hints {
        number: block.number,
        hash_key: key,
        sequences: &sequences,
        subjects,
        work_limit: 64 << 20,
        lifetimes: Lifetimes::default(),
    };
    let find = scan_block(&mut bytes.to_vec(), &hints, scratch);
    let mut messages = Messages::default();
    replay_block(&mut bytes.to_vec(), key, &find, scratch, &mut messages);
    (find, messages)
}

fn same_as_walk(path: &Path, bytes: &[u8], key: &HashKey, find: &BlockFindings) {
    let mut content = Vec::new();
    if compression::decompress(bytes, &mut content).is_err() {
        return;
    }
    let walked = walk(&content, key, Known::default(), &mut Run::new(), &mut ());
    let place = path.display();
    assert_eq!(
        walked.fault.is_none(),
        find.is_whole(),
        "{place}: {:?}",
        find.gaps
    );
    if walked.fault.is_none() && walked.deleted.is_empty() {
        assert_eq!(find.messages.len(), walked.messages, "{place}");
        assert_eq!(find.message_bytes, walked.bytes, "{place}");
        assert_eq!(find.tombstones.len(), walked.tombstones.len(), "{place}");
        assert_eq!(find.backward_count, walked.backward_count, "{place}");
    }
}

#[test]
fn blocks_of_every_server_line_scan_as_they_walk_and_mend_every_flip() {
    let mut scratch = Scratch::default();
    let (mut scanned, mut flips) = (0, 0);
    for fixture in golden() {
        for block in blocks(&fixture) {
            let key = HashKey::for_block(fixture.name.as_bytes(), block.number);
            let none = Subjects(BTreeSet::new());
            let (find, messages) = scan(&block, &block.bytes, &key, &none, &mut scratch);
            same_as_walk(&block.path, &block.bytes, &key, &find);
            assert_eq!(messages.0.len() as u64, find.messages.len());
            scanned += 1;
            let is_plain = compression::detect(&block.bytes) == Ok(Framing::Plain);
            if !is_plain || !find.is_whole() || block.bytes.is_empty() {
                continue;
            }
            let subjects = Subjects(messages.0.iter().map(|m| m.2.clone()).collect());
            for step in 0..12_usize {
                let at = step
                    .wrapping_mul(0x9e37_79b9)
                    .wrapping_add(block.bytes.len() / 3)
                    % block.bytes.len();
                let mut damaged = block.bytes.clone();
                damaged[at] ^= 1 << (step % 8);
                let (find, again) = scan(&block, &damaged, &key, &subjects, &mut scratch);
                let place = format!("{} byte {at} bit {}", block.path.display(), step % 8);
                assert!(find.gaps.is_empty(), "{place}: {:?}", find.gaps);
                let is_settled = again == messages;
                assert!(is_settled || !find.uncertain.is_empty(), "{place}");
                assert_eq!(again.0.len(), messages.0.len(), "{place}");
                flips += 1;
            }
        }
    }
    assert!(
        scanned > 500 && flips > 2000,
        "{scanned} blocks, {flips} flips"
    );
}
