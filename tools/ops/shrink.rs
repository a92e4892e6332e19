//! Makes a script that disagrees smaller.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::run::{Bench, Disagreement};

/// Runs a script from the beginning; the first disagreement and how many steps were done before it.
pub fn replay(
    bench: &mut Bench,
    steps: &[Value],
) -> Result<Option<(usize, Box<Disagreement>)>, String> {
    bench.reset()?;
    for (at, step) in steps.iter().enumerate() {
        if let Err(disagreement) = bench.step(step) {
            return Ok(Some((at, disagreement)));
        }
    }
    Ok(None)
}

/// The smallest script found within `time` that still disagrees in the same operation and fields.
pub fn shrink(
    bench: &mut Bench,
    steps: &[Value],
    kind: &str,
    time: Duration,
) -> Result<Vec<Value>, String> {
    let end = Instant::now() + time;
    let mut steps = steps.to_vec();
    let mut chunk = steps.len().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        let mut smaller = false;
        while at < steps.len() {
            if Instant::now() > end {
                return Ok(steps);
            }
            // Without an update the next open would come with a configuration that the store does not have.
            let taken = at..(at + chunk).min(steps.len());
            let kept = |(place, step): &(usize, &Value)| {
                !taken.contains(place) || step["op"] == "update_config"
            };
            let mut trial: Vec<Value> = steps
                .iter()
                .enumerate()
                .filter(kept)
                .map(|(_, step)| step.clone())
                .collect();
            if trial.len() == steps.len() {
                at += chunk;
                continue;
            }
            match replay(bench, &trial)? {
                Some((last, found)) if found.kind() == kind && found.exempt.is_none() => {
                    trial.truncate(last + 1);
                    steps = trial;
                    smaller = true;
                }
                _ => at += chunk,
            }
        }
        if !(smaller && chunk == 1) {
            chunk /= 2;
        }
    }
    Ok(steps)
}
