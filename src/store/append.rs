//! Adding messages and using up sequences.

use super::batch::Ahead;
use super::core::Live;
use super::error::{AppendError, LimitKind, ReadError, WriterFault};
use super::message::NewMessage;
use super::remove::expiry_of;
use super::tail::OpenTail;
use super::watch::StoreEvent;
use super::writer::Writer;
use crate::block::slots::timer_headers;
use crate::format::duration::parse_rfc3339;
use crate::format::headers::{self, StreamSource};
use crate::format::limits::{RECORD_MAX_LENGTH, SEQUENCE_MAX};
use crate::format::record::NewRecord;
use crate::format::schedule;
use crate::format::subject;
use crate::report::stream::SourcePosition;
use crate::state::{SeqTime, SubjectTotals};

/// After so many bytes the disk is asked again what is left of it: others write to it too.
const DISK_ASKED_BYTES: u64 = 1024 * 1024;
/// Header of messages that a schedule sent.
pub(super) const SCHEDULER: &[u8] = b"Nats-Scheduler";
/// Header that says when that schedule sends the next.
const SCHEDULE_NEXT: &[u8] = b"Nats-Schedule-Next";

/// What appending came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The message's sequence.
    pub seq: u64,
    /// Its time, nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    /// How many messages went by limits for it; it may be among them itself.
    pub evicted_count: u64,
    /// Why a message that a limit has no room for is still there: it cannot be read, and so neither be taken out of any account. The new
    /// message is stored all the same.
    pub not_evicted: Option<ReadError>,
}

/// What an appender takes for granted about the store, and wants to hold in the moment of appending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected {
    /// The stream's last sequence.
    pub last_seq: Option<u64>,
    /// The last sequence of the message's subject; 0 for no message.
    pub last_subject_seq: Option<u64>,
}

/// Whose limits a message is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judged {
    /// It came from a client: it may be refused.
    Here,
    /// It was let in elsewhere.
    Elsewhere,
}

impl Expected {
    /// Compares with the stream's last sequence, and where that is asked for with the subject's.
    pub(super) fn hold(
        self,
        last_seq: u64,
        last_subject_seq: impl FnOnce() -> Result<u64, WriterFault>,
    ) -> Result<(), AppendError> {
        let differs = |expected: u64, found: u64| match expected == found {
            true => Ok(()),
            false => Err(AppendError::LastSequence { expected, found }),
        };
        if let Some(expected) = self.last_seq {
            differs(expected, last_seq)?;
        }
        match self.last_subject_seq {
            Some(expected) => differs(expected, last_subject_seq()?),
            None => Ok(()),
        }
    }
}

impl Writer {
    /// Appends a message under the next sequence with the time `now_ns`.
    ///
    /// # Errors
    ///
    /// [`AppendError`].
    pub fn append(
        &mut self,
        message: &NewMessage<'_>,
        now_ns: i64,
    ) -> Result<Appended, AppendError> {
        self.append_expecting(message, now_ns, Expected::default())
    }

    /// Appends a message where the store is as the caller takes it to be.
    ///
    /// # Errors
    ///
    /// [`AppendError::LastSequence`] where it is not, else as [`Writer::append`].
    pub fn append_expecting(
        &mut self,
        message: &NewMessage<'_>,
        now_ns: i64,
        expected: Expected,
    ) -> Result<Appended, AppendError> {
        self.check()?;
        self.is_new(message.headers, now_ns)?;
        self.hold(message, expected)?;
        self.store(message, None, now_ns, Judged::Here)
    }

    /// Holds what an appender expects against the stream.
    pub(super) fn hold(
        &self,
        message: &NewMessage<'_>,
        expected: Expected,
    ) -> Result<(), AppendError> {
        if expected == Expected::default() {
            return Ok(());
        }
        let last_seq = self.shared.live.read().state.totals.last.seq;
        expected.hold(last_seq, || {
            let reader = super::Reader::of(self.shared.clone());
            Ok(reader.last_seq_of(message.subject)?.unwrap_or(0))
        })
    }

