//! Rows of servers that take their accounts from an operator's tokens.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::rows::{Row, changed, row};
use crate::store::Kept;
use crate::tokens::{SYSTEM, Tokens, operator, unlimited, usual, wish};

const HERE: &str = "jetstream { store_dir: STORE }\n";
const ALL: &[&str] = &[SYSTEM, "A", "B"];
/// A moment long past, and one long to come.
const PAST: i64 = 1_600_000_000;
const FUTURE: i64 = 4_000_000_000;

/// What makes tokens.
struct Maker<'a> {
    oracle: &'a Path,
}

impl Maker<'_> {
    /// The accounts A, so limited, and B without limits.
    fn limited(&self, limits: &Value) -> io::Result<Tokens> {
        let limits = merged(&unlimited(), limits);
        self.usual(&json!({"limits": limits}), &json!({}))
    }

    /// The accounts A and B; where nothing else is said, without limits.
    fn usual(&self, a: &Value, b: &Value) -> io::Result<Tokens> {
        let all = json!({"limits": unlimited()});
        usual(self.oracle, &merged(&all, a), &merged(&all, b))
    }

    /// An operator of which this is wished, its accounts signed by a key.
    fn operator(&self, more: &Value, signed_by: &str) -> io::Result<Tokens> {
        let accounts = ALL.iter().map(|name| {
            let limits = match *name == SYSTEM {
                true => json!({}),
                false => unlimited(),
            };
            wish(name, &json!({"limits": limits, "signed_by": signed_by}))
        });
        let accounts: Vec<Value> = accounts.collect();
        Tokens::of(self.oracle, &operator(more), &accounts)
    }
}

fn merged(base: &Value, more: &Value) -> Value {
    let mut merged = base.clone();
    for (field, value) in more.as_object().into_iter().flatten() {
        merged[field] = value.clone();
    }
    merged
}

fn operated(name: &'static str, config: impl Into<String>, code: &'static str) -> Row {
    let config = config.into();
    let config = match config.contains("STORE") {
        true => config,
        false => format!("{HERE}{config}"),
    };
    row(name, Kept::Operator, config, code)
}

/// The directory of tokens beside a row's store.
fn jwts(store: &Path) -> PathBuf {
    store.with_file_name("store-jwt")
}

/// A row with a resolver of a type, and these tokens in its directory.
fn in_directory(row: Row, tokens: Vec<(String, String)>) -> Row {
    changed(row, move |store| {
        let dir = jwts(store);
        fs::create_dir_all(&dir)?;
        tokens
            .iter()
            .try_for_each(|(key, token)| fs::write(dir.join(format!("{key}.jwt")), token))
    })
}

fn files(tokens: &Tokens, names: &[&str]) -> Vec<(String, String)> {
    let accounts = names.iter().map(|name| tokens.account(name));
    accounts
        .map(|account| (account.key, account.token))
        .collect()
}

/// Every row.
pub fn all(oracle: &Path) -> io::Result<Vec<Row>> {
    let maker = Maker { oracle };
    let mut rows = accounts(&maker)?;
    rows.extend(limits(&maker)?);
    rows.extend(sums(&maker)?);
    rows.extend(operators(&maker)?);
    rows.extend(refused(&maker)?);
    rows.extend(systems(&maker)?);
    rows.extend(directories(&maker)?);
    rows.extend(faulty_directories(&maker)?);
    rows.extend(elsewhere(&maker)?);
    Ok(rows)
}

fn accounts(maker: &Maker<'_>) -> io::Result<Vec<Row>> {
    let refused = "account-token-refused";
    let none = json!({});
    let plain = maker.usual(&none, &none)?;
    let expired = maker.usual(&json!({"expires": PAST}), &none)?;
    let holds = maker.usual(&json!({"expires": FUTURE, "not_before": PAST}), &none)?;
    let early = maker.usual(&json!({"not_before": FUTURE}), &none)?;
    let without = maker.usual(&json!({"limits": {}}), &none)?;
    let memory = maker.usual(&json!({"limits": {"mem_storage": 1000}}), &none)?;
    let stranger = maker.usual(&json!({"signed_by": "somebody"}), &none)?;
    let (a, b) = (plain.account("A"), plain.account("B"));
    let others = format!(
        "operator: {:?}\nresolver: MEM\nresolver_preload {{ {}: {:?}, {}: {:?}, {}: {:?} }}\n",
        plain.operator,
        plain.account(SYSTEM).key,
        plain.account(SYSTEM).token,
        a.key,
        a.token,
        b.key,
        a.token,
    );
    Ok(vec![
        operated("operator", plain.config(ALL), ""),
        operated(
            "operator, resolver as a map",
            plain.config(ALL).replace("MEMORY", "{ type: mem }"),
            "",
        ),
        operated(
            "account not preloaded",
            plain.config(&[SYSTEM, "A"]),
            "account-unknown",
        ),
        operated("account's token expired", expired.config(ALL), refused),
        operated("account's token holds", holds.config(ALL), ""),
        operated("account's token holds later", early.config(ALL), refused),
        operated(
            "account's token without JetStream",
            without.config(ALL),
            "account-without-jetstream",
        ),
        operated("account's token with memory only", memory.config(ALL), ""),
        operated(
            "account's token issued by a stranger",
            stranger.config(ALL),
            refused,
        ),
        operated("another account's token", others, refused),
    ])
}

