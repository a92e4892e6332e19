//! File and asset names: built and parsed side by side.
//!
//! Source: file format reference, section 1. Names are bytes, since what lies in a directory need not be UTF-8.

use sha2::{Digest as _, Sha256};

/// What a block's files are called behind the block number and a dot.
const BLOCK: &[u8] = b"blk";
const KEY: &[u8] = b"key";
const LEGACY_INDEX: &[u8] = b"idx";
const LEGACY_SUBJECTS: &[u8] = b"fss";
const REWRITE: &[u8] = b"blk.tmp";
const COMPACTION: &[u8] = b"new";

/// The directory of the blocks.
pub const MESSAGES: &str = "msgs";
/// Where a purge stages the blocks that are to take its place.
pub const STAGED_MESSAGES: &str = "__new_msgs__";
/// Where a purge puts aside the blocks that it removes.
pub const PURGED_MESSAGES: &str = "__msgs__";
/// The directory of the consumers, each in one of its own.
pub const CONSUMERS: &str = "obs";
/// Metadata of a stream or a consumer.
pub const META: &str = "meta.inf";
/// Its checksum.
pub const META_SUM: &str = "meta.sum";
/// The key of an encrypted stream or consumer.
pub const META_KEY: &str = "meta.key";
/// A consumer's state.
pub const CONSUMER_STATE: &str = "o.dat";
/// The state file, among the blocks.
pub const STATE_FILE: &str = "index.db";
/// Its path in the stream directory, where no purge is under way.
pub const STATE_PATH: &str = "msgs/index.db";
/// Beside the blocks' directory: which index this library wrote there. No server reads it.
pub const OWN_INDEX: &str = ".jetsam.index";
/// Times to live, among the blocks.
pub const EXPIRIES: &str = "thw.db";
/// Their path in the stream directory.
pub const EXPIRIES_PATH: &str = "msgs/thw.db";
/// Schedules, among the blocks.
pub const SCHEDULES: &str = "sched.db";
/// Their path in the stream directory.
pub const SCHEDULES_PATH: &str = "msgs/sched.db";
/// Positions in the streams that this one sources from.
pub const SOURCES: &str = "sources.db";

/// A file among the blocks in [`MESSAGES`], relative to the stream directory.
#[must_use]
pub fn in_messages(file: &str) -> String {
    format!("{MESSAGES}/{file}")
}

/// The directory of a consumer, relative to the stream directory, with a slash at its end.
#[must_use]
pub fn consumer_dir(consumer: &str) -> String {
    format!("{CONSUMERS}/{consumer}/")
}

const TEMPORARY_SUFFIX: &[u8] = b".tmp";
const BLOCK_SUFFIX: &[u8] = b".blk";

/// The files a block number names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlockFile {
    /// `N.blk`: the records.
    Block,
    /// `N.key`: the block's wrapped key.
    Key,
    /// `N.idx`: index written by 2.9 and earlier.
    LegacyIndex,
    /// `N.fss`: subjects written by 2.9 and earlier.
    LegacySubjects,
    /// `N.blk.tmp`: a rewrite of the whole block, never completed.
    Rewrite,
    /// `N.new`: a compaction of the block, never completed.
    Compaction,
}

impl BlockFile {
    const ALL: [Self; 6] = [
        Self::Block,
        Self::Key,
        Self::LegacyIndex,
        Self::LegacySubjects,
        Self::Rewrite,
        Self::Compaction,
    ];

