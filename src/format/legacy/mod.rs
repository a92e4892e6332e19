//! Files beside each block that old releases wrote: [`idx`] and [`fss`].
//!
//! Source: file format reference, section 10. No release since 2.10 writes them, but an `.idx` still decides what an
//! upgraded store holds.

pub mod fss;
pub mod idx;

/// Reads `data` as `N.idx` and as `N.fss` and checks that a sound `.idx` can be written and read again.
#[doc(hidden)]
pub fn fuzz_one(data: &[u8]) {
    let _ = fss::decode(data);
    if let idx::IdxOutcome::Candidate(fields) = idx::decode(data) {
        let again =
            idx::encode(&fields, idx::IdxVersion::V2, u64::MAX).map(|bytes| idx::decode(&bytes));
        assert_eq!(again, Ok(idx::IdxOutcome::Candidate(fields)));
    }
}
