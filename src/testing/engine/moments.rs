//! What a store that was opened again may hold: nothing but what was there at one of some moments.

use std::collections::BTreeMap;

use super::model::{ModelMessage, ModelStream};
use crate::store::{ReadError, Reader};

/// Every message that a reader comes upon.
pub(super) fn found_by(reader: &Reader) -> Result<BTreeMap<u64, ModelMessage>, String> {
    let mut found: BTreeMap<u64, ModelMessage> = BTreeMap::new();
    let mut from = 0;
    loop {
        let message = match reader.next(&[], from) {
            Ok(message) => message,
            Err(ReadError::Beyond { .. }) => break,
            Err(error) => return Err(format!("next from {from}: {error}")),
        };
        from = message.seq + 1;
        let subject = String::from_utf8_lossy(message.subject()).into_owned();
        let known = ModelMessage {
            subject,
            headers: message.headers().to_vec(),
            body: message.body().to_vec(),
            timestamp_ns: message.timestamp_ns,
        };
        found.insert(message.seq, known);
    }
    let counted = reader.summary().message_count;
    match counted == found.len() as u64 {
        true => Ok(found),
        false => Err(format!("{counted} messages counted, {} read", found.len())),
    }
}

/// What is found has to be, message by message, as at one of the moments.
pub(super) fn between(
    moments: &[ModelStream],
    found: &BTreeMap<u64, ModelMessage>,
    last_seq: u64,
    now_ns: i64,
) -> Result<(), String> {
    let lowest = moments
        .iter()
        .map(|model| model.last_seq)
        .min()
        .unwrap_or(0);
    let highest = moments
        .iter()
        .map(|model| model.last_seq)
        .max()
        .unwrap_or(0);
    if last_seq < lowest || last_seq > highest {
        return Err(format!(
            "last sequence {last_seq}, not within {lowest}..{highest}"
        ));
    }
    for (seq, message) in found {
        let known = moments
            .iter()
            .any(|model| model.messages.get(seq) == Some(message));
        if !known {
            return Err(format!("message {seq} was not there at any moment"));
        }
    }
    all_or_nothing(moments, found)?;
    let Some(first) = moments.first() else {
        return Ok(());
    };
    for (seq, message) in &first.messages {
        let always = moments.iter().all(|model| model.messages.contains_key(seq));
        let is_crowded = moments
            .iter()
            .any(|model| model.is_full_of(found, *seq, message));
        let age_ns = moments
            .iter()
            .map(|model| model.limits.max_age_ns)
            .filter(|age| *age > 0)
            .min();
        let is_aged = age_ns.is_some_and(|age| message.timestamp_ns <= now_ns - age);
        if always && !found.contains_key(seq) && !is_aged && !is_crowded && !message.is_over(now_ns)
        {
            return Err(format!("message {seq} is gone"));
        }
    }
    Ok(())
}

/// Of changes that belong together and may or may not have happened, all did or none. Where limits are, what is found may be another's
/// doing.
fn all_or_nothing(
    moments: &[ModelStream],
    found: &BTreeMap<u64, ModelMessage>,
) -> Result<(), String> {
    let Some(last) = moments.last() else {
        return Ok(());
    };
    let is_limited = |model: &ModelStream| model.limits != Default::default();
    if moments.iter().any(is_limited) {
        return Ok(());
    }
    for batch in &last.batches {
        let Some(first) = batch.appended.first() else {
            continue;
        };
        // A cut behind it may have taken part of it away again.
        let (before, after): (Vec<_>, Vec<_>) =
            moments.iter().partition(|model| model.last_seq < *first);
        let stays = |seq: &&u64| {
            let message = last.messages.get(seq);
            message.is_some_and(|message| {
                crate::format::headers::message_ttl(&message.headers) == Ok(0)
            }) && after.iter().all(|model| model.messages.contains_key(seq))
        };
        let was = |seq: &&u64| before.iter().all(|model| model.messages.contains_key(seq));
        let there = |seq: &u64| found.contains_key(seq);
        let appended: Vec<bool> = batch.appended.iter().filter(stays).map(there).collect();
        let removed: Vec<bool> = match before.is_empty() {
            true => Vec::new(),
            false => batch
                .removed
                .iter()
                .filter(was)
                .map(|seq| !there(seq))
                .collect(),
        };
        let happened = appended.iter().chain(&removed);
        let count = happened.clone().filter(|happened| **happened).count();
        if !appended.is_empty() && count != 0 && count != happened.count() {
            return Err(format!(
                "half of a batch: {batch:?}, {appended:?}, {removed:?}"
            ));
        }
    }
    Ok(())
}
