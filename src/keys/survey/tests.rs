use super::*;
use crate::crypto::{KeyFile, Nonce, Seed, ServerKey};
use crate::env::memory::MemoryFileSystem;
use crate::format::names::BlockFile;
use crate::format::record::{NewRecord, encode_record};

const DIR: &str = "/js/A/streams/S";

fn server(text: &str) -> ServerKey {
    ServerKey::new(text.as_bytes().to_vec())
}

fn sealed(key: &str, account: &str, context: &str, cipher: Cipher) -> Vec<u8> {
    let nonce = match cipher {
        Cipher::ChaCha => Nonce::ChaCha([3; 24]),
        Cipher::Aes => Nonce::Aes([5; 16]),
    };
    let key = server(key).key_encryption_key(account.as_bytes(), context.as_bytes());
    KeyFile::seal(&Seed::new([9; 32]), &nonce, &key)
}

fn put(fs: &MemoryFileSystem, file: &str, bytes: impl Into<Vec<u8>>) {
    fs.seed_file(Path::new(DIR).join(file), bytes);
}

fn look(fs: &MemoryFileSystem, cipher: Option<Cipher>, given: bool) -> KeyReport {
    let stream = StreamDir {
        account: Some("A".into()),
        name: "S".into(),
        dir: DIR.into(),
    };
    let mut options = Options::new(0);
    if given {
        options.keys.current = Some(server("now"));
        options.keys.previous = Some(server("before"));
        options.keys.cipher = cipher;
    }
    survey(fs, &stream, &options).unwrap()
}

fn plain_block(number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let record = NewRecord::Message {
        sequence: 1,
        timestamp_ns: 1,
        subject: b"s",
        headers: b"",
        body: b"body",
    };
    encode_record(&mut bytes, &HashKey::for_block(b"S", number), &record).unwrap();
    bytes
}

/// One of every state.
fn store() -> MemoryFileSystem {
    let fs = MemoryFileSystem::new();
    put(&fs, "meta.inf", "sealed");
    put(&fs, "meta.key", sealed("now", "A", "S", Cipher::Aes));
    for number in 1..=9 {
        put(
            &fs,
            &BlockFile::Block.path(number),
            "encrypted, no record at all",
        );
    }
    put(&fs, "msgs/1.key", sealed("now", "A", "S:1", Cipher::ChaCha));
    put(&fs, "msgs/2.key", sealed("before", "A", "S:2", Cipher::Aes));
    let mut flipped = sealed("now", "A", "S:3", Cipher::Aes);
    flipped[20] ^= 0x30;
    put(&fs, "msgs/3.key", flipped);
    put(&fs, "msgs/4.key", sealed("now", "A", "S:5", Cipher::Aes));
    put(&fs, "msgs/5.key", [7; 12]);
    put(&fs, "msgs/6.key", [7; 64]);
    // Block 7 has no key, and is not plain; block 8 is.
    put(&fs, "msgs/8.blk", plain_block(8));
    put(&fs, "msgs/9.key", sealed("now", "B", "S:9", Cipher::Aes));
    fs.seed_dir("/js/B/streams");
    put(&fs, "msgs/20.key", sealed("now", "A", "S:20", Cipher::Aes));
    put(&fs, "obs/C/meta.inf", "sealed");
    put(
        &fs,
        "obs/C/meta.key",
        sealed("now", "A", "S.C", Cipher::Aes),
    );
    put(&fs, "obs/D/meta.inf", "{\"Name\":\"D\"}");
    fs
}

#[test]
fn every_state_is_told_apart() {
    let report = look(&store(), Some(Cipher::Aes), true);
    let found: Vec<(&str, KeyState)> = report
        .keys
        .iter()
        .map(|entry| (entry.file.as_str(), entry.state))
        .collect();
    assert_eq!(
        found,
        [
            ("meta.key", KeyState::Ok),
            ("msgs/1.key", KeyState::OtherCipher),
            ("msgs/2.key", KeyState::PreviousKey),
            ("msgs/3.key", KeyState::Repairable),
            ("msgs/4.key", KeyState::Foreign),
            ("msgs/5.key", KeyState::Short),
            ("msgs/6.key", KeyState::Unopenable),
            ("msgs/7.key", KeyState::Missing),
            ("msgs/8.key", KeyState::Plain),
            ("msgs/9.key", KeyState::Foreign),
            ("msgs/20.key", KeyState::Orphan),
            ("obs/C/meta.key", KeyState::Ok),
            ("obs/D/meta.key", KeyState::Plain),
        ]
    );
    let of = |file: &str| report.keys.iter().find(|entry| entry.file == file).unwrap();
    assert_eq!(of("msgs/4.key").context.as_deref(), Some("S:5"));
    assert_eq!(
        of("msgs/9.key").context.as_deref(),
        Some("S:9 in account B")
    );
    assert_eq!(of("msgs/3.key").detail, "wrong: bits 4 and 5 of byte 20");
    assert_eq!(of("msgs/1.key").detail, "aes is configured");
    assert_eq!(of("obs/C/meta.key").cipher, Some(Cipher::Aes));
    assert_eq!(report.exit_code(), 8);
    assert!(!report.is_all_under(Cipher::Aes));
    let text = format!("{report:?}");
    assert!(
        !text.contains("now\"") && !text.contains("before\""),
        "{text}"
    );
}

#[test]
fn without_a_key_nothing_opens_and_nothing_is_guessed() {
    let report = look(&store(), None, false);
    assert_eq!(report.exit_code(), 8);
    let meta = &report.keys[0];
    assert_eq!(
        (meta.state, meta.detail.as_str()),
        (KeyState::Unopenable, "no key is given")
    );
}

#[test]
fn any_cipher_will_do_where_none_is_configured() {
    let report = look(&store(), None, true);
    let one = report.keys.iter().find(|entry| entry.file == "msgs/1.key");
    assert_eq!(one.unwrap().state, KeyState::Ok);
}

#[test]
fn a_plain_stream_has_no_keys_however_damaged() {
    let fs = MemoryFileSystem::new();
    put(&fs, "meta.inf", "{}");
    put(&fs, "msgs/1.blk", plain_block(1));
    put(&fs, "msgs/2.blk", "damaged from its first byte on");
    put(&fs, "obs/D/meta.inf", "{}");
    let report = look(&fs, None, true);
    assert_eq!((report.keys.as_slice(), report.exit_code()), (&[][..], 0));
}

#[test]
fn a_store_under_one_key_is_recognised() {
    let fs = MemoryFileSystem::new();
    put(&fs, "meta.inf", "sealed");
    put(&fs, "meta.key", sealed("now", "A", "S", Cipher::Aes));
    put(&fs, "msgs/1.blk", "sealed");
    put(&fs, "msgs/1.key", sealed("now", "A", "S:1", Cipher::Aes));
    let report = look(&fs, Some(Cipher::Aes), true);
    assert!(report.is_all_under(Cipher::Aes) && !report.is_all_under(Cipher::ChaCha));
    assert_eq!(report.exit_code(), 0);
    put(&fs, "msgs/2.blk", plain_block(2));
    let report = look(&fs, Some(Cipher::Aes), true);
    assert!(!report.is_all_under(Cipher::Aes));
    assert_eq!(report.exit_code(), 1);
}
