//! A message that a stream sourced, as it was in the stream it came from (file format reference, section 9.1).
//!
//! Sourcing appends a header that tells where the message came from, and drops the headers that speak to the origin alone:
//! what the publisher expected of it, its place in a batch, and where the origin itself had it from. The body is handed on as
//! it is; sequence and time are the sourcing stream's own.

use super::headers::{STREAM_SOURCE, StreamSource, find, stream_source};

/// What every header block begins with.
const VERSION_LINE: &[u8] = b"NATS/1.0\r\n";
/// Beginnings of header names that sourcing drops.
const DROPPED: [&[u8]; 2] = [b"Nats-Expected-", b"Nats-Batch-"];

/// Where a sourced message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The origin as the header has it: the stream's name, with a hash behind a colon where it is another domain's or account's.
    pub place: &'a [u8],
    /// The sequence it had there.
    pub sequence: u64,
    /// The subject it had there, where the header tells: since 2.12.
    pub subject: Option<&'a [u8]>,
    /// The identity of the stream it came from; empty before 2.15.
    pub identity: &'a [u8],
}

impl<'a> Origin<'a> {
    /// What the headers of a message tell; `None` where it was not sourced.
    #[must_use]
    pub fn of(headers: &'a [u8]) -> Option<Self> {
        let (sequence, identity) = match stream_source(headers) {
            StreamSource::Keyed {
                sequence, identity, ..
            } => (sequence, identity),
            // Nothing but a name: of which of several sources it was, or whether it was filtered, stays open.
            StreamSource::StreamName { .. } | StreamSource::None => return None,
        };
        let value = find(headers, STREAM_SOURCE)?;
        let mut fields = value.split(|byte| *byte == b' ');
        Some(Origin {
            place: fields.next()?,
            sequence,
            subject: fields.nth(3).filter(|subject| !subject.is_empty()),
            identity,
        })
    }

    /// The name of the stream it came from.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        let name = self.place.split(|byte| *byte == b':').next();
        name.unwrap_or_default()
    }
}

/// What sourcing hands on of a header block: the block without the lines that it adds or drops; empty where no line is left.
#[must_use]
pub fn handed_on(headers: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(headers.len());
    let mut lines = 0;
    for line in headers.split_inclusive(|byte| *byte == b'\n') {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if line.contains(&b':')
            && (name == STREAM_SOURCE || DROPPED.iter().any(|start| name.starts_with(start)))
        {
            continue;
        }
        lines += usize::from(line != VERSION_LINE && line != b"\r\n");
        kept.extend_from_slice(line);
    }
    match lines {
        0 => Vec::new(),
        _ => kept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SOURCED: &[u8] = b"NATS/1.0\r\nNats-Msg-Id: id-0\r\nK: v\r\n\
        Nats-Stream-Source: ORDERS 7 orders.> t.> orders.a.0 wQrWgrry\r\n\r\n";

    #[test]
    fn the_header_tells_place_sequence_and_subject() {
        let want = Origin {
            place: b"ORDERS",
            sequence: 7,
            subject: Some(b"orders.a.0"),
            identity: b"wQrWgrry",
        };
        assert_eq!(Origin::of(SOURCED), Some(want));
        let older = Origin::of(b"NATS/1.0\r\nNats-Stream-Source: S:AbCdEfGh 7 > >\r\n\r\n");
        let older = older.expect("sourced");
        assert_eq!((older.name(), older.subject), (&b"S"[..], None));
        assert_eq!(Origin::of(b"NATS/1.0\r\nK: v\r\n\r\n"), None);
        assert_eq!(
            Origin::of(b"NATS/1.0\r\nNats-Stream-Source: S 7\r\n\r\n"),
            None
        );
    }

    #[test]
    fn what_sourcing_adds_and_drops_is_left_out() {
        assert_eq!(
            handed_on(SOURCED),
            b"NATS/1.0\r\nNats-Msg-Id: id-0\r\nK: v\r\n\r\n"
        );
        let own = b"NATS/1.0\r\nNats-Expected-Stream: S\r\nNats-Batch-Id: b\r\n\r\n";
        assert_eq!(handed_on(own), b"");
        assert_eq!(handed_on(b""), b"");
    }

    proptest! {
        #[test]
        fn a_block_without_such_lines_stays(value in "[a-z]{0,9}", name in "[A-M][a-z]{0,8}") {
            let block = format!("NATS/1.0\r\n{name}: {value}\r\n\r\n").into_bytes();
            prop_assert_eq!(handed_on(&block), block);
        }

        #[test]
        fn any_bytes_will_do(block in prop::collection::vec(any::<u8>(), 0..99)) {
            let once = handed_on(&block);
            prop_assert_eq!(handed_on(&once), once);
            let _ = Origin::of(&block);
        }
    }
}
