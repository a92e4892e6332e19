//! Blocks that a scan found plainly sound: what it told of them stands in for looking at them again.
//!
//! It does so while the block is what the scan found: [`Simulation::forget_loaded`], which every change to a block's file or
//! bounds calls, forgets this too.

use super::{BlockId, SimBlock, Simulation};
use crate::block::scan::{BlockScan, ScanWish};
use crate::recovery::server::Quirk;
use crate::recovery::timers::TimerRules;

/// What the scan of a plainly sound block told.
#[derive(Debug, Clone)]
pub struct SoundBlock {
    /// What it kept of messages.
    pub scan: BlockScan,
    /// Length of the block's file.
    pub file_length: u64,
    /// The highest tombstone that is about messages before it.
    pub highest_prior: Option<u64>,
}

impl SoundBlock {
    /// What loading the block does to its accounts.
    pub fn count_in(&self, block: &mut SimBlock) {
        block.raw_bytes = self.file_length;
        block.ttl_count = self.scan.ttl_count;
        block.schedule_count = self.scan.schedule_count;
    }
}

impl Simulation<'_> {
    /// What the scan of the blocks is to keep: what will be asked for.
    pub fn scan_wish(&self, timers: &TimerRules) -> ScanWish {
        ScanWish {
            ttls_from: timers.ttl.then(|| self.reflected("thw.db", timers)),
            schedules_from: timers.schedules.then(|| self.reflected("sched.db", timers)),
            sources: !timers.sources.is_empty() && (timers.ttl || timers.schedules),
            empty_counts: self.rules.server.has(Quirk::EmptyTimersCounted),
            now_ns: self.rules.now_ns,
        }
    }

    /// Up to where a timer file says that it reflects the messages; whether it decodes is seen later.
    fn reflected(&self, name: &str, timers: &TimerRules) -> u64 {
        if timers.ignore_files || timers.anew {
            return 0;
        }
        let path = format!("{}/{name}", self.overlay.msgs);
        let mut head = [0; crate::format::timers::HEADER_LENGTH];
        let stamp = self.overlay.files.open(&path).ok().and_then(|file| {
            let read = file.read_at(0, &mut head).ok()?;
            crate::format::timers::stamp_of(head.get(..read)?)
        });
        stamp.unwrap_or(0)
    }

    /// Notes what the scan of the block at `at` told of its messages.
    pub fn note_sound(&mut self, at: usize, sound: SoundBlock) {
        self.sound.insert(self.blocks[at].id, sound);
    }

    /// Forgets what was kept of messages: nothing asks for it any more.
    pub fn drop_scans(&mut self) {
        for sound in self.sound.values_mut() {
            sound.scan = BlockScan {
                ttl_count: sound.scan.ttl_count,
                schedule_count: sound.scan.schedule_count,
                ..BlockScan::default()
            };
        }
    }

    /// A block's file or bounds changed.
    pub fn forget_sound(&mut self, id: BlockId) {
        self.sound.remove(&id);
    }

    /// What the scan of the block at `at` told, while it stands.
    pub fn sound(&self, at: usize) -> Option<&SoundBlock> {
        self.sound.get(&self.blocks[at].id)
    }

    /// Does to the accounts of the block at `at` what loading it would, where its scan tells; whether it does.
    pub fn count_as_loaded(&mut self, at: usize) -> bool {
        let block = &mut self.blocks[at];
        let Some(sound) = self.sound.get(&block.id) else {
            return false;
        };
        sound.count_in(block);
        true
    }
}
