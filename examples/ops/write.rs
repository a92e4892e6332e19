//! Operations that change the store.

use jetsam::store::{
    AppendError, Appended, LimitKind, NewMessage, PurgeRequest, RemoveError, TidyBudget,
    WriterFault,
};
use serde_json::{Value, json};

use crate::answer::{Kind, Refusal, refuse};
use crate::request::{Appending, Request};
use crate::store::{Opened, config};

impl From<WriterFault> for Refusal {
    fn from(fault: WriterFault) -> Self {
        let kind = match fault {
            WriterFault::Closed => Kind::Closed,
            _ => Kind::Other,
        };
        Refusal {
            kind,
            why: fault.to_string(),
        }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        let kind = match &error {
            AppendError::Limit { kind, .. } => match kind {
                LimitKind::Messages => Kind::MaxMsgs,
                LimitKind::Bytes => Kind::MaxBytes,
                LimitKind::MessagesPerSubject => Kind::MaxMsgsPerSubject,
            },
            AppendError::Subject { .. } => Kind::BadSubject,
            AppendError::Sequence { .. } => Kind::SeqMismatch,
            AppendError::TooLarge { .. } => Kind::TooLarge,
            _ => Kind::Other,
        };
        Refusal {
            kind,
            why: error.to_string(),
        }
    }
}

impl From<RemoveError> for Refusal {
    fn from(error: RemoveError) -> Self {
        let kind = match &error {
            RemoveError::NotFound { .. } => Kind::NotFound,
            RemoveError::Beyond { .. } => Kind::Eof,
            RemoveError::Range { .. } => Kind::BadSeq,
            _ => Kind::Other,
        };
        Refusal {
            kind,
            why: error.to_string(),
        }
    }
}

fn message(appending: &Appending) -> NewMessage<'_> {
    NewMessage {
        subject: appending.subject.as_bytes(),
        headers: &appending.hdr,
        body: &appending.msg,
    }
}

fn appended(appended: &Appended) -> Value {
    json!({ "seq": appended.seq, "ts": appended.timestamp_ns })
}

/// The next sequence where none is given.
fn given(seq: u64) -> Option<u64> {
    Some(seq).filter(|seq| *seq > 0)
}

/// Does what a writing request asks for, or gives the request back.
pub fn perform(
    opened: &mut Opened,
    request: Request,
    now_ns: i64,
) -> Result<Result<Value, Request>, Refusal> {
    let writer = &mut opened.writer;
    let purged = |count: u64| json!({ "purged": count });
    let removed = |removed: bool| json!({ "removed": removed });
    Ok(Ok(match request {
        Request::Flush => {
            writer.flush()?;
            json!({})
        }
        Request::Sync => {
            writer.tidy(TidyBudget::default())?;
            json!({})
        }
        Request::UpdateConfig { stream } => {
            let config = config(&stream)?;
            if config.name != opened.store.config().name {
                return refuse(Kind::BadRequest, "another name");
            }
            writer.update_config(&config)?;
            json!({})
        }
        Request::Append(appending) => appended(&writer.append(&message(&appending), now_ns)?),
        Request::AppendAt(appending) => {
            appended(&writer.append_at(&message(&appending), given(appending.seq), appending.ts)?)
        }
        Request::Skip { seq } => json!({ "seq": writer.skip(given(seq), now_ns)? }),
        Request::SkipMany { n: 0, .. } => return refuse(Kind::BadRequest, "n is 0"),
        Request::SkipMany { seq, n } => {
            writer.skip_many(given(seq), n, now_ns)?;
            json!({})
        }
        Request::Remove { seq } => removed(writer.remove(seq)?),
        Request::Erase { seq } => removed(writer.erase(seq)?),
        Request::Purge => purged(writer.purge(&PurgeRequest::default())?),
        Request::PurgeEx { filter, seq, keep } => purged(writer.purge(&PurgeRequest {
            filter: filter.as_bytes(),
            below: seq,
            keep,
        })?),
        Request::Compact { seq } => purged(writer.compact(seq)?),
        Request::Truncate { seq } => {
            writer.truncate(seq)?;
            json!({})
        }
        Request::Maintain => {
            writer.maintain(now_ns)?;
            json!({})
        }
        request => return Ok(Err(request)),
    }))
}
