//! Getting at the inside of files: keys, block content, the state file, and back.

use jetsam::block::content;
use jetsam::crypto::{
    BlockCipher, Cipher, KeyRing, Nonce, Seed, ServerKey, block_context, open_sealed, seal,
    stream_context,
};
use jetsam::format::checksum::{HashKey, hex16};
use jetsam::format::compression;
use jetsam::format::state::{StateFile, split_trailing_hash};

use crate::oracle::Ask;
use crate::random::Random;
use crate::tree::{Tree, block_path, key_path};

/// The keys of a case, as derivations from an [`Ask`].
pub struct Vault<'a> {
    ask: &'a Ask,
    keys: Option<(ServerKey, Option<ServerKey>)>,
}

/// A block's content and how it was wrapped.
pub struct Block {
    pub content: Vec<u8>,
    pub compressed: bool,
    cipher: Option<BlockCipher>,
}

impl<'a> Vault<'a> {
    pub fn new(ask: &'a Ask) -> Self {
        let server_key = |text: &str| ServerKey::new(text.as_bytes().to_vec());
        let keys = (!ask.key.is_empty()).then(|| {
            let previous = (!ask.prev_key.is_empty()).then(|| server_key(&ask.prev_key));
            (server_key(&ask.key), previous)
        });
        Vault { ask, keys }
    }

    fn open_key(&self, bytes: &[u8], context: &[u8]) -> Option<(Seed, Nonce)> {
        let (current, previous) = self.keys.as_ref()?;
        let ring = KeyRing {
            current: Some(current),
            previous: previous.as_ref(),
            cipher: Cipher::from_name(&self.ask.cipher),
            account: self.ask.account.as_bytes(),
        };
        ring.open(bytes, context)
            .ok()
            .map(|opened| (opened.seed, opened.nonce))
    }

    /// `None` where the key file is there and does not open.
    fn block_cipher(&self, tree: &Tree, number: u32) -> Option<Option<BlockCipher>> {
        let Some(bytes) = tree.get(&key_path(number)) else {
            return Some(None);
        };
        if self.keys.is_none() {
            return Some(None);
        }
        let context = block_context(self.ask.stream.as_bytes(), number);
        let (seed, nonce) = self.open_key(bytes, &context)?;
        Some(Some(BlockCipher::new(&seed, &nonce)))
    }

    pub fn hash_key(&self, number: u32) -> HashKey {
        HashKey::for_block(self.ask.stream.as_bytes(), number)
    }

    /// Decodes a block; `None` where the key or the compression does not let it.
    pub fn block(&self, tree: &Tree, number: u32) -> Option<Block> {
        let mut bytes = tree.get(&block_path(number))?.clone();
        let cipher = self.block_cipher(tree, number)?;
        let key = self.hash_key(number);
        let decoded = content::decode(&mut bytes, &mut Vec::new(), cipher.as_ref(), &key).ok()?;
        Some(Block {
            content: bytes,
            compressed: decoded.compressed,
            cipher,
        })
    }

    /// The file bytes of a block with new content, wrapped as it was; and its last hash.
    pub fn wrap(&self, block: &Block, content: &[u8]) -> Option<(Vec<u8>, [u8; 8])> {
        let mut bytes = Vec::new();
        if block.compressed {
            compression::compress(content, &mut bytes).ok()?;
        } else {
            bytes.extend_from_slice(content);
        }
        let tail = content::tail_of(&bytes);
        if let Some(cipher) = &block.cipher {
            cipher.apply(&mut bytes, 0).ok()?;
        }
        Some((bytes, tail))
    }

    /// The stream's own secret: `None` where there is none, or none that opens.
    fn stream_seed(&self, tree: &Tree) -> Option<(Seed, Nonce)> {
        let context = stream_context(self.ask.stream.as_bytes());
        self.open_key(tree.get("meta.key")?, &context)
    }

    fn sealed(&self, tree: &Tree) -> bool {
        self.keys.is_some() && tree.get("meta.key").is_some()
    }

    /// The plaintext of the state file.
    pub fn index_plain(&self, tree: &Tree) -> Option<Vec<u8>> {
        let (payload, _) = split_trailing_hash(tree.get("msgs/index.db")?)?;
        if !self.sealed(tree) {
            return Some(payload.to_vec());
        }
        let (seed, nonce) = self.stream_seed(tree)?;
        open_sealed(payload, &seed, nonce.cipher()).ok()
    }

    pub fn index(&self, tree: &Tree) -> Option<StateFile> {
        StateFile::decode(&self.index_plain(tree)?).ok()
    }

    /// Puts a state file back: sealed where the stream is, with its hash.
    pub fn put_index(&self, tree: &mut Tree, plain: &[u8], random: &mut Random) -> Option<()> {
        let mut bytes = self.seal(tree, plain, random)?;
        let hash = HashKey::for_stream(self.ask.stream.as_bytes()).hash64(&[&bytes]);
        bytes.extend(hash.to_le_bytes());
        tree.put("msgs/index.db", bytes);
        Some(())
    }

    fn seal(&self, tree: &Tree, plain: &[u8], random: &mut Random) -> Option<Vec<u8>> {
        if !self.sealed(tree) {
            return Some(plain.to_vec());
        }
        let (seed, nonce) = self.stream_seed(tree)?;
        let fresh = Nonce::draw(nonce.cipher(), |bytes| {
            bytes.copy_from_slice(&random.bytes(bytes.len()));
            Ok::<(), ()>(())
        });
        seal(plain, &seed, &fresh.ok()?).ok()
    }

    /// The JSON of `meta.inf`.
    pub fn meta(&self, tree: &Tree) -> Option<serde_json::Value> {
        let bytes = tree.get("meta.inf")?;
        if !self.sealed(tree) {
            return serde_json::from_slice(bytes).ok();
        }
        let (seed, nonce) = self.stream_seed(tree)?;
        serde_json::from_slice(&open_sealed(bytes, &seed, nonce.cipher()).ok()?).ok()
    }

    /// Puts `meta.inf` back, with a matching `meta.sum`.
    pub fn put_meta(
        &self,
        tree: &mut Tree,
        meta: &serde_json::Value,
        random: &mut Random,
    ) -> Option<()> {
        let plain = serde_json::to_vec(meta).ok()?;
        let bytes = self.seal(tree, &plain, random)?;
        let hash = HashKey::for_stream(self.ask.stream.as_bytes()).hash64(&[&bytes]);
        tree.put("meta.inf", bytes);
        tree.put("meta.sum", hex16(hash).into_bytes());
        Some(())
    }
}
