//! What is beside the blocks of a store that is to be read whole: its metadata, its key, whether its index verifies.

use super::RekeyError;
use crate::block::key::BlockFiles;
use crate::crypto::OpenedKey;
use crate::env::ReadFiles;
use crate::format::bit_repair::FileRepair;
use crate::format::names::{BlockFile, MESSAGES, STATE_FILE, in_messages};
use crate::report::events::Event;
use crate::stream::index_file::IndexFile;
use crate::stream::metadata::{self, MetaOrigin, StreamMetaFound, read_stream};
use crate::stream::options::{Keys, Options};
use crate::stream::{StreamDir, account_of};

/// A store as its files beside the blocks tell it. Nothing of it is taken over that was mended.
pub(super) struct Stored {
    /// The stream's name: the directory's, unless the files prove another.
    pub name: String,
    /// Account name in the key derivation.
    account: Vec<u8>,
    /// What the configuration is worth.
    pub meta_origin: MetaOrigin,
    /// The stream's key, where it is encrypted and the key opens.
    pub asset_key: Option<OpenedKey>,
    /// Whether the stream or any block of it is encrypted.
    sealed: bool,
    /// Whether there is an index that verifies.
    pub has_index: bool,
    /// What was mended.
    pub repairs: Vec<FileRepair>,
    /// What was seen.
    pub events: Vec<Event>,
}

impl Stored {
    pub(super) fn read(
        fs: &dyn ReadFiles,
        stream: &StreamDir,
        options: &Options,
    ) -> Result<Self, RekeyError> {
        let account = account_of(stream, options);
        let ring = options.keys.ring(&account);
        let mut own = read_stream(fs, stream, options, ring)?;
        let mut events = std::mem::take(&mut own.found.events);
        let key_files = key_files(fs, stream)?;
        own.insist_on_key(fs, stream, MESSAGES, &key_files, ring)?;
        let (_, meta_origin) = own.configuration(&options.configurations, &mut events);
        let StreamMetaFound { name, found } = own;
        let mut repairs = found.repairs;
        let index = IndexFile {
            path: &in_messages(STATE_FILE),
            name: &name,
            asset_key: found.key.as_ref(),
            repairs: &mut repairs,
            events: &mut events,
        };
        let has_index = index.read(fs, &stream.dir)?.is_some();
        events.extend(repairs.iter().map(metadata::mended));
        Ok(Stored {
            sealed: found.has_key_file || !key_files.is_empty(),
            asset_key: found.key,
            name,
            account,
            meta_origin,
            has_index,
            repairs,
            events,
        })
    }

    /// Where the blocks lie, and what opens them.
    pub(super) fn blocks<'a>(
        &'a self,
        fs: &'a dyn ReadFiles,
        stream: &'a StreamDir,
        keys: &'a Keys,
    ) -> BlockFiles<'a> {
        BlockFiles {
            fs,
            dir: &stream.dir,
            messages: MESSAGES,
            name: self.name.as_bytes(),
            ring: keys.ring(&self.account),
            sealed: self.sealed,
        }
    }
}

/// The numbers of blocks with a key file.
fn key_files(fs: &dyn ReadFiles, stream: &StreamDir) -> Result<Vec<u32>, RekeyError> {
    let entries = match fs.list(&stream.dir.join(MESSAGES)) {
        Ok(entries) => entries,
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let names = entries.iter().map(|entry| entry.name.as_encoded_bytes());
    Ok(names
        .filter_map(|name| BlockFile::Key.number_in(name))
        .collect())
}
