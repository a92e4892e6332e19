use super::*;
use crate::crypto::Cipher;
use crate::env::FileSystem;
use crate::env::{DEFAULT_DIR_MODE, OsFileSystem};
use proptest::prelude::*;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Reads the first of these files, all of which lie in one new directory.
fn read_files(
    files: &[(&str, &str)],
    environment: &[(&str, &str)],
) -> Result<ServerConfig, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        let parent = path.parent().unwrap();
        OsFileSystem
            .create_dir_all(parent, DEFAULT_DIR_MODE)
            .unwrap();
        OsFileSystem.write_in_place(&path, text.as_bytes()).unwrap();
    }
    let variable = |name: &OsStr| {
        let found = environment.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    };
    let mut result = read_with(
        &directory.path().join(files[0].0),
        &through(&OsFileSystem),
        &variable,
    );
    if let Err(error) = &mut result
        && let Ok(name) = error.file.strip_prefix(directory.path())
    {
        error.file = name.to_path_buf();
    }
    result
}

fn read_text(text: &str) -> Result<ServerConfig, ConfigError> {
    read_files(&[("nats.conf", text)], &[])
}

fn key(text: &str) -> String {
    let key = read_text(text).unwrap().key.unwrap();
    String::from_utf8(key.to_vec()).unwrap()
}

fn error(text: &str) -> String {
    read_text(text).unwrap_err().to_string()
}

#[test]
fn a_cluster_node() {
    let text = r#"
# Production node
server_name: n1-eu
listen: 0.0.0.0:4222
max_payload: 8MB
tls { cert_file: "/etc/nats/tls.crt", key_file: "/etc/nats/tls.key", timeout: 2.5 }

jetstream {
    store_dir: /var/lib/nats   // on the fast disk
    max_mem: 1G
    max_file: 100GB
    cipher: "AES"
    key: $JS_KEY
    prev_key: "old \"one\""
    limits { max_ack_pending: 1_000 }
}

cluster {
  name: eu
  listen: 0.0.0.0:6222
  routes = [
    nats-route://ruser:$ROUTE_PW@10.0.0.1:6222
    nats-route://10.0.0.2:6222, "nats-route://10.0.0.3:6222"
  ]
  authorization { user: ruser, password: $ROUTE_PW; timeout: 0.5 }
}
accounts: {
  SYS: { users: [ { user: sys, password: $2a$11$YFmQ/aW5xA } ] },
  APP: { jetstream: enabled, users: [{user: a, password: b}] }
}
system_account: SYS
"#;
    let config = read_files(&[("nats.conf", text)], &[("JS_KEY", "s3cr3t")]).unwrap();
    assert_eq!(
        config.store_dir.as_deref(),
        Some(Path::new("/var/lib/nats"))
    );
    assert_eq!(config.key.as_deref().unwrap(), b"s3cr3t");
    assert_eq!(config.prev_key.as_deref().unwrap(), br#"old "one""#);
    assert_eq!(config.cipher, Some(Cipher::Aes));
    assert!(!config.key_in_tpm);
    assert!(!format!("{config:?}").contains("s3cr3t"));
}

#[test]
fn a_json_configuration() {
    let text = r#"{
  "port": 4222,
  "JetStream": {
    "StoreDir": "/data",
    "Encryption_Key": "k",
    "prev_ek": 'p',
    "cipher": "chachapoly"
  }
}
"#;
    let config = read_text(text).unwrap();
    assert_eq!(config.store_dir.as_deref(), Some(Path::new("/data")));
    assert_eq!(config.key.as_deref().unwrap(), b"k");
    assert_eq!(config.prev_key.as_deref().unwrap(), b"p");
    assert_eq!(config.cipher, Some(Cipher::ChaCha));
}

#[test]
fn configurations_that_say_nothing_of_keys() {
    for text in [
        "",
        "# nothing\n",
        "port: 4222",
        "jetstream: enabled",
        "jetstream: true",
        "jetstream {}",
        "jetstream { key: \"\", store_dir: '' }",
        "accounts { jetstream { key: a } }",
    ] {
        let read = ServerConfig {
            jetstream: JetStream::Unsaid,
            ..read_text(text).unwrap()
        };
        assert_eq!(read, ServerConfig::default(), "{text:?}");
    }
    let config = read_text("store_dir: /top\njetstream: on\n").unwrap();
    assert_eq!(config.store_dir.as_deref(), Some(Path::new("/top")));
}

