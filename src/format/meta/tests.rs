use proptest::prelude::*;

use super::*;

fn stream(json: &str) -> StreamMeta {
    StreamMeta::parse(json.as_bytes()).expect("parses")
}

#[test]
fn sums_are_the_stored_bytes_in_hexadecimal() {
    let hash = crate::format::checksum::HashKey::for_stream(b"ORDERS").hash64(&[b"{}"]);
    assert_eq!(meta_sum_text(hash), "b501fa87d7a6c5aa");
}

#[test]
fn a_file_of_the_server_comes_back_byte_for_byte() {
    let files = [
        r#"{"Created":"2026-11-21T08:29:53.084370311Z","name":"AGGREGATE","retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"old","storage":"file","num_replicas":1,"duplicate_window":120000000000,"sources":[{"name":"HISTORY"},{"name":"COMPACTED","filter_subject":"compact.2"}],"compression":"none","allow_direct":false,"mirror_direct":false,"sealed":false,"deny_delete":false,"deny_purge":false,"allow_rollup_hdrs":false,"consumer_limits":{},"allow_msg_ttl":false,"metadata":{"_nats.req.level":"0"}}"#,
        r#"{"Created":"2026-11-21T08:29:52.992256826Z","name":"ORDERS","subjects":["orders.\u003e"],"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":100000,"max_age":0,"max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"old","storage":"file","num_replicas":1,"duplicate_window":120000000000,"compression":"s2","allow_direct":false,"mirror_direct":false,"sealed":false,"deny_delete":false,"deny_purge":false,"allow_rollup_hdrs":false,"consumer_limits":{},"allow_msg_ttl":false,"metadata":{"_nats.req.level":"0"}}"#,
    ];
    for file in files {
        let meta = stream(file);
        assert_eq!(meta.unknown_fields, Vec::<String>::new());
        assert_eq!(String::from_utf8(meta.encode()).expect("UTF-8"), file);
        // A file with every default in it has nothing to gain.
        let settings = meta.settings().expect("accepted");
        assert_eq!(String::from_utf8(settings.encode()).expect("UTF-8"), file);
    }
}

#[test]
fn an_empty_object_is_written_with_the_zeros_the_server_writes() {
    let text = String::from_utf8(stream("{}").encode()).expect("UTF-8");
    assert_eq!(
        text,
        concat!(
            r#"{"Created":"0001-01-01T00:00:00Z","name":"","retention":"limits","max_consumers":0,"max_msgs":0,"#,
            r#""max_bytes":0,"max_age":0,"max_msgs_per_subject":0,"discard":"old","storage":"file","num_replicas":0,"#,
            r#""compression":"none","allow_direct":false,"mirror_direct":false,"sealed":false,"deny_delete":false,"#,
            r#""deny_purge":false,"allow_rollup_hdrs":false,"consumer_limits":{},"allow_msg_ttl":false}"#
        )
    );
}

