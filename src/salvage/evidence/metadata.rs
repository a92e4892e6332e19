//! An asset's metadata: `meta.key`, `meta.inf`, `meta.sum`, read together, each vouching for the others.

use std::path::Path;

use super::super::error::SalvageError;
use super::super::mend::{mend, mend_hashed, single_flip};
use super::keys::{KEY_FILE_MAX, key_repair, open_mended, side_repair};
use super::{FileRepair, MetaOrigin};
use crate::crypto::{KeyRing, OpenedKey, SealedError};
use crate::env::ReadFiles;
use crate::format::checksum::{HashKey, hex16};
use crate::report::events::{Event, EventCode, Severity};

/// Metadata is a page of JSON; what is longer is not read.
pub(super) const META_MAX: u64 = 64 << 20;
/// Longer is no checksum.
const SUM_MAX: u64 = 1 << 16;
/// Bytes hashed in search of one flip in `meta.inf`: every flip of 16 KB.
const META_WORK_MAX: u64 = 2 << 30;
/// Bytes authenticated in search of one flip in a sealed file: every flip of 12 KB, and a second or two.
pub(super) const SEALED_WORK_MAX: u64 = 2 << 30;

/// Reads a file of the source. Absent is `None`, and so is what the device no longer gives, with an event. Only
/// what the caller may not read is an error: that can be helped.
pub(super) fn read(
    fs: &dyn ReadFiles,
    dir: &Path,
    relative: &str,
    max_length: u64,
    events: &mut Vec<Event>,
) -> Result<Option<Vec<u8>>, SalvageError> {
    match fs.read(&dir.join(relative), max_length) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) if error.kind == std::io::ErrorKind::PermissionDenied => Err(error.into()),
        Err(error) => {
            events.push(Event::new(EventCode::IoError, error.to_string()).file(relative));
            Ok(None)
        }
    }
}

/// What is known of an asset before its metadata is read.
pub(super) struct Asset<'a> {
    /// Where its files are, relative: empty, or with a slash at its end.
    pub below: &'a str,
    /// Key of `meta.sum`.
    pub hash_key: HashKey,
    /// Context of its key file.
    pub context: Vec<u8>,
    /// The caller's keys.
    pub ring: KeyRing<'a>,
}

/// Metadata as far as it could be had.
pub(super) struct MetaFound {
    /// The plaintext, and what it is worth; never [`MetaOrigin::Made`].
    pub plain: Option<(Vec<u8>, MetaOrigin)>,
    /// The asset's key.
    pub key: Option<OpenedKey>,
    /// Whether there is a key file, open or not.
    pub has_key_file: bool,
    /// `meta.inf` and `meta.sum` as they lie, for guesses beyond.
    pub raw: Option<(Vec<u8>, Option<Vec<u8>>)>,
    /// What was mended.
    pub repairs: Vec<FileRepair>,
    /// What was seen.
    pub events: Vec<Event>,
}