fn limits(maker: &Maker<'_>) -> io::Result<Vec<Row>> {
    let out = "limit-leaves-stream-out";
    let of = |name, limits: Value, code| -> io::Result<Row> {
        Ok(operated(name, maker.limited(&limits)?.config(ALL), code))
    };
    let tiers = |name, tiers: Value, code| -> io::Result<Row> {
        let tokens = maker.usual(&json!({"limits": {}, "tiers": tiers}), &json!({}))?;
        Ok(operated(name, tokens.config(ALL), code))
    };
    Ok(vec![
        of(
            "token's disk_max_stream_bytes",
            json!({"disk_max_stream_bytes": 3_000_000}),
            out,
        )?,
        of(
            "token's max_bytes_required",
            json!({"max_bytes_required": true}),
            out,
        )?,
        of(
            "token's max_ack_pending",
            json!({"max_ack_pending": 500}),
            "messages-released",
        )?,
        of(
            "token's consumers below its streams'",
            json!({"consumer": 1}),
            "",
        )?,
        of(
            "token's disk_storage below its streams",
            json!({"disk_storage": 3_000_000}),
            "",
        )?,
        tiers("tier of the streams", json!({"R1": unlimited()}), "")?,
        tiers("tier of other streams", json!({"R3": unlimited()}), out)?,
        tiers(
            "tier without room beside another",
            json!({"R1": {}, "R3": unlimited()}),
            "",
        )?,
        tiers(
            "tiers without room",
            json!({"R1": {}}),
            "account-without-jetstream",
        )?,
        tiers(
            "tier with a limit",
            json!({"R1": merged(&unlimited(), &json!({"disk_max_stream_bytes": 3_000_000}))}),
            out,
        )?,
    ])
}

fn sums(maker: &Maker<'_>) -> io::Result<Vec<Row>> {
    let wide = "account-limits-too-wide";
    let small = "jetstream { store_dir: STORE, max_file: 5000000 }\n";
    let disk =
        |bytes: i64| json!({"limits": merged(&unlimited(), &json!({"disk_storage": bytes}))});
    let memory =
        |bytes: i64| json!({"limits": merged(&unlimited(), &json!({"mem_storage": bytes}))});
    let of = |name, server: &str, a: &Value, b: &Value, code| -> io::Result<Row> {
        let config = format!("{server}{}", maker.usual(a, b)?.config(ALL));
        Ok(operated(name, config, code))
    };
    let large = "jetstream { store_dir: STORE, max_file: 1GB }\n";
    Ok(vec![
        of(
            "token's limit above max_file",
            small,
            &disk(6_000_000),
            &disk(1_000_000),
            wide,
        )?,
        of(
            "tokens' limits together above max_file",
            large,
            &disk(600 << 20),
            &disk(600 << 20),
            wide,
        )?,
        of(
            "tokens' limits together below max_file",
            large,
            &disk(400 << 20),
            &disk(400 << 20),
            "",
        )?,
        of(
            "other account's streams above max_file",
            small,
            &disk(-1),
            &disk(-1),
            wide,
        )?,
        of(
            "token's memory above max_mem",
            "jetstream { store_dir: STORE, max_mem: 1000 }\n",
            &memory(2_000),
            &memory(500),
            wide,
        )?,
        of(
            "token's limit without max_file",
            HERE,
            &disk(400 << 20),
            &disk(-1),
            "",
        )?,
    ])
}

