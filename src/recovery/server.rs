//! Which server will open the store, and in what that server differs from v2.15.3.
//!
//! The differences are one table, [`Quirk::ROWS`]: what changes results, and since which release of which line. A row
//! read `2.14.9, 2.15.2` holds from these two patches on, and was missing in 2.15.0; a row that names `2.12.0` alone holds
//! for every later line too; one that ends at a patch was mended with the next. [`ServerBehavior`] is the table looked up once for one version.
//!
//! Left out, because nothing of what a start does to messages hangs on it, or because only a damage nobody writes by
//! accident could tell:
//!
//! * 2.9 wrote `N.idx` files, and before 2.9.22 took a tombstone for a message with a sequence beyond all others; here it is
//!   2.9.22 and later;
//! * 2.10.0 to 2.10.20 read only the last and the following blocks again where the index is stale; here they read all of
//!   them, as 2.10.21 does. Damage in earlier blocks is then foretold although such a server would not meet it at the start.
//! * indexing a block before 2.11.12 and 2.12.3 accepted records that disagree with the range known of the block; here it is
//!   2.15's way, which walks such a block anew.
//! * an S2 chunk of a kind to be skipped that reaches beyond the block's end failed decoding from 2.12.14, 2.14.5 (perhaps
//!   earlier in that line) and 2.15.0 on; before, it ended the content without a word. Such a chunk takes garbage behind a
//!   compressed block. It is a matter of the library these servers were built with;
//! * subjects in `index.db` were not checked before 2.10.8;
//! * encrypting a plain block restarted the keystream wrongly before 2.12.9 and 2.14.1, and 2.10 does not decompress a block
//!   first: switching encryption on for a compressed stream costs it most of its messages, which is not foretold;
//! * a configuration that a newer server refuses for what it says of sources was let through before 2.11.9;
//! * `@every`, cron lines and time zones in schedules came with 2.14.0: the schedules of 2.12 count them too;
//! * a decode failure in `thw.db` or `sched.db` kept the entries before it, up to 2.12.11 and 2.14.2;
//! * what changes only what is written while a server runs: temporary names, syncing, compaction, when the index is written;
//! * configuration fields below the top level that an older server does not know (a source's consumer, before 2.14), and
//!   those of consumers.

use crate::block::walk::WalkRules;
use crate::report::ServerVersion;

impl ServerVersion {
    /// Fields of a stream's configuration that it does not know although the reference does; where it looks for such, it
    /// leaves the stream out.
    #[must_use]
    pub fn unknown_stream_fields(self) -> &'static [&'static str] {
        const SINCE_2_14: &str = "allow_batched";
        match self.line() {
            ..=11 => &[
                "allow_msg_counter",
                "allow_atomic",
                "allow_msg_schedules",
                "persist_mode",
                SINCE_2_14,
            ],
            12 | 13 => &[SINCE_2_14],
            _ => &[],
        }
    }

    /// Whether it opens the streams of an account side by side; before, one after the other.
    #[must_use]
    pub fn starts_streams_side_by_side(self) -> bool {
        ServerBehavior::of(self).has(Quirk::StreamsSideBySide)
    }

    /// The version of `index.db` it writes; it reads this one and every lower one.
    #[must_use]
    pub fn index_version(self) -> u8 {
        match self.line() {
            ..=10 => 1,
            11 => 2,
            12 | 13 => 3,
            _ => 4,
        }
    }

    /// The JetStream API level it supports; `None` where it does not look at levels.
    #[must_use]
    pub fn api_level(self) -> Option<i64> {
        match self.line() {
            _ if !ServerBehavior::of(self).has(Quirk::OfflineAssets) => None,
            ..=11 => Some(1),
            12 if self.patch() < API_LEVEL_3_PATCH => Some(2),
            12 | 13 => Some(3),
            14 => Some(4),
            _ => Some(5),
        }
    }
}

/// The first patch of 2.12 with API level 3.
const API_LEVEL_3_PATCH: u16 = 5;