    /// Appends a message that was let in elsewhere: with a time of its own and, where given, the sequence that must be next. Limits
    /// that refuse new messages are not asked; those that drop old ones are.
    ///
    /// # Errors
    ///
    /// [`AppendError`].
    pub fn append_at(
        &mut self,
        message: &NewMessage<'_>,
        seq: Option<u64>,
        timestamp_ns: i64,
    ) -> Result<Appended, AppendError> {
        self.check()?;
        self.store(message, seq, timestamp_ns, Judged::Elsewhere)
    }

    fn store(
        &mut self,
        message: &NewMessage<'_>,
        seq: Option<u64>,
        timestamp_ns: i64,
        judged: Judged,
    ) -> Result<Appended, AppendError> {
        let last_seq = self.shared.live.read().state.totals.last.seq;
        let next = last_seq.wrapping_add(1).max(1);
        let length = match judged {
            Judged::Here => self.admit(message, next, timestamp_ns, &Ahead::default())?,
            Judged::Elsewhere => fitting(message, timestamp_ns)?,
        };
        expect_next(next, seq)?;
        if judged == Judged::Here {
            self.has_disk(length)?;
        }
        self.begin()?;
        let stored = SeqTime {
            seq: next,
            timestamp_ns,
        };
        let mut is_over = false;
        self.emit(&message.record(stored), |live, block, length| {
            live.take_in(message, stored, block, length);
            is_over = live.exceeds_limits(message.subject);
        })?;
        self.note_id(message.headers, next, timestamp_ns);
        self.tell(&StoreEvent::Appended {
            seq: next,
            subject: message.subject,
            length_bytes: length,
        });
        let mut evicted_count = 0;
        let not_evicted = match is_over {
            true => self.evict_behind(message.subject, &mut evicted_count)?,
            false => None,
        };
        self.settle()?;
        Ok(Appended {
            seq: next,
            timestamp_ns,
            evicted_count,
            not_evicted,
        })
    }

    /// Whether a message can be stored as `seq`, and whether the limits let it in behind what is `ahead` of it; the length of its record.
    pub(super) fn admit(
        &self,
        message: &NewMessage<'_>,
        seq: u64,
        timestamp_ns: i64,
        ahead: &Ahead,
    ) -> Result<u64, AppendError> {
        let length = fitting(message, timestamp_ns)?;
        let refuses_new = {
            let live = self.shared.live.read();
            live.lets_in(message, ahead)?;
            live.settings.refuses_new
        };
        if refuses_new {
            self.asks_for_room(message, length, ahead)?;
        }
        expect_next(seq, None)?;
        Ok(length)
    }

    /// Whether the disk has room for a record beside what is kept of it.
    pub(super) fn has_disk(&mut self, length: u64) -> Result<(), AppendError> {
        let margin_bytes = self.shared.disk_margin_bytes;
        if margin_bytes == 0 {
            return Ok(());
        }
        if let Some(left) = self.disk_allowance_bytes.checked_sub(length) {
            self.disk_allowance_bytes = left;
            return Ok(());
        }
        // What cannot be found out is for the write itself to tell.
        let Ok(Some(available_bytes)) = self.shared.fs.available_bytes(&self.shared.dir) else {
            return Ok(());
        };
        let waiting = self.tail.as_ref().map_or(0, OpenTail::waiting_bytes) as u64;
        let room = available_bytes.saturating_sub(margin_bytes + waiting);
        match room.min(DISK_ASKED_BYTES.max(length)).checked_sub(length) {
            Some(left) => {
                self.disk_allowance_bytes = left;
                Ok(())
            }
            None => Err(AppendError::DiskFull {
                available_bytes,
                margin_bytes,
            }),
        }
    }

    /// Where the stream refuses what exceeds its bytes, a message may take the place of its subject's oldest, if that is as large.
    fn asks_for_room(
        &self,
        message: &NewMessage<'_>,
        length: u64,
        ahead: &Ahead,
    ) -> Result<(), AppendError> {
        let (limit, would_be, replaces) = {
            let live = self.shared.live.read();
            let bytes = Ahead::reach(live.state.totals.bytes, ahead.bytes);
            let would_be = bytes.saturating_add(length);
            let replaces = live.replaces_oldest(message.subject, ahead);
            (live.settings.max_bytes, would_be, replaces)
        };
        if limit == 0 || would_be <= limit {
            return Ok(());
        }
        let reader = super::Reader::of(self.shared.clone());
        let oldest = match replaces {
            true => reader.oldest_length(message.subject, |seq| ahead.goes(seq)),
            false => Ok(None),
        };
        match oldest.map_err(WriterFault::from)? {
            Some(oldest) if oldest >= length => Ok(()),
            _ => Err(AppendError::Limit {
                kind: LimitKind::Bytes,
                limit,
                would_be,
            }),
        }
    }

