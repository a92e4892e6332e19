//! A stream directory in the making.

use std::collections::{BTreeMap, BTreeSet};

use jetsam::crypto::{
    BlockCipher, Cipher, KeyFile, Nonce, Seed, ServerKey, block_context, consumer_context, seal,
    stream_context,
};
use jetsam::format::checksum::{HashKey, hex16};
use jetsam::format::compression::compress;
use jetsam::format::headers::{Present, present};
use jetsam::format::names::BlockFile;
use jetsam::format::seqset::SeqSet;
use jetsam::format::sources::{SourceEntry, SourcesFile};
use jetsam::format::state::{BlockEntry, StateFile, SubjectEntry, SubjectTable};
use jetsam::format::timers::{Expiry, ExpiryFile, Schedule, ScheduleFile};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::record::{Kind, Rec};

/// The account of every store.
pub const ACCOUNT: &str = "A";
/// The stream of every store.
pub const STREAM: &str = "S";
/// The server key of every encrypted store.
pub const KEY: &str = "sekret-fixture-key";

/// How a store is encrypted.
#[derive(Clone)]
pub struct Sealing {
    pub key: String,
    pub cipher: Cipher,
}

/// A stream directory: its files by path, and the records they were made of.
pub struct Store {
    pub config: Map<String, Value>,
    pub files: BTreeMap<String, Vec<u8>>,
    pub blocks: BTreeMap<u32, Vec<Rec>>,
    pub sealing: Option<Sealing>,
    /// Whether `meta.*` is encrypted too.
    pub meta_sealed: bool,
    pub compressed: bool,
}

impl Store {
    pub fn new() -> Self {
        let config = json!({
            "Created": "2025-12-31T00:00:00Z", "name": STREAM, "subjects": ["s.>"],
            "retention": "limits", "max_consumers": -1, "max_msgs": -1, "max_bytes": -1,
            "max_age": 0, "max_msgs_per_subject": -1, "discard": "old", "storage": "file",
            "num_replicas": 1,
        });
        let Value::Object(config) = config else {
            unreachable!("an object was written above")
        };
        Store {
            config,
            files: BTreeMap::new(),
            blocks: BTreeMap::new(),
            sealing: None,
            meta_sealed: true,
            compressed: false,
        }
    }

    /// Sets a field of the configuration.
    pub fn with(&mut self, name: &str, value: Value) -> &mut Self {
        self.config.insert(name.to_owned(), value);
        self
    }

    /// Encrypts what is written from here on.
    pub fn encrypt(&mut self, cipher: Cipher) -> &mut Self {
        self.encrypt_with(KEY, cipher)
    }

    /// The same, under another server key.
    pub fn encrypt_with(&mut self, key: &str, cipher: Cipher) -> &mut Self {
        self.sealing = Some(Sealing {
            key: key.to_owned(),
            cipher,
        });
        self
    }

    /// Compresses the blocks written from here on.
    pub fn compress(&mut self) -> &mut Self {
        self.compressed = true;
        self
    }

    /// Writes a block of records.
    pub fn block(&mut self, number: u32, records: Vec<Rec>) -> &mut Self {
        let content = self.content(number, &records);
        self.blocks.insert(number, records);
        self.put_block(number, &content)
    }

    /// The decoded content of a block of these records.
    pub fn content(&self, number: u32, records: &[Rec]) -> Vec<u8> {
        let key = HashKey::for_block(STREAM.as_bytes(), number);
        records
            .iter()
            .flat_map(|record| record.encode(&key))
            .collect()
    }

    /// Writes a block of any content.
    pub fn put_block(&mut self, number: u32, content: &[u8]) -> &mut Self {
        let mut bytes = Vec::new();
        if self.compressed {
            compress(content, &mut bytes).expect("eight bytes at least");
        } else {
            bytes.extend(content);
        }
        if let Some(sealing) = self.sealing.clone() {
            let context = block_context(STREAM.as_bytes(), number);
            let (seed, nonce) = self.put_key(&BlockFile::Key.path(number), &context, &sealing);
            BlockCipher::new(&seed, &nonce)
                .apply(&mut bytes, 0)
                .expect("a short block");
        }
        self.write(&BlockFile::Block.path(number), bytes)
    }

    /// Writes a key file; seed and nonce depend on its path alone.
    fn put_key(&mut self, path: &str, context: &[u8], sealing: &Sealing) -> (Seed, Nonce) {
        let (seed, nonce) = (seed_of(path), nonce_of(path, sealing.cipher));
        let kek = ServerKey::new(sealing.key.clone().into_bytes())
            .key_encryption_key(ACCOUNT.as_bytes(), context);
        self.write(path, KeyFile::seal(&seed, &nonce, &kek));
        (seed, nonce)
    }

    pub fn write(&mut self, path: &str, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.files.insert(path.to_owned(), bytes.into());
        self
    }

    pub fn remove(&mut self, path: &str) -> &mut Self {
        assert!(self.files.remove(path).is_some(), "no file {path}");
        self
    }

