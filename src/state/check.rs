//! Whether the parts of a state agree.

use std::fmt;

use super::{BlockState, StreamState, Totals};

/// A state that does not agree with itself. The server's bookkeeping can leave one behind damage; nobody should go on from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsound {
    /// A block does not lie behind the one before it, by number or by sequence.
    Order {
        /// The block.
        number: u32,
        /// Its first sequence.
        first_seq: u64,
        /// The last sequence before it.
        previous_last_seq: u64,
    },
    /// A block's messages and deleted sequences are not as many as its range has.
    Count {
        /// The block.
        number: u32,
        /// Live messages it counts.
        message_count: u64,
        /// Deleted sequences it lists within its range.
        deleted_count: u64,
        /// First and last sequence.
        range: (u64, u64),
    },
    /// A block that counts no message has bytes or deleted sequences all the same.
    Emptied {
        /// The block.
        number: u32,
        /// Bytes of live records it counts.
        live_bytes: u64,
        /// Deleted sequences it lists.
        deleted_count: u64,
    },
    /// A block lists deleted sequences outside its range.
    DeletedOutside {
        /// The block.
        number: u32,
        /// First and last sequence.
        range: (u64, u64),
    },
    /// The totals are not those of the blocks.
    Totals {
        /// What the totals say.
        told: Totals,
        /// What the blocks add up to.
        counted: Totals,
    },
    /// More messages are counted by their subjects than there are.
    Subjects {
        /// By the subjects.
        counted: u64,
        /// By the totals.
        messages: u64,
    },
}

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsound::Order {
                number,
                first_seq,
                previous_last_seq,
            } => write!(
                f,
                "block {number} begins at {first_seq}, and the blocks before it end at {previous_last_seq}"
            ),
            Unsound::Count {
                number,
                message_count,
                deleted_count,
                range: (first, last),
            } => write!(
                f,
                "block {number} counts {message_count} messages and {deleted_count} deleted in {first}..{last}"
            ),
            Unsound::Emptied {
                number,
                live_bytes,
                deleted_count,
            } => write!(
                f,
                "block {number} counts no message, and {live_bytes} bytes and {deleted_count} deleted"
            ),
            Unsound::DeletedOutside {
                number,
                range: (first, last),
            } => write!(
                f,
                "block {number} lists deleted sequences outside {first}..{last}"
            ),
            Unsound::Totals { told, counted } => write!(
                f,
                "the stream counts {} messages and {} bytes in {}..{}, its blocks {} and {} in {}..{}",
                told.messages,
                told.bytes,
                told.first.seq,
                told.last.seq,
                counted.messages,
                counted.bytes,
                counted.first.seq,
                counted.last.seq
            ),
            Unsound::Subjects { counted, messages } => {
                write!(
                    f,
                    "subjects count {counted} messages, the stream {messages}"
                )
            }
        }
    }
}

impl std::error::Error for Unsound {}

impl StreamState {
    /// Proves that blocks follow each other, that each one's counts fill its range, and that totals and subjects are those of the
    /// blocks.
    ///
    /// # Errors
    ///
    /// [`Unsound`]: the first thing that does not agree.
    pub fn check(&self) -> Result<(), Unsound> {
        let counted = check_blocks(self.blocks.iter())?;
        self.check_totals(counted)?;
        let mut by_subject = 0_u64;
        self.subjects
            .for_each(|_, totals| by_subject = by_subject.saturating_add(totals.total));
        // Messages without a subject, or with one that the index does not hold, count nowhere.
        match by_subject <= self.totals.messages {
            true => Ok(()),
            false => Err(Unsound::Subjects {
                counted: by_subject,
                messages: self.totals.messages,
            }),
        }
    }

    fn check_totals(&self, counted: Totals) -> Result<(), Unsound> {
        let told = self.totals;
        let begins = match told.messages {
            // Nothing was ever stored, or everything went.
            0 => {
                told.first.seq == told.last.seq.wrapping_add(1)
                    || told.first.seq == 0 && told.last.seq == 0
            }
            _ => told.first == counted.first,
        };
        let ends = self.blocks.is_empty() || told.last.seq == counted.last.seq;
        let agree =
            begins && ends && told.messages == counted.messages && told.bytes == counted.bytes;
        match agree {
            true => Ok(()),
            false => Err(Unsound::Totals { told, counted }),
        }
    }
}

/// Proves that blocks follow each other and that the counts of each fill its range; what they add up to.
pub(crate) fn check_blocks<'a>(
    blocks: impl Iterator<Item = &'a BlockState>,
) -> Result<Totals, Unsound> {
    let mut counted = Totals::default();
    let mut previous: Option<&BlockState> = None;
    for block in blocks {
        check_order(block, previous, counted.last.seq)?;
        check_counts(block)?;
        if counted.messages == 0 && block.message_count > 0 {
            counted.first = block.first;
        }
        counted.messages = counted.messages.saturating_add(block.message_count);
        counted.bytes = counted.bytes.saturating_add(block.live_bytes);
        counted.last = block.last;
        previous = Some(block);
    }
    Ok(counted)
}

fn check_order(
    block: &BlockState,
    previous: Option<&BlockState>,
    previous_last_seq: u64,
) -> Result<(), Unsound> {
    let follows = match block.message_count {
        0 => block.first.seq > block.last.seq && block.last.seq >= previous_last_seq,
        _ => block.first.seq > previous_last_seq && block.first.seq <= block.last.seq,
    };
    let is_numbered = previous.is_none_or(|previous| previous.number < block.number);
    match follows && is_numbered {
        true => Ok(()),
        false => Err(Unsound::Order {
            number: block.number,
            first_seq: block.first.seq,
            previous_last_seq,
        }),
    }
}

fn check_counts(block: &BlockState) -> Result<(), Unsound> {
    let range = (block.first.seq, block.last.seq);
    if block.message_count == 0 {
        return match block.live_bytes == 0 && block.deleted.is_empty() {
            true => Ok(()),
            false => Err(Unsound::Emptied {
                number: block.number,
                live_bytes: block.live_bytes,
                deleted_count: block.deleted.len(),
            }),
        };
    }
    let within = block.deleted.count_in(range.0..=range.1);
    if within != block.deleted.len() {
        return Err(Unsound::DeletedOutside {
            number: block.number,
            range,
        });
    }
    // The range holds at least one sequence, and 2^64 at most by one less.
    let span_less_one = range.1 - range.0;
    match block.message_count.checked_add(within) {
        Some(sum) if sum.checked_sub(1) == Some(span_less_one) => Ok(()),
        _ => Err(Unsound::Count {
            number: block.number,
            message_count: block.message_count,
            deleted_count: within,
            range,
        }),
    }
}
