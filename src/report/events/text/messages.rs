//! Events of what lies in `msgs`.

use crate::report::events::EventCode::*;
use crate::report::events::text::{GIVE_KEYS, LOOK_AT_BLOCKS, REBUILT, RESCANNED, SALVAGE, Text};

/// The state file.
pub(super) const INDEX: &[Text] = &[
    (
        IndexUnreadable,
        "The state file index.db exists but could not be read.",
        "Check its permissions and the disk; meanwhile the state comes from the blocks.",
    ),
    (
        IndexTooShort,
        "The state file index.db is too short to hold anything; it was probably cut off by a \
         crash or a full disk.",
        REBUILT,
    ),
    (
        IndexHashMismatch,
        "The checksum of the state file index.db does not match its content, so none of it is \
         believed.",
        REBUILT,
    ),
    (
        IndexDecryptFailed,
        "The state file index.db does not open under this stream's key. It may date from \
         before encryption was turned on, or from another key.",
        "If you did not change the key or the cipher, check that you gave the right key; the \
         state comes from the blocks.",
    ),
    (
        IndexBadVersion,
        "The state file index.db is of a version that this server line does not read.",
        "Nothing to do for an older store. If a newer server wrote it, do not go back to an \
         older one.",
    ),
    (
        IndexSubjectCount,
        "The state file index.db breaks off before its list of subjects, or claims more \
         subjects than it can hold.",
        REBUILT,
    ),
    (
        IndexSubjectOverrun,
        "A subject in the state file index.db claims to be longer than the file.",
        REBUILT,
    ),
    (
        IndexSubjectInvalid,
        "The state file index.db lists a subject that is not a valid NATS subject.",
        REBUILT,
    ),
    (
        IndexBlockCount,
        "The state file index.db breaks off before its list of blocks, or claims more blocks \
         than it can hold.",
        REBUILT,
    ),
    (
        IndexBlockListTruncated,
        "The list of blocks in the state file index.db breaks off.",
        REBUILT,
    ),
    (
        IndexDmapInvalid,
        "A set of deleted sequences in the state file index.db does not decode.",
        REBUILT,
    ),
    (
        IndexTailMissing,
        "The state file index.db ends before the fields that tie it to the last block.",
        REBUILT,
    ),
    (
        IndexLastBlockMismatch,
        "The state file index.db contradicts itself about which block is the last.",
        REBUILT,
    ),
    (
        IndexLastBlockMissing,
        "The last block that the state file index.db knows is not on disk: its messages are \
         gone.",
        "Look for the file in a backup or a replica. Without it these messages cannot be \
         brought back.",
    ),
    (
        IndexStaleLastRecord,
        "The last block has changed since the state file index.db was written: the server was \
         killed.",
        REBUILT,
    ),
    (
        IndexStaleExtraBlocks,
        "There are newer blocks than the state file index.db knows of: the server was killed.",
        REBUILT,
    ),
    (
        IndexBlockMissing,
        "A block that the state file index.db lists is not on disk: its messages are gone.",
        "Look for the file in a backup or a replica. Without it these messages cannot be \
         brought back.",
    ),
    (
        IndexTotalsMismatch,
        "The totals in the state file index.db do not add up over its own list of blocks.",
        REBUILT,
    ),
    (
        IndexRejected,
        "The state file index.db is not used; the whole stream is read instead.",
        LOOK_AT_BLOCKS,
    ),
    (
        IndexRemoved,
        "The unusable state file index.db is removed, as the server would do.",
        "",
    ),
    (
        IndexAbsent,
        "There is no state file index.db, so the whole stream is read; ordinary after a crash \
         of a young stream, or for a store from before 2.10.",
        "",
    ),
    (
        IndexWritten,
        "A fresh state file index.db is written, so that the next start is fast.",
        "",
    ),
    (
        PriorLastSeqRestored,
        "The blocks end before the last sequence that the state file remembers. A marker is \
         written so that no sequence number is given out twice.",
        "The sequences in between are counted as deleted. If they were not deleted on purpose, \
         they were lost with the end of a block.",
    ),
];

