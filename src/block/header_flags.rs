//! Which of the headers that recovery cares about a record carries.

use crate::format::headers::{self, NATS_SCHEDULE, NATS_TTL};
use crate::format::record::RecordRef;

/// Presence of a non-empty header, whether its value is valid or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeaderFlags {
    /// `Nats-TTL`.
    pub ttl: bool,
    /// `Nats-Schedule`.
    pub schedule: bool,
}

impl HeaderFlags {
    /// The flags of `record`; none where its header length is bad.
    #[must_use]
    pub fn of(record: &RecordRef, content: &[u8]) -> Self {
        let Ok((block, _)) = record.headers_and_body(content) else {
            return HeaderFlags::default();
        };
        if !headers::may_concern_recovery(block) {
            return HeaderFlags::default();
        }
        let present = |name| headers::find(block, name).is_some_and(|value| !value.is_empty());
        HeaderFlags { ttl: present(NATS_TTL), schedule: present(NATS_SCHEDULE) }
    }
}
