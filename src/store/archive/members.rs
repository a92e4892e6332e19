//! The files in an archive, one after the other.

use std::io::Read;

use tar::{Archive, EntryType, PaxExtensions};

use super::error::{ArchiveFault, RestoreError};
use super::framing::FramedReader;
use super::{
    CONSUMER_STATE_MOST_BYTES, ERRORS, INDEX_MOST_BYTES, META_MOST_BYTES, TAR_BLOCK_BYTES,
};
use crate::format::limits::DECODED_BLOCK_MAX;
use crate::format::names::{
    BlockFile, CONSUMER_STATE, CONSUMERS, META, META_SUM, STATE_PATH, is_valid_asset_name,
};

/// Names of files are far shorter, and so is what else stands in the headers that carry long ones.
const NAME_MOST_BYTES: u64 = 64 * 1024;
/// Of what went wrong for the server, so much is told.
const REASON_MOST_BYTES: u64 = 4096;

/// What a file in an archive is, by its name. There is no other file, so no name leads anywhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ArchivePlace {
    Meta,
    Sum,
    Block(u32),
    Index,
    /// Of a block, by servers up to 2.9; what it says is made anew from the block.
    Legacy,
    ConsumerMeta(String),
    ConsumerSum(String),
    ConsumerState(String),
    Errors,
}

impl ArchivePlace {
    fn of(name: &str) -> Option<Self> {
        match name {
            META => return Some(Self::Meta),
            META_SUM => return Some(Self::Sum),
            STATE_PATH => return Some(Self::Index),
            ERRORS => return Some(Self::Errors),
            _ => {}
        }
        if let Some((number, file)) = BlockFile::parse_path(name) {
            return match file {
                BlockFile::Block => Some(Self::Block(number)),
                BlockFile::LegacyIndex | BlockFile::LegacySubjects => Some(Self::Legacy),
                BlockFile::Key | BlockFile::Rewrite | BlockFile::Compaction => None,
            };
        }
        let below = name.strip_prefix(CONSUMERS)?.strip_prefix('/')?;
        let (consumer, file) = below.split_once('/')?;
        if !is_valid_asset_name(consumer.as_bytes()) {
            return None;
        }
        let consumer = consumer.to_owned();
        match file {
            META => Some(Self::ConsumerMeta(consumer)),
            META_SUM => Some(Self::ConsumerSum(consumer)),
            CONSUMER_STATE => Some(Self::ConsumerState(consumer)),
            _ => None,
        }
    }

    fn most_bytes(&self) -> u64 {
        match self {
            Self::Meta | Self::Sum | Self::ConsumerMeta(_) | Self::ConsumerSum(_) => {
                META_MOST_BYTES
            }
            Self::Block(_) => DECODED_BLOCK_MAX as u64,
            Self::ConsumerState(_) => CONSUMER_STATE_MOST_BYTES,
            // Nothing of these is needed: what is longer is not read.
            Self::Index | Self::Legacy | Self::Errors => u64::MAX,
        }
    }

    /// How much of it is read, at most.
    fn read_bytes(&self) -> u64 {
        match self {
            Self::Index => INDEX_MOST_BYTES,
            Self::Legacy => 0,
            Self::Errors => REASON_MOST_BYTES,
            other => other.most_bytes(),
        }
    }
}

/// Visits the files of an archive in their order. `head` is what was read of it. An index that is too long comes empty.
pub(super) fn for_each_file(
    head: &[u8],
    framed: &mut FramedReader<'_>,
    most_bytes: u64,
    mut visit: impl FnMut(ArchivePlace, &str, Vec<u8>) -> Result<(), RestoreError>,
) -> Result<(), RestoreError> {
    let mut archive = Archive::new(head.chain(&mut *framed));
    // Taken as they come: what carries long names is read here, in bounds.
    let entries = archive.entries().map_err(ArchiveFault::from)?.raw(true);
    let mut long_name = None;
    let mut end = 0_u64;
    for entry in entries {
        let mut entry = entry.map_err(ArchiveFault::from)?;
        let size = entry.size();
        end = entry
            .raw_file_position()
            .saturating_add(size)
            .checked_next_multiple_of(TAR_BLOCK_BYTES)
            .filter(|end| *end <= most_bytes)
            .ok_or(ArchiveFault::TooMuch { most: most_bytes })?;
        match entry.header().entry_type() {
            EntryType::XHeader => long_name = pax_name(&mut entry, size)?.or(long_name),
            EntryType::XGlobalHeader => {}
            EntryType::GNULongName => {
                let mut name = content(&mut entry, "long name", size, NAME_MOST_BYTES)?;
                name.truncate(name.iter().position(|b| *b == 0).unwrap_or(name.len()));
                long_name = Some(name);
            }
            kind => {
                let name = long_name
                    .take()
                    .unwrap_or_else(|| entry.path_bytes().into_owned());
                let name = String::from_utf8_lossy(&name).into_owned();
                if kind != EntryType::Regular {
                    return Err(ArchiveFault::NotAFile { name }.into());
                }
                let Some(place) = ArchivePlace::of(&name) else {
                    return Err(ArchiveFault::Name { name }.into());
                };
                let bytes = content_of(&mut entry, &place, &name, size)?;
                visit(place, &name, bytes)?;
            }
        }
    }
    // Two blocks of zeros end it; one proves that it was not cut between two files.
    match framed.delivered_bytes() >= end.saturating_add(TAR_BLOCK_BYTES) {
        true => Ok(()),
        false => Err(ArchiveFault::Cut.into()),
    }
}

fn content_of(
    entry: &mut impl Read,
    place: &ArchivePlace,
    name: &str,
    size: u64,
) -> Result<Vec<u8>, ArchiveFault> {
    let most = place.most_bytes();
    if size > most {
        return Err(ArchiveFault::TooLong {
            name: name.to_owned(),
            length: size,
            most,
        });
    }
    match place {
        ArchivePlace::Errors => content(entry, name, size.min(place.read_bytes()), u64::MAX),
        place if size <= place.read_bytes() => content(entry, name, size, u64::MAX),
        _ => Ok(Vec::new()),
    }
}

/// So many bytes. Memory grows with what is there, not with what is announced.
fn content(
    entry: &mut impl Read,
    name: &str,
    length: u64,
    most: u64,
) -> Result<Vec<u8>, ArchiveFault> {
    if length > most {
        return Err(ArchiveFault::TooLong {
            name: name.to_owned(),
            length,
            most,
        });
    }
    let mut bytes = Vec::new();
    entry.take(length).read_to_end(&mut bytes)?;
    match bytes.len() as u64 == length {
        true => Ok(bytes),
        false => Err(ArchiveFault::Cut),
    }
}

/// The name in a header of extensions, where there is one.
fn pax_name(entry: &mut impl Read, size: u64) -> Result<Option<Vec<u8>>, ArchiveFault> {
    let bytes = content(entry, "extended header", size, NAME_MOST_BYTES)?;
    let mut name = None;
    for extension in PaxExtensions::new(&bytes) {
        let extension = extension?;
        match extension.key_bytes() {
            b"path" => name = Some(extension.value_bytes().to_vec()),
            // Nothing in an archive is so long that its header could not say it, and two lengths may disagree.
            key if key == b"size" || key.starts_with(b"GNU.sparse") => {
                return Err(ArchiveFault::Tar {
                    reason: "a length in an extended header".to_owned(),
                });
            }
            _ => {}
        }
    }
    Ok(name)
}
