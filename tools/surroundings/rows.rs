//! The rows: what is done to the store, and the configuration the server then gets. `STORE` stands for the directory that
//! holds `jetstream`.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::json;

use crate::store::{Kept, accounts, edit};

/// What is done to a store.
type Change = Box<dyn Fn(&Path) -> io::Result<()>>;

/// One row.
pub struct Row {
    pub name: &'static str,
    pub kept: Kept,
    pub config: String,
    /// What has to be said of at least one stream, or of the server; empty where nothing stands in the way.
    pub code: &'static str,
    /// What is done to the store before.
    pub change: Change,
    /// Whether chance decides what the server does.
    pub chance: bool,
}

const HERE: &str = "jetstream { store_dir: STORE }\n";
const ON: &str = "jetstream: enabled";

pub fn row(name: &'static str, kept: Kept, config: impl Into<String>, code: &'static str) -> Row {
    Row {
        name,
        kept,
        config: config.into(),
        code,
        change: Box::new(|_| Ok(())),
        chance: false,
    }
}

pub fn changed(row: Row, change: impl Fn(&Path) -> io::Result<()> + 'static) -> Row {
    Row {
        change: Box::new(change),
        ..row
    }
}

/// The rows that stand alone.
pub fn all() -> Vec<Row> {
    let mut rows = starting();
    rows.extend(switched());
    rows.extend(placed());
    rows.extend(accounted());
    rows.extend(summed());
    rows.extend(limited());
    rows.extend(alone());
    rows
}

fn starting() -> Vec<Row> {
    let global = |name, config: &str, code| row(name, Kept::Global, config, code);
    let invalid = "server-config-invalid";
    vec![
        global("as it was", HERE, ""),
        global("does not parse", "jetstream { store_dir: STORE\n", invalid),
        global(
            "unknown field",
            "jetstream { store_dir: STORE, max_fil: 1GB }\n",
            invalid,
        ),
        global(
            "unknown field at the top",
            "jetstrem: 1\njetstream { store_dir: STORE }\n",
            invalid,
        ),
        global(
            "field that is a variable",
            "lim: 1GB\njetstream { store_dir: STORE, max_file: $lim }\n",
            "",
        ),
        global(
            "undefined variable",
            "jetstream { store_dir: STORE, key: $JETSAM_NOWHERE }\n",
            invalid,
        ),
        global(
            "missing include",
            "include \"nowhere.conf\"\njetstream { store_dir: STORE }\n",
            invalid,
        ),
        global(
            "wrong unit",
            "jetstream { store_dir: STORE, max_file: \"1X\" }\n",
            invalid,
        ),
        global("wrong type", "jetstream { store_dir: 7 }\n", invalid),
        global(
            "store_dir twice",
            "store_dir: STORE\njetstream { store_dir: STORE }\n",
            invalid,
        ),
        row(
            "account called $G",
            Kept::Accounts,
            format!("{HERE}accounts {{ $G {{ {ON} }} }}\n"),
            invalid,
        ),
    ]
}

fn switched() -> Vec<Row> {
    let global = |name, config: &str, code| row(name, Kept::Global, config, code);
    vec![
        global("JetStream absent", "store_dir: STORE\n", "jetstream-off"),
        global(
            "JetStream disabled",
            "store_dir: STORE\njetstream: disabled\n",
            "jetstream-off",
        ),
        global(
            "JetStream enabled: false",
            "jetstream { store_dir: STORE, enabled: false }\n",
            "jetstream-off",
        ),
        global(
            "cluster without server_name",
            &format!(
                "{HERE}cluster {{ name: C, listen: \"127.0.0.1:-1\", routes: [\"nats://127.0.0.1:1\"] }}\n"
            ),
            "server-start-refused",
        ),
        global(
            "cluster without a name",
            &format!(
                "{HERE}server_name: n1\ncluster {{ listen: \"127.0.0.1:-1\", routes: [\"nats://127.0.0.1:1\"] }}\n"
            ),
            "server-start-refused",
        ),
        global(
            "cluster without routes",
            &format!("{HERE}server_name: n1\ncluster {{ name: C, listen: \"127.0.0.1:-1\" }}\n"),
            "server-start-refused",
        ),
        global(
            "cluster that does not listen",
            &format!("{HERE}cluster {{ name: C }}\n"),
            "",
        ),
    ]
}

