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
use super::index::{FileVerdict, IndexVerdict, judge_file};
use super::overtaken::PurgeFiles;
use super::scan::{ScanRules, scan_blocks};
use super::server::Quirk;
use super::simulate::{Overlay, Rules, Simulation, StreamKeys};
use super::timers::TimerRules;
use super::verify::read_everything;
use super::walked::WalkedBlocks;
use crate::crypto::{Cipher, Seed};
use crate::format::checksum::HashKey;
use crate::format::names;
use crate::format::names::{BlockFile, MESSAGES, PURGED_MESSAGES, STAGED_MESSAGES, STATE_FILE};
use crate::report::actions::{Action, ActionKind, Change};
use crate::report::events::{Event, EventCode, Severity};
use crate::report::stream::{Refusal, Source};
use crate::report::{Phase, Progress, Watch};
use crate::stream::files::{FileFault, Name, StreamFiles};

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
    pub duplicate_names: bool,
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
    pub sim: Simulation<'a>,
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
        duplicate_names,
        new_meta,
        walked,
        wants_changes,
    } = setup;
    let mut sim = Simulation::new(rules, Overlay::new(files, keys));
    sim.wants_changes = wants_changes;
    sim.threads = threads;
    timers.anew = rebuild;
    let mut steps = Steps {
        threads,
        map_files,
        careful,
        timers: &timers,
        no_index,
        duplicate_names,
        asset_key,
        watch,
        walked,
    };
    let source = match steps.load(&mut sim) {
        Ok(source) => source,
        Err((refusal, fault)) => return Err(refuse(sim, refusal, fault)),
    };
    if rebuild && let Err(fault) = recount_timers(&mut sim) {
        return Err(refuse_late(sim, fault));
    }
    if let Err(fault) = after_load(&mut sim, &timers) {
        return Err(refuse_late(sim, fault));
    }
    if rebuild {
        sim.drop_dead_schedules();
    }
    let first_seq = sim.totals.first.seq;
    sim.apply_late_rebuilds();
    if sim.starts_too_low(first_seq)
        && let Err(fault) = sim.purge_to_first_seq()
    {
        return Err(refuse(sim, Refusal::OpenFails, fault));
    }
    let (unreadable, digest) = read_everything(&mut sim, source, quick, digest, threads, watch);
    if let Some(json) = new_meta {
        sim.write_meta(json);
    }
    match sim.changes() {
        Ok(changes) => Ok(Opened {
            sim,
            source,
            unreadable,
            digest,
            changes,
        }),
        Err(fault) => Err(refuse(sim, Refusal::Io, fault)),
    }
}

struct Steps<'w> {
    threads: usize,
    map_files: bool,
    careful: bool,
    timers: &'w TimerRules,
    no_index: bool,
    duplicate_names: bool,
    asset_key: Option<(Seed, Cipher)>,
    watch: &'w Watch<'w>,
    walked: WalkedBlocks,
}

