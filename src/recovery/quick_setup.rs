//! temporary
use super::engine::StoreSetup;
use super::events::{Event, EventCode};
use super::files::StreamFiles;
use super::model::{Rules, StreamKeys};
use super::options::Options;
use super::report::Refusal;
use super::session::StreamDir;
use super::timers::{ConfiguredSource, TimerRules};
use crate::crypto::*;
use serde_json::Value;

pub fn setup<'a>(
    files: StreamFiles<'a>,
    stream: &'a StreamDir,
    options: &'a Options,
    account: &'a [u8],
) -> Result<StoreSetup<'a>, (Refusal, Event)> {
    let account: &'a [u8] = account;
    let skip = |d: String| (Refusal::Skipped, Event::new(EventCode::StreamRefused, d));
    let inf = files.read("meta.inf").map_err(|e| skip(e.to_string()))?;
    let sum = files.read("meta.sum").map_err(|e| skip(e.to_string()))?;
    let want = crate::format::checksum::hex16(
        crate::format::checksum::HashKey::for_stream(stream.name.as_bytes()).hash64(&[&inf]),
    );
    if want.as_bytes() != sum {
        return Err(skip("sum".into()));
    }
    let mut cipher = options.keys.cipher.unwrap_or(Cipher::ChaCha);
    let mut asset = None;
    let mut json = inf.clone();
    if let Ok(key) = files.read("meta.key") {
        let Some(current) = &options.keys.current else {
            return Err(skip("no key".into()));
        };
        let o = open_with_trials(
            &key,
            current,
            options.keys.previous.as_ref(),
            cipher,
            account,
            &stream_context(stream.name.as_bytes()),
        )
        .map_err(|e| skip(e.to_string()))?;
        if options.keys.cipher.is_none() {
            cipher = o.cipher;
        }
        json = open_sealed(&inf, &o.seed, o.cipher).map_err(|e| skip(e.to_string()))?;
        if !o.converting || options.keys.cipher.is_none() {
            asset = Some((o.seed, o.cipher));
        }
    }
    let v: Value = serde_json::from_slice(&json).map_err(|e| skip(e.to_string()))?;
    let i = |k: &str| v.get(k).and_then(Value::as_i64).unwrap_or(0);
    let s = |k: &str| v.get(k).and_then(Value::as_str).unwrap_or("").to_owned();
    let b = |k: &str| v.get(k).and_then(Value::as_bool).unwrap_or(false);
    let arr = |k: &str| {
        v.get(k)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let sources = arr("sources")
        .iter()
        .map(|x| {
            let g = |k: &str| x.get(k).and_then(Value::as_str).unwrap_or("").to_owned();
            let mut origin = g("name");
            let mut legacy = vec![origin.clone().into_bytes()];
            if let Some(api) = x
                .get("external")
                .and_then(|e| e.get("api"))
                .and_then(Value::as_str)
            {
                let h = crate::format::names::hash8(api.as_bytes());
                legacy.push(format!("{origin}:{h}").into_bytes());
                origin = format!("{origin}:{h}");
            }
            let f = g("filter_subject");
            let or = |s: &str| {
                if s.is_empty() {
                    ">".to_owned()
                } else {
                    s.to_owned()
                }
            };
            let trs = x
                .get("subject_transforms")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let mut filters = vec![or(&f).into_bytes()];
            let (mut src, mut dst) = (or(&f), ">".to_owned());
            if !trs.is_empty() {
                let get = |k: &str| {
                    trs.iter()
                        .map(|t| or(t.get(k).and_then(Value::as_str).unwrap_or("")))
                        .collect::<Vec<_>>()
                };
                src = get("src").join("\x0c");
                dst = get("dest").join("\x0c");
                filters.extend(get("dest").into_iter().map(String::into_bytes));
            }
            ConfiguredSource {
                key: format!("{origin} {src} {dst}").into_bytes(),
                legacy_names: legacy,
                filters,
            }
        })
        .collect::<Vec<_>>();
    let pos = |x: i64| if x > 0 { x as u64 } else { 0 };
    Ok(StoreSetup {
        rules: Rules {
            name: stream.name.clone().into_bytes(),
            tracks_subjects: !arr("subjects").is_empty()
                || v.get("mirror").is_some_and(|m| !m.is_null())
                || !sources.is_empty(),
            discard_old: s("discard") != "new",
            max_messages: pos(i("max_msgs")),
            max_bytes: pos(i("max_bytes")),
            max_messages_per_subject: pos(i("max_msgs_per_subject")),
            max_age_ns: i("max_age"),
            delete_markers: i("subject_delete_marker_ttl") > 0,
            first_seq: pos(i("first_seq")),
            async_flush: i("num_replicas") > 1 || s("persist_mode") == "async",
            block_size: options.block_size.unwrap_or(8 << 20),
            now_ns: options.now_ns,
            expire: options.expire,
            limits: options.limits,
        },
        timers: TimerRules {
            ttl: b("allow_msg_ttl"),
            schedules: b("allow_msg_schedules"),
            sources,
            ignore_files: options.no_index,
        },
        keys: StreamKeys {
            account,
            stream: stream.name.as_bytes(),
            current: options.keys.current.as_ref(),
            previous: options.keys.previous.as_ref(),
            cipher,
        },
        asset_key: asset,
        threads: options.threads,
        no_index: options.no_index,
        quick: options.quick,
        digest: options.collect.digest,
    })
}
