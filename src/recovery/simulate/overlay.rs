//! The overlay: block files as they will be, while they still lie as they were.

use crate::format::names::{BlockFile, MESSAGES};
use std::collections::BTreeMap;

use crate::block::content::{self, ContentFault};
use crate::crypto::{
    BlockCipher, Cipher, KeyFileError, KeyRing, OpenedKey, ServerKey, block_context,
};
use crate::format::checksum::HashKey;
use crate::recovery::fault::Cause;
use crate::report::actions::{Change, Piece};
use crate::stream::files::{FileFault, StreamFiles};

/// The keys that apply to one stream.
#[derive(Clone, Copy)]
pub struct StreamKeys<'a> {
    /// Account name in the key derivation.
    pub account: &'a [u8],
    /// Stream name in the key derivation.
    pub stream: &'a [u8],
    /// The current server key; `None` for a plain store.
    pub current: Option<&'a ServerKey>,
    /// The previous server key.
    pub previous: Option<&'a ServerKey>,
    /// The configured cipher.
    pub cipher: Cipher,
}

/// What a block's key file came to.
#[derive(Debug, Clone)]
pub enum KeyVerdict {
    /// No key is configured: blocks are plain.
    None,
    /// The key file opens.
    Opened(OpenedKey),
    /// A key is configured and the key file is not readable: the server takes the block for plain,
    /// makes a key and encrypts it.
    Absent,
}

impl<'a> StreamKeys<'a> {
    /// The keys for the assets of the stream.
    pub fn ring(&self) -> KeyRing<'a> {
        KeyRing {
            current: self.current,
            previous: self.previous,
            cipher: Some(self.cipher),
            account: self.account,
        }
    }

    /// Opens the key file of block `number`.
    ///
    /// # Errors
    ///
    /// [`Cause::KeySize`] and [`Cause::KeyInvalid`].
    pub fn open_block_key(
        &self,
        number: u32,
        file: Result<Vec<u8>, FileFault>,
    ) -> Result<KeyVerdict, Cause> {
        if self.current.is_none() {
            return Ok(KeyVerdict::None);
        }
        let Ok(bytes) = file else {
            return Ok(KeyVerdict::Absent);
        };
        let context = block_context(self.stream, number);
        match self.ring().open(&bytes, &context) {
            Ok(opened) => Ok(KeyVerdict::Opened(opened)),
            Err(KeyFileError::TooShort { .. }) => Err(Cause::KeySize {
                found: bytes.len() as u64,
            }),
            Err(_) => Err(Cause::KeyInvalid),
        }
    }
}

/// One block file, as it lies and as it will be.
#[derive(Debug, Clone, Default)]
pub struct PendingFile {
    /// Whether its content comes from the file on disk.
    pub on_disk: bool,
    /// Whether there was a file of that name at the start.
    pub was_on_disk: bool,
    /// It lies compressed and would be cut at this decoded offset.
    pub cut_compressed: Option<u64>,
    /// Its length will be set to this.
    pub set_length: Option<u64>,
    /// Its decoded content will be put together from these.
    pub pieces: Option<Vec<Piece>>,
    /// Records that will be appended.
    pub appended: Vec<u8>,
    /// It will be removed.
    pub removed: bool,
    /// Its key, once looked at.
    pub key: Option<KeyVerdict>,
    /// The server put a fresh key beside it and failed to encrypt it: from then on it reads noise.
    pub key_in_vain: bool,
    /// It will be written anew under a fresh key; `true`: it was plain.
    pub encrypt_anew: Option<bool>,
    /// Length of the decoded content that will be written so.
    pub content_length: u64,
}

/// What of a [`PendingFile`] decides its content, in brief.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    set_length: Option<u64>,
    appended_length: usize,
    piece_count: Option<usize>,
    removed: bool,
    key_in_vain: bool,
}

impl PendingFile {
    /// What decides its content, to see whether that changed.
    pub fn pending(&self) -> Pending {
        Pending {
            set_length: self.set_length,
            appended_length: self.appended.len(),
            piece_count: self.pieces.as_ref().map(Vec::len),
            removed: self.removed,
            key_in_vain: self.key_in_vain,
        }
    }