impl Steps<'_> {
    /// Steps 1 to 3.
    fn load(&mut self, sim: &mut Simulation<'_>) -> Result<Source, (Refusal, Fault)> {
        recover_purge(sim).map_err(|fault| (refusal_of(&fault), fault))?;
        let file = if self.no_index || !sim.rules.server.has(Quirk::IndexFile) {
            Err(FileFault::Missing)
        } else {
            sim.overlay
                .files
                .read(&format!("{}/{STATE_FILE}", sim.overlay.msgs))
        };
        let hash_key = HashKey::for_stream(&sim.rules.name);
        let asset_key = self
            .asset_key
            .as_ref()
            .map(|(seed, cipher)| (seed, *cipher));
        let server = sim.rules.server;
        let file_verdict: FileVerdict =
            judge_file(file.as_deref(), &hash_key, asset_key, server, self.threads);
        let verdict = sim
            .recover_from_index(file_verdict)
            .map_err(|fault| (Refusal::ServerDown, fault))?;
        if verdict == IndexVerdict::Sound {
            return Ok(Source::Index);
        }
        if !server.has(Quirk::IndexFile) {
            // It may be there all the same: such a server does not look.
            sim.events
                .retain(|event| event.code != EventCode::IndexAbsent);
        }
        let prior = sim.start_over();
        // The server looks for a purge once more before it reads the blocks, and a purge that the
        // first look took back no longer hides what another had left.
        remove_purged(sim);
        self.read_blocks(sim)
            .map_err(|fault| (refusal_of(&fault), fault))?;
        sim.restore_prior_last(&prior)
            .map_err(|fault| (Refusal::OpenFails, fault))?;
        Ok(Source::Blocks)
    }

    fn read_blocks(&mut self, sim: &mut Simulation<'_>) -> Result<(), Fault> {
        let numbers = sim.block_numbers()?;
        let total = numbers.len();
        let WalkedBlocks { blocks, subjects } = std::mem::take(&mut self.walked);
        if sim.rules.tracks_subjects {
            sim.subjects = subjects;
        }
        let rules = ScanRules {
            files: sim.overlay.files,
            msgs: sim.overlay.msgs,
            keys: sim.overlay.keys,
            tracked: sim.rules.tracks_subjects,
            threads: self.threads,
            map_files: self.map_files,
            noise: sim.overlay.noise(),
            converted: sim.overlay.converted(),
            server: sim.rules.server,
            walked: &blocks,
            wish: sim.scan_wish(self.timers),
            careful: self.careful,
        };
        let duplicate_names = names_beyond_the_first(&numbers);
        let mut distinct = numbers.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let named_twice = distinct.len() < numbers.len();
        distinct.retain(|number| !sim.overlay.removes(*number));
        let watch = self.watch;
        let done = move |done| {
            (watch.progress)(Progress {
                phase: Phase::Scan,
                done: done as u64,
                total: total as u64,
            })
        };
        let mut scanned = scan_blocks(rules, &distinct, &sim.subjects, &done, watch.cancel);
        if self.duplicate_names {
            // The server reads such a block once for each name.
            for twin in duplicate_names {
                let again = scan_blocks(rules, &[twin], &sim.subjects, &|_| {}, watch.cancel);
                scanned.append(again);
            }
        } else if named_twice {
            return Err(Fault::general(Cause::Other(
                "two names stand for one block, which the server would read twice; leave one of them".into(),
            )));
        }
        sim.merge_blocks(scanned)
    }
}

