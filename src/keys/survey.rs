//! Every key file of a stream: what opens it, and what stands where there is none.

use std::collections::BTreeSet;
use std::path::Path;

use crate::block::key::begins_in_plain;
use crate::crypto::{
    Cipher, KEY_FILE_MAX, KeyChoice, KeyMend, KeyRing, OpenedKey, block_context, consumer_context,
    stream_context,
};
use crate::env::{IoError, ReadFiles};
use crate::format::checksum::HashKey;
use crate::format::names::{
    BlockFile, CONSUMERS, MESSAGES, META, META_KEY, block_number, consumer_dir,
};
use crate::stream::options::Options;
use crate::stream::{StreamDir, account_of, dirs_in, is_raft_group};

/// Bytes of a block without a key that are read to tell whether it is plain.
const BLOCK_READ_MAX: usize = 4 << 20;
/// Names under which a key that does not open is tried, over all key files of a stream.
const FOREIGN_TRIALS_MAX: usize = 20_000;
/// How far from its own number a block's key is tried under other blocks' names.
const NEIGHBOURS: u32 = 64;

/// The state of one key file, or of what should have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyState {
    /// It opens with the current key and the configured cipher.
    Ok,
    /// A key file of a block that is not there. Nothing needs it.
    Orphan,
    /// The asset is not encrypted, in a stream that otherwise is.
    Plain,
    /// It opens with the current key and the other cipher.
    OtherCipher,
    /// It opens with the previous key.
    PreviousKey,
    /// It opens once bits are flipped back or bytes at its end left out.
    Repairable,
    /// It opens under the name of another asset: it lies in the wrong place.
    Foreign,
    /// It is shorter than any key file.
    Short,
    /// The asset is encrypted and its key file is gone.
    Missing,
    /// Nothing opens it.
    Unopenable,
}

impl KeyState {
    /// The word used in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            KeyState::Ok => "ok",
            KeyState::Orphan => "orphan",
            KeyState::Plain => "plain",
            KeyState::OtherCipher => "other-cipher",
            KeyState::PreviousKey => "previous-key",
            KeyState::Repairable => "repairable",
            KeyState::Foreign => "foreign",
            KeyState::Short => "short",
            KeyState::Missing => "missing",
            KeyState::Unopenable => "unopenable",
        }
    }

    /// The exit code it calls for: 0 fine, 1 to be looked after, 8 closed to the keys given.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            KeyState::Ok | KeyState::Orphan => 0,
            KeyState::Plain
            | KeyState::OtherCipher
            | KeyState::PreviousKey
            | KeyState::Repairable
            | KeyState::Foreign => 1,
            KeyState::Short | KeyState::Missing | KeyState::Unopenable => 8,
        }
    }
}

/// One key file, or the place where one should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// The key file, relative to the stream directory.
    pub file: String,
    /// Its state.
    pub state: KeyState,
    /// The key that opens it.
    pub key: Option<KeyChoice>,
    /// The cipher it is for.
    pub cipher: Option<Cipher>,
    /// The name it opens under, as it goes into the key derivation behind the account.
    pub context: Option<String>,
    /// The particulars, in words. Never anything of a key.
    pub detail: String,
}

/// The key files of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyReport {
    /// Account, where the path shows one.
    pub account: Option<String>,
    /// Stream name, which is that of its directory.
    pub name: String,
    /// The stream directory.
    pub dir: String,
    /// What was found: the stream's own, the blocks' by number, the consumers' by name. Empty for a plain stream.
    pub keys: Vec<KeyEntry>,
}

impl KeyReport {
    /// The exit code of this stream: the highest of its entries'.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let codes = self.keys.iter().map(|entry| entry.state.exit_code());
        codes.max().unwrap_or(0)
    }

    /// Whether every asset is encrypted, under the current key and `cipher`, as it should be.
    #[must_use]
    pub fn is_all_under(&self, cipher: Cipher) -> bool {
        !self.keys.is_empty()
            && self.keys.iter().all(|entry| {
                entry.state == KeyState::Orphan
                    || (entry.state == KeyState::Ok && entry.cipher == Some(cipher))
            })
    }
}

