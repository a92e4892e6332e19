//! Reads a block's file window by window.

use std::ops::Range;

use crate::block::walk::{Sink, Walked};
use crate::block::windows::{Unusual, WindowWalk};
use crate::crypto::BlockCipher;
use crate::env::ReadFile;
use crate::format::record::Run;

/// Bytes read at a time: few enough to be in cache while they are walked.
const WINDOW: usize = 256 << 10;

/// Room before a window for what the one before left over. A multiple of what a cipher takes at a time.
const ROOM: usize = 64 << 10;

/// What a compressed block begins with.
const MARK: &[u8; 3] = b"cmp";

/// A buffer for windows, kept from block to block.
#[derive(Debug, Default)]
pub(super) struct WindowReader {
    buffer: Vec<u8>,
}

impl WindowReader {
    /// Walks a plain or encrypted block.
    ///
    /// # Errors
    ///
    /// It is compressed or not plainly sound, or cannot be read.
    pub fn walk<S: Sink>(
        &mut self,
        file: &dyn ReadFile,
        cipher: Option<&BlockCipher>,
        mut walk: WindowWalk,
        run: &mut Run,
        sink: &mut S,
    ) -> Result<Walked, Unusual> {
        let length = file
            .length()
            .ok()
            .and_then(|length| u32::try_from(length).ok());
        let length = length.unwrap_or(0) as usize;
        if length == 0 || bears_mark(file, cipher, length).unwrap_or(true) {
            return Err(Unusual::NotPlain);
        }
        // What is left over of a window lies right before the place that the next is read to.
        let (mut read, mut left, mut place) = (0_usize, 0_usize, ROOM);
        while read < length {
            let wanted = left.next_multiple_of(WINDOW).max(WINDOW).min(length - read);
            let end = place + wanted;
            self.fetch(file, cipher, read, place..end)
                .ok_or(Unusual::NotPlain)?;
            read += wanted;
            let window = self.buffer.get(place - left..end).unwrap_or_default();
            let used = walk.window(window, read == length, run, sink)?;
            left = window.len() - used;
            place = left.next_multiple_of(ROOM).max(ROOM);
            if self.buffer.len() < place {
                self.buffer.resize(place, 0);
            }
            self.buffer.copy_within(end - left..end, place - left);
        }
        match left {
            0 => Ok(walk.finish()),
            _ => Err(Unusual::NotPlain),
        }
    }

    /// Has the file's bytes from `offset` on in a part of the buffer, decrypted.
    fn fetch(
        &mut self,
        file: &dyn ReadFile,
        cipher: Option<&BlockCipher>,
        offset: usize,
        part: Range<usize>,
    ) -> Option<()> {
        if self.buffer.len() < part.end {
            self.buffer.resize(part.end, 0);
        }
        let fresh = self.buffer.get_mut(part)?;
        fill(file, offset, fresh)?;
        match cipher {
            Some(cipher) => cipher.apply(fresh, offset as u64).ok(),
            None => Some(()),
        }
    }
}

/// Whether the block may be compressed.
fn bears_mark(file: &dyn ReadFile, cipher: Option<&BlockCipher>, length: usize) -> Option<bool> {
    let mut head = [0; MARK.len()];
    let head = head.get_mut(..length.min(MARK.len()))?;
    fill(file, 0, head)?;
    if let Some(cipher) = cipher {
        cipher.apply(head, 0).ok()?;
    }
    Some(head == MARK)
}

/// Reads until the buffer is full; `None` where the file ends before.
fn fill(file: &dyn ReadFile, offset: usize, buffer: &mut [u8]) -> Option<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let rest = buffer.get_mut(filled..)?;
        let read = file.read_at((offset + filled) as u64, rest).ok()?;
        if read == 0 {
            return None;
        }
        filled += read;
    }
    Some(())
}
