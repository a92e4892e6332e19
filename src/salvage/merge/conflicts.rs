//! What a merge does not keep: messages that contradict each other, and the gaps of the copies.

use super::super::copy::source_blocks;
use super::super::error::SalvageError;
use super::super::message_cursor::KeptMessage;
use super::super::quarantine::{self, EntryKind, QuarantineEntry};
use super::super::sets::remove_all;
use super::Copy;
use super::rules::Union;
use crate::crypto::{NewKey, block_context};
use crate::env::{Entropy, IoError, ReadFiles};
use crate::format::seqset::SeqSet;
use crate::report::events::{Event, EventCode};
use crate::stream::writer::Sealing;

/// Conflicts told one by one.
const CONFLICTS_TOLD_MAX: u64 = 1000;

/// Where messages in conflict go.
pub(super) struct Aside<'a> {
    pub(super) writer: quarantine::Writer<'a>,
    pub(super) sealing: Sealing<'a>,
    pub(super) entropy: &'a dyn Entropy,
    pub(super) name: &'a [u8],
    pub(super) account: &'a [u8],
    pub(super) events: Vec<Event>,
    pub(super) conflicts: SeqSet,
}

impl Aside<'_> {
    /// Puts aside messages that contradict each other.
    pub(super) fn conflict(&mut self, voices: &[&KeptMessage<'_>]) -> Result<(), SalvageError> {
        let Some(first) = voices.first() else {
            return Ok(());
        };
        self.conflicts.insert(first.seq);
        if self.conflicts.len() <= CONFLICTS_TOLD_MAX {
            let times: Vec<String> = voices
                .iter()
                .map(|voice| {
                    format!(
                        "{:?} of {} ns with {} bytes",
                        String::from_utf8_lossy(voice.subject),
                        voice.timestamp_ns,
                        voice.body.len()
                    )
                })
                .collect();
            let event = Event::new(EventCode::MergeConflict, times.join("; "));
            self.events.push(event.seq(first.seq));
        }
        for voice in voices {
            let mut bytes = voice.record.to_vec();
            let key = self.seal(voice.number, &mut bytes)?;
            self.writer.push(&QuarantineEntry {
                kind: EntryKind::Conflict,
                compressed: false,
                shares: false,
                number: voice.number,
                offset: 0,
                length: bytes.len() as u64,
                file_offset: 0,
                before: Some(voice.seq),
                after: Some(voice.seq),
                reason: "another copy holds a different message under this sequence".to_owned(),
                key,
                key_offset: 0,
                bytes,
            })?;
        }
        Ok(())
    }

    /// Encrypts under a key of its own, where the new store is encrypted; returns the key file.
    fn seal(&self, number: u32, bytes: &mut [u8]) -> Result<Vec<u8>, IoError> {
        let Sealing::Key { server, cipher } = self.sealing else {
            return Ok(Vec::new());
        };
        let key = NewKey::draw(cipher, |buffer| self.entropy.fill(buffer))?;
        // A record is far shorter than any keystream.
        let _ = key.block_cipher().apply(bytes, 0);
        let context = block_context(self.name, number);
        Ok(key.key_file(server, self.account, &context))
    }

    /// Puts the gaps of all copies aside; returns how many entries the quarantine file has.
    pub(super) fn finish(
        self,
        fs: &dyn ReadFiles,
        copies: &[Copy],
        union: &Union,
    ) -> Result<u64, SalvageError> {
        let Aside {
            mut writer,
            sealing,
            ..
        } = self;
        for copy in copies {
            let keys = &copy.options.keys;
            let server = match sealing {
                Sealing::Key { server, .. } => Some(server),
                Sealing::Plain => keys.current.as_ref().or(keys.previous.as_ref()),
            };
            let blocks = source_blocks(fs, &copy.found, keys);
            quarantine::put_aside_into(&blocks, &copy.found, server, &mut writer)?;
        }
        let mut gone = quarantine::Gone {
            seqs: union.deleted.clone(),
            all_up_to: None,
        };
        for copy in copies {
            let own = quarantine::known_gone(&copy.found);
            gone.seqs.union_with(&own.seqs);
            gone.all_up_to = gone.all_up_to.max(own.all_up_to);
        }
        for there in [&union.kept, &union.lost] {
            remove_all(&mut gone.seqs, there);
        }
        writer.finish(&gone)
    }
}
