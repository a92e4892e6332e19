//! From a survey to a new store of one stream.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::error::SalvageError;
use super::finish::{Promise, settle_as};
use super::message_cursor::Cursor;
use super::new_blocks::{BlockRules, NewBlocks, write_last};
use super::place::put_together;
use super::plan::{BlockPlan, NewStoreKeys, plan, tombstones_kept};
use super::read::Blocks;
use super::report::{self, SalvageReport};
use super::scan::{RecordSink, Scratch, replay_block};
use super::sets::difference;
use super::settings::meta_of;
use super::survey::{Survey, survey_walking};
use super::walks::{WalkFor, Walks};
use super::{audit, consumers, old_values, quarantine};
use crate::block::builder::file_of;
use crate::crypto::{Cipher, KeyChoice};
use crate::env::{Entropy, FileSystem, ReadFiles};
use crate::format::limits::SEQUENCE_MAX;
use crate::format::meta::{Compression, StreamMeta};
use crate::format::record::{RecordKind, RecordRef};
use crate::format::seqset::SeqSet;
use crate::parallel::Crew;
use crate::recovery::block_size;
use crate::report::events::{Event, EventCode};
use crate::report::{Phase, Progress, Watch};
use crate::stream::options::{Keys, Options};
use crate::stream::writer::{Sealing, StoreWriter, waiting_threads};
use crate::stream::{StreamDir, is_raft_group};

/// What becomes of messages that may have been deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Uncertain {
    /// They are kept.
    #[default]
    Keep,
    /// They are left out.
    Drop,
}

/// How a new store is made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SalvageOptions {
    /// The new stream's directory: new or empty.
    pub out: PathBuf,
    /// Do not encrypt it, whatever the source is.
    pub plaintext: bool,
    /// What becomes of messages that may have been deleted.
    pub uncertain: Uncertain,
    /// Share blocks that are taken over with the source by hard links, all but the last. Whoever erases a message in
    /// place in one of the two then erases it in both.
    pub link: bool,
    /// The number of replicas in the new configuration; `None` keeps the source's. A server standing alone leaves out a
    /// stream with more than one.
    pub replicas: Option<i64>,
    /// Go on where an earlier run was interrupted: what it left unfinished is removed first.
    pub resume: bool,
}

/// Copies everything that can be proven of one stream into a new directory, with side files made from it, and checks that
/// a server would take it by its index. The source is only read.
///
/// The new directory has the source's owner and permissions, and appears under its name once all of it is durable.
///
/// # Errors
///
/// [`SalvageError`]; there is no new directory then.
pub fn salvage(
    fs: &dyn FileSystem,
    stream: &StreamDir,
    options: &Options,
    wish: &SalvageOptions,
    entropy: &dyn Entropy,
    watch: &Watch<'_>,
) -> Result<SalvageReport, SalvageError> {
    let mut found = survey_walking(fs, stream, options, WalkFor::Everything, watch)?;
    let walks = found.walks.take();
    old_values::keep(fs, &mut found, options, wish.uncertain, watch)?;
    if wish.uncertain == Uncertain::Drop {
        found.trust.drop_uncertain();
    }
    put_together(fs, &wish.out, wish.resume, &stream.dir, |out| {
        let attempt = Attempt {
            fs,
            found: &found,
            options,
            wish,
            out,
            entropy,
            watch,
        };
        attempt.either_way(walks)
    })
}

/// One way to make the new store.
struct Attempt<'a> {
    fs: &'a dyn FileSystem,
    found: &'a Survey,
    options: &'a Options,
    wish: &'a SalvageOptions,
    /// Where it is put together.
    out: &'a Path,
    entropy: &'a dyn Entropy,
    watch: &'a Watch<'a>,
}

