//! A consumer's directory: every file is replaced whole, and what it is to say is durable before its name says it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::ConsumerError;
use crate::crypto::{Cipher, Nonce, Seed, seal};
use crate::env::{DEFAULT_DIR_MODE, Entropy, FileSystem, IoError, temporary_path};
use crate::format::checksum::{HashKey, hex16};
use crate::format::names::{CONSUMER_STATE, CONSUMERS, META, META_KEY, META_SUM};
use crate::store::Level;

/// All files of a consumer, in the order in which they are made.
const FILES: [&str; 4] = [META_KEY, META, META_SUM, CONSUMER_STATE];

/// The secret of an encrypted consumer, and the cipher its files are in.
#[derive(Debug, Clone)]
pub(super) struct ConsumerKey {
    pub seed: Seed,
    pub cipher: Cipher,
}

/// The directory `obs/NAME` of a stream, for its one writer.
pub(super) struct ConsumerFiles {
    fs: Arc<dyn FileSystem>,
    entropy: Arc<dyn Entropy>,
    stream_dir: PathBuf,
    dir: PathBuf,
    hash_key: HashKey,
    pub key: Option<ConsumerKey>,
    /// Whether everything but the state, the directory's own name included, is known to be durable.
    is_settled: bool,
}

impl fmt::Debug for ConsumerFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConsumerFiles({})", self.dir.display())
    }
}

