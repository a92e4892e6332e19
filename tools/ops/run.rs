//! Two sides at work on one script, step by step.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::compare::{agree, differing};
use crate::driver::{Driver, Side, is_silent};
use crate::exempt::{Differing, Exemption, exemption};
use crate::script::{Place, Which};

/// Where the two sides part.
pub struct Disagreement {
    pub step: Value,
    pub left: Value,
    pub right: Value,
    pub exempt: Option<&'static Exemption>,
}

impl Disagreement {
    /// What kind of disagreement it is: shrinking keeps to it.
    pub fn kind(&self) -> String {
        let op = self.step["op"]
            .as_str()
            .or(self.step["check"].as_str())
            .unwrap_or("");
        let mut kind = format!("{op}: {}", differing(&self.left, &self.right).join(" "));
        for answer in [&self.left, &self.right] {
            if let Some(word) = answer["err"].as_str().or(answer["silent"].as_str()) {
                kind = kind + " " + word;
            }
        }
        kind
    }
}

/// Both sides, and a third process of the reference for what only it can tell.
pub struct Bench {
    sides: [Side; 2],
    drivers: [Option<Driver>; 2],
    judge: Driver,
    pub place: Place,
    stream: Value,
    pub requests: u64,
}

impl Bench {
    pub fn new(left: &Side, right: &Side, scratch: &Path) -> Result<Self, String> {
        Ok(Self {
            sides: [left.clone(), right.clone()],
            drivers: [None, None],
            judge: right.start()?,
            place: Place::fresh(scratch)?,
            stream: Value::Null,
            requests: 0,
        })
    }

    /// Both sides as if new, both directories empty.
    pub fn reset(&mut self) -> Result<(), String> {
        self.place = Place::fresh(&self.place.base.clone())?;
        self.stream = Value::Null;
        for (driver, side) in self.drivers.iter_mut().zip(&self.sides) {
            let alive = driver
                .as_mut()
                .is_some_and(|driver| driver.ask(&json!({"op": "reset"})).get("ok").is_some());
            if !alive {
                *driver = Some(side.start()?);
            }
        }
        Ok(())
    }

    /// One step on both sides; the left side's answer where they agree.
    pub fn step(&mut self, step: &Value) -> Result<Value, Box<Disagreement>> {
        self.requests += 1;
        if let Some(check) = step["check"].as_str() {
            return match check {
                "erased" => self.check_erased(step),
                _ => self.check_meta(step),
            };
        }
        if step["op"] == "open" || step["op"] == "restore" || step["op"] == "update_config" {
            self.stream = step["stream"].clone();
        }
        let [left, right] = self.ask(step);
        let agreed = if step["op"] == "encoded_state" {
            self.decoded(&left) == self.decoded(&right)
        } else {
            agree(&left, &right)
        };
        if agreed && !is_silent(&left) {
            return Ok(left);
        }
        Err(self.disagreement(step, left, right))
    }

    fn disagreement(&mut self, step: &Value, left: Value, right: Value) -> Box<Disagreement> {
        for (driver, answer) in self.drivers.iter_mut().zip([&left, &right]) {
            if is_silent(answer) {
                *driver = None;
            }
        }
        let exempt = exemption(&Differing {
            request: step,
            left: &left,
            right: &right,
            stream: &self.stream,
            same: self.sides[0].command == self.sides[1].command,
        });
        Box::new(Disagreement {
            step: step.clone(),
            left,
            right,
            exempt,
        })
    }

    fn ask(&mut self, step: &Value) -> [Value; 2] {
        let dead = || json!({ "silent": "died" });
        let which = [Which::Left, Which::Right];
        for (driver, which) in self.drivers.iter_mut().zip(which) {
            if let Some(driver) = driver {
                driver.send(&self.place.resolved(step, which));
            }
        }
        let mut answers = self
            .drivers
            .iter_mut()
            .map(|driver| driver.as_mut().map_or_else(dead, Driver::receive));
        [
            answers.next().unwrap_or_else(dead),
            answers.next().unwrap_or_else(dead),
        ]
    }

    /// What the reference reads in an encoded stream state.
    fn decoded(&mut self, answer: &Value) -> Value {
        let data = &answer["ok"]["data"];
        if data.is_null() {
            return answer["err"].clone();
        }
        self.judge.ask(&json!({"op": "decode_state", "data": data}))
    }

    /// Bytes that were erased are in no file of either side.
    fn check_erased(&self, step: &Value) -> Result<Value, Box<Disagreement>> {
        let needles: Vec<&str> = step["needles"]
            .as_array()
            .map(|list| list.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let dir = step["dir"].as_str().unwrap_or_default();
        let [left, right] = [Which::Left, Which::Right]
            .map(|which| holding(Path::new(&self.place.path(dir, which)), &needles));
        if left.is_empty() && right.is_empty() {
            return Ok(Value::Null);
        }
        Err(Box::new(Disagreement {
            step: step.clone(),
            exempt: None,
            left: json!({ "ok": { "holds": left } }),
            right: json!({ "ok": { "holds": right } }),
        }))
    }

    /// Both sides' meta data hold the name and the time of creation, under their checksum and key, as the reference reads them.
    fn check_meta(&mut self, step: &Value) -> Result<Value, Box<Disagreement>> {
        let sealed = step["cipher"] != "none";
        let wanted = json!({"ok": {"name": step["stream"]["name"], "created": step["created"], "sealed": sealed}});
        let mut ask = step.clone();
        ask["op"] = json!("meta");
        let [left, right] = [Which::Left, Which::Right]
            .map(|which| self.judge.ask(&self.place.resolved(&ask, which)));
        if agree(&left, &wanted) && agree(&right, &wanted) {
            return Ok(Value::Null);
        }
        Err(Box::new(Disagreement {
            step: step.clone(),
            left,
            right,
            exempt: None,
        }))
    }
}

/// Which files below `dir` hold which needle.
fn holding(dir: &Path, needles: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else {
        return found;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, needles));
        } else if let Ok(content) = fs::read(&path) {
            for needle in needles {
                let bytes = needle.as_bytes();
                if content.windows(bytes.len()).any(|window| window == bytes) {
                    found.push(format!("{} in {}", needle, path.display()));
                }
            }
        }
    }
    found
}
