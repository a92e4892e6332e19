//! One store, from its files to a judged state: the steps of the server's open call, in its order.
//!
//! 1. purge staging left by a crash;
//! 2. the fast path through `index.db`;
//! 3. else every block, and the last sequence the index knew;
//! 4. TTLs, schedules and sources;
//! 5. tombstones;
//! 6. limits on messages and bytes;
//! 7. age;
//! 8. the limit per subject;
//! 9. the configured first sequence.
//!
//! Then what the server does not do: verify every record, and the digest.
//!
//! Nothing is written here. What has to change comes out as a list.

use super::fault::{Cause, Fault};
use super::index::{FileVerdict, Row, judge_file};
use super::model::{Block, Disk, Model, Rules, StreamKeys};
use super::replay::replay;
use super::scan::{ScanRules, scan_blocks};
use super::server::Feature;
use super::session::deleted_of;
use super::timers::TimerRules;
use super::verify::Verifier;
use super::walked::WalkedBlocks;
use crate::crypto::{Cipher, Seed};
use crate::format::checksum::HashKey;
use crate::format::names;
use crate::report::actions::{Action, ActionKind, Change};
use crate::report::events::{Event, EventCode};
use crate::report::stream::{Refusal, Source};
use crate::report::{Phase, Progress, Watch};
use crate::stream::files::{FileFault, StreamFiles};

/// What the steps need to know of one store.
pub struct StoreSetup<'a> {
    /// Configuration.
    pub rules: Rules,
    /// Which timers apply.
    pub timers: TimerRules,
    /// Keys.
    pub keys: StreamKeys<'a>,
    /// The stream's asset key, where `meta.key` gave one.
    pub asset_key: Option<(Seed, Cipher)>,
    /// Scan threads.
    pub threads: usize,
    /// Whether plain blocks are mapped.
    pub map_files: bool,
    /// Whether every step reads its blocks itself.
    pub careful: bool,
    /// Whether `index.db` is to be ignored.
    pub no_index: bool,
    /// Whether a sound index is believed without reading the blocks.
    pub quick: bool,
    /// Whether the digest is wanted.
    pub digest: bool,
    /// Whether all side files are to be written anew.
    pub rebuild: bool,
    /// Whether a block that two names stand for is read twice, as the server does, and not refused.
    pub twins: bool,
    /// The stream's metadata, where the open call writes it anew.
    pub new_meta: Option<Vec<u8>>,
    /// Blocks that the caller has walked himself: not read again where the state is rebuilt.
    pub walked: WalkedBlocks,
    /// Whether the changes will be carried out. If not, none are put together.
    pub wants_changes: bool,
}

/// A store that opens.
pub struct Opened<'a> {
    /// The store as it would be.
    pub model: Model<'a>,
    /// Where the state came from.
    pub source: Source,
    /// Live sequences that cannot be read.
    pub unreadable: Vec<u64>,
    /// The digest, where wanted.
    pub digest: Option<[u8; 32]>,
    /// What has to change on disk.
    pub changes: Vec<Change>,
}

/// A store that does not.
#[derive(Debug)]
pub struct Refused {
    /// Why, for the exit code.
    pub refusal: Refusal,
    /// The cause.
    pub fault: Fault,
    /// Everything seen up to then.
    pub events: Vec<Event>,
    /// Everything the server would have done up to then.
    pub actions: Vec<Action>,
}

/// Deleted sequences of one block that are looked at one by one.
const DELETED_LISTED_MAX: usize = 1 << 20;

