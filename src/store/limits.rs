//! The stream's limits: what they refuse, and what they drop.

use super::batch::Ahead;
use super::core::Live;
use super::error::{AppendError, LimitKind, ReadError, WriterFault};
use super::message::NewMessage;
use super::writer::Writer;
use crate::format::headers;

/// Header under which a roll-up is asked for. One with a value is let in where its subject has its fill.
const ROLLUP: &[u8] = b"Nats-Rollup";

/// The oldest of so many messages is looked for from the newest on.
const SOUGHT_BACKWARDS: u64 = 8;

impl Writer {
    /// Drops what the limits have no room for, behind a message on `subject` that is stored, and counts it. What keeps a message that
    /// has to go is told, and no failure of the one that is stored.
    pub(super) fn evict_behind(
        &mut self,
        subject: &[u8],
        evicted_count: &mut u64,
    ) -> Result<Option<ReadError>, WriterFault> {
        match self.enforce_behind(subject, evicted_count) {
            Ok(()) => Ok(None),
            Err(WriterFault::Read(error)) => Ok(Some(error)),
            Err(fault) => Err(fault),
        }
    }

    fn enforce_behind(
        &mut self,
        subject: &[u8],
        evicted_count: &mut u64,
    ) -> Result<(), WriterFault> {
        loop {
            {
                let live = self.shared.live.read();
                if !live.has_too_many_of(subject) {
                    match live.holds_too_much() {
                        true => break,
                        false => return Ok(()),
                    }
                }
            }
            let Some((oldest, next_block)) = self.oldest_of(subject)? else {
                break;
            };
            self.take_message_and(oldest, |live| {
                live.state.subjects.begins_in(subject, next_block);
            })?;
            *evicted_count += 1;
        }
        *evicted_count += self.enforce_totals()?;
        Ok(())
    }

    /// The oldest live message of a subject whose newest has just been appended, and the first block in which the next one may be.
    fn oldest_of(&self, subject: &[u8]) -> Result<Option<(u64, u32)>, WriterFault> {
        let newest_block = {
            let live = self.shared.live.read();
            let Some(tail) = live.tail_number() else {
                return Ok(None);
            };
            if let Some(oldest) = live.oldest_in_tail(subject) {
                return Ok(Some((oldest, tail)));
            }
            let held = live.state.subjects.get(subject);
            held.filter(|held| held.total == 2).map(|_| tail)
        };
        let reader = super::Reader::of(self.shared.clone());
        let Some((oldest, block)) = reader.first_of(subject)? else {
            return Ok(None);
        };
        if newest_block == Some(block) && reader.last_seq_of(subject)? == Some(oldest) {
            // The other one is counted, and does not verify: the newest does not go in its place.
            let reason = "the oldest message of a subject is not to be found".to_owned();
            return Err(WriterFault::Read(ReadError::Block { block, reason }));
        }
        Ok(Some((oldest, newest_block.unwrap_or(block))))
    }

    /// Drops the stream's oldest messages while it holds more than its limits; how many.
    pub(super) fn enforce_totals(&mut self) -> Result<u64, WriterFault> {
        let mut evicted_count = 0;
        loop {
            let (first, whole) = {
                let live = self.shared.live.read();
                let totals = &live.state.totals;
                if !live.holds_too_much() {
                    return Ok(evicted_count);
                }
                let mut blocks = live.state.blocks.iter();
                let block = blocks.find(|block| block.message_count > 0);
                let Some(block) = block else {
                    return Ok(evicted_count);
                };
                let rest = (
                    totals.messages.saturating_sub(block.message_count),
                    totals.bytes.saturating_sub(block.live_bytes),
                );
                let goes_whole = live.is_over(rest.0, rest.1)
                    && live.tail_number() != Some(block.number)
                    && block.message_count > 1;
                (totals.first.seq, goes_whole.then_some(block.number))
            };
            evicted_count += match whole {
                Some(number) => self.drop_block(number)?,
                None => self.take_message(first).map(|_| 1)?,
            };
        }
    }
}

impl Live {
    /// The oldest live message of a subject, if it has a few only and all of them lie in the last block.
    fn oldest_in_tail(&self, subject: &[u8]) -> Option<u64> {
        let mut left = self.state.subjects.get(subject)?.total;
        if left > SOUGHT_BACKWARDS {
            return None;
        }
        let (block, content) = (self.state.blocks.last()?, self.tail.as_ref()?);
        let mut slot = content.last_of(subject)?;
        loop {
            let seq = content.seq(slot)?;
            left -= u64::from(block.holds(seq));
            if left == 0 {
                return Some(seq);
            }
            slot = content.previous_of(slot)?;
        }
    }

    /// Whether a client may add this message, but for the stream's bytes.
    pub(super) fn lets_in(
        &self,
        message: &NewMessage<'_>,
        ahead: &Ahead,
    ) -> Result<(), AppendError> {
        let settings = &self.settings;
        let sent = (message.headers.len() + message.body.len()) as u64;
        if settings.max_message_bytes > 0 && sent > settings.max_message_bytes {
            return Err(AppendError::TooLarge {
                length: sent,
                most: settings.max_message_bytes,
            });
        }
        if !settings.refuses_new {
            return Ok(());
        }
        let replaces = self.replaces_oldest(message.subject, ahead);
        if replaces && settings.refuses_new_per_subject {
            let rolls_up = headers::find(message.headers, ROLLUP);
            if rolls_up.is_none_or(<[u8]>::is_empty) {
                return Err(AppendError::Limit {
                    kind: LimitKind::MessagesPerSubject,
                    limit: settings.max_messages_per_subject,
                    would_be: self.held_of(message.subject, ahead) + 1,
                });
            }
        }
        let held = Ahead::reach(self.state.totals.messages, ahead.messages);
        self.has_room(held, replaces)
    }

