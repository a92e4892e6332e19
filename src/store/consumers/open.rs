//! Opening a consumer's directory, or making it: reads what is there, and finishes what an interrupted call or another
//! encryption left to do.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::error::ConsumerError;
use super::files::{ConsumerFiles, ConsumerKey};
use crate::crypto::{
    Cipher, KEY_FILE_MAX, KeyChoice, KeyFile, KeyRing, NewKey, Nonce, consumer_context, open_sealed,
};
use crate::env::{Entropy, FileSystem};
use crate::format::consumer::{ConsumerDecodeError, ConsumerFile};
use crate::format::duration::format_rfc3339;
use crate::format::meta::{ConsumerMeta, MetaError};
use crate::format::names::{
    CONSUMER_STATE, CONSUMERS, META, META_KEY, META_SUM, is_valid_asset_name,
};
use crate::store::Level;
use crate::store::open::names_with_meta;

/// Metadata of a consumer is some kilobytes.
const META_MAX: u64 = 1 << 26;
/// A checksum is 16 bytes; more is read so that more shows.
const SUM_MAX: u64 = 1 << 10;
/// A state holds at most what waits.
const STATE_MAX: u64 = 1 << 30;

/// The stream whose consumers are opened, and what is needed for it.
#[derive(Clone)]
pub struct ConsumerPlace<'a> {
    /// The file system.
    pub fs: Arc<dyn FileSystem>,
    /// Random bytes for keys and nonces.
    pub entropy: Arc<dyn Entropy>,
    /// The stream's directory, the one `obs` is in.
    pub stream_dir: &'a Path,
    /// The stream's name, by which consumers' keys and checksums are made.
    pub stream_name: &'a [u8],
    /// The operator's keys. Without a current one nothing is encrypted, and nothing encrypted is opened.
    pub keys: KeyRing<'a>,
}

impl ConsumerPlace<'_> {
    /// The names of the consumers that are there, in their order. One without metadata is none: its deletion was cut short.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Io`].
    pub fn names(&self) -> Result<Vec<String>, ConsumerError> {
        let dir = self.stream_dir.join(CONSUMERS);
        Ok(names_with_meta(&*self.fs, &dir)?)
    }
}

impl fmt::Debug for ConsumerPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConsumerPlace({})", self.stream_dir.display())
    }
}

/// What a directory holds once it is open.
pub(super) struct OpenedConsumer {
    pub files: ConsumerFiles,
    pub meta: ConsumerMeta,
    /// What `o.dat` says; `None` where it is missing or empty.
    pub state: Option<ConsumerFile>,
    /// Whether `o.dat` is there.
    pub has_file: bool,
}

/// A stored file, opened and read.
struct Read<T> {
    found: T,
    plain: Vec<u8>,
    /// Whether it is in plaintext or in the other cipher, though the key file says otherwise: a change of the encryption was
    /// interrupted.
    is_otherwise: bool,
}

/// Opens the consumer `name`, or makes it by `new`.
pub(super) fn open(
    place: &ConsumerPlace<'_>,
    name: &str,
    new: Option<&ConsumerMeta>,
    now_ns: i64,
) -> Result<OpenedConsumer, ConsumerError> {
    if !is_valid_asset_name(name.as_bytes()) {
        let name = name.to_owned();
        return Err(ConsumerError::BadName { name });
    }
    let (fs, entropy) = (place.fs.clone(), place.entropy.clone());
    let files = ConsumerFiles::new(fs, entropy, place.stream_dir, place.stream_name, name);
    files.sweep()?;
    let stored_meta = files
        .read(META, META_MAX)?
        .filter(|bytes| !bytes.is_empty());
    let stored_state = files.read(CONSUMER_STATE, STATE_MAX)?;
    let opening = Opening {
        files,
        ring: place.keys.as_server(),
        context: consumer_context(place.stream_name, name.as_bytes()),
        stored_meta,
        has_file: stored_state.is_some(),
        stored_state,
    };
    if opening.stored_meta.is_some() {
        return opening.open_there();
    }
    let new = new.ok_or_else(|| ConsumerError::Missing {
        dir: opening.files.dir().to_owned(),
    })?;
    if new.mem_storage {
        return Err(ConsumerError::InMemory);
    }
    let created = match new.created.instant {
        Some(_) => new.created.text.clone(),
        None => format_rfc3339(now_ns),
    };
    opening.make(new.with_identity(name, &created))
}