/// What some servers do and others do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quirk {
    /// `index.db`; before, every block is read.
    IndexFile,
    /// Tombstones are applied, and blocks without a message tell where the stream stood; before, deleted messages whose
    /// record is still there come back.
    Tombstones,
    /// Compressed blocks; before, they are no records, and cut to nothing.
    Compression,
    /// The configured first sequence.
    FirstSeq,
    /// A former key beside the configured one.
    FormerKey,
    /// The totals of `index.db` are held against its own block list (row D17).
    IndexTotalsChecked,
    /// The TTL wheel.
    MessageTtl,
    /// With delete markers, age is left alone at open.
    MarkersSpareAge,
    /// The configured first sequence purges what starts below it, and no longer what starts at it.
    FirstSeqExact,
    /// The last sequence the index knew is remembered although nothing is known to be lost.
    PriorWithoutLoss,
    /// Listed blocks that are not there are noticed (row D16), not only the last.
    MissingBlocksNoticed,
    /// A stream whose store does not open is deleted (H1); before and after, its directory stays.
    FailedOpenDeletes,
    /// Streams that need a newer server are left out; before, what was not understood was passed over.
    OfflineAssets,
    /// Records whose sequence does not rise are passed over; before, they counted again.
    RisingSequences,
    /// A block with nothing but tombstones stands for the highest of them; before, for the lowest.
    HighestTombstone,
    /// The stream's range starts over while no live message was seen.
    ResetWhileEmpty,
    /// Limits drop whole blocks without a look at each message.
    WholeBlockTrimming,
    /// Streams are opened side by side.
    StreamsSideBySide,
    /// Schedules.
    Schedules,
    /// Atomic batches: a staged one is finished or dropped at the start.
    AtomicBatches,
    /// Asynchronously flushed streams do not remember the last sequence the index knew.
    AsyncFlushForgets,
    /// The header's length field counts in the check of a record's lengths; before, a record without room for it crashes
    /// the server.
    HeaderLengthChecked,
    /// A header length beyond its record is noticed wherever a record is read; before, it crashes the server, with TTLs
    /// already where the blocks are read.
    HeaderBoundsChecked,
    /// An empty block takes the stream's range at its place.
    EmptyBlocksAligned,
    /// A block that cannot be read while the blocks are scanned fails the open; before, the block is deleted.
    BlockFaultFailsOpen,
    /// A block with an unusable key is deleted; just before, it failed the open.
    BadBlockKeyDeletes,
    /// An error while tombstones, limits or age are applied ends the open; before, it was passed over.
    LateFaultEnds,
    /// An open that ends behind the blocks, at timers, tombstones, limits or age, takes the whole server with it (H33).
    LateEndCrashes,
    /// Purges are staged in `__new_msgs__`.
    PurgeStaging,
    /// A block that carries tombstones for messages before it is kept when it is emptied.
    PriorTombstonesKept,
    /// Consumers that claim more than the stream has are cut back.
    ConsumersReconciled,
    /// The directory of a consumer whose store does not open is kept.
    FailedConsumerKept,
    /// A consumer that delivers to a reserved subject, or to none that is valid, loses its directory (H39); before, a
    /// reserved one ran and an invalid one was passed over.
    ForbiddenDeliveryDeletes,
    /// Metadata with a value of the wrong type, or a word that is not known, leaves the asset offline, read field by field;
    /// before, it was no metadata at all.
    UnknownValuesOffline,
    /// A block counts a TTL or schedule header whatever it says; before, one without a value did not count.
    EmptyTimersCounted,
    /// Only byte 1 after `cmp` makes a compressed block.
    CompressionByteExact,
    /// Counts in `index.db` are bounded (rows D6a and D8a); before, they crash the server.
    IndexCountsBounded,
    /// `sources.db`.
    SourcesFile,
    /// Limits of the server and of accounts are not held against the streams there are; before, what no longer fits is left
    /// out.
    RecoverySkipsLimits,
    /// Looking back for the newest message of each source passes over blocks that hold no subject of it, and over single
    /// messages that cannot be read; before, over the subjects of such messages.
    SourcesJump,
    /// A scan for TTLs, schedules or sources has `index.db` written, and the side files with it.
    ScansPersist,
    /// A message that cannot be read in the scan for TTLs and schedules ends the open; before, it was skipped.
    ScanFaultEnds,
}

/// First patch of a line, and the last where the behaviour was taken back.
type Window = (u16, u16, u16);

const fn from(line: u16, patch: u16) -> Window {
    (line, patch, u16::MAX)
}

