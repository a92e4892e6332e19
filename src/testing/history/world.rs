//! A server with its stream and consumers, as it goes through the steps of a history.

use super::block::Mark;
use super::consumers::Consumer;
use super::script::Step;
use super::server::{Server, Trace};
use super::setup::{Retention, Setup};
use super::truth::Way;
use crate::testing::WorkloadError;
use crate::testing::random::Random;

/// A stream and its consumers.
#[derive(Debug, Clone)]
pub struct World {
    pub server: Server,
    pub consumers: Vec<Consumer>,
    /// How often in a hundred an `o.dat` is written after a step that changed it: the server lags a tenth of a second.
    lag: Random,
}

impl World {
    /// A new stream with its consumers.
    pub fn new(setup: Setup, now_ns: i64, mut random: Random) -> Self {
        let consumers = setup.consumers.iter().cloned().map(Consumer::new).collect();
        let noise = Random::new(random.draw());
        Self {
            server: Server::new(setup, now_ns, noise),
            consumers,
            lag: random,
        }
    }

    /// Goes one step.
    pub fn go(&mut self, step: &Step) -> Result<(), WorkloadError> {
        self.server.now_ns += step.duration_ns();
        self.server.expire()?;
        match step {
            Step::Publish {
                subject,
                headers,
                body,
            } => self.publish(subject, headers, body)?,
            Step::Delete { seq, wipe } => {
                let trace = if *wipe {
                    Trace::Wiped
                } else {
                    Trace::Tombstone
                };
                self.server.remove(*seq, trace, Way::Deleted)?;
            }
            Step::PurgeAll => self.server.purge_all()?,
            Step::PurgeSubject { filter, keep } => {
                self.server.purge_subject(filter, *keep, Way::Purge)?;
            }
            Step::PurgeBelow { seq } => self.server.purge_below(*seq)?,
            Step::Fetch { consumer, batch } => self.fetch(*consumer, *batch),
            Step::Ack { consumer, seq } => self.ack(*consumer, *seq)?,
            Step::Pause => self.flush(),
            Step::WriteIndex => self.server.write_index()?,
            Step::Sync => self.server.sync()?,
            Step::Restart => {
                self.flush();
                self.server.restart()?;
            }
        }
        let now_ns = self.server.now_ns;
        for consumer in &mut self.consumers {
            if self.lag.chance(40) {
                consumer.flush(now_ns);
            }
        }
        Ok(())
    }

    /// Writes what is not written yet, as a server does that is stopped.
    pub fn stop(&mut self) -> Result<(), WorkloadError> {
        self.flush();
        self.server.write_index()
    }

    fn flush(&mut self) {
        let now_ns = self.server.now_ns;
        for consumer in &mut self.consumers {
            consumer.flush(now_ns);
        }
    }

    fn publish(&mut self, subject: &str, headers: &str, body: &str) -> Result<(), WorkloadError> {
        let wanted = |consumer: &Consumer| consumer.setup.wants(subject);
        let interest = self.server.setup.retention == Retention::Interest;
        if interest && !self.consumers.iter().any(wanted) {
            return self.server.skip();
        }
        self.server.store(subject, headers, body)?;
        if headers.contains("Nats-Rollup: sub") {
            self.server.purge_subject(subject, 1, Way::Rollup)?;
        }
        Ok(())
    }

    fn fetch(&mut self, consumer: usize, batch: u64) {
        let now_ns = self.server.now_ns;
        let Some(consumer) = self.consumers.get_mut(consumer) else {
            return;
        };
        let from = consumer.state.delivered.stream + 1;
        let wanted: Vec<u64> = self
            .server
            .live
            .range(from..)
            .filter(|(_, kept)| consumer.setup.wants(&kept.subject))
            .map(|(seq, _)| *seq)
            .take(batch as usize)
            .collect();
        for seq in wanted {
            consumer.deliver(seq, now_ns);
        }
    }

    fn ack(&mut self, consumer: usize, seq: u64) -> Result<(), WorkloadError> {
        let Some(consumer) = self.consumers.get_mut(consumer) else {
            return Ok(());
        };
        consumer.ack(seq);
        let Some(kept) = self.server.live.get(&seq) else {
            return Ok(());
        };
        let needed = |consumer: &Consumer| consumer.needs(seq, &kept.subject);
        if !self.consumers.iter().any(needed) {
            self.server.remove(seq, Trace::Tombstone, Way::Ack)?;
        }
        Ok(())
    }

    /// Last sequence and time, for what is on its way at a kill.
    pub fn last(&self) -> Mark {
        self.server.last
    }
}