/// Runs the steps.
///
/// # Errors
///
/// [`Refused`]: the server's open call would fail or crash, or a file could not be read.
pub fn open<'a>(
    files: StreamFiles<'a>,
    setup: StoreSetup<'a>,
    watch: &Watch<'_>,
) -> Result<Opened<'a>, Box<Refused>> {
    let StoreSetup {
        rules,
        mut timers,
        keys,
        asset_key,
        threads,
        map_files,
        careful,
        no_index,
        quick,
        digest,
        rebuild,
        twins,
        new_meta,
        walked,
        wants_changes,
    } = setup;
    let mut model = Model::new(rules, Disk::new(files, keys));
    model.wants_changes = wants_changes;
    model.threads = threads;
    timers.anew = rebuild;
    let mut steps = Steps {
        threads,
        map_files,
        careful,
        timers: &timers,
        no_index,
        twins,
        asset_key,
        watch,
        walked,
    };
    let source = match steps.load(&mut model) {
        Ok(source) => source,
        Err((refusal, fault)) => return Err(refuse(model, refusal, fault)),
    };
    if rebuild && let Err(fault) = recount_timers(&mut model) {
        return Err(refuse_late(model, fault));
    }
    if let Err(fault) = after_load(&mut model, &timers) {
        return Err(refuse_late(model, fault));
    }
    if rebuild {
        model.drop_dead_schedules();
    }
    let first_seq = model.totals.first.seq;
    model.apply_late_rebuilds();
    if model.starts_too_low(first_seq)
        && let Err(fault) = model.purge_to_first_seq()
    {
        return Err(refuse(model, Refusal::OpenFails, fault));
    }
    let (unreadable, digest) = read_everything(&mut model, source, quick, digest, threads, watch);
    if let Some(json) = new_meta {
        model.write_meta(json);
    }
    match model.changes() {
        Ok(changes) => Ok(Opened {
            model,
            source,
            unreadable,
            digest,
            changes,
        }),
        Err(fault) => Err(refuse(model, Refusal::Io, fault)),
    }
}

struct Steps<'w> {
    threads: usize,
    map_files: bool,
    careful: bool,
    timers: &'w TimerRules,
    no_index: bool,
    twins: bool,
    asset_key: Option<(Seed, Cipher)>,
    watch: &'w Watch<'w>,
    walked: WalkedBlocks,
}

impl Steps<'_> {
    /// Steps 1 to 3.
    fn load(&mut self, model: &mut Model<'_>) -> Result<Source, (Refusal, Fault)> {
        recover_purge(model).map_err(|fault| (refusal_of(&fault), fault))?;
        let file = if self.no_index || !model.rules.server.has(Feature::IndexFile) {
            Err(FileFault::Missing)
        } else {
            model
                .disk
                .files
                .read(&format!("{}/index.db", model.disk.msgs))
        };
        let hash_key = HashKey::for_stream(&model.rules.name);
        let asset_key = self
            .asset_key
            .as_ref()
            .map(|(seed, cipher)| (seed, *cipher));
        let server = model.rules.server;
        let verdict: FileVerdict = judge_file(file.as_deref(), &hash_key, asset_key, server);
        let row = model
            .recover_from_index(verdict)
            .map_err(|fault| (Refusal::ServerDown, fault))?;
        if row == Row::D18 {
            return Ok(Source::Index);
        }
        if !server.has(Feature::IndexFile) {
            // It may be there all the same: such a server does not look.
            model
                .events
                .retain(|event| event.code != EventCode::IndexAbsent);
        }
        let prior = model.start_over();
        // The server looks for a purge once more before it reads the blocks, and a purge that the
        // first look took back no longer hides what another had left.
        remove_purged(model);
        self.read_blocks(model)
            .map_err(|fault| (refusal_of(&fault), fault))?;
        model
            .restore_prior_last(&prior)
            .map_err(|fault| (Refusal::OpenFails, fault))?;
        Ok(Source::Blocks)
    }

    fn read_blocks(&mut self, model: &mut Model<'_>) -> Result<(), Fault> {
        let numbers = model.block_numbers()?;
        let total = numbers.len();
        let WalkedBlocks { blocks, subjects } = std::mem::take(&mut self.walked);
        if model.rules.tracks_subjects {
            model.subjects = subjects;
        }
        let rules = ScanRules {
            files: model.disk.files,
            msgs: model.disk.msgs,
            keys: model.disk.keys,
            tracked: model.rules.tracks_subjects,
            threads: self.threads,
            map_files: self.map_files,
            noise: model.disk.noise(),
            converted: model.disk.converted(),
            server: model.rules.server,
            walked: &blocks,
            wish: model.scan_wish(self.timers),
            careful: self.careful,
        };
        let twins = twins_of(&numbers);
        let mut distinct = numbers.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let named_twice = distinct.len() < numbers.len();
        distinct.retain(|number| !model.disk.removes(*number));
        let watch = self.watch;
        let done = move |done| {
            (watch.progress)(Progress {
                phase: Phase::Scan,
                done: done as u64,
                total: total as u64,
            })
        };
        let mut scanned = scan_blocks(rules, &distinct, &model.subjects, &done, watch.cancel);
        if self.twins {
            // The server reads such a block once for each name.
            for twin in twins {
                let again = scan_blocks(rules, &[twin], &model.subjects, &|_| {}, watch.cancel);
                scanned.append(again);
            }
        } else if named_twice {
            return Err(Fault::general(Cause::Other(
                "two names stand for one block, which the server would read twice; leave one of them".into(),
            )));
        }
        model.merge_blocks(scanned)
    }
}