struct Opening<'a> {
    files: ConsumerFiles,
    ring: KeyRing<'a>,
    context: Vec<u8>,
    /// Never empty.
    stored_meta: Option<Vec<u8>>,
    stored_state: Option<Vec<u8>>,
    has_file: bool,
}

impl Opening<'_> {
    /// A consumer whose metadata is there.
    fn open_there(mut self) -> Result<OpenedConsumer, ConsumerError> {
        let key_file = self.files.read(META_KEY, KEY_FILE_MAX)?;
        let rewrap = match &key_file {
            Some(bytes) => self.take_key(bytes)?,
            None => None,
        };
        let stored = self.stored_meta.take().unwrap_or_default();
        let meta = self.read(META, stored.clone(), |json| {
            ConsumerMeta::parse(json).map_err(Unread::Meta)
        })?;
        let state = self.read_state()?;
        // Everything reads; only now is anything written.
        let was = self.files.key.as_ref().map(|key| key.cipher);
        match rewrap {
            Some(cipher) => self.rewrap(cipher)?,
            None if key_file.is_none() => self.draw_key()?,
            None => {}
        }
        let is_changed = was != self.files.key.as_ref().map(|key| key.cipher);
        if let Some(state) = state
            .as_ref()
            .filter(|state| is_changed || state.is_otherwise)
        {
            self.files.write_state(&state.plain, Level::Synced)?;
        }
        if is_changed || meta.is_otherwise {
            self.files.write_meta(&meta.plain)?;
        } else {
            let sum = self.files.read(META_SUM, SUM_MAX)?;
            if sum.as_deref() != Some(self.files.sum_of(&stored).as_bytes()) {
                self.files.write_sum(&stored)?;
            }
        }
        Ok(OpenedConsumer {
            has_file: self.has_file,
            files: self.files,
            meta: meta.found,
            state: state.map(|state| state.found),
        })
    }

    /// A consumer without metadata: none at all, or as much of one as was left.
    fn make(mut self, meta: ConsumerMeta) -> Result<OpenedConsumer, ConsumerError> {
        let is_new = !self.files.has_dir()?;
        let state = match self.make_files(&meta) {
            Ok(state) => state,
            Err(error) => {
                if is_new {
                    self.files.abandon();
                }
                return Err(error);
            }
        };
        Ok(OpenedConsumer {
            has_file: self.has_file,
            files: self.files,
            meta,
            state,
        })
    }

    fn make_files(&mut self, meta: &ConsumerMeta) -> Result<Option<ConsumerFile>, ConsumerError> {
        self.files.make_dir()?;
        let key_file = self.files.read(META_KEY, KEY_FILE_MAX)?;
        let may_be_sealed = self
            .stored_state
            .as_ref()
            .is_some_and(|state| !state.is_empty() && ConsumerFile::decode(state).is_err());
        let rewrap = match &key_file {
            Some(bytes) if may_be_sealed => self.take_key(bytes)?,
            Some(_) if self.ring.current.is_none() => {
                let path = self.files.path(META_KEY);
                return Err(ConsumerError::NoKey { path });
            }
            // A key under which nothing lies is replaced.
            _ => None,
        };
        let state = self.read_state()?;
        match (rewrap, &self.files.key) {
            (Some(cipher), _) => self.rewrap(cipher)?,
            (None, None) => self.draw_key()?,
            (None, Some(_)) => {}
        }
        if let (Some(state), Some(_)) = (&state, &self.files.key) {
            self.files.write_state(&state.plain, Level::Written)?;
        }
        self.files.write_meta(&meta.encode())?;
        self.files.settle()?;
        Ok(state.map(|state| state.found))
    }

    /// What `o.dat` says; an empty one says nothing.
    fn read_state(&mut self) -> Result<Option<Read<ConsumerFile>>, ConsumerError> {
        let stored = self.stored_state.take();
        let Some(stored) = stored.filter(|stored| !stored.is_empty()) else {
            return Ok(None);
        };
        let decode = |plain: &[u8]| ConsumerFile::decode(plain).map_err(Unread::State);
        self.read(CONSUMER_STATE, stored, decode).map(Some)
    }

    /// Takes the key of a key file, and tells the cipher to change to where it is not under the current key and in the
    /// configured cipher.
    fn take_key(&mut self, key_file: &[u8]) -> Result<Option<Cipher>, ConsumerError> {
        let path = self.files.path(META_KEY);
        if self.ring.current.is_none() {
            return Err(ConsumerError::NoKey { path });
        }
        let opened = self
            .ring
            .open(key_file, &self.context)
            .map_err(|cause| ConsumerError::Key { path, cause })?;
        let wanted = self.ring.cipher.unwrap_or(opened.cipher);
        let fits = opened.key == KeyChoice::Current && opened.cipher == wanted;
        self.files.key = Some(ConsumerKey {
            seed: opened.seed,
            cipher: opened.cipher,
        });
        Ok((!fits).then_some(wanted))
    }

    /// Draws a new key and writes its file, where there is a server's key to do it under.
    fn draw_key(&mut self) -> Result<(), ConsumerError> {
        let Some(server) = self.ring.current else {
            return Ok(());
        };
        let cipher = self.ring.first_cipher();
        let key = NewKey::draw(cipher, |buffer| self.files.entropy().fill(buffer))?;
        let key_file = key.key_file(server, self.ring.account, &self.context);
        self.files.write_key(&key_file)?;
        let NewKey { seed, .. } = key;
        self.files.key = Some(ConsumerKey { seed, cipher });
        Ok(())
    }

    /// Writes the key file under the current key for `cipher`. The secret stays, so that whatever files a crash leaves in the
    /// former cipher still open.
    fn rewrap(&mut self, cipher: Cipher) -> Result<(), ConsumerError> {
        let (Some(server), Some(key)) = (self.ring.current, &mut self.files.key) else {
            return Ok(());
        };
        let seed = key.seed.clone();
        let nonce = Nonce::draw(cipher, |buffer| self.files.entropy().fill(buffer))?;
        let under = server.key_encryption_key(self.ring.account, &self.context);
        self.files
            .write_key(&KeyFile::seal(&seed, &nonce, &under))?;
        self.files.key = Some(ConsumerKey { seed, cipher });
        Ok(())
    }

    /// What `read` makes of a stored file.
    fn read<T>(
        &self,
        file: &str,
        stored: Vec<u8>,
        read: impl Fn(&[u8]) -> Result<T, Unread>,
    ) -> Result<Read<T>, ConsumerError> {
        let path = || self.files.path(file);
        let told = |unread| match unread {
            Unread::Meta(cause) => ConsumerError::Meta {
                path: path(),
                cause,
            },
            Unread::State(cause) => ConsumerError::State {
                path: path(),
                cause,
            },
        };
        let (plain, is_otherwise) = match &self.files.key {
            None => (stored, false),
            Some(key) => match open_sealed(&stored, &key.seed, key.cipher) {
                Ok(plain) => (plain, false),
                Err(cause) => match open_sealed(&stored, &key.seed, key.cipher.other()) {
                    Ok(plain) => (plain, true),
                    Err(_) if read(&stored).is_ok() => (stored, true),
                    Err(_) => {
                        return Err(ConsumerError::Sealed {
                            path: path(),
                            cause,
                        });
                    }
                },
            },
        };
        Ok(Read {
            found: read(&plain).map_err(told)?,
            plain,
            is_otherwise,
        })
    }
}

/// Why a plaintext says nothing.
enum Unread {
    Meta(MetaError),
    State(ConsumerDecodeError),
}