#[test]
fn a_tpm_holds_the_key() {
    let text = "jetstream {\n tpm {\n keys_file: a\n encryption_password: b\n cipher: aes\n }\n}\n";
    let config = read_text(text).unwrap();
    assert!(config.key_in_tpm);
    assert_eq!((config.key, config.cipher), (None, Some(Cipher::Aes)));
}

#[test]
fn strings_in_all_their_forms() {
    for (written, expected) in [
        ("abc", "abc"),
        ("abc # no comment\n", "abc"),
        ("a#b", "a#b"),
        ("http://a/b", "http://a/b"),
        (r"a\tb\x41", "a\tbA"),
        (r"'a\b'", r"a\b"),
        ("\"a\nb\"", "a\nb"),
        ("(\nblock\n )\n)\n", "\nblock\n )\n"),
        ("12ab", "12ab"),
        ("10.1.2.3:80", "10.1.2.3:80"),
        ("5kg", "5kg"),
        ("$2a$11$hash", "$2a$11$hash"),
        ("\"true\"", "true"),
        ("tru\\x65", "true"),
        ("\"$X\"", "$X"),
    ] {
        let text = format!("jetstream {{\n key: {written}\n}}\n");
        assert_eq!(key(&text), expected, "{written:?}");
    }
    let bytes = read_text("jetstream { key: \"\\xff\\x00\" }").unwrap();
    assert_eq!(bytes.key.as_deref().unwrap(), b"\xff\0");
}

#[test]
fn variables_come_from_the_innermost_map_or_the_environment() {
    let environment = [
        ("OUTER", "$INNER"),
        ("INNER", "\"from environment\""),
        ("NUMBER", "12345"),
        ("LOOP", "$POOL"),
        ("POOL", "$LOOP"),
        ("WORDS", "two words"),
        ("k", "never asked for"),
    ];
    let read = |text: &str| read_files(&[("nats.conf", text)], &environment);
    let key = |text: &str| read(text).unwrap().key.unwrap().to_vec();
    assert_eq!(key("k: top\njetstream { k: inner, key: $k }"), b"inner");
    assert_eq!(key("k: top\njetstream { key: $k, k: inner }"), b"top");
    assert_eq!(
        key("other { j: inner }\nj: top\njetstream { key: $j }"),
        b"top"
    );
    assert_eq!(key("jetstream { key: $OUTER }"), b"from environment");
    assert_eq!(key("js { key: x }\njetstream: $js"), b"x");
    let problem = |text: &str| {
        let error = read(text).unwrap_err();
        (error.file, error.line, error.problem)
    };
    let here = PathBuf::from("nats.conf");
    assert_eq!(
        problem("\njetstream {\n key: $absent\n}"),
        (
            here.clone(),
            3,
            Problem::UnknownVariable {
                name: "absent".into()
            }
        )
    );
    assert_eq!(
        problem("jetstream { key: $LOOP }"),
        (
            "$POOL".into(),
            1,
            Problem::VariableLoop {
                name: "LOOP".into()
            }
        )
    );
    assert!(matches!(
        problem("jetstream { key: $NUMBER }"),
        (file, 1, Problem::WrongType { found: "a number (quotes make it a string)", .. })
            if file == here
    ));
    assert!(matches!(
        problem("jetstream { key: $WORDS }").2,
        Problem::Unexpected { found: 'w', .. }
    ));
    // Nobody asks for these.
    assert!(read("password: $absent\nother: [$LOOP, $WORDS]\n").is_ok());
}

