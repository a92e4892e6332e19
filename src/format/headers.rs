//! The few message headers recovery looks at.
//!
//! Sources: file format reference, sections 9 and 9.1; recovery reference, section 7.4. Lookup
//! follows the server to the byte, including the cases where it overlooks a header: what the
//! server does not see must not expire a message here.

use super::duration::{DurationError, Instant, parse_duration};
use super::names::hash8;
use std::fmt;

/// Name of the time-to-live header.
pub const TTL: &[u8] = b"Nats-TTL";
/// Name of the schedule pattern header.
pub const SCHEDULE: &[u8] = b"Nats-Schedule";
/// Name of the header with the time zone of a schedule.
pub const SCHEDULE_TIME_ZONE: &[u8] = b"Nats-Schedule-Time-Zone";
/// Name of the header that says where a sourced message came from.
pub const STREAM_SOURCE: &[u8] = b"Nats-Stream-Source";
/// Name of the header with which a client marks what it did to a key of a bucket: `DEL` or `PURGE`.
pub const KV_OPERATION: &[u8] = b"KV-Operation";
/// Name of the header of a message that a server left in place of those it removed.
pub const MARKER_REASON: &[u8] = b"Nats-Marker-Reason";
/// Name of the header that marks a member of an atomic batch.
pub const BATCH_ID: &[u8] = b"Nats-Batch-Id";
/// Name of the header with the position inside an atomic batch.
pub const BATCH_SEQUENCE: &[u8] = b"Nats-Batch-Sequence";
/// Name of the header that ends an atomic batch.
pub const BATCH_COMMIT: &[u8] = b"Nats-Batch-Commit";

/// The value of the first header of exactly this name; empty and absent are different answers.
///
/// A name counts at the start of a line (after CR LF) with a colon right behind it. Spaces before
/// the value are skipped, trailing ones stay; the value ends at CR LF or with the block.
pub fn find<'a>(headers: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let start = name_offset(headers, name)?;
    let after_colon = headers.get(start + name.len() + 1..)?;
    let blanks = after_colon.iter().take_while(|&&byte| byte == b' ').count();
    let value = after_colon.get(blanks..)?;
    let end = value
        .windows(2)
        .position(|pair| pair == b"\r\n")
        .unwrap_or(value.len());
    value.get(..end)
}

/// Where the name starts. Each look continues behind the last mismatch and gives up for good when
/// the next occurrence starts within two bytes of that point: the server's own blind spot.
fn name_offset(headers: &[u8], name: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let ahead = position(headers.get(from..)?, name)?;
        if ahead < 2 {
            return None;
        }
        let start = from + ahead;
        let end = start + name.len();
        let at_line_start = headers.get(start - 2..start) == Some(b"\r\n");
        if at_line_start {
            match headers.get(end) {
                Some(b':') => return Some(start),
                Some(_) => {}
                None => return None,
            }
        }
        from = end;
    }
}

/// Whether a line of the block has exactly this name, with a value or without: CR LF, the name and a colon, wherever they stand.
#[must_use]
pub fn has_line(headers: &[u8], name: &[u8]) -> bool {
    let mut from = 0;
    while let Some(rest) = headers.get(from..)
        && let Some(at) = position(rest, b"\r\n")
    {
        from += at + 2;
        if headers.get(from..).is_some_and(|line| is_named(line, name)) {
            return true;
        }
    }
    false
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return None;
    }
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

/// Which of the headers recovery acts on may be in a block; a false answer is certain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Present {
    /// `Nats-TTL:` starts a line.
    pub ttl: bool,
    /// `Nats-Schedule:` starts a line.
    pub schedule: bool,
    /// `Nats-Stream-Source:` starts a line.
    pub source: bool,
}

impl Present {
    /// Whether any of them may be there.
    pub fn any(self) -> bool {
        self.ttl || self.schedule || self.source
    }
}

const LINE_PREFIX: &[u8; 6] = b"\nNats-";

/// How far the window may move on when its last byte is this one.
const SKIPS: [u8; 256] = {
    let mut skips = [LINE_PREFIX.len() as u8; 256];
    let mut index = 0;
    while index < LINE_PREFIX.len() - 1 {
        skips[LINE_PREFIX[index] as usize] = (LINE_PREFIX.len() - 1 - index) as u8;
        index += 1;
    }
    skips
};

