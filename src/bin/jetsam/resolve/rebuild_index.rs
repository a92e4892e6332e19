//! What `rebuild-index` is asked.

use super::preflight;
use crate::args::{RawArgs, Usage};
use crate::rebuild_index::Query;

/// Reads it.
pub fn query(raw: &RawArgs) -> Result<Query, Usage> {
    Ok(Query {
        server: preflight::server(raw)?,
    })
}
