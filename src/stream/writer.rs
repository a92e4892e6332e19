//! Writing one new stream directory: metadata, keys, blocks, consumers, each as the server would, and nothing outside it.
//!
//! Every key is new and every nonce drawn for one use. Nothing is durable before [`StoreWriter::finish`] has returned, and
//! everything is then; a directory without it is to be thrown away. `index.db` and its companions are not written here,
//! but by a recovery of the finished directory; only [`StoreWriter::index`] seals one that is known to fit.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use parking_lot::Mutex;

use crate::crypto::{
    Cipher, KeystreamExhausted, NewKey, Nonce, SealedError, Seed, ServerKey, block_context,
    consumer_context, seal, stream_context,
};
use crate::env::{DEFAULT_DIR_MODE, Entropy, FileSystem, IoError, ReadFiles};
use crate::format::checksum::{HashKey, hex16};
use crate::format::names::{
    BlockFile, CONSUMER_STATE, CONSUMERS, MESSAGES, META, META_KEY, META_SUM, STATE_FILE,
    consumer_dir, in_messages, is_valid_asset_name,
};
use crate::parallel::Crew;

/// Threads that wait for the disk at once. A journaling file system makes durable in one go what several wait for; one
/// file after the other takes three times as long.
const WAITING_THREADS: usize = 8;

/// How many threads are to copy and sync where `threads` may compute: more, since they mostly wait; but one, where
/// everything is to happen in order.
pub(crate) fn waiting_threads(threads: usize) -> usize {
    if threads <= 1 {
        threads
    } else {
        threads.max(WAITING_THREADS)
    }
}

/// Why a new stream could not be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteError {
    /// A file or directory could not be read or written.
    Io(IoError),
    /// The directory for the new stream holds something already.
    NotEmpty(PathBuf),
    /// A name leads out of the new stream's directory, or is none.
    BadName {
        /// The directory it was meant for.
        dir: PathBuf,
        /// The name.
        name: String,
    },
    /// A file of the new stream could not be encrypted.
    Seal {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: SealedError,
    },
    /// A block is longer than its cipher can address.
    Keystream {
        /// The block's file.
        path: PathBuf,
        /// How far it reached.
        cause: KeystreamExhausted,
    },
    /// A file that is encrypted with the stream's key was to be written before there was one.
    NoStreamKey(PathBuf),
}

impl WriteError {
    /// The file or directory it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            WriteError::Io(error) => &error.path,
            WriteError::BadName { dir, .. } => dir,
            WriteError::NotEmpty(path)
            | WriteError::Seal { path, .. }
            | WriteError::Keystream { path, .. }
            | WriteError::NoStreamKey(path) => path,
        }
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Io(error) => error.fmt(f),
            WriteError::NotEmpty(path) => write!(
                f,
                "{} is not empty: name a directory that is, or does not exist yet",
                path.display()
            ),
            WriteError::BadName { dir, name } => {
                write!(f, "{name:?} is no name for a file in {}", dir.display())
            }
            WriteError::Seal { path, cause } => {
                write!(f, "cannot encrypt {}: {cause}", path.display())
            }
            WriteError::Keystream { path, cause } => {
                write!(f, "cannot encrypt {}: {cause}", path.display())
            }
            WriteError::NoStreamKey(path) => write!(
                f,
                "cannot encrypt {}: the stream's own key is written with its metadata first",
                path.display()
            ),
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WriteError::Io(error) => Some(error),
            WriteError::Seal { cause, .. } => Some(cause),
            WriteError::Keystream { cause, .. } => Some(cause),
            WriteError::NotEmpty(_) | WriteError::BadName { .. } | WriteError::NoStreamKey(_) => {
                None
            }
        }
    }
}

impl From<IoError> for WriteError {
    fn from(error: IoError) -> Self {
        WriteError::Io(error)
    }
}

/// How a new stream is encrypted.
#[derive(Debug, Clone, Copy)]
pub enum Sealing<'a> {
    /// Not at all.
    Plain,
    /// Under a server key.
    Key {
        /// The server's JetStream key.
        server: &'a ServerKey,
        /// The cipher of every file. For the log of a raft group that is always ChaCha.
        cipher: Cipher,
    },
}

