//! Events of the stream, its consumers and the verdict on it.

use crate::report::events::EventCode::*;
use crate::report::events::text::{
    CONSUMER_AGAIN, COPY_FIRST, GIVE_KEYS, META_BACKUP, SALVAGE, Text,
};

/// The stream as a whole.
pub(super) const STREAM: &[Text] = &[
    (
        StreamMetaMissing,
        "The stream's configuration, meta.inf, is missing; the server leaves the stream out.",
        META_BACKUP,
    ),
    (
        StreamMetaUnreadable,
        "The stream's configuration, meta.inf, could not be read; the server leaves the stream \
         out.",
        "Check its permissions and the disk.",
    ),
    (
        StreamSumMissing,
        "The checksum of the stream's configuration, meta.sum, is missing; the server leaves \
         the stream out.",
        META_BACKUP,
    ),
    (
        StreamSumUnreadable,
        "The checksum of the stream's configuration, meta.sum, could not be read; the server \
         leaves the stream out.",
        "Check its permissions and the disk.",
    ),
    (
        StreamSumMismatch,
        "The stream's configuration, meta.inf, does not match its checksum, meta.sum; the \
         server leaves the stream out. A renamed directory or an edited file suffices.",
        "If the directory was renamed, give it its old name back: the detail says it where it can be proven, of an \
         encrypted stream by names that the directory's suggests. Otherwise put both files back from a backup or a replica.",
    ),
    (
        StreamKeyShort,
        "The stream's key file, meta.key, is too short to hold a key; the server leaves the \
         stream out.",
        "Put the key file back from a backup. A key file from another replica does not fit.",
    ),
    (
        StreamMetaDecryptFailed,
        "The stream's configuration is encrypted and does not open; the server leaves the \
         stream out.",
        GIVE_KEYS,
    ),
    (
        StreamMetaJson,
        "The stream's configuration, meta.inf, is not valid JSON; the server leaves the stream \
         out.",
        META_BACKUP,
    ),
    (
        StreamUnsupported,
        "The stream uses features that need a newer server than 2.15.",
        "Start it with the server line that wrote it.",
    ),
    (
        StreamStrictJson,
        "The stream's configuration has fields or values that the server does not know; a newer \
         server probably wrote it. A server standing alone shows the stream as offline.",
        "Start it with the server line that wrote it.",
    ),
    (
        StreamSubjectRepaired,
        "A subject in the stream's configuration has blanks around it; the server strips them.",
        "",
    ),
    (
        StreamSubjectInvalid,
        "A subject in the stream's configuration is not a valid subject; the server leaves the \
         stream out.",
        "Correct the configuration from a backup or a replica.",
    ),
    (
        StreamMirrorSubjects,
        "The stream is a mirror and has subjects of its own, which the server drops.",
        "",
    ),
    (
        StreamEncrypting,
        "A key is configured and the stream lies in the clear; it is encrypted as it is \
         opened.",
        "Make sure there is no damage before that: a torn block does not survive the change.",
    ),
    (
        StreamRekeying,
        "The stream is encrypted under another key or cipher; it is encrypted anew as it is \
         opened.",
        "Keep a copy of the directory until the server has come up once with the new key.",
    ),
    (
        StreamCreatedChanged,
        "Changing the encryption gives the stream a new creation time. Streams that source \
         from it take it for a new stream and store everything again.",
        "Watch the streams that source from this one after the second start.",
    ),
    (
        FeatureIgnored,
        "The stream or a consumer uses a feature that this older server does not know and passes \
         over without a word.",
        "Start the server line that wrote it, or be sure that you can do without the feature.",
    ),
    (
        TombstonesIgnored,
        "This older server does not know tombstones: messages that were deleted on purpose, or \
         acknowledged in a work queue, are live again for it.",
        "Start a server that knows the deletes, or delete the messages again after the start.",
    ),
    (
        StreamNameTaken,
        "The server leaves the stream out and keeps its directory, which still has the name: \
         creating a stream of that name opens the old directory, messages and all; restoring a \
         backup of version 1 deletes it, one of version 2 adds to it.",
        "Move the directory out of the store before you create or restore a stream of that name.",
    ),
    (
        RotationHalfDone,
        "A change of keys stopped half-way: some blocks are under the new key, others under the \
         former one. A server given the former key alone deletes the blocks under the new one \
         without a word.",
        "Finish the change with both keys at hand: take out what verifies with `jetsam salvage`, \
         or put the whole store under one key with `jetsam rekey`.",
    ),
    (
        StreamOpenFailed,
        "The server cannot open this stream.",
        COPY_FIRST,
    ),
    (
        StreamHalfDeleted,
        "The stream was being deleted when the server stopped; the server finishes that.",
        "",
    ),
    (
        ReplicasUnsupported,
        "The stream asks for several replicas; a server standing alone leaves it out, its files as \
         they are. They are looked at all the same.",
        "Start it in its cluster, or give its metadata one replica. Before repairing one replica, \
         see whether another is healthy: wiping this one may be the better way.",
    ),
];

