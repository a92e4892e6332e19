//! The content digest: SHA-256 over the messages in sequence order, as the reports of recovery have it.

use sha2::{Digest, Sha256};

use super::message_cursor::KeptMessage;

/// A digest under way.
#[derive(Clone, Default)]
pub struct ContentDigest(Sha256);

impl ContentDigest {
    /// Takes in the next message: sequence and time, then subject, headers and body, each behind its length.
    pub fn message(&mut self, message: &KeptMessage<'_>) {
        self.0.update(message.seq.to_le_bytes());
        self.0.update(message.timestamp_ns.to_le_bytes());
        for part in [message.subject, message.headers, message.body] {
            // A record has at most 32 MiB.
            self.0.update((part.len() as u32).to_le_bytes());
            self.0.update(part);
        }
    }

    /// The digest.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
