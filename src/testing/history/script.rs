//! What happens to a stream in the course of its life, step by step.

use super::setup::{HistoryKind, SECOND_NS};
use super::world::World;
use crate::testing::random::Random;

/// From one step to the next.
const STEP_NS: i64 = 1_000_000;
/// How long a pause is: two of them are longer than `max_age`, one is not.
pub const PAUSE_NS: i64 = SECOND_NS + SECOND_NS / 2;
/// Steps between two pauses, at most: what they take must not count against `max_age`.
const STEPS_BETWEEN_PAUSES: u64 = 90;

/// One thing that clients, the server's timers or its operator do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A client publishes.
    Publish {
        /// To this subject.
        subject: String,
        /// With these headers, or none.
        headers: String,
        /// And this body.
        body: String,
    },
    /// A client deletes a message.
    Delete {
        /// The message.
        seq: u64,
        /// Whether it is wiped.
        wipe: bool,
    },
    /// A client purges everything.
    PurgeAll,
    /// A client purges a subject.
    PurgeSubject {
        /// A literal one, or one that ends in `>`.
        filter: String,
        /// How many of the newest stay.
        keep: u64,
    },
    /// A client purges what is below a sequence.
    PurgeBelow {
        /// The first that stays.
        seq: u64,
    },
    /// A client asks a consumer for messages.
    Fetch {
        /// The consumer's place in the setup.
        consumer: usize,
        /// At most so many.
        batch: u64,
    },
    /// A client acknowledges a message.
    Ack {
        /// The consumer's place in the setup.
        consumer: usize,
        /// The message.
        seq: u64,
    },
    /// Nothing happens for a while.
    Pause,
    /// The server's timer writes `index.db`.
    WriteIndex,
    /// The server's periodic pass.
    Sync,
    /// The server is stopped and started again.
    Restart,
}

impl Step {
    /// How long it takes.
    #[must_use]
    pub const fn duration_ns(&self) -> i64 {
        match self {
            Self::Pause => PAUSE_NS,
            Self::Restart => 50 * STEP_NS,
            _ => STEP_NS,
        }
    }
}

/// What happens besides what clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doings {
    /// Nothing.
    Clients,
    /// The server is stopped and started again.
    Restarts,
    /// At the end the server is started once more and makes its periodic pass a few times.
    RestartAndPass,
    /// The server's timers, and restarts: what only the harness can order.
    All,
}

/// Chooses the steps.
pub struct Author<'a> {
    kind: HistoryKind,
    prefix: &'static str,
    random: &'a mut Random,
    doings: Doings,
    since_pause: u64,
    number: u64,
}

impl<'a> Author<'a> {
    pub fn new(world: &World, doings: Doings, random: &'a mut Random) -> Self {
        Self {
            kind: world.server.setup.kind,
            prefix: world.server.setup.prefix,
            random,
            doings,
            since_pause: 0,
            number: 0,
        }
    }

    /// The next step.
    pub fn next(&mut self, world: &World) -> Step {
        self.since_pause += 1;
        if let Some(step) = self.doing_of_the_server() {
            return step;
        }
        let ages = world.server.setup.max_age_ns.is_some();
        if ages && self.since_pause > 20 + self.random.below(STEPS_BETWEEN_PAUSES - 20) {
            self.since_pause = 0;
            return Step::Pause;
        }
        match self.kind {
            HistoryKind::Append => self.publish_or(world, &[(10, Self::delete)]),
            HistoryKind::Limit | HistoryKind::Bytes | HistoryKind::Age => {
                self.publish_or(world, &[(10, Self::delete), (3, Self::purge_subject)])
            }
            HistoryKind::KeyValue => self.publish_or(world, &[]),
            HistoryKind::WorkQueue | HistoryKind::Interest => self.work(world),
            HistoryKind::Purges => self.publish_or(
                world,
                &[
                    (10, Self::delete),
                    (8, Self::purge_subject),
                    (6, Self::purge_below),
                    (2, Self::purge_all),
                ],
            ),
            HistoryKind::Deletes => self.publish_or(world, &[(330, Self::delete)]),
            HistoryKind::Mixed => self.publish_or(
                world,
                &[
                    (80, Self::delete),
                    (3, Self::purge_subject),
                    (2, Self::purge_below),
                ],
            ),
        }
    }