/// An asset's key while its files are written.
#[derive(Clone)]
struct AssetKey {
    seed: Seed,
    cipher: Cipher,
}

/// Writes one stream directory that was not there before.
///
/// Several threads may write blocks at once. A failed call leaves the directory unfinished; writing on makes no sense.
pub struct StoreWriter<'a> {
    fs: &'a dyn FileSystem,
    dir: PathBuf,
    name: Vec<u8>,
    account: Vec<u8>,
    sealing: Sealing<'a>,
    entropy: &'a dyn Entropy,
    /// The nearest directory above that was there before.
    anchor: PathBuf,
    made: Mutex<Made>,
}

/// What was made so far.
#[derive(Default)]
struct Made {
    stream_key: Option<AssetKey>,
    unsynced_files: Vec<PathBuf>,
    dirs: BTreeSet<PathBuf>,
    bytes: u64,
}

impl fmt::Debug for StoreWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreWriter({})", self.dir.display())
    }
}

impl<'a> StoreWriter<'a> {
    /// Makes the directory `dir` of the stream `name`, which must be new or empty, with `msgs` and `obs` in it.
    ///
    /// `account` is the account name in the key derivation; for the log of a raft group the group's name.
    ///
    /// # Errors
    ///
    /// [`WriteError::NotEmpty`], [`WriteError::Io`].
    pub fn create(
        fs: &'a dyn FileSystem,
        dir: &Path,
        name: &[u8],
        account: &[u8],
        sealing: Sealing<'a>,
        entropy: &'a dyn Entropy,
    ) -> Result<Self, WriteError> {
        match fs.list(dir) {
            Ok(entries) if entries.is_empty() => {}
            Ok(_) => return Err(WriteError::NotEmpty(dir.to_owned())),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        let writer = StoreWriter {
            fs,
            dir: dir.to_owned(),
            name: name.to_owned(),
            account: account.to_owned(),
            sealing,
            entropy,
            anchor: existing_above(fs, dir)?,
            made: Mutex::default(),
        };
        writer.make_dir(MESSAGES)?;
        writer.make_dir(CONSUMERS)?;
        Ok(writer)
    }

    /// The directory being written.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes written so far, copies and links left out.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.made.lock().bytes
    }

    /// Writes `meta.inf` holding `json` with its `meta.sum`, and in an encrypted stream `meta.key` with a new key, under
    /// which [`StoreWriter::index`] then seals.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`], [`WriteError::Seal`].
    pub fn meta(&self, json: &[u8]) -> Result<(), WriteError> {
        let hash_key = HashKey::for_stream(&self.name);
        let key = self.write_meta("", &stream_context(&self.name), &hash_key, json)?;
        self.made.lock().stream_key = key;
        Ok(())
    }

    /// Writes block `number`. `bytes` are the file's decrypted bytes, compressed or not; they are encrypted in place
    /// under a new key where the stream is encrypted.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`], [`WriteError::Keystream`].
    pub fn block(&self, number: u32, bytes: &mut [u8]) -> Result<(), WriteError> {
        let context = block_context(&self.name, number);
        let relative = BlockFile::Block.path(number);
        if let Some((key_file, key)) = self.draw_key(&context)? {
            self.write(&BlockFile::Key.path(number), &key_file)?;
            key.block_cipher()
                .apply(bytes, 0)
                .map_err(|cause| WriteError::Keystream {
                    path: self.dir.join(&relative),
                    cause,
                })?;
        }
        self.write(&relative, bytes)
    }

    /// Takes block `number` over from the `msgs` directory `from`, byte for byte, with its key file if it has one. Fit only
    /// where stream name, account and server key stay the same. With `link` the files are shared with `from`.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`].
    pub fn copy_block(&self, from: &Path, number: u32, link: bool) -> Result<(), WriteError> {
        for file in [BlockFile::Key, BlockFile::Block] {
            let source = from.join(file.name(number));
            let target = self.dir.join(file.path(number));
            let done = match link {
                true => self.fs.link_or_copy(&source, &target),
                false => self.fs.copy_file(&source, &target),
            };
            match done {
                Ok(()) => {}
                Err(error) if error.is_not_found() && file == BlockFile::Key => continue,
                Err(error) => return Err(error.into()),
            }
            if link {
                self.made.lock().unsynced_files.push(target);
            }
        }
        Ok(())
    }

