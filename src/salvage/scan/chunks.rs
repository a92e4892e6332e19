//! From a block file to its decoded content. (Whole blocks only.)

use super::super::find::{Patch, Repair};
use super::Hints;
use crate::format::compression::{self, CompressionFault, Framing};

/// A place where compressed bytes did not decode as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// Offset in the decoded content where suspect bytes begin, or where bytes are missing.
    pub content_offset: usize,
    /// How many decoded bytes are suspect; 0 where bytes are missing altogether.
    pub content_length: usize,
    /// Where the chunks concerned begin in the file.
    pub file_offset: u64,
    /// Their bytes.
    pub file_length: u64,
    /// Why.
    pub cause: CompressionFault,
}

/// What unwrapping gave.
#[derive(Debug, Default)]
pub struct Unwrapped {
    /// Whether the file is compressed.
    pub compressed: bool,
    /// Flips made in the file.
    pub repairs: Vec<Repair>,
    /// Ascending.
    pub breaks: Vec<Break>,
}

/// Decodes `file` into `out`.
pub fn unwrap(file: &mut Vec<u8>, hints: &Hints<'_>, out: &mut Vec<u8>) -> Unwrapped {
    let _ = hints;
    let cause = match compression::detect(file) {
        Ok(Framing::Plain) => return Unwrapped::default(),
        Ok(Framing::S2 { .. }) => compression::decompress(file, out).err(),
        Err(fault) => Some(fault),
    };
    Unwrapped {
        compressed: true,
        repairs: Vec::new(),
        breaks: cause
            .map(|cause| Break {
                content_offset: out.len(),
                content_length: 0,
                file_offset: 0,
                file_length: file.len() as u64,
                cause,
            })
            .into_iter()
            .collect(),
    }
}

/// Decodes again what [`unwrap`] mended.
pub fn unwrap_again(file: &mut [u8], patches: &[Patch], out: &mut Vec<u8>) {
    let _ = patches;
    let _ = compression::decompress(file, out);
}
