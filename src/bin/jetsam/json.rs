//! The JSON document of `check` and `recover`, written stream by stream.
//!
//! Names that are not UTF-8 appear with `\xNN` for each stray byte. Arrays are written as they are
//! walked; nothing is built in memory.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use jetsam::report::actions::Action;
use jetsam::report::events::Event;
use jetsam::report::ledger::{Ledger, Removal, stretches};
use jetsam::report::stream::{
    ConsumerReport, SalvageTotals, Source, SourcePosition, State, StreamReport,
};
use jetsam::salvage::hit::Hit;
use jetsam::stream::options::{Collect, Policy};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::{hit, units};

/// A document being written: an object with a list of streams in it.
pub struct Document<'a, W: Write + ?Sized> {
    out: &'a mut W,
    empty: bool,
}

impl<'a, W: Write + ?Sized> Document<'a, W> {
    /// Writes the head.
    pub fn begin(out: &'a mut W, path: &Path, policy: Option<Policy>) -> io::Result<Self> {
        write!(
            out,
            "{{\"jetsam\":\"{}\",\"path\":",
            env!("CARGO_PKG_VERSION")
        )?;
        serde_json::to_writer(&mut *out, &path_text(path))?;
        if let Some(policy) = policy {
            let policy = match policy {
                Policy::Server => "server",
                Policy::Evidence => "salvage",
            };
            write!(out, ",\"policy\":\"{policy}\"")?;
        }
        out.write_all(b",\"streams\":[")?;
        Ok(Document { out, empty: true })
    }

    /// Writes one stream.
    pub fn stream(&mut self, stream: &impl Serialize) -> io::Result<()> {
        self.out
            .write_all(if self.empty { b"\n" } else { b",\n" })?;
        self.empty = false;
        serde_json::to_writer(&mut *self.out, stream)?;
        Ok(())
    }

    /// Writes the end, with one more member before the exit code.
    pub fn end_with(self, name: &str, value: &impl Serialize, exit: u8) -> io::Result<()> {
        self.out.write_all(if self.empty { b"]" } else { b"\n]" })?;
        write!(self.out, ",\"{name}\":")?;
        serde_json::to_writer(&mut *self.out, value)?;
        writeln!(self.out, ",\"exit\":{exit}}}")?;
        self.out.flush()
    }

    /// Writes the end. `error` says why there are no streams, where that is so.
    pub fn end(self, exit: u8, error: Option<&str>) -> io::Result<()> {
        self.out.write_all(if self.empty { b"]" } else { b"\n]" })?;
        if let Some(error) = error {
            self.out.write_all(b",\"error\":")?;
            serde_json::to_writer(&mut *self.out, error)?;
        }
        writeln!(self.out, ",\"exit\":{exit}}}")?;
        self.out.flush()
    }
}

/// A path as JSON shows it.
pub fn path_text(path: &Path) -> String {
    units::text(path.as_os_str().as_encoded_bytes())
}

/// One stream of the document, as the contract spells it.
pub struct Stream<'a> {
    /// What was found.
    pub report: &'a StreamReport,
    /// What was hit, where something was lost.
    pub hits: &'a [Hit],
    /// What was asked for: parts that were not are left out.
    pub collect: Collect,
}

