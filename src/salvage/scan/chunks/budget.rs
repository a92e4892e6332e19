//! What mending the chunks of one block may cost, in bytes decoded or hashed.
//!
//! A search that leads nowhere is dear: it ends only when everything was tried. So a chunk is not given the same again
//! for every place mended in it, but three things:
//!
//! - of its own, [`OWN_RATE`] for each byte it decodes to: enough for a few flipped bits, however many chunks of the
//!   block are damaged;
//! - [`EARNED_RATE`] for each byte by which a mend brings the sound records on: many flipped bits in one chunk pay for
//!   themselves, and what no flipped bit explains does not;
//! - from the block's purse, which holds [`PURSE_LIMITS`] times the limit of a chunk ([`chunk_limit`] of
//!   [`Hints::work_limit`](super::super::Hints::work_limit)), three quarters of what is left: the first damaged chunks
//!   of a block get much, the last of many little.
//!
//! Chunk headers, behind which sound chunks have to be found, have a purse of their own, of [`FRAMING_LIMITS`] times the
//! limit; so have telling whether a block is compressed and finding sound records behind what was given up, of one limit
//! each. So, beside reading it, one block costs at most
//! `(2 + PURSE_LIMITS + FRAMING_LIMITS) × limit + (OWN_RATE + EARNED_RATE) × content`, and one damaged chunk
//! `limit + (OWN_RATE + EARNED_RATE) × its content`, whatever the bytes are; a last try may go beyond what is left by its
//! own cost. With nothing that can be mended it is `limit + OWN_RATE × content`: for a block of 8 MiB with all its chunks
//! damaged, 80 MiB, which take some 70 ms.

/// Bytes a chunk may cost for each byte it decodes to.
pub(super) const OWN_RATE: u64 = 6;

/// Bytes a chunk may cost for each byte that mends in it have made sound.
pub(super) const EARNED_RATE: u64 = 64;

/// How many limits the purse of a block holds for the data of its chunks.
pub(super) const PURSE_LIMITS: u64 = 1;

/// How many limits it holds for their headers.
pub(super) const FRAMING_LIMITS: u64 = 4;

/// The limit of a chunk by that of a place. What is decoded is dearer than what is hashed, and a chunk is seldom helped by
/// more: of what goes beyond the usual it gets a small part.
pub(super) fn chunk_limit(work_limit: u64) -> u64 {
    const USUAL: u64 = 32 << 20;
    const PART: u64 = 64;
    work_limit.min(USUAL) + work_limit.saturating_sub(USUAL) / PART
}

/// Bytes that may still be decoded or hashed in search of a mend.
#[derive(Debug, Clone, Copy)]
pub(super) struct DecodeBudget {
    /// How many.
    pub left: u64,
}

impl DecodeBudget {
    /// Takes a try over `bytes` bytes of it; false when it is used up.
    pub fn take(&mut self, bytes: usize) -> bool {
        // Every try costs something beside its bytes.
        const OVERHEAD: u64 = 64;
        self.spend(OVERHEAD.saturating_add(bytes as u64))
    }

    /// Takes `cost` of it; false when it is used up.
    pub fn spend(&mut self, cost: u64) -> bool {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.left = 0;
                false
            }
        }
    }

    /// Adds what making `bytes` bytes sound is worth.
    pub fn earn(&mut self, bytes: usize) {
        let earned = (bytes as u64).saturating_mul(EARNED_RATE);
        self.left = self.left.saturating_add(earned);
    }
}

/// The purses of one block.
#[derive(Debug)]
pub(super) struct ChunkBudgets {
    limit: u64,
    data: u64,
    /// For chunk headers.
    pub framing: DecodeBudget,
    /// For finding sound records behind what was given up.
    pub records: DecodeBudget,
}

impl ChunkBudgets {
    /// Full purses, by the limit for one place.
    pub fn new(work_limit: u64) -> Self {
        let limit = chunk_limit(work_limit);
        Self {
            limit,
            data: limit.saturating_mul(PURSE_LIMITS),
            framing: DecodeBudget {
                left: limit.saturating_mul(FRAMING_LIMITS),
            },
            records: DecodeBudget { left: limit },
        }
    }

    /// What the search in a chunk of `length` decoded bytes begins with.
    pub fn open(&mut self, length: usize) -> ChunkWork {
        let drawn = self.limit.min(self.data / 4 * 3);
        self.data -= drawn;
        let own = (length as u64).saturating_mul(OWN_RATE);
        ChunkWork {
            drawn,
            work: DecodeBudget {
                left: own.saturating_add(drawn),
            },
        }
    }

    /// Takes back what a chunk did not need of what it drew.
    pub fn close(&mut self, chunk: &ChunkWork) {
        self.data += chunk.drawn.min(chunk.work.left);
    }
}

/// What the search in one chunk may cost.
#[derive(Debug)]
pub(super) struct ChunkWork {
    drawn: u64,
    /// What is left of it.
    pub work: DecodeBudget,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_full_of_damage_costs_no_more_than_its_bounds() {
        const LIMIT: u64 = 1 << 20;
        const LENGTH: usize = 100;
        let mut purses = ChunkBudgets::new(LIMIT);
        let mut spent = 0;
        for _ in 0..1000 {
            let mut chunk = purses.open(LENGTH);
            assert!(chunk.work.left <= LIMIT + OWN_RATE * LENGTH as u64);
            assert!(chunk.work.left >= OWN_RATE * LENGTH as u64);
            spent += chunk.work.left;
            while chunk.work.take(1000) {}
            purses.close(&chunk);
        }
        assert!(spent <= PURSE_LIMITS * LIMIT + 1000 * OWN_RATE * LENGTH as u64);
    }

    #[test]
    fn what_a_chunk_did_not_need_is_there_for_the_next() {
        let mut purses = ChunkBudgets::new(1000);
        for _ in 0..100 {
            let chunk = purses.open(10);
            assert_eq!(chunk.work.left, 750 + OWN_RATE * 10);
            purses.close(&chunk);
        }
    }
}
