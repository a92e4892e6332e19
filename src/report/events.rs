//! What recovery saw: structured events with stable codes.
//!
//! The reference server logs part of this as warnings and debug lines and stays silent about the
//! rest; here every decision leaves an event. Codes are kebab-case and never change their meaning.

use std::fmt;

mod text;

/// How much an event matters to the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Ordinary work of opening a store.
    Info,
    /// Something is stale, missing or odd; no message is lost by it.
    Warn,
    /// Damage: messages are lost or unreadable, or the stream cannot be opened.
    Error,
}

impl Severity {
    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warn => "warn",
            Severity::Error => "error",
        }
    }
}

macro_rules! event_codes {
    ($($variant:ident, $code:literal, $severity:ident;)*) => {
        /// The stable code of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "each variant is documented by EventCode::meaning")]
        pub enum EventCode { $($variant,)* }

        impl EventCode {
            /// Every code there is, in documentation order.
            pub const ALL: &'static [EventCode] = &[$(EventCode::$variant,)*];

            /// The kebab-case code as it appears in reports.
            pub fn as_str(self) -> &'static str {
                match self { $(EventCode::$variant => $code,)* }
            }

            /// How much events of this code matter, unless the event says otherwise.
            pub fn severity(self) -> Severity {
                match self { $(EventCode::$variant => Severity::$severity,)* }
            }
        }
    };
}