impl Serialize for Stream<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let report = self.report;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("account", &report.account)?;
        map.serialize_entry("name", &report.name)?;
        map.serialize_entry("dir", &report.dir)?;
        map.serialize_entry("outcome", report.outcome.as_str())?;
        map.serialize_entry("source", &report.source.map(source_name))?;
        map.serialize_entry("state", &report.state.as_ref().map(StateJson))?;
        if self.collect.subjects {
            let subjects = report.subjects.as_ref();
            map.serialize_entry(
                "subjects",
                &subjects.map(|counts| ByName(counts, u64::clone)),
            )?;
        }
        if self.collect.digest {
            let digest = report
                .digest
                .map(|digest| format!("sha256:{}", units::hex(&digest)));
            map.serialize_entry("digest", &digest)?;
        }
        if !report.unreadable.is_empty() {
            map.serialize_entry("unreadable", &report.unreadable)?;
        }
        let ttl = report.ttl.as_ref();
        let ttl = ttl.map(|ttl| Entries {
            count: ttl.count,
            entries: ttl.entries.as_deref(),
        });
        map.serialize_entry("ttl", &ttl)?;
        let schedules = report.schedules.as_ref();
        let schedules = schedules.map(|found| Entries {
            count: found.count,
            entries: found.entries.as_deref().map(Schedules),
        });
        map.serialize_entry("schedules", &schedules)?;
        if self.collect.entries {
            let sources = report.sources.as_ref().map(|sources| {
                ByName(sources, |position: &SourcePosition| Position {
                    seq: position.seq,
                    ident: units::text(&position.identity),
                })
            });
            map.serialize_entry("sources", &sources)?;
        }
        if let Some(ledger) = &report.ledger {
            map.serialize_entry("ledger", &LedgerJson(ledger))?;
        }
        if !self.hits.is_empty() {
            map.serialize_entry("hit", &List(self.hits, hit::json))?;
        }
        if let Some(totals) = &report.salvage {
            map.serialize_entry("salvage", &SalvageJson::of(totals))?;
        }
        map.serialize_entry("consumers", &List(&report.consumers, consumer))?;
        map.serialize_entry("events", &List(&report.events, event))?;
        map.serialize_entry("actions", &List(&report.actions, action))?;
        map.end()
    }
}

/// The word for where the state came from.
pub fn source_name(source: Source) -> &'static str {
    match source {
        Source::Index => "index",
        Source::Blocks => "blocks",
    }
}

/// A ledger as the contract spells it; ways of removal that do not occur are left out.
pub struct LedgerJson<'a>(pub &'a Ledger);

impl Serialize for LedgerJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ledger = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("live", &ledger.live.len())?;
        map.serialize_entry("expired", &ledger.expired.len())?;
        map.serialize_entry("expired_by_ttl", &ledger.timed_out.len())?;
        let ways = Removal::ALL.into_iter().filter_map(|removal| {
            let seqs = ledger.removed.get(&removal)?;
            Some((removal.as_str(), seqs.len()))
        });
        map.serialize_entry("removed", &ways.collect::<BTreeMap<_, _>>())?;
        for (name, names, seqs) in [
            ("lost", "lost_seqs", &ledger.lost),
            ("unknown", "unknown_seqs", &ledger.unknown),
            ("returning", "returning_seqs", &ledger.returning),
            ("endangered", "endangered_seqs", &ledger.endangered),
        ] {
            map.serialize_entry(name, &seqs.len())?;
            map.serialize_entry(names, &stretches(seqs))?;
        }
        map.end()
    }
}

#[derive(serde::Serialize)]
struct SalvageJson<'a> {
    recovered: u64,
    repaired: u64,
    uncertain: u64,
    quarantined: u64,
    old_values: u64,
    lost: u64,
    lost_seqs: &'a [(u64, u64)],
}

impl<'a> SalvageJson<'a> {
    fn of(totals: &'a SalvageTotals) -> Self {
        SalvageJson {
            recovered: totals.recovered,
            repaired: totals.repaired,
            uncertain: totals.uncertain,
            quarantined: totals.quarantined,
            old_values: totals.old_values,
            lost: totals.lost,
            lost_seqs: &totals.lost_ranges,
        }
    }
}

/// A state as the contract spells it.
pub struct StateJson<'a>(pub &'a State);

impl Serialize for StateJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let state = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("messages", &state.messages)?;
        map.serialize_entry("bytes", &state.bytes)?;
        map.serialize_entry("first_seq", &state.first_seq)?;
        map.serialize_entry("first_ts", &units::rfc3339(state.first_time_ns))?;
        map.serialize_entry("last_seq", &state.last_seq)?;
        map.serialize_entry("last_ts", &units::rfc3339(state.last_time_ns))?;
        map.serialize_entry("num_subjects", &state.subject_count)?;
        map.serialize_entry("num_deleted", &state.deleted_count)?;
        if let Some(deleted) = &state.deleted {
            map.serialize_entry("deleted", deleted)?;
        }
        if let Some(lost) = &state.lost {
            map.serialize_entry(
                "lost",
                &LostJson {
                    msgs: &lost.seqs,
                    bytes: lost.bytes,
                },
            )?;
        }
        map.end()
    }
}

#[derive(serde::Serialize)]
struct LostJson<'a> {
    msgs: &'a [u64],
    bytes: u64,
}

