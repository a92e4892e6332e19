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