/// The block numbers that more than one name stands for, once for each name beyond the first.
fn names_beyond_the_first(numbers: &[u32]) -> Vec<u32> {
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
fn refuse_late(sim: Simulation<'_>, fault: Fault) -> Box<Refused> {
    let refusal = match sim.rules.server.has(Quirk::LateEndCrashes) {
        true => Refusal::ServerDown,
        false => refusal_of(&fault),
    };
    refuse(sim, refusal, fault)
}

/// A change of keys that an open broke off, this one or one before (H40).
fn note_half_rotation(sim: &mut Simulation<'_>, fault: &Fault) {
    let (current, changed) = sim.keyed;
    let here = matches!(fault.cause, Cause::BadRecord(_) | Cause::Misaligned);
    let half = changed > 0 || current > 0 && here;
    if sim.overlay.keys.previous.is_none() || !half {
        return;
    }
    let detail = format!(
        "{current} blocks are under the new key, {changed} more are put under it before the open fails; a start with the \
         former key alone deletes them"
    );
    sim.event(Event::new(EventCode::RotationHalfDone, detail));
}

fn refuse(mut sim: Simulation<'_>, refusal: Refusal, fault: Fault) -> Box<Refused> {
    let code = match refusal {
        Refusal::ServerDown => EventCode::OpenWouldCrash,
        Refusal::OpenFails if sim.rules.server.has(Quirk::FailedOpenDeletes) => {
            EventCode::ServerWouldDeleteStream
        }
        Refusal::OpenFails => EventCode::ServerWouldSkipStream,
        _ => EventCode::IoError,
    };
    let mut event = Event::new(code, fault.to_string());
    event.file = fault.file();
    event.offset = fault.offset();
    event.seq = fault.seq;
    sim.events.push(event);
    if refusal == Refusal::OpenFails {
        note_half_rotation(&mut sim, &fault);
    }
    Box::new(Refused {
        refusal,
        fault,
        events: sim.events,
        actions: sim.actions,
    })
}

/// Step 1: a purge that was under way is finished or taken back.
fn recover_purge(sim: &mut Simulation<'_>) -> Result<(), Fault> {
    let files = sim.overlay.files;
    let stages = sim.rules.server.has(Quirk::PurgeStaging);
    let staged = match files.list(STAGED_MESSAGES) {
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
            sim.event(Event::new(EventCode::PurgeCompleted, detail).file(STAGED_MESSAGES));
            sim.action(ActionKind::CompletePurge, MESSAGES, None, detail);
            if staged_marker_is_doubtful(sim, &staged) || note_overtaken(sim, &staged) {
                sim.note_loss(false);
            }
            changes.push(remove(MESSAGES));
            changes.push(Change::Rename {
                from: STAGED_MESSAGES.into(),
                to: MESSAGES.into(),
            });
            sim.overlay.msgs = STAGED_MESSAGES;
        }
        Some(staged) => {
            let detail =
                "a purge had not got as far as its marker block: what it began is taken back";
            sim.event(Event::new(EventCode::PurgeRolledBack, detail).file(STAGED_MESSAGES));
            sim.action(ActionKind::RollBackPurge, STAGED_MESSAGES, None, detail);
            for entry in &staged {
                if let Some(number) = names::lax_key_number(entry.name.as_encoded_bytes()) {
                    sim.overlay.block(number).removed = true;
                }
            }
            changes.push(remove(STAGED_MESSAGES));
            sim.overlay.staging = changes;
            make_messages_directory(sim);
            return Ok(());
        }
        None => {}
    }
    sim.overlay.staging = changes;
    remove_purged(sim);
    make_messages_directory(sim);
    Ok(())
}

/// Old messages that a finished purge was still deleting go.
fn remove_purged(sim: &mut Simulation<'_>) {
    let path = PURGED_MESSAGES;
    let change = Change::RemoveTree { path: path.into() };
    let there = matches!(sim.overlay.files.exists(path), Ok(true));
    if there && !sim.overlay.staging.contains(&change) {
        let detail = "purged messages that were still being deleted";
        sim.action(ActionKind::RemovePurged, path, None, detail);
        sim.overlay.staging.push(change);
    }
}

/// A stream directory without `msgs` is that of an empty store.
fn make_messages_directory(sim: &mut Simulation<'_>) {
    let msgs = sim.overlay.msgs;
    if !matches!(sim.overlay.files.exists(msgs), Ok(false)) {
        return;
    }
    let detail = "there is no directory for messages: the store is taken as empty";
    sim.action(ActionKind::CreateDirectory, msgs, None, detail);
    sim.overlay
        .staging
        .push(Change::CreateDir { path: msgs.into() });
}

/// A staged name that ends in `.blk` and is no block costs all messages (H26): worth a question.
fn staged_marker_is_doubtful(sim: &Simulation<'_>, staged: &[Name]) -> bool {
    let sound = staged.iter().any(|entry| {
        names::block_number(entry.name.as_encoded_bytes()).is_some_and(|number| {
            let hash_key = HashKey::for_block(&sim.rules.name, number);
            let path = BlockFile::Block.path_in(STAGED_MESSAGES, number);
            sim.overlay.keys.current.is_some()
                || sim.overlay.files.read(&path).is_ok_and(|bytes| {
                    crate::format::record::parse_at(&bytes, 0).is_ok_and(|record| {
                        crate::block::content::verifies(&record, &bytes, &hash_key)
                    })
                })
        })
    });
    !sound && holds_records(sim)
}