/// Its consumers.
pub(super) const CONSUMER: &[Text] = &[
    (
        ConsumerMetaMissing,
        "A consumer's configuration, meta.inf, is missing; the server leaves the consumer out.",
        CONSUMER_AGAIN,
    ),
    (
        ConsumerMetaUnreadable,
        "A consumer's configuration, meta.inf, could not be read; the server leaves the \
         consumer out.",
        "Check its permissions and the disk.",
    ),
    (
        ConsumerSumMissing,
        "The checksum of a consumer's configuration, meta.sum, is missing; the server leaves \
         the consumer out.",
        CONSUMER_AGAIN,
    ),
    (
        ConsumerSumMismatch,
        "A consumer's configuration does not match its checksum. The server never compares \
         them and uses the configuration as it is.",
        "Look at the consumer's configuration before you rely on it.",
    ),
    (
        ConsumerMetaDecryptFailed,
        "A consumer's configuration is encrypted and does not open.",
        GIVE_KEYS,
    ),
    (
        ConsumerMetaJson,
        "A consumer's configuration, meta.inf, is not valid JSON; the server leaves the \
         consumer out.",
        CONSUMER_AGAIN,
    ),
    (
        ConsumerUnsupported,
        "A consumer uses features that need a newer server than 2.15.",
        "Start it with the server line that wrote it.",
    ),
    (
        ConsumerStrictJson,
        "A consumer's configuration has fields or values that the server does not know.",
        "Start it with the server line that wrote it.",
    ),
    (
        ConsumerStreamStopped,
        "Because of one of its consumers, a server standing alone stops the whole stream.",
        "Start it with the server line that wrote the consumer, or move the consumer's \
         directory away.",
    ),
    (
        ConsumerAddFailed,
        "The server cannot bring this consumer back. Its directory stays, and its name stays \
         taken.",
        CONSUMER_AGAIN,
    ),
    (
        ConsumerWouldBeDeleted,
        "The consumer delivers to a subject that is not valid or that the server keeps to itself; \
         servers from 2.14.10 and 2.15.3 on remove its directory at the start.",
        "If its configuration was damaged, restore the consumer's directory from a backup before a \
         server starts; otherwise create it anew with another deliver subject.",
    ),
    (
        ConsumerAheadOfStream,
        "A consumer has read further than the stream reaches: the end of the stream is gone. \
         The server moves the consumer back to the last message.",
        "Messages at the end of the stream were lost; look for them in a replica.",
    ),
    (
        ConsumerStateCorrupt,
        "A consumer's position, o.dat, does not decode; the server does not bring the consumer \
         back.",
        CONSUMER_AGAIN,
    ),
    (
        ConsumerStateEmpty,
        "A consumer's position, o.dat, is empty, as after a power cut. The server then \
         delivers the stream again from its beginning.",
        "Expect repeated messages, or put the file back from a backup.",
    ),
    (
        ConsumerStateMissing,
        "A consumer's position, o.dat, is missing; a new consumer has one. The server starts the consumer over \
         by its deliver policy.",
        "The consumer delivers messages again, or with deliver policy new passes over those it had not delivered.",
    ),
    (
        ConsumerRenamed,
        "The directory of a consumer has another name than the consumer. The server makes a new consumer of that \
         name, without a position, in a directory of its own.",
        "Give the directory the consumer's name before a server starts; `jetsam salvage` does.",
    ),
    (
        ConsumerWouldStick,
        "A block does not decompress, and a consumer that comes to it never gets past it: every request fails there, and \
         messages behind the block are not delivered either.",
        SALVAGE,
    ),
    (
        ConsumerDisabled,
        "The server would leave this consumer disabled.",
        CONSUMER_AGAIN,
    ),
];

