//! The encryption of the store that a merge writes, and its consumers under that.

use super::super::consumers::{self, ConsumerPlan};
use super::super::error::SalvageError;
use super::super::evidence::{ConsumerEvidence, is_raft_group};
use super::super::plan::Target;
use super::super::write::StoreWriter;
use super::Copy;
use crate::crypto::{Cipher, KeyChoice};
use crate::recovery::events::Event;
use crate::recovery::options::{Keys, Options};

/// The encryption of the new store, and the options to read it with. It is encrypted where any copy is.
pub(super) fn of(copies: &[Copy], options: &Options, plaintext: bool) -> (Target, Options) {
    let mut own = options.clone();
    let first_sealed = copies.iter().find(|copy| copy.found.gathered.sealed);
    let Some(copy) = first_sealed.filter(|_| !plaintext) else {
        own.keys = Keys::default();
        return (Target::Plain, own);
    };
    let cipher = if is_raft_group(&copy.found.stream.dir) {
        Cipher::ChaCha
    } else {
        let opened = copy.found.gathered.evidence.asset_key.as_ref();
        let theirs = opened.map(|opened| opened.cipher);
        options.keys.cipher.or(theirs).unwrap_or(Cipher::ChaCha)
    };
    let common = options.keys.current.as_ref();
    let server =
        common
            .or(copy.options.keys.current.as_ref())
            .or(copy.options.keys.previous.as_ref());
    own.keys = Keys {
        current: server.cloned(),
        previous: None,
        cipher: Some(cipher),
    };
    (Target::Key(KeyChoice::Current, cipher), own)
}

/// Writes consumers of a stream that ends at `last_seq`, each anew: whatever key its files were under.
pub(super) fn write_consumers(
    found: &[ConsumerEvidence],
    last_seq: u64,
    writer: &StoreWriter<'_>,
) -> Result<Vec<Event>, SalvageError> {
    let mut seen = Vec::new();
    for consumer in found {
        let (plan, events) = consumers::plan(consumer, last_seq);
        seen.extend(events);
        match plan {
            ConsumerPlan::Dropped => {}
            ConsumerPlan::Whole { json, state } | ConsumerPlan::Mended { json, state } => {
                writer.consumer(&consumer.name, &json, state.as_deref())?;
            }
        }
    }
    Ok(seen)
}