#[test]
fn includes_are_relative_to_the_file_they_stand_in() {
    let config = read_files(
        &[
            (
                "nats.conf",
                "include parts/js.conf\nname: x\njetstream {\n include 'parts/keys.conf'\n \
                 store_dir: $dir\n}\n",
            ),
            ("parts/js.conf", "include \"dir.conf\"; other: 1\n"),
            ("parts/dir.conf", "dir: /data\n"),
            ("parts/keys.conf", "ek: k\ninclude /more.conf"),
            ("parts/more.conf", "cipher = aes"),
        ],
        &[],
    )
    .unwrap();
    assert_eq!(config.store_dir.as_deref(), Some(Path::new("/data")));
    assert_eq!(config.key.as_deref().unwrap(), b"k");
    assert_eq!(config.cipher, Some(Cipher::Aes));

    let one = |files: &[(&str, &str)]| read_files(files, &[]).unwrap_err();
    let broken = one(&[("a", "x: 1\ninclude b"), ("b", "y: 1\njetstream: [\n")]);
    assert_eq!((broken.file, broken.line), ("b".into(), 3));
    let wrong = one(&[("a", "include b"), ("b", "\njetstream {\nkey: 7\n}")]);
    assert_eq!((wrong.file, wrong.line), ("b".into(), 3));
    assert!(matches!(
        one(&[("a", "include b"), ("b", "include a")]).problem,
        Problem::IncludeLoop { .. }
    ));
    assert!(matches!(
        one(&[("a", "include ./a")]).problem,
        Problem::TooDeep { .. } | Problem::IncludeLoop { .. }
    ));
    assert_eq!(
        one(&[("a", "include nowhere")]).problem,
        Problem::Unreadable {
            kind: std::io::ErrorKind::NotFound
        }
    );
}

#[test]
fn breadth_and_depth_are_bounded() {
    let twice = "include b\ninclude b\n";
    let mut files = vec![("a".to_owned(), twice.to_owned())];
    for name in 'b'..'p' {
        let next = char::from(name as u8 + 1);
        files.push((name.into(), twice.replace('b', &next.to_string())));
    }
    files.push(("p".into(), String::new()));
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (&**name, &**text))
        .collect();
    let problem = read_files(&files, &[]).unwrap_err().problem;
    assert!(matches!(problem, Problem::TooMany { .. }), "{problem:?}");

    for nested in ["a: [", "{a:"] {
        let text = format!("x: {}", nested.replace("a: ", "").repeat(100_000));
        assert!(matches!(
            read_text(&text).unwrap_err().problem,
            Problem::TooDeep { .. }
        ));
    }
    let mut laughs = String::from("v0 { a: b }\n");
    for level in 1..60 {
        let last = level - 1;
        laughs.push_str(&format!("v{level} {{ a: $v{last}, b: $v{last} }}\n"));
    }
    assert!(read_text(&laughs).is_ok());
}

#[test]
fn values_keep_their_place_and_their_units() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nats.conf");
    let text = "port: 4222\n  JetStream {\n\tmax_file: 2GB, limit = 3k\n  strict: No\n}\nroutes: [a,\n \"b\"]\nshare: 1.5";
    OsFileSystem.write_in_place(&path, text.as_bytes()).unwrap();
    let document = parse(&path, &through(&OsFileSystem), &|_| None).unwrap();
    let (name, jetstream) = find(&document, &["jetstream"]).next().unwrap();
    assert_eq!(
        (name, jetstream.line, jetstream.column),
        ("JetStream", 2, 3)
    );
    let map = jetstream.map().unwrap();
    assert!(matches!(*map["max_file"].value, Value::Integer(n) if n == 2 << 30));
    assert!(matches!(*map["limit"].value, Value::Integer(3_000)));
    assert_eq!((map["limit"].line, map["limit"].column), (3, 17));
    assert!(matches!(*map["strict"].value, Value::Flag(false)));
    let Value::List(routes) = &*document["routes"].value else {
        panic!("{:?}", document["routes"]);
    };
    assert_eq!(routes[1].text(), Some("b"));
    assert_eq!(
        (&*routes[1].file, routes[1].line, routes[1].column),
        (&*path, 7, 2)
    );
    assert!(matches!(*document["share"].value, Value::Float(n) if n == 1.5));
}