    fn doing_of_the_server(&mut self) -> Option<Step> {
        match (self.doings, self.random.below(1000)) {
            (Doings::All | Doings::Restarts, 0..=2) => Some(Step::Restart),
            (Doings::All, 3..=7) => Some(Step::WriteIndex),
            (Doings::All, 8..=12) => Some(Step::Sync),
            _ => None,
        }
    }

    /// One of the others, each so many times in a thousand, or else a message.
    #[allow(clippy::type_complexity)]
    fn publish_or(
        &mut self,
        world: &World,
        others: &[(u64, fn(&mut Self, &World) -> Option<Step>)],
    ) -> Step {
        let mut drawn = self.random.below(1000);
        for (share, other) in others {
            if drawn < *share {
                if let Some(step) = other(self, world) {
                    return step;
                }
                break;
            }
            drawn -= share;
        }
        self.publish()
    }

    fn publish(&mut self) -> Step {
        self.number += 1;
        let (group, name) = (self.random.index(3), self.random.below(12));
        let group = ["a", "b", "c"].get(group).copied().unwrap_or("a");
        // Of an interest stream's subjects one group has no consumer, of a work queue's every group has.
        let group = match self.kind {
            HistoryKind::WorkQueue if group == "c" => "b",
            _ => group,
        };
        let subject = format!("{}.{group}.{name}", self.prefix);
        if self.kind == HistoryKind::KeyValue {
            match self.random.below(100) {
                0..=7 => {
                    return Step::Publish {
                        subject,
                        headers: "NATS/1.0\r\nKV-Operation: DEL\r\n\r\n".into(),
                        body: String::new(),
                    };
                }
                8..=12 => {
                    return Step::Publish {
                        subject,
                        headers: "NATS/1.0\r\nKV-Operation: PURGE\r\nNats-Rollup: sub\r\n\r\n"
                            .into(),
                        body: String::new(),
                    };
                }
                _ => {}
            }
        }
        let headers = match self.random.below(12) {
            0 => format!("NATS/1.0\r\nTrace: {:016x}\r\n\r\n", self.random.draw()),
            _ => String::new(),
        };
        let mut body = format!(r#"{{"number":{},"value":""#, self.number);
        for _ in 0..self.random.below(14) {
            body.push_str(&format!("{:016x}", self.random.draw()));
        }
        body.push_str("\"}");
        Step::Publish {
            subject,
            headers,
            body,
        }
    }

    fn delete(&mut self, world: &World) -> Option<Step> {
        let seqs: Vec<u64> = world.server.live.keys().copied().collect();
        let seq = *self.random.pick(&seqs)?;
        let wipe = self.random.chance(25);
        Some(Step::Delete { seq, wipe })
    }

    fn purge_subject(&mut self, world: &World) -> Option<Step> {
        let subjects: Vec<&String> = world.server.subjects.keys().collect();
        let literal = self.random.pick(&subjects)?.to_string();
        let filter = if self.random.chance(30) {
            format!("{}.a.>", self.prefix)
        } else {
            literal
        };
        let keep = if self.random.chance(50) {
            0
        } else {
            1 + self.random.below(4)
        };
        Some(Step::PurgeSubject { filter, keep })
    }

    fn purge_below(&mut self, world: &World) -> Option<Step> {
        let seqs: Vec<u64> = world.server.live.keys().copied().collect();
        let reach = seqs.len().div_ceil(2);
        let seq = *self.random.pick(seqs.get(..reach)?)?;
        (seq > 1).then_some(Step::PurgeBelow { seq })
    }

    fn purge_all(&mut self, _: &World) -> Option<Step> {
        Some(Step::PurgeAll)
    }

    /// Publishing, fetching and acknowledging, the latter mostly in order, and sometimes far behind.
    fn work(&mut self, world: &World) -> Step {
        let consumer = self.random.index(world.consumers.len());
        let Some(chosen) = world.consumers.get(consumer) else {
            return self.publish();
        };
        match self.random.below(100) {
            0..=39 => self.publish(),
            40..=47 => Step::Fetch {
                consumer,
                batch: 1 + self.random.below(12),
            },
            _ => {
                let waiting: Vec<u64> = chosen.state.pending.keys().copied().collect();
                let seq = if self.random.chance(70) {
                    waiting.first().copied()
                } else {
                    self.random.pick(&waiting).copied()
                };
                match seq {
                    Some(seq) => Step::Ack { consumer, seq },
                    None => self.publish(),
                }
            }
        }
    }
}