    fn suffix(self) -> &'static [u8] {
        match self {
            Self::Block => BLOCK,
            Self::Key => KEY,
            Self::LegacyIndex => LEGACY_INDEX,
            Self::LegacySubjects => LEGACY_SUBJECTS,
            Self::Rewrite => REWRITE,
            Self::Compaction => COMPACTION,
        }
    }

    /// The name of this file of block `number`.
    #[must_use]
    pub fn name(self, number: u32) -> String {
        format!("{number}.{}", String::from_utf8_lossy(self.suffix()))
    }

    /// The block whose file of this kind bears the name, in its one canonical form.
    #[must_use]
    pub fn number_in(self, name: &[u8]) -> Option<u32> {
        let (number, file) = Self::parse(name)?;
        (file == self).then_some(number)
    }

    /// Its path in the directory `dir`.
    #[must_use]
    pub fn path_in(self, dir: &str, number: u32) -> String {
        format!("{dir}/{}", self.name(number))
    }

    /// Its path in [`MESSAGES`], relative to the stream directory.
    #[must_use]
    pub fn path(self, number: u32) -> String {
        self.path_in(MESSAGES, number)
    }

    /// Reads a path in [`MESSAGES`], as [`BlockFile::path`] builds it.
    #[must_use]
    pub fn parse_path(path: &str) -> Option<(u32, Self)> {
        let name = path.strip_prefix(MESSAGES)?.strip_prefix('/')?;
        Self::parse(name.as_bytes())
    }

    /// Reads a name in its one canonical form: decimal without padding or sign, in 32 bits.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<(u32, Self)> {
        let dot = name.iter().position(|&byte| byte == b'.')?;
        let (digits, suffix) = (name.get(..dot)?, name.get(dot + 1..)?);
        let file = Self::ALL.into_iter().find(|file| file.suffix() == suffix)?;
        Some((canonical_number(digits)?, file))
    }
}

/// The number of a block file `N.blk` in canonical form.
#[must_use]
pub fn block_number(name: &[u8]) -> Option<u32> {
    canonical_number(name.strip_suffix(BLOCK_SUFFIX)?)
}

fn canonical_number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with(b"0")) {
        return None;
    }
    let value = decimal(digits)?;
    u32::try_from(value).ok()
}

/// The value of a digit string, leading zeros allowed.
fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, &byte| {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit <= 9)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The number the server takes a name in `msgs` for when it rebuilds from blocks, before it cuts it to 32 bits.
///
/// It asks that the name end in `.blk` and begin with a number and `.blk`; leading white space, a sign, leading zeros
/// and text between the two are let through. What it then opens is `<number>.blk`, so any name for which this differs
/// from [`block_number`] makes a block count twice or the open fail.
#[must_use]
pub fn lax_block_number(name: &[u8]) -> Option<i64> {
    let rest = lax_start(name)?;
    let (negative, rest) = match rest.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, rest),
    };
    let value = i128::from(lax_decimal(rest)?);
    i64::try_from(if negative { -value } else { value }).ok()
}

/// As [`lax_block_number`] for the check against `index.db`, which takes no sign and nothing above 32 bits.
#[must_use]
pub fn lax_block_number_unsigned(name: &[u8]) -> Option<u32> {
    u32::try_from(lax_decimal(lax_start(name)?)?).ok()
}

