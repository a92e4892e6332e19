//! Key files with a flipped bit, or with bytes behind their end.

use super::{KeyFileError, KeyRing, OpenedKey};
use crate::format::bit_repair::{FileRepair, Patch, mend};

/// Bytes authenticated in search of one key file's flip: more than all flips of all keys and ciphers take.
const KEY_WORK_MAX: u64 = 1 << 20;

/// How a key file came open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyMend {
    /// As it lies.
    None,
    /// Without the bytes that follow where a key file ends.
    Cut,
    /// After a flip.
    Flipped(Patch),
}

impl KeyMend {
    /// What the mended key file at `path` is reported as; nothing for a sound one.
    #[must_use]
    pub fn repair(&self, path: &str) -> Option<FileRepair> {
        let patches = match self {
            KeyMend::None => return None,
            KeyMend::Cut => Vec::new(),
            KeyMend::Flipped(patch) => vec![*patch],
        };
        Some(FileRepair::new(path, patches))
    }
}

impl KeyRing<'_> {
    /// Opens a key file as it lies or mended. At most some 4,400 trials of 72 bytes.
    ///
    /// # Errors
    ///
    /// As [`KeyRing::open`].
    pub fn open_mended(
        &self,
        bytes: &[u8],
        context: &[u8],
    ) -> Result<(OpenedKey, KeyMend), KeyFileError> {
        let refusal = match self.open(bytes, context) {
            Ok(opened) => return Ok((opened, KeyMend::None)),
            Err(refusal) => refusal,
        };
        let cut = self.trials(context).find_map(|trial| {
            let (file, more) = bytes.split_at_checked(trial.cipher().key_file_length())?;
            (!more.is_empty()).then(|| trial.open(file).ok()).flatten()
        });
        if let Some(opened) = cut {
            return Ok((opened, KeyMend::Cut));
        }
        let mut mended = bytes.to_vec();
        let flipped = self.trials(context).find_map(|trial| {
            if bytes.len() != trial.cipher().key_file_length() {
                return None;
            }
            mend(&mut mended, 0..bytes.len(), KEY_WORK_MAX, |bytes| {
                trial.open(bytes).ok()
            })
        });
        match flipped {
            Some((patch, opened)) => Ok((opened, KeyMend::Flipped(patch))),
            None => Err(refusal),
        }
    }
}
