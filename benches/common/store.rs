//! A stream directory in a temporary place.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use jetsam::crypto::{
    BlockCipher, Cipher, KeyFile, Nonce, Seed, ServerKey, block_context, seal, stream_context,
};
use jetsam::env::{OsEntropy, OsFileSystem};
use jetsam::format::checksum::HashKey;
use jetsam::format::names::BlockFile;
use jetsam::format::{compression, meta};
use jetsam::living::Idle;
use jetsam::recovery::{RecoverOptions, examine, recover};
use jetsam::report::Watch;
use jetsam::report::stream::{Source, StreamReport};
use jetsam::stream::StreamDir;
use jetsam::stream::options::Options;
use tempfile::TempDir;

use super::{BASE_NS, Noise, STREAM, Shape, Writer, is_tiny};

const ACCOUNT: &str = "A";
const KEY: &[u8] = b"benchkey";

/// What happens to a block on its way to its file.
#[derive(Debug, Clone, Copy)]
pub struct Coating {
    /// Whether it is compressed.
    pub s2: bool,
    /// What it is encrypted with.
    pub cipher: Option<Cipher>,
}

/// A generated store, removed when dropped.
pub struct Store {
    /// Held for its drop.
    _home: TempDir,
    stream: StreamDir,
    encrypted: bool,
    /// Bytes of the block files.
    pub length: u64,
}

impl Store {
    /// Writes a store of plain blocks.
    pub fn plain(shape: Shape) -> Self {
        Self::coated(shape, false, None)
    }

    /// Writes a store of compressed or encrypted blocks.
    pub fn coated(shape: Shape, s2: bool, cipher: Option<Cipher>) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let dir = home.path().join(ACCOUNT).join("streams").join(STREAM);
        fs::create_dir_all(dir.join("msgs")).expect("msgs");
        fs::create_dir_all(dir.join("obs")).expect("obs");
        let mut noise = Noise::new(2);
        write_meta(&dir, s2, cipher, &mut noise);
        let coating = Coating { s2, cipher };
        let length = write_blocks(&dir, shape, coating, &mut noise);
        Store {
            _home: home,
            stream: StreamDir {
                account: Some(ACCOUNT.into()),
                name: STREAM.into(),
                dir,
            },
            encrypted: cipher.is_some(),
            length,
        }
    }

    /// Options at a time shortly after the last message.
    fn options(&self) -> Options {
        let mut options = Options::new(BASE_NS + 86_400_000_000_000);
        if self.encrypted {
            options.keys.current = Some(ServerKey::new(KEY.to_vec()));
        }
        options
    }

    /// Leaves an `index.db` in the store, as a clean stop would.
    pub fn write_index(&self) {
        let cancel = AtomicBool::new(false);
        let what = RecoverOptions {
            accept_loss: false,
            accept_expiry: true,
            undo: false,
        };
        let report = recover(
            &OsFileSystem,
            &Idle::declared(),
            &self.stream,
            &self.options(),
            &what,
            &OsEntropy,
            &watch(&cancel),
        );
        assert_eq!(report.refusal, None, "{:?}", report.events);
    }

    /// Examines the store by its blocks alone.
    pub fn rebuild(&self) -> StreamReport {
        let mut options = self.options();
        options.no_index = true;
        self.examine(&options, Source::Blocks)
    }

    /// Examines the store by its index, every record verified unless `quick`.
    pub fn open(&self, quick: bool) -> StreamReport {
        let mut options = self.options();
        options.quick = quick;
        self.examine(&options, Source::Index)
    }

    fn examine(&self, options: &Options, source: Source) -> StreamReport {
        let cancel = AtomicBool::new(false);
        let report = examine(&OsFileSystem, &self.stream, options, &watch(&cancel));
        assert_eq!(report.source, Some(source), "{:?}", report.events);
        report
    }
}

fn watch(cancel: &AtomicBool) -> Watch<'_> {
    Watch {
        progress: &|_| {},
        cancel,
    }
}

/// Blocks end behind the record that reaches this length.
fn block_length() -> usize {
    if is_tiny() { 64 << 10 } else { 4 << 20 }
}

fn write_blocks(dir: &Path, shape: Shape, coating: Coating, noise: &mut Noise) -> u64 {
    let mut writer = Writer::new(shape);
    let mut total = 0;
    for number in 1.. {
        let key = HashKey::for_block(STREAM.as_bytes(), number);
        let mut content = Vec::new();
        while content.len() < block_length() && writer.append(&mut content, &key) {}
        if content.is_empty() {
            break;
        }
        let file = coat(dir, number, content, coating, noise);
        total += file.len() as u64;
        fs::write(dir.join(BlockFile::Block.path(number)), file).expect("a block");
    }
    total
}

fn coat(dir: &Path, number: u32, content: Vec<u8>, coating: Coating, noise: &mut Noise) -> Vec<u8> {
    let mut file = content;
    if coating.s2 {
        let mut compressed = Vec::new();
        compression::compress(&file, &mut compressed).expect("a whole block");
        file = compressed;
    }
    if let Some(cipher) = coating.cipher {
        let context = block_context(STREAM.as_bytes(), number);
        let (key_file, seed, nonce) = draw_key(cipher, &context, noise);
        fs::write(dir.join(BlockFile::Key.path(number)), key_file).expect("a block's key");
        BlockCipher::new(&seed, &nonce)
            .apply(&mut file, 0)
            .expect("a short block");
    }
    file
}

fn write_meta(dir: &Path, s2: bool, cipher: Option<Cipher>, noise: &mut Noise) {
    let compression = if s2 { r#","compression":"s2""# } else { "" };
    let json = format!(
        concat!(
            r#"{{"Created":"2026-01-01T00:00:00Z","name":"{}","subjects":["orders.\u003e"],"#,
            r#""retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"#,
            r#""max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"old","storage":"file","#,
            r#""num_replicas":1,"allow_msg_ttl":true{}}}"#
        ),
        STREAM, compression
    );
    let mut inf = json.into_bytes();
    if let Some(cipher) = cipher {
        let context = stream_context(STREAM.as_bytes());
        let (key_file, seed, _) = draw_key(cipher, &context, noise);
        fs::write(dir.join("meta.key"), key_file).expect("meta.key");
        inf = seal(&inf, &seed, &draw_nonce(cipher, noise)).expect("short metadata");
    }
    let sum = meta::meta_sum_text(HashKey::for_stream(STREAM.as_bytes()).hash64(&[&inf]));
    fs::write(dir.join("meta.inf"), inf).expect("meta.inf");
    fs::write(dir.join("meta.sum"), sum).expect("meta.sum");
}

/// A key file, and the seed and nonce in it.
fn draw_key(cipher: Cipher, context: &[u8], noise: &mut Noise) -> (Vec<u8>, Seed, Nonce) {
    let key = ServerKey::new(KEY.to_vec()).key_encryption_key(ACCOUNT.as_bytes(), context);
    let seed = Seed::draw(|bytes| fill(noise, bytes)).unwrap_or_else(|never| match never {});
    let nonce = draw_nonce(cipher, noise);
    (KeyFile::seal(&seed, &nonce, &key), seed, nonce)
}

fn draw_nonce(cipher: Cipher, noise: &mut Noise) -> Nonce {
    Nonce::draw(cipher, |bytes| fill(noise, bytes)).unwrap_or_else(|never| match never {})
}

fn fill(noise: &mut Noise, bytes: &mut [u8]) -> Result<(), std::convert::Infallible> {
    bytes.fill_with(|| noise.draw() as u8);
    Ok(())
}