/// The block numbers that more than one name stands for, once for each name beyond the first.
fn twins_of(numbers: &[u32]) -> Vec<u32> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let pairs = sorted.windows(2);
    pairs
        .filter_map(|pair| match pair {
            [one, other] if one == other => Some(*one),
            _ => None,
        })
        .collect()
}

/// Which refusal a failed load amounts to: the device's and the keys' are for the caller to mend.
fn refusal_of(fault: &Fault) -> Refusal {
    match fault.cause {
        Cause::Io(_) => Refusal::Io,
        Cause::Crash(_) => Refusal::ServerDown,
        _ => Refusal::OpenFails,
    }
}

/// An open that ends behind the blocks: some releases crash on their way out.
fn refuse_late(model: Model<'_>, fault: Fault) -> Box<Refused> {
    let refusal = match model.rules.server.has(Feature::LateEndCrashes) {
        true => Refusal::ServerDown,
        false => refusal_of(&fault),
    };
    refuse(model, refusal, fault)
}

/// A change of keys that an open broke off, this one or one before (H40).
fn note_half_rotation(model: &mut Model<'_>, fault: &Fault) {
    let (current, changed) = model.keyed;
    let here = matches!(fault.cause, Cause::BadRecord(_) | Cause::Misaligned);
    let half = changed > 0 || current > 0 && here;
    if model.disk.keys.previous.is_none() || !half {
        return;
    }
    let detail = format!(
        "{current} blocks are under the new key, {changed} more are put under it before the open fails; a start with the \
         former key alone deletes them"
    );
    model.event(Event::new(EventCode::RotationHalfDone, detail));
}

fn refuse(mut model: Model<'_>, refusal: Refusal, fault: Fault) -> Box<Refused> {
    let code = match refusal {
        Refusal::ServerDown => EventCode::OpenWouldCrash,
        Refusal::OpenFails if model.rules.server.has(Feature::FailedOpenDeletes) => {
            EventCode::ServerWouldDeleteStream
        }
        Refusal::OpenFails => EventCode::ServerWouldSkipStream,
        _ => EventCode::IoError,
    };
    let mut event = Event::new(code, fault.to_string());
    event.file = fault.file();
    event.offset = fault.offset();
    event.seq = fault.seq;
    model.events.push(event);
    if refusal == Refusal::OpenFails {
        note_half_rotation(&mut model, &fault);
    }
    Box::new(Refused {
        refusal,
        fault,
        events: model.events,
        actions: model.actions,
    })
}