/// The blocks and the purge around them.
pub(super) const BLOCKS: &[Text] = &[
    (
        BlockBadRecord,
        "A record in this block is damaged or cut off. The server reads no further than this \
         and drops the rest of the block, good records included.",
        "At the very end of the newest block this is the trace of a crash. Anywhere else, use \
         `jetsam salvage` first: it reads on behind the damage.",
    ),
    (
        BlockReadsDiffer,
        "The block looked damaged, was read once more before that was said, and gave other bytes. The disk, the way to it or \
         this machine's memory is at fault, or another process writes to the block.",
        "Change nothing on this machine. Make sure that nothing else uses the directory, copy it to another machine and check it \
         there; test this one's memory and disk.",
    ),
    (
        BlockTruncated,
        "The block is cut at the first bad record.",
        "If good messages may lie behind that point, run `jetsam salvage` before the cut is \
         made.",
    ),
    (
        BlockTruncateSkipped,
        "The block should be cut at its bad record, but the file cannot be opened for writing; \
         the server carries on without a word.",
        "Make the file writable for the user that runs the server.",
    ),
    (
        BlockRemovedEmpty,
        "The block holds nothing that counts and is removed.",
        "",
    ),
    (
        BlockRemovedBadKey,
        "The block's key file does not open, so the server deletes the block with all its \
         messages and says nothing.",
        GIVE_KEYS,
    ),
    (
        BlockRemovedLost,
        "The block is known only from its old index and its records are gone; the file is \
         removed.",
        "Look for the block in a backup or a replica.",
    ),
    (
        BlockDecompressFailed,
        "The block is compressed and does not decompress. The server cannot open the stream \
         because of it, or, where a sound index.db spares it the block, cannot read what is in it.",
        SALVAGE,
    ),
    (
        BlockSeqBackwards,
        "A record repeats or falls behind the sequence before it. It stays in the file but is \
         not counted.",
        "A server that lost its last sequence once leaves this behind. Nothing to do unless \
         messages are missed.",
    ),
    (
        BlockGapFilled,
        "Sequences are missing between two records; they count as deleted.",
        "",
    ),
    (
        BlockOverlap,
        "Two blocks hold the same sequences; the server counts them twice.",
        "`jetsam salvage` writes a store in which each message stands once.",
    ),
    (
        BlockOrderInverted,
        "A later block holds lower sequences than the one before it; the server will not find \
         some of these messages.",
        "`jetsam salvage` writes a store in which the messages stand in order.",
    ),
    (
        BlockNameAmbiguous,
        "A file is named almost like a block. The server may take it for one, count a block \
         twice, or fail to start the stream.",
        "Move the file out of the `msgs` directory.",
    ),
    (
        BlockMisplaced,
        "A block file lies under the name of another block, or its key does, so that no server \
         can read it under that name.",
        SALVAGE,
    ),
    (
        BlockOrphanFile,
        "A block on disk is not listed in the state file. The server does not see it now, and \
         would read it again as soon as the state file is lost.",
        "Nothing to do if its messages were deleted; run with --no-index to see what it holds.",
    ),
    (
        BlockLastSeqRegressed,
        "The last sequence falls below one that was given out before: new messages would take \
         numbers that were in use.",
        "Consumers and sources that have read further may skip new messages; compare with a \
         replica before you start the server.",
    ),
    (
        LastBlockCompressed,
        "The newest block is compressed. The server would append to it as if it were not, and \
         the block could not be read afterwards.",
        "Run `jetsam recover` before the server starts, or let the stream be salvaged.",
    ),
    (
        LostData,
        "Messages that the store once counted can no longer be read.",
        SALVAGE,
    ),
    (
        TombstoneApplied,
        "A deletion recorded in the log is carried out again, because its message came back \
         when the blocks were read.",
        "",
    ),
    (
        TombstoneNoTarget,
        "A deletion recorded in the log names a message that is no longer there.",
        "",
    ),
    (
        PurgeCompleted,
        "A purge was interrupted after its new block was ready; it is completed and the old \
         messages are removed.",
        "If no purge was asked for, stop: look at `__new_msgs__` and `msgs` before anything \
         is removed.",
    ),
    (
        PurgeRolledBack,
        "A purge was interrupted before its new block was ready; it is undone and the old \
         messages stay.",
        "Purge the stream again if you still want it empty.",
    ),
    (
        BatchLeft,
        "A staged batch, published in part, lies under another key or cipher than the new store, \
         and is not copied.",
        "Publish the batch again. To carry it over, salvage under the key it lies under, then use \
         `jetsam rekey`.",
    ),
];

/// Block keys and leftovers.
pub(super) const BLOCK_KEYS_AND_LEGACY: &[Text] = &[
    (
        BlockKeyCreated,
        "The block has no key file and gets a new one, since a key is configured.",
        "Right for a block that was never encrypted. If it was, put its key file back first: \
         a new key does not open it.",
    ),
    (
        BlockEncrypted,
        "The block lies in the clear although a key is configured; it is encrypted now.",
        "",
    ),
    (
        BlockRekeyed,
        "The block is encrypted under another key or cipher; it is encrypted anew under the \
         current one.",
        "",
    ),
    (
        KeyOrphanRemoved,
        "A block key without a block is removed.",
        "",
    ),
    (
        LegacyIdxUsed,
        "The block's own index from before 2.10 is sound and is used instead of reading the \
         block.",
        "",
    ),
    (
        LegacyIdxRejected,
        "The block's own index from before 2.10 does not fit the block and is not used.",
        "",
    ),
    (
        LegacyMetaRemoved,
        "Index files from before 2.10 are removed; nothing reads them any more.",
        "A server older than 2.10 would have to rebuild them.",
    ),
    (
        LeftOverFile,
        "A file was left behind by an interrupted write. Nothing reads it.",
        "It can be removed by hand.",
    ),
];

