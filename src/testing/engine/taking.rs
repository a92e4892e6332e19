//! Steps on the engine: each has to do what it does to the model.

use super::model::{ModelMessage, ModelStream};
use super::script::{EngineSetup, EngineStep};
use crate::store::{
    AppendError, Committed, Expected, NewMessage, PurgeRequest, RemoveError, TidyBudget, Writer,
    WriterFault,
};

/// Why a step did not come to an end.
#[derive(Debug)]
pub enum StepEnd {
    /// The disk failed.
    Disk,
    /// The engine did otherwise than the model.
    Wrong(String),
}

impl From<WriterFault> for StepEnd {
    fn from(fault: WriterFault) -> Self {
        match fault {
            WriterFault::Latched(_) => StepEnd::Disk,
            other => StepEnd::Wrong(other.to_string()),
        }
    }
}

/// Takes a step but [`EngineStep::Reopen`] on the engine; `after` is the model behind it.
///
/// # Errors
///
/// [`StepEnd`].
pub fn take(
    writer: &mut Writer,
    step: &EngineStep,
    before: &ModelStream,
    after: &ModelStream,
    setup: &EngineSetup,
    now_ns: i64,
) -> Result<(), StepEnd> {
    match step {
        EngineStep::Append(message) => append(writer, message, before, after),
        EngineStep::Batch(removed, appended) => {
            commit(writer, removed, appended, before, after, now_ns)
        }
        EngineStep::RollUp(message, rollup) => {
            let expected = Expected::default();
            let new = new_message(message);
            committed(
                writer.append_rolling_up(&new, *rollup, now_ns, expected),
                after,
            )
        }
        EngineStep::Skip(count) => match writer.skip_many(None, *count, now_ns) {
            Ok(last) if last == after.last_seq => Ok(()),
            Err(AppendError::Fault(fault)) => Err(fault.into()),
            other => Err(StepEnd::Wrong(format!("skip: {other:?}"))),
        },
        EngineStep::Remove(seq) | EngineStep::Erase(seq) => {
            let removed = match step {
                EngineStep::Erase(_) => writer.erase(*seq),
                _ => writer.remove(*seq),
            };
            let expected = before.messages.contains_key(seq);
            match removed {
                Err(RemoveError::Fault(fault)) => Err(fault.into()),
                removed if removed.as_ref().is_ok_and(|removed| *removed) == expected => Ok(()),
                removed => Err(StepEnd::Wrong(format!("remove {seq}: {removed:?}"))),
            }
        }
        EngineStep::Purge(filter, below, keep) => {
            let request = PurgeRequest {
                filter: filter.as_bytes(),
                below: *below,
                keep: *keep,
            };
            let purged = writer.purge(&request);
            counted(purged, before, after)
        }
        EngineStep::Compact(seq) => counted(writer.compact(*seq), before, after),
        EngineStep::Truncate(seq) => match writer.truncate(*seq) {
            Err(RemoveError::Range { .. }) if before == after => Ok(()),
            cut => counted(cut, before, after),
        },
        EngineStep::Limits(limits) => Ok(writer.update_config(&setup.config(limits))?),
        EngineStep::Maintain => match writer.maintain(now_ns) {
            Ok(_) => Ok(()),
            Err(AppendError::Fault(fault)) => Err(fault.into()),
            Err(other) => Err(StepEnd::Wrong(other.to_string())),
        },
        EngineStep::Sync => Ok(writer.sync().map(|_| ())?),
        EngineStep::Tidy => Ok(writer.tidy(TidyBudget::default()).map(|_| ())?),
        EngineStep::Reopen => Ok(()),
    }
}

fn new_message(message: &ModelMessage) -> NewMessage<'_> {
    NewMessage {
        subject: message.subject.as_bytes(),
        headers: &message.headers,
        body: &message.body,
    }
}

fn commit(
    writer: &mut Writer,
    removed: &[u64],
    appended: &[ModelMessage],
    before: &ModelStream,
    after: &ModelStream,
    now_ns: i64,
) -> Result<(), StepEnd> {
    let mut batch = writer.batch(now_ns)?;
    let mut gone = Vec::new();
    for seq in removed {
        let is_live = before.messages.contains_key(seq) && !gone.contains(seq);
        gone.push(*seq);
        match batch.remove(*seq) {
            Ok(removed) if removed == is_live => {}
            Err(RemoveError::NotFound { .. } | RemoveError::Beyond { .. }) if !is_live => {}
            Err(RemoveError::Fault(fault)) => return Err(fault.into()),
            other => return Err(StepEnd::Wrong(format!("batch, remove {seq}: {other:?}"))),
        }
    }
    for (at, message) in appended.iter().enumerate() {
        let seq = before.last_seq + 1 + at as u64;
        let expected = Expected {
            last_seq: Some(seq - 1),
            ..Expected::default()
        };
        match batch.append(&new_message(message), expected) {
            Ok(found) if found == seq => {}
            Err(AppendError::Fault(fault)) => return Err(fault.into()),
            other => return Err(StepEnd::Wrong(format!("batch, append {seq}: {other:?}"))),
        }
    }
    committed(batch.commit(), after)
}

fn committed(answer: Result<Committed, AppendError>, after: &ModelStream) -> Result<(), StepEnd> {
    match answer {
        Ok(committed) if committed.last_seq == after.last_seq => Ok(()),
        Err(AppendError::Fault(fault)) => Err(fault.into()),
        other => Err(StepEnd::Wrong(format!("batch: {other:?}"))),
    }
}

fn append(
    writer: &mut Writer,
    message: &ModelMessage,
    before: &ModelStream,
    after: &ModelStream,
) -> Result<(), StepEnd> {
    let new = new_message(message);
    let is_let_in = after.last_seq > before.last_seq;
    match writer.append(&new, message.timestamp_ns) {
        Ok(appended) if is_let_in && appended.seq == after.last_seq => Ok(()),
        Err(AppendError::Limit { .. }) if !is_let_in => Ok(()),
        Err(AppendError::Fault(fault)) => Err(fault.into()),
        other => Err(StepEnd::Wrong(format!("append: {other:?}"))),
    }
}

fn counted(
    removed: Result<u64, RemoveError>,
    before: &ModelStream,
    after: &ModelStream,
) -> Result<(), StepEnd> {
    let expected = (before.messages.len() - after.messages.len()) as u64;
    match removed {
        Ok(count) if count == expected => Ok(()),
        Err(RemoveError::Fault(fault)) => Err(fault.into()),
        other => Err(StepEnd::Wrong(format!("{other:?} removed, not {expected}"))),
    }
}