impl ConsumerFiles {
    pub fn new(
        fs: Arc<dyn FileSystem>,
        entropy: Arc<dyn Entropy>,
        stream_dir: &Path,
        stream_name: &[u8],
        name: &str,
    ) -> Self {
        ConsumerFiles {
            fs,
            entropy,
            stream_dir: stream_dir.to_owned(),
            dir: stream_dir.join(CONSUMERS).join(name),
            hash_key: HashKey::for_consumer(stream_name, name.as_bytes()),
            key: None,
            is_settled: false,
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    pub fn entropy(&self) -> &dyn Entropy {
        &*self.entropy
    }

    /// What is to be found in `meta.sum` beside this `meta.inf`.
    pub fn sum_of(&self, stored_meta: &[u8]) -> String {
        hex16(self.hash_key.hash64(&[stored_meta]))
    }

    /// A file's bytes; `None` where it is not there.
    pub fn read(&self, file: &str, max_length: u64) -> Result<Option<Vec<u8>>, IoError> {
        match self.fs.read(&self.path(file), max_length) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the directory is there.
    pub fn has_dir(&self) -> Result<bool, IoError> {
        self.is_there(&self.dir)
    }

    /// Makes the directory.
    pub fn make_dir(&self) -> Result<(), IoError> {
        self.fs.create_dir_all(&self.dir, DEFAULT_DIR_MODE)
    }

    /// Removes what calls that did not come to their end left behind.
    pub fn sweep(&self) -> Result<(), IoError> {
        let deleted = self.deleted_dir();
        if self.is_there(&deleted)? {
            self.fs.remove_dir_all(&deleted)?;
        }
        for file in FILES {
            let temporary = temporary_path(&self.path(file));
            if self.is_there(&temporary)? {
                self.fs.remove_file(&temporary)?;
            }
        }
        Ok(())
    }

    /// Writes the key file. It is durable before anything is encrypted under it.
    pub fn write_key(&self, key_file: &[u8]) -> Result<(), IoError> {
        self.fs
            .write_atomically(&self.path(META_KEY), key_file, None)
    }

    /// Writes `meta.inf` holding `json`, and `meta.sum` with it. Both are durable before the names of both change, one right
    /// after the other.
    pub fn write_meta(&self, json: &[u8]) -> Result<(), ConsumerError> {
        let bytes = self.sealed(META, json)?;
        let sum = self.sum_of(&bytes);
        let done = self
            .prepare(META, &bytes)
            .and_then(|()| self.prepare(META_SUM, sum.as_bytes()))
            .and_then(|()| self.publish(META))
            .and_then(|()| self.publish(META_SUM));
        if done.is_err() {
            self.discard(META);
            self.discard(META_SUM);
        }
        Ok(done.and_then(|()| self.fs.sync_dir(&self.dir))?)
    }

    /// Writes `meta.sum` anew for the `meta.inf` that is there.
    pub fn write_sum(&self, stored_meta: &[u8]) -> Result<(), IoError> {
        let sum = self.sum_of(stored_meta);
        self.fs
            .write_atomically(&self.path(META_SUM), sum.as_bytes(), None)
    }

    /// Replaces `o.dat` by one holding the plaintext `state`.
    ///
    /// The bytes are durable before the name changes, at every level: what is replaced may have been durable, and a name that
    /// outlives its bytes would leave an empty file, which stands for a consumer that has delivered nothing.
    pub fn write_state(&mut self, state: &[u8], level: Level) -> Result<(), ConsumerError> {
        let bytes = self.sealed(CONSUMER_STATE, state)?;
        let done = self
            .prepare(CONSUMER_STATE, &bytes)
            .and_then(|()| self.publish(CONSUMER_STATE));
        if done.is_err() {
            self.discard(CONSUMER_STATE);
        }
        done?;
        if level == Level::Synced {
            self.fs.sync_dir(&self.dir)?;
            self.settle()?;
        }
        Ok(())
    }

    /// Makes the `o.dat` that is there durable, where there is one.
    pub fn sync_state(&mut self) -> Result<(), IoError> {
        let path = self.path(CONSUMER_STATE);
        if self.is_there(&path)? {
            self.fs.sync_file(&path)?;
        }
        self.fs.sync_dir(&self.dir)?;
        self.settle()
    }

    /// Makes everything beside the state durable, once: who wrote it may not have.
    pub fn settle(&mut self) -> Result<(), IoError> {
        if self.is_settled {
            return Ok(());
        }
        for file in [META_KEY, META, META_SUM] {
            let path = self.path(file);
            if self.is_there(&path)? {
                self.fs.sync_file(&path)?;
            }
        }
        self.fs.sync_dir(&self.dir)?;
        self.fs.sync_dir(&self.stream_dir.join(CONSUMERS))?;
        self.fs.sync_dir(&self.stream_dir)?;
        self.is_settled = true;
        Ok(())
    }

    /// Takes the directory away. It is gone with one rename, so that no crash leaves a part of it under its name, which would be
    /// taken for a consumer; what then stays of it is swept away by the next that bears the name.
    pub fn delete(&self) -> Result<(), IoError> {
        self.sweep()?;
        let deleted = self.deleted_dir();
        match self.fs.rename(&self.dir, &deleted) {
            Err(error) if error.is_not_found() => {}
            done => done?,
        }
        self.fs.sync_dir(&self.stream_dir.join(CONSUMERS))?;
        self.fs.sync_dir(&self.stream_dir)?;
        if self.is_there(&deleted)? {
            self.fs.remove_dir_all(&deleted)?;
        }
        Ok(())
    }

    /// Removes the directory that was just made and never held a consumer.
    pub fn abandon(&self) {
        // What failed before is what is reported.
        let _ = self.fs.remove_dir_all(&self.dir);
    }

    /// Where a deleted consumer's directory goes: beside `obs`, where no server looks for consumers.
    fn deleted_dir(&self) -> PathBuf {
        let mut name = std::ffi::OsString::from(".jetsam.deleted.");
        name.push(self.dir.file_name().unwrap_or_default());
        self.stream_dir.join(name)
    }

    fn is_there(&self, path: &Path) -> Result<bool, IoError> {
        match self.fs.metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The bytes to store for a plaintext.
    fn sealed(&self, file: &str, plain: &[u8]) -> Result<Vec<u8>, ConsumerError> {
        let Some(key) = &self.key else {
            return Ok(plain.to_vec());
        };
        let nonce = Nonce::draw(key.cipher, |buffer| self.entropy.fill(buffer))?;
        seal(plain, &key.seed, &nonce).map_err(|cause| ConsumerError::Sealed {
            path: self.path(file),
            cause,
        })
    }

    fn prepare(&self, file: &str, bytes: &[u8]) -> Result<(), IoError> {
        let temporary = temporary_path(&self.path(file));
        self.fs.write_in_place(&temporary, bytes)?;
        self.fs.sync_file(&temporary)
    }

    fn publish(&self, file: &str) -> Result<(), IoError> {
        let path = self.path(file);
        self.fs.rename(&temporary_path(&path), &path)
    }

    fn discard(&self, file: &str) {
        // The failure that led here is what is reported; a temporary file that stays is swept away when opened next.
        let _ = self.fs.remove_file(&temporary_path(&self.path(file)));
    }
}
