//! Messages and tombstones into blocks, by the server's rolling rule.

use std::fmt;

use super::super::random::derive;
use super::super::reference::Reference;
use super::{Access, AssetKeys, Part, STREAM, Workload, content, path};
use crate::block::builder::BlockBuilder;
use crate::block::rules::Fill;
use crate::crypto::block_context;
use crate::env::memory::MemoryFileSystem;
use crate::format::names::BlockFile;
use crate::format::record::NewRecord;
use crate::recovery::Message;

/// Why a store could not be written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkloadError {
    /// The format has no room for it.
    Format(String),
    /// What was written does not open: a bug here.
    Unsound(String),
}

impl fmt::Display for WorkloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(why) => write!(f, "the store cannot be written: {why}"),
            Self::Unsound(why) => write!(f, "the store that was written does not open: {why}"),
        }
    }
}

impl std::error::Error for WorkloadError {}

/// Writes every block and notes the messages.
pub fn write(
    workload: &Workload,
    access: &Access,
    files: &MemoryFileSystem,
    reference: &mut Reference,
) -> Result<(), WorkloadError> {
    let mut writer = Writer {
        workload,
        access,
        files,
        block: BlockBuilder::new(STREAM.as_bytes(), 1),
    };
    let mut removals = workload.random(Part::Removals, &[]);
    let messages = derive(workload.seed, &[Part::Messages as u64]);
    for seq in 1..=workload.messages {
        let mut random = super::Random::derived(messages, &[seq]);
        let content = content::message(seq, &mut random);
        let message = Message {
            seq,
            timestamp_ns: content.timestamp_ns,
            subject: &content.subject,
            headers: &content.headers,
            body: &content.body,
        };
        writer.append(&NewRecord::Message {
            sequence: seq,
            timestamp_ns: message.timestamp_ns,
            subject: message.subject,
            headers: message.headers,
            body: message.body,
        })?;
        reference.insert(&message);
        // The draws are the same whether the removal comes about or not, so that a shorter store stays a beginning of
        // a longer one.
        let (wanted, target) = (removals.below(1000), 1 + removals.below(seq));
        let removable = target < seq && reference.live().contains(target);
        if wanted < workload.removals_per_mille && removable {
            let mut random = super::Random::derived(messages, &[target]);
            writer.append(&NewRecord::Tombstone {
                sequence: target,
                timestamp_ns: content::message(target, &mut random).timestamp_ns,
            })?;
            reference.delete(target);
        }
    }
    writer.put(false)
}

struct Writer<'a> {
    workload: &'a Workload,
    access: &'a Access,
    files: &'a MemoryFileSystem,
    block: BlockBuilder,
}

impl Writer<'_> {
    fn append(&mut self, record: &NewRecord<'_>) -> Result<(), WorkloadError> {
        let raw_bytes = self.block.len();
        let length = self.push(record)?;
        let fill = Fill {
            raw_bytes,
            ..Fill::default()
        };
        if fill.is_full(length, self.workload.block_bytes()) {
            self.block.truncate(raw_bytes);
            self.put(true)?;
            let number = self.block.number() + 1;
            self.block.begin(STREAM.as_bytes(), number);
            self.push(record)?;
        }
        Ok(())
    }

    fn push(&mut self, record: &NewRecord<'_>) -> Result<u64, WorkloadError> {
        let length = self.block.push(record);
        length
            .map(|length| length as u64)
            .map_err(|fault| WorkloadError::Format(fault.to_string()))
    }

    /// Writes the block at hand, which others follow if it is `sealed`.
    fn put(&mut self, sealed: bool) -> Result<(), WorkloadError> {
        let number = self.block.number();
        let context = block_context(STREAM.as_bytes(), number);
        let parts = [2, u64::from(number)];
        let keys: Option<AssetKeys> = self.workload.asset_keys(self.access, &context, &parts);
        let cipher = keys.as_ref().map(AssetKeys::block_cipher);
        let compressed = sealed && self.workload.kind.is_compressed();
        let bytes = self
            .block
            .file(compressed, cipher.as_ref())
            .map_err(|fault| WorkloadError::Format(fault.to_string()))?;
        if let Some(keys) = keys {
            self.files
                .seed_file(path(&BlockFile::Key.path(number)), keys.file);
        }
        self.files
            .seed_file(path(&BlockFile::Block.path(number)), bytes);
        Ok(())
    }
}
