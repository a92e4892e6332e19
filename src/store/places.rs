//! Where the messages of a block lie in it.

/// Sequences of a block's messages, rising, and where each one's record begins. A slot is a message's number among them.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    first_seq: u64,
    /// Empty as long as none is missing between the first and the last.
    seqs: Vec<u64>,
    offsets: Vec<u32>,
}

impl Places {
    /// Whether a message with this sequence may come next.
    pub fn takes(&self, seq: u64) -> bool {
        self.last_seq().is_none_or(|last| last < seq)
    }

    fn last_seq(&self) -> Option<u64> {
        self.seq(self.offsets.len().checked_sub(1)?)
    }

    /// Adds a message behind all others.
    pub fn push(&mut self, seq: u64, offset: u32) {
        let count = self.offsets.len() as u64;
        if count == 0 {
            self.first_seq = seq;
        } else if !self.seqs.is_empty() {
            self.seqs.push(seq);
        } else if seq != self.first_seq + count {
            self.seqs.extend(self.first_seq..self.first_seq + count);
            self.seqs.push(seq);
        }
        self.offsets.push(offset);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Bytes they take in memory.
    pub fn memory_bytes(&self) -> usize {
        self.seqs.capacity() * size_of::<u64>() + self.offsets.capacity() * size_of::<u32>()
    }

    /// Sequence in a slot.
    #[inline]
    pub fn seq(&self, slot: usize) -> Option<u64> {
        match self.seqs.is_empty() {
            true => (slot < self.offsets.len()).then(|| self.first_seq + slot as u64),
            false => self.seqs.get(slot).copied(),
        }
    }

    /// Where the record in a slot begins.
    #[inline]
    pub fn offset(&self, slot: usize) -> Option<u32> {
        self.offsets.get(slot).copied()
    }

    /// The first slot whose sequence is `seq` or above.
    #[inline]
    pub fn slot_from(&self, seq: u64) -> usize {
        if self.offsets.is_empty() {
            return 0;
        }
        let Some(guess) = seq.checked_sub(self.first_seq) else {
            return 0;
        };
        let guess = usize::try_from(guess).unwrap_or(usize::MAX);
        let reach = guess.min(self.offsets.len());
        // Where some sequences are missing the one looked for lies before its guess.
        match self.seqs.is_empty() || self.seqs.get(guess) == Some(&seq) {
            true => reach,
            false => self
                .seqs
                .get(..reach)
                .map_or(0, |seqs| seqs.partition_point(|found| *found < seq)),
        }
    }

    /// The slot of `seq`.
    #[inline]
    pub fn slot_of(&self, seq: u64) -> Option<usize> {
        let slot = self.slot_from(seq);
        (self.seq(slot) == Some(seq)).then_some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn slots_are_found_whether_sequences_are_missing_or_not(
            first in 1_u64..1000,
            steps in proptest::collection::vec(prop_oneof![8 => Just(1_u64), 1 => 2_u64..50], 0..40),
            asked in proptest::collection::vec(0_u64..2000, 1..20),
        ) {
            let mut seqs = vec![first];
            seqs.extend(steps.iter().scan(first, |seq, step| {
                *seq += step;
                Some(*seq)
            }));
            let mut places = Places::default();
            for (offset, seq) in (0..).zip(&seqs) {
                prop_assert!(places.takes(*seq));
                places.push(*seq, offset * 10);
                prop_assert!(!places.takes(*seq));
            }
            prop_assert_eq!(places.len(), seqs.len());
            for (slot, seq) in seqs.iter().enumerate() {
                prop_assert_eq!(places.seq(slot), Some(*seq));
                prop_assert_eq!(places.slot_of(*seq), Some(slot));
                prop_assert_eq!(places.offset(slot), Some(slot as u32 * 10));
            }
            for seq in asked.into_iter().chain([u64::MAX]) {
                let slot = seqs.partition_point(|found| *found < seq);
                prop_assert_eq!(places.slot_from(seq), slot);
                prop_assert_eq!(places.slot_of(seq), seqs.get(slot).filter(|found| **found == seq).map(|_| slot));
            }
            prop_assert_eq!(places.seq(seqs.len()), None);
        }
    }
}