#[test]
fn names_match_exactly_first_and_in_any_case_else() {
    assert_eq!(
        stream(r#"{"NAME":"a","Max_Msgs":3,"created":"2026-01-02T03:04:05Z"}"#).max_messages,
        3
    );
    assert_eq!(stream(r#"{"ſubjectſ":["a"]}"#).subjects, ["a"]);
    assert_eq!(
        stream(r#"{"name":"a","name":"b"}"#).name,
        "b",
        "the last one wins"
    );
    assert_eq!(stream(r#"{"name":"a","Name":"b"}"#).name, "b");
    assert_eq!(stream(r#"{"name":"a","name":null}"#).name, "");
}

#[test]
fn unknown_fields_are_found_at_every_level_and_survive() {
    let meta = stream(
        r#"{"new":1,"name":"S","mirror":{"name":"M","x":{}},"sources":[{"name":"A","y":[]}]}"#,
    );
    assert_eq!(
        meta.unknown_fields,
        ["new", "mirror.x", "sources.y"].map(|path| path.replace("sources", "sources[0]"))
    );
    let text = String::from_utf8(meta.encode()).expect("UTF-8");
    assert!(
        text.contains(r#""mirror":{"name":"M","x":{}}"#) && text.ends_with(r#","new":1}"#),
        "{text}"
    );
    assert_eq!(
        StreamMeta::parse(text.as_bytes())
            .expect("parses")
            .unknown_fields
            .len(),
        3
    );
}

#[test]
fn values_of_the_wrong_type_name_their_place() {
    for (json, path) in [
        (r#"{"name":5}"#, "name"),
        (r#"{"max_msgs":1.5}"#, "max_msgs"),
        (r#"{"max_msgs":9223372036854775808}"#, "max_msgs"),
        (r#"{"max_msg_size":2147483648}"#, "max_msg_size"),
        (r#"{"first_seq":-1}"#, "first_seq"),
        (r#"{"subjects":["a",7]}"#, "subjects[1]"),
        (r#"{"sealed":"yes"}"#, "sealed"),
        (r#"{"retention":"LIMITS"}"#, "retention"),
        (r#"{"retention":null}"#, "retention"),
        (r#"{"compression":"S2"}"#, "compression"),
        (r#"{"Created":"yesterday"}"#, "Created"),
        (r#"{"metadata":{"k":1}}"#, "metadata.k"),
        (
            r#"{"sources":[{"external":{"api":1}}]}"#,
            "sources[0].external.api",
        ),
        (r#"[]"#, ""),
    ] {
        match StreamMeta::parse(json.as_bytes()) {
            Err(MetaError::Value { path: found, .. }) => assert_eq!(found, path, "{json}"),
            other => panic!("{json}: {other:?}"),
        }
    }
}

#[test]
fn values_the_server_lets_through() {
    assert_eq!(stream(r#"{"discard":"NEW"}"#).discard, Discard::New);
    assert_eq!(
        stream(r#"{"persist_mode":""}"#).persist_mode,
        PersistMode::Default
    );
    assert_eq!(stream("null").name, "");
    assert_eq!(
        stream(r#"{"subjects":null,"mirror":null,"max_msgs":null}"#)
            .subjects
            .len(),
        0
    );
    assert_eq!(stream(r#"{"name":"S"} trailing"#).name, "S");
    let trailing = StreamMeta::parse(br#"{"name":"S","new":1} x"#);
    assert_eq!(trailing, Err(MetaError::Trailing { length: 1 }));
    assert_eq!(StreamMeta::parse(b" "), Err(MetaError::Empty));
    assert!(matches!(
        StreamMeta::parse(b"{"),
        Err(MetaError::Syntax { .. })
    ));
    assert_eq!(
        StreamMeta::parse(b"{\"name\":\"a\xff\"}")
            .expect("parses")
            .name,
        "a\u{fffd}"
    );
}

#[test]
fn creation_times() {
    assert_eq!(
        stream(r#"{"Created":"1970-01-01T00:00:01.5Z"}"#)
            .created
            .ns(),
        Some(1_500_000_000)
    );
    let none = stream(r#"{"Created":"0001-01-01T00:00:00Z"}"#).created;
    assert_eq!(
        (none.ns(), none.text.as_str()),
        (None, "0001-01-01T00:00:00Z")
    );
    assert_eq!(stream("{}").created.ns(), None);
}

#[test]
fn levels() {
    let level = |text: &str| {
        stream(&format!(r#"{{"metadata":{{"_nats.req.level":"{text}"}}}}"#)).required_level
    };
    assert_eq!(level("5"), RequiredLevel::Level(5));
    assert!(level("5").is_supported() && level("").is_supported() && level("-1").is_supported());
    assert!(!level("6").is_supported() && !level("many").is_supported());
    assert!(stream("{}").required_level.is_supported());
}

#[test]
fn angle_brackets_and_line_separators_are_escaped() {
    let meta = stream("{\"description\":\"<a>&\u{2028}\u{2029}\\u0007\\b\"}");
    let text = String::from_utf8(meta.encode()).expect("UTF-8");
    assert!(
        text.contains(r#""description":"\u003ca\u003e\u0026\u2028\u2029\u0007\b""#),
        "{text}"
    );
    assert_eq!(
        StreamMeta::parse(text.as_bytes())
            .expect("parses")
            .description,
        meta.description
    );
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        "[a-z<>&.]{0,6}".prop_map(serde_json::Value::from),
        Just(serde_json::Value::from("new")),
        Just(serde_json::Value::from("2026-01-02T03:04:05Z")),
    ];
    let key =
        prop_oneof![Just("name"), Just("src"), Just("api"), Just("odd")].prop_map(String::from);
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::vec((key.clone(), inner), 0..4)
                .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
        ]
    })
}

#[test]
fn a_stream_takes_its_subjects_and_overlaps_with_who_takes_one_of_them() {
    let stream = |subjects: &str| {
        let json = format!(r#"{{"name":"S","subjects":[{subjects}]}}"#);
        StreamMeta::parse(json.as_bytes()).expect("parses")
    };
    let orders = stream(r#""orders.*.new","paid""#);
    assert!(orders.takes(b"orders.1.new") && orders.takes(b"paid"));
    assert!(!orders.takes(b"orders.1.old") && !orders.takes(b"orders.1"));
    for (other, overlaps) in [
        (r#""orders.7.>""#, true),
        (r#""a","paid""#, true),
        (r#""orders.*.old","paid.>""#, false),
        ("", false),
    ] {
        let other = stream(other);
        assert_eq!(orders.overlaps(&other), overlaps, "{:?}", other.subjects);
        assert_eq!(other.overlaps(&orders), overlaps, "{:?}", other.subjects);
    }
}

#[test]
fn the_time_of_its_creation_is_no_setting_of_a_stream() {
    let meta = StreamMeta::parse(br#"{"name":"S","storage":"file","max_msgs":3}"#).expect("parses");
    let later = meta.with_created(Instant::from_unix_ns(1_767_323_045_000_000_000));
    assert!(later.has_same_settings(&meta) && meta.has_same_settings(&later));
    assert!(!meta.has_same_settings(&meta.with_replicas(3)));
}

proptest! {
    #[test]
    fn no_input_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = StreamMeta::parse(&bytes);
        let _ = ConsumerMeta::parse(&bytes);
    }

    /// What is written reads as what was read, and is written the same again.
    #[test]
    fn reading_and_writing_settle(fields in proptest::collection::vec((
        prop_oneof![
            Just("name"), Just("subjects"), Just("mirror"), Just("sources"), Just("metadata"), Just("discard"),
            Just("Created"), Just("max_msgs"), Just("first_seq"), Just("sealed"), Just("novelty"), Just("republish"),
            Just("opt_start_time"), Just("backoff"), Just("NAME"),
        ],
        value(),
    ), 0..6)) {
        let object: serde_json::Map<_, _> = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let json = serde_json::Value::Object(object).to_string();
        if let Ok(meta) = StreamMeta::parse(json.as_bytes()) {
            let written = meta.encode();
            let again = StreamMeta::parse(&written).expect("what was written reads");
            prop_assert_eq!(&again.encode(), &written);
            prop_assert_eq!(&again.name, &meta.name);
            prop_assert_eq!(&again.sources, &meta.sources);
            prop_assert_eq!(again.created.instant, meta.created.instant);
            let _ = meta.settings();
        }
        if let Ok(meta) = ConsumerMeta::parse(json.as_bytes()) {
            let written = meta.encode();
            prop_assert_eq!(ConsumerMeta::parse(&written).expect("what was written reads").encode(), written);
        }
    }
}