event_codes! {
    IndexUnreadable, "index-unreadable", Warn;
    IndexTooShort, "index-too-short", Warn;
    IndexHashMismatch, "index-hash-mismatch", Warn;
    IndexDecryptFailed, "index-decrypt-failed", Warn;
    IndexBadVersion, "index-bad-version", Warn;
    IndexSubjectCount, "index-subject-count", Warn;
    IndexSubjectOverrun, "index-subject-overrun", Warn;
    IndexSubjectInvalid, "index-subject-invalid", Warn;
    IndexBlockCount, "index-block-count", Warn;
    IndexBlockListTruncated, "index-block-list-truncated", Warn;
    IndexDmapInvalid, "index-dmap-invalid", Warn;
    IndexTailMissing, "index-tail-missing", Warn;
    IndexLastBlockMismatch, "index-last-block-mismatch", Warn;
    IndexLastBlockMissing, "index-last-block-missing", Error;
    IndexStaleLastRecord, "index-stale-last-record", Info;
    IndexStaleExtraBlocks, "index-stale-extra-blocks", Info;
    IndexBlockMissing, "index-block-missing", Error;
    IndexTotalsMismatch, "index-totals-mismatch", Warn;
    IndexRejected, "index-rejected", Warn;
    IndexRemoved, "index-removed", Info;
    IndexAbsent, "index-absent", Info;
    PriorLastSeqRestored, "prior-last-seq-restored", Info;
    BlockBadRecord, "block-bad-record", Error;
    BlockReadsDiffer, "block-reads-differ", Error;
    BlockTruncated, "block-truncated", Warn;
    BlockTruncateSkipped, "block-truncate-skipped", Warn;
    BlockRemovedEmpty, "block-removed-empty", Info;
    BlockRemovedBadKey, "block-removed-bad-key", Error;
    BlockRemovedLost, "block-removed-lost", Error;
    BlockDecompressFailed, "block-decompress-failed", Error;
    BlockSeqBackwards, "block-seq-backwards", Warn;
    BlockGapFilled, "block-gap-filled", Info;
    BlockOverlap, "block-overlap", Warn;
    BlockOrderInverted, "block-order-inverted", Warn;
    BlockNameAmbiguous, "block-name-ambiguous", Warn;
    BlockMisplaced, "block-misplaced", Warn;
    BlockOrphanFile, "block-orphan-file", Warn;
    BlockKeyCreated, "block-key-created", Info;
    BlockEncrypted, "block-encrypted", Info;
    BlockRekeyed, "block-rekeyed", Info;
    KeyOrphanRemoved, "key-orphan-removed", Info;
    LegacyIdxUsed, "legacy-idx-used", Info;
    LegacyIdxRejected, "legacy-idx-rejected", Warn;
    LegacyMetaRemoved, "legacy-meta-removed", Info;
    LostData, "lost-data", Error;
    TombstoneApplied, "tombstone-applied", Info;
    TombstoneNoTarget, "tombstone-no-target", Info;
    PurgeCompleted, "purge-completed", Info;
    PurgeRolledBack, "purge-rolled-back", Warn;
    BatchLeft, "batch-left", Warn;
    TtlReadFailed, "ttl-read-failed", Warn;
    SchedReadFailed, "sched-read-failed", Warn;
    SourcesReadFailed, "sources-read-failed", Warn;
    TtlDecodeFailed, "ttl-decode-failed", Warn;
    SchedDecodeFailed, "sched-decode-failed", Warn;
    SourcesDecodeFailed, "sources-decode-failed", Warn;
    TtlOutdated, "ttl-outdated", Info;
    SchedOutdated, "sched-outdated", Info;
    SourcesOutdated, "sources-outdated", Info;
    PermsgNoBlock, "permsg-no-block", Warn;
    PermsgLoadFailed, "permsg-load-failed", Warn;
    TtlAhead, "ttl-ahead", Warn;
    SchedAhead, "sched-ahead", Warn;
    SourcesAhead, "sources-ahead", Warn;
    SourcesUnconfigured, "sources-unconfigured", Warn;
    OpenWouldCrash, "open-would-crash", Error;
    ReadWouldCrash, "read-would-crash", Error;
    SubjectTotalsSkew, "subject-totals-skew", Warn;
    CacheRangeCorrupt, "cache-range-corrupt", Warn;
    CacheRecordCorrupt, "cache-record-corrupt", Warn;
    BlockLoadFailed, "block-load-failed", Warn;
    AgeExpiredBlocks, "age-expired-blocks", Info;
    AgeExpiredMsgs, "age-expired-msgs", Info;
    AgeBlockedByFuture, "age-blocked-by-future", Info;
    LimitTrimmed, "limit-trimmed", Info;
    FirstSeqPurged, "first-seq-purged", Info;
    StreamMetaMissing, "stream-meta-missing", Error;
    StreamMetaUnreadable, "stream-meta-unreadable", Error;
    StreamSumMissing, "stream-sum-missing", Error;
    StreamSumUnreadable, "stream-sum-unreadable", Error;
    StreamSumMismatch, "stream-sum-mismatch", Error;
    StreamKeyShort, "stream-key-short", Error;
    StreamMetaDecryptFailed, "stream-meta-decrypt-failed", Error;
    StreamMetaJson, "stream-meta-json", Error;
    StreamUnsupported, "stream-unsupported", Warn;
    StreamStrictJson, "stream-strict-json", Warn;
    StreamSubjectRepaired, "stream-subject-repaired", Warn;
    StreamSubjectInvalid, "stream-subject-invalid", Warn;
    StreamMirrorSubjects, "stream-mirror-subjects", Warn;
    StreamEncrypting, "stream-encrypting", Info;
    StreamRekeying, "stream-rekeying", Info;
    StreamOpenFailed, "stream-open-failed", Error;
    StreamCreatedChanged, "stream-created-changed", Warn;
    ConsumerMetaMissing, "consumer-meta-missing", Warn;
    ConsumerMetaUnreadable, "consumer-meta-unreadable", Error;
    ConsumerSumMissing, "consumer-sum-missing", Warn;
    ConsumerMetaDecryptFailed, "consumer-meta-decrypt-failed", Error;
    ConsumerMetaJson, "consumer-meta-json", Warn;
    ConsumerUnsupported, "consumer-unsupported", Warn;
    ConsumerStrictJson, "consumer-strict-json", Warn;
    ConsumerStreamStopped, "consumer-stream-stopped", Warn;
    ConsumerAddFailed, "consumer-add-failed", Warn;
    ConsumerWouldBeDeleted, "consumer-would-be-deleted", Error;
    ConsumerAheadOfStream, "consumer-ahead-of-stream", Warn;
    ConsumerSumMismatch, "consumer-sum-mismatch", Warn;
    HeaderLengthBad, "header-length-bad", Error;
    RecordUnreadable, "record-unreadable", Error;
    LossNeedsConsent, "loss-needs-consent", Error;
    ExpiryNeedsConsent, "expiry-needs-consent", Warn;
    StateUnsound, "state-unsound", Error;
    ServerWouldDeleteStream, "server-would-delete-stream", Error;
    ServerWouldCrash, "server-would-crash", Error;
    ServerWouldSkipStream, "server-would-skip-stream", Error;
    ConsumerStateCorrupt, "consumer-state-corrupt", Error;
    ConsumerStateEmpty, "consumer-state-empty", Warn;
    ConsumerDisabled, "consumer-disabled", Warn;
    ConsumerWouldStick, "consumer-would-stick", Error;
    ConsumerStateMissing, "consumer-state-missing", Warn;
    ConsumerRenamed, "consumer-renamed", Warn;
    ConsumerRebuilt, "consumer-rebuilt", Warn;
    ConsumerLeftOut, "consumer-left-out", Error;
    ReplicasChanged, "replicas-changed", Warn;
    StreamCopy, "stream-copy", Warn;
    NewStoreUnfit, "new-store-unfit", Error;
    NewStoreTrimmed, "new-store-trimmed", Info;
    RebuildRefused, "rebuild-refused", Error;
    StartBeyondProbe, "start-beyond-probe", Warn;
    IndexWritten, "index-written", Info;
    StoreBusy, "store-busy", Error;
    ServersUnseen, "servers-unseen", Info;
    IoError, "io-error", Error;
    StreamRefused, "stream-refused", Error;
    LastBlockCompressed, "last-block-compressed", Warn;
    KeyMissing, "key-missing", Error;
    KeyBad, "key-bad", Error;
    LeftOverFile, "left-over-file", Info;
    StreamHalfDeleted, "stream-half-deleted", Info;
    FeatureIgnored, "feature-ignored", Warn;
    TombstonesIgnored, "tombstones-ignored", Warn;
    StreamNameTaken, "stream-name-taken", Warn;
    RotationHalfDone, "rotation-half-done", Error;
    BatchPending, "batch-pending", Info;
    BlockLastSeqRegressed, "block-last-seq-regressed", Warn;
    ReadChangedUnderneath, "read-changed-underneath", Warn;
    ReplicasUnsupported, "replicas-unsupported", Warn;
    ServerConfigInvalid, "server-config-invalid", Error;
    ServerStartRefused, "server-start-refused", Error;
    JetstreamOff, "jetstream-off", Error;
    StoreElsewhere, "store-elsewhere", Error;
    AccountRelocated, "account-relocated", Warn;
    AccountUnknown, "account-unknown", Error;
    AccountIsSystem, "account-is-system", Error;
    AccountWithoutJetstream, "account-without-jetstream", Error;
    AccountTokenRefused, "account-token-refused", Error;
    AccountLimitsTooWide, "account-limits-too-wide", Error;
    LimitLeavesStreamOut, "limit-leaves-stream-out", Error;
    LimitLeavesConsumerOut, "limit-leaves-consumer-out", Warn;
    StreamOrphaned, "stream-orphaned", Error;
    ServerNotAPeer, "server-not-a-peer", Error;
    SurroundingsUntold, "surroundings-untold", Warn;
    MessagesReleased, "messages-released", Error;
    RecordRepaired, "record-repaired", Warn;
    FileRepaired, "file-repaired", Warn;
    RecordBorderUncertain, "record-border-uncertain", Warn;
    BytesQuarantined, "bytes-quarantined", Warn;
    MessagesLost, "messages-lost", Error;
    DeletesUncertain, "deletes-uncertain", Warn;
    KvOldValue, "kv-old-value", Warn;
    FateUnknown, "fate-unknown", Warn;
    PastUntold, "past-untold", Info;
    LossDisproved, "loss-disproved", Info;
    DeletedReturn, "deleted-return", Info;
    StartLosesMessages, "start-loses-messages", Error;
    MergeConflict, "merge-conflict", Error;
    TakenFromMirror, "taken-from-mirror", Warn;
    TakenFromSourcing, "taken-from-sourcing", Warn;
    RelativeDiffers, "relative-differs", Warn;
    RelativePassedOver, "relative-passed-over", Info;
    StreamMetaRebuilt, "stream-meta-rebuilt", Warn;
    ConsumerStateMended, "consumer-state-mended", Warn;
}