#[derive(serde::Serialize)]
struct Position {
    seq: u64,
    ident: String,
}

/// A count, and the entries behind it where they were asked for.
#[derive(serde::Serialize)]
struct Entries<T> {
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<T>,
}

/// Schedules with their subjects as text.
struct Schedules<'a>(&'a [(Vec<u8>, u64, i64)]);

impl Serialize for Schedules<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.0
                .iter()
                .map(|(subject, seq, fires_ns)| (units::text(subject), seq, fires_ns)),
        )
    }
}

/// A map whose keys are bytes.
struct ByName<'a, V, F>(&'a BTreeMap<Vec<u8>, V>, F);

impl<V, T: Serialize, F: Fn(&V) -> T> Serialize for ByName<'_, V, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.0
                .iter()
                .map(|(name, value)| (units::text(name), self.1(value))),
        )
    }
}

/// A list whose items are turned into JSON one at a time.
pub struct List<'a, T, J>(pub &'a [T], pub fn(&'a T) -> J);

impl<T, J: Serialize> Serialize for List<'_, T, J> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for item in self.0 {
            list.serialize_element(&self.1(item))?;
        }
        list.end()
    }
}

/// An event as the contract spells it.
#[derive(serde::Serialize)]
pub struct EventJson<'a> {
    code: &'static str,
    severity: &'static str,
    file: Option<&'a str>,
    offset: Option<u64>,
    seq: Option<u64>,
    detail: &'a str,
}

/// An event as JSON.
pub fn event(event: &Event) -> EventJson<'_> {
    EventJson {
        code: event.code.as_str(),
        severity: event.severity.as_str(),
        file: event.file.as_deref(),
        offset: event.offset,
        seq: event.seq,
        detail: &event.detail,
    }
}

/// An action as the contract spells it.
#[derive(serde::Serialize)]
pub struct ActionJson<'a> {
    action: &'static str,
    file: &'a str,
    offset: Option<u64>,
    detail: &'a str,
}

/// An action as JSON.
pub fn action(action: &Action) -> ActionJson<'_> {
    ActionJson {
        action: action.kind.as_str(),
        file: &action.file,
        offset: action.offset,
        detail: &action.detail,
    }
}

/// Named as in the server's own consumer information.
#[derive(serde::Serialize)]
pub struct ConsumerJson<'a> {
    name: &'a str,
    outcome: &'static str,
    delivered: Pair,
    ack_floor: Pair,
    num_ack_pending: u64,
    num_redelivered: u64,
    /// The position in the files of a consumer that does not come up with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<HeldJson>,
}

#[derive(serde::Serialize)]
struct HeldJson {
    delivered: Pair,
    ack_floor: Pair,
}

#[derive(serde::Serialize)]
struct Pair {
    consumer_seq: u64,
    stream_seq: u64,
}

