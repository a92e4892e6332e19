//! The S2 framed stream around an archive, written and read chunk by chunk.

use std::io::{self, Read, Write};

use super::error::ArchiveFault;
use crate::format::compression::{
    CHUNK_HEADER_LENGTH, ChunkFault, ChunkKind, Chunks, IDENTIFIER_CHUNK, WRITTEN_CHUNK_LENGTH,
    put_data_chunk,
};

/// Compresses what is written to it. Nothing is complete before [`FramedWriter::finish`].
pub(super) struct FramedWriter<'a> {
    out: &'a mut dyn Write,
    /// What waits to fill a chunk.
    waiting: Vec<u8>,
    framed: Vec<u8>,
    is_abandoned: bool,
}

impl<'a> FramedWriter<'a> {
    pub fn new(out: &'a mut dyn Write) -> Self {
        FramedWriter {
            out,
            waiting: Vec::new(),
            framed: IDENTIFIER_CHUNK.to_vec(),
            is_abandoned: false,
        }
    }

    /// Takes nothing more: what failed is not to end like what is whole.
    pub fn abandon(&mut self) {
        self.is_abandoned = true;
    }

    /// Writes what still waits.
    pub fn finish(mut self) -> io::Result<()> {
        self.put_chunk()?;
        self.out.flush()
    }

    fn put_chunk(&mut self) -> io::Result<()> {
        if !self.waiting.is_empty() {
            put_data_chunk(&mut self.framed, &self.waiting);
            self.waiting.clear();
        }
        self.out.write_all(&self.framed)?;
        self.framed.clear();
        Ok(())
    }
}

impl Write for FramedWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_abandoned {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.waiting.len() >= WRITTEN_CHUNK_LENGTH {
            self.put_chunk()?;
        }
        let room = WRITTEN_CHUNK_LENGTH.saturating_sub(self.waiting.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.waiting.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decompresses what it reads. It holds one chunk at a time, which is at most 16 MiB and decodes to at most 4 MiB.
pub(super) struct FramedReader<'a> {
    input: &'a mut dyn Read,
    /// The stream's identifier as it came, and behind it the chunk at hand: what is read as a stream of one chunk.
    stream: Vec<u8>,
    identifier_length: usize,
    decoded: Vec<u8>,
    taken: usize,
    offset: u64,
    delivered_bytes: u64,
}

impl<'a> FramedReader<'a> {
    pub fn new(input: &'a mut dyn Read) -> Self {
        FramedReader {
            input,
            stream: Vec::new(),
            identifier_length: 0,
            decoded: Vec::new(),
            taken: 0,
            offset: 0,
            delivered_bytes: 0,
        }
    }

    /// Decoded bytes that were read from it.
    pub fn delivered_bytes(&self) -> u64 {
        self.delivered_bytes
    }

    /// Reads the next chunk; false at the end.
    fn next_chunk(&mut self) -> io::Result<bool> {
        self.stream.truncate(self.identifier_length);
        let mut header = [0; CHUNK_HEADER_LENGTH];
        let got = read_full(self.input, &mut header)?;
        if got == 0 {
            return Ok(false);
        }
        let [_, l0, l1, l2] = header;
        let body_length = u64::from(u32::from_le_bytes([l0, l1, l2, 0]));
        self.stream
            .extend_from_slice(header.get(..got).unwrap_or_default());
        if got == CHUNK_HEADER_LENGTH {
            (&mut *self.input)
                .take(body_length)
                .read_to_end(&mut self.stream)?;
        }
        self.decoded.clear();
        self.taken = 0;
        let mut chunks = Chunks::new(&self.stream);
        let mut kind = ChunkKind::Unknown;
        while let Some(chunk) = chunks.next_chunk(&mut self.decoded) {
            if let Some(fault) = chunk.fault {
                return Err(self.failed(fault));
            }
            kind = chunk.kind;
        }
        self.offset += (self.stream.len() - self.identifier_length) as u64;
        if kind == ChunkKind::Identifier {
            // Which of the two it is says how long chunks may be from here on.
            self.stream.drain(..self.identifier_length);
            self.identifier_length = self.stream.len();
        }
        Ok(true)
    }

    fn failed(&self, fault: ChunkFault) -> io::Error {
        let offset = self.offset;
        let fault = match fault {
            ChunkFault::Cut { .. } => ArchiveFault::Cut,
            fault => ArchiveFault::Chunk { offset, fault },
        };
        io::Error::new(io::ErrorKind::InvalidData, fault)
    }
}

impl Read for FramedReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken >= self.decoded.len() {
            if !self.next_chunk()? {
                return Ok(0);
            }
        }
        let mut rest = self.decoded.get(self.taken..).unwrap_or_default();
        let count = rest.read(buffer)?;
        self.taken += count;
        self.delivered_bytes += count as u64;
        Ok(count)
    }
}

/// Fills the buffer as far as there is something to fill it with.
pub(super) fn read_full(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = buffer.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
