//! What `events` is asked.

use jetsam::report::events::EventCode;

use crate::args::{RawArgs, Usage};
use crate::events::Query;
use crate::flags;

/// Reads it.
pub fn query(raw: &RawArgs) -> Result<Query, Usage> {
    let code = match raw.operands.as_slice() {
        [] => None,
        [code] => Some(find(&code.to_string_lossy())?),
        _ => return Err(Usage("`jetsam events` takes one CODE, or none".into())),
    };
    Ok(Query {
        code,
        json: raw.has("json"),
        markdown: raw.has("markdown"),
    })
}

fn find(name: &str) -> Result<EventCode, Usage> {
    let known = || EventCode::ALL.iter().map(|code| code.as_str());
    let found = EventCode::ALL.iter().find(|code| code.as_str() == name);
    found.copied().ok_or_else(|| {
        Usage(match flags::nearest(name, known()) {
            Some(near) => format!("no event is called {name:?}; did you mean {near}?"),
            None => format!("no event is called {name:?}; `jetsam events` lists them"),
        })
    })
}
