//! Reading everything beside the blocks.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::error::SalvageError;
use super::index::read_index;
use super::staging::{list, messages_dir};
use super::{Evidence, IndexEvidence};
use crate::block::key::BlockFiles;
use crate::env::{DirEntry, FileKind, ReadFiles};
use crate::format::names::{BlockFile, block_number};
use crate::report::events::{Event, EventCode};
use crate::stream::metadata::{self, MetaOrigin, StreamMetaFound, read_stream};
use crate::stream::options::{Keys, Options};
use crate::stream::{StreamDir, account_of};

/// Different first tokens that a made configuration lists one by one before it takes everything.
const TOKENS_MAX: usize = 64;

/// Everything the side files tell of a stream, and how it was come by.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// What they tell.
    pub evidence: Evidence,
    /// The directory with the blocks, relative to the stream's: `msgs`, unless a purge was interrupted.
    pub messages_dir: String,
    /// Whether the stream or any block of it is encrypted.
    pub sealed: bool,
    /// What was seen, in the order it arose.
    pub events: Vec<Event>,
}

impl Gathered {
    /// Where the blocks lie, and what opens them.
    #[must_use]
    pub fn block_files<'a>(
        &'a self,
        fs: &'a dyn ReadFiles,
        dir: &'a Path,
        keys: &'a Keys,
    ) -> BlockFiles<'a> {
        BlockFiles {
            fs,
            dir,
            messages: &self.messages_dir,
            name: self.evidence.name.as_bytes(),
            ring: keys.ring(&self.evidence.account),
            sealed: self.sealed,
        }
    }
}

/// Reads the side files of a stream, mending each in memory where flipped bits explain what is wrong with it. Nothing is
/// written. Time is bounded: some seconds for each damaged file of whatever length.
///
/// # Errors
///
/// [`SalvageError::NeedsKey`] where the stream is encrypted and nothing opens; [`SalvageError::Io`] where a directory
/// cannot be listed, or a file not be read for want of permission. What the device does not give is taken for lost.
pub fn read(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
) -> Result<Gathered, SalvageError> {
    let account = account_of(stream, options);
    let ring = options.keys.ring(&account);
    let mut own = read_stream(fs, stream, options, ring)?;
    let mut events = std::mem::take(&mut own.found.events);
    let messages_dir = messages_dir(fs, &stream.dir, &own.name, ring, &mut events)?;
    let entries = list(fs, &stream.dir.join(messages_dir))?.unwrap_or_default();
    let blocks = block_list(&entries, messages_dir, &mut events);
    let key_files: Vec<u32> = entries
        .iter()
        .filter_map(|entry| BlockFile::Key.number_in(entry.name.as_encoded_bytes()))
        .collect();
    own.insist_on_key(fs, stream, messages_dir, &key_files, ring)?;
    let (meta, meta_origin) = own.configuration(&options.configurations, &mut events);
    let StreamMetaFound { name, found } = own;
    let mut gathered = Gathered {
        sealed: found.has_key_file || !key_files.is_empty(),
        messages_dir: messages_dir.to_owned(),
        evidence: Evidence {
            name,
            meta,
            meta_origin,
            asset_key: found.key.map(Box::new),
            index: None,
            blocks,
            repairs: found.repairs,
            account: account.clone(),
        },
        events,
    };
    if !options.no_index {
        read_index(fs, &stream.dir, &mut gathered, &options.keys)?;
    }
    finish(&mut gathered);
    Ok(gathered)
}

/// Makes up metadata where there is none, and tells what was mended.
fn finish(gathered: &mut Gathered) {
    let Evidence {
        meta,
        meta_origin,
        index,
        repairs,
        ..
    } = &mut gathered.evidence;
    if *meta_origin == MetaOrigin::Made
        && let Some(IndexEvidence { state, .. }) = index
    {
        let subjects = covering_subjects(state.subjects.iter().map(|entry| entry.subject));
        *meta = meta.with_subjects(subjects);
    }
    gathered.events.extend(repairs.iter().map(metadata::mended));
}

/// Subjects for a configuration that has to take all of `subjects`: a subject of one token as it is, others by their
/// first token, and `>` where there would be more than 64. Memory in proportion to the tokens, not to the subjects.
pub fn covering_subjects<'a>(subjects: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut covering = BTreeSet::new();
    for subject in subjects {
        let Ok(subject) = std::str::from_utf8(subject) else {
            return vec![">".to_owned()];
        };
        covering.insert(match subject.split_once('.') {
            Some((token, _)) => format!("{token}.>"),
            None => subject.to_owned(),
        });
        if covering.len() > TOKENS_MAX {
            return vec![">".to_owned()];
        }
    }
    covering.into_iter().collect()
}

/// Block numbers, by strict names.
fn block_list(entries: &[DirEntry], messages_dir: &str, events: &mut Vec<Event>) -> Vec<u32> {
    let mut numbers = BTreeSet::new();
    for entry in entries {
        let name = entry.name.as_encoded_bytes();
        if !name.ends_with(b".blk") {
            continue;
        }
        match block_number(name) {
            Some(number) if entry.kind != FileKind::Dir => {
                numbers.insert(number);
            }
            _ => {
                let shown = entry.name.to_string_lossy();
                let detail = format!("{shown:?} is no block's name; it is passed over");
                let event = Event::new(EventCode::BlockNameAmbiguous, detail);
                events.push(event.file(messages_dir));
            }
        }
    }
    numbers.into_iter().collect()
}