impl EventCode {
    /// What it means, in one or two sentences.
    pub fn meaning(self) -> &'static str {
        text::of(self).0
    }

    /// What to do about it; empty where nothing needs doing.
    pub fn advice(self) -> &'static str {
        text::of(self).1
    }
}

impl fmt::Display for EventCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing recovery saw or decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What kind of thing.
    pub code: EventCode,
    /// How much it matters here.
    pub severity: Severity,
    /// The file it is about, relative to the stream directory.
    pub file: Option<String>,
    /// Byte offset in that file (decoded content for compressed blocks), where there is one.
    pub offset: Option<u64>,
    /// The message sequence it is about, where there is one.
    pub seq: Option<u64>,
    /// The particulars: numbers expected and found, in plain English.
    pub detail: String,
}

impl Event {
    /// An event of `code` with its usual severity.
    pub fn new(code: EventCode, detail: impl Into<String>) -> Self {
        Event {
            code,
            severity: code.severity(),
            file: None,
            offset: None,
            seq: None,
            detail: detail.into(),
        }
    }

    /// Names the file the event is about.
    pub fn file(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Adds a byte offset.
    pub fn offset(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// Adds a sequence.
    pub fn seq(mut self, seq: u64) -> Self {
        self.seq = Some(seq);
        self
    }

    /// Overrides the usual severity.
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}
