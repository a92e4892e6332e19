//! The verbs and flags there are, as data: the parser, the help and the hints read it.

/// What the command is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Look, never write.
    Check,
    /// Do what opening the store does.
    Recover,
    /// Copy out what verifies.
    Salvage,
    /// The same from several copies.
    Merge,
    /// Foretell a server's start.
    Preflight,
    /// Write fresh side files.
    RebuildIndex,
    /// Tell which key opens what.
    Keys,
    /// Put a store under another key.
    Rekey,
    /// Damage stores and count what survives.
    Harness,
    /// Take the last recovery back.
    Undo,
    /// Print messages.
    Cat,
    /// Tell what the codes of events mean.
    Events,
}

impl Verb {
    /// In the order of the help.
    pub const ALL: [Verb; 12] = [
        Verb::Check,
        Verb::Recover,
        Verb::Undo,
        Verb::Cat,
        Verb::Salvage,
        Verb::Merge,
        Verb::Preflight,
        Verb::RebuildIndex,
        Verb::Keys,
        Verb::Rekey,
        Verb::Harness,
        Verb::Events,
    ];

    /// The word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Check => "check",
            Verb::Recover => "recover",
            Verb::Salvage => "salvage",
            Verb::Merge => "merge",
            Verb::Preflight => "preflight",
            Verb::RebuildIndex => "rebuild-index",
            Verb::Keys => "keys",
            Verb::Rekey => "rekey",
            Verb::Harness => "harness",
            Verb::Undo => "undo",
            Verb::Cat => "cat",
            Verb::Events => "events",
        }
    }

    /// The verb of that name.
    pub fn from_name(name: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.name() == name)
    }

    /// One line for the help.
    pub fn summary(self) -> &'static str {
        match self {
            Verb::Check => "scan, judge and report; never writes",
            Verb::Recover => "do what opening the store does: scan, judge, apply, report",
            Verb::Salvage => "copy everything that still verifies into a new store",
            Verb::Merge => "salvage from several copies of one stream, or of whole stores",
            Verb::Preflight => "foretell what a server would do when it starts; never writes",
            Verb::RebuildIndex => {
                "write fresh index.db, thw.db, sched.db and sources.db from the blocks"
            }
            Verb::Keys => "tell which key file opens with which key; never writes",
            Verb::Rekey => "put a store under another key or cipher, or into plaintext",
            Verb::Harness => "damage stores on purpose and count the messages that survive",
            Verb::Undo => "bring back, byte for byte, what the last recover put aside",
            Verb::Cat => "print messages; never writes",
            Verb::Events => "tell what the codes of events mean, and what to do about them",
        }
    }

    /// What stands behind it on the command line.
    pub fn operands(self) -> &'static str {
        match self {
            Verb::Merge => "PATH...",
            Verb::Harness => "--out DIR",
            Verb::Events => "[CODE]",
            _ => "PATH",
        }
    }

    /// How it may be called.
    pub fn examples(self) -> &'static [&'static str] {
        match self {
            Verb::Check => &[
                "jetsam check /data/jetstream",
                "jetsam check /data -c /etc/nats-server.conf --json",
            ],
            Verb::Recover => &[
                "jetsam recover /data/jetstream/ACC/streams/ORDERS --dry-run",
                "jetsam recover /data/jetstream/ACC/streams/ORDERS",
            ],
            Verb::Salvage => &["jetsam salvage /data --out /rescue"],
            Verb::Merge => &[
                "jetsam merge n1/ORDERS n2/ORDERS n3/ORDERS --out /rescue/ORDERS",
                "jetsam merge n1/ORDERS --also-from n1/ORDERS_MIRROR --out /rescue/ORDERS",
            ],
            Verb::Preflight => &["jetsam preflight /data --server 2.15 --probe 15m"],
            Verb::RebuildIndex => &["jetsam rebuild-index /data/jetstream/ACC/streams/ORDERS"],
            Verb::Keys => &["jetsam keys /data --key-env JS_KEY"],
            Verb::Rekey => &["jetsam rekey /data --key-env OLD --new-key-env NEW"],
            Verb::Harness => &["jetsam harness --out results --count 20"],
            Verb::Undo => &["jetsam undo /data/jetstream/ACC/streams/ORDERS"],
            Verb::Cat => &[
                "jetsam cat /data/jetstream/ACC/streams/ORDERS --from 100 --limit 5",
                "jetsam cat /data/jetstream/ACC/streams/ORDERS --seq 4711 --format raw",
            ],
            Verb::Events => &["jetsam events", "jetsam events block-bad-record"],
        }
    }
}

