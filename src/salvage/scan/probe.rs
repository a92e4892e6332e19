//! Whether a file's bytes are of a given block: a few of its records, hashed under that block's key. A 64-bit keyed hash that
//! agrees leaves no doubt.

use super::budget::HASH_COST;
use super::resync::{is_followed, plausible, verifies};
use super::{Hints, Scratch, chunks};
use crate::format::checksum::HashKey;
use crate::format::compression::{self, Framing};
use crate::format::record::RecordRef;

/// Bytes looked through for records, at the beginning of a content and at its middle.
const SEARCHED: usize = 1 << 20;

/// Records taken of each of the two.
const RECORDS: usize = 4;

/// Longer records are not hashed over and over, but where they come first.
const LENGTH_MAX: usize = 64 * 1024;

/// The content of a block file, or of its beginning: decoded as far as it goes, or the bytes themselves where they are not
/// compressed.
pub fn content_of<'b>(file: &'b mut [u8], scratch: &'b mut Scratch) -> &'b [u8] {
    if matches!(compression::detect(file), Ok(Framing::S2 { .. })) {
        chunks::unwrap_again(file, std::iter::empty(), &mut scratch.content);
        &scratch.content
    } else {
        file
    }
}

/// A few places of a content that look like records, whatever block they are of.
#[derive(Debug, Default)]
pub struct Probe {
    records: Vec<RecordRef>,
}

impl Probe {
    /// Looks for them in `content`. Time is linear in 2 MiB of it; nothing is hashed.
    #[must_use]
    pub fn of(content: &[u8], hints: &Hints<'_>) -> Self {
        let mut probe = Probe::default();
        probe.look(content, 0, hints);
        let middle = content.len() / 2;
        if middle > SEARCHED {
            probe.look(content, middle, hints);
        }
        probe
    }

    fn look(&mut self, content: &[u8], from: usize, hints: &Hints<'_>) {
        let end = content.len().min(from + SEARCHED);
        let mut found = 0;
        let mut at = from;
        while at < end && found < RECORDS {
            let record = plausible(content, at, hints).filter(|record| {
                at == 0 || record.length() <= LENGTH_MAX && leads_on(content, record, hints)
            });
            match record {
                Some(record) => {
                    found += 1;
                    // What begins the content may be anything, and must not hide what lies in it.
                    at = match leads_on(content, &record, hints) {
                        true => record.end_offset(),
                        false => at + 1,
                    };
                    self.records.push(record);
                }
                None => at += 1,
            }
        }
    }

    /// Whether any of them verifies under `key`. What that costs in bytes hashed is added to `spent`.
    #[must_use]
    pub fn is_of(&self, content: &[u8], key: &HashKey, spent: &mut u64) -> bool {
        self.records.iter().any(|record| {
            *spent += record.length() as u64 + HASH_COST;
            verifies(key, record, content)
        })
    }
}

/// Whether what follows a record looks like two more, as far as there are so many.
fn leads_on(content: &[u8], record: &RecordRef, hints: &Hints<'_>) -> bool {
    let end = record.end_offset();
    end == content.len()
        || plausible(content, end, hints).is_some_and(|next| is_followed(content, &next, hints))
}
