//! Judging subjects by the stream's configuration and its index.

use std::hash::Hasher as _;

use rustc_hash::FxHasher;

use super::evidence::{Evidence, MetaOrigin};
use super::scan::{SubjectStanding, SubjectWitness};
use crate::format::record::{RUN_RECORDS_MAX, RecordKind, RecordRef};
use crate::format::state::SubjectTable;
use crate::format::subject;

/// With fewer listed subjects than this, all that a look-up touches is in cache anyway.
const COLD_SUBJECTS_MIN: usize = 1 << 13;

/// A listed subject.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// Its place in the table and one more; 0 where there is none.
    place: u32,
    /// Bits of its hash, so that hardly any other subject is looked at.
    tag: u32,
}

/// What a stream's subjects can be. Memory in proportion to the index's table: at most 24 bytes a subject.
#[derive(Debug)]
pub struct Subjects<'a> {
    /// Filters of the configuration; `None` where messages can have any subject.
    filters: Option<Vec<&'a [u8]>>,
    known: Option<&'a SubjectTable>,
    /// A power of two of them; a listed subject is in that of its hash or the next one free.
    buckets: Vec<Bucket>,
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
        let known = evidence.index.as_ref().map(|index| &index.state.subjects);
        let mut subjects = Subjects {
            filters,
            known,
            buckets: Vec::new(),
        };
        if let Some(table) = known {
            let count = (table.len() + table.len() / 2 + 1).next_power_of_two();
            subjects.buckets = vec![Bucket::default(); count];
            for (place, entry) in (1..u32::MAX).zip(table.iter()) {
                let (mut at, tag) = subjects.start(entry.subject);
                while subjects.taken(at).is_some() {
                    at += 1;
                }
                let at = at & (count - 1);
                if let Some(free) = subjects.buckets.get_mut(at) {
                    *free = Bucket { place, tag };
                }
            }
        }
        subjects
    }

    /// Where a subject is looked for first, and its tag.
    #[inline]
    fn start(&self, subject: &[u8]) -> (usize, u32) {
        let mut hasher = FxHasher::default();
        hasher.write(subject);
        let mixed = hasher.finish().wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let at = (mixed >> 32) as usize & self.buckets.len().saturating_sub(1);
        (at, mixed as u32)
    }

    /// The bucket at `at`, counted round and round, unless it is free.
    #[inline]
    fn taken(&self, at: usize) -> Option<Bucket> {
        let at = at & self.buckets.len().saturating_sub(1);
        let bucket = self.buckets.get(at).copied();
        bucket.filter(|bucket| bucket.place != 0)
    }

    /// The places in the table, each one more than it is, of the subjects that may be this one.
    #[inline]
    fn places(&self, (start, tag): (usize, u32)) -> impl Iterator<Item = u32> + '_ {
        // Some bucket is free.
        let taken = (start..).map_while(|at| self.taken(at));
        taken
            .filter(move |bucket| bucket.tag == tag)
            .map(|bucket| bucket.place)
    }

    fn listed(&self, place: u32) -> Option<&'a [u8]> {
        let entry = self.known?.get((place as usize).checked_sub(1)?)?;
        Some(entry.subject)
    }

    fn is_known(&self, subject: &[u8]) -> bool {
        let mut places = self.places(self.start(subject));
        places.any(|place| self.listed(place) == Some(subject))
    }
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

    /// Where there are many subjects, each look-up waits for memory three times over; here none waits for another.
    fn prepare(&self, records: &[RecordRef], content: &[u8]) {
        let Some(table) = self.known else { return };
        if table.len() < COLD_SUBJECTS_MIN {
            return;
        }
        let mut asked = [((0, 0), 0); RUN_RECORDS_MAX];
        let unproven = records
            .iter()
            .filter(|record| record.kind() == RecordKind::Message && !record.has_headers());
        let mut count = 0;
        let mut mix = 0;
        for ((start, _), record) in asked.iter_mut().zip(unproven) {
            *start = self.start(record.subject(content));
            mix ^= self.taken(start.0).map_or(0, |bucket| bucket.place);
            count += 1;
        }
        let asked = asked.get_mut(..count).unwrap_or_default();
        for (start, place) in asked.iter_mut() {
            *place = self.places(*start).next().unwrap_or_default();
        }
        for (_, place) in asked.iter() {
            mix ^= self
                .listed(*place)
                .map_or(0, |subject| subject.len() as u32);
        }
        for (_, place) in asked.iter() {
            let first = self.listed(*place).and_then(<[u8]>::first);
            mix ^= first.copied().map_or(0, u32::from);
        }
        std::hint::black_box(mix);
    }
}
