//! The scan of a block that is read whole: compressed, damaged, to be encrypted anew, or with a legacy index beside it.

use super::super::fault::Cause;
use super::super::server::Quirk;
use super::super::simulate::{KeyVerdict, SimBlock, convert_check};
use super::scanner::{BlockScanner, BlockSink};
use super::{LegacyVerdict, ScanFault, ScanRules, ScannedBlock};
use crate::block::content::{self, decode};
use crate::block::slots;
use crate::block::walk::{Known, WalkRules, Walked, walk};
use crate::crypto::BlockCipher;
use crate::env::Mapping;
use crate::format::checksum::HashKey;
use crate::format::compression::{self, Framing};
use crate::format::legacy;
use crate::format::legacy::idx::IdxOutcome;
use crate::format::names::BlockFile;
use crate::state::{BlockState, SeqTime};
use crate::stream::files::FileFault;

/// The byte behind the mark of a compressed block: 0 for none, 1 for S2.
const S2: u8 = 1;

/// A block's bytes, in a mapping or in the scanner's buffer, and its key.
struct FoundRecords {
    mapping: Option<Mapping>,
    key: KeyVerdict,
    decoded: Result<content::Decoded, content::ContentFault>,
    tail: [u8; 8],
    file_length: u64,
}

impl BlockScanner<'_> {
    pub(super) fn scan_whole(&mut self, number: u32) -> Result<ScannedBlock, ScanFault> {
        let FoundRecords {
            mapping,
            key,
            decoded,
            tail,
            file_length,
        } = self.find(number)?;
        let key_created = matches!(key, KeyVerdict::Absent);
        let failed = |cause| ScanFault { cause, key_created };
        let bytes = mapping.as_deref().unwrap_or(&self.file);
        let hash_key = HashKey::for_block(self.rules.keys.stream, number);
        let encrypt_anew = match &key {
            KeyVerdict::Absent => Some(true),
            KeyVerdict::Opened(opened) if opened.converting => Some(false),
            _ => None,
        };
        // The check walks the block once; its outcome is what the walk proper starts from.
        let mut converted = SimBlock::default();
        // One that was put under its key while the index was held against it lies there as any other.
        if encrypt_anew.is_some() && self.rules.converted != Some(number) {
            decoded.clone().map_err(|fault| failed(fault.into()))?;
            convert_check(&mut converted, bytes, &hash_key).map_err(failed)?;
        }
        let legacy = self.read_legacy(number, &key, file_length, tail);
        let accepted = legacy.as_ref().is_some_and(|legacy| legacy.accepted);
        let tracked = self.rules.tracked && !accepted;
        let compressed = match decoded {
            Ok(decoded) => decoded.compressed,
            // A block its legacy index stands for is read only for its subjects.
            Err(_) if accepted && !self.rules.tracked => true,
            Err(fault) => return Err(failed(fault.into())),
        };
        let known = legacy
            .as_ref()
            .filter(|legacy| !legacy.accepted)
            .map_or_else(|| known_of(&converted), |legacy| known_of(&legacy.state));
        let known = Known {
            rules: self.rules.server.walk_rules(),
            ..known
        };
        let counting = tracked.then_some(&mut self.subjects);
        let mut sink = BlockSink::new(number, counting, &mut self.lookback, self.rules.wish);
        let walked = walk(bytes, &hash_key, known, &mut self.run, &mut sink);
        let (scan, bad_headers) = sink.notes.finish();
        let mut block = ScannedBlock {
            key,
            encrypt_anew,
            walked,
            legacy,
            file_length,
            content_length: bytes.len() as u64,
            compressed,
            ttl_count: scan.ttl_count,
            schedule_count: scan.schedule_count,
            bad_headers,
            misaligned: accepted,
            scan: None,
            reads_differ: None,
        };
        if !accepted {
            let empty_counts = self.rules.server.has(Quirk::EmptyTimersCounted);
            check_alignment(bytes, &mut block, empty_counts);
        }
        if !tracked || block.misaligned || block.walked.messages == 0 {
            self.subjects.take_back();
        }
        if !self.rules.careful && self.says_all(&block) {
            block.scan = Some(scan);
        }
        Ok(block)
    }

    /// Whether the block is plainly sound, so that what the walk told of its messages is what any later look would.
    fn says_all(&self, block: &ScannedBlock) -> bool {
        block.walked.is_plainly_sound()
            && block.legacy.is_none()
            && block.encrypt_anew.is_none()
            && block.bad_headers.is_empty()
            && !block.misaligned
            && self.rules.server.walk_rules().rising
    }

    /// Reads a block and its key, and decodes what can be decoded.
    fn find(&mut self, number: u32) -> Result<FoundRecords, ScanFault> {
        let plain = |cause| ScanFault {
            cause,
            key_created: false,
        };
        let ScanRules {
            files, msgs, keys, ..
        } = self.rules;
        let noise = self.rules.noise == Some(number);
        let mapping = self.load(number, noise).map_err(|fault| {
            plain(match fault {
                FileFault::Missing => Cause::Missing,
                FileFault::Failed(detail) => Cause::Io(detail),
            })
        })?;
        if noise {
            // Under a random key the first record's lengths do not agree, all but certainly.
            self.file.fill(0xFF);
        }
        let key = match keys.current {
            Some(_) if !noise => {
                let file = files.read(&BlockFile::Key.path_in(msgs, number));
                keys.open_block_key(number, file).map_err(plain)?
            }
            _ => KeyVerdict::None,
        };
        let cipher = match &key {
            KeyVerdict::Opened(opened) => Some(opened.block_cipher()),
            _ => None,
        };
        let file_length = mapping.as_deref().unwrap_or(&self.file).len() as u64;
        let hash_key = HashKey::for_block(keys.stream, number);
        let decoded = match &mapping {
            Some(mapping) => Ok(content::Decoded {
                compressed: false,
                tail: content::tail_of(mapping),
            }),
            None => decode(&mut self.file, &mut self.spare, cipher.as_ref(), &hash_key),
        };
        let decoded = match decoded {
            Ok(found) if !found.compressed => Ok(found),
            known if self.rules.server.has(Quirk::Compression) => known,
            _ => Ok(self.as_it_lies(number, cipher.as_ref()).map_err(plain)?),
        };
        let bytes = mapping.as_deref().unwrap_or(&self.file);
        if decoded.as_ref().is_ok_and(|decoded| !decoded.compressed)
            && !self.rules.server.has(Quirk::CompressionByteExact)
            && matches!(bytes, [b'c', b'm', b'p', algorithm, _, ..] if *algorithm > S2)
        {
            let detail = "it is marked as compressed, in a way the server does not know";
            return Err(plain(Cause::Other(detail.into())));
        }
        let tail = match &decoded {
            Ok(decoded) => decoded.tail,
            Err(_) => content::tail_of(&self.file),
        };
        Ok(FoundRecords {
            mapping,
            key,
            decoded,
            tail,
            file_length,
        })
    }

    /// Has the block's file in `self.file` once more, not decompressed: to a server that does not know compression.
    fn as_it_lies(
        &mut self,
        number: u32,
        cipher: Option<&BlockCipher>,
    ) -> Result<content::Decoded, Cause> {
        let ScanRules { files, msgs, .. } = self.rules;
        let again = files.read_into(&BlockFile::Block.path_in(msgs, number), &mut self.file);
        again.map_err(|fault| Cause::Other(fault.to_string()))?;
        if let Some(cipher) = cipher {
            let _ = cipher.apply(&mut self.file, 0);
        }
        Ok(content::Decoded {
            compressed: false,
            tail: content::tail_of(&self.file),
        })
    }

    /// Has the block's file in `self.file`, or gives it mapped where that was asked for and its bytes are its content.
    fn load(&mut self, number: u32, noise: bool) -> Result<Option<Mapping>, FileFault> {
        let ScanRules {
            files, msgs, keys, ..
        } = self.rules;
        let name = BlockFile::Block.path_in(msgs, number);
        if self.rules.map_files && keys.current.is_none() && !noise {
            let mapping = files.map(&name)?;
            if matches!(compression::detect(&mapping), Ok(Framing::Plain)) {
                return Ok(Some(mapping));
            }
        }
        files.read_into(&name, &mut self.file).map(|()| None)
    }

    fn read_legacy(
        &self,
        number: u32,
        key: &KeyVerdict,
        file_length: u64,
        tail: [u8; 8],
    ) -> Option<LegacyVerdict> {
        let ScanRules {
            files, msgs, noise, ..
        } = self.rules;
        if noise == Some(number) {
            return None;
        }
        let bytes = files
            .read(&BlockFile::LegacyIndex.path_in(msgs, number))
            .ok()?;
        let opened = match key {
            // By the time the server looks, the block has a new key, which the old file is not under.
            KeyVerdict::Opened(opened) if opened.converting => return None,
            KeyVerdict::Opened(opened) => Some(opened),
            _ => None,
        };
        let plain = match opened {
            None if matches!(key, KeyVerdict::Absent) => return None,
            None => bytes,
            Some(opened) => {
                crate::crypto::open_legacy_index(&bytes, &opened.seed, &opened.nonce).ok()?
            }
        };
        Some(judge_legacy(legacy::idx::decode(&plain), file_length, tail))
    }
}

