//! Rows without a test here, and why.

/// Row and reason.
pub const NOT_HERE: &[(&str, &str)] = &[
    // OPEN
    (
        "R010",
        "server level: account usage over ten streams; the stores in testdata/golden cover the directories",
    ),
    (
        "R016",
        "server level: the rest of an atomic batch is replayed by the stream above the store",
    ),
    // IDX
    (
        "R025",
        "needs the store's write path, which comes later: index.db deleted under a running store",
    ),
    (
        "R037",
        "needs the store's write path, which comes later: time and size of index writes under load",
    ),
    // CMP
    (
        "R281",
        "needs the store's write path, which comes later: syncing of a rewritten block",
    ),
    (
        "R282",
        "needs the store's write path, which comes later: the periodic sync pass",
    ),
    // ENC
    (
        "R156",
        "needs the store's write path, which comes later: syncing of key files",
    ),
    (
        "R166",
        "server level: a cluster configured with an empty key",
    ),
    (
        "R167",
        "needs a TPM to hold the key; a store does not show where its key comes from",
    ),
    (
        "R169",
        "needs a TPM to hold the key; a store does not show where its key comes from",
    ),
    // LIM
    (
        "R176",
        "needs the store's write path, which comes later: creating a stream with blocks too large",
    ),
    // META
    (
        "R185",
        "server level: account directories and purge requests",
    ),
    (
        "R302",
        "needs the store's write path, which comes later: configuration updates keep the creation time",
    ),
    // SNAP
    (
        "R187",
        "archives come later: taking a snapshot of a directory",
    ),
    (
        "R189",
        "archives come later: backup and restore over the server's API",
    ),
    (
        "R190",
        "archives come later: chunked backup over the server's API",
    ),
    (
        "R192",
        "server level: restore requests that are refused up front",
    ),
    ("R194", "server level: restoring into a cluster"),
    ("R195", "server level: restoring into a cluster"),
    ("R197", "server level: restore requests with a wrong name"),
    ("R198", "server level: health while a restore is left over"),
    (
        "R305",
        "archives come later: importing a message whose TTL has run out",
    ),
    ("R306", "server level: account limits on a restore"),
    (
        "R308",
        "archives come later: exporting a consumer that is ahead of its stream",
    ),
    ("R309", "server level: account reservations on a restore"),
    (
        "R311",
        "archives come later: telling the two archive forms apart",
    ),
    (
        "R312",
        "archives come later: importing a malformed consumer state",
    ),
    ("R314", "server level: backup and restore in a cluster"),
    (
        "R315",
        "server level: clean-up after a failed restore in a cluster",
    ),
    // CONS
    ("R203", "server level: deliveries after a restart"),
    ("R204", "server level: deliveries after a restart"),
    ("R205", "server level: life of an ephemeral consumer"),
    ("R207", "server level: deletion of a consumer"),
    ("R208", "server level: update of a consumer's configuration"),
    ("R210", "server level: deliveries after a restart"),
    ("R212", "server level: the timer of a paused consumer"),
    ("R213", "server level: pending count of a consumer"),
    (
        "R218",
        "server level: a replica applies an older consumer state",
    ),
    ("R219", "server level: replicated consumer log"),
    ("R317", "server level: creation of a consumer is refused"),
    ("R318", "server level: creation of a consumer is refused"),
    ("R320", "server level: update of a consumer's configuration"),
    ("R321", "server level: limit on the number of consumers"),
    // CODEC
    ("R323", "archives come later: the second archive form"),
    ("R324", "archives come later: the second archive form"),
    ("R326", "archives come later: the second archive form"),
    ("R327", "archives come later: the second archive form"),
    (
        "R329",
        "not on disk: the stream state that replicas exchange",
    ),
    // FAULT
    (
        "R241",
        "needs the store's write path, which comes later: a full file system",
    ),
    (
        "R243",
        "needs the store's write path, which comes later: a read-only directory",
    ),
    (
        "R244",
        "needs the store's write path, which comes later: a read-only directory",
    ),
    (
        "R245",
        "needs the store's write path, which comes later: read errors must not stop writes",
    ),
    (
        "R247",
        "needs the store's write path, which comes later: subject tables of a running store",
    ),
    (
        "R330",
        "server level: writing o.dat anew while a consumer is added",
    ),
    (
        "R332",
        "needs the store's write path, which comes later: syncing at the end of a batch",
    ),
    // CLUS
    (
        "R250",
        "needs the store's write path, which comes later: removing what is removed already",
    ),
    (
        "R252",
        "needs the store's write path, which comes later: purges replayed from a replicated log",
    ),
    ("R257", "server level: cluster restart"),
    (
        "R258",
        "server level: cluster restart after assets were created anew",
    ),
    (
        "R260",
        "server level: an emptied replica is filled from its peers",
    ),
    ("R261", "server level: lost replicated logs"),
    (
        "R262",
        "server level: an emptied replica is filled from its peers",
    ),
    ("R264", "server level: snapshot of the cluster's metadata"),
    ("R265", "server level: replicated consumer log"),
    ("R268", "server level: replicated log without its snapshot"),
    ("R269", "server level: replicated log and its peers"),
    ("R271", "server level: snapshots of a replicated log"),
    (
        "R333",
        "server level: a store is cut back before its log is replayed",
    ),
    (
        "R335",
        "server level: a store is cut back before its log is replayed",
    ),
    (
        "R336",
        "server level: a store is cut back before its log is replayed",
    ),
    (
        "R338",
        "needs the store's write path, which comes later: sync modes of replicas",
    ),
    ("R341", "server level: commit file of a replicated log"),
    ("R342", "server level: commit file of a replicated log"),
    ("R344", "server level: source positions among replicas"),
    ("R345", "server level: the table of message ids"),
    ("R346", "server level: the table of message ids"),
    (
        "R351",
        "server level: what is left of a stream that could not be created",
    ),
    ("R352", "server level: directories of an account"),
    ("R353", "server level: directories of an account"),
    ("R355", "archives come later: message ids after a restore"),
    (
        "R359",
        "server level: what the interest check of consumers removes",
    ),
    (
        "R360",
        "server level: what the interest check of consumers removes",
    ),
    ("R364", "server level: scaling a replicated stream down"),
    ("R365", "server level: scaling a replicated consumer up"),
    ("R366", "server level: the meta group's files"),
    ("R367", "server level: the vote of a replicated log"),
];