impl Attempt<'_> {
    /// Block by block where that can be, else anew.
    fn either_way(&self, walks: Option<Walks>) -> Result<SalvageReport, SalvageError> {
        if !self.found.trust.is_ascending() {
            return self.make(true, None);
        }
        match self.make(false, walks) {
            // Records that a server is not of one mind about: put in order, there is nothing left to differ over.
            Err(SalvageError::Mismatch { .. }) => {
                self.fs.remove_dir_all(self.out)?;
                self.make(true, None)
            }
            done => done,
        }
    }

    /// Block by block, or `anew`: message by message into new blocks.
    fn make(&self, anew: bool, walks: Option<Walks>) -> Result<SalvageReport, SalvageError> {
        let Attempt {
            fs,
            found,
            options,
            wish,
            out,
            entropy,
            watch,
        } = *self;
        let target = target_of(found, &options.keys, wish.plaintext);
        let sealing = sealing_of(target, &options.keys);
        let evidence = &found.gathered.evidence;
        let name = evidence.name.as_bytes();
        let writer = StoreWriter::create(fs, out, name, &evidence.account, sealing, entropy)?;
        let mut events = Vec::new();
        let first_seq = found.trust.live.first();
        let meta = meta_of(fs, found, options, first_seq, wish.replicas, &mut events)?;
        writer.meta(&meta.encode())?;
        let mut left_out = SeqSet::new();
        let mut taken = Vec::new();
        if anew {
            left_out = self.write_anew(&writer, block_rules(&meta, found, target, options))?;
        } else {
            taken = write_blocks(fs, found, options, wish, target, &writer, watch)?;
        }
        let blocks = source_blocks(fs, found, &options.keys);
        let quarantined = quarantine::put_aside(fs, &blocks, found, out, &left_out)?;
        let kept = difference(&found.trust.live, &left_out);
        let for_consumers = consumers::Stream::of(found, &meta, &kept, found.trust.last.seq);
        let written = consumers::write(found, &for_consumers, target, &writer)?;
        events.extend(written.events);
        events.extend(copy_extras(fs, found, target, &writer)?);
        writer.finish_on(waiting_threads(options.threads))?;
        let made = StreamDir {
            account: found.stream.account.clone(),
            name: evidence.name.clone(),
            dir: out.to_owned(),
        };
        let mut promise = Promise::of(found);
        promise.messages = kept.len();
        if let Some(first) = kept.first() {
            promise.first_seq = first;
        }
        let walked = walks.and_then(|walks| walks.of_taken(&taken, blocks));
        let settled = settle_as(
            fs,
            &made,
            promise,
            &evidence.account,
            options,
            target,
            walked.unwrap_or_default(),
            entropy,
            watch,
        )?;
        let mut report = report::of(found, quarantined);
        report.stream.ledger = Some(audit::confronted(fs, found, options, watch));
        report::leave_out(&mut report, &left_out);
        report.stream.events.extend(events);
        report::take_state(&mut report, settled);
        report.stream.consumers.extend(written.left_out);
        Ok(report)
    }

    /// Returns the messages left out: a server that reads one whose header length makes no sense may go down.
    fn write_anew(
        &self,
        writer: &StoreWriter<'_>,
        rules: BlockRules,
    ) -> Result<SeqSet, SalvageError> {
        let mut left_out = SeqSet::new();
        let mut cursor = Cursor::new(self.fs, self.found, &self.options.keys, 0..=u64::MAX)?;
        let name = self.found.gathered.evidence.name.as_bytes();
        let mut builder = NewBlocks::new(writer, name, rules);
        while cursor.advance()? {
            if self.watch.cancel.load(Ordering::Relaxed) {
                return Err(SalvageError::Interrupted(self.out.to_owned()));
            }
            match cursor.message() {
                Some(message) if message.is_header_broken => {
                    left_out.insert(message.seq);
                }
                Some(message) => builder.push(&message)?,
                None => {}
            }
        }
        builder.finish(self.found.trust.last)?;
        Ok(left_out)
    }
}

pub(super) fn source_blocks<'a>(
    fs: &'a dyn ReadFiles,
    found: &'a Survey,
    keys: &'a Keys,
) -> Blocks<'a> {
    Blocks {
        fs,
        stream: &found.stream,
        gathered: &found.gathered,
        keys,
        misplaced: &found.misplaced,
    }
}

/// The encryption of the new store: that of the source, under the key that servers are configured with now.
pub(super) fn target_of(found: &Survey, keys: &Keys, plaintext: bool) -> NewStoreKeys {
    let evidence = &found.gathered.evidence;
    if plaintext || !found.gathered.sealed {
        return NewStoreKeys::Plain;
    }
    let key = if keys.current.is_some() {
        KeyChoice::Current
    } else {
        KeyChoice::Previous
    };
    let cipher = if is_raft_group(&found.stream.dir) {
        Cipher::ChaCha
    } else {
        let own = evidence.asset_key.as_ref().map(|opened| opened.cipher);
        keys.cipher.or(own).unwrap_or(Cipher::ChaCha)
    };
    NewStoreKeys::Key(key, cipher)
}