fn operators(maker: &Maker<'_>) -> io::Result<Vec<Row>> {
    let plain = maker.operator(&json!({}), "")?;
    let signing = maker.operator(&json!({"signing_key": "second"}), "second")?;
    let strict = json!({"signing_key": "second", "strict": true});
    let strictly = maker.operator(&strict, "second")?;
    let loosely = maker.operator(&json!({"signing_key": "second"}), "")?;
    let preload = plain.preload(ALL);
    let file = |text: String| {
        let config = format!("operator: \"STORE-operator\"\nresolver: MEMORY\n{preload}");
        let row = operated("operator in a file", format!("{HERE}{config}"), "");
        changed(row, move |store| {
            fs::write(store.with_file_name("store-operator"), &text)
        })
    };
    let decorated = format!(
        "-----BEGIN NATS OPERATOR JWT-----\n{}\n------END NATS OPERATOR JWT------\n",
        plain.operator
    );
    let nameless = format!("trusted: {:?}\nresolver: MEMORY\n{preload}", plain.key);
    let trusted = format!("{nameless}system_account: {}\n", plain.account(SYSTEM).key);
    Ok(vec![
        operated("accounts issued by a signing key", signing.config(ALL), ""),
        operated(
            "accounts issued by a signing key, strictly",
            strictly.config(ALL),
            "",
        ),
        operated(
            "accounts issued beside the signing key",
            loosely.config(ALL),
            "",
        ),
        operated(
            "operator in a list",
            plain
                .config(ALL)
                .replace("operator: ", "operator: [")
                .replace("\nresolver:", "]\nresolver:"),
            "",
        ),
        file(plain.operator.clone()),
        Row {
            name: "operator in a file, decorated",
            ..file(decorated)
        },
        operated("trusted key", trusted, ""),
        operated(
            "trusted key without a system account",
            nameless,
            "server-start-refused",
        ),
        operated(
            "operator's file is not there",
            format!("operator: nowhere.jwt\nresolver: MEMORY\n{preload}"),
            "server-config-invalid",
        ),
    ])
}

fn refused(maker: &Maker<'_>) -> io::Result<Vec<Row>> {
    let (invalid, refused) = ("server-config-invalid", "server-start-refused");
    let plain = maker.operator(&json!({}), "")?;
    let newer = maker.operator(&json!({"server_version": "2.99.0"}), "")?;
    let older = maker.operator(&json!({"server_version": "2.9.0"}), "")?;
    let strict = json!({"signing_key": "second", "strict": true});
    let beside = maker.operator(&strict, "")?;
    let all = plain.config(ALL);
    let token = &plain.account("A").token;
    let broken = |from: usize| all.replace(token, &token[from..]);
    Ok(vec![
        operated(
            "operator's token cut",
            all.replace(&plain.operator, &plain.operator[..99]),
            invalid,
        ),
        operated("account's token without its head", broken(3), invalid),
        operated(
            "account's token is a user's",
            all.replace(token, &plain.account("A").user),
            invalid,
        ),
        operated(
            "account's token is no text",
            all.replace(&format!("{token:?}"), "7"),
            invalid,
        ),
        operated(
            "resolver of no kind",
            all.replace("MEMORY", "NOTHING"),
            invalid,
        ),
        operated(
            "operator without a resolver",
            format!("operator: {:?}\n", plain.operator),
            refused,
        ),
        operated(
            "operator beside accounts",
            format!("{all}accounts {{ X {{ }} }}\n"),
            refused,
        ),
        operated(
            "operator beside users",
            format!("{all}authorization {{ users: [ {{ user: u, password: p }} ] }}\n"),
            refused,
        ),
        operated(
            "operator beside trusted keys",
            format!("{all}trusted: {}\n", plain.key),
            refused,
        ),
        operated(
            "operator asks for a newer server",
            newer.config(ALL),
            refused,
        ),
        operated("operator asks for an older server", older.config(ALL), ""),
        operated(
            "system account issued against strictness",
            beside.config(ALL),
            refused,
        ),
        operated(
            "tokens preloaded beside a URL",
            all.replace("MEMORY", "URL(http://127.0.0.1:1/)"),
            refused,
        ),
    ])
}

fn systems(maker: &Maker<'_>) -> io::Result<Vec<Row>> {
    let refused = "server-start-refused";
    let none = json!({});
    let plain = maker.usual(&none, &none)?;
    let accounts: Vec<Value> = ALL
        .iter()
        .map(|name| wish(name, &json!({"limits": unlimited()})))
        .collect();
    let with_jetstream = Tokens::of(maker.oracle, &operator(&none), &accounts)?;
    let quiet = maker.usual(&none, &json!({"limits": {}}))?;
    let silent = Tokens::of(
        maker.oracle,
        &json!({"name": "O"}),
        &[
            wish("A", &json!({"limits": unlimited()})),
            wish("B", &json!({"limits": {}})),
        ],
    )?;
    let b = silent.account("B").key;
    let system = |key: &str| format!("{}system_account: {key}\n", silent.config(&["A", "B"]));
    Ok(vec![
        operated(
            "system account not preloaded",
            plain.config(&["A", "B"]),
            refused,
        ),
        operated(
            "JetStream in the system account's token",
            with_jetstream.config(ALL),
            refused,
        ),
        operated(
            "another system account than the operator's",
            format!(
                "{}system_account: {}\n",
                quiet.config(ALL),
                quiet.account("B").key
            ),
            refused,
        ),
        operated(
            "operator without a system account",
            silent.config(&["A", "B"]),
            refused,
        ),
        operated(
            "account is the system account of an operator",
            system(&b),
            "account-is-system",
        ),
    ])
}