#[test]
fn jetstream_is_switched_on_and_off() {
    for (text, expected) in [
        ("port: 1", JetStream::Unsaid),
        ("jetstream: true", JetStream::On),
        ("jetstream: enabled", JetStream::On),
        ("jetstream {}", JetStream::On),
        ("JETSTREAM { enabled: true }", JetStream::On),
        ("jetstream: off", JetStream::Off),
        ("jetstream: Disabled", JetStream::Off),
        (
            "jetstream { enabled: false, store_dir: /d }",
            JetStream::Off,
        ),
    ] {
        assert_eq!(read_text(text).unwrap().jetstream, expected, "{text:?}");
    }
}

#[test]
fn errors_say_where_and_never_what_the_key_is() {
    for (text, expected) in [
        (
            "\njetstream {\n  key: 4711\n}\n",
            "nats.conf:3:3: \"key\" has to be a string, not a number (quotes make it a string)",
        ),
        (
            "jetstream {\n key: hidden\n ek: hidden\n}",
            "nats.conf:3:2: \"ek\" is given again, see line 2",
        ),
        (
            "store_dir: a\njetstream { store: b }",
            "nats.conf:2:13: \"store\" is given again, see line 1",
        ),
        (
            "jetstream { cipher: rot13 }",
            "nats.conf:1:13: the ciphers are chacha and aes",
        ),
        (
            "jetstream {\n key:\n}",
            "nats.conf:3:1: \"key\" has no value",
        ),
        ("port", "nats.conf:1:5: \"port\" has no value"),
        (
            "jetstream: [1 2",
            "nats.conf:1:15: found '2' where ',' or ']' is expected",
        ),
        (
            "jetstream {\n key: \"hidden",
            "nats.conf:2:14: the text ends inside a quoted string",
        ),
        (
            "jetstream { key: \"hidden\\q\" }",
            "nats.conf:1:26: the escapes are \\xHH, \\t, \\n, \\r, \\\" and \\\\ only",
        ),
        (
            "a: 1\nb: 99999999999999999999",
            "nats.conf:2:24: number out of range or with an unknown unit",
        ),
        (
            "a: 2020-01-02",
            "nats.conf:1:14: not a date like 2006-01-02T15:04:05Z; quote it if it is none",
        ),
        (
            "a: 1\n: 2",
            "nats.conf:2:1: found ':' where a key is expected",
        ),
        ("a: 1\n\0", "nats.conf:1:1: not text at byte 5"),
        (
            "jetstream: 5",
            "nats.conf:1:1: \"jetstream\" has to be a map, a boolean or a string, not a number \
             (quotes make it a string)",
        ),
    ] {
        assert_eq!(error(text), expected, "{text:?}");
    }
}

/// Pieces that configurations are made of.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "jetstream",
            "key",
            "include",
            "$V",
            "$W",
            "{",
            "}",
            "[",
            "]",
            "(",
            ")\n",
            "\"",
            "'",
            "\\",
            "\\x4",
            ":",
            "=",
            ",",
            ";",
            " ",
            "\n",
            "#",
            "//",
            "/",
            "-",
            ".",
            "1",
            "2020-",
            "5kb",
            "a",
            "t.conf",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
    ]
}

proptest! {
    #[test]
    fn any_text_is_taken(pieces in prop::collection::vec(piece(), 0..40), value: String) {
        let text = pieces.concat();
        let _ = read_files(&[("t.conf", &text)], &[("V", &text), ("W", &value)]);
    }

    #[test]
    fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.conf");
        OsFileSystem.write_in_place(&path, &bytes).unwrap();
        let _ = read_with(&path, &through(&OsFileSystem), &|_| None);
    }

    #[test]
    fn a_quoted_key_comes_back(key in "[^\0]{1,40}") {
        let quoted: String = key
            .chars()
            .map(|c| match c {
                '"' | '\\' => format!("\\{c}"),
                c => c.to_string(),
            })
            .collect();
        let config = read_text(&format!("jetstream: {{ key: \"{quoted}\" }}")).unwrap();
        prop_assert_eq!(config.key.as_deref().unwrap().as_slice(), key.as_bytes());
    }
}