/// A plain walk indexes by construction; anything else is indexed to be sure.
fn check_alignment(content: &[u8], block: &mut ScannedBlock, empty_counts: bool) {
    if block.walked.plain || block.walked.messages == 0 {
        return;
    }
    let content = content.get(..block.walked.end as usize).unwrap_or(content);
    let mut deleted = block.walked.deleted.clone();
    let Walked {
        first_seq,
        last_seq,
        ..
    } = block.walked;
    match slots::index(content, first_seq, last_seq, &mut deleted, empty_counts) {
        Ok(index) => {
            block.ttl_count = index.ttl_count;
            block.schedule_count = index.schedule_count;
            // A message that a later record erased again counts for the block, not for its subject.
            let within = deleted.count_in(first_seq..=last_seq.max(first_seq));
            block.misaligned = block.walked.messages.saturating_add(within) > index.span;
            block.walked.deleted = deleted;
        }
        Err(_) => block.misaligned = true,
    }
}

fn judge_legacy(outcome: IdxOutcome, file_length: u64, tail: [u8; 8]) -> LegacyVerdict {
    let (fields, rejection) = match outcome {
        IdxOutcome::Candidate(fields) => (fields, None),
        IdxOutcome::Rejected { reason, partial } => (partial, Some(reason)),
    };
    let checksum = fields.last_record_hash;
    let stands = (file_length == 0 && fields.messages == 0) || checksum.unwrap_or_default() == tail;
    let accepted = rejection.is_none() && stands;
    let detail = match &rejection {
        Some(rejection) => rejection.to_string(),
        None if accepted => String::new(),
        None => "its block has changed since it was written".to_owned(),
    };
    let state = BlockState {
        first: SeqTime {
            seq: fields.first_sequence,
            timestamp_ns: fields.first_time_ns,
        },
        last: SeqTime {
            seq: fields.last_sequence,
            timestamp_ns: fields.last_time_ns,
        },
        message_count: fields.messages,
        live_bytes: fields.bytes,
        deleted: fields.deleted,
        last_record_hash: checksum,
        raw_bytes: file_length,
        ..BlockState::default()
    };
    LegacyVerdict {
        accepted,
        stale: rejection.is_none() && !accepted,
        removed: rejection.is_some_and(|fault| fault.deletes_file()),
        state,
        detail,
    }
}

fn known_of(block: &BlockState) -> Known {
    Known {
        first_seq: block.first.seq,
        first_ts: block.first.timestamp_ns,
        last_seq: block.last.seq,
        deleted: block.deleted.clone(),
        rules: WalkRules::default(),
    }
}