impl Asset<'_> {
    /// Reads the three files and mends what can be.
    pub(super) fn read(&self, fs: &dyn ReadFiles, dir: &Path) -> Result<MetaFound, SalvageError> {
        let mut events = Vec::new();
        let mut get = |name: &str, max| read(fs, dir, &self.path(name), max, &mut events);
        let key_file = get("meta.key", KEY_FILE_MAX)?;
        let inf = get("meta.inf", META_MAX)?;
        let sum = get("meta.sum", SUM_MAX)?;
        let mut found = MetaFound {
            plain: None,
            key: None,
            has_key_file: key_file.is_some(),
            raw: None,
            repairs: Vec::new(),
            events,
        };
        if let Some(key_file) = key_file {
            self.open_key(&key_file, &mut found);
        }
        let Some(inf) = inf else { return Ok(found) };
        match (&found.key, found.has_key_file) {
            (Some(key), _) => {
                let key = key.clone();
                self.open_inf(&key, &inf, sum.as_deref(), &mut found);
            }
            // Sealed under a key nobody has. Plain it may still be: an interrupted conversion writes the key first.
            (None, true) if !inf.trim_ascii_start().starts_with(b"{") => {}
            (None, _) => self.plain_inf(&inf, sum.as_deref(), &mut found),
        }
        found.raw = Some((inf, sum));
        Ok(found)
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.below)
    }

    fn open_key(&self, key_file: &[u8], found: &mut MetaFound) {
        let path = self.path("meta.key");
        match open_mended(&self.ring, key_file, &self.context) {
            Ok((key, mended)) => {
                found.repairs.extend(key_repair(&path, &mended));
                found.key = Some(key);
            }
            Err(error) => {
                let (code, detail) = match self.ring.is_empty() {
                    false => (EventCode::KeyBad, error.to_string()),
                    true => (
                        EventCode::KeyMissing,
                        "the metadata is encrypted and no key is given".to_owned(),
                    ),
                };
                found.events.push(Event::new(code, detail).file(path));
            }
        }
    }

    fn open_inf(&self, key: &OpenedKey, inf: &[u8], sum: Option<&[u8]>, found: &mut MetaFound) {
        let path = self.path("meta.inf");
        let open = |bytes: &[u8]| key.open(bytes);
        let error = match open(inf) {
            Ok(plain) => {
                // The tag vouches for more than the checksum could.
                let repairs = found.repairs.len();
                if let Err(event) = self.compare_sum(inf, sum, found) {
                    found.events.push(event.severity(Severity::Warn));
                }
                let origin = origin(found.repairs.len() > repairs);
                found.plain = Some((plain, origin));
                return;
            }
            Err(error) => error,
        };
        let mut mended = inf.to_vec();
        let length = mended.len();
        if matches!(error, SealedError::Rejected { .. })
            && let Some((patch, plain)) = mend(&mut mended, 0..length, SEALED_WORK_MAX, |bytes| {
                open(bytes).ok()
            })
        {
            found.repairs.push(side_repair(&path, vec![patch]));
            found.plain = Some((plain, MetaOrigin::Mended));
            return;
        }
        if inf.trim_ascii_start().starts_with(b"{") {
            return self.plain_inf(inf, sum, found);
        }
        let event = Event::new(EventCode::StreamMetaDecryptFailed, error.to_string());
        found.events.push(event.file(path));
    }

    /// Metadata in plain, which only its checksum vouches for.
    fn plain_inf(&self, inf: &[u8], sum: Option<&[u8]>, found: &mut MetaFound) {
        let repairs = found.repairs.len();
        let event = match self.compare_sum(inf, sum, found) {
            Ok(()) => {
                let origin = origin(found.repairs.len() > repairs);
                found.plain = Some((inf.to_vec(), origin));
                return;
            }
            Err(event) => event,
        };
        let mut mended = inf.to_vec();
        let meant = sum.and_then(hash_of_sum);
        let patch =
            meant.and_then(|meant| mend_hashed(&mut mended, &self.hash_key, meant, META_WORK_MAX));
        match patch {
            Some(patch) => {
                found
                    .repairs
                    .push(side_repair(&self.path("meta.inf"), vec![patch]));
                found.plain = Some((mended, MetaOrigin::Mended));
            }
            None => {
                found.events.push(event);
                found.plain = Some((mended, MetaOrigin::Unproven));
            }
        }
    }

    /// Whether `meta.sum` vouches for `meta.inf`, a flip and white space in the former allowed for. Where it does not,
    /// why, for the caller to tell or to explain away.
    fn compare_sum(
        &self,
        inf: &[u8],
        sum: Option<&[u8]>,
        found: &mut MetaFound,
    ) -> Result<(), Event> {
        let path = self.path("meta.sum");
        let expected = hex16(self.hash_key.hash64(&[inf]));
        let Some(sum) = sum else {
            let event = Event::new(EventCode::StreamSumMissing, "the file is not there");
            return Err(event.file(path));
        };
        if sum == expected.as_bytes() {
            return Ok(());
        }
        if let Some(patch) = single_flip(sum, expected.as_bytes()) {
            found.repairs.push(side_repair(&path, vec![patch]));
            return Ok(());
        }
        if sum.trim_ascii().eq_ignore_ascii_case(expected.as_bytes()) {
            found.repairs.push(side_repair(&path, Vec::new()));
            return Ok(());
        }
        let detail = format!("{} stored, {expected} computed", sum.escape_ascii());
        Err(Event::new(EventCode::StreamSumMismatch, detail).file(path))
    }
}

fn origin(mended: bool) -> MetaOrigin {
    match mended {
        true => MetaOrigin::Mended,
        false => MetaOrigin::Sound,
    }
}

/// The hash that a `meta.sum` spells.
pub(super) fn hash_of_sum(sum: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(sum.trim_ascii()).ok()?;
    (text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(())?;
    u64::from_str_radix(text, 16).ok().map(u64::swap_bytes)
}
