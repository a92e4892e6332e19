//! The kinds of damage there are.

use std::fmt;

use super::draft::Draft;
use super::{bytes, names};
use crate::env::IoError;

/// A kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DamageKind {
    /// One bit, anywhere in the block files.
    FlipBlock,
    /// One bit in a key file.
    FlipKey,
    /// One bit in `meta.inf` or `meta.sum`.
    FlipMeta,
    /// One bit in `index.db`.
    FlipIndex,
    /// Two to sixteen bits, anywhere in the block files.
    FlipMany,
    /// The end of the last block.
    CutTail,
    /// The end of a block in the middle.
    CutMiddle,
    /// A sector of a block file full of zeros.
    ZeroedSector,
    /// A range of a block file, one byte to 16 KiB, full of noise.
    OverwrittenRange,
    /// A sector of one place of the store, written over one of a block file.
    MisdirectedWrite,
    /// A sector that still has the bytes of an earlier moment.
    LostWrite,
    /// `index.db` of an earlier moment.
    StaleIndex,
    /// A block file of an earlier moment.
    StaleBlock,
    /// A file that is gone.
    MissingFile,
    /// Two blocks, two keys, or two of both under each other's names.
    SwappedFiles,
    /// A file that was to be replaced and was not, or by half.
    TornRename,
    /// A purge whose server was killed.
    KilledPurge,
}

impl DamageKind {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 17] = [
        Self::FlipBlock,
        Self::FlipKey,
        Self::FlipMeta,
        Self::FlipIndex,
        Self::FlipMany,
        Self::CutTail,
        Self::CutMiddle,
        Self::ZeroedSector,
        Self::OverwrittenRange,
        Self::MisdirectedWrite,
        Self::LostWrite,
        Self::StaleIndex,
        Self::StaleBlock,
        Self::MissingFile,
        Self::SwappedFiles,
        Self::TornRename,
        Self::KilledPurge,
    ];

    /// Its name in reports and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FlipBlock => "flip-block",
            Self::FlipKey => "flip-key",
            Self::FlipMeta => "flip-meta",
            Self::FlipIndex => "flip-index",
            Self::FlipMany => "flip-many",
            Self::CutTail => "cut-tail",
            Self::CutMiddle => "cut-middle",
            Self::ZeroedSector => "zeroed-sector",
            Self::OverwrittenRange => "overwritten-range",
            Self::MisdirectedWrite => "misdirected-write",
            Self::LostWrite => "lost-write",
            Self::StaleIndex => "stale-index",
            Self::StaleBlock => "stale-block",
            Self::MissingFile => "missing-file",
            Self::SwappedFiles => "swapped-files",
            Self::TornRename => "torn-rename",
            Self::KilledPurge => "killed-purge",
        }
    }

    /// One line of explanation.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match self {
            Self::FlipBlock => "one bit flipped anywhere in the block files",
            Self::FlipKey => "one bit flipped in a key file",
            Self::FlipMeta => "one bit flipped in meta.inf or meta.sum",
            Self::FlipIndex => "one bit flipped in index.db",
            Self::FlipMany => "two to sixteen bits flipped anywhere in the block files",
            Self::CutTail => "the last block cut short",
            Self::CutMiddle => "a block in the middle cut short",
            Self::ZeroedSector => "a 4 KiB sector of a block file full of zeros",
            Self::OverwrittenRange => "1 B to 16 KiB of a block file full of noise",
            Self::MisdirectedWrite => "a sector from elsewhere written over one of a block file",
            Self::LostWrite => "a sector with the bytes of an earlier moment",
            Self::StaleIndex => "index.db of an earlier moment",
            Self::StaleBlock => "a block file of an earlier moment",
            Self::MissingFile => "a block, key, index or metadata file gone",
            Self::SwappedFiles => "two blocks, two keys or two of both swapped",
            Self::TornRename => "a file half replaced, or left under its temporary name",
            Self::KilledPurge => "a purge whose server was killed half-way",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Plans one damage of this kind and says what it is; `None` where there was nothing to do it to.
    pub(super) fn draw(self, draft: &mut Draft<'_>) -> Result<Option<String>, IoError> {
        match self {
            Self::FlipBlock => bytes::flip(draft, is_block, 1),
            Self::FlipKey => bytes::flip(draft, is_key, 1),
            Self::FlipMeta => bytes::flip(draft, is_meta, 1),
            Self::FlipIndex => bytes::flip(draft, is_index, 1),
            Self::FlipMany => {
                let count = 2 + draft.random.below(15);
                bytes::flip(draft, is_block, count)
            }
            Self::CutTail => bytes::cut_tail(draft),
            Self::CutMiddle => bytes::cut_middle(draft),
            Self::ZeroedSector => bytes::zeroed_sector(draft),
            Self::OverwrittenRange => bytes::overwritten_range(draft),
            Self::MisdirectedWrite => bytes::misdirected_write(draft),
            Self::LostWrite => bytes::lost_write(draft),
            Self::StaleIndex => names::stale(draft, is_index),
            Self::StaleBlock => names::stale(draft, is_block),
            Self::MissingFile => names::missing(draft),
            Self::SwappedFiles => names::swapped(draft),
            Self::TornRename => names::torn_rename(draft),
            Self::KilledPurge => names::killed_purge(draft),
        }
    }
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Block files.
pub fn is_block(path: &str) -> bool {
    path.starts_with("msgs/") && path.ends_with(".blk")
}

/// Key files of blocks and of the stream.
pub fn is_key(path: &str) -> bool {
    path == "meta.key" || path.starts_with("msgs/") && path.ends_with(".key")
}

/// The stream's metadata.
pub fn is_meta(path: &str) -> bool {
    path == "meta.inf" || path == "meta.sum"
}

/// The state file.
pub fn is_index(path: &str) -> bool {
    path == "msgs/index.db"
}
