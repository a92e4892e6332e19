//! What `rekey` is asked.

use jetsam::crypto::Cipher;

use super::{Surroundings, key, usage};
use crate::args::{RawArgs, Usage};
use crate::rekey::Query;

/// Reads it.
pub fn query(raw: &RawArgs, surroundings: &Surroundings<'_>) -> Result<Query, Usage> {
    let new_key = key(raw, "new-key-env", "new-key-file", surroundings)?;
    let new_cipher = match raw.get("new-cipher").map(|name| name.to_string_lossy()) {
        None => None,
        Some(name) => match Cipher::from_name(&name) {
            Some(cipher) => Some(cipher),
            None => return usage(format!("--new-cipher is chacha or aes, not {name:?}")),
        },
    };
    let plaintext = raw.has("plaintext");
    if plaintext && (new_key.is_some() || new_cipher.is_some()) {
        return usage("--plaintext and a new key or cipher exclude each other");
    }
    Ok(Query {
        new_key,
        new_cipher,
        plaintext,
        keep_old: raw.has("keep-old"),
    })
}