/// A consumer as JSON.
pub fn consumer(consumer: &ConsumerReport) -> ConsumerJson<'_> {
    let pair = |(consumer_seq, stream_seq)| Pair {
        consumer_seq,
        stream_seq,
    };
    ConsumerJson {
        name: &consumer.name,
        outcome: consumer.outcome,
        delivered: pair(consumer.delivered),
        ack_floor: pair(consumer.ack_floor),
        num_ack_pending: consumer.pending_count,
        num_redelivered: consumer.redelivered_count,
        held: consumer.held.map(|held| HeldJson {
            delivered: pair(held.delivered),
            ack_floor: pair(held.ack_floor),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    fn written(reports: &[StreamReport], collect: Collect) -> String {
        let mut out = Vec::new();
        let mut document =
            Document::begin(&mut out, Path::new("/data/\"js\""), Some(Policy::Server)).unwrap();
        for report in reports {
            document
                .stream(&Stream {
                    report,
                    hits: &[],
                    collect,
                })
                .unwrap();
        }
        document.end(4, None).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn parsed(reports: &[StreamReport], collect: Collect) -> serde_json::Value {
        serde_json::from_str(&written(reports, collect)).unwrap()
    }

    const EVERYTHING: Collect = Collect {
        deleted: true,
        subjects: true,
        digest: true,
        entries: true,
    };

    #[test]
    fn a_clean_stream_has_only_what_was_asked_for() {
        let want = "{\"jetsam\":\"0.1.0\",\"path\":\"/data/\\\"js\\\"\",\"policy\":\"server\",\"streams\":[\n\
            {\"account\":null,\"name\":\"ORDERS\",\"dir\":\"/data/ORDERS\",\"outcome\":\"clean\",\
            \"source\":\"index\",\"state\":{\"messages\":0,\"bytes\":0,\"first_seq\":0,\
            \"first_ts\":\"0001-01-01T00:00:00Z\",\"last_seq\":0,\"last_ts\":\"0001-01-01T00:00:00Z\",\
            \"num_subjects\":0,\"num_deleted\":0},\"ttl\":null,\"schedules\":null,\
            \"ledger\":{\"live\":0,\"expired\":0,\"expired_by_ttl\":0,\"removed\":{},\"lost\":0,\"lost_seqs\":[],\"unknown\":0,\
            \"unknown_seqs\":[],\"returning\":0,\"returning_seqs\":[],\"endangered\":0,\"endangered_seqs\":[]},\
            \"consumers\":[],\
            \"events\":[],\"actions\":[]}\n],\"exit\":4}\n";
        assert_eq!(written(&[test_support::clean()], Collect::default()), want);
    }

    #[test]
    fn a_damaged_stream_tells_everything() {
        let document = parsed(
            &[test_support::damaged(), test_support::clean()],
            EVERYTHING,
        );
        let want = serde_json::json!({
            "account": "A", "name": "ORDERS", "dir": "/data/A/streams/ORDERS",
            "outcome": "damaged", "source": "blocks",
            "state": {
                "messages": 1_234_567, "bytes": 12_582_912,
                "first_seq": 1, "first_ts": "2026-01-02T03:04:05.12Z",
                "last_seq": 1_234_570, "last_ts": "2026-01-02T03:04:06Z",
                "num_subjects": 2, "num_deleted": 3, "deleted": [2, 5, 6],
                "lost": { "msgs": [7, 8], "bytes": 99 },
            },
            "subjects": { "orders.1": 3, "orders.\\xff": 1 },
            "digest": format!("sha256:{}", "ab".repeat(32)),
            "unreadable": [12],
            "ttl": { "count": 1, "entries": [[3, 1_000_000_000]] },
            "schedules": { "count": 1, "entries": [["orders.1", 4, 5]] },
            "sources": { "S 1": { "seq": 9, "ident": "id" } },
            "consumers": [{
                "name": "C", "outcome": "ok",
                "delivered": { "consumer_seq": 1, "stream_seq": 2 },
                "ack_floor": { "consumer_seq": 3, "stream_seq": 4 },
                "num_ack_pending": 5, "num_redelivered": 6,
            }],
            "events": [
                { "code": "index-hash-mismatch", "severity": "warn", "file": "msgs/index.db",
                  "offset": null, "seq": null, "detail": "stored 1, computed 2" },
                { "code": "block-bad-record", "severity": "error", "file": "msgs/3.blk",
                  "offset": 999_827, "seq": 12, "detail": "hash differs" },
            ],
            "actions": [{ "action": "truncate-block", "file": "msgs/3.blk", "offset": 999_827,
                          "detail": "first bad record" }],
        });
        assert_eq!(document["streams"][0], want);
        assert_eq!(document["streams"].as_array().unwrap().len(), 2);
        let clean = &document["streams"][1];
        assert!(clean["sources"].is_null() && clean["subjects"].is_null());
        assert!(clean.get("sources").is_some() && clean.get("unreadable").is_none());
    }

    #[test]
    fn entries_come_only_when_collected() {
        let mut report = test_support::damaged();
        report.ttl.as_mut().unwrap().entries = None;
        let document = parsed(&[report], Collect::default());
        let stream = &document["streams"][0];
        assert_eq!(stream["ttl"], serde_json::json!({ "count": 1 }));
        for absent in ["sources", "subjects", "digest"] {
            assert!(stream.get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn a_failure_is_still_one_document() {
        let mut out = Vec::new();
        let document = Document::begin(&mut out, Path::new("x"), None).unwrap();
        document.end(8, Some("x: no such file")).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            document,
            serde_json::json!({
                "jetsam": env!("CARGO_PKG_VERSION"), "path": "x", "streams": [],
                "error": "x: no such file", "exit": 8
            })
        );
    }
}