    pub fn file(&mut self, path: &str) -> &mut Vec<u8> {
        self.files
            .get_mut(path)
            .unwrap_or_else(|| panic!("no file {path}"))
    }

    /// Takes bytes off the end of a file.
    pub fn cut(&mut self, path: &str, bytes: usize) -> &mut Self {
        let file = self.file(path);
        file.truncate(file.len() - bytes);
        self
    }

    /// Flips bits at an offset.
    pub fn flip(&mut self, path: &str, offset: usize, mask: u8) -> &mut Self {
        self.file(path)[offset] ^= mask;
        self
    }

    pub fn append(&mut self, path: &str, bytes: &[u8]) -> &mut Self {
        self.file(path).extend(bytes);
        self
    }

    /// The offset of record `at` of a block written with [`Store::block`].
    pub fn offset(&self, number: u32, at: usize) -> usize {
        self.content(number, &self.blocks[&number][..at]).len()
    }

    /// The state file that goes with the blocks.
    pub fn state(&self) -> StateFile {
        let gone: BTreeSet<u64> = self
            .blocks
            .values()
            .flatten()
            .filter(|record| record.kind == Kind::Tombstone)
            .map(|record| record.seq)
            .collect();
        let mut subjects: BTreeMap<&str, (u64, u32, u32)> = BTreeMap::new();
        let mut blocks = Vec::new();
        for (number, records) in &self.blocks {
            blocks.push(self.entry(*number, records, &gone));
            for record in records {
                if record.kind == Kind::Message && !gone.contains(&record.seq) {
                    let entry = subjects
                        .entry(&record.subject)
                        .or_insert((0, *number, *number));
                    (entry.0, entry.2) = (entry.0 + 1, *number);
                }
            }
        }
        let mut table = SubjectTable::new();
        for (subject, (total, first_block, last_block)) in subjects {
            table.push(SubjectEntry {
                subject: subject.as_bytes(),
                total,
                first_block,
                last_block,
            });
        }
        let live = |entry: &&BlockEntry| entry.message_count() > 0;
        let first = blocks.iter().find(live).or(blocks.last());
        let last = blocks.iter().max_by_key(|entry| entry.last_sequence);
        let end = self.blocks.last_key_value();
        StateFile {
            version: 4,
            messages: blocks.iter().map(BlockEntry::message_count).sum(),
            bytes: blocks.iter().map(|entry| entry.bytes).sum(),
            first_sequence: first.map_or(0, |entry| entry.first_sequence),
            first_time_ns: first.map_or(0, |entry| entry.first_time_ns),
            last_sequence: last.map_or(0, |entry| entry.last_sequence),
            last_time_ns: last.map_or(0, |entry| entry.last_time_ns),
            subjects: table,
            last_block: end.map_or(0, |(number, _)| *number),
            last_record_hash: end
                .and_then(|(number, records)| self.content(*number, records).last_chunk().copied())
                .unwrap_or_default(),
            blocks,
        }
    }

    fn entry(&self, number: u32, records: &[Rec], gone: &BTreeSet<u64>) -> BlockEntry {
        let live: Vec<&Rec> = records
            .iter()
            .filter(|record| record.kind == Kind::Message && !gone.contains(&record.seq))
            .collect();
        let last = records
            .iter()
            .filter(|record| record.kind != Kind::Tombstone)
            .max_by_key(|record| record.seq)
            .or(records.iter().max_by_key(|record| record.seq));
        let (last_sequence, last_time_ns) =
            last.map_or((0, 0), |record| (record.seq, record.time_ns));
        let (first_sequence, first_time_ns) =
            live.first().map_or((last_sequence + 1, 0), |record| {
                (record.seq, record.time_ns)
            });
        let mut deleted = SeqSet::new();
        for seq in first_sequence..=last_sequence {
            if !live.iter().any(|record| record.seq == seq) {
                deleted.insert(seq);
            }
        }
        let has = |wanted: fn(Present) -> bool| {
            records
                .iter()
                .filter(|record| wanted(present(&record.headers)))
                .count() as u64
        };
        BlockEntry {
            number,
            bytes: live
                .iter()
                .map(|record| self.content(number, std::slice::from_ref(record)).len() as u64)
                .sum(),
            first_sequence,
            first_time_ns,
            last_sequence,
            last_time_ns,
            deleted_count: deleted.len(),
            ttl_count: has(|found| found.ttl),
            schedule_count: has(|found| found.schedule),
            deleted,
            deleted_declared_count: 0,
        }
    }

    /// Writes the state file that goes with the blocks.
    pub fn index(&mut self) -> &mut Self {
        self.index_with(|_| {})
    }

    /// The same, changed.
    pub fn index_with(&mut self, change: impl FnOnce(&mut StateFile)) -> &mut Self {
        let mut state = self.state();
        change(&mut state);
        let payload = state.encode(u64::MAX).expect("a state that can be written");
        self.index_payload(payload)
    }

