//! One case: made, asked, examined, recovered, judged.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use jetsam::report::stream::StreamReport;

use crate::compare::{self, Difference, Differences};
use crate::disk;
use crate::exempt;
use crate::oracle::{Answer, Ask, Oracle};
use crate::ours::{self, How};
use crate::tree::{self, Tree};

/// A directory and what both sides are told about it.
#[derive(Debug, Clone)]
pub struct Case {
    pub seed: u64,
    pub origin: String,
    pub tree: Tree,
    pub ask: Ask,
    pub mutations: Vec<String>,
}

/// How a case came out.
#[derive(Debug)]
pub enum Verdict {
    Equal,
    RefusedAlike,
    SetAside(String),
    Disagree(Disagreement),
}

/// A disagreement with what is needed to understand it.
#[derive(Debug)]
pub struct Disagreement {
    pub differences: Vec<Difference>,
    pub answer: String,
    pub report: String,
}

impl Disagreement {
    /// The fields, which is what cases are grouped by.
    pub fn class(&self) -> String {
        let mut fields: Vec<&str> = self.differences.iter().map(|d| d.field.as_str()).collect();
        fields.dedup();
        fields.truncate(6);
        fields.join(", ")
    }

    /// The first field.
    pub fn first(&self) -> String {
        self.differences
            .first()
            .map(|d| d.field.clone())
            .unwrap_or_default()
    }
}

/// A verdict and the exemptions it took.
pub struct Judged {
    pub verdict: Verdict,
    pub exempted: Vec<&'static str>,
    pub outcome: String,
}

/// A worker's oracle and scratch directory.
pub struct Bench {
    pub oracle: Oracle,
    pub scratch: PathBuf,
}

/// How far the checks go.
#[derive(Debug, Clone, Copy)]
pub struct Depth {
    /// The directory left alone, thread counts, quick mode.
    pub thorough: bool,
}

impl Bench {
    /// A fresh stream directory below scratch, filled with `tree`.
    pub fn lay_out(&self, side: &str, tree: &Tree, ask: &Ask) -> io::Result<PathBuf> {
        let dir = self.place(side, ask)?;
        tree.store(&dir)?;
        Ok(dir)
    }

    /// The place for a stream directory, emptied.
    pub fn place(&self, side: &str, ask: &Ask) -> io::Result<PathBuf> {
        let base = self.scratch.join(side);
        if base.exists() {
            fs::remove_dir_all(&base)?;
        }
        let streams = base.join(&ask.account).join("streams");
        fs::create_dir_all(&streams)?;
        Ok(streams.join(&ask.stream))
    }

    /// Judges a case; a disagreement is believed when a second asking comes out the same.
    pub fn judge(&mut self, case: &Case, depth: Depth) -> io::Result<Judged> {
        let mut first = self.judge_once(case, depth)?;
        let Verdict::Disagree(disagreement) = &first.verdict else {
            return Ok(first);
        };
        let second = self.judge_once(case, depth)?;
        match &second.verdict {
            Verdict::Disagree(again) if again.first() == disagreement.first() => Ok(second),
            Verdict::Disagree(_) => {
                first.verdict = Verdict::SetAside("two askings, two disagreements".into());
                Ok(first)
            }
            _ => Ok(Judged {
                verdict: Verdict::SetAside("the second asking agreed".into()),
                ..second
            }),
        }
    }

    /// Asks and judges once.
    pub fn judge_once(&mut self, case: &Case, depth: Depth) -> io::Result<Judged> {
        let Case { tree, ask, .. } = case;
        let go_dir = self.lay_out("go", tree, ask)?;
        let answer = self.oracle.open(&go_dir, ask, true)?;
        let raw = self.oracle.raw.trim().to_string();
        let now_ns = if answer.opened_at != 0 {
            answer.opened_at
        } else {
            crate::now_ns()
        };
        let deleted = answer
            .state
            .as_ref()
            .is_some_and(|state| !state.deleted_omitted);
        let how = How {
            now_ns,
            threads: 2,
            quick: false,
            deleted,
            careful: false,
        };

        let dir = self.lay_out("check", tree, ask)?;
        let before = tree::times(&dir)?;
        let report = match guarded(|| ours::examine(&dir, ask, how)) {
            Ok(report) => report,
            Err(text) => return Ok(panicked("check", &text, raw, &answer)),
        };
        let mut found = Differences::default();
        if let Some(reason) = set_aside(&answer, &report) {
            return Ok(judged(Verdict::SetAside(reason), vec![], &answer));
        }
        found.0.extend(compare::reports(&answer, &report).0);
        if depth.thorough {
            if tree::times(&dir)? != before || Tree::load(&dir)? != *tree {
                found.add("check leaves the directory alone", true, false);
            }
            alternatives(&dir, ask, how, &report, &mut found);
        }
        if answer.outcome != "opened" || found.0.iter().all(|d| !d.field.starts_with("outcome")) {
            match self.recover(case, how, &answer, &go_dir, &mut found)? {
                Ok(()) => {}
                Err(text) => return Ok(panicked("recover", &text, raw, &answer)),
            }
        }
        let exempted = exempt::exempt(&mut found, &report, case);
        if exempt::races(&found.0, &report) {
            let reason = "the server was correcting its totals on the side".into();
            return Ok(judged(Verdict::SetAside(reason), exempted, &answer));
        }
        if found.0.is_empty() {
            let equal = answer.outcome == "opened";
            let verdict = if equal {
                Verdict::Equal
            } else {
                Verdict::RefusedAlike
            };
            return Ok(judged(verdict, exempted, &answer));
        }
        let disagreement = Disagreement {
            differences: found.0,
            answer: raw,
            report: format!("{report:#?}"),
        };
        Ok(judged(Verdict::Disagree(disagreement), exempted, &answer))
    }

