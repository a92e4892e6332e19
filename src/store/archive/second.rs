//! Making a store of an archive of the second version, which holds messages instead of files.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::documents::{ArchivedState, parse_consumer};
use super::entries::{ArchiveEntry, CONSUMERS, Entries, STATE};
use super::error::{ArchiveFault, RestoreError};
use crate::env::{Entropy, FileSystem};
use crate::format::meta::StreamMeta;
use crate::living::Idle;
use crate::store::consumers::{Consumer, ConsumerPlace};
use crate::store::level::Level;
use crate::store::message::NewMessage;
use crate::store::open::{Store, StoreOptions};
use crate::store::writer::Writer;

/// What holds of a stream while its messages come: nothing that would have one go.
fn held(config: &StreamMeta) -> Result<StreamMeta, RestoreError> {
    let mut fields = Map::new();
    for name in ["name", "subjects", "compression"] {
        if let Some(value) = config.raw().get(name) {
            fields.insert(name.to_owned(), value.clone());
        }
    }
    fields.insert("storage".to_owned(), "file".into());
    StreamMeta::parse(Value::Object(fields).to_string().as_bytes())
        .map_err(|error| RestoreError::Config(error.to_string()))
}

/// Puts what comes into a store in `staged`, and leaves it there durable and closed.
pub(super) fn unpack(
    fs: Arc<dyn FileSystem>,
    entropy: Arc<dyn Entropy>,
    staged: &Path,
    account: Vec<u8>,
    entries: &mut Entries<'_, '_>,
    options: &StoreOptions,
) -> Result<(), RestoreError> {
    let first = entries.next()?.ok_or_else(no_state)?;
    if first.seq != 0 || first.name != STATE.as_bytes() {
        return Err(no_state().into());
    }
    let state = ArchivedState::parse(STATE, &first.body)?;
    let staging = StoreOptions {
        config: held(&options.config)?,
        level: Level::Buffered,
        account: Some(account.clone()),
        create: true,
        disk_margin_bytes: 0,
        ..options.clone()
    };
    // Nobody else knows of the directory.
    let idle = Idle::declared();
    let store = Store::open(fs.clone(), entropy.clone(), &idle, staged, &staging);
    let store = store.map_err(RestoreError::Open)?;
    let writer = store.writer().ok_or_else(no_state)?;
    let mut restoring = Restoring {
        writer,
        state,
        options,
        message_count: 0,
    };
    let place = ConsumerPlace {
        fs,
        entropy,
        stream_dir: staged,
        stream_name: options.config.name.as_bytes(),
        keys: options.keys.ring(&account),
    };
    let message = restoring.take_consumers(&place, entries)?;
    restoring.take_messages(message, entries)?;
    let mut writer = restoring.writer;
    // The time of creation is no part of such an archive.
    writer.update_config(&options.config)?;
    Ok(store.close(writer)?)
}

fn no_state() -> ArchiveFault {
    ArchiveFault::Meta {
        name: STATE.to_owned(),
        reason: "it does not come first".to_owned(),
    }
}

struct Restoring<'a> {
    writer: Writer,
    state: ArchivedState,
    options: &'a StoreOptions,
    message_count: u64,
}

impl Restoring<'_> {
    /// Takes the consumers that were announced; what comes behind them.
    fn take_consumers(
        &mut self,
        place: &ConsumerPlace<'_>,
        entries: &mut Entries<'_, '_>,
    ) -> Result<Option<ArchiveEntry>, RestoreError> {
        let mut known = BTreeSet::new();
        for _ in 0..self.state.consumer_count {
            let entry = entries.next()?.ok_or(ArchiveFault::Cut)?;
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            let consumer = name.strip_prefix(CONSUMERS).filter(|_| entry.seq == 0);
            let Some(consumer) = consumer.filter(|consumer| known.insert((*consumer).to_owned()))
            else {
                return Err(ArchiveFault::Order { name }.into());
            };
            let (meta, state) = parse_consumer(&name, &entry.body)?;
            let now_ns = self.options.now_ns;
            let mut restored = Consumer::open(place, consumer, Some(&meta), now_ns)?;
            restored.force_update(state)?;
            restored.close(Level::Synced, now_ns)?;
        }
        Ok(entries.next()?)
    }

    fn take_messages(
        &mut self,
        mut next: Option<ArchiveEntry>,
        entries: &mut Entries<'_, '_>,
    ) -> Result<(), RestoreError> {
        let first_seq = self.state.first_seq;
        if first_seq > 1 {
            self.writer.compact(first_seq).map_err(refused(first_seq))?;
        }
        let mut last_seq = first_seq.saturating_sub(1);
        while let Some(entry) = next {
            let seq = entry.seq;
            if seq <= last_seq || seq > self.state.last_seq {
                let offset = entries.offset();
                let reason = format!(
                    "it has sequence {seq} behind {last_seq}, and the last is {}",
                    self.state.last_seq
                );
                return Err(ArchiveFault::Entry { offset, reason }.into());
            }
            self.skip(last_seq, seq - 1)?;
            let message = NewMessage {
                subject: &entry.name,
                headers: &entry.headers,
                body: &entry.body,
            };
            let appended = self
                .writer
                .append_at(&message, Some(seq), entry.timestamp_ns);
            appended.map_err(refused(seq))?;
            self.message_count += 1;
            last_seq = seq;
            next = entries.next()?;
        }
        self.skip(last_seq, self.state.last_seq)?;
        let told = self.state.messages;
        if self.message_count < told && !self.options.accept_loss {
            let found = self.message_count;
            return Err(ArchiveFault::Short { told, found }.into());
        }
        Ok(())
    }

    /// Uses up the sequences behind `before`, up to `last`.
    fn skip(&mut self, before: u64, last: u64) -> Result<(), RestoreError> {
        let count = last.saturating_sub(before);
        if count > 0 {
            let now_ns = self.options.now_ns;
            let skipped = self.writer.skip_many(Some(before + 1), count, now_ns);
            skipped.map_err(refused(before + 1))?;
        }
        Ok(())
    }
}

/// Why a message cannot be stored.
fn refused<E: std::fmt::Display>(seq: u64) -> impl Fn(E) -> RestoreError {
    move |error| RestoreError::Message {
        seq,
        reason: error.to_string(),
    }
}