/// One flag.
#[derive(Debug, PartialEq, Eq)]
pub struct Flag {
    /// Name without the dashes.
    pub long: &'static str,
    /// One-letter form.
    pub short: Option<char>,
    /// What its value is called in the help; `None` for a switch.
    pub value: Option<&'static str>,
    /// The verbs that take it; empty where all do.
    pub verbs: &'static [Verb],
    /// One line for the help.
    pub help: &'static str,
}

const fn switch(long: &'static str, verbs: &'static [Verb], help: &'static str) -> Flag {
    Flag {
        long,
        short: None,
        value: None,
        verbs,
        help,
    }
}

const fn value(
    long: &'static str,
    value: &'static str,
    verbs: &'static [Verb],
    help: &'static str,
) -> Flag {
    Flag {
        long,
        short: None,
        value: Some(value),
        verbs,
        help,
    }
}

const fn short(letter: char, flag: Flag) -> Flag {
    Flag {
        short: Some(letter),
        ..flag
    }
}

const ALL: &[Verb] = &[];
const SALVAGING: &[Verb] = &[Verb::Salvage, Verb::Merge, Verb::Check, Verb::Cat];
const COPYING: &[Verb] = &[Verb::Salvage, Verb::Merge];
const WRITING_OUT: &[Verb] = &[Verb::Salvage, Verb::Merge, Verb::Harness];
const WRITING: &[Verb] = &[
    Verb::Recover,
    Verb::Undo,
    Verb::RebuildIndex,
    Verb::Rekey,
    Verb::Salvage,
    Verb::Merge,
];
const SEALING: &[Verb] = &[Verb::Salvage, Verb::Merge, Verb::Rekey];

