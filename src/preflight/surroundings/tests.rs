use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::*;
use crate::env::memory::MemoryFileSystem;
use crate::format::checksum::{HashKey, hex16};
use crate::server_config::{parse, through};

mod operator;

const FILE: &str = "/etc/nats.conf";
const ACCOUNTS_DIR: &str = "/data/jetstream";
const NOW_S: i64 = 1_000;

fn stream(account: &str, name: &str) -> StreamDir {
    StreamDir {
        account: Some(account.into()),
        name: name.into(),
        dir: format!("{ACCOUNTS_DIR}/{account}/streams/{name}").into(),
    }
}

fn meta(json: &str) -> StreamMeta {
    StreamMeta::parse(json.as_bytes()).expect("metadata")
}

/// A store of the account A with the streams S (max_bytes 4,000) and T (2,000).
fn store() -> MemoryFileSystem {
    let fs = MemoryFileSystem::new();
    for (name, max_bytes) in [("S", 4_000), ("T", 2_000)] {
        let inf = format!(r#"{{"name":"{name}","max_bytes":{max_bytes}}}"#);
        let sum = hex16(HashKey::for_stream(name.as_bytes()).hash64(&[inf.as_bytes()]));
        let dir = stream("A", name).dir;
        fs.seed_file(dir.join("meta.inf"), inf.as_bytes());
        fs.seed_file(dir.join("meta.sum"), sum.as_bytes());
    }
    fs
}

struct Case {
    fs: MemoryFileSystem,
    server: &'static str,
    accounts_dir: &'static str,
}

fn case() -> Case {
    Case {
        fs: store(),
        server: "2.15",
        accounts_dir: ACCOUNTS_DIR,
    }
}

impl Case {
    fn of(&self, text: &str) -> Surroundings {
        self.fs.seed_file(Path::new(FILE), text.as_bytes());
        let none = |_: &OsStr| None::<OsString>;
        let parsed = parse(Path::new(FILE), &through(&self.fs), &none);
        let document = match parsed {
            Ok(document) => document,
            Err(error) => return Surroundings::unreadable(&error),
        };
        let server = self.server.parse().expect("a version");
        let store_dir = ServerSettings::read(&document, Path::new(FILE), server).store_dir;
        let facts = Facts {
            server,
            store_dir: store_dir.map(|set| set.value),
            accounts_dir: Some(self.accounts_dir.into()),
            temp_dir: PathBuf::from("/tmp"),
            clustered: false,
        };
        Surroundings::of(
            &self.fs,
            &document,
            Path::new(FILE),
            &Options::new(NOW_S * 1_000_000_000),
            &facts,
        )
    }
}

/// Code and place of an event.
fn said(event: Option<Event>) -> (&'static str, String) {
    let event = event.expect("an event");
    (event.code.as_str(), event.file.unwrap_or_default())
}

/// What the first event of a server that does not start says.
fn refused(text: &str) -> (&'static str, String) {
    let around = case().of(text);
    assert!(!around.starts(), "{text}");
    said(around.events().first().cloned())
}

fn at(code: &'static str, place: &str) -> (&'static str, String) {
    (code, format!("{FILE}{place}"))
}

const WHERE: &str = "jetstream { store_dir: /data }\n";
const ACCOUNT: &str = "jetstream { store_dir: /data }\naccounts { A { jetstream: enabled } }\n";

#[test]
fn a_configuration_that_fits_stands_in_no_way() {
    let around = case().of(ACCOUNT);
    assert!(around.starts() && around.events().is_empty());
    assert_eq!(around.standing(), Standing::Standalone);
    let stream = stream("A", "S");
    assert_eq!(around.before_its_files(&stream), None);
    let meta = meta(r#"{"name":"S","max_bytes":4000}"#);
    assert_eq!(around.before_its_store(&stream, &meta), None);
    assert_eq!(around.after_its_start(&stream), None);
}

#[test]
fn what_does_not_parse_is_named_by_line_and_column() {
    for (text, place) in [
        ("jetstream {\n max_file: [\n}\n", ":3:1"),
        ("jetstream {\n key: $NOWHERE\n}\n", ":2:7"),
        ("jetstream {\n max_fil: 1GB\n}\n", ":2:2"),
        ("no_such_thing: 1\n", ":1:1"),
        ("accounts { A { jetstream { max_fil: 1 } } }", ":1:28"),
        ("accounts { $G { jetstream: enabled } }", ":1:12"),
        ("store_dir: /a\njetstream { store_dir: /b }", ":2:13"),
        ("jetstream { max_file: 1X }", ":1:13"),
    ] {
        assert_eq!(refused(text), at("server-config-invalid", place), "{text}");
    }
    // A key that only serves as a variable may have any name.
    let text = "limit: 5GB\njetstream { store_dir: /data, max_file: $limit }";
    assert!(case().of(text).starts());
    let absent = refused("include nowhere.conf");
    assert_eq!(absent.0, "server-config-invalid");
}

#[test]
fn an_older_server_does_not_know_newer_fields() {
    let text = "jetstream { store_dir: /data, strict: false }";
    assert!(case().of(text).starts());
    let old = Case {
        server: "2.10",
        ..case()
    };
    assert!(!old.of(text).starts());
}

#[test]
fn configurations_that_no_server_starts_with() {
    let member = "jetstream { store_dir: /data }\nserver_name: n1\n";
    for (text, place) in [
        (
            "jetstream { store_dir: /data }\ncluster { name: C, listen: 6222, routes: [a] }".to_owned(),
            ":2:1",
        ),
        (
            format!("{member}cluster {{ listen: 6222, routes: [a] }}"),
            ":3:1",
        ),
        (format!("{member}cluster {{ name: C, listen: \"h:6222\" }}"), ":3:1"),
        (
            "jetstream { store_dir: /data, max_file: 10 }\naccounts { A { jetstream { max_file: 6 } }, B { jetstream { max_file: 5 } } }".to_owned(),
            ":1:31",
        ),
        (
            "jetstream { store_dir: /data }\naccounts { S { jetstream: on } }\nsystem_account: S".to_owned(),
            ":2:16",
        ),
        // The streams of A reserve 6,000 bytes, and no room is left to enable B.
        (
            "jetstream { store_dir: /data, max_file: 5000 }\naccounts { A { jetstream: on }, B { jetstream: on } }".to_owned(),
            ":1:31",
        ),
    ] {
        assert_eq!(refused(&text), at("server-start-refused", place), "{text}");
    }
    // A cluster that does not listen is none.
    let around = case().of(&format!("{ACCOUNT}cluster {{ name: C }}"));
    assert!(around.starts() && around.standing() == Standing::Standalone);
}

#[test]
fn streams_that_a_server_does_not_see() {
    let kept = |text: &str| said(case().of(text).before_its_files(&stream("A", "S")));
    for (text, code, place) in [
        ("port: 4222", "jetstream-off", ""),
        ("jetstream: disabled", "jetstream-off", ":1:1"),
        (
            "jetstream { store_dir: /data, enabled: false }",
            "jetstream-off",
            ":1:31",
        ),
        (
            "jetstream { store_dir: /data/jetstream, max_file: 1GB }",
            "store-elsewhere",
            ":1:13",
        ),
        (
            "jetstream { store_dir: /elsewhere }",
            "store-elsewhere",
            ":1:13",
        ),
        ("jetstream: enabled", "store-elsewhere", ""),
        (WHERE, "account-unknown", ""),
        (
            "jetstream { store_dir: /data }\naccounts { B { jetstream: on } }",
            "account-unknown",
            ":2:1",
        ),
        (
            "jetstream { store_dir: /data }\naccounts { A {} }",
            "account-without-jetstream",
            ":2:12",
        ),
        (
            "jetstream { store_dir: /data }\naccounts [A]",
            "account-without-jetstream",
            ":2:11",
        ),
        (
            "jetstream { store_dir: /data }\naccounts { A { jetstream: disabled } }",
            "account-without-jetstream",
            ":2:16",
        ),
        (
            "jetstream { store_dir: /data }\naccounts { A {} }\nsystem_account: A",
            "account-is-system",
            ":3:1",
        ),
    ] {
        assert_eq!(kept(text), at(code, place), "{text}");
    }
}

#[test]
fn the_global_account_is_there_only_where_it_is_alone() {
    let global = stream("$G", "S");
    let kept = |text: &str| case().of(text).before_its_files(&global).is_some();
    assert!(!kept(WHERE));
    assert!(!kept(&format!(
        "{WHERE}authorization {{ users: [ {{ user: u, password: p }} ] }}"
    )));
    assert!(!kept(&format!(
        "{WHERE}accounts {{ S {{}} }}\nsystem_account: S"
    )));
    assert!(kept(ACCOUNT));
}

#[test]
fn accounts_directly_in_the_store_directory_are_moved() {
    let above = Case {
        accounts_dir: "/data",
        fs: MemoryFileSystem::with_files([
            ("/data/A/streams/S/meta.inf", "{}"),
            ("/data/B/streams/S/meta.inf", "{}"),
        ]),
        ..case()
    };
    let around = above.of(ACCOUNT);
    let found = StreamDir {
        dir: "/data/A/streams/S".into(),
        ..stream("A", "S")
    };
    assert_eq!(around.before_its_files(&found), None);
    assert_eq!(
        said(around.remarks(&found)),
        at("account-relocated", ":1:13")
    );
    let unknown = said(around.before_its_files(&stream("B", "S")));
    assert_eq!(unknown.0, "account-unknown");
    // One directory alone is not moved where the server has no need to make another beside it.
    let limited = ACCOUNT.replace("/data", "/data, max_file: 1GB");
    let single = Case {
        accounts_dir: "/data",
        fs: MemoryFileSystem::with_files([("/data/A/streams/S/meta.inf", "{}")]),
        ..case()
    };
    assert_eq!(
        said(single.of(&limited).before_its_files(&found)).0,
        "store-elsewhere"
    );
}

#[test]
fn limits_that_leave_a_stream_out() {
    let (found, meta) = (
        stream("A", "S"),
        meta(r#"{"name":"S","max_bytes":4000,"duplicate_window":120000000000}"#),
    );
    let kept = |text: &str| case().of(text).before_its_store(&found, &meta);
    let limits = |text: &str| {
        format!("jetstream {{ store_dir: /data }}\naccounts {{ A {{ jetstream {{ {text} }} }} }}")
    };
    assert_eq!(
        said(kept(&limits("disk_max_stream_bytes: 3999"))),
        at("limit-leaves-stream-out", ":2:28")
    );
    assert_eq!(
        kept(&limits(
            "disk_max_stream_bytes: 4000, max_bytes_required: true"
        )),
        None
    );
    let text =
        format!("{ACCOUNT}jetstream {{ store_dir: /data, limits {{ duplicate_window: \"1m\" }} }}");
    assert_eq!(said(kept(&text)), at("limit-leaves-stream-out", ":3:40"));
    let unlimited = super::tests::meta(r#"{"name":"S","max_bytes":-1}"#);
    let around = case().of(&limits("max_bytes_required: true"));
    assert_eq!(
        said(around.before_its_store(&found, &unlimited)).0,
        "limit-leaves-stream-out"
    );
    let replicated = super::tests::meta(r#"{"name":"S","num_replicas":3}"#);
    assert_eq!(
        said(case().of(ACCOUNT).before_its_store(&found, &replicated)).0,
        "replicas-unsupported"
    );
}

#[test]
fn sums_are_held_against_streams_by_older_servers_only() {
    let text = "jetstream { store_dir: /data, max_file: 5000 }\naccounts { A { jetstream: on } }";
    let second = meta(r#"{"name":"T","max_bytes":2000}"#);
    let kept = |server, name: &str| {
        let around = Case { server, ..case() }.of(text);
        around.before_its_store(
            &stream("A", name),
            &StreamMeta::clone(&second.with_name(name)),
        )
    };
    for server in ["2.12.5", "2.14.0", "2.15"] {
        assert_eq!(kept(server, "T"), None, "{server}");
    }
    for server in ["2.10", "2.11", "2.12.4"] {
        assert_eq!(
            said(kept(server, "T")),
            at("limit-leaves-stream-out", ":1:31"),
            "{server}"
        );
        assert_eq!(kept(server, "S"), None, "{server}");
    }
    let account = "jetstream { store_dir: /data }\naccounts { A { jetstream { max_file: 3000 } } }";
    let around = Case {
        server: "2.10",
        ..case()
    }
    .of(account);
    let kept = |name| around.before_its_store(&stream("A", name), &second.with_name(name));
    assert_eq!(said(kept("S")), at("limit-leaves-stream-out", ":2:28"));
    assert_eq!(kept("T"), None);
}

#[test]
fn limits_that_leave_a_consumer_out() {
    let consumer = |json: &str| ConsumerMeta::parse(json.as_bytes()).expect("metadata");
    let usual = consumer(r#"{"durable_name":"C","max_ack_pending":1000}"#);
    let kept = |text: &str, meta: &ConsumerMeta| {
        case()
            .of(text)
            .before_a_consumer(&stream("A", "S"), "C", meta)
    };
    let server =
        format!("{ACCOUNT}jetstream {{ store_dir: /data, limits {{ max_ack_pending: 999 }} }}");
    assert_eq!(
        said(kept(&server, &usual)),
        at("limit-leaves-consumer-out", ":3:40")
    );
    let account =
        "jetstream { store_dir: /data }\naccounts { A { jetstream { max_ack_pending: 10 } } }";
    assert_eq!(
        said(kept(account, &usual)),
        at("limit-leaves-consumer-out", ":2:28")
    );
    assert_eq!(kept(account, &consumer(r#"{"max_ack_pending":-1}"#)), None);
    assert_eq!(kept(account, &consumer("{}")), None);
    assert_eq!(kept(ACCOUNT, &usual), None);
}

#[test]
fn a_member_without_the_clusters_metadata_deletes_every_stream() {
    let text =
        format!("{ACCOUNT}server_name: n1\ncluster {{ name: C, listen: 6222, routes: [a] }}\n");
    let around = case().of(&text);
    assert_eq!(around.standing(), Standing::Member);
    let found = stream("A", "S");
    assert_eq!(
        said(around.after_its_start(&found)),
        at("stream-orphaned", ":4:1")
    );
    let replicated = meta(r#"{"name":"S","num_replicas":3}"#);
    assert_eq!(around.before_its_store(&found, &replicated), None);
}

#[test]
fn members_are_known_by_their_names() {
    let peers = [
        &3_u32.to_le_bytes()[..],
        &3_u32.to_le_bytes(),
        b"fjFyEjc144jzkV9DBXScrY9i",
    ]
    .concat();
    let member = case();
    member.fs.seed_file(
        Path::new("/data/jetstream/SYS/_js_/_meta_/peers.idx"),
        peers.clone(),
    );
    let of = |name: &str, system: &str| {
        let text = format!(
            "{ACCOUNT}server_name: {name}\ncluster {{ name: C, listen: 6222, routes: [a] }}\nsystem_account: {system}\n"
        );
        member.of(&text).after_its_start(&stream("A", "S"))
    };
    assert_eq!(of("n1", "SYS"), None);
    assert_eq!(said(of("n4", "SYS")), at("server-not-a-peer", ":3:1"));
    assert_eq!(said(of("n1", "OTHER")), at("stream-orphaned", ":5:1"));
}

#[test]
fn older_servers_bring_the_first_consumers_back() {
    let text = "jetstream { store_dir: /data }\naccounts { A { jetstream { max_consumers: 2 } } }";
    let around = case().of(text);
    let most = |server: &str, meta: &StreamMeta| {
        let server = server.parse().expect("a version");
        let found = around.most_consumers(&stream("A", "S"), meta, server)?;
        Some((found.0, found.1.file.unwrap_or_default()))
    };
    let (free, own) = (
        meta(r#"{"name":"S","max_consumers":-1}"#),
        meta(r#"{"name":"S","max_consumers":1}"#),
    );
    assert_eq!(most("2.12.4", &free), Some((2, format!("{FILE}:2:28"))));
    assert_eq!(most("2.10", &own), Some((1, "meta.inf".to_owned())));
    assert_eq!(most("2.12.5", &own), None);
    let more = meta(r#"{"name":"S","max_bytes":1,"max_consumers":3}"#);
    let kept = |server| {
        let around = Case { server, ..case() };
        around
            .fs
            .seed_file(stream("A", "S").dir.join("meta.inf"), more.encode());
        let sum = hex16(HashKey::for_stream(b"S").hash64(&[&more.encode()]));
        around
            .fs
            .seed_file(stream("A", "S").dir.join("meta.sum"), sum.as_bytes());
        around.of(text).before_its_store(&stream("A", "S"), &more)
    };
    assert_eq!(said(kept("2.10")), at("limit-leaves-stream-out", ":2:28"));
    assert_eq!(kept("2.15"), None);
}
