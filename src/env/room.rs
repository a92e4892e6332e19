//! Memory for the content of a block, as the system has it best.
//!
//! Messages read at random from many blocks touch as many pages of memory. In pages of 2 MiB the processor finds them in 0.7 of the
//! time that it takes in those of 4 KiB, and a block that grows asks the system a few times for memory instead of 2,000 times
//! (`benches/engine/run.sh LOAD BATCH256`).
//!
//! The only `unsafe` code here is the advice to the system.
#![allow(unsafe_code)]

/// Blocks from here on get memory in large pages, where the system has such.
const LARGE_MIN_BYTES: usize = 4 * 1024 * 1024;

/// What the system's smallest pages are aligned to on most machines. Where they are larger, it declines the advice.
#[cfg(target_os = "linux")]
const PAGE_BYTES: usize = 4096;

/// An empty buffer with memory for so many bytes.
pub(crate) fn with_room(bytes: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(bytes);
    if bytes >= LARGE_MIN_BYTES {
        prefer_large_pages(&mut buffer);
    }
    buffer
}

#[cfg(target_os = "linux")]
fn prefer_large_pages(buffer: &mut Vec<u8>) {
    let room = buffer.spare_capacity_mut();
    let front = room.as_ptr().align_offset(PAGE_BYTES);
    let Some(pages) = room.get_mut(front..) else {
        return;
    };
    let length = pages.len() / PAGE_BYTES * PAGE_BYTES;
    // SAFETY: the pages lie within the buffer's own memory, to which this function has the only reference, and hold nothing yet. The
    // advice changes which pages the system backs them with, and neither what is in them nor whether they may be read and written.
    // Refused, it changes nothing at all.
    let _ = unsafe {
        rustix::mm::madvise(
            pages.as_mut_ptr().cast(),
            length,
            rustix::mm::Advice::LinuxHugepage,
        )
    };
}

#[cfg(not(target_os = "linux"))]
fn prefer_large_pages(_: &mut Vec<u8>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_what_was_asked_for() {
        for bytes in [
            0,
            1,
            LARGE_MIN_BYTES - 1,
            LARGE_MIN_BYTES,
            LARGE_MIN_BYTES + 4097,
        ] {
            let mut buffer = with_room(bytes);
            assert!(buffer.capacity() >= bytes && buffer.is_empty());
            let memory = buffer.as_ptr();
            buffer.resize(bytes, 7);
            assert_eq!(buffer.as_ptr(), memory);
            assert!(buffer.iter().all(|byte| *byte == 7));
        }
    }
}
