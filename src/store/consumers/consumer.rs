//! A consumer of a stream: its state in memory, its files on disk.

use super::deliveries::{AckRules, Deliveries};
use super::error::ConsumerError;
use super::files::ConsumerFiles;
use super::open::{self, ConsumerPlace, OpenedConsumer};
use crate::format::consumer::{ConsumerState, ConsumerVersion, SequencePair};
use crate::format::meta::ConsumerMeta;
use crate::format::varint::ReadFault;
use crate::store::Level;

const NANOSECONDS_PER_SECOND: i64 = 1_000_000_000;

/// A consumer of a stream, kept in `obs/NAME` in the server's files.
///
/// Whoever holds it is the only one to write there; it takes no lock, for the stream's lock covers it. Changes are
/// [`Level::Buffered`] until [`flush`](Self::flush) raises them. Nothing is written when it is dropped; use
/// [`close`](Self::close).
#[derive(Debug)]
pub struct Consumer {
    name: String,
    meta: ConsumerMeta,
    deliveries: Deliveries,
    files: ConsumerFiles,
    /// The revision that is on disk, and what it survives there.
    held: (u64, Level),
    has_file: bool,
    silent_cut: Option<ReadFault>,
    is_closed: bool,
}

impl Consumer {
    /// Opens the consumer `name`, or makes it by the configuration `new` where there is none.
    ///
    /// Where there is one its own configuration and time of creation stay, and `new` is not looked at; see
    /// [`config`](Self::config) and [`update_config`](Self::update_config). A new one is created at the time that `new` says,
    /// `now_ns` where it says none (in nanoseconds since the Unix epoch), and is durable when this returns.
    ///
    /// What is not encrypted is, where there is a current key; what is under the previous key or in another cipher than the
    /// configured one is put under the current key and in that cipher. A crash meanwhile leaves what this opens again. A `meta.sum`
    /// that does not fit is written anew.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::BadName`]; [`ConsumerError::Missing`], [`ConsumerError::InMemory`] where there is none to open; where there is
    /// one [`ConsumerError::NoKey`], [`ConsumerError::Key`], [`ConsumerError::Sealed`], [`ConsumerError::Meta`] and
    /// [`ConsumerError::State`], with the file left as it was; [`ConsumerError::Io`].
    pub fn open(
        place: &ConsumerPlace<'_>,
        name: &str,
        new: Option<&ConsumerMeta>,
        now_ns: i64,
    ) -> Result<Self, ConsumerError> {
        let OpenedConsumer {
            files,
            meta,
            state,
            has_file,
        } = open::open(place, name, new, now_ns)?;
        let (state, silent_cut) = match state {
            Some(file) => (file.state, file.silent_cut),
            None => (ConsumerState::default(), None),
        };
        let deliveries = Deliveries::new(AckRules::of(&meta), state);
        Ok(Consumer {
            name: name.to_owned(),
            // Whoever wrote it may not have made it durable.
            held: (deliveries.revision(), Level::Written),
            meta,
            deliveries,
            files,
            has_file,
            silent_cut,
            is_closed: false,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its configuration, with its name and the time of its creation.
    #[must_use]
    pub fn config(&self) -> &ConsumerMeta {
        &self.meta
    }

    /// Its state as it is in memory. It can be read after closing, too.
    #[must_use]
    pub fn state(&self) -> &ConsumerState {
        self.deliveries.state()
    }

    /// Whether it has a state, be it one of zeros: a new consumer has none, and begins where its configuration says.
    #[must_use]
    pub fn has_state(&self) -> bool {
        self.has_file || self.deliveries.revision() > 0
    }

    /// The plaintext of `o.dat` for the state as it is; `now_ns` is the time, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn encoded(&self, now_ns: i64) -> Vec<u8> {
        let half = NANOSECONDS_PER_SECOND / 2;
        let base_s = now_ns
            .saturating_add(half)
            .div_euclid(NANOSECONDS_PER_SECOND);
        self.state().encode(ConsumerVersion::V2, base_s)
    }

    /// Where the `o.dat` that was opened ended too early for its number of redelivered messages. What came before counts, as it
    /// does for the server.
    #[must_use]
    pub fn silent_cut(&self) -> Option<&ReadFault> {
        self.silent_cut.as_ref()
    }

    /// What the state as it is survives.
    #[must_use]
    pub fn level(&self) -> Level {
        let (revision, level) = self.held;
        match revision == self.deliveries.revision() {
            true => level,
            false => Level::Buffered,
        }
    }

    /// Whether it was closed or deleted.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// A message was delivered; see [`Deliveries::deliver`].
    ///
    /// # Errors
    ///
    /// As there; [`ConsumerError::Closed`].
    pub fn deliver(
        &mut self,
        delivered: SequencePair,
        count: u64,
        timestamp_ns: i64,
    ) -> Result<(), ConsumerError> {
        self.opened()?.deliver(delivered, count, timestamp_ns)
    }

    /// A message was acknowledged; see [`Deliveries::ack`].
    ///
    /// # Errors
    ///
    /// As there; [`ConsumerError::Closed`].
    pub fn ack(&mut self, acked: SequencePair) -> Result<(), ConsumerError> {
        self.opened()?.ack(acked)
    }

    /// A message left the stream; see [`Deliveries::forget`].
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Closed`].
    pub fn forget(&mut self, sequence: u64) -> Result<(), ConsumerError> {
        self.opened()?.forget(sequence);
        Ok(())
    }

    /// A message was delivered often enough; see [`Deliveries::give_up`].
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Closed`].
    pub fn give_up(&mut self, sequence: u64) -> Result<(), ConsumerError> {
        self.opened()?.give_up(sequence);
        Ok(())
    }

    /// Takes a state over; see [`Deliveries::update`].
    ///
    /// # Errors
    ///
    /// As there; [`ConsumerError::Closed`].
    pub fn update(&mut self, state: ConsumerState) -> Result<(), ConsumerError> {
        self.opened()?.update(state)
    }

    /// Takes a state over even where it is behind; see [`Deliveries::force_update`].
    ///
    /// # Errors
    ///
    /// As there; [`ConsumerError::Closed`].
    pub fn force_update(&mut self, state: ConsumerState) -> Result<(), ConsumerError> {
        self.opened()?.force_update(state)
    }

    /// Delivery begins behind a sequence of the stream; see [`Deliveries::set_starting`].
    ///
    /// # Errors
    ///
    /// As there; [`ConsumerError::Closed`].
    pub fn set_starting(&mut self, sequence: u64) -> Result<(), ConsumerError> {
        self.opened()?.set_starting(sequence)
    }

    /// Delivery goes on behind a sequence of the stream; see [`Deliveries::update_starting`].
    ///
    /// # Errors
    ///
    /// As there; [`ConsumerError::Closed`].
    pub fn update_starting(&mut self, sequence: u64) -> Result<(), ConsumerError> {
        self.opened()?.update_starting(sequence)
    }

    /// Forgets everything and begins behind a sequence of the stream; see [`Deliveries::reset`].
    ///
    /// # Errors
    ///
    /// As there; [`ConsumerError::Closed`].
    pub fn reset(&mut self, sequence: u64) -> Result<(), ConsumerError> {
        self.opened()?.reset(sequence)
    }

    /// Forgets second deliveries below a sequence of the stream; see [`Deliveries::trim`].
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Closed`].
    pub fn trim(&mut self, sequence: u64) -> Result<(), ConsumerError> {
        self.opened()?.trim(sequence);
        Ok(())
    }

    /// Takes another configuration over and makes it durable; name and time of creation stay. What the state holds stays, too.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Closed`], [`ConsumerError::InMemory`]; [`ConsumerError::Io`] and [`ConsumerError::Sealed`], after which the
    /// former configuration goes on in memory, and either may be on disk.
    pub fn update_config(&mut self, config: &ConsumerMeta) -> Result<(), ConsumerError> {
        self.opened()?;
        if config.mem_storage {
            return Err(ConsumerError::InMemory);
        }
        let config = config.with_identity(&self.meta.store_name, &self.meta.created.text);
        self.files.write_meta(&config.encode())?;
        self.files.settle()?;
        self.deliveries.set_rules(AckRules::of(&config));
        self.meta = config;
        Ok(())
    }

