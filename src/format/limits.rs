//! Sizes and bounds the format fixes, and the block size the server picks.

/// Bytes before the subject of a record (file format reference, section 3).
pub const RECORD_HEADER_LENGTH: usize = 22;

/// Bytes of a checksum: at the end of every record, and after the compressed part of a block
/// (file format reference, sections 3 and 5).
pub const CHECKSUM_LENGTH: usize = 8;

/// The shortest record: no subject, no headers, no body (file format reference, section 3).
pub const RECORD_MIN_LENGTH: usize = RECORD_HEADER_LENGTH + CHECKSUM_LENGTH;

/// Bytes of the header length field, present where a record has headers (file format reference, section 3).
pub const HEADER_LENGTH_FIELD: usize = 4;

/// The longest record a reader accepts (file format reference, section 3, "Validity").
pub const RECORD_MAX_LENGTH: usize = 32 * 1024 * 1024;

/// Sequence numbers take the low 62 bits of a record's sequence field (file format reference, section 3).
pub const SEQUENCE_MAX: u64 = (1 << 62) - 1;

/// The zero time of the writer's language in nanoseconds since the Unix epoch: "no time" in records and block times
/// (file format reference, section 0).
pub const ZERO_TIME_NS: i64 = -6_795_364_578_871_345_152;

/// From this many bytes on, a block that looks compressed but does not decompress may be a plain one after all
/// (file format reference, section 5).
pub const AMBIGUOUS_BLOCK_MIN_LENGTH: usize = 24_145_251;

/// A block that has messages is rolled before a multi-skip takes its deletes above this
/// (file format reference, section 4).
pub const BLOCK_DELETES_MAX: u64 = 64 * 1024;

/// The largest block size a store accepts (file format reference, section 4).
pub const BLOCK_SIZE_MAX: u64 = 8 * 1024 * 1024;

/// Block size in between (file format reference, section 4).
pub const BLOCK_SIZE_MEDIUM: u64 = 4 * 1024 * 1024;

/// Most of a block under encryption, where the store itself picks (file format reference, section 4).
pub const BLOCK_SIZE_ENCRYPTED: u64 = 2 * 1024 * 1024;

/// The least block size picked from a limit (file format reference, section 4).
pub const BLOCK_SIZE_MIN: u64 = 32_000;

/// Block size of the raft group `_meta_` (file format reference, section 4).
pub const BLOCK_SIZE_META_GROUP: u64 = 1024 * 1024;

/// Most decoded bytes of one compression chunk (file format reference, section 5).
pub const CHUNK_DECODED_MAX: usize = 4 * 1024 * 1024;

/// The same in a stream that calls itself Snappy.
pub const SNAPPY_CHUNK_DECODED_MAX: usize = 64 * 1024;

/// Most decoded bytes of one compressed block. The format has no such bound; a block holds at most one record beyond
/// [`BLOCK_SIZE_MAX`], and this leaves several times that room while a hostile file cannot ask for all of memory.
pub const DECODED_BLOCK_MAX: usize = 256 * 1024 * 1024;

/// What a stream's configuration says that decides its block size. Limits at or below zero are no limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSizeInputs {
    /// Most bytes of the stream.
    pub max_bytes: i64,
    /// Most messages of the stream.
    pub max_messages: i64,
    /// Most messages of one subject.
    pub max_messages_per_subject: i64,
    /// The most bytes a record of the stream is expected to take, from [`record_length_estimate`].
    pub record_length_estimate: u64,
    /// Whether messages stay until a limit removes them, not until consumers are done with them.
    pub limits_retention: bool,
    /// Whether the store is encrypted.
    pub encrypted: bool,
}

/// The block size the server opens a stream's store with (file format reference, section 4).
///
/// Limits decide first, and then encryption plays no part; without them the store picks for itself.
#[must_use]
pub fn stream_block_size(inputs: &BlockSizeInputs) -> u64 {
    if let Some(max_bytes) = positive(inputs.max_bytes) {
        return block_size_for(max_bytes);
    }
    if let Some(max_messages) = positive(inputs.max_messages) {
        return block_size_for(inputs.record_length_estimate.wrapping_mul(max_messages));
    }
    if inputs.max_messages_per_subject > 0 {
        return BLOCK_SIZE_MEDIUM;
    }
    store_block_size(inputs.max_bytes, inputs.limits_retention, inputs.encrypted)
}

/// The block size a store picks when whoever opens it names none (file format reference, section 4).
#[must_use]
pub fn store_block_size(max_bytes: i64, limits_retention: bool, encrypted: bool) -> u64 {
    let most = if encrypted {
        BLOCK_SIZE_ENCRYPTED
    } else {
        BLOCK_SIZE_MAX
    };
    match positive(max_bytes) {
        Some(max_bytes) => block_size_for(max_bytes).min(most),
        None if encrypted => BLOCK_SIZE_ENCRYPTED,
        None if limits_retention => BLOCK_SIZE_MAX,
        None => BLOCK_SIZE_MEDIUM,
    }
}

