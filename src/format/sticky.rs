//! Reading that goes on after the first failure, as the reference's readers of side files do.
//!
//! Which values are left behind by a damaged file depends on it, so it is modelled once, here.

use super::varint::{ReadFault, Reader};

/// A reader that yields zeros from the first failure on and remembers that failure.
#[derive(Debug)]
pub(super) struct StickyReader<'a> {
    reader: Reader<'a>,
    fault: Option<ReadFault>,
}

impl<'a> StickyReader<'a> {
    /// Takes over at the reader's current offset.
    pub(super) fn new(reader: Reader<'a>) -> Self {
        Self {
            reader,
            fault: None,
        }
    }

    /// The next unsigned number, or 0 at and after the first failure.
    pub(super) fn uvarint(&mut self) -> u64 {
        if self.fault.is_some() {
            return 0;
        }
        self.reader.uvarint().unwrap_or_else(|fault| {
            self.fault = Some(fault);
            0
        })
    }

    /// The next signed number, -1 where the first failure happens and 0 after it.
    pub(super) fn varint(&mut self) -> i64 {
        if self.fault.is_some() {
            return 0;
        }
        self.reader.varint().unwrap_or_else(|fault| {
            self.fault = Some(fault);
            -1
        })
    }

    /// Whether a read has failed.
    pub(super) fn failed(&self) -> bool {
        self.fault.is_some()
    }

    /// The reader after the last value.
    ///
    /// # Errors
    /// The first failure, if there was one.
    pub(super) fn finish(self) -> Result<Reader<'a>, ReadFault> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(self.reader),
        }
    }

    /// The first failure, if there was one.
    pub(super) fn fault(&self) -> Option<&ReadFault> {
        self.fault.as_ref()
    }

    /// Bytes not read yet.
    pub(super) fn remaining(&self) -> usize {
        self.reader.remaining()
    }
}
