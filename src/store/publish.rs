//! What a client's message asks for by its headers.

use super::append::Expected;
use super::batch::Rollup;
use super::error::AppendError;
use super::message::NewMessage;
use super::writer::Writer;
use crate::format::headers::find;

const LAST_SEQUENCE: &[u8] = b"Nats-Expected-Last-Sequence";
const LAST_SUBJECT_SEQUENCE: &[u8] = b"Nats-Expected-Last-Subject-Sequence";
const ROLLUP: &[u8] = b"Nats-Rollup";
const EXPECTED_STREAM: &str = "Nats-Expected-Stream";
/// Headers that servers go by, and nobody does here: better no message than one that is taken for something else.
const NOT_DONE: [&str; 4] = [
    "Nats-Incr",
    "Nats-Batch-Id",
    "Nats-Expected-Last-Msg-Id",
    "Nats-Expected-Last-Subject-Sequence-Subject",
];

/// A header with a text in it.
fn told<'a>(headers: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    find(headers, name).filter(|value| !value.is_empty())
}

impl Expected {
    /// What `Nats-Expected-Last-Sequence` and `Nats-Expected-Last-Subject-Sequence` say. A text that is no number is a sequence that
    /// no message has.
    #[must_use]
    pub fn of_headers(headers: &[u8]) -> Self {
        let number = |name| {
            let text = str::from_utf8(told(headers, name)?);
            Some(text.map_or(u64::MAX, |text| text.trim().parse().unwrap_or(u64::MAX)))
        };
        Expected {
            last_seq: number(LAST_SEQUENCE),
            last_subject_seq: number(LAST_SUBJECT_SEQUENCE),
        }
    }
}

impl Rollup {
    /// What `Nats-Rollup` says, where it is there.
    ///
    /// # Errors
    ///
    /// [`AppendError::Rollup`] where it says neither `sub` nor `all`.
    pub fn of_headers(headers: &[u8]) -> Result<Option<Self>, AppendError> {
        let told = told(headers, ROLLUP).map(<[u8]>::to_ascii_lowercase);
        match told.as_deref() {
            None => Ok(None),
            Some(b"sub") => Ok(Some(Rollup::Subject)),
            Some(b"all") => Ok(Some(Rollup::All)),
            Some(_) => Err(AppendError::Rollup { is_allowed: true }),
        }
    }
}

