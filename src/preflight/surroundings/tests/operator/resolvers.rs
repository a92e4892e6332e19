//! Where the tokens of accounts come from, beside the configuration.

use super::*;

/// A directory of tokens, and these preloaded.
fn from_directory(files: &[(&str, &str)], preload: &[(&str, &str)]) -> Surroundings {
    let case = keyed();
    for (key, token) in files {
        let path = Path::new("/jwt").join(format!("{key}.jwt"));
        case.fs.seed_file(path, token.as_bytes());
    }
    case.of(&config(
        "",
        &operator(&json!({})),
        "{ type: full, dir: /jwt }",
        preload,
    ))
}

#[test]
fn tokens_come_from_a_directory() {
    let (on, off) = (unlimited(), json!({}));
    let token = |limits: &Value, id: &str, issued: i64| {
        account(A, limits, &json!({"jti": id, "iat": issued}))
    };
    let away = |around: &Surroundings| {
        assert!(
            around.starts() && around.events().is_empty(),
            "{:?}",
            around.events()
        );
        let found = around.before_its_files(&stream(A, "S"));
        found.map(|event| (event.code.as_str(), event.file.unwrap_or_default()))
    };
    let in_file = |code| Some((code, format!("/jwt/{A}.jwt")));
    let without = "account-without-jetstream";
    let old = token(&on, "old", 10);
    assert_eq!(away(&from_directory(&[(A, &old)], &[])), None);
    assert_eq!(
        away(&from_directory(&[(A, &format!("{old}\n"))], &[])),
        None
    );
    let old_off = token(&off, "old", 10);
    assert_eq!(
        away(&from_directory(&[(A, &old_off)], &[])),
        in_file(without)
    );
    let broken = from_directory(&[(A, "nothing")], &[]);
    assert_eq!(away(&broken), in_file("account-token-refused"));
    let missing = from_directory(&[(B, &old)], &[]);
    assert_eq!(away(&missing), Some(at("account-unknown", ":3:1")));
    // The newer of the two counts; of equally old ones, the preloaded.
    for (issued, id, is_up) in [
        (11, "new", true),
        (10, "new", true),
        (9, "new", false),
        (11, "old", false),
    ] {
        let preloaded = token(&on, id, issued);
        let around = from_directory(&[(A, &old_off)], &[(A, &preloaded)]);
        assert_eq!(away(&around).is_none(), is_up, "{issued} {id}");
    }
    let preloaded = token(&on, "new", 1);
    assert_eq!(
        away(&from_directory(&[(A, "nothing")], &[(A, &preloaded)])),
        None
    );
    assert_eq!(away(&from_directory(&[], &[(A, &preloaded)])), None);
}

#[test]
fn tokens_from_elsewhere_are_taken_for_granted() {
    let plain = operator(&json!({}));
    let by_url = operator(&json!({"account_server_url": "http://h/jwt"}));
    let full = config("", &plain, "{ type: full, dir: /jwt }", &[]);
    let member = "server_name: n1\ncluster { name: C, listen: 6222, routes: [a] }\n";
    for (text, place) in [
        (config("", &plain, "URL(http://h/)", &[]), ":3:1"),
        (
            config("", &by_url, "MEM", &[]).replace("resolver: MEM", ""),
            ":2:1",
        ),
        (format!("{full}{member}"), ":3:1"),
    ] {
        let around = keyed().of(&text);
        assert!(around.starts(), "{:?}", around.events());
        assert_eq!(around.before_its_files(&stream(A, "S")), None);
        assert_eq!(
            said(around.events().first().cloned()),
            at("surroundings-untold", place),
            "{text}"
        );
        // What no token could bring up stays away.
        assert!(around.before_its_files(&stream("ORDERS", "S")).is_some());
    }
}