/// One quick pass over a header block for the headers recovery acts on; [`find`] and the parsers
/// below have the last word. Made for the scan of every record, where most blocks have none.
pub fn present(headers: &[u8]) -> Present {
    let mut found = Present::default();
    let mut offset = 0;
    while let Some(window) = headers.get(offset..offset + LINE_PREFIX.len()) {
        let last = headers
            .get(offset + LINE_PREFIX.len() - 1)
            .copied()
            .unwrap_or_default();
        if window == LINE_PREFIX {
            let line = headers.get(offset + 1..).unwrap_or_default();
            found.ttl |= is_named(line, TTL);
            found.schedule |= is_named(line, SCHEDULE);
            found.source |= is_named(line, STREAM_SOURCE);
            offset += LINE_PREFIX.len();
        } else {
            offset += usize::from(SKIPS.get(usize::from(last)).copied().unwrap_or(1));
        }
    }
    found
}

fn is_named(line: &[u8], name: &[u8]) -> bool {
    line.strip_prefix(name)
        .is_some_and(|rest| rest.first() == Some(&b':'))
}

/// Why a `Nats-TTL` value is not a time to live. Recovery treats all of them as "no TTL".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TtlError {
    /// A well-formed duration below one second, zero and negative ones included.
    BelowOneSecond {
        /// Nanoseconds found.
        duration_ns: i64,
    },
    /// Neither `never`, nor a duration, nor digits; with what the duration parser disliked.
    NotADuration {
        /// Why it is none.
        cause: DurationError,
    },
    /// Digits that wrapped to a negative number of seconds.
    NegativeSeconds {
        /// Seconds found.
        seconds: i64,
    },
    /// Bytes that are not UTF-8 text.
    NotText,
}

impl fmt::Display for TtlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BelowOneSecond { duration_ns } => {
                write!(f, "time to live of {duration_ns} ns is below one second")
            }
            Self::NotADuration { cause } => write!(f, "not a time to live: {cause}"),
            Self::NegativeSeconds { seconds } => {
                write!(f, "time to live wraps to {seconds} seconds")
            }
            Self::NotText => write!(f, "time to live is not text"),
        }
    }
}

impl std::error::Error for TtlError {}

/// The time to live of a message in seconds: 0 without one, -1 for `never`.
pub fn message_ttl(headers: &[u8]) -> Result<i64, TtlError> {
    match find(headers, TTL) {
        None | Some([]) => Ok(0),
        Some(value) => parse_ttl(value),
    }
}

/// Parses the value of a `Nats-TTL` header into seconds, -1 for `never`.
pub fn parse_ttl(value: &[u8]) -> Result<i64, TtlError> {
    if value.eq_ignore_ascii_case(b"never") {
        return Ok(-1);
    }
    let text = std::str::from_utf8(value).map_err(|_| TtlError::NotText)?;
    let cause = match parse_duration(text) {
        Ok(duration_ns) if duration_ns < 1_000_000_000 => {
            return Err(TtlError::BelowOneSecond { duration_ns });
        }
        Ok(duration_ns) => return Ok(whole_seconds(duration_ns)),
        Err(cause) => cause,
    };
    match wrapping_decimal(value) {
        None => Err(TtlError::NotADuration { cause }),
        Some(seconds) if seconds < 0 => Err(TtlError::NegativeSeconds { seconds }),
        Some(seconds) => Ok(seconds),
    }
}

/// Truncates to seconds by way of floating point as the server does: above some 10^6 seconds a
/// fraction of nines rounds up.
fn whole_seconds(duration_ns: i64) -> i64 {
    let seconds = duration_ns / 1_000_000_000;
    let rest_ns = duration_ns % 1_000_000_000;
    (seconds as f64 + rest_ns as f64 / 1e9) as i64
}

/// Decimal digits modulo 2^64; none where the text is empty or anything else stands in it.
fn wrapping_decimal(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0i64, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number.wrapping_mul(10).wrapping_add(i64::from(byte - b'0')))
    })
}

/// When a message with a time to live expires; wraps like the server's sum.
pub fn expiry_ns(timestamp_ns: i64, ttl_seconds: i64) -> i64 {
    timestamp_ns.wrapping_add(ttl_seconds.wrapping_mul(1_000_000_000))
}

