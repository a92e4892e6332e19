//! Which messages were sent already: ids of the last while, as clients give them.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;

use super::error::{AppendError, ReadError, WriterFault};
use super::writer::Writer;
use crate::format::headers;

/// Header under which a client names a message.
const MESSAGE_ID: &[u8] = b"Nats-Msg-Id";

/// Bytes that are counted for one id beside its own.
const ID_BYTES: usize = 2 * size_of::<Box<[u8]>>() + 2 * size_of::<u64>();

/// Ids of the messages of the last while.
#[derive(Debug)]
pub(super) struct MessageIds {
    window_ns: i64,
    seqs: FxHashMap<Box<[u8]>, u64>,
    /// The same with their times, as they came.
    order: VecDeque<(i64, Box<[u8]>)>,
    id_bytes: usize,
}

/// The id of a message, by its headers.
pub(super) fn id_of(message_headers: &[u8]) -> Option<&[u8]> {
    let id = headers::find(message_headers, MESSAGE_ID)?;
    (!id.is_empty()).then_some(id)
}

impl MessageIds {
    fn new(window_ns: i64) -> Self {
        MessageIds {
            window_ns,
            seqs: FxHashMap::default(),
            order: VecDeque::new(),
            id_bytes: 0,
        }
    }

    /// The message that was sent under an id within the window.
    pub fn seq_of(&mut self, id: &[u8], now_ns: i64) -> Option<u64> {
        self.forget(now_ns);
        self.seqs.get(id).copied()
    }

    /// Takes note of a message.
    pub fn note(&mut self, id: &[u8], seq: u64, timestamp_ns: i64) {
        let Entry::Vacant(vacant) = self.seqs.entry(id.into()) else {
            return;
        };
        vacant.insert(seq);
        self.order.push_back((timestamp_ns, id.into()));
        self.id_bytes += id.len();
    }

    fn forget(&mut self, now_ns: i64) {
        let oldest_ns = now_ns.saturating_sub(self.window_ns);
        while let Some((timestamp_ns, _)) = self.order.front()
            && *timestamp_ns < oldest_ns
            && let Some((_, id)) = self.order.pop_front()
        {
            self.id_bytes -= id.len();
            self.seqs.remove(&id);
        }
    }

    /// Bytes it takes in memory, about.
    pub fn memory_bytes(&self) -> usize {
        2 * self.id_bytes + self.order.len() * ID_BYTES
    }
}

impl Writer {
    /// From now on holds ids of messages (`Nats-Msg-Id`) against those of the stream's duplicate window, which is read back from the
    /// messages that are there; how many have one. [`Writer::append`] and its like then refuse a message that was sent already,
    /// with [`AppendError::Duplicate`]; [`Writer::append_at`] only takes note. Ids are forgotten by the times that appends give.
    ///
    /// Not called, ids mean nothing. A stream without a window has none to hold.
    ///
    /// # Errors
    ///
    /// [`WriterFault`].
    pub fn hold_message_ids(&mut self, now_ns: i64) -> Result<u64, WriterFault> {
        self.check()?;
        let window_ns = self.shared.live.read().meta.duplicate_window_ns;
        if window_ns <= 0 {
            self.message_ids = None;
            return Ok(0);
        }
        let mut ids = MessageIds::new(window_ns);
        let reader = super::Reader::of(self.shared.clone());
        let mut from = reader.seq_at(now_ns.saturating_sub(window_ns))?;
        loop {
            match reader.next(&[], from) {
                Ok(message) => {
                    from = message.seq + 1;
                    if let Some(id) = id_of(message.headers()) {
                        ids.note(id, message.seq, message.timestamp_ns);
                    }
                }
                Err(ReadError::Beyond { .. }) => break,
                // One that cannot be read was sent; under which id is not known.
                Err(ReadError::Corrupt { seq, .. }) => from = seq + 1,
                Err(error) => return Err(error.into()),
            }
        }
        let count = ids.order.len() as u64;
        self.message_ids = Some(ids);
        Ok(count)
    }

