//! Messages that others send.

use super::append::SCHEDULER;
use super::message::StoredMessage;
use crate::format::duration::format_rfc3339;
use crate::format::headers::{self, SCHEDULE};
use crate::format::schedule::next_fire;
use crate::format::subject;

const TARGET: &[u8] = b"Nats-Schedule-Target";
const TTL: &[u8] = b"Nats-Schedule-TTL";
const ROLLUP: &[u8] = b"Nats-Schedule-Rollup";
/// Headers that a schedule does not hand on.
const KEPT_BACK: [&[u8]; 3] = [b"Nats-Msg-Id", b"Nats-TTL", b"Nats-Rollup"];
/// Beginnings of others.
const KEPT_BACK_PREFIXES: [&[u8]; 2] = [b"Nats-Schedule", b"Nats-Expected-"];

/// What a schedule sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Firing {
    pub target: Vec<u8>,
    pub headers: Vec<u8>,
    pub body: Vec<u8>,
    /// The schedule's own subject.
    pub scheduler: Vec<u8>,
    pub rolls_up: bool,
    /// The schedule fires no more.
    pub is_last: bool,
}

impl Firing {
    /// What `message` sends, which is due since `fires_ns`; `None` where it is no schedule that can be followed.
    pub fn of(message: &StoredMessage, fires_ns: i64, now_ns: i64) -> Option<Self> {
        let found = message.headers();
        let pattern = headers::find(found, SCHEDULE)?;
        let target = headers::find(found, TARGET)?;
        if !subject::is_valid(target) || !subject::is_literal(target) {
            return None;
        }
        let is_last = pattern.starts_with(b"@at ");
        let next = match is_last {
            true => "purge".to_owned(),
            false => format_rfc3339(next_fire(found, fires_ns, now_ns)?),
        };
        let mut lines = b"NATS/1.0\r\n".to_vec();
        for (name, line) in header_lines(found) {
            let is_kept_back = KEPT_BACK.contains(&name)
                || KEPT_BACK_PREFIXES
                    .iter()
                    .any(|prefix| name.starts_with(prefix));
            if !is_kept_back {
                lines.extend_from_slice(line);
                lines.extend_from_slice(b"\r\n");
            }
        }
        let mut add = |name: &[u8], value: &[u8]| {
            lines.extend_from_slice(&[name, b": ", value, b"\r\n"].concat());
        };
        add(SCHEDULER, message.subject());
        add(b"Nats-Schedule-Next", next.as_bytes());
        if let Some(ttl) = headers::find(found, TTL).filter(|value| !value.is_empty()) {
            add(b"Nats-TTL", ttl);
        }
        let rollup = headers::find(found, ROLLUP).filter(|value| !value.is_empty());
        if let Some(rollup) = rollup {
            add(b"Nats-Rollup", rollup);
        }
        lines.extend_from_slice(b"\r\n");
        Some(Firing {
            target: target.to_vec(),
            headers: lines,
            body: message.body().to_vec(),
            scheduler: message.subject().to_vec(),
            rolls_up: rollup.is_some(),
            is_last,
        })
    }
}

/// The lines of a header block with the names they begin with.
fn header_lines(headers: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = headers;
    std::iter::from_fn(move || {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let (line, behind) = rest.split_at_checked(end)?;
        rest = behind.get(2..).unwrap_or_default();
        Some(line)
    })
    .filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((line.get(..colon)?, line))
    })
}

/// Whole seconds as Go writes a duration.
pub(super) fn go_duration(seconds: i64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_with_all_smaller_units() {
        let written: Vec<String> = [1, 59, 60, 61, 90, 3600, 3661, 90_000]
            .into_iter()
            .map(go_duration)
            .collect();
        assert_eq!(
            written,
            [
                "1s", "59s", "1m0s", "1m1s", "1m30s", "1h0m0s", "1h1m1s", "25h0m0s"
            ]
        );
    }

    #[test]
    fn header_lines_leave_the_status_out() {
        let lines: Vec<_> = header_lines(b"NATS/1.0\r\nA: 1\r\nB:2\r\n\r\n").collect();
        assert_eq!(lines, [(&b"A"[..], &b"A: 1"[..]), (&b"B"[..], &b"B:2"[..])]);
    }
}