    /// Uses up the next sequence without a message.
    ///
    /// # Errors
    ///
    /// [`AppendError`].
    pub fn skip(&mut self, seq: Option<u64>, now_ns: i64) -> Result<u64, AppendError> {
        self.skip_many(seq, 1, now_ns)
    }

    /// Uses up so many sequences, from `seq` on where given, which must be the next one; the last of them. One record stands for all.
    ///
    /// # Errors
    ///
    /// [`AppendError`].
    pub fn skip_many(
        &mut self,
        seq: Option<u64>,
        count: u64,
        now_ns: i64,
    ) -> Result<u64, AppendError> {
        self.check()?;
        let totals = self.shared.live.read().state.totals;
        let next = totals.last.seq.wrapping_add(1).max(1);
        expect_next(next, seq)?;
        let last = count.checked_sub(1).and_then(|more| next.checked_add(more));
        let last = last.filter(|last| *last <= SEQUENCE_MAX);
        let last = last.ok_or(AppendError::Exhausted)?;
        self.begin()?;
        let timestamp_ns = match totals.last.timestamp_ns {
            0 => now_ns,
            known => known,
        };
        let record = NewRecord::Skip {
            sequence: last,
            timestamp_ns,
        };
        self.emit(&record, |live, _, _| {
            live.skip_to(SeqTime {
                seq: last,
                timestamp_ns,
            });
        })?;
        self.settle()?;
        Ok(last)
    }
}

/// Whether a message can be stored at all; the length of its record.
fn fitting(message: &NewMessage<'_>, timestamp_ns: i64) -> Result<u64, AppendError> {
    let length = message.subject.len();
    if length > usize::from(u16::MAX) || !subject::is_storable(message.subject) {
        return Err(AppendError::Subject { length });
    }
    if timestamp_ns == 0 {
        return Err(AppendError::Time);
    }
    let length = message.headers.len();
    if length > usize::from(u16::MAX) {
        return Err(AppendError::Headers { length });
    }
    let length = message.length();
    match length > RECORD_MAX_LENGTH {
        true => Err(AppendError::TooLarge {
            length: length as u64,
            most: RECORD_MAX_LENGTH as u64,
        }),
        false => Ok(length as u64),
    }
}

fn expect_next(next: u64, given: Option<u64>) -> Result<(), AppendError> {
    match given {
        Some(given) if given != next => Err(AppendError::Sequence {
            expected: next,
            given,
        }),
        _ if next > SEQUENCE_MAX => Err(AppendError::Exhausted),
        _ => Ok(()),
    }
}

impl Live {
    /// Takes a new message into every account.
    pub(super) fn take_in(
        &mut self,
        message: &NewMessage<'_>,
        stored: SeqTime,
        number: u32,
        length: u64,
    ) {
        let state = &mut self.state;
        if let Some(block) = state.blocks.last_mut() {
            if block.message_count == 0 {
                block.first = stored;
            }
            block.message_count += 1;
            block.live_bytes += length;
            block.last = stored;
            if !message.headers.is_empty() {
                let (ttl, schedule) = timer_headers(message.headers, true);
                block.ttl_count += u64::from(ttl);
                block.schedule_count += u64::from(schedule);
            }
        }
        let totals = &mut state.totals;
        if totals.messages == 0 {
            totals.first = stored;
        }
        totals.messages += 1;
        totals.bytes += length;
        totals.last = stored;
        if state.tracks_subjects {
            let one = SubjectTotals {
                total: 1,
                first_block: number,
                last_block: number,
            };
            state.subjects.add(message.subject, one);
        }
        self.take_timers(message, stored);
    }

