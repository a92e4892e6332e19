//! Accounts that come from an operator's tokens.

mod made;
mod resolvers;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::server_config::token::{AccountClaims, OperatorClaims, TokenProblem};
use made::*;

/// A store whose accounts are called by their keys: the streams S (4,000) and T (2,000) of A and B.
fn keyed() -> Case {
    let fs = MemoryFileSystem::new();
    for account in [A, B] {
        for (name, max_bytes) in [("S", 4_000), ("T", 2_000)] {
            let inf = format!(r#"{{"name":"{name}","max_bytes":{max_bytes}}}"#);
            let sum = hex16(HashKey::for_stream(name.as_bytes()).hash64(&[inf.as_bytes()]));
            let dir = stream(account, name).dir;
            fs.seed_file(dir.join("meta.inf"), inf.as_bytes());
            fs.seed_file(dir.join("meta.sum"), sum.as_bytes());
        }
    }
    Case { fs, ..case() }
}

/// What keeps the stream S of A away, before its files and before its store.
fn away(text: &str) -> Option<Event> {
    let around = keyed().of(text);
    assert!(around.starts(), "{:?}", around.events());
    let found = stream(A, "S");
    let own = meta(r#"{"name":"S","max_bytes":4000}"#);
    around
        .before_its_files(&found)
        .or_else(|| around.before_its_store(&found, &own))
}

fn detail(event: Option<Event>) -> String {
    event.expect("an event").detail
}

#[test]
fn a_preloaded_account_with_jetstream_comes_up() {
    for limits in [
        unlimited(),
        json!({"disk_storage": 10_000}),
        json!({"mem_storage": 1}),
        json!({"tiered_limits": {"R1": {"disk_storage": 1}}}),
        json!({"tiered_limits": {"R1": {}, "R3": {"disk_storage": 1}}}),
    ] {
        assert_eq!(
            away(&with(&account(A, &limits, &json!({})))),
            None,
            "{limits}"
        );
    }
}

#[test]
fn an_account_without_room_has_no_jetstream() {
    for limits in [
        json!({}),
        json!({"disk_storage": 0, "mem_storage": 0, "streams": -1}),
        json!({"tiered_limits": {"R1": {"streams": 5}}, "disk_storage": -1}),
    ] {
        let text = with(&account(A, &limits, &json!({})));
        let found = away(&text);
        assert_eq!(
            said(found.clone()),
            ("account-without-jetstream", place(&text, A).to_string())
        );
        // Both names are told.
        let text = detail(found);
        assert!(text.contains("orders") && text.contains(A), "{text}");
    }
    // The first version of tokens knew no JetStream.
    let old =
        json!({"sub": A, "iss": OPERATOR, "type": "account", "nats": {"limits": unlimited()}});
    assert_eq!(
        said(away(&with(&token(&old)))).0,
        "account-without-jetstream"
    );
}

/// Where a word stands in a configuration, as a place.
fn place(text: &str, word: &str) -> Place {
    let (number, line) = text
        .lines()
        .enumerate()
        .find(|(_, line)| line.contains(&format!("{word}: ")))
        .expect("the word");
    Place {
        file: FILE.into(),
        line: number + 1,
        column: line.find(&format!("{word}: ")).expect("the word") + 1,
    }
}

#[test]
fn tokens_that_do_not_count() {
    let of = |more: &Value| away(&with(&account(A, &unlimited(), more)));
    for (more, why) in [
        (json!({"exp": NOW_S - 1}), "expired 1 seconds ago"),
        (json!({"nbf": NOW_S + 5}), "holds in 5 seconds"),
        (json!({"iss": SECOND}), "is not the operator's key"),
        (json!({"sub": B}), "it is the token of"),
    ] {
        let found = of(&more);
        assert_eq!(said(found.clone()).0, "account-token-refused", "{more}");
        let text = detail(found);
        assert!(text.contains(why) && text.contains("orders"), "{text}");
    }
    // The last second still holds, and so does the first.
    assert_eq!(of(&json!({"exp": NOW_S, "nbf": NOW_S})), None);
    let tiers = json!({"tiered_limits": {"": {"disk_storage": 1}}});
    let found = away(&with(&account(A, &tiers, &json!({}))));
    assert_eq!(said(found).0, "account-token-refused");
}

#[test]
fn signing_keys_issue_accounts_and_strictness_leaves_it_to_them() {
    let system = |issuer: &str| account(SYS, &json!({}), &json!({"iss": issuer}));
    let of = |own: &Value, issuer: &str| {
        let (system, token) = (
            system(issuer),
            account(A, &unlimited(), &json!({"iss": issuer})),
        );
        let preload = [(SYS, system.as_str()), (A, token.as_str())];
        let around = keyed().of(&config("", &operator(own), "MEM", &preload));
        around.starts() && around.before_its_files(&stream(A, "S")).is_none()
    };
    let signing = json!({"signing_keys": [SECOND]});
    let strict = json!({"signing_keys": [SECOND], "strict_signing_key_usage": true});
    assert!(of(&signing, SECOND) && of(&signing, OPERATOR));
    assert!(of(&strict, SECOND) && !of(&strict, OPERATOR));
    assert!(!of(&json!({}), SECOND));
}

#[test]
fn accounts_nobody_preloaded_do_not_come_up() {
    let text = with(&account(A, &unlimited(), &json!({})));
    let around = keyed().of(&text);
    for account in [B, "$G", "ORDERS"] {
        let found = around.before_its_files(&stream(account, "S"));
        assert_eq!(
            said(found.clone()),
            at("account-unknown", ":3:1"),
            "{account}"
        );
        assert!(detail(found).contains(account));
    }
    let found = around.before_its_files(&stream(SYS, "S"));
    assert_eq!(said(found), at("account-is-system", ":2:1"));
}

#[test]
fn a_stream_needs_a_tier() {
    let tiers = json!({"tiered_limits": {"R3": unlimited()}});
    let text = with(&account(A, &tiers, &json!({})));
    let found = away(&text);
    assert_eq!(
        said(found.clone()),
        ("limit-leaves-stream-out", place(&text, A).to_string())
    );
    assert!(detail(found).contains("R3"));
}

#[test]
fn limits_of_a_token_are_held_against_streams_and_consumers() {
    let limited = |limits: Value| with(&account(A, &merged(&unlimited(), &limits), &json!({})));
    let out = Some("limit-leaves-stream-out");
    for (limits, code) in [
        (json!({"disk_max_stream_bytes": 3_999}), out),
        (json!({"disk_max_stream_bytes": 4_000}), None),
        (json!({"disk_max_stream_bytes": -1}), None),
        (json!({"max_bytes_required": true}), None),
    ] {
        let found = away(&limited(limits.clone()));
        assert_eq!(found.map(|event| event.code.as_str()), code, "{limits}");
    }
    let found = stream(A, "S");
    let around = keyed().of(&limited(json!({"max_bytes_required": true})));
    let unbounded = meta(r#"{"name":"S","max_bytes":-1}"#);
    assert_eq!(
        said(around.before_its_store(&found, &unbounded)).0,
        "limit-leaves-stream-out"
    );
    let consumer = ConsumerMeta::parse(br#"{"durable_name":"C","max_ack_pending":1000}"#);
    let consumer = consumer.expect("metadata");
    let away = |limits: Value| {
        let around = keyed().of(&limited(limits));
        around.before_a_consumer(&found, "C", &consumer)
    };
    assert_eq!(
        said(away(json!({"max_ack_pending": 999}))).0,
        "limit-leaves-consumer-out"
    );
    assert_eq!(away(json!({"max_ack_pending": 1_000})), None);
    assert_eq!(away(json!({"max_ack_pending": -1})), None);
    let tier = json!({"tiered_limits": {"R1": {"disk_storage": -1, "max_ack_pending": 999}}});
    let around = keyed().of(&with(&account(A, &tier, &json!({}))));
    assert_eq!(
        said(around.before_a_consumer(&found, "C", &consumer)).0,
        "limit-leaves-consumer-out"
    );
}

/// What keeps the accounts A and B away under a server of these limits, by the tokens' limits.
fn sums(server: &str, jetstream: &str, a: Value, b: Value) -> [Option<&'static str>; 2] {
    let system = system();
    let (a, b) = (
        account(A, &merged(&unlimited(), &a), &json!({})),
        account(B, &merged(&unlimited(), &b), &json!({})),
    );
    let preload = [(SYS, system.as_str()), (A, &a), (B, &b)];
    let text = config(jetstream, &operator(&json!({})), "MEMORY", &preload);
    let case = Case {
        server: server.to_owned().leak(),
        ..keyed()
    };
    let around = case.of(&text);
    assert!(around.starts(), "{:?}", around.events());
    [A, B].map(|account| {
        let found = around.before_its_files(&stream(account, "S"));
        found.map(|event| event.code.as_str())
    })
}

#[test]
fn accounts_that_may_have_more_than_the_server_has_left_stay_out() {
    // B comes first: by its key.
    let wide = Some("account-limits-too-wide");
    let disk = |bytes: i64| json!({"disk_storage": bytes});
    for server in ["2.10", "2.15"] {
        let of = |jetstream, a: &Value, b: &Value| sums(server, jetstream, a.clone(), b.clone());
        let none = json!({});
        assert_eq!(
            of(", max_file: 1GB", &disk(5_000), &disk(5_000)),
            [None, None]
        );
        assert_eq!(of(", max_file: 9000", &disk(9_001), &none), [wide, None]);
        assert_eq!(
            of(", max_file: 20000", &disk(10_000), &disk(10_001)),
            [wide, None]
        );
        assert_eq!(
            of(", max_file: 20000", &disk(20_001), &disk(20_001)),
            [wide, wide]
        );
        // Without limits of its own, an account may still meet what others' streams reserve: 6,000 bytes.
        assert_eq!(of(", max_file: 12000", &disk(6_001), &none), [wide, None]);
        assert_eq!(of(", max_file: 12000", &disk(6_000), &none), [None, None]);
        let memory = |bytes: i64| json!({"mem_storage": bytes});
        assert_eq!(of(", max_mem: 100", &memory(60), &memory(50)), [wide, None]);
        assert_eq!(of("", &disk(i64::MAX), &disk(i64::MAX)), [None, None]);
    }
    assert_eq!(
        sums("2.15", ", max_file: 5000", json!({}), json!({})),
        [wide, None]
    );
    // There B's second stream is left out, and reserves nothing.
    assert_eq!(
        sums("2.10", ", max_file: 5000", json!({}), json!({})),
        [None, None]
    );
}

/// What a server that does not start says first.
fn stopped(text: &str) -> (&'static str, String) {
    let around = keyed().of(text);
    assert!(!around.starts(), "{text}");
    said(around.events().first().cloned())
}

/// Holds that no server starts with a configuration, and what is said first.
fn held_to_stop(text: &str, code: &'static str, place: &str) {
    let case = keyed();
    case.fs
        .seed_file(Path::new("/data/jetstream/x"), b"".to_vec());
    let around = case.of(text);
    assert!(!around.starts(), "{text}");
    let first = around.events().first().cloned();
    assert_eq!(said(first), at(code, place), "{text}");
}

#[test]
fn operators_that_no_server_starts_with() {
    let (system, a) = (system(), account(A, &unlimited(), &json!({})));
    let preload = [(SYS, system.as_str()), (A, a.as_str())];
    let plain = operator(&json!({}));
    let good = config("", &plain, "MEMORY", &preload);
    let refused = "server-start-refused";
    let invalid = "server-config-invalid";
    let of = |own: &Value| config("", &operator(own), "MEMORY", &preload);
    for (text, code, place) in [
        (good.replace("resolver: MEMORY", ""), refused, ":2:1"),
        (format!("{good}accounts {{ X {{ }} }}"), refused, ":5:1"),
        (
            format!("{good}authorization {{ users: [ {{ user: u }} ] }}"),
            refused,
            ":5:17",
        ),
        (format!("{good}trusted: {SECOND}"), refused, ":5:1"),
        (format!("{good}trusted: {A}"), invalid, ":5:1"),
        (format!("{good}system_account: {A}"), refused, ":5:1"),
        (
            of(&json!({"assert_server_version": "2.15.4"})),
            refused,
            ":2:1",
        ),
        (
            of(&json!({"assert_server_version": "2.15"})),
            refused,
            ":2:1",
        ),
        (of(&json!({"signing_keys": ["OX"]})), refused, ":2:1"),
        (config("", &plain, "MEMORY", &preload[1..]), refused, ":2:1"),
        (
            config("", &plain, "URL(http://h/)", &preload),
            refused,
            ":4:1",
        ),
        (config("", "/nowhere", "MEMORY", &preload), invalid, ":2:1"),
        (config("", "eyJ", "MEMORY", &preload), invalid, ":2:1"),
        (config("", &a, "MEMORY", &preload), invalid, ":2:1"),
    ] {
        held_to_stop(&text, code, place);
    }
    assert!(
        keyed()
            .of(&of(&json!({"assert_server_version": "2.15.3"})))
            .starts()
    );
}

#[test]
fn resolvers_that_no_server_starts_with() {
    let (system, a) = (system(), account(A, &unlimited(), &json!({})));
    let preload = [(SYS, system.as_str()), (A, a.as_str())];
    let plain = operator(&json!({}));
    let invalid = "server-config-invalid";
    for (text, code, place) in [
        (config("", &plain, "NOWHERE", &preload), invalid, ":3:1"),
        (
            config("", &plain, "{ type: half }", &preload),
            invalid,
            ":3:13",
        ),
        (
            config("", &plain, "{ type: full }", &preload),
            invalid,
            ":3:1",
        ),
        (
            config(
                "",
                &plain,
                "{ type: full, dir: /jwt, ttl: \"1h\" }",
                &preload,
            ),
            invalid,
            ":3:36",
        ),
        (
            config(
                "",
                &plain,
                "{ type: cache, dir: /jwt, interval: \"1h\" }",
                &preload,
            ),
            invalid,
            ":3:37",
        ),
        (
            config(
                "",
                &plain,
                "{ type: full, dir: /data/jetstream/x }",
                &preload,
            ),
            invalid,
            ":3:1",
        ),
        (
            config("", &plain, "MEMORY", &[(A, "nothing")]),
            invalid,
            ":4:20",
        ),
        (
            config("", &plain, "MEMORY", &[(A, &plain)]),
            invalid,
            ":4:20",
        ),
    ] {
        held_to_stop(&text, code, place);
    }
}

#[test]
fn the_system_account_has_to_be_there_without_jetstream() {
    let (system, a) = (system(), account(A, &unlimited(), &json!({})));
    let preload = [(SYS, system.as_str()), (A, a.as_str())];
    let plain = operator(&json!({}));
    let refused = "server-start-refused";
    let silent = operator(&json!({"system_account": ""}));
    let text = config("", &silent, "{ type: full, dir: /jwt }", &preload);
    assert_eq!(stopped(&text), at(refused, ":3:1"));
    let text = config("", &silent, "MEMORY", &preload);
    assert_eq!(stopped(&text), at(refused, ":2:1"));
    let named = format!("{text}system_account: {SYS}");
    assert!(keyed().of(&named).starts());
    let jetstream = account(SYS, &unlimited(), &json!({}));
    let text = config("", &plain, "MEMORY", &[(SYS, &jetstream)]);
    assert_eq!(stopped(&text), at(refused, ":4:20"));
}

#[test]
fn an_operator_may_lie_in_a_file() {
    let case = keyed();
    let plain = operator(&json!({}));
    let decorated = format!(
        "-----BEGIN NATS OPERATOR JWT-----\r\n{plain}\r\n------END NATS OPERATOR JWT------\r\n"
    );
    for text in [plain, decorated] {
        case.fs
            .seed_file(Path::new("/etc/operator.jwt"), text.into_bytes());
        let (system, a) = (system(), account(A, &unlimited(), &json!({})));
        let preload = [(SYS, system.as_str()), (A, a.as_str())];
        let around = case.of(&config("", "/etc/operator.jwt", "MEMORY", &preload));
        assert!(around.starts() && around.events().is_empty());
        assert_eq!(around.before_its_files(&stream(A, "S")), None);
    }
}

#[test]
fn trusted_keys_take_the_place_of_an_operator() {
    let a = account(A, &unlimited(), &json!({}));
    let of = |key: &str, issuer: &str| {
        let system = account(SYS, &json!({}), &json!({"iss": issuer}));
        let text = format!(
            "jetstream {{ store_dir: /data }}\ntrusted: [{key}]\nresolver: MEMORY\n\
             resolver_preload {{ {A}: {a:?}, {SYS}: {system:?} }}\nsystem_account: {SYS}\n"
        );
        let around = keyed().of(&text);
        assert!(around.starts(), "{:?}", around.events());
        around.before_its_files(&stream(A, "S"))
    };
    assert_eq!(of(OPERATOR, OPERATOR), None);
    assert_eq!(said(of(SECOND, SECOND)).0, "account-token-refused");
}

#[test]
fn what_makes_a_token_unreadable() {
    let good = account(A, &unlimited(), &json!({}));
    assert!(AccountClaims::decode(good.as_bytes()).is_ok());
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let body = good.split('.').nth(1).expect("a body");
    let head = |value: &Value| format!("{}.{body}.c2ln", part(value));
    for (text, problem) in [
        (String::new(), TokenProblem::Parts),
        (format!("{good}.c2ln"), TokenProblem::Parts),
        ("x".repeat((1 << 20) + 1), TokenProblem::TooLong),
        (
            good.replace('.', "!."),
            TokenProblem::Part("head", "base64"),
        ),
        (
            head(&json!([])),
            TokenProblem::Part("head", "a JSON object"),
        ),
        (
            head(&json!({"typ": "JWT", "alg": "none"})),
            TokenProblem::Part("head", "one of these tokens"),
        ),
        (
            format!("{good}!"),
            TokenProblem::Part("signature", "base64"),
        ),
        (
            account(A, &json!([]), &json!({})),
            TokenProblem::Field("limits"),
        ),
        (
            account(A, &json!({"disk_storage": "1"}), &json!({})),
            TokenProblem::Field("disk_storage"),
        ),
        (
            account(A, &json!({}), &json!({"exp": 1.5})),
            TokenProblem::Field("exp"),
        ),
        (
            account(A, &json!({}), &json!({"iss": "OX"})),
            TokenProblem::Issuer,
        ),
        (operator(&json!({})), TokenProblem::Kind("account")),
        (
            account(
                A,
                &json!({}),
                &json!({"nats": {"type": "account", "version": 3}}),
            ),
            TokenProblem::Version,
        ),
        (
            account(A, &json!({}), &json!({"nats": {"type": "account"}})),
            TokenProblem::Version,
        ),
    ] {
        assert_eq!(
            AccountClaims::decode(text.as_bytes()),
            Err(problem),
            "{text:.300}"
        );
    }
    assert_eq!(
        OperatorClaims::decode(good.as_bytes()),
        Err(TokenProblem::Kind("operator"))
    );
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400), at in 0_usize..300, flip in 1_u8..) {
        let _ = OperatorClaims::decode(&bytes);
        proptest::prop_assert!(AccountClaims::decode(&bytes).is_err());
        let mut token = account(A, &unlimited(), &json!({})).into_bytes();
        let at = at % token.len();
        token[at] ^= flip;
        if let Ok(read) = AccountClaims::decode(&token) {
            proptest::prop_assert!(read.claims.issuer.starts_with(['O', 'A']));
        }
    }
}
