use super::*;
use proptest::prelude::*;
use std::fs;
use tempfile::TempDir;

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "JS_KEY" => "from-env",
        "QUOTED" => "\"from env; quoted\"",
        "BLOCK" => "{ key: inner, cipher: aes }",
        "A" => "$B",
        "B" => "$A",
        "SPACED" => "two words",
        "NUMERIC" => "12345",
        "MIXED" => "12ab34",
        _ => return None,
    };
    Some(value.to_owned())
}

fn config(text: &str) -> Result<ServerConfig, ConfigError> {
    let directory = directory(&[("nats.conf", text)]);
    read_with(&directory.path().join("nats.conf"), &environment)
}

fn key(text: &str) -> Option<String> {
    config(text).unwrap().key.map(|key| key.to_string())
}

fn problem(text: &str) -> (usize, Problem) {
    let error = config(text).unwrap_err();
    (error.line, error.problem)
}

const REAL: &str = r#"
# A server as it might run somewhere.
server_name: "n1-$notavariable"
listen: 127.0.0.1:4222   // loopback
port = 4222; debug off
max_payload: 8MB
cluster {
  name = c1, routes = [
    nats-route://a:6222  # one
    nats-route://b:6222
  ]
}
jetstream: {
  store_dir: "/data/nats"
  max_mem: 1G
  max_file: 20Gb
  cipher: "ChaCha"   # comment
  key = $JS_KEY
  prev_key: 'old "key" \n',
  limits { max_ha_assets: 10 }
}
accounts {
  A { jetstream: enabled, users = [ {user: a, password: $2a$11$abcdef} ] }
  SYS: { users: [ { user: admin, password: $NO_SUCH_VARIABLE } ] }
}
system_account: SYS
authorization { token: (
multi
line
)
}
"#;

#[test]
fn a_real_looking_file() {
    let config = config(REAL).unwrap();
    assert_eq!(config.store_dir.as_deref(), Some(Path::new("/data/nats")));
    assert_eq!(config.key.as_deref().map(String::as_str), Some("from-env"));
    assert_eq!(
        config.prev_key.as_deref().map(String::as_str),
        Some("old \"key\" \\n")
    );
    assert_eq!(config.cipher, Some(Cipher::ChaCha));
    let shown = format!("{config:?}");
    assert!(
        !shown.contains("from-env") && !shown.contains("old"),
        "{shown}"
    );
}

#[test]
fn ways_to_write_a_key() {
    for (text, expected) in [
        ("jetstream { key: abc }", "abc"),
        ("jetstream {\n key abc\n}", "abc"),
        ("jetstream\n{\n KEY=abc;\n}", "abc"),
        ("JetStream: { ek: 'a b' }", "a b"),
        ("jetstream: { \"encryption_key\": \"a\\tb\\x41\" }", "a\tbA"),
        (
            "{\"jetstream\": {\"key\": \"json\", \"x\": [1, {\"y\": 2}]}}",
            "json",
        ),
        ("jetstream { key:\n  abc }", "abc"),
        ("jetstream { key: a#b//c }", "a#b//c"),
        ("jetstream { key: 12ab34 }", "12ab34"),
        ("jetstream { key: 5e7bcd }", "5e7bcd"),
        ("jetstream { key: 10.0.0.1 }", "10.0.0.1"),
        ("jetstream { key: one, key: two }", "two"),
        ("JSK: scoped\njetstream { key: $JSK }", "scoped"),
        ("K: outer\njetstream { K: inner, key: $K }", "inner"),
        ("jetstream { key: $JS_KEY }", "from-env"),
        ("jetstream { key: $QUOTED }", "from env; quoted"),
        ("jetstream { key: $MIXED }", "12ab34"),
        ("jetstream { key: \"$JS_KEY\" }", "$JS_KEY"),
        ("jetstream { key: (\na\n)\n}", "\na\n"),
        ("jetstream: $BLOCK", "inner"),
    ] {
        match config(text) {
            Ok(config) => {
                let key = config.key.map(|key| key.to_string());
                assert_eq!(key.as_deref(), Some(expected), "{text}");
            }
            Err(error) => panic!("{text}: {error}"),
        }
    }
    assert_eq!(key("jetstream: enabled"), None);
    assert_eq!(key("jetstream: true\n"), None);
    assert_eq!(key("jetstream { key: \"\" }"), None);
    assert_eq!(key(""), None);
}

#[test]
fn store_directories() {
    let store_dir = |text: &str| config(text).unwrap().store_dir;
    for text in [
        "store_dir: /d",
        "storedir=/d",
        "jetstream { store = /d }",
        "jetstream {storedir: '/d'}",
    ] {
        assert_eq!(store_dir(text).as_deref(), Some(Path::new("/d")), "{text}");
    }
    let (line, found) = problem("store_dir: /d\njetstream {\n store_dir: /e\n}");
    assert_eq!(
        found,
        Problem::Duplicate {
            key: "store_dir".to_owned()
        }
    );
    assert!(line == 1 || line == 3);
}