/// Step 1: a purge that was under way is finished or taken back.
fn recover_purge(model: &mut Model<'_>) -> Result<(), Fault> {
    let files = model.disk.files;
    let stages = model.rules.server.has(Feature::PurgeStaging);
    let staged = match files.list("__new_msgs__") {
        _ if !stages => None,
        Ok(staged) => Some(staged),
        Err(FileFault::Missing) => None,
        Err(FileFault::Failed(detail)) => return Err(Fault::general(Cause::Io(detail))),
    };
    let mut changes = Vec::new();
    let remove = |path: &str| Change::RemoveTree {
        path: path.to_owned(),
    };
    match staged {
        Some(staged)
            if staged
                .iter()
                .any(|entry| entry.name.as_encoded_bytes().ends_with(b".blk")) =>
        {
            let detail = "a purge had staged its marker block: the old messages go, the marker takes their place";
            model.event(Event::new(EventCode::PurgeCompleted, detail).file("__new_msgs__"));
            model.action(ActionKind::CompletePurge, "msgs", None, detail);
            model.lossy |= staged_marker_is_doubtful(model, &staged);
            changes.push(remove("msgs"));
            changes.push(Change::Rename {
                from: "__new_msgs__".into(),
                to: "msgs".into(),
            });
            model.disk.msgs = "__new_msgs__";
        }
        Some(staged) => {
            let detail =
                "a purge had not got as far as its marker block: what it began is taken back";
            model.event(Event::new(EventCode::PurgeRolledBack, detail).file("__new_msgs__"));
            model.action(ActionKind::RollBackPurge, "__new_msgs__", None, detail);
            for entry in &staged {
                if let Some(number) = names::lax_key_number(entry.name.as_encoded_bytes()) {
                    model.disk.block(number).removed = true;
                }
            }
            changes.push(remove("__new_msgs__"));
            model.disk.staging = changes;
            make_messages_directory(model);
            return Ok(());
        }
        None => {}
    }
    model.disk.staging = changes;
    remove_purged(model);
    make_messages_directory(model);
    Ok(())
}

/// Old messages that a finished purge was still deleting go.
fn remove_purged(model: &mut Model<'_>) {
    let path = "__msgs__";
    let change = Change::RemoveTree { path: path.into() };
    let there = matches!(model.disk.files.exists(path), Ok(true));
    if there && !model.disk.staging.contains(&change) {
        let detail = "purged messages that were still being deleted";
        model.action(ActionKind::RemovePurged, path, None, detail);
        model.disk.staging.push(change);
    }
}

/// A stream directory without `msgs` is that of an empty store.
fn make_messages_directory(model: &mut Model<'_>) {
    let msgs = model.disk.msgs;
    if !matches!(model.disk.files.exists(msgs), Ok(false)) {
        return;
    }
    let detail = "there is no directory for messages: the store is taken as empty";
    model.action(ActionKind::CreateDirectory, msgs, None, detail);
    model
        .disk
        .staging
        .push(Change::CreateDir { path: msgs.into() });
}

/// A staged name that ends in `.blk` and is no block costs all messages (H26): worth a question.
fn staged_marker_is_doubtful(model: &Model<'_>, staged: &[crate::stream::files::Name]) -> bool {
    let sound = staged.iter().any(|entry| {
        names::block_number(entry.name.as_encoded_bytes()).is_some_and(|number| {
            let hash_key = HashKey::for_block(&model.rules.name, number);
            let path = format!("__new_msgs__/{number}.blk");
            model.disk.keys.current.is_some()
                || model.disk.files.read(&path).is_ok_and(|bytes| {
                    crate::format::record::parse_at(&bytes, 0).is_ok_and(|record| {
                        crate::block::content::verifies(&record, &bytes, &hash_key)
                    })
                })
        })
    });
    !sound
}

/// Has every block say anew how many of its records carry a TTL or a schedule: an older index does not know, and a block
/// that counts none is passed over.
fn recount_timers(model: &mut Model<'_>) -> Result<(), Fault> {
    model.dirty = true;
    for at in 0..model.blocks.len() {
        let block = model.blocks.get(at);
        if block.is_some_and(|block| block.messages > 0) && !model.count_as_loaded(at) {
            model.load(at)?;
        }
    }
    Ok(())
}