    /// Whether there will be a file.
    pub fn exists(&self) -> bool {
        !self.removed && (self.on_disk || self.pieces.is_some() || !self.appended.is_empty())
    }

    fn cipher(&self) -> Option<BlockCipher> {
        match &self.key {
            Some(KeyVerdict::Opened(opened)) => Some(opened.block_cipher()),
            _ => None,
        }
    }
}

/// What reading a block through the overlay gave.
#[derive(Debug)]
pub struct Content {
    /// Decoded records.
    pub bytes: Vec<u8>,
    /// Length of the file they are in.
    pub file_length: u64,
    /// Whether that file is compressed.
    pub compressed: bool,
    /// Last 8 bytes of the decrypted file.
    pub tail: [u8; 8],
}

/// The pending state of a stream's files.
#[derive(Clone)]
pub struct Overlay<'a> {
    /// The files as they lie.
    pub files: StreamFiles<'a>,
    /// Keys.
    pub keys: StreamKeys<'a>,
    /// Where the blocks lie now, relative to the stream directory: `msgs`, or a staged directory
    /// that is about to become it.
    pub msgs: &'static str,
    /// The metadata to be written anew.
    pub new_meta: Option<Vec<u8>>,
    /// What has to happen first: purge staging.
    pub staging: Vec<Change>,
    /// Side files that will be removed.
    pub removed_files: Vec<String>,
    /// The whole message directory will be replaced by the blocks that are still there.
    pub replaced: bool,
    /// Blocks that were looked at.
    pub blocks: BTreeMap<u32, PendingFile>,
}

impl<'a> Overlay<'a> {
    /// Nothing is pending yet.
    pub fn new(files: StreamFiles<'a>, keys: StreamKeys<'a>) -> Self {
        Overlay {
            files,
            keys,
            msgs: MESSAGES,
            new_meta: None,
            staging: Vec::new(),
            removed_files: Vec::new(),
            replaced: false,
            blocks: BTreeMap::new(),
        }
    }

    /// Whether a path of the stream is a directory without anything in it.
    pub fn is_empty_dir(&self, path: &str) -> bool {
        self.files.is_dir(path)
            && self
                .files
                .list(path)
                .is_ok_and(|entries| entries.is_empty())
    }

    /// Path of block `number` as it lies.
    pub fn block_path(&self, number: u32) -> String {
        BlockFile::Block.path_in(self.msgs, number)
    }

    /// Path of its key file as it lies.
    pub fn key_path(&self, number: u32) -> String {
        BlockFile::Key.path_in(self.msgs, number)
    }

    /// Whether the file of block `number` is already as good as gone.
    pub fn removes(&self, number: u32) -> bool {
        self.blocks.get(&number).is_some_and(|file| file.removed)
    }

    /// Whether anything of the block's content is about to change.
    pub fn changes(&self, number: u32) -> bool {
        self.blocks.get(&number).is_some_and(|file| {
            file.removed
                || file.set_length.is_some()
                || file.pieces.is_some()
                || !file.appended.is_empty()
        })
    }

    /// The block that the server can only read as noise, if there is one.
    pub fn noise(&self) -> Option<u32> {
        let found = self.blocks.iter().find(|(_, file)| file.key_in_vain);
        found.map(|(number, _)| *number)
    }

    /// The block that has been put under another key already, if there is one.
    pub fn converted(&self) -> Option<u32> {
        let found = self
            .blocks
            .iter()
            .find(|(_, file)| file.encrypt_anew.is_some());
        found.map(|(number, _)| *number)
    }

    /// The overlay entry of block `number`.
    pub fn block(&mut self, number: u32) -> &mut PendingFile {
        let Overlay {
            files,
            msgs,
            blocks,
            ..
        } = self;
        blocks.entry(number).or_insert_with(|| {
            let on_disk = !matches!(
                files.length(&BlockFile::Block.path_in(msgs, number)),
                Err(FileFault::Missing)
            );
            PendingFile {
                on_disk,
                was_on_disk: on_disk,
                ..PendingFile::default()
            }
        })
    }