/// What a `Nats-Stream-Source` header says (file format reference, section 9.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamSource<'a> {
    /// Names one configured source. Written since 2.10.
    Keyed {
        /// Source key: `ORIGIN FILTER DESTINATION`.
        key: Vec<u8>,
        /// Sequence in the source stream.
        sequence: u64,
        /// Identity of the source stream; empty before 2.15.
        identity: &'a [u8],
    },
    /// Names a stream only, and thus every source that reads it. Written before 2.10.
    StreamName {
        /// Stream name, with `:` and a hash behind it for streams of another domain.
        name: &'a [u8],
        /// Sequence in the source stream.
        sequence: u64,
    },
    /// No header, or none that recovery understands.
    None,
}

/// The source a message came from.
pub fn stream_source(headers: &[u8]) -> StreamSource<'_> {
    find(headers, STREAM_SOURCE).map_or(StreamSource::None, parse_stream_source)
}

/// Parses the value of a `Nats-Stream-Source` header.
pub fn parse_stream_source(value: &[u8]) -> StreamSource<'_> {
    if value.starts_with(b"$JS.ACK.") {
        return parse_ack_reply(value);
    }
    let mut fields = value.split(|&byte| byte == b' ');
    let (Some(origin), Some(sequence)) = (fields.next(), fields.next()) else {
        return StreamSource::None;
    };
    let sequence = source_sequence(sequence);
    match (fields.next(), fields.next()) {
        (None, _) => StreamSource::StreamName {
            name: origin,
            sequence,
        },
        (Some(_), None) => StreamSource::None,
        (Some(filter), Some(destination)) => StreamSource::Keyed {
            key: [origin, filter, destination].join(&b' '),
            sequence,
            identity: fields.nth(1).unwrap_or_default(),
        },
    }
}

/// The oldest form: the reply subject of the delivery, in its short or its long layout.
fn parse_ack_reply(value: &[u8]) -> StreamSource<'_> {
    let name_token = match value.iter().filter(|&&byte| byte == b'.').count() + 1 {
        9 => 2,
        11.. => 4,
        _ => return StreamSource::None,
    };
    let mut tokens = value.split(|&byte| byte == b'.').skip(name_token);
    match (tokens.next(), tokens.nth(2)) {
        (Some(name), Some(sequence)) if !name.is_empty() => StreamSource::StreamName {
            name,
            sequence: source_sequence(sequence),
        },
        _ => StreamSource::None,
    }
}

/// Anything but digits reads as the highest number, which is what the server makes of it.
fn source_sequence(digits: &[u8]) -> u64 {
    wrapping_decimal(digits).map_or(u64::MAX, |number| number as u64)
}

