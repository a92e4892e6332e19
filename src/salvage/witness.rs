//! Judging subjects by the stream's configuration and its index.

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher as _;

use super::evidence::{Evidence, MetaOrigin};
use super::scan::{SubjectStanding, SubjectWitness};
use crate::format::state::SubjectTable;
use crate::format::subject;

/// What a stream's subjects can be. Memory in proportion to the index's table: some five bytes a subject.
#[derive(Debug)]
pub struct Subjects<'a> {
    /// Filters of the configuration; `None` where messages can have any subject.
    filters: Option<Vec<&'a [u8]>>,
    known: Option<&'a SubjectTable>,
    places: HashTable<u32>,
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
        let mut places = HashTable::new();
        if let Some(table) = known {
            let hash = |place: &u32| {
                let entry = table.get(*place as usize);
                FxBuildHasher.hash_one(entry.map_or(&[][..], |entry| entry.subject))
            };
            places.reserve(table.len(), hash);
            for place in (0..table.len()).filter_map(|place| u32::try_from(place).ok()) {
                places.insert_unique(hash(&place), place, hash);
            }
        }
        Subjects {
            filters,
            known,
            places,
        }
    }

    fn is_known(&self, subject: &[u8]) -> bool {
        let Some(table) = self.known else {
            return false;
        };
        let hash = FxBuildHasher.hash_one(subject);
        let equal = |place: &u32| {
            let entry = table.get(*place as usize);
            entry.is_some_and(|entry| entry.subject == subject)
        };
        self.places.find(hash, equal).is_some()
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
}
