//! A script: its steps, one JSON object a line, and what its directories mean to each side.
//!
//! A step is a request of the protocol, or a check of this program: `{"check": …}`. A `dir` or `file` that begins with `@0/` or `@1/`
//! lies in a side's first or second directory. The first directory of the left side is the second of the right one, so a script changes
//! the directories by opening the other.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// What a side is called; also an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Left = 0,
    Right = 1,
}

/// The two directories of a run.
#[derive(Debug, Clone)]
pub struct Place {
    pub base: PathBuf,
}

impl Place {
    /// Two empty directories below `base`.
    pub fn fresh(base: &Path) -> Result<Self, String> {
        let _ = fs::remove_dir_all(base);
        for name in ["0", "1"] {
            fs::create_dir_all(base.join(name))
                .map_err(|error| format!("{}: {error}", base.display()))?;
        }
        Ok(Self {
            base: base.to_owned(),
        })
    }

    /// What a path of a script means to a side.
    pub fn path(&self, text: &str, which: Which) -> String {
        for (token, number) in [("@0/", 0), ("@1/", 1)] {
            if let Some(rest) = text.strip_prefix(token) {
                let directory = (number + which as usize) % 2;
                return self
                    .base
                    .join(directory.to_string())
                    .join(rest)
                    .to_string_lossy()
                    .into_owned();
            }
        }
        text.to_owned()
    }

    /// A step with its paths as a side sees them.
    pub fn resolved(&self, step: &Value, which: Which) -> Value {
        let mut step = step.clone();
        for field in ["dir", "file"] {
            if let Some(path) = step.get(field).and_then(Value::as_str) {
                step[field] = Value::String(self.path(path, which));
            }
        }
        step
    }
}

/// Reads a script file.
pub fn read(path: &Path) -> Result<Vec<Value>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).map_err(|error| format!("{line:.100}: {error}")))
        .collect()
}

/// Writes a script file.
pub fn write(path: &Path, steps: &[Value]) -> Result<(), String> {
    let mut text = String::new();
    for step in steps {
        text.push_str(&step.to_string());
        text.push('\n');
    }
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sides_have_each_others_directories() {
        let place = Place {
            base: PathBuf::from("/x"),
        };
        assert_eq!(place.path("@0/s", Which::Left), "/x/0/s");
        assert_eq!(place.path("@0/s", Which::Right), "/x/1/s");
        assert_eq!(place.path("@1/s", Which::Left), "/x/1/s");
        assert_eq!(place.path("@1/s", Which::Right), "/x/0/s");
    }
}
