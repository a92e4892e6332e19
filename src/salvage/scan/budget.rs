//! What a search among the records may cost. What mending compressed chunks may is said in `chunks/work`.
//!
//! Every hash in search of a mend is paid for before it is made: its bytes, and [`HASH_COST`] for starting and ending
//! it. A bad place has [`Hints::work_limit`](super::Hints::work_limit), and all places of a block together have
//! [`BLOCK_PLACES`] times that. Looking for the next sound record has an account of its own, which half of a place's
//! work opens and every byte passed over adds [`RESYNC_RATE`] to, so that it never stops short of the end.
//!
//! Whether a byte is wrong in more than neighbouring bits is tried last, for 240 values each, and on accounts of their own:
//! [`BYTES_LIMIT`] at most for a place, [`BYTES_PLACES`] times that for a block. What these leave untried is not what leaves a
//! place open for a second look.
//!
//! So the bytes hashed beyond one walk over the content are at most
//! `min(places, BLOCK_PLACES) × work_limit + min(places, BYTES_PLACES) × min(work_limit, BYTES_LIMIT)
//! + RESYNC_RATE × bytes passed over`, whatever the bytes are; and 34 bytes for
//! each byte walked, since a run of records is hashed in one go and again behind the first bad one
//! ([`WARY_RECORDS`](super::walk::WARY_RECORDS)).

/// What a hash costs beside its bytes, in bytes.
pub const HASH_COST: u64 = 128;

/// Places of one block that may each use up their whole work.
pub const BLOCK_PLACES: u64 = 64;

/// What trying whole bytes may cost at one place, where it has so much for its bits.
pub const BYTES_LIMIT: u64 = 32 << 20;

/// Places of one block at which whole bytes may be tried for as much as that.
pub const BYTES_PLACES: u64 = 16;

/// Bytes that may be hashed per byte passed over on the way to the next sound record.
pub const RESYNC_RATE: u64 = 64;

/// The accounts of one block.
#[derive(Debug)]
pub struct SearchBudget {
    place_limit: u64,
    block_left: u64,
    place_left: u64,
    cut_short: bool,
    spent: u64,
    bytes_limit: u64,
    bytes_block_left: u64,
    bytes_left: u64,
}

impl SearchBudget {
    /// Accounts for one block, `place_limit` for each place.
    pub fn new(place_limit: u64) -> Self {
        let bytes_limit = place_limit.min(BYTES_LIMIT);
        Self {
            place_limit,
            block_left: place_limit.saturating_mul(BLOCK_PLACES),
            place_left: 0,
            cut_short: false,
            spent: 0,
            bytes_limit,
            bytes_block_left: bytes_limit.saturating_mul(BYTES_PLACES),
            bytes_left: 0,
        }
    }

    /// Opens the account of the next place.
    pub fn begin_place(&mut self) {
        self.place_left = self.place_limit.min(self.block_left);
        self.bytes_left = self.bytes_limit.min(self.bytes_block_left);
        self.cut_short = false;
    }

    /// The account for trying whole bytes at this place.
    pub fn for_bytes(&self) -> SearchBudget {
        SearchBudget {
            place_limit: self.bytes_left,
            block_left: self.bytes_left,
            place_left: self.bytes_left,
            cut_short: false,
            spent: 0,
            bytes_limit: 0,
            bytes_block_left: 0,
            bytes_left: 0,
        }
    }

    /// Books what was spent of it.
    pub fn settle_bytes(&mut self, used: &SearchBudget) {
        self.bytes_left = self.bytes_left.saturating_sub(used.spent);
        self.bytes_block_left = self.bytes_block_left.saturating_sub(used.spent);
        self.spent += used.spent;
    }

    /// Pays for a hash over `bytes` bytes. Returns whether there was enough; if not, nothing is paid, and the search is
    /// one that was cut short.
    #[inline]
    pub fn pay(&mut self, bytes: usize) -> bool {
        let cost = bytes as u64 + HASH_COST;
        if cost > self.place_left {
            self.cut_short = true;
            return false;
        }
        self.place_left -= cost;
        self.block_left = self.block_left.saturating_sub(cost);
        self.spent += cost;
        true
    }

    /// What is left for this place.
    pub fn left(&self) -> u64 {
        self.place_left
    }

    /// Moves half of what is left for this place to an account for [`ResyncBudget`].
    pub fn credit(&mut self) -> ResyncBudget {
        let half = self.place_left / 2;
        self.place_left -= half;
        self.block_left = self.block_left.saturating_sub(half);
        ResyncBudget {
            moved: half,
            left: half,
            spent: 0,
        }
    }

    /// Takes back what a search for the next record did not use of what was moved.
    pub fn settle(&mut self, credit: &ResyncBudget) {
        let back = credit.left.min(credit.moved);
        self.place_left += back;
        self.block_left += back;
        self.spent += credit.spent;
    }

    /// Whether anything was left undone for want of work since the place began.
    pub fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// Notes that something was left undone.
    pub fn cut_short(&mut self) {
        self.cut_short = true;
    }

    /// Everything paid, in bytes.
    pub fn spent(&self) -> u64 {
        self.spent
    }
}

/// The account of a search for the next sound record.
#[derive(Debug)]
pub struct ResyncBudget {
    moved: u64,
    left: u64,
    spent: u64,
}

impl ResyncBudget {
    /// Adds what a byte passed over is worth.
    #[inline]
    pub fn pass(&mut self, bytes: u64) {
        self.left = self.left.saturating_add(bytes.saturating_mul(RESYNC_RATE));
    }

    /// Pays for a hash over `bytes` bytes if twice its cost, `weight` times over, is there.
    ///
    /// A hash never takes more than half: content full of dear false records cannot use up what the next cheap true one
    /// needs.
    pub fn pay(&mut self, bytes: usize, weight: u64) -> bool {
        let cost = bytes as u64 + HASH_COST;
        if cost.saturating_mul(2 * weight) > self.left {
            return false;
        }
        self.left -= cost;
        self.spent += cost;
        true
    }
}