fn directories(maker: &Maker<'_>) -> io::Result<Vec<Row>> {
    let none = json!({});
    let plain = maker.usual(&none, &none)?;
    let without = maker.usual(&json!({"limits": {}}), &none)?;
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let newer = maker.usual(&json!({"called": "newer"}), &none)?;
    let newer_without = maker.usual(&json!({"limits": {}, "called": "newer"}), &none)?;
    let full = |name, code| operated(name, by_directory(&plain, "full"), code);
    let a = plain.account("A").key;
    let (off, unknown) = ("account-without-jetstream", "account-unknown");
    let preloaded = |name, tokens: &Tokens, code| {
        operated(
            name,
            format!("{}{}", by_directory(tokens, "full"), tokens.preload(&["A"])),
            code,
        )
    };
    Ok(vec![
        in_directory(full("tokens in a directory", ""), files(&plain, ALL)),
        in_directory(
            operated("tokens in a cache", by_directory(&plain, "CACHE"), ""),
            files(&plain, ALL),
        ),
        in_directory(
            full("system account's token not in the directory", ""),
            files(&plain, &["A", "B"]),
        ),
        in_directory(
            full("account's token not in the directory", unknown),
            files(&plain, &[SYSTEM, "A"]),
        ),
        full("directory of tokens not there", unknown),
        in_directory(
            full("token in the directory without JetStream", off),
            files(&without, ALL),
        ),
        in_directory(
            full("token in the directory is none", "account-token-refused"),
            [
                files(&plain, &[SYSTEM, "B"]),
                vec![(a.clone(), "nothing".to_owned())],
            ]
            .concat(),
        ),
        in_directory(
            preloaded("preloaded token newer than the directory's", &newer, ""),
            files(&without, ALL),
        ),
        in_directory(
            preloaded(
                "preloaded token without JetStream newer than the directory's",
                &newer_without,
                off,
            ),
            files(&plain, ALL),
        ),
        in_directory(
            preloaded("preloaded token older than the directory's", &without, ""),
            files(&newer, ALL),
        ),
        in_directory(
            preloaded("preloaded token beside one that is none", &plain, ""),
            [
                files(&plain, &[SYSTEM, "B"]),
                vec![(a, "nothing".to_owned())],
            ]
            .concat(),
        ),
    ])
}

fn faulty_directories(maker: &Maker<'_>) -> io::Result<Vec<Row>> {
    let plain = maker.usual(&json!({}), &json!({}))?;
    let silent = Tokens::of(maker.oracle, &json!({"name": "O"}), &[])?;
    let full = |name, code| operated(name, by_directory(&plain, "full"), code);
    Ok(vec![
        operated(
            "directory without a system account",
            by_directory(&silent, "full"),
            "server-start-refused",
        ),
        operated(
            "directory of type full with ttl",
            by_directory(&plain, "full").replace("type: full", "type: full, ttl: \"1h\""),
            "server-config-invalid",
        ),
        operated(
            "cache with an interval",
            by_directory(&plain, "cache").replace("type: cache", "type: cache, interval: \"1h\""),
            "server-config-invalid",
        ),
        changed(
            full("directory of tokens is a file", "server-config-invalid"),
            |store| fs::write(jwts(store), ""),
        ),
    ])
}

/// JetStream, the operator, and a directory of tokens.
fn by_directory(tokens: &Tokens, kind: &str) -> String {
    format!(
        "{HERE}operator: {:?}\nresolver {{ type: {kind}, dir: \"STORE-jwt\" }}\n",
        tokens.operator
    )
}

fn elsewhere(maker: &Maker<'_>) -> io::Result<Vec<Row>> {
    let plain = maker.usual(&json!({}), &json!({}))?;
    let config = format!("{HERE}{}", plain.config(ALL));
    Ok(vec![
        row(
            "global account beside an operator",
            Kept::Global,
            config.clone(),
            "account-unknown",
        ),
        row(
            "accounts without keys beside an operator",
            Kept::Accounts,
            config.clone(),
            "account-unknown",
        ),
        changed(
            operated(
                "operator's accounts directly in store_dir",
                config,
                "account-relocated",
            ),
            |store| {
                for entry in fs::read_dir(store.join("jetstream"))? {
                    let entry = entry?;
                    fs::rename(entry.path(), store.join(entry.file_name()))?;
                }
                fs::remove_dir_all(store.join("jetstream"))
            },
        ),
    ])
}
