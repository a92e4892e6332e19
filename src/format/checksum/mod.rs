//! Keyed 64-bit checksums: HighwayHash-64 under the SHA-256 of a label.
//!
//! Source: file format reference, sections 0 (notation) and 3 (which bytes of a record are covered).
//! One record or one file is hashed with [`HashKey::hash64`]; the records of a block are hashed in runs with
//! [`HashKey::hash_run`], which keeps several records in flight at once.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod lanes;

use highway::{HighwayHash as _, HighwayHasher, Key};
use sha2::{Digest as _, Sha256};

use super::record::RecordRef;

/// The key of one checksum domain: a stream, a block of a stream, or a consumer.
///
/// It is derived from names alone and is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashKey([u64; 4]);

impl HashKey {
    /// Derives the key from a label's bytes.
    #[must_use]
    pub fn from_label(label: &[u8]) -> Self {
        let digest = Sha256::digest(label);
        let mut words = [0_u64; 4];
        for (word, bytes) in words.iter_mut().zip(digest.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(words)
    }

    /// The key of a stream's own files (`meta.sum`, `index.db`): label `S`.
    #[must_use]
    pub fn for_stream(stream: &[u8]) -> Self {
        Self::from_label(stream)
    }

    /// The key of the records of one block: label `S-N`.
    #[must_use]
    pub fn for_block(stream: &[u8], block_number: u32) -> Self {
        let mut label = stream.to_vec();
        label.push(b'-');
        label.extend_from_slice(block_number.to_string().as_bytes());
        Self::from_label(&label)
    }

    /// The key of a consumer's files: label `S/C`.
    #[must_use]
    pub fn for_consumer(stream: &[u8], consumer: &[u8]) -> Self {
        Self::from_label(&[stream, b"/", consumer].concat())
    }

    /// The hash of the concatenation of `parts`. Stored on disk as eight little-endian bytes.
    #[must_use]
    pub fn hash64(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = HighwayHasher::new(Key(self.0));
        for part in parts {
            hasher.append(part);
        }
        hasher.finalize64()
    }

    /// A hash that takes in its bytes piece by piece, and can be kept half-way to try several endings.
    #[must_use]
    pub fn begin(&self) -> RunningHash {
        RunningHash(HighwayHasher::new(Key(self.0)))
    }

    /// Hashes the covered bytes of every record of `records`, all of them parsed from `buffer`, and leaves the
    /// hashes in the same order in `hashes`, whose former content is dropped.
    ///
    /// A record that does not lie within `buffer` is hashed as if it covered no bytes.
    pub fn hash_run(&self, buffer: &[u8], records: &[RecordRef], hashes: &mut Vec<u64>) {
        hashes.clear();
        #[cfg(target_arch = "x86_64")]
        if let Some(kernel) = Kernel::best() {
            lanes::hash_run(kernel, self, buffer, records, hashes);
            return;
        }
        self.hash_run_portable(buffer, records, hashes);
    }

    fn hash_run_portable(&self, buffer: &[u8], records: &[RecordRef], hashes: &mut Vec<u64>) {
        hashes.extend(
            records
                .iter()
                .map(|record| self.hash_record(buffer, record)),
        );
    }

    /// The hash of one record's covered bytes: where a run of records is at hand, [`HashKey::hash_run`] costs less a record.
    #[must_use]
    pub fn hash_record(&self, buffer: &[u8], record: &RecordRef) -> u64 {
        let covered = record.covered(buffer).unwrap_or_default();
        self.hash64(&[covered.header, covered.subject, covered.rest])
    }
}

/// Code for several hashes side by side, chosen at run time by what the processor has.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
enum Kernel {
    Avx2(avx2::Kernel),
    Avx512(avx512::Kernel),
}

#[cfg(target_arch = "x86_64")]
impl Kernel {
    /// The fastest that the processor can run.
    fn best() -> Option<Self> {
        Self::of_avx512().or_else(Self::of_avx2)
    }

    fn of_avx512() -> Option<Self> {
        avx512::Kernel::detect().map(Self::Avx512)
    }

    fn of_avx2() -> Option<Self> {
        avx2::Kernel::detect().map(Self::Avx2)
    }

    fn hash(
        self,
        key: &[u64; 4],
        lanes: &[lanes::Lane<'_>; lanes::LANE_COUNT],
    ) -> [u64; lanes::LANE_COUNT] {
        match self {
            Self::Avx2(kernel) => kernel.hash(key, lanes),
            Self::Avx512(kernel) => kernel.hash(key, lanes),
        }
    }
}

/// A hash under way: a clone of it goes on from the bytes taken in so far.
#[derive(Debug, Clone)]
pub struct RunningHash(HighwayHasher);

impl RunningHash {
    /// Takes in `bytes`.
    pub fn append(&mut self, bytes: &[u8]) {
        self.0.append(bytes);
    }

