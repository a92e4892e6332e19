//! The scan of a plainly sound block, window by window. Whatever is out of the ordinary is for the scan of the whole.

use super::super::simulate::KeyVerdict;
use super::scanner::{BlockScanner, BlockSink, plain_cipher};
use super::{ScanRules, ScannedBlock};
use crate::block::windows::{Unusual, WindowWalk};
use crate::env::ReadFile;
use crate::format::checksum::HashKey;
use crate::format::names::BlockFile;

impl BlockScanner<'_> {
    /// # Errors
    ///
    /// The block is not plainly sound, or not to be read in windows.
    pub(super) fn scan_plain(&mut self, number: u32) -> Result<ScannedBlock, Unusual> {
        let (file, key) = self.open_plain(number).ok_or(Unusual::NotPlain)?;
        let cipher = plain_cipher(&key).ok_or(Unusual::NotPlain)?;
        let ScanRules { keys, server, .. } = self.rules;
        let hash_key = HashKey::for_block(keys.stream, number);
        let walk = WindowWalk::new(&hash_key, server.walk_rules());
        let counting = self.rules.tracked.then_some(&mut self.subjects);
        let mut sink = BlockSink::new(number, counting, &mut self.lookback, self.rules.wish);
        let walked = self
            .windows
            .walk(&*file, cipher.as_ref(), walk, &mut self.run, &mut sink)?;
        let (scan, bad_headers) = sink.notes.finish();
        if !walked.is_plainly_sound() || !bad_headers.is_empty() {
            return Err(Unusual::NotPlain);
        }
        let length = walked.end;
        Ok(ScannedBlock {
            key,
            encrypt_anew: None,
            walked,
            legacy: None,
            file_length: length,
            content_length: length,
            compressed: false,
            ttl_count: scan.ttl_count,
            schedule_count: scan.schedule_count,
            bad_headers,
            misaligned: false,
            scan: Some(scan),
            reads_differ: None,
        })
    }

    /// The file of a block and its key, where it may be read in windows.
    fn open_plain(&self, number: u32) -> Option<(Box<dyn ReadFile>, KeyVerdict)> {
        let ScanRules {
            files,
            msgs,
            keys,
            server,
            ..
        } = self.rules;
        let is_usual = !self.rules.careful
            && !self.rules.map_files
            && self.rules.noise != Some(number)
            && self.rules.converted != Some(number)
            && server.walk_rules().rising;
        let legacy = BlockFile::LegacyIndex.path_in(msgs, number);
        if !is_usual || !matches!(files.exists(&legacy), Ok(false)) {
            return None;
        }
        let file = files.open(&BlockFile::Block.path_in(msgs, number)).ok()?;
        let key = match keys.current {
            Some(_) => {
                let file = files.read(&BlockFile::Key.path_in(msgs, number));
                keys.open_block_key(number, file).ok()?
            }
            None => KeyVerdict::None,
        };
        Some((file, key))
    }
}
