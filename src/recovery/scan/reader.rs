//! Reads a block's file window by window.

use crate::block::walk::{Sink, Walked};
use crate::block::windows::WindowWalk;
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
    /// Walks a plain or encrypted block. `None`: it is compressed, or it cannot be read or walked like this.
    pub fn walk<S: Sink>(
        &mut self,
        file: &dyn ReadFile,
        cipher: Option<&BlockCipher>,
        mut walk: WindowWalk,
        run: &mut Run,
        sink: &mut S,
    ) -> Option<Walked> {
        let length = usize::try_from(file.length().ok()?).ok()?;
        if length == 0 || u32::try_from(length).is_err() || bears_mark(file, cipher, length)? {
            return None;
        }
        // What is left over of a window lies right before the place that the next is read to.
        let (mut read, mut left, mut place) = (0_usize, 0_usize, ROOM);
        while read < length {
            let wanted = left.next_multiple_of(WINDOW).max(WINDOW).min(length - read);
            let end = place + wanted;
            if self.buffer.len() < end {
                self.buffer.resize(end, 0);
            }
            let fresh = self.buffer.get_mut(place..end)?;
            fill(file, read, fresh)?;
            if let Some(cipher) = cipher {
                cipher.apply(fresh, read as u64).ok()?;
            }
            read += wanted;
            let window = self.buffer.get(place - left..end)?;
            let used = walk.window(window, read == length, run, sink)?;
            left = window.len() - used;
            place = left.next_multiple_of(ROOM).max(ROOM);
            if self.buffer.len() < place {
                self.buffer.resize(place, 0);
            }
            self.buffer.copy_within(end - left..end, place - left);
        }
        (left == 0).then(|| walk.finish())
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
