//! A store against the model, and against what recovery makes of its directory.

use super::model::ModelStream;
use super::script::{ACCOUNT, DIR, EngineScript, FILTERS, NAME};
use crate::env::memory::MemoryFileSystem;
use crate::recovery::judge;
use crate::report::Watch;
use crate::state::StreamState;
use crate::store::{ReadError, Store};
use crate::stream::StreamDir;
use crate::stream::options::Options;

/// Holds a store against the model, and against what recovery makes of its directory.
///
/// # Errors
///
/// The first thing in which they differ.
pub fn compare(store: &Store, fs: &MemoryFileSystem, script: &EngineScript) -> Result<(), String> {
    let model = &script.model;
    let reader = store.reader();
    let summary = reader.summary();
    let found = (
        summary.message_count,
        summary.bytes,
        summary.first.seq,
        summary.last.seq,
    );
    let expected = (
        model.messages.len() as u64,
        model.bytes(),
        model.first_seq(),
        model.last_seq,
    );
    let is_new = model.last_seq == 0 && found == (0, 0, 0, 0);
    if found != expected && !is_new {
        return Err(format!("summary {found:?}, not {expected:?}"));
    }
    for (seq, message) in &model.messages {
        let found = reader
            .get(*seq)
            .map_err(|error| format!("get {seq}: {error}"))?;
        if found.subject() != message.subject.as_bytes()
            || found.headers() != message.headers
            || found.body() != message.body
            || found.timestamp_ns != message.timestamp_ns
        {
            return Err(format!("message {seq} is another: {found:?}"));
        }
    }
    for filter in FILTERS {
        walk(&reader, model, filter)?;
    }
    store.with_state(|state| {
        state.check().map_err(|unsound| unsound.to_string())?;
        let mut judged = judged(fs, script)?;
        excuse(&mut judged, state);
        match judged.difference_but_losses(state) {
            None => Ok(()),
            Some(difference) => Err(format!("recovery finds another state: {difference}")),
        }
    })
}

/// What no file keeps: when a message was stored that was wiped while it was the last, and that a store without a message ever was purged.
pub fn excuse(judged: &mut StreamState, known: &StreamState) {
    let last = judged.totals.last;
    if last.timestamp_ns == 0 && !judged.holds(last.seq) {
        judged.totals.last.timestamp_ns = known.totals.last.timestamp_ns;
    }
    if last.seq == 0 {
        judged.totals.first = known.totals.first;
    }
    for block in &mut judged.blocks {
        let mut others = known.blocks.iter();
        let other = others.find(|other| other.number == block.number);
        if block.last.timestamp_ns == 0
            && !block.holds(block.last.seq)
            && let Some(other) = other
        {
            block.last.timestamp_ns = other.last.timestamp_ns;
        }
    }
}

fn judged(fs: &MemoryFileSystem, script: &EngineScript) -> Result<StreamState, String> {
    let stream = StreamDir {
        account: None,
        name: NAME.to_owned(),
        dir: DIR.into(),
    };
    let options = Options {
        expire: false,
        keys: script.setup.keys(),
        account: Some(ACCOUNT.as_bytes().to_vec()),
        block_size: Some(script.setup.block_size()),
        threads: 1,
        ..Options::new(script.now_ns)
    };
    let judgement = judge(fs, &stream, &options, &Watch::none());
    let state = judgement
        .state
        .map(crate::recovery::Unapplied::into_preview);
    state.ok_or_else(|| format!("recovery does not open it: {:?}", judgement.report.events))
}

fn walk(reader: &crate::store::Reader, model: &ModelStream, filter: &str) -> Result<(), String> {
    let expected: Vec<u64> = {
        let mut model = model.clone();
        let all: Vec<u64> = model.messages.keys().copied().collect();
        model.purge(filter, 0, 0);
        let gone = all
            .into_iter()
            .filter(|seq| !model.messages.contains_key(seq));
        gone.collect()
    };
    let filters = [filter.as_bytes()];
    let (mut upwards, mut from) = (Vec::new(), 0);
    loop {
        match reader.next(&filters, from) {
            Ok(message) => {
                upwards.push(message.seq);
                from = message.seq + 1;
            }
            Err(ReadError::Beyond { .. }) => break,
            Err(error) => return Err(format!("next {filter} from {from}: {error}")),
        }
    }
    let (mut downwards, mut from) = (Vec::new(), u64::MAX);
    while let Ok(message) = reader.previous(&filters, from) {
        downwards.push(message.seq);
        from = message.seq - 1;
    }
    downwards.reverse();
    let middle = expected.get(expected.len() / 2).copied().unwrap_or(0);
    let behind = expected.iter().filter(|seq| **seq >= middle).count() as u64;
    let counted = reader
        .count(&filters, middle)
        .map_err(|error| error.to_string())?;
    match upwards == expected && downwards == expected && counted == behind {
        true => Ok(()),
        false => Err(format!(
            "{filter}: {upwards:?} upwards, {downwards:?} downwards, {counted} from {middle}; not {expected:?}"
        )),
    }
}
