//! What is known by what was acknowledged.

use std::collections::BTreeMap;

use super::{BUCKET, HISTORY, Outcome, SMALL, SMALL_MAX};

pub type Messages = BTreeMap<u64, (String, Vec<u8>)>;

/// What is known by what was acknowledged.
#[derive(Default)]
pub struct Truth {
    pub part: u32,
    pub streams: BTreeMap<&'static str, Messages>,
    pub last_seqs: BTreeMap<&'static str, u64>,
    /// As it was told at the end of the last part.
    pub told: BTreeMap<&'static str, Figures>,
    pub consumer: Option<Position>,
    /// Deliveries that wait: where their acknowledgement goes.
    pub waiting: BTreeMap<u64, String>,
    /// How many checks were made.
    pub check_count: u64,
}

/// What a broker tells of a stream, without times.
pub type Figures = (u64, u64, u64, u64, u64, u64);

/// What a broker tells of a consumer: delivered, floor, waiting, delivered again, to come.
pub type Position = ((u64, u64), (u64, u64), usize, usize, u64);

impl Truth {
    pub fn same<T: PartialEq + std::fmt::Debug>(
        &mut self,
        what: &str,
        found: T,
        expected: T,
    ) -> Outcome<()> {
        self.check_count += 1;
        match found == expected {
            true => Ok(()),
            false => Err(format!(
                "part {}: {what}: {found:?}, expected {expected:?}",
                self.part
            )
            .into()),
        }
    }

    pub fn stored(&mut self, stream: &'static str, seq: u64, subject: &str, body: &[u8]) {
        self.last_seqs.insert(stream, seq);
        let messages = self.streams.entry(stream).or_default();
        messages.insert(seq, (subject.to_owned(), body.to_vec()));
        let same: Vec<u64> = messages
            .iter()
            .filter(|(_, (other, _))| other == subject)
            .map(|(seq, _)| *seq)
            .collect();
        if stream == BUCKET && same.len() > HISTORY {
            messages.remove(&same[0]);
        }
        if stream == SMALL && messages.len() > SMALL_MAX {
            messages.pop_first();
        }
    }

    pub fn messages(&self, stream: &'static str) -> Messages {
        self.streams.get(stream).cloned().unwrap_or_default()
    }

    /// The values of a key that are kept.
    pub fn history(&self, key: &str) -> Vec<(u64, Vec<u8>)> {
        let subject = format!("$KV.B.{key}");
        let messages = self.messages(BUCKET).into_iter();
        messages
            .filter(|(_, (found, _))| *found == subject)
            .map(|(seq, (_, body))| (seq, body))
            .collect()
    }
}