#[test]
fn problems_name_their_line() {
    let expected = |what| Problem::Expected { what };
    let unknown = |name: &str| Problem::UnknownVariable {
        name: name.to_owned(),
    };
    let text = "text; put it in quotes";
    for (text, wanted) in [
        (
            "a: 1\njetstream {\n key: 12345\n}",
            (
                3,
                Problem::WrongType {
                    key: "key".to_owned(),
                    expected: text,
                },
            ),
        ),
        (
            "jetstream { key: $NUMERIC }",
            (
                1,
                Problem::WrongType {
                    key: "key".to_owned(),
                    expected: text,
                },
            ),
        ),
        ("jetstream {\n\n key: $NOPE\n}", (3, unknown("NOPE"))),
        ("jetstream: $NOPE", (1, unknown("NOPE"))),
        (
            "jetstream { cipher: des }",
            (
                1,
                Problem::UnknownCipher {
                    word: "des".to_owned(),
                },
            ),
        ),
        (
            "jetstream { key: a, ek: b }",
            (
                1,
                Problem::Duplicate {
                    key: "key".to_owned(),
                },
            ),
        ),
        (
            "jetstream {\n key: a",
            (2, expected("'}' before the end of the file")),
        ),
        (
            "jetstream { key: $SPACED }",
            (1, expected("the end of the value")),
        ),
        ("a = \"x\n", (1, expected("a closing quote"))),
        ("a =\nb = 1", (1, expected("a value"))),
        ("a", (1, expected("a value"))),
        ("= 1", (1, expected("a key"))),
        ("a: 1 2", (1, expected("the end of the value"))),
        ("a: [1 2]", (1, expected("',' or ']'"))),
        ("a: \"\\q\"", (1, Problem::UnknownEscape)),
        ("a: C:\\data", (1, Problem::UnknownEscape)),
        ("a: (b\n", (1, expected("')' on a line by itself"))),
        ("a: $A", (1, Problem::TooDeep)),
    ] {
        assert_eq!(problem(text), wanted, "{text}");
    }
    assert_eq!(problem(&"a {".repeat(100_000)).1, Problem::TooDeep);
    assert_eq!(
        problem(&format!("a: {}", "[".repeat(100_000))).1,
        Problem::TooDeep
    );
    let error = config("jetstream { key: 7 }").unwrap_err().to_string();
    assert!(
        error.ends_with("nats.conf:1: key must be text; put it in quotes"),
        "{error}"
    );
}

#[test]
fn includes_are_relative_and_end() {
    let files = [
        (
            "nats.conf",
            "include 'parts/js.conf'\ninclude ./parts/none.conf # nothing\nport: 1",
        ),
        (
            "parts/js.conf",
            "jetstream {\n include /keys.conf\n cipher: aes }",
        ),
        ("parts/keys.conf", "key: included; prev_key: \"p\""),
        ("parts/none.conf", "# empty\n"),
        ("loop.conf", "a: 1\ninclude parts/loop.conf"),
        ("parts/loop.conf", "include ../loop.conf"),
        ("missing.conf", "\ninclude parts/missing.conf\n"),
        ("broken.conf", "include parts/broken.conf"),
        ("parts/broken.conf", "x: 1\ny = \n"),
    ];
    let directory = directory(&files);
    let at = |name: &str| directory.path().join(name);
    let config = read_with(&at("nats.conf"), &environment).unwrap();
    assert_eq!(config.key.as_deref().map(String::as_str), Some("included"));
    assert_eq!(config.cipher, Some(Cipher::Aes));
    let problem = |name: &str| read_with(&at(name), &environment).unwrap_err();
    assert_eq!(problem("loop.conf").problem, Problem::IncludeCycle);
    assert!(matches!(
        problem("missing.conf").problem,
        Problem::Unreadable { .. }
    ));
    assert!(problem("missing.conf").file.ends_with("parts/missing.conf"));
    let broken = problem("broken.conf");
    assert!(
        broken.file.ends_with("parts/broken.conf") && broken.line == 2,
        "{broken}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn any_text_is_judged(
        any in any::<String>(),
        near in "(jetstream|key|include|[a-z]| |\n|\\{|\\}|\\[|\\]|\"|'|=|:|,|;|\\$[A-Z]|#|//|[0-9]|\\(|\\)|\\\\|-|\\.){0,40}",
    ) {
        for text in [any, near] {
            // A valid include would read whatever lies there.
            let _ = config(&text.replace("include", "exclude"));
        }
    }
}
