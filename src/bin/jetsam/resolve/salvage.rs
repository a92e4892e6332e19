//! What `salvage` is asked.

use std::path::PathBuf;

use super::{out, preflight};
use crate::args::{RawArgs, Usage};
use crate::salvage::Query;

/// Reads it.
pub fn query(raw: &RawArgs) -> Result<Query, Usage> {
    Ok(Query {
        out: out::directory(raw)?,
        plaintext: raw.has("plaintext"),
        uncertain: out::uncertain(raw)?,
        link: raw.has("link"),
        from_quarantine: raw.get("from-quarantine").map(PathBuf::from),
        replicas: out::replicas(raw)?,
        resume: raw.has("resume"),
        server: preflight::server(raw)?,
    })
}