impl Writer {
    /// Appends a message as its headers ask: in the place of others where it rolls up, and only where the last message is the one
    /// expected. What comes back is its sequence.
    ///
    /// Message ids are looked after where [`hold_message_ids`](Self::hold_message_ids) was called, times to live and schedules where the
    /// stream allows them. Counters and members of batches are refused.
    ///
    /// # Errors
    ///
    /// [`AppendError::Header`], [`AppendError::Rollup`], else as [`append_expecting`](Self::append_expecting) and
    /// [`append_rolling_up`](Self::append_rolling_up).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use jetsam::env::{OsEntropy, memory::MemoryFileSystem};
    /// # use jetsam::format::meta::StreamMeta;
    /// # use jetsam::living::Idle;
    /// # use jetsam::store::{AppendError, NewMessage, Store, StoreOptions};
    /// # let config = StreamMeta::parse(br#"{"name":"ORDERS","subjects":["orders.>"],"storage":"file"}"#)?;
    /// # let (fs, dir) = (Arc::new(MemoryFileSystem::new()), std::path::Path::new("/data/ORDERS"));
    /// # let now_ns = 1_767_225_600_000_000_000;
    /// # let options = StoreOptions::new(config, now_ns);
    /// # let store = Store::open(fs, Arc::new(OsEntropy), &Idle::declared(), dir, &options)?;
    /// let mut writer = store.writer().expect("nobody took it before");
    /// let headers = b"NATS/1.0\r\nNats-Expected-Last-Sequence: 0\r\n\r\n";
    /// let first = NewMessage { subject: b"orders.1", headers, body: b"one coffee" };
    /// assert_eq!(writer.publish(&first, now_ns)?, 1);
    /// let refused = writer.publish(&first, now_ns);
    /// assert_eq!(refused, Err(AppendError::LastSequence { expected: 0, found: 1 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish(&mut self, message: &NewMessage<'_>, now_ns: i64) -> Result<u64, AppendError> {
        if let Some(name) = self.not_done(message.headers) {
            return Err(AppendError::Header { name });
        }
        let expected = Expected::of_headers(message.headers);
        let Some(rollup) = Rollup::of_headers(message.headers)? else {
            let appended = self.append_expecting(message, now_ns, expected)?;
            return Ok(appended.seq);
        };
        let is_allowed = {
            let meta = &self.shared.live.read().meta;
            meta.allow_rollup && !meta.deny_purge
        };
        if !is_allowed {
            return Err(AppendError::Rollup { is_allowed });
        }
        let committed = self.append_rolling_up(message, rollup, now_ns, expected)?;
        Ok(committed.last_seq)
    }

    /// The first header that asks for what the stream does not do.
    fn not_done(&self, headers: &[u8]) -> Option<&'static str> {
        let meta = &self.shared.live.read().meta;
        let is_there = |name: &str| told(headers, name.as_bytes()).is_some();
        let stream = told(headers, EXPECTED_STREAM.as_bytes());
        let refused = [
            ("Nats-TTL", !meta.allow_msg_ttl),
            ("Nats-Schedule", !meta.allow_msg_schedules),
            (EXPECTED_STREAM, stream != Some(meta.name.as_bytes())),
        ];
        let refused = refused.into_iter().filter(|(_, is_refused)| *is_refused);
        let mut names = refused.map(|(name, _)| name).chain(NOT_DONE);
        names.find(|name| is_there(name))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::env::memory::{MemoryFileSystem, SeededEntropy};
    use crate::format::meta::StreamMeta;
    use crate::living::Idle;
    use crate::store::{Store, StoreOptions};

    fn stream(more: &str) -> (Store, Writer) {
        let config = format!(r#"{{"name":"S","subjects":["s.>"],"storage":"file"{more}}}"#);
        let config = StreamMeta::parse(config.as_bytes()).unwrap();
        let (fs, entropy) = (MemoryFileSystem::new(), SeededEntropy::new(1));
        let (idle, options) = (Idle::declared(), StoreOptions::new(config, 1));
        let dir = Path::new("/data/S");
        let store = Store::open(Arc::new(fs), Arc::new(entropy), &idle, dir, &options).unwrap();
        let writer = store.writer().unwrap();
        (store, writer)
    }

    fn publish(writer: &mut Writer, subject: &str, header: &str) -> Result<u64, AppendError> {
        let headers = format!("NATS/1.0\r\n{header}\r\n\r\n");
        let message = NewMessage {
            subject: subject.as_bytes(),
            headers: headers.as_bytes(),
            body: b"",
        };
        writer.publish(&message, 1)
    }

    #[test]
    fn what_headers_expect_is_held_against_the_stream() {
        let (_store, mut writer) = stream("");
        let last = "Nats-Expected-Last-Sequence: ";
        let of_subject = "Nats-Expected-Last-Subject-Sequence: ";
        for (subject, header, appended) in [
            ("s.a", "X: y".to_owned(), Ok(1)),
            ("s.b", format!("{last}1"), Ok(2)),
            ("s.a", format!("{of_subject}1"), Ok(3)),
            ("s.b", format!("{of_subject}3"), Err((3, 2))),
            ("s.b", format!("{last}2"), Err((2, 3))),
            ("s.b", format!("{last}three"), Err((u64::MAX, 3))),
            ("s.b", last.to_owned(), Ok(4)),
        ] {
            let appended =
                appended.map_err(|(expected, found)| AppendError::LastSequence { expected, found });
            assert_eq!(publish(&mut writer, subject, &header), appended, "{header}");
        }
    }

    #[test]
    fn a_header_that_asks_for_what_is_not_done_is_refused() {
        let refused = |more: &str, header: &str| {
            let (_store, mut writer) = stream(more);
            match publish(&mut writer, "s.a", header) {
                Ok(seq) => assert_eq!(seq, 1),
                Err(AppendError::Header { name }) => return Some(name),
                Err(error) => panic!("{error}"),
            }
            None
        };
        assert_eq!(refused("", "Nats-TTL: 5s"), Some("Nats-TTL"));
        assert_eq!(refused(r#","allow_msg_ttl":true"#, "Nats-TTL: 5s"), None);
        assert_eq!(refused("", "Nats-Expected-Stream: S"), None);
        let other = refused("", "Nats-Expected-Stream: T");
        assert_eq!(other, Some("Nats-Expected-Stream"));
        for name in NOT_DONE {
            assert_eq!(refused("", &format!("{name}: 1")), Some(name));
        }
    }

    #[test]
    fn a_header_rolls_up_where_the_stream_allows_it() {
        let live = |store: &Store| store.reader().summary().message_count;
        let (store, mut writer) = stream(r#","allow_rollup_hdrs":true"#);
        for subject in ["s.a", "s.a", "s.b"] {
            publish(&mut writer, subject, "X: y").unwrap();
        }
        assert_eq!(publish(&mut writer, "s.a", "Nats-Rollup: sub"), Ok(4));
        assert_eq!(live(&store), 2);
        let other = publish(&mut writer, "s.a", "Nats-Rollup: some");
        assert_eq!(other, Err(AppendError::Rollup { is_allowed: true }));
        let wrong = "Nats-Rollup: ALL\r\nNats-Expected-Last-Sequence: 9";
        assert!(publish(&mut writer, "s.a", wrong).is_err());
        assert_eq!(publish(&mut writer, "s.a", "Nats-Rollup: ALL"), Ok(5));
        assert_eq!(live(&store), 1);
        let (store, mut writer) = stream("");
        let refused = publish(&mut writer, "s.a", "Nats-Rollup: sub");
        assert_eq!(refused, Err(AppendError::Rollup { is_allowed: false }));
        assert_eq!(live(&store), 0);
    }
}
