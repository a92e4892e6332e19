//! A seeded life of a store, step by step on the engine and on the model.

use std::path::Path;
use std::sync::Arc;

use super::model::{ModelLimits, ModelMessage, ModelStream};
use crate::crypto::{Cipher, ServerKey};
use crate::env::memory::{MemoryFileSystem, SeededEntropy};
use crate::format::meta::StreamMeta;
use crate::living::Idle;
use crate::store::{Level, Rollup, Store, StoreOptions, Writer};
use crate::stream::options::Keys;
use crate::testing::Random;

/// Where the stream lies in the memory's file system.
pub const DIR: &str = "/data/ENGINE";
pub(super) const NAME: &str = "ENGINE";
/// The account in the derivation of keys.
pub const ACCOUNT: &str = "A";
const KEY: &str = "engine key";
const BEGINNING_NS: i64 = 1_767_225_600_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;
const SUBJECTS: [&str; 6] = ["e.a", "e.b", "e.c", "e.d.x", "e.d.y", "f"];
pub(super) const FILTERS: [&str; 6] = ["e.a", "e.*", "e.d.>", "f", ">", "e.>"];

/// What a store is like before anything is in it.
#[derive(Debug, Clone)]
pub struct EngineSetup {
    cipher: Option<Cipher>,
    compresses: bool,
    block_size: u64,
    limits: ModelLimits,
    /// What writes wait for.
    pub level: Level,
    /// Whether the store keeps two or three blocks in memory, not all.
    lets_go: bool,
}

impl EngineSetup {
    /// One by a seed.
    #[must_use]
    pub fn drawn(random: &mut Random) -> Self {
        let ciphers = [None, None, Some(Cipher::ChaCha), Some(Cipher::Aes)];
        let mut limits = ModelLimits::default();
        if random.chance(40) {
            limits.max_messages = 3 + random.below(20);
        }
        if random.chance(25) {
            limits.max_bytes = 300 + random.below(2000);
        }
        if random.chance(35) {
            limits.max_messages_per_subject = 1 + random.below(4);
        }
        if random.chance(30) {
            limits.max_age_ns = (5 + random.below(40) as i64) * SECOND_NS;
        }
        limits.refuses_new = random.chance(20);
        EngineSetup {
            cipher: random.pick(&ciphers).copied().flatten(),
            compresses: random.chance(40),
            block_size: 150 + random.below(900),
            limits,
            level: match random.chance(50) {
                true => Level::Written,
                false => Level::Synced,
            },
            lets_go: false,
        }
    }

    /// The configuration with these limits.
    #[must_use]
    pub fn config(&self, limits: &ModelLimits) -> StreamMeta {
        let text = self.config_text(limits);
        StreamMeta::parse(text.as_bytes()).unwrap_or_else(|error| unreachable!("{error}"))
    }

    pub(super) fn config_json(&self, limits: &ModelLimits) -> serde_json::Value {
        let text = self.config_text(limits);
        serde_json::from_str(&text).unwrap_or_else(|error| unreachable!("{error}"))
    }

    pub(super) fn block_size(&self) -> u64 {
        self.block_size
    }

    /// Cipher, by its name, and key.
    pub(super) fn key(&self) -> Option<(&'static str, &'static str)> {
        let name = match self.cipher? {
            Cipher::ChaCha => "chacha",
            Cipher::Aes => "aes",
        };
        Some((name, KEY))
    }

    fn config_text(&self, limits: &ModelLimits) -> String {
        format!(
            r#"{{"name":"{NAME}","subjects":["e.>","f"],"storage":"file","retention":"limits","max_msgs":{},"max_bytes":{},"max_msgs_per_subject":{},"max_age":{},"discard":"{}","compression":"{}","num_replicas":1,"max_consumers":-1,"allow_msg_ttl":true}}"#,
            limits.max_messages,
            limits.max_bytes,
            limits.max_messages_per_subject,
            limits.max_age_ns,
            if limits.refuses_new { "new" } else { "old" },
            if self.compresses { "s2" } else { "none" },
        )
    }

    pub(super) fn keys(&self) -> Keys {
        Keys {
            current: self.cipher.map(|_| ServerKey::new(KEY.as_bytes().to_vec())),
            previous: None,
            cipher: self.cipher,
        }
    }

    /// How the store is opened.
    #[must_use]
    pub fn options(&self, now_ns: i64) -> StoreOptions {
        let options = StoreOptions::new(self.config(&self.limits), now_ns);
        StoreOptions {
            cache_bytes: match self.lets_go {
                true => 2500,
                false => options.cache_bytes,
            },
            keys: self.keys(),
            account: Some(ACCOUNT.as_bytes().to_vec()),
            block_size: Some(self.block_size),
            level: self.level,
            threads: 1,
            ..options
        }
    }

