//! The encryption of the store that a merge writes.

use super::super::plan::NewStoreKeys;
use super::Copy;
use crate::crypto::{Cipher, KeyChoice};
use crate::stream::is_raft_group;
use crate::stream::options::{Keys, Options};

/// The encryption of the new store, and the options to read it with. It is encrypted where any copy is.
pub(super) fn of(copies: &[Copy], options: &Options, plaintext: bool) -> (NewStoreKeys, Options) {
    let mut own = options.clone();
    let first_sealed = copies.iter().find(|copy| copy.found.gathered.sealed);
    let Some(copy) = first_sealed.filter(|_| !plaintext) else {
        own.keys = Keys::default();
        return (NewStoreKeys::Plain, own);
    };
    let cipher = if is_raft_group(&copy.found.stream.dir) {
        Cipher::ChaCha
    } else {
        let opened = copy.found.gathered.evidence.asset_key.as_ref();
        let theirs = opened.map(|opened| opened.cipher);
        options.keys.cipher.or(theirs).unwrap_or(Cipher::ChaCha)
    };
    let common = options.keys.current.as_ref();
    let server =
        common
            .or(copy.options.keys.current.as_ref())
            .or(copy.options.keys.previous.as_ref());
    own.keys = Keys {
        current: server.cloned(),
        previous: None,
        cipher: Some(cipher),
    };
    (NewStoreKeys::Key(KeyChoice::Current, cipher), own)
}