    fn held_of(&self, subject: &[u8], ahead: &Ahead) -> u64 {
        let held = self.state.subjects.get(subject);
        Ahead::reach(held.map_or(0, |held| held.total), ahead.of_subject(subject))
    }

    fn has_room(&self, held: u64, replaces: bool) -> Result<(), AppendError> {
        let limit = self.settings.max_messages;
        match limit > 0 && held >= limit && !replaces {
            true => Err(AppendError::Limit {
                kind: LimitKind::Messages,
                limit,
                would_be: held + 1,
            }),
            false => Ok(()),
        }
    }

    /// Whether one more message on a subject costs it its oldest.
    pub(super) fn replaces_oldest(&self, subject: &[u8], ahead: &Ahead) -> bool {
        let most = self.settings.max_messages_per_subject;
        most > 0 && self.held_of(subject, ahead) >= most
    }

    /// Whether a subject holds more messages than it may.
    fn has_too_many_of(&self, subject: &[u8]) -> bool {
        let most = self.settings.max_messages_per_subject;
        let held = || self.state.subjects.get(subject);
        most > 0 && held().is_some_and(|held| held.total > most)
    }

    /// Whether something has to go behind a message on `subject`.
    pub(super) fn exceeds_limits(&self, subject: &[u8]) -> bool {
        self.holds_too_much() || self.has_too_many_of(subject)
    }

    /// Whether the stream's oldest messages have to go.
    fn holds_too_much(&self) -> bool {
        let totals = &self.state.totals;
        !self.settings.refuses_new && self.is_over(totals.messages, totals.bytes)
    }

    /// Whether so many messages and bytes are more than the stream may hold.
    pub(super) fn is_over(&self, messages: u64, bytes: u64) -> bool {
        let over = |held: u64, most: u64| most > 0 && held > most;
        over(messages, self.settings.max_messages) || over(bytes, self.settings.max_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::env::memory::MemoryFileSystem;
    use crate::env::{FileSystem, ReadFiles};
    use crate::store::NewMessage;
    use crate::store::tests::{DIR, NOW_NS, open, options};

    fn keyed(nth: u64) -> Vec<u8> {
        format!("s.{}", nth * 7 % 13).into_bytes()
    }

    #[test]
    fn of_each_key_the_newest_stays_wherever_the_one_before_lies() {
        let fs = MemoryFileSystem::new();
        let options = options(r#","max_msgs_per_subject":1"#, 400);
        let (mut store, mut writer) = open(&fs, &options);
        for nth in 1..=400 {
            // Some keys come often, some rarely, one once; blocks are full after a few messages.
            let subject = match nth % 31 {
                0 => keyed(nth),
                1 if nth == 32 => b"s.once".to_vec(),
                rest => format!("s.often.{}", rest % 3).into_bytes(),
            };
            let message = NewMessage {
                subject: &subject,
                headers: b"",
                body: &nth.to_le_bytes(),
            };
            assert_eq!(writer.append(&message, NOW_NS).unwrap().seq, nth);
            let last = store.reader().last(&subject).unwrap();
            assert_eq!(last.seq, nth);
            assert_eq!(store.reader().next(&[&subject], 0).unwrap().seq, nth);
            if nth % 97 == 0 {
                store.close(writer).unwrap();
                (store, writer) = open(&fs, &options);
            }
        }
        let summary = store.reader().summary();
        assert_eq!(summary.message_count, summary.subject_count);
        assert_eq!(store.reader().last(b"s.once").unwrap().seq, 32);
    }

    #[test]
    fn the_newest_does_not_go_in_the_place_of_one_that_cannot_be_read() {
        let fs = MemoryFileSystem::new();
        let options = options(r#","max_msgs_per_subject":1"#, 4000);
        let (store, mut writer) = open(&fs, &options);
        let message = |body: &'static [u8]| NewMessage {
            subject: b"s.a",
            headers: b"",
            body,
        };
        let other = NewMessage {
            subject: b"s.b",
            ..message(b"last")
        };
        writer.append(&message(b"old"), NOW_NS).unwrap();
        writer.append(&other, NOW_NS).unwrap();
        store.close(writer).unwrap();
        let path = Path::new(DIR).join("msgs/1.blk");
        let mut bytes = fs.read(&path, 4000).unwrap();
        if let Some(byte) = bytes.get_mut(26) {
            *byte ^= 1;
        }
        fs.write_in_place(&path, &bytes).unwrap();
        let (store, mut writer) = open(&fs, &options);
        let appended = writer.append(&message(b"new"), NOW_NS).unwrap();
        assert_eq!((appended.seq, appended.evicted_count), (3, 0));
        assert!(appended.not_evicted.is_some());
        assert_eq!(store.reader().last(b"s.a").unwrap().body(), b"new");
    }
}
