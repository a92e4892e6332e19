//! Lives of the engine's store in memory, by a seed: every step held against a simple model and against recovery, and the same life
//! ended at every call to the disk, or with every call failing once.

mod comparing;
mod crash;
mod model;
mod moments;
mod script;
mod taking;

pub use comparing::{compare, excuse};
pub use crash::{CrashTally, LeftBehind, crash_everywhere, fail_everywhere, left_behind};
pub use model::{ModelLimits, ModelMessage, ModelStream};
pub use script::{EngineScript, EngineSetup, EngineStep};
pub use taking::{StepEnd, take};

use crate::env::memory::MemoryFileSystem;
use crate::format::record::parse_at;

/// Lives `step_count` steps of a seed's life, and compares after each.
///
/// # Errors
///
/// Where store and model came apart, with the steps up to there.
pub fn live(seed: u64, step_count: usize) -> Result<(), String> {
    let fs = MemoryFileSystem::new();
    let mut script = EngineScript::new(seed);
    let mut lived = Vec::new();
    let disk = fs.clone();
    let fail = |lived: &[EngineStep], what: String| {
        let steps: Vec<String> = lived.iter().map(EngineStep::name).collect();
        let (count, steps, disk) = (steps.len(), steps.join(", "), listing(&disk));
        Err(format!(
            "seed {seed}, step {count}: {what}\n{steps}\n{disk}"
        ))
    };
    let (mut store, mut writer) = script.setup.open(&fs, script.now_ns, seed)?;
    for nth in 0..step_count {
        let step = script.draw();
        let after = script.after(&step);
        lived.push(step.clone());
        if step == EngineStep::Reopen {
            // Every other time as a process that is killed.
            let ended = match script.random.chance(50) {
                true => store.close(writer).map_err(|fault| fault.to_string()),
                false => writer
                    .flush()
                    .map_err(|fault| fault.to_string())
                    .map(|()| drop((store, writer))),
            };
            if let Err(what) = ended {
                return fail(&lived, what);
            }
            (store, writer) = match script.setup.open(&fs, script.now_ns, seed + nth as u64) {
                Ok(opened) => opened,
                Err(what) => return fail(&lived, what),
            };
        } else {
            let setup = &script.setup;
            let taken = take(
                &mut writer,
                &step,
                &script.model,
                &after,
                setup,
                script.now_ns,
            );
            if let Err(end) = taken {
                return fail(&lived, format!("{end:?}"));
            }
        }
        script.model = after;
        if let Err(what) = compare(&store, &fs, &script) {
            return fail(&lived, what);
        }
    }
    Ok(())
}

/// The files, and of blocks in plain their records.
fn listing(fs: &MemoryFileSystem) -> String {
    let mut lines = Vec::new();
    for (path, bytes) in fs.files() {
        let mut records = Vec::new();
        let mut offset = 0;
        while path.extension().is_some_and(|extension| extension == "blk")
            && let Ok(record) = parse_at(&bytes, offset)
        {
            offset = record.end_offset();
            records.push(format!("{:?} {}", record.kind(), record.sequence()));
        }
        let length = bytes.len();
        lines.push(format!(
            "{} {length}: {}",
            path.display(),
            records.join(", ")
        ));
    }
    lines.join("\n")
}