fn placed() -> Vec<Row> {
    let elsewhere = "store-elsewhere";
    let deep = "jetstream { store_dir: \"STORE/jetstream\" }\n";
    let two = format!("{deep}{}", accounts(ON, ON));
    let above: fn(&Path) -> io::Result<()> = |store| {
        for account in ["A", "B"] {
            fs::rename(store.join("jetstream").join(account), store.join(account))?;
        }
        // Other accounts' directories that the server made.
        fs::remove_dir_all(store.join("jetstream"))
    };
    vec![
        row(
            "store_dir one level too deep",
            Kept::Global,
            deep,
            "account-relocated",
        ),
        row(
            "store_dir one level too deep, max_file set",
            Kept::Global,
            deep.replace(" }", ", max_file: 1GB }"),
            elsewhere,
        ),
        row(
            "store_dir one level too deep, two accounts",
            Kept::Accounts,
            two,
            "account-relocated",
        ),
        row(
            "store_dir elsewhere",
            Kept::Global,
            "jetstream { store_dir: \"STORE/other\" }\n",
            elsewhere,
        ),
        row(
            "no store_dir",
            Kept::Global,
            "jetstream: enabled\n",
            elsewhere,
        ),
        changed(
            row(
                "accounts directly in store_dir",
                Kept::Accounts,
                format!("{HERE}{}", accounts(ON, ON)),
                "account-relocated",
            ),
            above,
        ),
        changed(
            row(
                "accounts directly in store_dir, one unknown",
                Kept::Accounts,
                format!("{HERE}accounts {{ A {{ {ON} }} }}\n"),
                "account-unknown",
            ),
            above,
        ),
    ]
}

fn accounted() -> Vec<Row> {
    let of =
        |name, config: String, code| row(name, Kept::Accounts, format!("{HERE}{config}"), code);
    let global =
        |name, config: &str, code| row(name, Kept::Global, format!("{HERE}{config}"), code);
    let off = "account-without-jetstream";
    vec![
        of("both accounts", accounts(ON, ON), ""),
        of(
            "an account missing",
            format!("accounts {{ A {{ {ON} }} }}\n"),
            "account-unknown",
        ),
        of("no accounts", String::new(), "account-unknown"),
        of("account without JetStream", accounts(ON, ""), off),
        of(
            "account with JetStream disabled",
            accounts(ON, "jetstream: disabled"),
            off,
        ),
        of("accounts as a list", "accounts [A, B]\n".to_owned(), off),
        of(
            "account is the system account",
            format!("{}system_account: B\n", accounts(ON, "")),
            "account-is-system",
        ),
        of(
            "JetStream on the system account",
            format!("{}system_account: B\n", accounts(ON, ON)),
            "server-start-refused",
        ),
        global(
            "global account beside accounts",
            &accounts(ON, ""),
            "account-unknown",
        ),
        global(
            "global account beside the system account",
            "accounts { SYS { } }\nsystem_account: SYS\n",
            "",
        ),
        global(
            "authorization only",
            "authorization { users: [ { user: u, password: p } ] }\n",
            "",
        ),
    ]
}

fn summed() -> Vec<Row> {
    let global = |name, config: &str, code| row(name, Kept::Global, config, code);
    vec![
        // Newer servers bring both streams up; the older leave BIG out.
        global(
            "max_file below the streams",
            "jetstream { store_dir: STORE, max_file: 3000000 }\n",
            "",
        ),
        global(
            "max_file of nothing",
            "jetstream { store_dir: STORE, max_file: 0 }\n",
            "",
        ),
        row(
            "max_file below the accounts' limits",
            Kept::Accounts,
            format!(
                "jetstream {{ store_dir: STORE, max_file: 10GB }}\n{}",
                accounts("jetstream { max_file: 6GB }", "jetstream { max_file: 5GB }")
            ),
            "server-start-refused",
        ),
        Row {
            chance: true,
            ..row(
                "max_file below what other accounts' streams reserve",
                Kept::Accounts,
                format!(
                    "jetstream {{ store_dir: STORE, max_file: 5000000 }}\n{}",
                    accounts(ON, ON)
                ),
                "server-start-refused",
            )
        },
    ]
}

