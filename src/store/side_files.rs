//! The files beside the blocks: what spares the next start a scan, and the configuration.

use std::path::Path;

use super::error::WriterFault;
use super::settings::{Settings, tracks_subjects};
use super::takeover;
use super::writer::Writer;
use crate::crypto::{Nonce, seal};
use crate::env::{DEFAULT_FILE_MODE, FileSystem, IoError, temporary_path};
use crate::format::checksum::{HashKey, hex16};
use crate::format::meta::StreamMeta;
use crate::format::names::{EXPIRIES_PATH, META, META_SUM, SCHEDULES_PATH, SOURCES, STATE_PATH};
use crate::format::timers::Expiry;
use crate::report::ServerVersion;
use crate::report::stream::SourcePosition;

/// No configuration is nearly that long.
const META_MOST_BYTES: u64 = 16 * 1024 * 1024;

impl Writer {
    /// Writes `index.db` and the timers' files, durably, as of this moment.
    pub(super) fn write_side_files(&mut self) -> Result<(), WriterFault> {
        self.check()?;
        if !self.is_begun && self.has_index {
            // Nothing changed since they were written.
            return Ok(());
        }
        self.drop_emptied()?;
        self.sync()?;
        let version = ServerVersion::REFERENCE.index_version();
        let (index, timers) = {
            let live = self.shared.live.read();
            (live.state.index_file(version), live.state.timer_files())
        };
        let encoded = index.map(|index| index.encode(u64::MAX));
        let files = [
            (EXPIRIES_PATH.to_owned(), timers.ttl),
            (SCHEDULES_PATH.to_owned(), timers.schedules),
            (SOURCES.to_owned(), timers.sources),
        ];
        for (path, bytes) in files {
            if let Some(bytes) = bytes {
                self.write_side_file(&path, &bytes)?;
            }
        }
        // Without an index, or with one that cannot be written, the next start reads the blocks.
        if let Some(Ok(bytes)) = encoded {
            let mut sealed = self.sealed(&bytes)?;
            let hash = self.shared.stream_hash_key().hash64(&[&sealed]);
            sealed.extend_from_slice(&hash.to_le_bytes());
            self.write_side_file(STATE_PATH, &sealed)?;
            if !self.is_unproven {
                takeover::mark_own_index(&*self.shared.fs, &self.shared.dir, &sealed);
            }
            self.has_index = true;
        }
        self.is_begun = false;
        Ok(())
    }

    /// Writes a file durably.
    pub(super) fn write_side_file(&mut self, path: &str, bytes: &[u8]) -> Result<(), WriterFault> {
        let path = self.shared.dir.join(path);
        let fs = self.shared.fs.clone();
        self.told(fs.write_atomically(&path, bytes, Some(DEFAULT_FILE_MODE)))
    }

    /// After a cut: the schedules' file speaks of messages that are gone, and where the sources were read is told anew, for its file
    /// must not be ahead of the messages.
    pub(super) fn cut_timer_files(&mut self) -> Result<(), WriterFault> {
        self.remove_side_file(SCHEDULES_PATH)?;
        let sources = self.shared.live.read().state.timer_files().sources;
        match sources {
            Some(bytes) => self.write_side_file(SOURCES, &bytes),
            None => Ok(()),
        }
    }

    /// Bytes under the stream's key, where it has one.
    fn sealed(&mut self, bytes: &[u8]) -> Result<Vec<u8>, WriterFault> {
        let shared = self.shared.clone();
        let Some(key) = &shared.stream_key else {
            return Ok(bytes.to_vec());
        };
        let nonce = Nonce::draw(key.cipher, |buffer| shared.entropy.fill(buffer));
        let nonce = self.told(nonce)?;
        seal(bytes, &key.seed, &nonce).map_err(|error| WriterFault::Block {
            block: 0,
            reason: error.to_string(),
        })
    }

    /// Takes a new configuration of the same stream: writes it durably, and holds what is stored against its limits, except by age,
    /// which [`Writer::maintain`] does. Name and time of creation stay; the size of blocks and their encryption do too.
    ///
    /// # Errors
    ///
    /// [`WriterFault`].
    pub fn update_config(&mut self, config: &StreamMeta) -> Result<(), WriterFault> {
        self.begin()?;
        let config = {
            let live = self.shared.live.read();
            let config = config.with_name(&live.meta.name);
            match live.meta.created.instant {
                Some(created) => config.with_created(created),
                None => config,
            }
        };
        let config = config.settings().unwrap_or(config);
        // The new limits are held against what is stored, also by whoever opens the stream after a power cut: what they are to be held
        // against is durable before they are.
        self.sync()?;
        self.write_meta(&config)?;
        self.take_config(config)?;
        self.enforce_subjects()?;
        self.enforce_totals()?;
        self.settle()
    }

    /// Takes what age and limits have no room for.
    pub(super) fn enforce_at_open(&mut self, now_ns: i64) -> Result<(), WriterFault> {
        self.expire_at_open(now_ns)?;
        self.enforce_subjects()?;
        self.enforce_totals()?;
        match self.is_begun {
            true => self.settle(),
            false => Ok(()),
        }
    }

