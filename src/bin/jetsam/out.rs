//! What `salvage` and `merge` share: the directory for the new store, and the summary in it.

use std::fs;
use std::path::{Path, PathBuf};

use jetsam::salvage::SalvageReport;
use serde_json::{Value, json};

use crate::json::path_text;
use crate::units;

/// Name of the summary in the new store's directory.
pub const SUMMARY_FILE: &str = "summary.json";

/// Why the new store cannot go to `out`, in a sentence. Nothing is left behind either way.
/// Where a run is resumed, the directory need not be empty.
pub fn check(sources: &[PathBuf], out: &Path, resume: bool) -> Result<(), String> {
    let place = resolved(out).map_err(|error| format!("{}: {error}", out.display()))?;
    for source in sources {
        let from = resolved(source).map_err(|error| format!("{}: {error}", source.display()))?;
        if place.starts_with(&from) || from.starts_with(&place) {
            return Err(format!(
                "--out {} and {} lie one in the other: name a directory that is apart from the source",
                out.display(),
                source.display()
            ));
        }
    }
    match fs::read_dir(out) {
        Ok(mut entries) => {
            if entries.next().is_some() && !resume {
                return Err(format!(
                    "--out {} is not empty: name a directory that is, or does not exist yet; --resume goes on where a run \
                     was interrupted",
                    out.display()
                ));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(format!("--out {}: {error}", out.display())),
    }
    writable(out).map_err(|error| format!("--out {} cannot be written to: {error}", out.display()))
}

/// Tries it: makes what is missing and a file in it, and takes all of that away again.
fn writable(out: &Path) -> std::io::Result<()> {
    let mut missing: Vec<&Path> = out
        .ancestors()
        .filter(|dir| !dir.as_os_str().is_empty())
        .take_while(|dir| !dir.exists())
        .collect();
    missing.reverse();
    let mut made = Vec::new();
    let mut result = Ok(());
    for dir in missing {
        result = fs::create_dir(dir);
        if result.is_err() {
            break;
        }
        made.push(dir);
    }
    let probe = out.join(".jetsam-probe");
    result = result.and_then(|()| fs::write(&probe, b""));
    let _ = fs::remove_file(&probe);
    for dir in made.into_iter().rev() {
        let _ = fs::remove_dir(dir);
    }
    result
}

/// The path without links, as far as it exists.
fn resolved(path: &Path) -> std::io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    for above in absolute.ancestors() {
        if let Ok(found) = above.canonicalize() {
            let rest = absolute.strip_prefix(above).unwrap_or(Path::new(""));
            return Ok(if rest.as_os_str().is_empty() {
                found
            } else {
                found.join(rest)
            });
        }
    }
    Ok(absolute)
}

fn pairs(ranges: &[(u64, u64)]) -> Value {
    ranges.iter().map(|(from, to)| json!([from, to])).collect()
}

/// The summary: per stream in total and by block.
pub fn summary(path: &Path, exit: u8, done: &[SalvageReport]) -> Value {
    let streams: Vec<Value> = done
        .iter()
        .map(|report| {
            let stream = &report.stream;
            let blocks: Vec<Value> = report
                .blocks
                .iter()
                .map(|block| {
                    json!({
                        "block": block.number,
                        "recovered": block.recovered,
                        "repaired": block.repaired,
                        "uncertain": block.uncertain,
                        "quarantined": block.quarantined,
                        "quarantined_bytes": block.quarantined_bytes,
                        "lost": block.lost,
                        "lost_seqs": pairs(&block.lost_ranges),
                    })
                })
                .collect();
            let total = stream.salvage.as_ref().map(|totals| {
                json!({
                    "recovered": totals.recovered,
                    "repaired": totals.repaired,
                    "uncertain": totals.uncertain,
                    "quarantined": totals.quarantined,
                    "old_values": totals.old_values,
                    "lost": totals.lost,
                    "lost_seqs": pairs(&totals.lost_ranges),
                })
            });
            json!({
                "account": stream.account,
                "name": stream.name,
                "dir": stream.dir,
                "outcome": stream.outcome.as_str(),
                "digest": stream.digest.map(|digest| format!("sha256:{}", units::hex(&digest))),
                "total": total,
                "blocks": blocks,
            })
        })
        .collect();
    json!({
        "jetsam": env!("CARGO_PKG_VERSION"),
        "path": path_text(path),
        "exit": exit,
        "streams": streams,
    })
}

/// Writes it.
pub fn write_summary(out: &Path, summary: &Value) -> Result<(), String> {
    let path = out.join(SUMMARY_FILE);
    let write = || {
        fs::create_dir_all(out)?;
        fs::write(&path, format!("{summary:#}\n"))
    };
    write().map_err(|error| format!("{}: {error}", path.display()))
}