    fn take_timers(&mut self, message: &NewMessage<'_>, stored: SeqTime) {
        let SeqTime { seq, timestamp_ns } = stored;
        let timers = &mut self.state.timers;
        if self.settings.has_ttls
            && let Some(expiry_ns) = expiry_of(message.headers, timestamp_ns)
        {
            timers.set_ttl(seq, expiry_ns);
        }
        if self.settings.has_schedules {
            let fires = schedule::next_fire(message.headers, timestamp_ns, timestamp_ns);
            let sender = headers::find(message.headers, SCHEDULER);
            let next = headers::find(message.headers, SCHEDULE_NEXT);
            let next = next.and_then(|next| parse_rfc3339(&String::from_utf8_lossy(next)).ok());
            match (fires, sender, next) {
                (Some(fires_ns), _, _) => timers.set_schedule(seq, message.subject, fires_ns),
                (None, Some(sender), Some(next_ns)) => timers.move_schedule(sender, next_ns),
                (None, Some(_), None) => {}
                (None, None, _) => timers.drop_schedule_of(message.subject),
            }
        }
        if self.settings.sources.is_empty() {
            return;
        }
        if let StreamSource::Keyed {
            key,
            sequence,
            identity,
        } = headers::stream_source(message.headers)
            && self.settings.sources.contains(&key)
        {
            let identity = identity.to_vec();
            let position = SourcePosition {
                seq: sequence,
                identity,
            };
            timers.set_source(key, position);
        }
    }

    pub(super) fn skip_to(&mut self, last: SeqTime) {
        let state = &mut self.state;
        let next = state.totals.last.seq.wrapping_add(1).max(1);
        if let Some(block) = state.blocks.last_mut() {
            block.last.seq = last.seq;
            block.last.timestamp_ns = last.timestamp_ns;
            match block.message_count {
                0 => {
                    block.first = SeqTime {
                        seq: last.seq + 1,
                        timestamp_ns: 0,
                    };
                }
                _ => block.deleted.insert_range(next..=last.seq),
            }
        }
        let totals = &mut state.totals;
        totals.last = last;
        if totals.messages == 0 {
            totals.first = SeqTime {
                seq: last.seq + 1,
                timestamp_ns: 0,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use crate::env::memory::{MemoryFileSystem, SeededEntropy};
    use crate::format::meta::StreamMeta;
    use crate::living::Idle;
    use crate::store::{AppendError, LimitKind, NewMessage, Store, StoreOptions};

    const NOW_NS: i64 = 1_767_225_600_000_000_000;

    #[test]
    fn a_roll_up_takes_the_place_of_its_subject_in_a_full_stream() {
        let config =
            br#"{"name":"S","subjects":["s.>"],"storage":"file","discard":"new","max_msgs":1,
            "max_msgs_per_subject":1,"discard_new_per_subject":true}"#;
        let options = StoreOptions::new(StreamMeta::parse(config).unwrap(), NOW_NS);
        let (fs, entropy) = (MemoryFileSystem::new(), SeededEntropy::new(1));
        let (fs, entropy) = (Arc::new(fs), Arc::new(entropy));
        let dir = Path::new("/s");
        let store = Store::open(fs, entropy, &Idle::declared(), dir, &options).unwrap();
        let mut writer = store.writer().unwrap();
        let message = |subject: &'static [u8], headers: &'static [u8]| NewMessage {
            subject,
            headers,
            body: b"",
        };
        let rolls_up = b"NATS/1.0\r\nNats-Rollup: sub\r\n\r\n";
        writer.append(&message(b"s.1", b""), NOW_NS).unwrap();
        let mut refused = |message| match writer.append(&message, NOW_NS) {
            Err(AppendError::Limit { kind, .. }) => Some(kind),
            other => other.map(|_| None).unwrap(),
        };
        assert_eq!(
            refused(message(b"s.1", b"")),
            Some(LimitKind::MessagesPerSubject)
        );
        assert_eq!(
            refused(message(b"s.2", rolls_up)),
            Some(LimitKind::Messages)
        );
        assert_eq!(refused(message(b"s.1", rolls_up)), None);
        let summary = store.reader().summary();
        assert_eq!((summary.message_count, summary.first.seq), (1, 2));
    }
}
