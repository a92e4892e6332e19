//! What salvage and merge say.

use crate::report::events::EventCode::*;
use crate::report::events::text::Text;

/// What was mended, what was left out, what stays open.
pub(super) const SALVAGED: &[Text] = &[
    (
        RecordRepaired,
        "A record did not verify, and does once the bits named are flipped back: its checksum proves \
         them wrong.",
        "The new store has the mended record; replace the disk or memory that flips bits.",
    ),
    (
        FileRepaired,
        "A file beside the blocks did not verify, and does once the bits named are flipped back.",
        "",
    ),
    (
        RecordBorderUncertain,
        "No checksum covers the lengths that part a message's subject, headers and body, and here \
         they look wrong. The message is kept as it lies.",
        "Look at the message with `jetsam cat --seq`.",
    ),
    (
        BytesQuarantined,
        "These bytes could not be proven to be a message. They are kept in the quarantine file.",
        "With another key or a mended file, `jetsam salvage --from-quarantine` takes them up again.",
    ),
    (
        MessagesLost,
        "These sequences held messages, and no record of them verifies any more.",
        "Merge in a replica or a backup with `jetsam merge`.",
    ),
    (
        DeletesUncertain,
        "Bytes that cannot be read may have said that these messages were deleted.",
        "They are kept; --uncertain drop leaves them out.",
    ),
    (
        KvOldValue,
        "The newest value of this key is lost. A newer one had replaced the value in this sequence; its record still verifies, \
         and nothing newer of the key does, so that it is kept in the newest one's place.",
        "Check the key with its owner: the lost message may have been a newer value or the key's deletion. --uncertain drop \
         leaves old values out.",
    ),
    (
        FateUnknown,
        "These sequences are gone, and nothing tells whether they were removed on purpose, lost, or ever stored.",
        "Compare with a replica or a backup.",
    ),
    (
        PastUntold,
        "The stream removes its oldest messages without a trace, and no index or block that is left reaches back before this \
         sequence: older messages were removed so, or are lost with their blocks. Nothing tells which.",
        "Only where blocks may be missing: compare with a replica or a backup.",
    ),
    (
        LossDisproved,
        "The server counts sequences as lost of which the log, the limits or the consumers tell that they were removed on \
         purpose: a false alarm.",
        "",
    ),
    (
        DeletedReturn,
        "These messages were removed on purpose, and a server that starts on the store brings them back.",
        "`jetsam salvage` leaves them out.",
    ),
    (
        StartLosesMessages,
        "These messages are sound, and a server that starts on the store loses them by its own rules.",
        "Save them with `jetsam salvage` before the server starts.",
    ),
    (
        TakenFromMirror,
        "No copy has these messages any more, and this mirror of the stream has: they were taken from it, with their sequences and \
         times. The mirror's checksums vouch for them, not the stream's own.",
        "",
    ),
    (
        TakenFromSourcing,
        "No copy has these messages any more, and this stream has sourced them: they were taken from it under the sequences and \
         subjects they had. That they are identical is not proven: their times are those of the sourcing, or of the next message \
         where that came earlier, and headers that sourcing drops (Nats-Expected-, Nats-Batch-, an earlier Nats-Stream-Source) \
         are gone.",
        "",
    ),
    (
        RelativeDiffers,
        "A copy of the stream and this mirror or sourcing stream hold different messages under these sequences. The copy's was \
         kept, and of the other nothing above the first of them was taken: the stream went on from an earlier state there.",
        "Compare the two with `jetsam cat`.",
    ),
    (
        RelativePassedOver,
        "This mirror or sourcing stream has messages that were not taken, since nothing tells that they are the stream's, or where \
         they belong.",
        "--force also takes those that seem to be of an earlier stream of the same name.",
    ),
    (
        MergeConflict,
        "Two copies hold different messages under this sequence, and both verify. Neither is taken.",
        "Decide which copy is right; both messages are in the quarantine file.",
    ),
    (
        StreamMetaRebuilt,
        "The stream's metadata could not be read or mended; the configuration given was taken, or a plain one made \
         from what the messages show.",
        "Where you have the stream's information, give it with --stream-info. Compare the new stream's configuration with what it should be before clients use it.",
    ),
    (
        ConsumerStateMended,
        "A consumer's state claims what the stream no longer has, or could not be read; it was cut \
         back to what is certain.",
        "The consumer may deliver messages again.",
    ),
    (
        ConsumerRebuilt,
        "A consumer's configuration could not be read, and a server that starts without the consumer removes what \
         only it had not acknowledged. It was made anew: durable, every message, each to be acknowledged, at the \
         position its o.dat still tells.",
        "Set its filter and its other options again before clients use it.",
    ),
    (
        ConsumerLeftOut,
        "A consumer is not in the new store.",
        "Create it anew, to begin behind the position named.",
    ),
    (
        ReplicasChanged,
        "The new store's configuration has another number of replicas than the source's: a server standing alone \
         leaves out a stream with more than one.",
        "For a cluster nothing needs doing: what counts there is its own record of the stream.",
    ),
    (
        StreamCopy,
        "Another directory holds this stream as well.",
        "Where it differs, `jetsam merge` takes what each of the two still has.",
    ),
    (
        NewStoreUnfit,
        "A server that starts on the new store would not bring the stream up as it is there, or would lose something of it.",
        "Do not start a server on the new store before the cause named is out of the way; `jetsam preflight` on it says more.",
    ),
    (
        NewStoreTrimmed,
        "A server that starts on the new store removes messages from it at once, by age or by limits.",
        "To keep them, raise the limits in the configuration before the start, or read them with `jetsam cat`.",
    ),
];