/// Every flag but help and version.
pub const FLAGS: &[Flag] = &[
    switch(
        "markdown",
        &[Verb::Events],
        "the whole page, as docs/EVENTS.md holds it",
    ),
    switch(
        "quick",
        &[Verb::Check],
        "read only what the server would: believe a sound index.db",
    ),
    switch(
        "dry-run",
        &[Verb::Recover],
        "print the same actions and write nothing",
    ),
    switch(
        "accept-loss",
        &[Verb::Recover],
        "go on where messages would be lost",
    ),
    switch(
        "accept-expiry",
        &[Verb::Recover],
        "go on where age takes messages and none stays; --accept-loss says this too",
    ),
    switch(
        "no-undo",
        &[Verb::Recover],
        "do not put aside what is changed or removed",
    ),
    switch(
        "store-is-idle",
        WRITING,
        "go on where it cannot be told whether a server uses the store",
    ),
    value("seq", "N[-M]", &[Verb::Cat], "one sequence, or a range"),
    value(
        "from",
        "SEQ|TIME",
        &[Verb::Cat],
        "first sequence, or earliest time (RFC 3339)",
    ),
    value(
        "to",
        "SEQ|TIME",
        &[Verb::Cat],
        "last sequence, or latest time (RFC 3339)",
    ),
    value(
        "subject",
        "FILTER",
        &[Verb::Cat],
        "only subjects that match; * and > as usual",
    ),
    value("limit", "N", &[Verb::Cat], "stop after so many messages"),
    value(
        "format",
        "text|json|raw",
        &[Verb::Cat],
        "default text; json: an object a line; raw: bodies",
    ),
    value(
        "out",
        "DIR",
        WRITING_OUT,
        "where the new store, or the harness's results, go",
    ),
    switch("plaintext", SEALING, "do not encrypt the new store"),
    value(
        "uncertain",
        "keep|drop",
        COPYING,
        "messages that may have been deleted; default keep",
    ),
    switch(
        "kv-last",
        SALVAGING,
        "keep the last verified value where the newest is lost, in any stream with 1 message per subject; in KV \
         buckets that is always done",
    ),
    switch(
        "force",
        &[Verb::Merge],
        "merge copies that do not look like copies of one stream",
    ),
    value(
        "also-from",
        "PATH",
        &[Verb::Merge],
        "a mirror of the stream, or one that sources it, for what no copy has; may be repeated",
    ),
    value(
        "source-key-env",
        "VAR",
        &[Verb::Merge],
        "variable with one copy's own key, once per PATH; - for none",
    ),
    value(
        "source-key-file",
        "FILE",
        &[Verb::Merge],
        "the same from a file; may be mixed",
    ),
    value(
        "from-quarantine",
        "FILE",
        &[Verb::Salvage],
        "take up again what an earlier salvage could not prove",
    ),
    switch(
        "link",
        &[Verb::Salvage],
        "hard links instead of copies; run a server on one of the two only",
    ),
    value(
        "replicas",
        "N",
        COPYING,
        "replicas in the new configuration; default 1, as a server standing alone needs it",
    ),
    value(
        "stream-info",
        "FILE",
        COPYING,
        "configuration where meta.inf is gone, from `nats stream info --json`; may be repeated",
    ),
    switch(
        "resume",
        COPYING,
        "go on where a run into the same DIR was interrupted; finished streams stay",
    ),
    value(
        "server",
        "VERSION",
        &[
            Verb::Preflight,
            Verb::RebuildIndex,
            Verb::Salvage,
            Verb::Merge,
        ],
        "the server that will start, such as 2.15 or 2.12.3; default 2.15",
    ),
    value(
        "probe",
        "DURATION",
        &[Verb::Preflight],
        "how long a start probe waits, such as 15m: longer is a failure",
    ),
    value(
        "new-key-env",
        "VAR",
        &[Verb::Rekey],
        "environment variable with the new key; default: the current one",
    ),
    value(
        "new-key-file",
        "FILE",
        &[Verb::Rekey],
        "file with the new key",
    ),
    value(
        "new-cipher",
        "chacha|aes",
        &[Verb::Rekey],
        "the new cipher; default: the present one",
    ),
    switch(
        "keep-old",
        &[Verb::Rekey],
        "keep the old directory, in __jetsam_rekey__ beside streams",
    ),
    value(
        "seed",
        "N",
        &[Verb::Harness],
        "where the random choices start; default 1",
    ),
    value(
        "count",
        "N",
        &[Verb::Harness],
        "damaged copies per kind of damage and store; default 100",
    ),
    value(
        "messages",
        "N",
        &[Verb::Harness],
        "messages per generated store; default 10000",
    ),
    value(
        "stores",
        "LIST",
        &[Verb::Harness],
        "of plain, chacha, aes, s2, s2-chacha, s2-aes; default all",
    ),
    value(
        "ends",
        "LIST",
        &[Verb::Harness],
        "of stopped, killed: how their servers ended; default both",
    ),
    value(
        "damage",
        "LIST",
        &[Verb::Harness],
        "kinds of damage; default all",
    ),
    value(
        "server-command",
        "COMMAND",
        &[Verb::Harness],
        "a program that opens stores with the real server, for its column",
    ),
    value(
        "case",
        "N",
        &[Verb::Harness],
        "this one case of each kind; with --out the damaged stores too",
    ),
    switch(
        "expect-no-loss",
        &[Verb::Harness],
        "exit 4 where salvage loses what the damage does not account for",
    ),
    switch(
        "histories",
        &[Verb::Harness],
        "everyday streams with a known truth: is each account of them right?",
    ),
    value(
        "kinds",
        "LIST",
        &[Verb::Harness],
        "with --histories: what the streams are used for; default all",
    ),
    switch(
        "expect-no-invention",
        &[Verb::Harness],
        "with --histories: exit 4 where an account is wrong",
    ),
    short(
        'j',
        switch("json", ALL, "one JSON document on stdout, text on stderr"),
    ),
    short('q', switch("quiet", ALL, "print the verdict alone")),
    short(
        'v',
        switch(
            "verbose",
            ALL,
            "tell what is ordinary too: info events, side files",
        ),
    ),
    switch("all", ALL, "a row for every stream, the clean ones too"),
    value(
        "policy",
        "server|salvage",
        ALL,
        "server: decide as nats-server does (default); salvage: keep what verifies",
    ),
    switch(
        "no-index",
        ALL,
        "ignore index.db, thw.db, sched.db, sources.db: read the blocks",
    ),
    value(
        "now",
        "TIME",
        ALL,
        "the clock for expiry (RFC 3339); default: the system clock",
    ),
    switch("no-expire", ALL, "skip age and TTL expiry"),
    switch("no-limits", ALL, "skip the enforcement of limits"),
    value(
        "threads",
        "N",
        ALL,
        "scan threads; default: the number of cores",
    ),
    value(
        "key-env",
        "VAR",
        ALL,
        "environment variable with the server's JetStream key",
    ),
    value(
        "key-file",
        "FILE",
        ALL,
        "file with the server's JetStream key",
    ),
    value(
        "prev-key-env",
        "VAR",
        ALL,
        "environment variable with the previous key",
    ),
    value("prev-key-file", "FILE", ALL, "file with the previous key"),
    short(
        'c',
        value(
            "config",
            "FILE",
            ALL,
            "take keys, cipher and store_dir from a nats-server configuration",
        ),
    ),
    switch(
        "clustered",
        ALL,
        "judge the store as a cluster member's, as one with _js_/_meta_ is anyway",
    ),
    value(
        "account",
        "NAME",
        ALL,
        "account name in the keys; default: the directory above streams",
    ),
    value(
        "cipher",
        "auto|chacha|aes",
        ALL,
        "default auto: what the files say",
    ),
    value(
        "block-size",
        "BYTES",
        ALL,
        "what a rebuilt block may grow to, such as 8MiB",
    ),
    switch("deleted", ALL, "report the deleted sequences"),
    switch("subjects", ALL, "report the messages per subject"),
    switch("digest", ALL, "report the SHA-256 over the content"),
    switch(
        "entries",
        ALL,
        "report TTL and schedule entries and source positions",
    ),
    switch(
        "progress",
        ALL,
        "show progress even where stderr is no terminal",
    ),
    switch("no-progress", ALL, "never show progress"),
];