    /// Copies the file `from` to `relative`, byte for byte.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`], [`WriteError::BadName`].
    pub fn copy_file(&self, from: &Path, relative: &str) -> Result<(), WriteError> {
        let target = self.place(relative)?;
        Ok(self.fs.copy_file(from, &target)?)
    }

    /// Writes the file `relative` holding `bytes` as they are.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`], [`WriteError::BadName`].
    pub fn file(&self, relative: &str, bytes: &[u8]) -> Result<(), WriteError> {
        self.place(relative)?;
        self.write(relative, bytes)
    }

    /// Writes `index.db` holding the plaintext `state`, with its hash, encrypted under the stream's key where the stream
    /// is.
    ///
    /// # Errors
    ///
    /// [`WriteError::NoStreamKey`] in an encrypted stream before [`StoreWriter::meta`], [`WriteError::Seal`],
    /// [`WriteError::Io`].
    pub fn index(&self, state: &[u8]) -> Result<(), WriteError> {
        let place = in_messages(STATE_FILE);
        let mut bytes = match self.sealing {
            Sealing::Plain => state.to_vec(),
            Sealing::Key { .. } => {
                let key = self.made.lock().stream_key.clone();
                let key = key.ok_or_else(|| WriteError::NoStreamKey(self.dir.join(&place)))?;
                self.sealed(&place, &key, state)?
            }
        };
        let hash = HashKey::for_stream(&self.name).hash64(&[&bytes]);
        bytes.extend_from_slice(&hash.to_le_bytes());
        self.write(&place, &bytes)
    }

    /// Writes the consumer `name`: its metadata `json`, and `o.dat` holding `state`, the plaintext, where there is one. In
    /// an encrypted stream both are encrypted under a new key. An empty state is an empty file either way, as the server
    /// takes it.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`], [`WriteError::Seal`], [`WriteError::BadName`].
    pub fn consumer(
        &self,
        name: &str,
        json: &[u8],
        state: Option<&[u8]>,
    ) -> Result<(), WriteError> {
        let below = self.consumer_dir(name)?;
        let context = consumer_context(&self.name, name.as_bytes());
        let hash_key = HashKey::for_consumer(&self.name, name.as_bytes());
        let key = self.write_meta(&below, &context, &hash_key, json)?;
        let Some(state) = state else { return Ok(()) };
        let relative = format!("{below}{CONSUMER_STATE}");
        match key.filter(|_| !state.is_empty()) {
            Some(key) => self.write(&relative, &self.sealed(&relative, &key, state)?),
            None => self.write(&relative, state),
        }
    }