pub(super) fn sealing_of(target: NewStoreKeys, keys: &Keys) -> Sealing<'_> {
    let NewStoreKeys::Key(choice, cipher) = target else {
        return Sealing::Plain;
    };
    let server = match choice {
        KeyChoice::Current => keys.current.as_ref(),
        KeyChoice::Previous => keys.previous.as_ref(),
    };
    match server {
        Some(server) => Sealing::Key { server, cipher },
        None => Sealing::Plain,
    }
}

pub(super) fn block_rules(
    meta: &StreamMeta,
    found: &Survey,
    target: NewStoreKeys,
    options: &Options,
) -> BlockRules {
    let usual = || {
        let raft_group = is_raft_group(&found.stream.dir);
        block_size(meta, raft_group, target != NewStoreKeys::Plain)
    };
    BlockRules {
        size: options.block_size.unwrap_or_else(usual),
        compressed: meta.compression == Compression::S2,
    }
}

/// Writes the blocks and returns the numbers of those that were taken over byte for byte.
fn write_blocks(
    fs: &dyn ReadFiles,
    found: &Survey,
    options: &Options,
    wish: &SalvageOptions,
    target: NewStoreKeys,
    writer: &StoreWriter<'_>,
    watch: &Watch<'_>,
) -> Result<Vec<u32>, SalvageError> {
    let (plans, trailing) = plan(found, target);
    let job = Job {
        blocks: source_blocks(fs, found, &options.keys),
        found,
        plans: &plans,
        link: wish.link,
        last: plans.iter().rposition(|plan| *plan != BlockPlan::Skip),
        writer,
        watch,
    };
    let is_copied = |at: &usize| plans.get(*at) == Some(&BlockPlan::Verbatim);
    let (copied, written): (Vec<usize>, Vec<usize>) = (0..plans.len()).partition(is_copied);
    job.work(&written, options.threads, 0)?;
    job.work(&copied, waiting_threads(options.threads), written.len())?;
    if watch.cancel.load(Ordering::Relaxed) {
        return Err(SalvageError::Interrupted(wish.out.clone()));
    }
    if let Some(last) = trailing {
        let number = found.finds.last().map_or(0, |find| find.number);
        let name = found.gathered.evidence.name.as_bytes();
        write_last(writer, name, number.saturating_add(1), last)?;
    }
    let taken = found.finds.iter().zip(&plans);
    let taken = taken.filter(|(_, plan)| **plan == BlockPlan::Verbatim);
    Ok(taken.map(|(find, _)| find.number).collect())
}

/// Blocks being written.
struct Job<'a, 'w> {
    blocks: Blocks<'a>,
    found: &'a Survey,
    plans: &'a [BlockPlan],
    link: bool,
    last: Option<usize>,
    writer: &'a StoreWriter<'w>,
    watch: &'a Watch<'a>,
}

impl Job<'_, '_> {
    /// Does the blocks at the places in `chosen`, after `before` others.
    fn work(&self, chosen: &[usize], threads: usize, before: usize) -> Result<(), SalvageError> {
        let tell = |done| {
            (self.watch.progress)(Progress {
                phase: Phase::Copy,
                done: (before + done) as u64,
                total: self.plans.len() as u64,
            });
        };
        let crew = Crew::of(threads).until(self.watch.cancel).telling(&tell);
        let done = crew.map_with(chosen, Rewriter::default, |rewriter, at| {
            let plan = self.plans.get(*at).copied();
            plan.map_or(Ok(()), |plan| self.one(*at, plan, rewriter))
        });
        done.map(|_| ())
    }

    fn one(&self, at: usize, plan: BlockPlan, rewriter: &mut Rewriter) -> Result<(), SalvageError> {
        let Some(find) = self.found.finds.get(at) else {
            return Ok(());
        };
        match plan {
            BlockPlan::Skip => Ok(()),
            BlockPlan::Verbatim => {
                let from = self
                    .found
                    .stream
                    .dir
                    .join(&self.found.gathered.messages_dir);
                // The last block is what a server appends to.
                let link = self.link && Some(at) != self.last;
                Ok(self.writer.copy_block(&from, find.number, link)?)
            }
            BlockPlan::Rewrite { compressed } => {
                let mut bytes = rewriter.content(self, at)?;
                if bytes.is_empty() {
                    return Ok(());
                }
                // What is too short to be compressed stays plain.
                if let Ok(packed) = file_of(&bytes, compressed) {
                    bytes = packed;
                }
                Ok(self.writer.block(find.number, &mut bytes)?)
            }
        }
    }
}

