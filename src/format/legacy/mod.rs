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

#[cfg(test)]
mod tests {
    #[test]
    fn corpus_replays() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/corpus/legacy");
        for file in std::fs::read_dir(folder).unwrap() {
            super::fuzz_one(&std::fs::read(file.unwrap().path()).unwrap());
        }
    }
}
