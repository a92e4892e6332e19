//! The subjects of a state file, of which there may be millions.

/// Counts of one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubjectEntry<'a> {
    /// The subject.
    pub subject: &'a [u8],
    /// Live messages with it.
    pub total: u64,
    /// A lower bound of the blocks that hold it; the block may be gone.
    pub first_block: u32,
    /// An upper bound of the blocks that hold it; the block may be gone.
    pub last_block: u32,
}

/// Where one subject ends in the shared bytes; it begins where the one before ends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    end: usize,
    total: u64,
    first_block: u32,
    last_block: u32,
}

/// Subjects with their counts, in the order of the file. All names share one allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectTable {
    names: Vec<u8>,
    slots: Vec<Slot>,
}

impl SubjectTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Length of all subjects together, in bytes.
    #[must_use]
    pub fn names_length(&self) -> usize {
        self.names.len()
    }

    /// Appends an entry. An empty subject is left out: the file cannot hold one.
    pub fn push(&mut self, entry: SubjectEntry<'_>) {
        if entry.subject.is_empty() {
            return;
        }
        self.names.extend_from_slice(entry.subject);
        self.slots.push(Slot {
            end: self.names.len(),
            total: entry.total,
            first_block: entry.first_block,
            last_block: entry.last_block,
        });
    }

    /// The entry at `index`, in the order of the file.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<SubjectEntry<'_>> {
        let slot = self.slots.get(index)?;
        let before = index.checked_sub(1).and_then(|index| self.slots.get(index));
        Some(SubjectEntry {
            subject: self
                .names
                .get(before.map_or(0, |slot| slot.end)..slot.end)?,
            total: slot.total,
            first_block: slot.first_block,
            last_block: slot.last_block,
        })
    }

    /// All entries in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = SubjectEntry<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Gives spare room back once no more entries come.
    pub(super) fn shrink(&mut self) {
        self.names.shrink_to_fit();
        self.slots.shrink_to_fit();
    }
}

impl<'a> FromIterator<SubjectEntry<'a>> for SubjectTable {
    fn from_iter<T: IntoIterator<Item = SubjectEntry<'a>>>(entries: T) -> Self {
        let mut table = Self::new();
        for entry in entries {
            table.push(entry);
        }
        table
    }
}

/// Whether a subject may stand in a state file; one that may not condemns the file.
///
/// Valid is UTF-8 without NUL and without the replacement character, in tokens that are neither empty nor hold a
/// blank (space, tab, line feed, form feed, carriage return), with nothing after a token `>`. Wildcards are allowed.
#[must_use]
pub fn is_valid_index_subject(subject: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(subject) else {
        return false;
    };
    let forbidden = |c: char| matches!(c, '\0' | ' ' | '\t' | '\n' | '\x0c' | '\r' | '\u{fffd}');
    if text.contains(forbidden) {
        return false;
    }
    let mut closed = false;
    for token in text.split('.') {
        if token.is_empty() || closed {
            return false;
        }
        closed = token == ">";
    }
    true
}