/// Looks at every key file of a stream. Nothing is written, and nothing of a key leaves this function.
///
/// A key file that opens with no key given is tried under up to 20,000 other names: those of the stream, its blocks nearby
/// and its consumers, under this account and its neighbours.
///
/// # Errors
///
/// [`IoError`] where a directory cannot be listed or a key file not be read.
pub fn survey(
    fs: &dyn ReadFiles,
    stream: &StreamDir,
    options: &Options,
) -> Result<KeyReport, IoError> {
    let account = account_of(stream, options);
    let mut survey = Survey {
        fs,
        stream,
        ring: options.keys.ring(&account),
        configured: match is_raft_group(&stream.dir) {
            true => Some(Cipher::ChaCha),
            false => options.keys.cipher,
        },
        has_key_file: false,
        consumers: dirs_in(fs, &stream.dir.join(CONSUMERS))?,
        neighbours: neighbours(fs, stream),
        trials_left: FOREIGN_TRIALS_MAX,
        keys: Vec::new(),
    };
    survey.stream_key()?;
    survey.block_keys()?;
    for name in survey.consumers.clone() {
        let context = consumer_context(stream.name.as_bytes(), name.as_bytes());
        let below = consumer_dir(&name);
        if is_there(fs, &stream.dir.join(&below).join(META))? {
            survey.asset(&below, &context)?;
        }
    }
    // Without any key file a first block that does not verify is damaged rather than encrypted.
    let closed =
        |entry: &KeyEntry| entry.state == KeyState::Missing && !entry.file.starts_with("msgs/");
    if !survey.has_key_file && !survey.keys.iter().any(closed) {
        survey.keys.clear();
    }
    Ok(KeyReport {
        account: stream.account.clone(),
        name: stream.name.clone(),
        dir: stream.dir.display().to_string(),
        keys: survey.keys,
    })
}

struct Survey<'a> {
    fs: &'a dyn ReadFiles,
    stream: &'a StreamDir,
    ring: KeyRing<'a>,
    configured: Option<Cipher>,
    has_key_file: bool,
    consumers: Vec<String>,
    /// Names of the accounts beside this one.
    neighbours: Vec<String>,
    trials_left: usize,
    keys: Vec<KeyEntry>,
}