/// Expiry times, schedules and source positions.
pub(super) const TIMERS_AND_SOURCES: &[Text] = &[
    (
        TtlReadFailed,
        "The file of message expiry times, thw.db, could not be read.",
        "Check its permissions and the disk; the times are read again from the messages.",
    ),
    (
        SchedReadFailed,
        "The file of message schedules, sched.db, could not be read.",
        "Check its permissions and the disk; the schedules are read again from the messages.",
    ),
    (
        SourcesReadFailed,
        "The file of source positions, sources.db, could not be read.",
        "Check its permissions and the disk; the positions are read again from the messages.",
    ),
    (
        TtlDecodeFailed,
        "The file of message expiry times, thw.db, is damaged and is removed.",
        RESCANNED,
    ),
    (
        SchedDecodeFailed,
        "The file of message schedules, sched.db, is damaged and is removed.",
        RESCANNED,
    ),
    (
        SourcesDecodeFailed,
        "The file of source positions, sources.db, is damaged and is removed.",
        RESCANNED,
    ),
    (
        TtlOutdated,
        "The file of message expiry times, thw.db, is missing or older than the messages.",
        RESCANNED,
    ),
    (
        SchedOutdated,
        "The file of message schedules, sched.db, is missing or older than the messages.",
        RESCANNED,
    ),
    (
        SourcesOutdated,
        "The file of source positions, sources.db, is missing or older than the messages.",
        RESCANNED,
    ),
    (
        PermsgNoBlock,
        "No block holds a sequence that the scan for expiry times, schedules and sources \
         expected.",
        "The sequence lies in a gap between blocks; the block events say why.",
    ),
    (
        PermsgLoadFailed,
        "The scan for expiry times, schedules and sources met a record it cannot read. The \
         server goes down at this point.",
        SALVAGE,
    ),
    (
        TtlAhead,
        "The file of expiry times, thw.db, speaks of messages above the last one. The server \
         believes it; an expiry time left in it can delete a later message that gets the same \
         sequence.",
        "Remove thw.db, so that the expiry times are taken from the messages that are there.",
    ),
    (
        SchedAhead,
        "The file of schedules, sched.db, speaks of messages above the last one. The server \
         believes it; a schedule left in it can fire for a later message that gets the same \
         sequence.",
        "Remove sched.db, so that the schedules are taken from the messages that are there.",
    ),
    (
        SourcesAhead,
        "The source positions are ahead of the messages: what was sourced and then lost will \
         not be fetched again.",
        "Remove sources.db, so that the positions are taken from the messages that are there.",
    ),
    (
        SourcesUnconfigured,
        "There is a file of source positions, sources.db, but the stream has no sources.",
        "",
    ),
];

/// Limits, and reading messages.
pub(super) const LIMITS_AND_READING: &[Text] = &[
    (
        SubjectTotalsSkew,
        "The counts per subject do not add up to the number of messages; they are counted \
         again from the blocks.",
        "",
    ),
    (
        CacheRangeCorrupt,
        "The range of sequences that the index gives for a block makes no sense, so the \
         block is read again from its start.",
        LOOK_AT_BLOCKS,
    ),
    (
        CacheRecordCorrupt,
        "A record's lengths make no sense while the block is being read; the server reads the \
         block anew and cuts it there.",
        SALVAGE,
    ),
    (
        BlockLoadFailed,
        "A block could not be loaded.",
        "Check its permissions and the disk; for an encrypted store, check the key.",
    ),
    (
        AgeExpiredBlocks,
        "Whole blocks are older than the stream's maximum age and are removed.",
        "To look at the messages as they lie, use --no-expire.",
    ),
    (
        AgeExpiredMsgs,
        "Messages are older than the stream's maximum age and are removed.",
        "To look at the messages as they lie, use --no-expire.",
    ),
    (
        AgeBlockedByFuture,
        "The stream's first message bears a time in the future. Messages expire from the first on, so that nothing expires \
         before this one has aged, and the disk fills.",
        "Set the clocks right, and remove that message once the server runs: `nats stream rmm STREAM SEQUENCE`.",
    ),
    (
        LimitTrimmed,
        "The stream holds more than its limits allow; the oldest messages are removed.",
        "To look at the messages as they lie, use --no-limits.",
    ),
    (
        FirstSeqPurged,
        "The configuration asks for a higher first sequence than the stream has, so the \
         server empties the stream.",
        "If the stream was not meant to be emptied, use --no-limits, and correct the first \
         sequence in the configuration.",
    ),
    (
        HeaderLengthBad,
        "The header length of a message exceeds the message. No checksum covers this field, \
         so recovery passes it and reading the message fails.",
        SALVAGE,
    ),
    (
        RecordUnreadable,
        "The state counts this message as present, but its record does not verify: a reader \
         would not get it.",
        SALVAGE,
    ),
    (
        ReadChangedUnderneath,
        "A file changed while it was being read; a server may be running on this store.",
        "Stop the server and run the command again.",
    ),
    (
        BatchPending,
        "An atomic batch was being stored when the server stopped; the server finishes or \
         drops it when it starts.",
        "",
    ),
];
