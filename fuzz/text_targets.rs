//! Fuzz targets for what is text: shared by the fuzz binaries and by the test that replays the corpora.

use jetsam::format::headers;
use jetsam::format::meta::{ConsumerMeta, StreamMeta};
use jetsam::format::{duration, schedule};

/// Metadata of streams and consumers: what parses, encodes, and parses again to the same.
pub fn meta(data: &[u8]) {
    if let Ok(meta) = StreamMeta::parse(data) {
        let _ = meta.settings();
        let again = StreamMeta::parse(&meta.encode()).expect("what we wrote parses");
        assert_eq!(again.encode(), meta.encode());
    }
    if let Ok(meta) = ConsumerMeta::parse(data) {
        let again = ConsumerMeta::parse(&meta.encode()).expect("what we wrote parses");
        assert_eq!(again.encode(), meta.encode());
    }
}

/// Header blocks: the quick look never misses what the search finds.
pub fn headers(data: &[u8]) {
    let present = headers::present(data);
    assert!(present.ttl || headers::find(data, headers::TTL).is_none());
    assert!(present.schedule || headers::find(data, headers::SCHEDULE).is_none());
    assert!(present.source || headers::find(data, headers::STREAM_SOURCE).is_none());
    let _ = headers::message_ttl(data);
    let _ = headers::stream_source(data);
}

/// Schedules and times.
pub fn schedule(data: &[u8]) {
    let block = [b"NATS/1.0\r\nNats-Schedule: ", data, b"\r\n\r\n"].concat();
    let _ = schedule::next_fire(&block, 1_700_000_000_000_000_000, 1_800_000_000_000_000_000);
    let _ = schedule::is_scheduled(data, 1_800_000_000_000_000_000);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = duration::parse_duration(text);
        let _ = duration::parse_instant(text);
    }
}