    /// The hash of everything taken in.
    #[must_use]
    pub fn finish(self) -> u64 {
        self.0.finalize64()
    }
}

/// The eight stored bytes of a hash as 16 lower-case hexadecimal digits, the form `meta.sum` holds.
#[must_use]
pub fn hex16(hash: u64) -> String {
    format!("{:016x}", hash.swap_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::record::{NewRecord, encode_record, parse_at};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn vectors_of_the_format_reference() {
        let digest: String = Sha256::digest(b"ORDERS-1")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            digest,
            "4743479c7497e0043c0ddff713dbd9f23b738a1f0b31f9c2443404cde6418e8c"
        );
        assert_eq!(
            HashKey::for_block(b"ORDERS", 1),
            HashKey::from_label(b"ORDERS-1")
        );
        assert_eq!(
            hex16(HashKey::for_stream(b"ORDERS").hash64(&[])),
            "09cc9df4fa96a66a"
        );
        assert_eq!(
            hex16(HashKey::for_stream(b"ORDERS").hash64(&[b"{}"])),
            "b501fa87d7a6c5aa"
        );
        assert_eq!(
            hex16(HashKey::for_consumer(b"ORDERS", b"dur").hash64(&[b"{", b"", b"}"])),
            "14a92e0610556537"
        );
    }

    #[derive(Debug, Clone)]
    struct Shape {
        subject_length: usize,
        headers_length: usize,
        body_length: usize,
    }

    fn shape() -> impl Strategy<Value = Shape> {
        let subject = prop_oneof![8 => 0..70_usize, 1 => 200..700_usize];
        let headers = prop_oneof![1 => Just(0_usize), 1 => 0..300_usize];
        let body = prop_oneof![2 => 0..80_usize, 1 => 0..2000_usize];
        (subject, headers, body).prop_map(|(subject_length, headers_length, body_length)| Shape {
            subject_length,
            headers_length,
            body_length,
        })
    }

    fn encode_shapes(key: &HashKey, shapes: &[Shape]) -> (Vec<u8>, Vec<RecordRef>) {
        let mut noise = 0x9e37_79b9_u32;
        let mut fill = |length: usize| -> Vec<u8> {
            let mut next = || {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (noise >> 24) as u8
            };
            (0..length).map(|_| next()).collect()
        };
        let mut buffer = Vec::new();
        let mut records = Vec::new();
        for (shape, sequence) in shapes.iter().zip(1..) {
            let offset = buffer.len();
            encode_record(
                &mut buffer,
                key,
                &NewRecord::Message {
                    sequence,
                    timestamp_ns: 17,
                    subject: &fill(shape.subject_length),
                    headers: &fill(shape.headers_length),
                    body: &fill(shape.body_length),
                },
            )
            .unwrap();
            records.push((offset, sequence));
        }
        let records = records
            .iter()
            .map(|&(offset, _)| parse_at(&buffer, offset).unwrap())
            .collect();
        (buffer, records)
    }

    fn assert_run_equals_single(shapes: &[Shape]) {
        let key = HashKey::for_block(b"S", 7);
        let (buffer, records) = encode_shapes(&key, shapes);
        let mut portable = Vec::new();
        key.hash_run_portable(&buffer, &records, &mut portable);
        let mut fast = vec![1, 2, 3];
        key.hash_run(&buffer, &records, &mut fast);
        assert_eq!(fast, portable);
        #[cfg(target_arch = "x86_64")]
        for kernel in [Kernel::of_avx2(), Kernel::of_avx512()]
            .into_iter()
            .flatten()
        {
            let mut by_kernel = Vec::new();
            lanes::hash_run(kernel, &key, &buffer, &records, &mut by_kernel);
            assert_eq!(by_kernel, portable);
        }
        let stored: Vec<u64> = records
            .iter()
            .map(|record| record.stored_hash(&buffer).unwrap())
            .collect();
        assert_eq!(fast, stored);
    }

    #[test]
    fn runs_of_equal_records_of_every_length() {
        for length in 0..2000 {
            let shape = Shape {
                subject_length: length % 11,
                headers_length: 0,
                body_length: length,
            };
            assert_run_equals_single(&vec![shape; 1 + length % 17]);
        }
    }

    #[test]
    fn runs_with_headers_of_every_subject_length() {
        for subject_length in 0..600 {
            for headers_length in [1, 2, 31, 64] {
                let shape = Shape {
                    subject_length,
                    headers_length,
                    body_length: subject_length % 37,
                };
                assert_run_equals_single(&vec![shape; 11]);
            }
        }
    }

    #[test]
    fn a_record_outside_the_buffer_does_not_panic() {
        let key = HashKey::for_block(b"S", 7);
        let shape = Shape {
            subject_length: 9,
            headers_length: 30,
            body_length: 100,
        };
        let (buffer, records) = encode_shapes(&key, &vec![shape; 6]);
        let mut hashes = Vec::new();
        for cut in 0..buffer.len() {
            key.hash_run(&buffer[..cut], &records, &mut hashes);
            assert_eq!(hashes.len(), records.len());
            assert_eq!(hashes[5] == key.hash64(&[]), cut < buffer.len() - 8);
        }
    }

    proptest! {
        #[test]
        fn mixed_runs(shapes in proptest::collection::vec(shape(), 0..200)) {
            assert_run_equals_single(&shapes);
        }
    }
}