    /// The key of block `number`, looked at once.
    ///
    /// # Errors
    ///
    /// [`Cause::KeySize`] and [`Cause::KeyInvalid`].
    pub fn block_key(&mut self, number: u32) -> Result<KeyVerdict, Cause> {
        if let Some(key) = &self.block(number).key {
            return Ok(key.clone());
        }
        let file = self.files.read(&self.key_path(number));
        let key = self.keys.open_block_key(number, file)?;
        self.block(number).key = Some(key.clone());
        Ok(key)
    }

    /// Reads a block through the overlay.
    ///
    /// # Errors
    ///
    /// [`Cause::Missing`], [`Cause::Io`], [`Cause::Content`].
    pub fn content(&mut self, number: u32) -> Result<Content, Cause> {
        let file = self.block(number).clone();
        self.content_of(number, &file)
    }

    /// Reads a block through an overlay entry, without noting anything.
    ///
    /// # Errors
    ///
    /// As [`Disk::content`].
    pub fn content_of(&self, number: u32, block: &PendingFile) -> Result<Content, Cause> {
        let path = self.block_path(number);
        let hash_key = HashKey::for_block(self.keys.stream, number);
        if !block.exists() {
            return Err(Cause::Missing);
        }
        let mut bytes = Vec::new();
        if block.on_disk {
            self.files
                .read_into(&path, &mut bytes)
                .map_err(|fault| match fault {
                    FileFault::Missing => Cause::Missing,
                    FileFault::Failed(detail) => Cause::Io(detail),
                })?;
        }
        if block.key_in_vain {
            // What a fresh key makes of plain bytes fails as surely as this does, at the first record.
            bytes.fill(0xFF);
        }
        let base_length = bytes.len() as u64;
        if let Some(length) = block.set_length {
            let length = usize::try_from(length)
                .map_err(|_| Cause::Io(format!("{path}: length {length}")))?;
            bytes.resize(length, 0);
        }
        let mut file_length = bytes.len() as u64;
        let mut spare = Vec::new();
        let decoded = content::decode(&mut bytes, &mut spare, block.cipher().as_ref(), &hash_key)?;
        let mut compressed = decoded.compressed && block.encrypt_anew != Some(true);
        if let Some(pieces) = &block.pieces {
            bytes = assemble(pieces, &bytes);
            compressed = false;
            file_length = bytes.len() as u64;
        } else if !compressed && base_length != bytes.len() as u64 {
            file_length = bytes.len() as u64;
        }
        if !block.appended.is_empty() {
            bytes.extend_from_slice(&block.appended);
            file_length += block.appended.len() as u64;
        }
        let tail = if compressed {
            decoded.tail
        } else {
            content::tail_of(&bytes)
        };
        Ok(Content {
            bytes,
            file_length,
            compressed,
            tail,
        })
    }
}

impl Overlay<'_> {
    /// The last 8 bytes of a block's decrypted file, whether or not it decompresses.
    ///
    /// # Errors
    ///
    /// [`Cause::Missing`], [`Cause::Io`], [`Cause::Content`].
    pub fn decrypted_tail(&mut self, number: u32) -> Result<[u8; 8], Cause> {
        let path = self.block_path(number);
        let files = self.files;
        let cipher = self.block(number).cipher();
        let mut bytes = Vec::new();
        files
            .read_into(&path, &mut bytes)
            .map_err(|fault| Cause::Io(fault.to_string()))?;
        if let Some(cipher) = cipher {
            cipher
                .apply(&mut bytes, 0)
                .map_err(|_| Cause::Content(ContentFault::Keystream))?;
        }
        Ok(content::tail_of(&bytes))
    }
}

/// Puts a block's new content together.
pub fn assemble(pieces: &[Piece], content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Kept { start, end } => {
                let range = (*start as usize)..(*end as usize);
                out.extend_from_slice(content.get(range).unwrap_or_default());
            }
            Piece::Literal(bytes) => out.extend_from_slice(bytes),
        }
    }
    out
}

impl From<ContentFault> for Cause {
    fn from(fault: ContentFault) -> Self {
        Cause::Content(fault)
    }
}