    /// Writes `meta.inf` and `meta.sum`. Two files cannot be exchanged in one step: both lie there, durable, before the first is
    /// renamed, so that they disagree no longer than between two renames.
    fn write_meta(&mut self, config: &StreamMeta) -> Result<(), WriterFault> {
        let inf = self.sealed(&config.encode())?;
        let sum = hex16(self.shared.stream_hash_key().hash64(&[&inf]));
        let shared = self.shared.clone();
        let place = |path: &Path, bytes: &[u8]| -> Result<(), IoError> {
            let temporary = temporary_path(path);
            shared.fs.write_in_place(&temporary, bytes)?;
            shared.fs.sync_file(&temporary)
        };
        let (inf_path, sum_path) = (shared.dir.join(META), shared.dir.join(META_SUM));
        let written = place(&inf_path, &inf)
            .and_then(|()| place(&sum_path, sum.as_bytes()))
            .and_then(|()| shared.fs.sync_dir(&shared.dir));
        self.told(written)?;
        let rename = |path: &Path| shared.fs.rename(&temporary_path(path), path);
        let exchanged = rename(&inf_path)
            .and_then(|()| rename(&sum_path))
            .and_then(|()| shared.fs.sync_dir(&shared.dir));
        self.told(exchanged)
    }

    fn take_config(&mut self, config: StreamMeta) -> Result<(), WriterFault> {
        let settings = Settings::of(&config);
        let (wants_ttls, wants_schedules) = {
            let live = self.shared.live.read();
            let timers = &live.state.timers;
            (
                settings.has_ttls && !timers.has_ttl(),
                settings.has_schedules && !timers.has_schedules(),
            )
        };
        let found = match wants_ttls || wants_schedules {
            true => super::Reader::of(self.shared.clone()).timers_of_messages()?,
            false => Default::default(),
        };
        let mut live = self.shared.live.write();
        let timers = &mut live.state.timers;
        if wants_ttls {
            timers.set_wheel(&found.expiries);
        } else if !settings.has_ttls {
            timers.wheel = None;
        }
        if wants_schedules {
            timers.set_schedules(&found.schedules);
        } else if !settings.has_schedules {
            timers.schedules = None;
        }
        match settings.sources.is_empty() {
            true => timers.sources = None,
            false => {
                let known = timers.sources.take().unwrap_or_default();
                let kept = settings.sources.iter().map(|key| {
                    let position = known.get(key).cloned();
                    let position = position.unwrap_or(SourcePosition {
                        seq: 0,
                        identity: Vec::new(),
                    });
                    (key.clone(), position)
                });
                timers.sources = Some(kept.collect());
            }
        }
        live.state.tracks_subjects |= tracks_subjects(&config);
        live.settings = settings;
        live.meta = config;
        Ok(())
    }

    /// Drops the oldest messages of subjects that have more than they may.
    fn enforce_subjects(&mut self) -> Result<(), WriterFault> {
        let over: Vec<(Vec<u8>, u64)> = {
            let live = self.shared.live.read();
            let most = live.settings.max_messages_per_subject;
            let mut over = Vec::new();
            if most > 0 {
                live.state.subjects.for_each(|subject, totals| {
                    if totals.total > most {
                        over.push((subject.to_vec(), totals.total - most));
                    }
                });
            }
            over
        };
        let reader = super::Reader::of(self.shared.clone());
        for (subject, count) in over {
            let mut from = 0;
            for _ in 0..count {
                let Some(oldest) = reader.next_seq(&[&subject], from)? else {
                    break;
                };
                self.take_message(oldest)?;
                from = oldest + 1;
            }
        }
        Ok(())
    }
}

/// Finishes an exchange of configurations that ended between its two renames: whichever of the two that wait fits what is there follows.
pub(super) fn finish_exchange(fs: &dyn FileSystem, dir: &Path, name: &str) -> Result<(), IoError> {
    let (inf_path, sum_path) = (dir.join(META), dir.join(META_SUM));
    let waiting = |path: &Path| fs.read(&temporary_path(path), META_MOST_BYTES).ok();
    let (new_inf, new_sum) = (waiting(&inf_path), waiting(&sum_path));
    if new_inf.is_none() && new_sum.is_none() {
        return Ok(());
    }
    let (Ok(inf), Ok(sum)) = (
        fs.read(&inf_path, META_MOST_BYTES),
        fs.read(&sum_path, META_MOST_BYTES),
    ) else {
        return Ok(());
    };
    let key = HashKey::for_stream(name.as_bytes());
    let fits = |inf: &[u8], sum: &[u8]| hex16(key.hash64(&[inf])).as_bytes() == sum;
    if fits(&inf, &sum) {
        return Ok(());
    }
    let follow = |path: &Path| {
        fs.rename(&temporary_path(path), path)
            .and_then(|()| fs.sync_dir(dir))
    };
    if new_sum.is_some_and(|new_sum| fits(&inf, &new_sum)) {
        return follow(&sum_path);
    }
    if new_inf.is_some_and(|new_inf| fits(&new_inf, &sum)) {
        return follow(&inf_path);
    }
    Ok(())
}

/// What the headers of stored messages ask for.
#[derive(Debug, Default)]
pub(super) struct MessageTimers {
    pub expiries: Vec<Expiry>,
    pub schedules: Vec<crate::format::timers::Schedule>,
}