#[derive(Default)]
struct Rewriter {
    file: Vec<u8>,
    scratch: Scratch,
}

impl Rewriter {
    /// The content of a block with nothing but what stays.
    fn content(&mut self, job: &Job<'_, '_>, at: usize) -> Result<Vec<u8>, SalvageError> {
        let (Some(find), Some(verdict)) = (job.found.finds.get(at), job.found.trust.blocks.get(at))
        else {
            return Ok(Vec::new());
        };
        job.blocks.read(find.file, &mut self.file)?;
        let mut sink = Keeper {
            kept: &verdict.kept,
            live: &job.found.trust.live,
            content: Vec::new(),
            messages: 0,
        };
        let hash_key = job.found.hash_key(find.number);
        replay_block(
            &mut self.file,
            &hash_key,
            find,
            &mut self.scratch,
            &mut sink,
        );
        let tombstones = tombstones_kept(find, &job.found.trust.live).count();
        if sink.messages != verdict.kept.len() || sink.content.is_empty() && tombstones > 0 {
            return Err(SalvageError::Mismatch {
                dir: job.writer.dir().to_owned(),
                detail: format!(
                    "block {} gave {} messages at first and {} now: the source changes while it is read",
                    find.number,
                    verdict.kept.len(),
                    sink.messages
                ),
            });
        }
        Ok(sink.content)
    }
}

/// Takes over what stays, in file order.
struct Keeper<'a> {
    kept: &'a SeqSet,
    live: &'a SeqSet,
    content: Vec<u8>,
    messages: u64,
}

impl RecordSink for Keeper<'_> {
    fn record(&mut self, record: &RecordRef, content: &[u8]) {
        let seq = record.sequence() & SEQUENCE_MAX;
        let stays = match record.kind() {
            RecordKind::Message => self.kept.contains(seq),
            RecordKind::Tombstone => {
                seq > 0 && record.sequence_bits() >> 62 == 1 && !self.live.contains(seq)
            }
            // What is not there is gone just as well.
            RecordKind::Erased => false,
        };
        if let (true, Some(bytes)) = (stays, record.bytes(content)) {
            self.content.extend_from_slice(bytes);
            self.messages += u64::from(record.kind() == RecordKind::Message);
        }
    }
}

/// Files besides those of the store: a raft group's own, and staged batches.
fn copy_extras(
    fs: &dyn FileSystem,
    found: &Survey,
    target: NewStoreKeys,
    writer: &StoreWriter<'_>,
) -> Result<Option<Event>, SalvageError> {
    let source = &found.stream.dir;
    if is_raft_group(source) {
        for name in ["peers.idx", "tav.idx", "commit.idx"] {
            copy_if_there(fs, source, name, writer)?;
        }
        for entry in fs.list(&source.join("snapshots")).unwrap_or_default() {
            if let Some(name) = entry.name.to_str() {
                copy_if_there(fs, source, &format!("snapshots/{name}"), writer)?;
            }
        }
    }
    let batches = source.join("batches");
    if fs.metadata(&batches).is_err() {
        return Ok(None);
    }
    // Batches are stores of their own, sealed as the stream was.
    let lies = match &found.gathered.evidence.asset_key {
        Some(opened) => Some(NewStoreKeys::Key(opened.key, opened.cipher)),
        None if found.gathered.sealed => None,
        None => Some(NewStoreKeys::Plain),
    };
    if lies == Some(target) {
        fs.copy_tree(&batches, &writer.dir().join("batches"))?;
        return Ok(None);
    }
    let detail =
        "the staged batches are not under the key of the new store, and stay in the source";
    let mut event = Event::new(EventCode::BatchLeft, detail);
    event.file = Some("batches".into());
    Ok(Some(event))
}

fn copy_if_there(
    fs: &dyn ReadFiles,
    source: &Path,
    name: &str,
    writer: &StoreWriter<'_>,
) -> Result<(), SalvageError> {
    let from = source.join(name);
    match fs.metadata(&from) {
        Ok(_) => Ok(writer.copy_file(&from, name)?),
        Err(_) => Ok(()),
    }
}
