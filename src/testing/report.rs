//! The results of sweeps over several stores, to be printed, kept and drawn.

use std::fmt::Write as _;

use serde::Serialize;

use super::damage::DamageKind;
use super::score::{Score, Service};
use super::sweep::{Outcome, Sum};

/// Everything one run of the harness found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Version of this crate.
    pub jetsam: String,
    /// Where the random choices started.
    pub seed: u64,
    /// Cases per store and kind of damage.
    pub count: u64,
    /// Who brought the stores back, in the order of the sums.
    pub recoverers: Vec<String>,
    /// Store by store.
    pub stores: Vec<StoreResults>,
}

/// What was found with one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreResults {
    /// Its name.
    pub store: String,
    /// Messages it holds.
    pub messages: u64,
    /// Messages it held and that were deleted.
    pub deleted: u64,
    /// Its blocks.
    pub blocks: u64,
    /// Bytes of their files.
    pub block_bytes: u64,
    /// Kind by kind of damage.
    pub rows: Vec<Row>,
}

/// One kind of damage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its name.
    pub damage: String,
    /// The sums, in the order of the recoverers.
    pub sums: Vec<Sum>,
}

/// A case in which a recoverer did worse than the damage accounts for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Breach {
    /// The kind of damage.
    pub damage: String,
    /// Number of the case.
    pub number: u64,
    /// What was done.
    pub summary: String,
    /// What is wrong with the outcome.
    pub what: String,
}

impl Row {
    /// Sums up the outcomes of one kind.
    #[must_use]
    pub fn of(kind: DamageKind, outcomes: &[Outcome], recoverers: usize) -> Self {
        let mut sums = vec![Sum::default(); recoverers];
        for outcome in outcomes.iter().filter(|found| found.damage.kind == kind) {
            for (sum, score) in sums.iter_mut().zip(&outcome.scores) {
                sum.add(outcome.number, score);
            }
        }
        Self {
            damage: kind.name().to_owned(),
            sums,
        }
    }
}

/// Cases in which the recoverer with this index lost or changed more than it may: a message that the damage did not
/// touch, a message to one flipped bit where nothing is compressed, or in any case content that is not what was stored.
#[must_use]
pub fn breaches(outcomes: &[Outcome], recoverer: usize, compressed: bool) -> Vec<Breach> {
    let judge = |outcome: &Outcome| {
        let score = outcome.scores.get(recoverer)?;
        let what = breach(score, outcome, compressed)?;
        Some(Breach {
            damage: outcome.damage.kind.name().to_owned(),
            number: outcome.number,
            summary: outcome.damage.summary.clone(),
            what,
        })
    };
    outcomes.iter().filter_map(judge).collect()
}

fn breach(score: &Score, outcome: &Outcome, compressed: bool) -> Option<String> {
    if score.service == Service::Unanswered {
        return None;
    }
    let strict = outcome.damage.is_one_bit()
        && !(compressed && outcome.damage.kind == DamageKind::FlipBlock);
    if score.wrong > 0 {
        return Some(format!("{} messages came back changed", score.wrong));
    }
    if score.unknown > 0 {
        return Some(format!("{} messages were made up", score.unknown));
    }
    if strict && score.lost > 0 {
        return Some(format!("{} messages lost to one bit", score.lost));
    }
    // Nothing is gone: every byte is there, under another name.
    if outcome.damage.kind == DamageKind::SwappedFiles && score.lost > 0 {
        return Some(format!("{} messages lost to names", score.lost));
    }
    (score.lost_untouched > 0).then(|| {
        format!(
            "{} messages lost that the damage did not touch",
            score.lost_untouched
        )
    })
}

impl Report {
    /// The sums over all stores, by kind of damage, in the order of [`DamageKind::ALL`].
    #[must_use]
    pub fn overall(&self) -> Vec<Row> {
        let rows = DamageKind::ALL.into_iter().filter_map(|kind| {
            let mut joined: Option<Row> = None;
            let rows = self.stores.iter().flat_map(|store| &store.rows);
            for row in rows.filter(|row| row.damage == kind.name()) {
                match &mut joined {
                    None => joined = Some(row.clone()),
                    Some(joined) => {
                        for (sum, other) in joined.sums.iter_mut().zip(&row.sums) {
                            sum.join(other);
                        }
                    }
                }
            }
            joined.filter(|row| row.sums.iter().any(|sum| sum.cases > 0))
        });
        rows.collect()
    }