/// The bytes a record is expected to take at most, where blocks are sized by a message limit.
///
/// `max_message_length` is the stream's limit, else the account's, else the server's default payload of 1 MiB;
/// `longest_literal_subject` is taken over the stream's subjects without wildcards, `None` if all have them.
#[must_use]
pub fn record_length_estimate(
    max_message_length: u32,
    longest_literal_subject: Option<usize>,
) -> u64 {
    const SUBJECT_LENGTH_DEFAULT: usize = 256;
    let subject_length = longest_literal_subject.unwrap_or(SUBJECT_LENGTH_DEFAULT);
    (RECORD_MIN_LENGTH + HEADER_LENGTH_FIELD + subject_length) as u64
        + u64::from(max_message_length)
}

fn positive(limit: i64) -> Option<u64> {
    u64::try_from(limit).ok().filter(|&limit| limit > 0)
}

/// A quarter of the expected total, rounded up and put in one of three classes.
fn block_size_for(total_estimate: u64) -> u64 {
    let quarter = (total_estimate / 4 + 1).next_multiple_of(100);
    match quarter {
        ..=BLOCK_SIZE_MIN => BLOCK_SIZE_MIN,
        BLOCK_SIZE_MAX.. => BLOCK_SIZE_MAX,
        _ => BLOCK_SIZE_MEDIUM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LIMITS: BlockSizeInputs = BlockSizeInputs {
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: -1,
        record_length_estimate: 1_000,
        limits_retention: true,
        encrypted: false,
    };

    #[test]
    fn block_size_classes() {
        for (max_bytes, expected) in [
            (1, BLOCK_SIZE_MIN),
            (127_996, BLOCK_SIZE_MIN),
            (127_999, BLOCK_SIZE_MIN),
            (128_000, BLOCK_SIZE_MEDIUM),
            (33_554_000, BLOCK_SIZE_MEDIUM),
            (33_554_400, BLOCK_SIZE_MAX),
            (i64::MAX, BLOCK_SIZE_MAX),
        ] {
            let inputs = BlockSizeInputs {
                max_bytes,
                ..NO_LIMITS
            };
            assert_eq!(stream_block_size(&inputs), expected, "{max_bytes}");
            assert_eq!(
                store_block_size(max_bytes, false, false),
                expected,
                "{max_bytes}"
            );
            assert_eq!(
                store_block_size(max_bytes, true, true),
                expected.min(BLOCK_SIZE_ENCRYPTED)
            );
        }
    }

    #[test]
    fn block_size_precedence() {
        let per_subject = BlockSizeInputs {
            max_messages_per_subject: 1,
            ..NO_LIMITS
        };
        let messages = BlockSizeInputs {
            max_messages: 10,
            ..per_subject
        };
        let bytes = BlockSizeInputs {
            max_bytes: i64::MAX,
            ..messages
        };
        for (inputs, plain, encrypted) in [
            (NO_LIMITS, BLOCK_SIZE_MAX, BLOCK_SIZE_ENCRYPTED),
            (
                BlockSizeInputs {
                    limits_retention: false,
                    ..NO_LIMITS
                },
                BLOCK_SIZE_MEDIUM,
                BLOCK_SIZE_ENCRYPTED,
            ),
            (per_subject, BLOCK_SIZE_MEDIUM, BLOCK_SIZE_MEDIUM),
            (messages, BLOCK_SIZE_MIN, BLOCK_SIZE_MIN),
            (bytes, BLOCK_SIZE_MAX, BLOCK_SIZE_MAX),
        ] {
            assert_eq!(stream_block_size(&inputs), plain, "{inputs:?}");
            let inputs = BlockSizeInputs {
                encrypted: true,
                ..inputs
            };
            assert_eq!(stream_block_size(&inputs), encrypted, "{inputs:?}");
        }
    }

    #[test]
    fn a_message_limit_whose_estimate_wraps() {
        let inputs = BlockSizeInputs {
            max_messages: i64::MAX,
            record_length_estimate: 2,
            ..NO_LIMITS
        };
        assert_eq!(stream_block_size(&inputs), BLOCK_SIZE_MAX);
        let inputs = BlockSizeInputs {
            max_messages: 1 << 62,
            record_length_estimate: 4,
            ..NO_LIMITS
        };
        assert_eq!(stream_block_size(&inputs), BLOCK_SIZE_MIN);
    }

    #[test]
    fn zero_time_is_the_stored_pattern() {
        assert_eq!(ZERO_TIME_NS.cast_unsigned(), 0xa1b2_03eb_3d1a_0000);
    }

    #[test]
    fn record_estimate_counts_subject_and_headers_field() {
        assert_eq!(
            record_length_estimate(1 << 20, None),
            30 + 4 + 256 + (1 << 20)
        );
        assert_eq!(record_length_estimate(100, Some(7)), 30 + 4 + 7 + 100);
    }
}