impl Survey<'_> {
    fn name(&self) -> &[u8] {
        self.stream.name.as_bytes()
    }

    fn stream_key(&mut self) -> Result<(), IoError> {
        let context = stream_context(self.name());
        self.asset("", &context)
    }

    /// The key file of metadata.
    fn asset(&mut self, below: &str, context: &[u8]) -> Result<(), IoError> {
        let file = format!("{below}{META_KEY}");
        if let Some(bytes) = self.read(&file)? {
            self.judge(file, &bytes, context);
            return Ok(());
        }
        let inf = self.fs.open(&self.stream.dir.join(below).join(META));
        let mut first = [0; 16];
        let count = match inf.and_then(|inf| inf.read_at(0, &mut first)) {
            Ok(count) => count,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let first = first.get(..count).unwrap_or_default();
        let (state, detail) = match first.trim_ascii_start().first() {
            Some(b'{') | None => (KeyState::Plain, "the metadata is not encrypted"),
            Some(_) => (
                KeyState::Missing,
                "the metadata is encrypted, or damaged, and its key file is gone",
            ),
        };
        self.note(file, state, detail);
        Ok(())
    }

    fn block_keys(&mut self) -> Result<(), IoError> {
        let entries = match self.fs.list(&self.stream.dir.join(MESSAGES)) {
            Ok(entries) => entries,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let names = entries.iter().map(|entry| entry.name.as_encoded_bytes());
        let blocks: BTreeSet<u32> = names.clone().filter_map(block_number).collect();
        let key_files: BTreeSet<u32> = names
            .filter_map(|name| BlockFile::Key.number_in(name))
            .collect();
        for number in blocks.union(&key_files).copied() {
            let file = BlockFile::Key.path(number);
            let context = block_context(self.name(), number);
            let bytes = match key_files.contains(&number) {
                true => self.read(&file)?,
                false => None,
            };
            match bytes {
                Some(bytes) => {
                    self.judge(file, &bytes, &context);
                    if !blocks.contains(&number)
                        && let Some(entry) = self.keys.last_mut()
                    {
                        entry.detail = format!("block {number} is not there; {}", entry.detail);
                        entry.state = KeyState::Orphan;
                    }
                }
                None => self.keyless(file, number)?,
            }
        }
        Ok(())
    }

    fn keyless(&mut self, file: String, number: u32) -> Result<(), IoError> {
        let path = self
            .stream
            .dir
            .join(MESSAGES)
            .join(BlockFile::Block.name(number));
        let bytes = first_bytes(self.fs, &path)?;
        let hash_key = HashKey::for_block(self.name(), number);
        if bytes.is_empty() || begins_in_plain(&bytes, &hash_key) {
            self.note(file, KeyState::Plain, "the block is not encrypted");
        } else {
            let detail = "the block's first record does not verify as it lies: it is encrypted and its \
                          key file is gone, or it is damaged";
            self.note(file, KeyState::Missing, detail);
        }
        Ok(())
    }

    fn judge(&mut self, file: String, bytes: &[u8], context: &[u8]) {
        self.has_key_file = true;
        let text = String::from_utf8_lossy(context).into_owned();
        if let Ok((opened, mend)) = self.ring.open_mended(bytes, context) {
            let (state, detail) = self.verdict(&opened, &mend);
            self.keys.push(KeyEntry {
                file,
                state,
                key: Some(opened.key),
                cipher: Some(opened.cipher),
                context: Some(text),
                detail,
            });
            return;
        }
        let shortest = Cipher::Aes.key_file_length();
        if bytes.len() < shortest {
            let detail = format!("{} bytes, a key file has at least {shortest}", bytes.len());
            return self.note(file, KeyState::Short, detail);
        }
        if self.ring.is_empty() {
            return self.note(file, KeyState::Unopenable, "no key is given");
        }
        match self.foreign(bytes, context) {
            Some((opened, context)) => self.keys.push(KeyEntry {
                detail: format!("it is the key file of {context}, not of {text}"),
                file,
                state: KeyState::Foreign,
                key: Some(opened.key),
                cipher: Some(opened.cipher),
                context: Some(context),
            }),
            None => self.note(
                file,
                KeyState::Unopenable,
                "none of the keys given opens it, not even with a bit flipped back or under another name",
            ),
        }
    }

    fn verdict(&self, opened: &OpenedKey, mend: &KeyMend) -> (KeyState, String) {
        match mend {
            KeyMend::Flipped(patch) => {
                let low = patch.mask.trailing_zeros();
                let bits = match patch.mask.count_ones() {
                    1 => format!("bit {low}"),
                    _ => format!("bits {low} and {}", low + 1),
                };
                let detail = format!("wrong: {bits} of byte {}", patch.offset);
                return (KeyState::Repairable, detail);
            }
            KeyMend::Cut => {
                let detail = "there are bytes behind the end of the key";
                return (KeyState::Repairable, detail.to_owned());
            }
            KeyMend::None => {}
        }
        match (opened.key, self.configured) {
            (KeyChoice::Previous, _) => (KeyState::PreviousKey, String::new()),
            (KeyChoice::Current, Some(configured)) if configured != opened.cipher => {
                (KeyState::OtherCipher, format!("{configured} is configured"))
            }
            (KeyChoice::Current, _) => (KeyState::Ok, String::new()),
        }
    }

    /// The other name under which a key file opens.
    fn foreign(&mut self, bytes: &[u8], own: &[u8]) -> Option<(OpenedKey, String)> {
        let name = self.name();
        let mut contexts = vec![stream_context(name)];
        let number = String::from_utf8_lossy(own)
            .rsplit_once(':')
            .and_then(|(_, number)| number.parse::<u32>().ok())
            .unwrap_or(1);
        let near = number.saturating_sub(NEIGHBOURS)..=number.saturating_add(NEIGHBOURS);
        contexts.extend(near.map(|number| block_context(name, number)));
        let consumers = self.consumers.iter();
        contexts.extend(consumers.map(|consumer| consumer_context(name, consumer.as_bytes())));
        let home = self.ring.account.to_vec();
        let mut accounts = vec![home.clone()];
        accounts.extend(self.neighbours.iter().map(|name| name.clone().into_bytes()));
        for account in &accounts {
            let ring = KeyRing {
                account,
                ..self.ring
            };
            for context in &contexts {
                self.trials_left = self.trials_left.checked_sub(1)?;
                let Ok(opened) = ring.open(bytes, context) else {
                    continue;
                };
                let mut text = String::from_utf8_lossy(context).into_owned();
                if *account != home {
                    text = format!("{text} in account {}", String::from_utf8_lossy(account));
                }
                return Some((opened, text));
            }
        }
        None
    }

    fn read(&self, file: &str) -> Result<Option<Vec<u8>>, IoError> {
        match self.fs.read(&self.stream.dir.join(file), KEY_FILE_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn note(&mut self, file: String, state: KeyState, detail: impl Into<String>) {
        self.keys.push(KeyEntry {
            file,
            state,
            key: None,
            cipher: None,
            context: None,
            detail: detail.into(),
        });
    }
}

fn is_there(fs: &dyn ReadFiles, path: &Path) -> Result<bool, IoError> {
    match fs.metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Accounts beside the stream's, where the path shows them, and the global one.
fn neighbours(fs: &dyn ReadFiles, stream: &StreamDir) -> Vec<String> {
    let mut found = vec!["$G".to_owned()];
    let store = stream.dir.ancestors().nth(3);
    if let (Some(_), Some(store)) = (&stream.account, store) {
        found.extend(dirs_in(fs, store).unwrap_or_default());
    }
    found.retain(|name| Some(name) != stream.account.as_ref());
    found.truncate(64);
    found
}

/// The first bytes of a file: enough for a first record of the usual size.
fn first_bytes(fs: &dyn ReadFiles, path: &Path) -> Result<Vec<u8>, IoError> {
    let file = fs.open(path)?;
    let length = usize::try_from(file.length()?).unwrap_or(usize::MAX);
    let mut buffer = vec![0; length.min(BLOCK_READ_MAX)];
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let count = file.read_at(filled as u64, rest)?;
        if count == 0 {
            break;
        }
        filled += count;
    }
    buffer.truncate(filled);
    Ok(buffer)
}

#[cfg(test)]
mod tests;