    /// The same, its bytes changed before they are encrypted and hashed.
    pub fn index_bytes(&mut self, change: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let mut payload = self
            .state()
            .encode(u64::MAX)
            .expect("a state that can be written");
        change(&mut payload);
        self.index_payload(payload)
    }

    /// Writes a state file of any content.
    pub fn index_payload(&mut self, mut payload: Vec<u8>) -> &mut Self {
        if let Some(Sealing { cipher, .. }) = &self.sealing {
            let nonce = nonce_of("index.db", *cipher);
            payload = seal(&payload, &seed_of("meta.key"), &nonce).expect("a short file");
        }
        let hash = HashKey::for_stream(STREAM.as_bytes()).hash64(&[&payload]);
        payload.extend(hash.to_le_bytes());
        self.write("msgs/index.db", payload)
    }

    /// Writes `thw.db`: sequence and expiry.
    pub fn thw(&mut self, stamp: u64, entries: &[(u64, i64)]) -> &mut Self {
        let entries = entries
            .iter()
            .map(|&(sequence, expiry_ns)| Expiry {
                expiry_ns,
                sequence,
            })
            .collect();
        self.write("msgs/thw.db", ExpiryFile { stamp, entries }.encode())
    }

    /// Writes `sched.db`: subject, sequence and time.
    pub fn sched(&mut self, stamp: u64, entries: &[(&str, u64, i64)]) -> &mut Self {
        let entries = entries
            .iter()
            .map(|&(subject, sequence, next_ns)| Schedule {
                subject: subject.as_bytes().into(),
                next_ns,
                sequence,
            })
            .collect();
        self.write("msgs/sched.db", ScheduleFile { stamp, entries }.encode())
    }

    /// Writes `sources.db`: key, sequence and identity.
    pub fn sources(&mut self, stamp: u64, entries: &[(&str, u64, &str)]) -> &mut Self {
        let entries = entries
            .iter()
            .map(|&(key, sequence, identity)| {
                (
                    key.as_bytes().to_vec(),
                    SourceEntry {
                        sequence,
                        identity: identity.as_bytes().to_vec(),
                    },
                )
            })
            .collect();
        self.write("sources.db", SourcesFile { stamp, entries }.encode())
    }

    /// Writes a consumer, its state (the bytes of `o.dat`) included.
    pub fn consumer(&mut self, name: &str, state: &[u8]) -> &mut Self {
        let dir = format!("obs/{name}");
        let config = json!({
            "Created": "2025-12-31T00:00:00Z", "Name": name, "durable_name": name,
            "deliver_policy": "all", "ack_policy": "explicit", "replay_policy": "instant",
        });
        let (mut meta, mut state) = (config.to_string().into_bytes(), state.to_vec());
        if let Some(sealing) = self.sealing.clone() {
            let context = consumer_context(STREAM.as_bytes(), name.as_bytes());
            let (seed, _) = self.put_key(&format!("{dir}/meta.key"), &context, &sealing);
            for (what, bytes) in [("meta.inf", &mut meta), ("o.dat", &mut state)] {
                let nonce = nonce_of(&format!("{dir}/{what}"), sealing.cipher);
                *bytes = seal(bytes, &seed, &nonce).expect("a short file");
            }
        }
        let key = HashKey::for_consumer(STREAM.as_bytes(), name.as_bytes());
        let sum = hex16(key.hash64(&[&meta]));
        self.write(&format!("{dir}/meta.inf"), meta);
        self.write(&format!("{dir}/meta.sum"), sum)
            .write(&format!("{dir}/o.dat"), state)
    }

    /// The files, with `meta.inf` and `meta.sum` for what the case has not written itself.
    pub fn finish(mut self) -> BTreeMap<String, Vec<u8>> {
        let sum_of = |meta: &[u8]| {
            hex16(HashKey::for_stream(STREAM.as_bytes()).hash64(&[meta])).into_bytes()
        };
        if !self.files.contains_key("meta.inf") {
            let mut meta = Value::Object(self.config.clone()).to_string().into_bytes();
            if let Some(sealing) = self.sealing.clone().filter(|_| self.meta_sealed) {
                let (seed, _) =
                    self.put_key("meta.key", &stream_context(STREAM.as_bytes()), &sealing);
                meta = seal(&meta, &seed, &nonce_of("meta.inf", sealing.cipher))
                    .expect("a short file");
            }
            self.write("meta.inf", meta);
        }
        let sum = sum_of(self.file("meta.inf"));
        self.files.entry("meta.sum".to_owned()).or_insert(sum);
        self.files
    }
}

/// Bytes that depend on a label alone: fixtures want no randomness.
fn bytes_of(label: &str) -> [u8; 32] {
    Sha256::digest(label.as_bytes()).into()
}

fn seed_of(path: &str) -> Seed {
    Seed::new(bytes_of(&format!("seed of {path}")))
}

fn nonce_of(path: &str, cipher: Cipher) -> Nonce {
    let bytes = bytes_of(&format!("nonce of {path} for {cipher}"));
    Nonce::split_from(&bytes, cipher)
        .expect("32 bytes are enough")
        .0
}