/// What it comes to.
pub(super) const VERDICT: &[Text] = &[
    (
        RebuildRefused,
        "Fresh side files alone would not do: the blocks, keys or metadata would have to change as well. Nothing was \
         written.",
        "Run `jetsam check` to see what is wrong, then `jetsam recover` or `jetsam salvage`.",
    ),
    (
        StartBeyondProbe,
        "Opening this stream is expected to take longer than the start probe waits. A container that is killed for it \
         starts over, and never gets through.",
        "Give the probe more time, or let `jetsam rebuild-index` write the side files that make the start quick.",
    ),
    (
        OpenWouldCrash,
        "The server crashes while it opens this stream: the whole server, with every account.",
        COPY_FIRST,
    ),
    (
        ReadWouldCrash,
        "The server opens this stream, but reading the damaged block makes it run out of \
         memory.",
        COPY_FIRST,
    ),
    (
        ServerWouldDeleteStream,
        "A server of 2.11.9 to 2.14.9, or 2.15.0 to 2.15.2, cannot open this stream and then deletes \
         its whole directory.",
        COPY_FIRST,
    ),
    (
        ServerWouldCrash,
        "The server goes down on this stream at every start, until the directory is moved \
         away or mended.",
        "Move the stream directory out of the store so that the other streams come up, then \
         take out what verifies with `jetsam salvage`.",
    ),
    (
        ServerWouldSkipStream,
        "The server cannot open this stream, starts without it and keeps its directory as the \
         failed open left it. Releases from 2.11.9 to 2.14.9 and from 2.15.0 to 2.15.2 delete it.",
        COPY_FIRST,
    ),
    (
        ExpiryNeedsConsent,
        "Recovering the stream would remove messages that are older than it keeps them, and none stays, so nothing was changed.",
        "If they are not wanted any more, repeat with --accept-expiry; else look at them with --no-expire, or save them with \
         `jetsam salvage`.",
    ),
    (
        LossNeedsConsent,
        "Recovering the stream as the server does would lose messages, so nothing was changed.",
        "Save what verifies with `jetsam salvage` first; if you accept the loss, repeat with \
         --accept-loss.",
    ),
    (
        StateUnsound,
        "The stream opens, and what the server would count of it is not what its blocks hold.",
        "Save what verifies with `jetsam salvage` into a new store and go on with that one.",
    ),
    (
        StoreBusy,
        "Another process holds this store.",
        "Stop the server, or wait for the other command, and try again.",
    ),
    (
        ServersUnseen,
        "The store lies on a file system that other machines can have mounted too; a server running there cannot be seen \
         from here.",
        "Make sure that no server uses the store before anything is changed in it.",
    ),
    (
        IoError,
        "The operating system refused to read or write a file.",
        "Check permissions, free space and the disk, and try again; nothing says that the data \
         is damaged.",
    ),
    (
        StreamRefused,
        "This stream was not opened, and nothing in it was changed.",
        "The other events of this stream say why.",
    ),
    (
        KeyMissing,
        "The stream is encrypted and no key was given.",
        GIVE_KEYS,
    ),
    (
        KeyBad,
        "The stream is encrypted and the key that was given does not open it.",
        "Check the key, the previous key, the cipher and the account name (--account): all of \
         them go into the stream's own key.",
    ),
];