/// The identity of a stream created at this instant (file format reference, section 2.1).
pub fn identity_of(created: &Instant) -> String {
    hash8(created.to_rfc3339_utc().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::duration::parse_instant;
    use super::*;
    use proptest::prelude::*;

    fn block(line: &str) -> Vec<u8> {
        format!("NATS/1.0\r\n{line}\r\n\r\n").into_bytes()
    }

    #[test]
    fn lookup_rules() {
        let headers = b"NATS/1.0\r\nX:   b c  \r\nX: second\r\nY:\r\nTail: to the end";
        assert_eq!(find(headers, b"X"), Some(&b"b c  "[..]));
        assert_eq!(find(headers, b"Y"), Some(&b""[..]));
        assert_eq!(find(headers, b"x"), None);
        assert_eq!(find(headers, b"Tail"), Some(&b"to the end"[..]));
        assert_eq!(find(b"", b"X"), None);
        assert_eq!(
            find(b"X: b\r\n", b"X"),
            None,
            "the first line is not a header line"
        );
        assert_eq!(
            find(b"ab\nX: b\r\n", b"X"),
            None,
            "a bare line feed starts no line"
        );
        assert_eq!(find(b"a\r\nX : b\r\n", b"X"), None);
        assert_eq!(find(b"a\r\nX", b"X"), None);
        assert_eq!(find(b"a\r\nX:", b"X"), Some(&b""[..]));
        assert_eq!(find(b"a\r\nX:\tb\rc\r\n", b"X"), Some(&b"\tb\rc"[..]));
    }

    #[test]
    fn lookup_goes_on_after_a_match_elsewhere_but_not_right_behind_it() {
        assert_eq!(find(b"x\r\nB: A: 1\r\nA: 2\r\n", b"A"), Some(&b"2"[..]));
        assert_eq!(
            find(b"NATS/1.0\r\nA: 2\r\n", b"A"),
            None,
            "the A of NATS ends the search"
        );
        assert_eq!(
            find(b"x\r\nNats-TTL-Max: 1\r\nNats-TTL: 2\r\n", TTL),
            Some(&b"2"[..])
        );
        assert_eq!(
            find(b"x\r\nAx: Nats-TTLNats-TTL\r\nNats-TTL: 2\r\n", TTL),
            None
        );
    }

    #[test]
    fn quick_look_agrees_with_lookup() {
        let headers =
            b"NATS/1.0\r\nNats-TTLx: 1\r\nNats-Schedule-Next: q\r\nNats-Stream-Source:\r\n";
        assert_eq!(
            present(headers),
            Present {
                ttl: false,
                schedule: false,
                source: true
            }
        );
        assert!(!present(b"NATS/1.0\r\nNats-").any());
        assert!(present(&block("Nats-TTL:1")).ttl);
        assert!(present(&block("Nats-Schedule: @at x")).schedule);
    }

    #[test]
    fn a_line_counts_by_its_name_alone() {
        let both = |text: &str| {
            let block = text.as_bytes();
            (has_line(block, TTL), has_line(block, SCHEDULE))
        };
        for (text, expected) in [
            ("", (false, false)),
            ("NATS/1.0\r\n\r\n", (false, false)),
            ("NATS/1.0\r\nNats-TTL: 5\r\n\r\n", (true, false)),
            ("NATS/1.0\r\nNats-TTL:\r\n\r\n", (true, false)),
            ("NATS/1.0\r\nNats-TTL:", (true, false)),
            ("NATS/1.0\r\nNats-TTL", (false, false)),
            ("\r\nNats-Schedule:", (false, true)),
            ("Nats-TTL: 5\r\n", (false, false)),
            ("x\nNats-TTL: 5\r\n", (false, false)),
            ("x\r\nnats-ttl: 5\r\n", (false, false)),
            ("x\r\nNats-TTL-Max: 5\r\n", (false, false)),
            ("x\r\n Nats-TTL: 5\r\n", (false, false)),
            ("x\r\nNats-Schedule-Next: purge\r\n", (false, false)),
            ("x\r\nA: Nats-TTL: 5\r\n", (false, false)),
            ("x\r\nA: Nats-TTL\r\nNats-TTL: 5\r\n", (true, false)),
            ("x\r\nNats-TTL-Max: 1\r\nNats-TTL: 2\r\n", (true, false)),
            (
                "x\r\nNats-TTL: 1\r\nNats-Schedule: @every 1s\r\n",
                (true, true),
            ),
            ("x\r\nNats-Schedule:\r\nNats-TTL:\r\n", (true, true)),
            ("x\r\n\r\nNats-TTL: 1", (true, false)),
            ("x\r\r\nNats-TTL: 1", (true, false)),
            ("x\r\nNats-Nats-TTL: 1", (false, false)),
        ] {
            assert_eq!(both(text), expected, "{text:?}");
        }
    }

    #[test]
    fn ttl_forms() {
        for (value, expected) in [
            ("", Ok(0)),
            ("never", Ok(-1)),
            ("NeVer", Ok(-1)),
            ("1s", Ok(1)),
            ("1.999s", Ok(1)),
            ("1h", Ok(3_600)),
            ("007", Ok(7)),
            ("5", Ok(5)),
            ("00", Ok(0)),
            ("18446744073709551617", Ok(1)),
            ("0", Err(TtlError::BelowOneSecond { duration_ns: 0 })),
            (
                "999ms",
                Err(TtlError::BelowOneSecond {
                    duration_ns: 999_000_000,
                }),
            ),
            (
                "-5s",
                Err(TtlError::BelowOneSecond {
                    duration_ns: -5_000_000_000,
                }),
            ),
            (
                "9223372036854775808",
                Err(TtlError::NegativeSeconds { seconds: i64::MIN }),
            ),
            (
                "1s ",
                Err(TtlError::NotADuration {
                    cause: DurationError::UnknownUnit { offset: 1 },
                }),
            ),
            (
                "-1",
                Err(TtlError::NotADuration {
                    cause: DurationError::MissingUnit { offset: 2 },
                }),
            ),
            // Near the top of the range the server's floating point rounds the fraction up.
            ("9223372036.854775807s", Ok(9_223_372_036)),
            ("9223372035.999999999s", Ok(9_223_372_036)),
        ] {
            assert_eq!(
                message_ttl(&block(&format!("Nats-TTL: {value}"))),
                expected,
                "{value:?}"
            );
        }
        assert_eq!(message_ttl(b""), Ok(0));
        assert_eq!(parse_ttl(b"\xff"), Err(TtlError::NotText));
        assert_eq!(expiry_ns(i64::MAX, 1), i64::MIN + 999_999_999);
    }

    #[test]
    fn source_forms() {
        let keyed = |identity| StreamSource::Keyed {
            key: b"SRC > >".to_vec(),
            sequence: 3,
            identity,
        };
        for (value, expected) in [
            ("SRC 3 > > s.1 IE3MWun7", keyed(b"IE3MWun7")),
            ("SRC 3 > > s.1 IE3MWun7 more", keyed(b"IE3MWun7")),
            ("SRC 3 > > s.1", keyed(b"")),
            ("SRC 3 > >", keyed(b"")),
            ("SRC 3 >", StreamSource::None),
            (
                "SRC 3",
                StreamSource::StreamName {
                    name: b"SRC",
                    sequence: 3,
                },
            ),
            (
                "SRC x",
                StreamSource::StreamName {
                    name: b"SRC",
                    sequence: u64::MAX,
                },
            ),
            (
                "SRC ",
                StreamSource::StreamName {
                    name: b"SRC",
                    sequence: u64::MAX,
                },
            ),
            ("SRC", StreamSource::None),
            ("", StreamSource::None),
            (
                "$JS.ACK.SRC.cons.1.7.2.1700000000.0",
                StreamSource::StreamName {
                    name: b"SRC",
                    sequence: 7,
                },
            ),
            (
                "$JS.ACK.dom.acc.SRC.cons.1.7.2.1700000000.0.token",
                StreamSource::StreamName {
                    name: b"SRC",
                    sequence: 7,
                },
            ),
            (
                "$JS.ACK.dom.acc.SRC.cons.1.7.2.1700000000",
                StreamSource::None,
            ),
            ("$JS.ACK.SRC", StreamSource::None),
        ] {
            let headers = block(&format!("Nats-Stream-Source: {value}"));
            assert_eq!(stream_source(&headers), expected, "{value:?}");
        }
        assert_eq!(stream_source(&block("A: b")), StreamSource::None);
    }

    #[test]
    fn identities_of_a_real_server() {
        for (created, identity) in [
            ("2026-11-21T06:43:20.765497378Z", "IE3MWun7"),
            ("2026-11-21T06:43:20.773591018Z", "6ujDHT7w"),
            ("2026-11-21T08:43:20.773591018+02:00", "6ujDHT7w"),
        ] {
            assert_eq!(identity_of(&parse_instant(created).unwrap()), identity);
        }
        assert_eq!(hash8(b"$JS.ext.API"), "f7C5SBrE");
        assert_eq!(hash8(b"dur"), "lS2bloCe");
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_and_the_quick_look_misses_nothing(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just(b"\r\n".to_vec()), Just(TTL.to_vec()), Just(SCHEDULE.to_vec()),
                    Just(STREAM_SOURCE.to_vec()), Just(b": 1".to_vec()), Just(b"Nats-".to_vec()),
                    proptest::collection::vec(any::<u8>(), 0..6),
                ],
                0..12,
            ),
        ) {
            let headers = parts.concat();
            let quick = present(&headers);
            prop_assert!(quick.ttl || find(&headers, TTL).is_none());
            prop_assert!(quick.schedule || find(&headers, SCHEDULE).is_none());
            prop_assert!(quick.source || find(&headers, STREAM_SOURCE).is_none());
            for (name, quick) in [(TTL, quick.ttl), (SCHEDULE, quick.schedule)] {
                // What a plain search for the three parts in a row finds.
                let line = [b"\r\n", name, b":"].concat();
                let there = headers.windows(line.len()).any(|window| window == line);
                prop_assert_eq!(has_line(&headers, name), there);
                prop_assert!(quick || !there);
            }
            let _ = message_ttl(&headers);
            let _ = stream_source(&headers);
            let _ = parse_stream_source(&headers);
            let _ = parse_ttl(&headers);
        }
    }
}