/// Flags people may expect from the server's configuration, and must not use: a key on the command
/// line can be read by everyone on the machine and stays in the shell's history.
pub const KEY_VALUES: [&str; 8] = [
    "key",
    "ek",
    "encryption-key",
    "encryption_key",
    "prev-key",
    "prev_key",
    "prev-ek",
    "password",
];

/// The flag of that name.
pub fn by_long(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.long == name)
}

/// The flag of that letter.
pub fn by_short(letter: char) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.short == Some(letter))
}

/// The known word nearest to `word`, if it is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A flag nobody types is not a slip of one we know.
    if word.len() > 40 {
        return None;
    }
    known
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_unique() {
        let mut names = std::collections::BTreeSet::new();
        for flag in FLAGS {
            assert!(names.insert(flag.long), "{}", flag.long);
            assert!(!KEY_VALUES.contains(&flag.long));
        }
    }

    #[test]
    fn slips_are_recognised() {
        let flags = || FLAGS.iter().map(|flag| flag.long);
        assert_eq!(nearest("jsn", flags()), Some("json"));
        assert_eq!(nearest("no-expires", flags()), Some("no-expire"));
        assert_eq!(nearest("acceptloss", flags()), Some("accept-loss"));
        assert_eq!(nearest("frobnicate", flags()), None);
        assert_eq!(
            nearest("chekc", Verb::ALL.iter().map(|verb| verb.name())),
            Some("check")
        );
    }
}