    /// Recovers another copy and compares what is left.
    fn recover(
        &self,
        case: &Case,
        how: How,
        answer: &Answer,
        go_dir: &Path,
        found: &mut Differences,
    ) -> io::Result<Result<(), String>> {
        let Case { tree, ask, .. } = case;
        let dir = self.lay_out("recover", tree, ask)?;
        let report = match guarded(|| ours::recover(&dir, ask, how)) {
            Ok(report) => report,
            Err(text) => return Ok(Err(text)),
        };
        if compare::wants_a_cluster(&report) {
            return Ok(Ok(()));
        }
        let after = Tree::load(&dir)?;
        if answer.outcome != "opened" || report.refusal.is_some() {
            let mut left = after;
            left.0
                .retain(|name, _| !name.split('/').any(|part| part.starts_with(".jetsam")));
            let before: Vec<_> = tree.files(|_| true);
            if before != left.files(|_| true)
                || before.iter().any(|name| tree.get(name) != left.get(name))
            {
                found.add("refused, yet changed on disk", before, left.files(|_| true));
            }
            if answer.outcome == "opened" {
                let events: Vec<_> = report
                    .events
                    .iter()
                    .map(|e| format!("{} {}", e.code, e.detail))
                    .collect();
                found.add("recover refuses", &answer.outcome, (report.refusal, events));
            }
            return Ok(Ok(()));
        }
        if answer.error.is_empty() {
            disk::trees(&Tree::load(go_dir)?, &after, ask, found);
        }
        let dir = self.lay_out("careful", tree, ask)?;
        let careful = How {
            careful: true,
            ..how
        };
        match guarded(|| ours::recover(&dir, ask, careful)) {
            Ok(_) => {
                let mut apart = Differences::default();
                disk::trees(&Tree::load(&dir)?, &after, ask, &mut apart);
                // The counters of removed messages depend on when a block is read again, as they do with the server.
                let cached = "disk: index.db timer counters";
                for difference in apart.0.iter().filter(|found| found.field != cached) {
                    let field = format!("carefully: {}", difference.field);
                    found.add(field, "the same", "another");
                }
            }
            Err(text) => return Ok(Err(text)),
        }
        Ok(Ok(()))
    }
}

/// The same answer whatever the number of threads, also where every step reads its blocks itself, and the same state without the extra reading.
fn alternatives(dir: &Path, ask: &Ask, how: How, report: &StreamReport, found: &mut Differences) {
    for threads in [1, 8] {
        match guarded(|| ours::examine(dir, ask, How { threads, ..how })) {
            Ok(other) if other == *report => {}
            Ok(_) => found.add(format!("{threads} threads"), "the same report", "another"),
            Err(text) => found.add(format!("{threads} threads"), "no panic", text),
        }
    }
    let careful = true;
    match guarded(|| ours::examine(dir, ask, How { careful, ..how })) {
        Ok(other) if other == *report => {}
        Ok(_) => found.add("carefully", "the same report", "another"),
        Err(text) => found.add("carefully", "no panic", text),
    }
    match guarded(|| ours::examine(dir, ask, How { quick: true, ..how })) {
        Ok(quick) => found.check("quick: state", report.state.clone(), quick.state),
        Err(text) => found.add("quick", "no panic", text),
    }
}

fn set_aside(answer: &Answer, report: &StreamReport) -> Option<String> {
    match answer.outcome.as_str() {
        "oom" | "timeout" if report.refusal.is_none() && !compare::foresees_crash(report) => {
            Some(format!("oracle {}", answer.outcome))
        }
        "no answer" => Some("oracle without an answer".into()),
        "oom" | "timeout" => Some(format!("oracle {}, which we foresee", answer.outcome)),
        _ => None,
    }
}

fn judged(verdict: Verdict, exempted: Vec<&'static str>, answer: &Answer) -> Judged {
    Judged {
        verdict,
        exempted,
        outcome: answer.outcome.clone(),
    }
}

fn panicked(what: &str, text: &str, raw: String, answer: &Answer) -> Judged {
    let mut found = Differences::default();
    found.add(format!("{what} panics"), &answer.outcome, text);
    let disagreement = Disagreement {
        differences: found.0,
        answer: raw,
        report: text.into(),
    };
    judged(Verdict::Disagree(disagreement), vec![], answer)
}

fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|cause| {
        let text = cause.downcast_ref::<String>().cloned();
        let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| text.to_string()));
        let place = crate::last_panic_place();
        format!("{} at {place}", text.unwrap_or_default())
    })
}