impl Quirk {
    /// What came when.
    pub const ROWS: &[(Quirk, &[Window])] = &[
        (Quirk::IndexFile, &[from(10, 0)]),
        (Quirk::Tombstones, &[from(10, 0)]),
        (Quirk::Compression, &[from(10, 0)]),
        (Quirk::FirstSeq, &[from(10, 0)]),
        (Quirk::FormerKey, &[from(10, 0)]),
        (
            Quirk::IndexTotalsChecked,
            &[(10, 6, 20), from(10, 23), from(11, 0)],
        ),
        (Quirk::FirstSeqExact, &[from(10, 28), from(11, 2)]),
        (Quirk::MessageTtl, &[from(11, 0)]),
        (Quirk::MarkersSpareAge, &[from(11, 2)]),
        (Quirk::PriorWithoutLoss, &[from(11, 4), from(12, 0)]),
        (Quirk::MissingBlocksNoticed, &[from(11, 7), from(12, 0)]),
        (
            Quirk::FailedOpenDeletes,
            &[from(11, 9), from(12, 0), (14, 0, 9), (15, 0, 2)],
        ),
        (Quirk::OfflineAssets, &[from(11, 9), from(12, 0)]),
        (Quirk::RisingSequences, &[from(11, 10), from(12, 0)]),
        (Quirk::HeaderBoundsChecked, &[from(11, 10), from(12, 0)]),
        (Quirk::HighestTombstone, &[from(11, 11), from(12, 1)]),
        (Quirk::ResetWhileEmpty, &[from(11, 11), from(12, 1)]),
        (Quirk::WholeBlockTrimming, &[from(11, 11), from(12, 2)]),
        (Quirk::StreamsSideBySide, &[from(11, 11), from(12, 2)]),
        (Quirk::Schedules, &[from(12, 0)]),
        (Quirk::AtomicBatches, &[from(12, 0)]),
        (Quirk::AsyncFlushForgets, &[from(12, 0)]),
        (Quirk::HeaderLengthChecked, &[from(12, 5), from(14, 0)]),
        (Quirk::EmptyBlocksAligned, &[from(12, 5), from(14, 0)]),
        (Quirk::RecoverySkipsLimits, &[from(12, 5), from(14, 0)]),
        (Quirk::BlockFaultFailsOpen, &[from(14, 0)]),
        (Quirk::LateFaultEnds, &[from(14, 0)]),
        (Quirk::LateEndCrashes, &[(14, 0, 9), (15, 0, 2)]),
        (Quirk::PurgeStaging, &[from(14, 0)]),
        (Quirk::PriorTombstonesKept, &[from(14, 0)]),
        (Quirk::ConsumersReconciled, &[from(14, 0)]),
        (Quirk::BadBlockKeyDeletes, &[from(14, 4)]),
        (Quirk::FailedConsumerKept, &[from(14, 6), from(15, 0)]),
        (Quirk::CompressionByteExact, &[from(14, 7), from(15, 0)]),
        (Quirk::IndexCountsBounded, &[from(14, 9), from(15, 2)]),
        (Quirk::SourcesFile, &[from(15, 0)]),
        (Quirk::ScanFaultEnds, &[from(15, 0)]),
        (
            Quirk::ForbiddenDeliveryDeletes,
            &[from(14, 10), from(15, 3)],
        ),
        (Quirk::UnknownValuesOffline, &[from(14, 10), from(15, 3)]),
        (Quirk::SourcesJump, &[from(15, 3)]),
        (Quirk::ScansPersist, &[from(15, 3)]),
        (Quirk::EmptyTimersCounted, &[from(14, 10), from(15, 3)]),
    ];
}

/// What one server does, looked up once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerBehavior {
    version: ServerVersion,
    features: u64,
}

impl ServerBehavior {
    /// The behaviour of `version`.
    #[must_use]
    pub fn of(version: ServerVersion) -> Self {
        let features = Quirk::ROWS
            .iter()
            .filter(|(_, windows)| is_in(version, windows))
            .fold(0, |bits, (feature, _)| bits | 1 << (*feature as u64));
        ServerBehavior { version, features }
    }

    /// Whether the server does this.
    #[must_use]
    pub fn has(self, feature: Quirk) -> bool {
        self.features & 1 << (feature as u64) != 0
    }

    /// The version it is of.
    #[must_use]
    pub fn version(self) -> ServerVersion {
        self.version
    }

    /// How it walks a block's records.
    #[must_use]
    pub fn walk_rules(self) -> WalkRules {
        WalkRules {
            rising: self.has(Quirk::RisingSequences),
            empty_blocks_tell: self.has(Quirk::Tombstones),
            highest_tombstone: self.has(Quirk::HighestTombstone),
        }
    }

    /// Whether the directory of a consumer that does not open is deleted. Only some releases did: those that delete what
    /// does not open, until consumers were spared, which came before streams were.
    #[must_use]
    pub fn deletes_failed_consumers(self) -> bool {
        self.has(Quirk::FailedOpenDeletes) && !self.has(Quirk::FailedConsumerKept)
    }
}

impl Default for ServerBehavior {
    fn default() -> Self {
        ServerBehavior::of(ServerVersion::REFERENCE)
    }
}