    /// Raises the state as it is to `level`, where it is not there yet. `now_ns` is the time, in nanoseconds since the Unix epoch;
    /// the file's times refer to it. Times of deliveries lose their parts of a second on disk, and a second delivery of the very
    /// message at the floor is not remembered there.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Closed`]; [`ConsumerError::Io`] and [`ConsumerError::Sealed`], after which the state counts as
    /// [`Level::Buffered`] and the next call writes all of it anew. The state that was on disk before is still there, unless this one
    /// is.
    pub fn flush(&mut self, level: Level, now_ns: i64) -> Result<(), ConsumerError> {
        self.opened()?;
        let held = self.level();
        if level <= held {
            return Ok(());
        }
        let revision = self.deliveries.revision();
        // Should anything fail, nothing is known of what is there.
        self.held = (revision, Level::Buffered);
        match held {
            Level::Buffered => {
                let state = self.encoded(now_ns);
                self.files.write_state(&state, level)?;
                self.has_file = true;
            }
            Level::Written | Level::Synced => self.files.sync_state()?,
        }
        self.held = (revision, level);
        Ok(())
    }

    /// Raises the state to `level` and takes no more calls. Closing what is closed does nothing.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush); it then stays open, and nothing is lost yet.
    pub fn close(&mut self, level: Level, now_ns: i64) -> Result<(), ConsumerError> {
        if self.is_closed {
            return Ok(());
        }
        self.flush(level, now_ns)?;
        self.is_closed = true;
        Ok(())
    }

    /// Takes no more calls and writes nothing: for a stream that is deleted as a whole.
    pub fn abandon(&mut self) {
        self.is_closed = true;
    }

    /// Removes the consumer from disk, durably, and takes no more calls. Deleting what is closed does nothing.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Io`]; the consumer may then be there or not, and the call may be repeated.
    pub fn delete(&mut self) -> Result<(), ConsumerError> {
        if self.is_closed {
            return Ok(());
        }
        self.files.delete()?;
        self.is_closed = true;
        Ok(())
    }

    /// What takes changes, as long as it takes any.
    fn opened(&mut self) -> Result<&mut Deliveries, ConsumerError> {
        match self.is_closed {
            true => Err(ConsumerError::Closed),
            false => Ok(&mut self.deliveries),
        }
    }
}

#[cfg(test)]
mod tests;