/// The number the server reads from the name of a key file: a decimal and `.key`, whatever follows.
#[must_use]
pub fn lax_key_number(name: &[u8]) -> Option<u32> {
    let digits = name.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = name.split_at_checked(digits)?;
    if !rest.starts_with(b".key") {
        return None;
    }
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// A name ending in `.blk`, without leading white space. A line feed there stops the server's scan.
fn lax_start(name: &[u8]) -> Option<&[u8]> {
    let mut rest = Some(name).filter(|name| name.ends_with(BLOCK_SUFFIX))?;
    while let Some(character) = first_character(rest) {
        if character == '\n' {
            return None;
        }
        if !character.is_whitespace() {
            break;
        }
        rest = rest.get(character.len_utf8()..)?;
    }
    Some(rest)
}

fn first_character(bytes: &[u8]) -> Option<char> {
    let start = bytes.get(..4).unwrap_or(bytes);
    start.utf8_chunks().next()?.valid().chars().next()
}

/// The number `bytes` begins with, if `.blk` follows at once.
fn lax_decimal(bytes: &[u8]) -> Option<u64> {
    let length = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (digits, rest) = bytes.split_at_checked(length)?;
    (length > 0 && rest.starts_with(BLOCK_SUFFIX)).then_some(())?;
    decimal(digits)
}

/// The name under which an atomically replaced file is staged beside itself.
#[must_use]
pub fn temporary(name: &[u8]) -> Vec<u8> {
    [name, TEMPORARY_SUFFIX].concat()
}

/// The file a staged name belongs to.
#[must_use]
pub fn parse_temporary(name: &[u8]) -> Option<&[u8]> {
    name.strip_suffix(TEMPORARY_SUFFIX)
        .filter(|name| !name.is_empty())
}

/// The longest stream name.
const STREAM_NAME_MAX: usize = 255;

/// Whether a stream, or a consumer, may bear this name.
#[must_use]
pub fn is_valid_asset_name(name: &[u8]) -> bool {
    let forbidden = |byte| b" \t\r\n\x0c.*>\\/".contains(byte);
    (1..=STREAM_NAME_MAX).contains(&name.len()) && !name.iter().any(forbidden)
}

/// The eight letters and digits that stand for a longer name: a batch's directory, a source's parts.
#[must_use]
pub fn hash8(name: &[u8]) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let letter =
        |byte: u8| char::from(LETTERS.get(usize::from(byte) % 62).copied().unwrap_or(b'0'));
    Sha256::digest(name)
        .iter()
        .take(8)
        .map(|&byte| letter(byte))
        .collect()
}