    /// Opens the store that lies in `fs`.
    ///
    /// # Errors
    ///
    /// What kept it closed, in words.
    pub fn open(
        &self,
        fs: &MemoryFileSystem,
        now_ns: i64,
        seed: u64,
    ) -> Result<(Store, Writer), String> {
        self.open_as(fs, &self.options(now_ns), seed)
    }

    /// The same, though messages are lost by it: what a power cut leaves may have to be accepted.
    ///
    /// # Errors
    ///
    /// What kept it closed, in words.
    pub fn open_whatever_is_left(
        &self,
        fs: &MemoryFileSystem,
        now_ns: i64,
        seed: u64,
    ) -> Result<(Store, Writer), String> {
        let options = StoreOptions {
            accept_loss: true,
            ..self.options(now_ns)
        };
        self.open_as(fs, &options, seed)
    }

    fn open_as(
        &self,
        fs: &MemoryFileSystem,
        options: &StoreOptions,
        seed: u64,
    ) -> Result<(Store, Writer), String> {
        let store = Store::open(
            Arc::new(fs.clone()),
            Arc::new(SeededEntropy::new(seed)),
            &Idle::declared(),
            Path::new(DIR),
            options,
        )
        .map_err(|error| error.to_string())?;
        let writer = store.writer().ok_or("the writer is taken")?;
        Ok((store, writer))
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineStep {
    /// Appends.
    Append(ModelMessage),
    /// Removes these and appends those, all at once.
    Batch(Vec<u64>, Vec<ModelMessage>),
    /// Appends in the place of what its subject holds, or of everything.
    RollUp(ModelMessage, Rollup),
    /// Uses up sequences.
    Skip(u64),
    /// Removes one.
    Remove(u64),
    /// Removes one and wipes it.
    Erase(u64),
    /// Removes by subject.
    Purge(&'static str, u64, u64),
    /// Removes from the front.
    Compact(u64),
    /// Removes from the end.
    Truncate(u64),
    /// Other limits.
    Limits(ModelLimits),
    /// What is due goes.
    Maintain,
    /// Everything durable.
    Sync,
    /// Files in order.
    Tidy,
    /// Closes and opens.
    Reopen,
}

impl EngineStep {
    /// The step in a few words.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            EngineStep::Append(message) => {
                format!("append {} {}", message.subject, message.body.len())
            }
            EngineStep::RollUp(message, rollup) => {
                format!("roll up {rollup:?} {}", message.subject)
            }
            EngineStep::Batch(removed, appended) => {
                let subjects: Vec<&str> = appended.iter().map(|m| m.subject.as_str()).collect();
                format!("batch -{removed:?} +{subjects:?}")
            }
            other => format!("{other:?}"),
        }
    }
}

/// A life under way.
pub struct EngineScript {
    /// What the store is like.
    pub setup: EngineSetup,
    /// The draws.
    pub random: Random,
    /// The time, nanoseconds.
    pub now_ns: i64,
    /// What has to be there.
    pub model: ModelStream,
    /// Draws batches among the appends, in every other life: what a seed's life was before there were any stays.
    batches: Option<Random>,
}