fn limited() -> Vec<Row> {
    let global = |name, config: &str, code| row(name, Kept::Global, config, code);
    let a = |name, limits: &str, code| {
        let account = format!("jetstream {{ {limits} }}");
        row(
            name,
            Kept::Accounts,
            format!("{HERE}{}", accounts(&account, ON)),
            code,
        )
    };
    let out = "limit-leaves-stream-out";
    let consumer = "messages-released";
    vec![
        a(
            "account's max_file below its streams",
            "max_file: 3000000",
            "",
        ),
        a(
            "account's max_streams below its streams",
            "max_streams: 1",
            "",
        ),
        a(
            "account's max_consumers below its consumers",
            "max_consumers: 1",
            "",
        ),
        a(
            "disk_max_stream_bytes",
            "disk_max_stream_bytes: 3000000",
            out,
        ),
        a("max_bytes_required", "max_bytes_required: true", out),
        a(
            "account's max_ack_pending",
            "max_ack_pending: 500",
            consumer,
        ),
        global(
            "duplicate_window",
            "jetstream { store_dir: STORE, limits { duplicate_window: \"1m\" } }\n",
            out,
        ),
        global(
            "max_ack_pending",
            "jetstream { store_dir: STORE, limits { max_ack_pending: 500 } }\n",
            consumer,
        ),
        global(
            "max_ack_pending below every consumer",
            "jetstream { store_dir: STORE, limits { max_ack_pending: 50 } }\n",
            "limit-leaves-consumer-out",
        ),
        changed(
            global(
                "max_request_batch",
                "jetstream { store_dir: STORE, limits { max_request_batch: 5 } }\n",
                "limit-leaves-consumer-out",
            ),
            |store| {
                let dir = store.join("jetstream/$G/streams/BIG/obs/C");
                let inf = fs::read_to_string(dir.join("meta.inf"))?;
                fs::write(
                    dir.join("meta.inf"),
                    inf.replacen('{', "{\"max_batch\":6,", 1),
                )
            },
        ),
    ]
}

fn alone() -> Vec<Row> {
    let global = |name, config: &str, code| row(name, Kept::Global, config, code);
    vec![
        changed(
            global("replicas without a cluster", HERE, "replicas-unsupported"),
            |store| {
                edit(&store.join("jetstream/$G/streams/MID"), |meta| {
                    meta["num_replicas"] = json!(3)
                })
            },
        ),
        changed(
            global("a level above the server's", HERE, "stream-unsupported"),
            |store| {
                edit(&store.join("jetstream/$G/streams/MID"), |meta| {
                    meta["metadata"] = json!({"_nats.req.level": "99"});
                })
            },
        ),
        changed(
            global(
                "strict: false",
                "jetstream { store_dir: STORE, strict: false }\n",
                "",
            ),
            |_| Ok(()),
        ),
        changed(
            global(
                "an interest consumer's metadata emptied",
                HERE,
                "messages-released",
            ),
            |store| fs::write(store.join("jetstream/$G/streams/I/obs/B/meta.inf"), ""),
        ),
        changed(
            global(
                "a work queue consumer's metadata emptied",
                HERE,
                "consumer-meta-json",
            ),
            |store| fs::write(store.join("jetstream/$G/streams/Q/obs/Y/meta.inf"), ""),
        ),
        changed(
            global(
                "every interest consumer's metadata emptied",
                HERE,
                "consumer-meta-json",
            ),
            |store| {
                for name in ["A", "B"] {
                    fs::write(
                        store
                            .join("jetstream/$G/streams/I/obs")
                            .join(name)
                            .join("meta.inf"),
                        "",
                    )?;
                }
                Ok(())
            },
        ),
        global(
            "a key where there was none",
            "jetstream { store_dir: STORE, key: k, cipher: aes }\n",
            "stream-encrypting",
        ),
    ]
}