    /// Takes the consumer `name` over from its directory `from`, every file byte for byte.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`], [`WriteError::BadName`].
    pub fn consumer_verbatim(&self, from: &Path, name: &str) -> Result<(), WriteError> {
        let below = self.consumer_dir(name)?;
        for file in [META_KEY, META, META_SUM, CONSUMER_STATE] {
            match self.copy_file(&from.join(file), &format!("{below}{file}")) {
                Err(WriteError::Io(error)) if error.is_not_found() => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// Makes everything durable: files, their names, and the directory's own name up to the first directory that was
    /// there before.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`]; nothing can then be said of what is durable.
    pub fn finish(self) -> Result<(), WriteError> {
        self.finish_on(1)
    }

    /// The same, with so many threads waiting for the disk.
    pub(crate) fn finish_on(self, threads: usize) -> Result<(), WriteError> {
        let Made {
            unsynced_files,
            dirs,
            ..
        } = self.made.into_inner();
        sync_files(self.fs, &unsynced_files, threads)?;
        // Deepest first: a name counts only once what it leads to is there.
        for dir in dirs.iter().rev() {
            self.fs.sync_dir(dir)?;
        }
        for dir in self.dir.ancestors() {
            self.fs.sync_dir(dir)?;
            if dir == self.anchor {
                break;
            }
        }
        Ok(())
    }

    fn write_meta(
        &self,
        below: &str,
        context: &[u8],
        hash_key: &HashKey,
        json: &[u8],
    ) -> Result<Option<AssetKey>, WriteError> {
        let relative = format!("{below}{META}");
        let key = self.draw_key(context)?;
        let key = match key {
            None => None,
            Some((key_file, NewKey { seed, nonce })) => {
                self.write(&format!("{below}{META_KEY}"), &key_file)?;
                let cipher = nonce.cipher();
                Some(AssetKey { seed, cipher })
            }
        };
        let sealed;
        let bytes = match &key {
            Some(key) => {
                sealed = self.sealed(&relative, key, json)?;
                &sealed
            }
            None => json,
        };
        self.write(&relative, bytes)?;
        let sum = hex16(hash_key.hash64(&[bytes]));
        self.write(&format!("{below}{META_SUM}"), sum.as_bytes())?;
        Ok(key)
    }

    /// A new asset key and the bytes of its key file; `None` in a plain stream.
    fn draw_key(&self, context: &[u8]) -> Result<Option<(Vec<u8>, NewKey)>, IoError> {
        let Sealing::Key { server, cipher } = self.sealing else {
            return Ok(None);
        };
        let key = NewKey::draw(cipher, |buffer| self.entropy.fill(buffer))?;
        Ok(Some((key.key_file(server, &self.account, context), key)))
    }

    fn sealed(&self, relative: &str, key: &AssetKey, bytes: &[u8]) -> Result<Vec<u8>, WriteError> {
        let nonce = Nonce::draw(key.cipher, |buffer| self.entropy.fill(buffer))?;
        seal(bytes, &key.seed, &nonce).map_err(|cause| WriteError::Seal {
            path: self.dir.join(relative),
            cause,
        })
    }

    fn write(&self, relative: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let path = self.dir.join(relative);
        self.fs.write_in_place(&path, bytes)?;
        let mut made = self.made.lock();
        made.bytes += bytes.len() as u64;
        made.unsynced_files.push(path);
        Ok(())
    }

    fn make_dir(&self, relative: &str) -> Result<(), WriteError> {
        let dir = self.dir.join(relative);
        if self.made.lock().dirs.insert(dir.clone()) {
            self.fs.create_dir_all(&dir, DEFAULT_DIR_MODE)?;
        }
        Ok(())
    }

    /// The directory of a consumer, made, relative and with a slash at its end.
    fn consumer_dir(&self, name: &str) -> Result<String, WriteError> {
        if !is_valid_asset_name(name.as_bytes()) {
            return Err(WriteError::BadName {
                dir: self.dir.join(CONSUMERS),
                name: name.to_owned(),
            });
        }
        let dir = consumer_dir(name);
        self.make_dir(dir.trim_end_matches('/'))?;
        Ok(dir)
    }

    /// The full path of `relative`, with the directories it lies in made.
    fn place(&self, relative: &str) -> Result<PathBuf, WriteError> {
        let path = Path::new(relative);
        let is_inside = path
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if relative.is_empty() || !is_inside {
            return Err(WriteError::BadName {
                dir: self.dir.clone(),
                name: relative.to_owned(),
            });
        }
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        for dir in above.into_iter().rev() {
            match dir.to_str() {
                Some(dir) if !dir.is_empty() => self.make_dir(dir)?,
                _ => {}
            }
        }
        Ok(self.dir.join(path))
    }
}

/// Makes files durable, all of them before it returns.
fn sync_files(fs: &dyn FileSystem, files: &[PathBuf], threads: usize) -> Result<(), IoError> {
    let synced = Crew::of(threads).map(files, |file| fs.sync_file(file));
    synced.map(|_| ())
}

/// The nearest of `dir` and the directories above it that is there.
fn existing_above(fs: &dyn ReadFiles, dir: &Path) -> Result<PathBuf, IoError> {
    for above in dir.ancestors() {
        match fs.metadata(above) {
            Ok(_) => return Ok(above.to_owned()),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(PathBuf::new())
}

#[cfg(test)]
mod tests;