/// Whether a server went on after the purge, one that knows nothing of it: then it is finished over what was stored since.
fn note_overtaken(sim: &mut Simulation<'_>, staged: &[Name]) -> bool {
    let purge = PurgeFiles {
        fs: sim.overlay.files.fs(),
        dir: sim.overlay.files.dir(),
        name: &sim.rules.name,
        ring: sim.overlay.keys.ring(),
    };
    let mut numbers = staged
        .iter()
        .filter_map(|entry| names::block_number(entry.name.as_encoded_bytes()));
    let Some(marked) = numbers.find_map(|number| purge.marked(number)) else {
        return false;
    };
    let Some(newest) = purge.stored_since(marked) else {
        return false;
    };
    let detail = format!(
        "the purge was up to sequence {marked}, and messages up to {newest} were stored since: they go with the others"
    );
    let event = Event::new(EventCode::PurgeCompleted, detail);
    sim.event(event.file(MESSAGES).severity(Severity::Error));
    true
}

/// Whether a purge that is finished takes anything away: the marker of a stream that was empty from its beginning is empty too.
fn holds_records(sim: &Simulation<'_>) -> bool {
    let listed = sim.overlay.files.list(MESSAGES).unwrap_or_default();
    listed.iter().any(|entry| {
        names::lax_block_number(entry.name.as_encoded_bytes()).is_some() && entry.length > 0
    })
}

/// Has every block say anew how many of its records carry a TTL or a schedule: an older index does not know, and a block
/// that counts none is passed over.
fn recount_timers(sim: &mut Simulation<'_>) -> Result<(), Fault> {
    sim.dirty = true;
    for at in 0..sim.blocks.len() {
        if sim.blocks[at].message_count > 0 && !sim.count_as_loaded(at) {
            sim.load(at)?;
        }
    }
    Ok(())
}

/// Steps 4 to 8.
fn after_load(sim: &mut Simulation<'_>, timers: &TimerRules) -> Result<(), Fault> {
    step(sim, "timers", |sim| sim.recover_timers(timers))?;
    if sim.rules.server.has(Quirk::Tombstones) {
        step(sim, "tombstones", Simulation::apply_tombstones)?;
    } else {
        note_returning(sim);
    }
    if sim.rules.limits {
        step(sim, "limit on messages", Simulation::enforce_message_limit)?;
        step(sim, "limit on bytes", Simulation::enforce_byte_limit)?;
    }
    if sim.rules.expire && sim.rules.max_age_ns != 0 {
        step(sim, "age", Simulation::expire_by_age)?;
        sim.note_future_first();
    }
    if sim.rules.limits && sim.rules.max_messages_per_subject > 0 {
        step(sim, "limit per subject", Simulation::enforce_subject_limit)?;
    }
    Ok(())
}

/// One step, and that it leaves the accounts as sound as it found them.
fn step<'a>(
    sim: &mut Simulation<'a>,
    name: &str,
    work: impl FnOnce(&mut Simulation<'a>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let before = sim.standing();
    work(sim)?;
    sim.assert_still(before, name);
    Ok(())
}

/// Deleted messages whose tombstones this server does not know come back.
fn note_returning(sim: &mut Simulation<'_>) {
    let mut returning = std::mem::take(&mut sim.tombstones);
    returning.sort_unstable();
    returning.dedup();
    returning.retain(|seq| sim.holds(*seq));
    if let [first, ..] = returning.as_slice() {
        let detail = format!(
            "{} messages that were deleted are live again: server {} does not know tombstones",
            returning.len(),
            sim.rules.server.version()
        );
        sim.event(Event::new(EventCode::TombstonesIgnored, detail).seq(*first));
    }
}