impl EngineScript {
    /// The life of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Random::derived(seed, &[7]);
        let setup = EngineSetup {
            lets_go: seed % 3 == 1,
            ..EngineSetup::drawn(&mut random)
        };
        let model = ModelStream {
            limits: setup.limits,
            ..ModelStream::default()
        };
        EngineScript {
            setup,
            random,
            now_ns: BEGINNING_NS,
            model,
            batches: seed.is_multiple_of(2).then(|| Random::derived(seed, &[8])),
        }
    }

    fn some_seq(&mut self) -> u64 {
        let (first, last) = (self.model.first_seq(), self.model.last_seq);
        let from = first.saturating_sub(2);
        from + self.random.below(last + 3 - from.min(last))
    }

    fn some_message(&mut self) -> ModelMessage {
        let subject = self.random.pick(&SUBJECTS).copied().unwrap_or("f");
        let headers = match self.random.below(10) {
            0 => format!(
                "NATS/1.0\r\nNats-TTL: {}\r\n\r\n",
                1 + self.random.below(30)
            ),
            1 => "NATS/1.0\r\nNats-TTL: never\r\n\r\n".to_owned(),
            2 => "NATS/1.0\r\nA: b\r\n\r\n".to_owned(),
            _ => String::new(),
        };
        let length = match self.random.below(12) {
            0 => 0,
            1 => self.random.below(700),
            _ => self.random.below(60),
        };
        ModelMessage {
            subject: subject.to_owned(),
            headers: headers.into_bytes(),
            body: self.random.bytes(length as usize),
            timestamp_ns: self.now_ns,
        }
    }

    /// The next step, with the time moved on.
    pub fn draw(&mut self) -> EngineStep {
        self.now_ns += 1 + self.random.below(2 * SECOND_NS as u64) as i64;
        match self.random.below(100) {
            0..55 => self.append(),
            55..59 => EngineStep::Skip(1 + self.random.below(4)),
            59..70 => EngineStep::Remove(self.some_seq()),
            70..74 => EngineStep::Erase(self.some_seq()),
            74..79 => {
                let filter = self.random.pick(&FILTERS).copied().unwrap_or(">");
                let below = if self.random.chance(50) {
                    0
                } else {
                    self.some_seq()
                };
                let keep = if self.random.chance(50) {
                    0
                } else {
                    self.random.below(4)
                };
                EngineStep::Purge(filter, below, keep)
            }
            79..82 => EngineStep::Compact(self.some_seq()),
            82..84 => EngineStep::Truncate(self.some_seq()),
            84..86 => EngineStep::Limits(EngineSetup::drawn(&mut self.random).limits),
            86..90 => EngineStep::Maintain,
            90..94 => EngineStep::Sync,
            94..97 => EngineStep::Tidy,
            _ => EngineStep::Reopen,
        }
    }

    fn append(&mut self) -> EngineStep {
        let message = self.some_message();
        let Some(batches) = &mut self.batches else {
            return EngineStep::Append(message);
        };
        let drawn = batches.below(10);
        if self.model.limits.refuses_new {
            return EngineStep::Append(message);
        }
        match drawn {
            0..3 => {
                let mut appended = vec![message];
                while self.random.chance(60) {
                    appended.push(self.some_message());
                }
                let mut removed = Vec::new();
                while self.random.chance(50) {
                    removed.push(self.some_seq());
                }
                EngineStep::Batch(removed, appended)
            }
            3 => EngineStep::RollUp(message, Rollup::Subject),
            4 if self.random.chance(30) => EngineStep::RollUp(message, Rollup::All),
            _ => EngineStep::Append(message),
        }
    }

    /// What a batch makes of the model before limits drop what it drives out.
    #[must_use]
    pub fn committed(&self, step: &EngineStep) -> Option<ModelStream> {
        let EngineStep::Batch(removed, appended) = step else {
            return None;
        };
        let mut model = self.model.clone();
        model.commit(removed, appended);
        Some(model)
    }

    /// What a step makes of the model.
    #[must_use]
    pub fn after(&self, step: &EngineStep) -> ModelStream {
        let mut model = self.model.clone();
        match step {
            EngineStep::Append(message) => _ = model.append(message.clone()),
            EngineStep::Batch(removed, appended) => {
                model.commit(removed, appended);
                model.enforce_behind(appended);
            }
            EngineStep::RollUp(message, rollup) => {
                let same = |(seq, held): (&u64, &ModelMessage)| {
                    let goes = *rollup == Rollup::All || held.subject == message.subject;
                    goes.then_some(*seq)
                };
                let removed: Vec<u64> = model.messages.iter().filter_map(same).collect();
                let appended = std::slice::from_ref(message);
                model.commit(&removed, appended);
                model.enforce_behind(appended);
            }
            EngineStep::Skip(count) => model.last_seq += count,
            EngineStep::Remove(seq) | EngineStep::Erase(seq) => _ = model.messages.remove(seq),
            EngineStep::Purge(">", below, _) if *below > 1 => _ = model.compact(*below),
            EngineStep::Purge(_, 1, _) => {}
            EngineStep::Purge(filter, below, keep) => _ = model.purge(filter, *below, *keep),
            EngineStep::Compact(seq) => _ = model.compact(*seq),
            EngineStep::Truncate(seq) => {
                let range = model.first_seq()..=model.last_seq;
                if !model.messages.is_empty() && range.contains(seq) {
                    model.truncate(*seq);
                }
            }
            EngineStep::Limits(limits) => model.set_limits(*limits),
            EngineStep::Maintain => model.expire(self.now_ns),
            EngineStep::Reopen => model.expire_at_open(self.now_ns),
            EngineStep::Sync | EngineStep::Tidy => {}
        }
        model
    }
}