/// Steps 4 to 8.
fn after_load(model: &mut Model<'_>, timers: &TimerRules) -> Result<(), Fault> {
    model.recover_timers(timers)?;
    if model.rules.server.has(Feature::Tombstones) {
        model.apply_tombstones()?;
    } else {
        note_returning(model);
    }
    if model.rules.limits {
        model.enforce_message_limit()?;
        model.enforce_byte_limit()?;
    }
    if model.rules.expire && model.rules.max_age_ns != 0 {
        model.expire_by_age()?;
        model.note_future_first();
    }
    if model.rules.limits && model.rules.max_messages_per_subject > 0 {
        model.enforce_subject_limit()?;
    }
    Ok(())
}

/// Deleted messages whose tombstones this server does not know come back.
fn note_returning(model: &mut Model<'_>) {
    let mut returning = std::mem::take(&mut model.tombstones);
    returning.sort_unstable();
    returning.dedup();
    returning.retain(|seq| model.holds(*seq));
    if let [first, ..] = returning.as_slice() {
        let detail = format!(
            "{} messages that were deleted are live again: server {} does not know tombstones",
            returning.len(),
            model.rules.server.version()
        );
        model.event(Event::new(EventCode::TombstonesIgnored, detail).seq(*first));
    }
}

/// Where the totals leave no room for deleted sequences, those that are deleted all the same count
/// as live and cannot be read.
fn add_uncounted(model: &Model<'_>, unreadable: &mut Vec<u64>) {
    let (first, last) = (model.totals.first.seq, model.totals.last.seq);
    if last < first || model.totals.messages <= last - first {
        return;
    }
    for (at, block) in model.blocks.iter().enumerate() {
        let deleted = block.deleted.spans().flatten().take(DELETED_LISTED_MAX);
        let within =
            |seq: &u64| (first..=last).contains(seq) && model.select_block(*seq) == Some(at);
        unreadable.extend(deleted.filter(within));
    }
    unreadable.sort_unstable();
    unreadable.dedup();
}

/// Steps behind the open call: which live messages cannot be read, and the digest of the others.
fn read_everything(
    model: &mut Model<'_>,
    source: Source,
    quick: bool,
    digest: bool,
    threads: usize,
    watch: &Watch<'_>,
) -> (Vec<u64>, Option<[u8; 32]>) {
    let mut unreadable = std::mem::take(&mut model.unreadable);
    let mut shifts = false;
    if !quick {
        let is_unread =
            |block: &&Block| source == Source::Index || model.unverified.contains(&block.number);
        let unread: Vec<Block> = model.blocks.iter().filter(is_unread).cloned().collect();
        let verified = verify(model, &unread, threads, watch);
        unreadable.extend(verified.0);
        shifts = verified.1;
    }
    add_uncounted(model, &mut unreadable);
    if !quick
        && (shifts || !unreadable.is_empty())
        && let Some(replayed) = replay(model, &deleted_of(model).1)
    {
        return (replayed.unreadable, digest.then_some(replayed.digest));
    }
    unreadable.retain(|seq| model.holds(*seq));
    let digest = digest.then(|| Verifier::new(model).digest(model, &deleted_of(model).1, threads));
    (unreadable, digest)
}

/// Verifies every record of `blocks`, which nothing has read so far: what cannot be read, and whether reading changes
/// what later reads find.
fn verify(
    model: &mut Model<'_>,
    blocks: &[Block],
    threads: usize,
    watch: &Watch<'_>,
) -> (Vec<u64>, bool) {
    let total = blocks.len();
    let done = |done| {
        (watch.progress)(Progress {
            phase: Phase::Verify,
            done: done as u64,
            total: total as u64,
        })
    };
    let views = Verifier::new(model).verify_all(blocks, threads, &done, watch.cancel);
    let mut unreadable = Vec::new();
    let mut shifts = false;
    for view in views {
        shifts |= view.shifts;
        unreadable.extend(view.unreadable);
        model.outlived |= view.outlived;
        model.events.extend(view.events);
    }
    unreadable.sort_unstable();
    (unreadable, shifts)
}
