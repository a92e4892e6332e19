//! What the server's API tells of a stream and its messages.

use base64::engine::{Engine as _, general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::format::duration::format_rfc3339;
use crate::store::{StoreSummary, StoredMessage};

/// How header blocks begin.
const HEADERS_START: &[u8] = b"NATS/1.0\r\n";

impl StoreSummary {
    /// The stream's `state` in the answer to a request for its information; who counts its consumers adds them.
    #[must_use]
    pub fn info(&self) -> Value {
        json!({
            "messages": self.message_count,
            "bytes": self.bytes,
            "first_seq": self.first.seq,
            "first_ts": format_rfc3339(self.first.timestamp_ns),
            "last_seq": self.last.seq,
            "last_ts": format_rfc3339(self.last.timestamp_ns),
            "num_subjects": self.subject_count,
            "num_deleted": self.deleted_count,
        })
    }
}

impl StoredMessage {
    /// The `message` in the answer to a request for one (`STREAM.MSG.GET`).
    #[must_use]
    pub fn info(&self) -> Value {
        json!({
            "subject": String::from_utf8_lossy(self.subject()),
            "seq": self.seq,
            "hdrs": STANDARD.encode(self.headers()),
            "data": STANDARD.encode(self.body()),
            "time": format_rfc3339(self.timestamp_ns),
        })
    }

    /// Its headers with those in front that say where it is from: the headers of a direct answer (`DIRECT.GET`).
    #[must_use]
    pub fn direct_headers(&self, stream: &str) -> Vec<u8> {
        let subject = String::from_utf8_lossy(self.subject());
        let (seq, time) = (self.seq, format_rfc3339(self.timestamp_ns));
        let origin = format!(
            "Nats-Stream: {stream}\r\nNats-Subject: {subject}\r\nNats-Sequence: {seq}\r\nNats-Time-Stamp: {time}\r\n"
        );
        let own = self.headers().strip_prefix(HEADERS_START);
        [HEADERS_START, origin.as_bytes(), own.unwrap_or(b"\r\n")].concat()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::env::memory::{MemoryFileSystem, SeededEntropy};
    use crate::format::headers::find;
    use crate::format::meta::StreamMeta;
    use crate::living::Idle;
    use crate::store::{NewMessage, Store, StoreOptions};

    #[test]
    fn a_message_and_its_stream_are_told_as_clients_read_them() {
        let config = StreamMeta::parse(br#"{"name":"S","subjects":["s"],"storage":"file"}"#);
        let options = StoreOptions::new(config.unwrap(), 1);
        let (fs, entropy) = (MemoryFileSystem::new(), SeededEntropy::new(1));
        let (idle, dir) = (Idle::declared(), Path::new("/data/S"));
        let store = Store::open(Arc::new(fs), Arc::new(entropy), &idle, dir, &options).unwrap();
        let mut writer = store.writer().unwrap();
        for headers in [&b""[..], b"NATS/1.0\r\nMine: b\r\n\r\n"] {
            let message = NewMessage {
                subject: b"s",
                headers,
                body: b"xy",
            };
            writer.append(&message, 1_767_323_045_500_000_000).unwrap();
        }
        let reader = store.reader();
        let time = "2026-01-02T03:04:05.5Z";
        let told = json!({"subject": "s", "seq": 1, "hdrs": "", "data": "eHk=", "time": time});
        assert_eq!(reader.get(1).unwrap().info(), told);
        for seq in [1, 2] {
            let headers = reader.get(seq).unwrap().direct_headers("S");
            assert!(headers.starts_with(HEADERS_START) && headers.ends_with(b"\r\n\r\n"));
            let header = |name: &[u8]| find(&headers, name).map(String::from_utf8_lossy);
            assert_eq!(header(b"Nats-Stream").unwrap(), "S");
            assert_eq!(header(b"Nats-Subject").unwrap(), "s");
            assert_eq!(header(b"Nats-Sequence").unwrap(), seq.to_string());
            assert_eq!(header(b"Nats-Time-Stamp").unwrap(), time);
            assert_eq!(header(b"Mine").is_some(), seq == 2);
        }
        let told = reader.summary().info();
        assert_eq!(
            (&told["messages"], &told["last_seq"]),
            (&json!(2), &json!(2))
        );
        assert_eq!(
            (&told["num_subjects"], &told["first_ts"]),
            (&json!(1), &json!(time))
        );
    }
}