/// A line that no window names has what every earlier line named has.
fn is_in(version: ServerVersion, windows: &[Window]) -> bool {
    let mut of_line = windows
        .iter()
        .filter(|(line, ..)| *line == version.line())
        .peekable();
    if of_line.peek().is_some() {
        return of_line.any(|(_, first, last)| (*first..=*last).contains(&version.patch()));
    }
    windows.iter().all(|(line, ..)| *line < version.line())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::VersionError;

    fn has(version: &str, feature: Quirk) -> bool {
        ServerBehavior::of(version.parse().expect("a version")).has(feature)
    }

    #[test]
    fn a_line_stands_for_its_newest_release() {
        for (text, shown) in [
            ("2.15", "2.15.3"),
            ("2.14", "2.14.10"),
            ("2.12", "2.12.15"),
            ("2.11", "2.11.17"),
            ("2.10", "2.10.29"),
            ("2.9", "2.9.25"),
            ("v2.14.5", "2.14.5"),
            ("2.15.9", "2.15.9"),
        ] {
            let version: ServerVersion = text.parse().expect(text);
            assert_eq!(version.to_string(), shown);
            assert_eq!(version.is_beyond_known(), text == "2.15.9");
        }
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_is() {
        for text in ["", "2", "3.0", "2.15.3.1", "2.x", "2.15.", "2.+15", "15"] {
            let error = text.parse::<ServerVersion>().expect_err(text);
            assert_eq!(error, VersionError::Malformed(text.into()));
        }
        for text in ["2.8", "2.13", "2.16.0"] {
            let error = text.parse::<ServerVersion>().expect_err(text).to_string();
            assert!(
                error.contains("2.9, 2.10, 2.11, 2.12, 2.14, 2.15"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_reference_has_every_feature_but_mended_ones_and_each_has_one_row() {
        let mended = [Quirk::FailedOpenDeletes, Quirk::LateEndCrashes];
        let reference = ServerBehavior::default();
        let mut seen = std::collections::HashSet::new();
        for (feature, windows) in Quirk::ROWS {
            assert_ne!(
                reference.has(*feature),
                mended.contains(feature),
                "{feature:?}"
            );
            assert!(seen.insert(*feature), "{feature:?} twice");
            assert!(!windows.is_empty());
        }
        assert!(seen.len() <= u64::BITS as usize);
    }

    #[test]
    fn patches_of_two_lines_do_not_leak_into_each_other() {
        use Quirk::*;
        // 2.15.0 branched off before 2.14.9.
        assert!(has("2.14.9", IndexCountsBounded) && has("2.15.2", IndexCountsBounded));
        assert!(!has("2.15.1", IndexCountsBounded) && !has("2.12", IndexCountsBounded));
        // Taken back for three patches.
        for (version, expected) in [
            ("2.10.5", false),
            ("2.10.20", true),
            ("2.10.21", false),
            ("2.10.23", true),
            ("2.11.0", true),
        ] {
            assert_eq!(has(version, IndexTotalsChecked), expected, "{version}");
        }
        assert!(has("2.12", HeaderLengthChecked) && !has("2.12.4", HeaderLengthChecked));
        assert!(!has("2.11", HeaderLengthChecked));
        assert!(has("2.11.9", FailedOpenDeletes) && !has("2.11.8", FailedOpenDeletes));
        // Mended in both lines that were alive.
        for (version, expected) in [
            ("2.9.25", false),
            ("2.12.15", true),
            ("2.14.9", true),
            ("2.14.10", false),
            ("2.15.0", true),
            ("2.15.2", true),
            ("2.15.3", false),
        ] {
            assert_eq!(has(version, FailedOpenDeletes), expected, "{version}");
            let crashes = expected && version != "2.12.15";
            assert_eq!(has(version, LateEndCrashes), crashes, "{version}");
        }
        let deletes = |text: &str| {
            ServerBehavior::of(text.parse().expect("a version")).deletes_failed_consumers()
        };
        assert!(!deletes("2.10") && deletes("2.11.9") && deletes("2.12") && deletes("2.14.5"));
        assert!(!deletes("2.14.6") && !deletes("2.15"));
    }

    #[test]
    fn levels_and_index_versions_rise_with_the_line() {
        let of = |text: &str| {
            let version: ServerVersion = text.parse().expect("a version");
            (version.index_version(), version.api_level())
        };
        assert_eq!(of("2.10"), (1, None));
        assert_eq!(of("2.11.8"), (2, None));
        assert_eq!(of("2.11"), (2, Some(1)));
        assert_eq!(of("2.12"), (3, Some(3)));
        assert_eq!(of("2.14"), (4, Some(4)));
        assert_eq!(of("2.15"), (4, Some(5)));
    }
}
