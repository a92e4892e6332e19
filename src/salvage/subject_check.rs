//! Judging subjects by the stream's configuration and its index.

use std::hash::Hasher as _;

use rustc_hash::FxHasher;

use super::scan::{SubjectStanding, SubjectWitness};
use super::side_files::Evidence;
use crate::format::record::{RecordKind, RecordRef};
use crate::format::state::SubjectTable;
use crate::format::subject;
use crate::stream::metadata::MetaOrigin;

/// With fewer places than this, the one that a look-up touches is in cache anyway.
const COLD_PLACES_MIN: usize = 1 << 15;

/// What a stream's subjects can be.
///
/// Listed subjects are known again by 64 bits of a hash, as many as prove a record: another one is taken for listed once
/// in 2^64 times. Memory: at most 24 bytes for each of them.
#[derive(Debug)]
pub struct Subjects<'a> {
    /// Filters of the configuration; `None` where messages can have any subject.
    filters: Option<Vec<&'a [u8]>>,
    /// Hashes of the listed subjects, each where its low bits say or in the next place that was free; 0 where there is
    /// none. A power of two of places, or none at all.
    listed: Vec<u64>,
}

impl<'a> Subjects<'a> {
    /// By what the side files tell. Configured subjects count only where the configuration is proven, and only messages that
    /// keep the subject they were published with: a mirror, a stream with sources and one that renames take any.
    #[must_use]
    pub fn new(evidence: &'a Evidence) -> Self {
        let meta = &evidence.meta;
        let proven = matches!(evidence.meta_origin, MetaOrigin::Sound | MetaOrigin::Mended);
        let renames =
            meta.mirror.is_some() || !meta.sources.is_empty() || meta.subject_transform.is_some();
        let filters = (proven && !renames && !meta.subjects.is_empty())
            .then(|| meta.subjects.iter().map(String::as_bytes).collect());
        let mut subjects = Subjects {
            filters,
            listed: Vec::new(),
        };
        if let Some(index) = &evidence.index {
            subjects.list(&index.state.subjects);
        }
        subjects
    }

    fn list(&mut self, table: &SubjectTable) {
        // Some places stay free.
        let count = (table.len() + table.len() / 2 + 1).next_power_of_two();
        self.listed = vec![0; count];
        for entry in table.iter() {
            let hash = hash_of(entry.subject);
            let mut at = hash as usize;
            while self
                .at(at)
                .is_some_and(|listed| listed != 0 && listed != hash)
            {
                at = at.wrapping_add(1);
            }
            if let Some(place) = self.listed.get_mut(at & (count - 1)) {
                *place = hash;
            }
        }
    }

    /// The hash in a place, counted round and round.
    #[inline]
    fn at(&self, place: usize) -> Option<u64> {
        let place = place & self.listed.len().saturating_sub(1);
        self.listed.get(place).copied()
    }

    fn is_known(&self, subject: &[u8]) -> bool {
        let hash = hash_of(subject);
        let mut at = hash as usize;
        while let Some(listed) = self.at(at).filter(|listed| *listed != 0) {
            if listed == hash {
                return true;
            }
            at = at.wrapping_add(1);
        }
        false
    }
}

/// Never 0.
#[inline]
fn hash_of(subject: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(subject);
    hasher.finish().max(1)
}

impl SubjectWitness for Subjects<'_> {
    fn standing(&self, subject: &[u8]) -> SubjectStanding {
        if self.is_known(subject) {
            return SubjectStanding::Known;
        }
        if !subject::is_valid(subject) || !subject::is_literal(subject) {
            return SubjectStanding::Impossible;
        }
        match &self.filters {
            Some(filters)
                if !filters
                    .iter()
                    .any(|filter| subject::matches(subject, filter)) =>
            {
                SubjectStanding::Impossible
            }
            _ => SubjectStanding::Possible,
        }
    }

    /// Where there are many subjects, each look-up waits for memory; here none waits for another.
    fn prepare(&self, records: &[RecordRef], content: &[u8]) {
        if self.listed.len() < COLD_PLACES_MIN {
            return;
        }
        let unproven = records
            .iter()
            .filter(|record| record.kind() == RecordKind::Message && !record.has_headers());
        let mix = unproven.fold(0, |mix, record| {
            let hash = hash_of(record.subject(content));
            mix ^ self.at(hash as usize).unwrap_or_default()
        });
        std::hint::black_box(mix);
    }
}