/// Reads and rebuilds `data` as each kind of name, and checks that they agree.
#[doc(hidden)]
pub fn fuzz_one(data: &[u8]) {
    if let Some((number, file)) = BlockFile::parse(data) {
        assert_eq!(file.name(number).as_bytes(), data);
    }
    if let Some(number) = block_number(data) {
        assert_eq!(BlockFile::parse(data), Some((number, BlockFile::Block)));
        assert_eq!(lax_block_number(data), Some(i64::from(number)));
        assert_eq!(lax_block_number_unsigned(data), Some(number));
    }
    if let Some(number) = lax_block_number_unsigned(data) {
        assert_eq!(lax_block_number(data), Some(i64::from(number)));
    }
    if let Some(name) = parse_temporary(data) {
        assert_eq!(temporary(name), data);
    }
    let _ = is_valid_asset_name(data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_names() {
        for (name, parsed) in [
            ("1.blk", (1, BlockFile::Block)),
            ("0.blk", (0, BlockFile::Block)),
            ("4294967295.key", (u32::MAX, BlockFile::Key)),
            ("12.idx", (12, BlockFile::LegacyIndex)),
            ("12.fss", (12, BlockFile::LegacySubjects)),
            ("12.blk.tmp", (12, BlockFile::Rewrite)),
            ("12.new", (12, BlockFile::Compaction)),
        ] {
            assert_eq!(BlockFile::parse(name.as_bytes()), Some(parsed), "{name}");
            assert_eq!(parsed.1.name(parsed.0), name);
        }
        for name in [
            "",
            ".blk",
            "01.blk",
            "+1.blk",
            "-1.blk",
            "4294967296.blk",
            "x.blk",
            "1.blk.blk",
            "1.key.tmp",
            "1.BLK",
            "1",
        ] {
            assert_eq!(BlockFile::parse(name.as_bytes()), None, "{name}");
            assert_eq!(block_number(name.as_bytes()), None, "{name}");
        }
    }

    /// Outcomes of the server's scan of a name, into a signed 64-bit and an unsigned 32-bit number.
    #[test]
    fn lax_names() {
        for (name, signed, unsigned) in [
            ("1.blk", Some(1), Some(1)),
            ("007.blk", Some(7), Some(7)),
            ("+7.blk", Some(7), None),
            ("-1.blk", Some(-1), None),
            ("1.blk.bak.blk", Some(1), Some(1)),
            ("1.blkx.blk", Some(1), Some(1)),
            (" 1.blk", Some(1), Some(1)),
            ("\t\u{a0}\u{3000}1.blk", Some(1), Some(1)),
            ("\r1.blk", Some(1), Some(1)),
            ("\n1.blk", None, None),
            ("\r\n1.blk", None, None),
            ("1 .blk", None, None),
            ("1.x.blk", None, None),
            ("1_0.blk", None, None),
            ("x.blk", None, None),
            (".blk", None, None),
            ("--1.blk", None, None),
            ("1.blk.tmp", None, None),
            ("4294967296.blk", Some(1 << 32), None),
            ("9223372036854775807.blk", Some(i64::MAX), None),
            ("9223372036854775808.blk", None, None),
            ("-9223372036854775808.blk", Some(i64::MIN), None),
            ("99999999999999999999999.blk", None, None),
        ] {
            assert_eq!(lax_block_number(name.as_bytes()), signed, "{name:?}");
            assert_eq!(
                lax_block_number_unsigned(name.as_bytes()),
                unsigned,
                "{name:?}"
            );
        }
        assert_eq!(lax_block_number(b"\xff1.blk"), None);
    }

    #[test]
    fn asset_names() {
        assert!(is_valid_asset_name(b"ORDERS-1_x$\xc3\xa9"));
        assert!(is_valid_asset_name(&[b'a'; 255]));
        assert!(!is_valid_asset_name(&[b'a'; 256]));
        assert!(!is_valid_asset_name(b""));
        for byte in b" \t\r\n\x0c.*>\\/" {
            assert!(!is_valid_asset_name(&[b'a', *byte]));
        }
    }

    #[test]
    fn hash8_of_the_created_times_in_the_format_reference() {
        assert_eq!(hash8(b"2026-11-21T06:43:20.765497378Z"), "IE3MWun7");
        assert_eq!(hash8(b"2026-11-21T06:43:20.773591018Z"), "6ujDHT7w");
    }

    #[test]
    fn temporary_names() {
        assert_eq!(
            parse_temporary(&temporary(b"meta.inf")),
            Some(&b"meta.inf"[..])
        );
        assert_eq!(parse_temporary(b".tmp"), None);
        assert_eq!(parse_temporary(b"meta.inf"), None);
    }

    #[test]
    fn paths_are_of_the_files_they_name() {
        assert_eq!(in_messages(STATE_FILE), STATE_PATH);
        assert_eq!(in_messages(EXPIRIES), EXPIRIES_PATH);
        assert_eq!(in_messages(SCHEDULES), SCHEDULES_PATH);
        assert_eq!(consumer_dir("C"), "obs/C/");
        assert_eq!(BlockFile::Key.path(7), "msgs/7.key");
        let staged = BlockFile::Block.path_in(STAGED_MESSAGES, 7);
        assert_eq!(staged, "__new_msgs__/7.blk");
        for path in [&staged, "msgs7.blk", "msgs//7.blk", "msgs/07.blk", "7.blk"] {
            assert_eq!(BlockFile::parse_path(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn names_round_trip(number: u32, file in prop::sample::select(BlockFile::ALL.to_vec())) {
            let name = file.name(number);
            prop_assert_eq!(BlockFile::parse(name.as_bytes()), Some((number, file)));
            for other in BlockFile::ALL {
                let found = other.number_in(name.as_bytes());
                prop_assert_eq!(found, (other == file).then_some(number));
            }
            prop_assert_eq!(BlockFile::parse_path(&file.path(number)), Some((number, file)));
        }

        #[test]
        fn near_names_never_panic(name in "[ \\t0-9+-]{0,4}[0-9]{0,22}(\\.blk|\\.key|\\.new|\\.tmp|x){0,3}") {
            fuzz_one(name.as_bytes());
        }

        #[test]
        fn arbitrary_bytes_never_panic(data: Vec<u8>) {
            fuzz_one(&data);
        }
    }
}