    /// Refuses a message that was sent already.
    pub(super) fn is_new(
        &mut self,
        message_headers: &[u8],
        now_ns: i64,
    ) -> Result<(), AppendError> {
        let Some(ids) = &mut self.message_ids else {
            return Ok(());
        };
        let seq = id_of(message_headers).and_then(|id| ids.seq_of(id, now_ns));
        match seq {
            Some(seq) => Err(AppendError::Duplicate { seq }),
            None => Ok(()),
        }
    }

    /// Takes note of a message that was appended.
    pub(super) fn note_id(&mut self, message_headers: &[u8], seq: u64, timestamp_ns: i64) {
        if let Some(ids) = &mut self.message_ids
            && let Some(id) = id_of(message_headers)
        {
            ids.note(id, seq, timestamp_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::env::memory::MemoryFileSystem;
    use crate::store::tests::{NOW_NS, killed, open, options};
    use crate::store::{AppendError, Expected, NewMessage, Writer};

    const SECOND_NS: i64 = 1_000_000_000;

    fn send(writer: &mut Writer, id: &str, now_ns: i64) -> Result<u64, AppendError> {
        let headers = format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n");
        let message = NewMessage {
            subject: b"s.a",
            headers: headers.as_bytes(),
            body: b"",
        };
        writer.append(&message, now_ns).map(|appended| appended.seq)
    }

    #[test]
    fn who_sends_twice_within_the_window_is_told_the_sequence_also_after_a_start() {
        let (fs, options) = (
            MemoryFileSystem::new(),
            options(r#","duplicate_window":10000000000"#, 200),
        );
        let (_store, mut writer) = open(&fs, &options);
        assert_eq!(send(&mut writer, "before", NOW_NS), Ok(1));
        assert_eq!(send(&mut writer, "before", NOW_NS), Ok(2), "nobody asked");
        assert_eq!(writer.hold_message_ids(NOW_NS), Ok(1));
        let again = Err(AppendError::Duplicate { seq: 1 });
        assert_eq!(send(&mut writer, "before", NOW_NS + 5 * SECOND_NS), again);
        for nth in 0..20 {
            let at = NOW_NS + 9 * SECOND_NS;
            assert_eq!(send(&mut writer, &format!("id {nth}"), at), Ok(3 + nth));
        }
        let (late, later) = (NOW_NS + 11 * SECOND_NS, NOW_NS + 12 * SECOND_NS);
        assert_eq!(
            send(&mut writer, "before", late),
            Ok(23),
            "it is too long ago"
        );
        assert!(writer.remove(5).unwrap());
        let held = writer.message_id_bytes();
        let (_store, mut writer) = open(&killed(&fs), &options);
        assert_eq!(writer.hold_message_ids(later), Ok(20));
        let again = |seq| Err(AppendError::Duplicate { seq });
        assert_eq!(send(&mut writer, "before", later), again(23));
        assert_eq!(send(&mut writer, "id 19", later), again(22));
        assert_eq!(
            send(&mut writer, "id 2", later),
            Ok(24),
            "it is gone with its message"
        );
        assert!(writer.message_id_bytes() <= held && held > 0);
    }

    #[test]
    fn a_batch_holds_its_own_ids_too_and_one_that_is_dropped_leaves_none() {
        let (fs, options) = (MemoryFileSystem::new(), options("", 4096));
        let (_store, mut writer) = open(&fs, &options);
        writer.hold_message_ids(NOW_NS).unwrap();
        let message = NewMessage {
            subject: b"s.a",
            headers: b"NATS/1.0\r\nNats-Msg-Id: one\r\n\r\n",
            body: b"",
        };
        let mut batch = writer.batch(NOW_NS).unwrap();
        assert_eq!(batch.append(&message, Expected::default()), Ok(1));
        let again = batch.append(&message, Expected::default());
        assert_eq!(again, Err(AppendError::Duplicate { seq: 1 }));
        drop(batch);
        let mut batch = writer.batch(NOW_NS).unwrap();
        assert_eq!(batch.append(&message, Expected::default()), Ok(1));
        batch.commit().unwrap();
        let again = send(&mut writer, "one", NOW_NS);
        assert_eq!(again, Err(AppendError::Duplicate { seq: 1 }));
    }
}
