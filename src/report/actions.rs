//! What recovery decided to do, as data.
//!
//! An [`Action`] is for people and reports; a [`Change`] is the net effect on one file, which is
//! all that `apply` needs. Several actions on one block (cut, then removed) end as one change.

use crate::crypto::Cipher;

/// One decision, in the order it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// What is done.
    pub kind: ActionKind,
    /// The file, relative to the stream directory.
    pub file: String,
    /// Byte offset, where one matters (where a block is cut).
    pub offset: Option<u64>,
    /// Why, in plain English.
    pub detail: String,
}

/// The kinds of action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names in as_str say it")]
pub enum ActionKind {
    RemoveIndex,
    WriteIndex,
    TruncateBlock,
    RemoveBlock,
    RewriteBlock,
    AppendTombstone,
    CreateBlock,
    EncryptBlock,
    RekeyBlock,
    CreateKey,
    RemoveKey,
    RemoveLegacyFile,
    RemoveTimerFile,
    WriteTimerFile,
    CompletePurge,
    RollBackPurge,
    RemovePurged,
    ReplaceMessages,
    WriteMeta,
    RemoveMetaKey,
    WriteConsumerState,
    CreateDirectory,
    RemoveStream,
    RemoveConsumer,
}

impl ActionKind {
    /// Whether it is about a file that a server makes anew from the messages whenever it has to, or no longer reads.
    #[must_use]
    pub fn is_side_file(self) -> bool {
        matches!(
            self,
            ActionKind::RemoveIndex
                | ActionKind::WriteIndex
                | ActionKind::RemoveTimerFile
                | ActionKind::WriteTimerFile
                | ActionKind::RemoveLegacyFile
        )
    }

    /// The kebab-case name used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            ActionKind::RemoveIndex => "remove-index",
            ActionKind::WriteIndex => "write-index",
            ActionKind::TruncateBlock => "truncate-block",
            ActionKind::RemoveBlock => "remove-block",
            ActionKind::RewriteBlock => "rewrite-block",
            ActionKind::AppendTombstone => "append-tombstone",
            ActionKind::CreateBlock => "create-block",
            ActionKind::EncryptBlock => "encrypt-block",
            ActionKind::RekeyBlock => "rekey-block",
            ActionKind::CreateKey => "create-key",
            ActionKind::RemoveKey => "remove-key",
            ActionKind::RemoveLegacyFile => "remove-legacy-file",
            ActionKind::RemoveTimerFile => "remove-timer-file",
            ActionKind::WriteTimerFile => "write-timer-file",
            ActionKind::CompletePurge => "complete-purge",
            ActionKind::RollBackPurge => "roll-back-purge",
            ActionKind::RemovePurged => "remove-purged",
            ActionKind::ReplaceMessages => "replace-messages",
            ActionKind::WriteMeta => "write-meta",
            ActionKind::RemoveMetaKey => "remove-meta-key",
            ActionKind::WriteConsumerState => "write-consumer-state",
            ActionKind::CreateDirectory => "create-directory",
            ActionKind::RemoveStream => "remove-stream",
            ActionKind::RemoveConsumer => "remove-consumer",
        }
    }
}

/// The net effect on the disk. Paths are relative to the stream directory; `apply` performs
/// changes in the order given, which is chosen so that a crash between any two leaves a store
/// that recovers to the same state. Nothing here holds a key or randomness: `apply` has both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Make sure a directory exists.
    CreateDir {
        /// The directory.
        path: String,
    },
    /// Remove a file.
    RemoveFile {
        /// The file.
        path: String,
    },
    /// Remove a directory with everything in it.
    RemoveTree {
        /// The directory.
        path: String,
    },
    /// Rename a file or directory.
    Rename {
        /// Present name.
        from: String,
        /// New name.
        to: String,
    },
    /// Cut a file to `length` bytes, or extend it with zeros.
    SetLength {
        /// The file.
        path: String,
        /// New length in bytes.
        length: u64,
    },
    /// Replace or create a file, atomically, with these bytes.
    Write {
        /// The file.
        path: String,
        /// Its whole content.
        bytes: Vec<u8>,
    },
    /// Draw a new seed, seal it under the current server key and write it as a key file. Blocks
    /// and sealed files written later in the list under this key file use it.
    NewKey {
        /// `meta.key` or `msgs/N.key`.
        path: String,
        /// The context that goes into the key encryption key (`S` or `S:N`).
        context: Vec<u8>,
        /// The cipher.
        cipher: Cipher,
    },
    /// Append records to a block that has no decoded form (plain or encrypted, not compressed).
    AppendRecords {
        /// Block number.
        number: u32,
        /// Length of the file before; the keystream position.
        offset: u64,
        /// The records, in the clear.
        records: Vec<u8>,
        /// Whether the block has a key (on disk, or by an earlier `NewKey`).
        encrypted: bool,
    },
    /// Replace a block, atomically, by pieces of its present decoded content and new records.
    WriteBlock {
        /// Block number.
        number: u32,
        /// The pieces in order.
        pieces: Vec<Piece>,
        /// Whether the new content is encrypted (under `N.key`, or an earlier `NewKey`).
        encrypted: bool,
    },
    /// Write a file sealed under the stream's asset key (if `sealed`), with the stream's hash
    /// behind it (if `hashed`): `index.db`.
    WriteSealed {
        /// The file.
        path: String,
        /// Content in the clear.
        bytes: Vec<u8>,
        /// Seal it under the asset key.
        sealed: bool,
        /// Append the 8-byte hash over the written bytes.
        hashed: bool,
    },
    /// Write `meta.inf` (sealed if asked) and then `meta.sum` over what was written.
    WriteMeta {
        /// The JSON text.
        json: Vec<u8>,
        /// Seal it under the asset key.
        sealed: bool,
    },
}

/// A piece of a rewritten block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes `start..end` of the decoded content on disk.
    Kept {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
    },
    /// New records, in the clear.
    Literal(Vec<u8>),
}
