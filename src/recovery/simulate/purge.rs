//! Purge at open: the whole message directory is replaced by one block that remembers the sequence.

use super::Simulation;
use super::remove::on_disk;
use crate::recovery::fault::Fault;
use crate::state::SeqTime;

impl Simulation<'_> {
    /// Replaces all messages by a marker block, so that the stream starts at the configured first
    /// sequence or right behind its last, whichever is higher.
    ///
    /// # Errors
    ///
    /// [`Fault`]: the marker cannot be written.
    pub fn replace_messages(&mut self) -> Result<(), Fault> {
        let configured = self.rules.first_seq;
        let mut first = self.totals.last.seq.wrapping_add(1);
        if configured > first {
            first = configured;
            self.totals.last.seq = configured - 1;
        }
        self.totals.messages = 0;
        self.totals.bytes = 0;
        self.totals.first = SeqTime {
            seq: first,
            timestamp_ns: 0,
        };
        self.overlay.replaced = true;
        for file in self.overlay.blocks.values_mut() {
            file.removed = true;
        }
        self.roll();
        let last = on_disk(self.totals.last);
        let Some(mut block) = self.blocks.pop() else {
            return Ok(());
        };
        block.first.seq = first;
        block.last = last;
        self.blocks = vec![block];
        if last.seq > 0 {
            self.write_tombstone(last)?;
        }
        self.subjects.clear();
        self.dirty = true;
        Ok(())
    }
}
