//! Operations that leave the store as it is.

use std::collections::BTreeMap;

use jetsam::store::{ReadError, Reader, StoredMessage};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::answer::{self, Kind, Outcome, Refusal, refuse};
use crate::request::Request;
use crate::store::Opened;

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let kind = match &error {
            ReadError::NotFound | ReadError::Deleted { .. } => Kind::NotFound,
            ReadError::Beyond { .. } => Kind::Eof,
            ReadError::TooMany { .. } => Kind::TooMany,
            ReadError::Closed => Kind::Closed,
            _ => Kind::Other,
        };
        Refusal {
            kind,
            why: error.to_string(),
        }
    }
}

fn message(message: &StoredMessage) -> Value {
    answer::message(
        message.seq,
        message.timestamp_ns,
        &String::from_utf8_lossy(message.subject()),
        message.headers(),
        message.body(),
    )
}

/// Filters as the engine takes them; none and `>` are all.
fn filters(texts: &[String]) -> Vec<&[u8]> {
    texts.iter().map(String::as_bytes).collect()
}

/// A filter; none is all.
fn filter(text: &str) -> &[u8] {
    if text.is_empty() {
        b">"
    } else {
        text.as_bytes()
    }
}

/// Does what a reading request asks for.
pub fn perform(opened: &Opened, request: &Request) -> Outcome {
    let reader = &opened.reader;
    let one = |found: StoredMessage| json!({ "msg": message(&found) });
    Ok(match request {
        Request::Load { seq: 0 } => return refuse(Kind::BadSeq, "0"),
        Request::Load { seq } => one(reader.get(*seq)?),
        Request::LoadNext { filters: f, seq } => one(reader.next(&filters(f), *seq)?),
        Request::LoadPrev { filters: f, seq } => one(reader.previous(&filters(f), *seq)?),
        Request::LoadLast { filter: f } => one(load_last(reader, f)?),
        Request::SubjectOf { seq } => {
            let found = reader.get(*seq)?;
            json!({ "subject": String::from_utf8_lossy(found.subject()) })
        }
        Request::SeqFromTime { ts } => json!({ "seq": reader.seq_at(*ts)? }),
        Request::FilteredState { filter: f, seq } => {
            let found = reader.matching(&[filter(f)], *seq)?;
            json!({ "messages": found.message_count, "first_seq": found.first_seq, "last_seq": found.last_seq })
        }
        Request::SubjectsState { filter: f } => subjects_state(reader, f)?,
        Request::SubjectsTotals { filter: f } => {
            let totals = reader.subject_totals(f.as_bytes());
            json!({ "totals": named(totals, |count| json!(count)) })
        }
        Request::NumPending {
            filters: f,
            seq,
            last_per_subject,
        } => {
            let total = match last_per_subject {
                true => reader.count_subjects(&filters(f), *seq)?,
                false => reader.count(&filters(f), *seq)?,
            };
            json!({ "total": total, "valid_through": reader.summary().last.seq })
        }
        Request::AllLast => json!({ "seqs": reader.last_of_each(&[], u64::MAX, None)? }),
        Request::MultiLast {
            filters: f,
            max_seq,
            max_allowed,
        } => {
            let to = if *max_seq == 0 { u64::MAX } else { *max_seq };
            let most = Some(*max_allowed).filter(|most| *most > 0);
            json!({ "seqs": reader.last_of_each(&filters(f), to, most)? })
        }
        Request::State => opened.state().answer(),
        Request::Digest => json!({ "digest": digest(reader)? }),
        Request::Dump { seq, n } => json!({ "msgs": dump(reader, *seq, *n)? }),
        Request::EncodedState { failed } => {
            json!({ "data": answer::base64(&reader.encoded_state(*failed)) })
        }
        // Every other operation was taken before.
        _ => return refuse(Kind::BadRequest, "not with a store open"),
    })
}

/// For everything it is the message at the last sequence, or nothing.
fn load_last(reader: &Reader, of: &str) -> Result<StoredMessage, Refusal> {
    let found = match filter(of) {
        b">" => reader.get(reader.summary().last.seq),
        filter => reader.last(filter),
    };
    found.or_else(|error| match error {
        ReadError::Beyond { .. } => refuse(Kind::NotFound, error.to_string()),
        error => Err(error.into()),
    })
}

fn named<T>(of: BTreeMap<Vec<u8>, T>, show: impl Fn(&T) -> Value) -> Value {
    let shown = of
        .iter()
        .map(|(subject, value)| (String::from_utf8_lossy(subject).into_owned(), show(value)));
    Value::Object(shown.collect())
}

fn subjects_state(reader: &Reader, filter: &str) -> Outcome {
    let subjects = named(
        reader.subjects(filter.as_bytes())?,
        |found| json!({ "messages": found.message_count, "first_seq": found.first_seq, "last_seq": found.last_seq }),
    );
    Ok(json!({ "subjects": subjects }))
}

/// Every message from a sequence on, until `visit` has enough.
fn walk(
    reader: &Reader,
    from: u64,
    mut visit: impl FnMut(&StoredMessage) -> bool,
) -> Result<(), Refusal> {
    let mut from = from;
    loop {
        match reader.next(&[], from) {
            Ok(found) => {
                if !visit(&found) {
                    return Ok(());
                }
                from = found.seq + 1;
            }
            Err(ReadError::Beyond { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sequence, time, then subject, headers and body behind their lengths, of every message.
fn digest(reader: &Reader) -> Result<String, Refusal> {
    let mut hash = Sha256::new();
    walk(reader, 0, |found| {
        hash.update(found.seq.to_le_bytes());
        hash.update(found.timestamp_ns.to_le_bytes());
        for part in [found.subject(), found.headers(), found.body()] {
            // A record has at most 32 MiB.
            hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            hash.update(part);
        }
        true
    })?;
    let hex: Vec<String> = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(format!("sha256:{}", hex.concat()))
}

fn dump(reader: &Reader, seq: u64, most: u64) -> Result<Vec<Value>, Refusal> {
    let mut messages = Vec::new();
    if most > 0 {
        walk(reader, seq, |found| {
            messages.push(message(found));
            (messages.len() as u64) < most
        })?;
    }
    Ok(messages)
}
