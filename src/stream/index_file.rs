//! The state file `index.db` as evidence: believed where its hash or its tag vouches for it, mended in memory where one
//! flipped bit explains what is wrong.

use std::path::Path;

use super::metadata::read_file;
use crate::crypto::OpenedKey;
use crate::env::{IoError, ReadFiles};
use crate::format::bit_repair::{FileRepair, Patch, mend_hashed, single_flip};
use crate::format::checksum::HashKey;
use crate::format::state::{StateFile, split_trailing_hash};
use crate::report::events::{Event, EventCode};

/// A larger index is not read: at some fifty bytes a subject this is twenty million of them.
const INDEX_MAX: u64 = 1 << 30;
/// Bytes hashed in search of one flip: every flip of 50 KB, and a few seconds. In a larger file the search ends before it
/// has tried everything.
const INDEX_WORK_MAX: u64 = 20 << 30;

/// What is known before the state file is read, and what is told of it.
pub(crate) struct IndexFile<'a> {
    /// Where it is, relative to the stream directory.
    pub path: &'a str,
    /// Stream name.
    pub name: &'a str,
    /// The stream's key.
    pub asset_key: Option<&'a OpenedKey>,
    /// What was mended.
    pub repairs: &'a mut Vec<FileRepair>,
    /// What was seen.
    pub events: &'a mut Vec<Event>,
}

impl IndexFile<'_> {
    /// Reads it; `None` where it is not there, or nothing vouches for it, with an event. Only what the caller may not
    /// read is an error.
    pub(crate) fn read(
        mut self,
        fs: &dyn ReadFiles,
        dir: &Path,
    ) -> Result<Option<StateFile>, IoError> {
        let Some(mut bytes) = read_file(fs, dir, self.path, INDEX_MAX, self.events)? else {
            return Ok(None);
        };
        let Some(plain) = self.open(&mut bytes) else {
            return Ok(None);
        };
        match StateFile::decode(&plain) {
            Ok(state) => Ok(Some(state)),
            Err(error) => {
                self.note(EventCode::IndexRejected, &error.to_string());
                Ok(None)
            }
        }
    }

    fn note(&mut self, code: EventCode, detail: &str) {
        self.events.push(Event::new(code, detail).file(self.path));
    }

    fn repaired(&mut self, patch: Patch) {
        self.repairs.push(FileRepair::new(self.path, vec![patch]));
    }

    /// The plaintext, if anything vouches for it.
    fn open(&mut self, bytes: &mut [u8]) -> Option<Vec<u8>> {
        let hash_key = HashKey::for_stream(self.name.as_bytes());
        let asset_key = self.asset_key;
        let length = bytes.len();
        let Some((payload, stored)) = split_trailing_hash(bytes) else {
            self.note(EventCode::IndexTooShort, &format!("{length} bytes"));
            return None;
        };
        let computed = hash_key.hash64(&[payload]).to_le_bytes();
        if computed == stored {
            return match unseal(payload, asset_key) {
                Some(plain) => Some(plain),
                None => {
                    self.note(EventCode::IndexDecryptFailed, "it is under another key");
                    None
                }
            };
        }
        let at = payload.len() as u64;
        if let Some(mut patch) = single_flip(&stored, &computed)
            && let Some(plain) = unseal(payload, asset_key)
        {
            patch.offset += at;
            self.repaired(patch);
            return Some(plain);
        }
        // What authenticates needs no hash.
        if asset_key.is_some()
            && let Some(plain) = unseal(payload, asset_key)
        {
            self.note(
                EventCode::IndexHashMismatch,
                "the hash is wrong; the content authenticates",
            );
            return Some(plain);
        }
        let (payload, _) = bytes.split_at_mut(payload.len());
        let meant = u64::from_le_bytes(stored);
        let Some(patch) = mend_hashed(payload, &hash_key, meant, INDEX_WORK_MAX) else {
            self.note(EventCode::IndexHashMismatch, "no single flip explains it");
            return None;
        };
        self.repaired(patch);
        unseal(payload, asset_key)
    }
}

/// The content of what the hash covers: sealed where the stream's key opens it. A stream that was encrypted and never
/// written since keeps its plain index.
fn unseal(payload: &[u8], key: Option<&OpenedKey>) -> Option<Vec<u8>> {
    let Some(key) = key else {
        return Some(payload.to_vec());
    };
    match key.open(payload) {
        Ok(plain) => Some(plain),
        Err(_) => StateFile::decode(payload).is_ok().then(|| payload.to_vec()),
    }
}