    /// The results as a page of Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut page = String::from("# What survives\n\n");
        let stores: Vec<&str> = self
            .stores
            .iter()
            .map(|store| store.store.as_str())
            .collect();
        let _ = writeln!(
            page,
            "jetsam {}, seed {}, {} cases per store and kind of damage, stores {}.\n\n\
             *kept*: share of the messages that came back byte for byte. *lost*: messages, in all cases together. \
             *whole*: cases in which none was lost. *most*: the most lost in one case. Below a table: what came back \
             changed, came back from the dead, or was lost without having been touched.\n",
            self.jetsam,
            self.seed,
            self.count,
            stores.join(", ")
        );
        if self.stores.len() > 1 {
            page.push_str("## All stores\n\n");
            self.put_table(&mut page, &self.overall());
        }
        for store in &self.stores {
            let _ = writeln!(
                page,
                "## {}\n\n{} messages, {} deleted ones, {} blocks of {} bytes together.\n",
                store.store, store.messages, store.deleted, store.blocks, store.block_bytes
            );
            self.put_table(&mut page, &store.rows);
        }
        page
    }

    fn put_table(&self, page: &mut String, rows: &[Row]) {
        let rows: Vec<&Row> = rows
            .iter()
            .filter(|row| row.sums.iter().any(|sum| sum.cases > 0))
            .collect();
        page.push_str("| damage | cases |");
        for name in &self.recoverers {
            let _ = write!(page, " {name}: kept | lost | whole | most |");
        }
        page.push_str("\n|---|---:|");
        for _ in &self.recoverers {
            page.push_str("---:|---:|---:|---:|");
        }
        page.push('\n');
        for row in &rows {
            let cases = row.sums.first().map_or(0, |sum| sum.cases);
            let _ = write!(page, "| {} | {cases} |", row.damage);
            for sum in &row.sums {
                let _ = write!(
                    page,
                    " {} | {} | {} | {} |",
                    percent(sum),
                    sum.lost,
                    sum.cases_without_loss,
                    sum.lost_most
                );
            }
            page.push('\n');
        }
        page.push('\n');
        self.put_notes(page, &rows);
    }

    fn put_notes(&self, page: &mut String, rows: &[&Row]) {
        let mut any = false;
        for row in rows {
            for (name, sum) in self.recoverers.iter().zip(&row.sums) {
                if let Some(text) = notes(sum) {
                    let _ = writeln!(page, "- {}, {name}: {text}", row.damage);
                    any = true;
                }
            }
        }
        if any {
            page.push('\n');
        }
    }
}

/// What the columns leave out, where there is any.
#[must_use]
pub fn notes(sum: &Sum) -> Option<String> {
    let told: Vec<String> = [
        (sum.unanswered, "cases without an answer in time"),
        (sum.refused, "stores did not open"),
        (sum.down, "stores bring the program down"),
        (sum.lost_untouched, "messages lost untouched"),
        (sum.wrong, "messages changed"),
        (sum.revived, "deleted messages back"),
        (sum.unknown, "messages made up"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// The share kept: `100 %` is said of nothing less, and `0 %` of nothing more.
#[must_use]
pub fn percent(sum: &Sum) -> String {
    if sum.cases > 0 && sum.cases == sum.unanswered {
        return "?".to_owned();
    }
    if sum.lost == 0 {
        return "100 %".to_owned();
    }
    if sum.kept == 0 {
        return "0 %".to_owned();
    }
    let share = (sum.kept_share() * 100.0).clamp(0.001, 99.999);
    match share {
        99.9.. | ..0.1 => format!("{share:.3} %"),
        _ => format!("{share:.1} %"),
    }
}

#[cfg(test)]
mod tests;
