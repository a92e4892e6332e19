//! What the writer did, for readers to hold against what they find.

use std::sync::{Mutex, MutexGuard};

/// How far a message has come. Each state is entered before or after the call that leads to it, so that a reader who asks before and after
/// a look knows what it must find and what it must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It may be there any moment.
    Coming,
    There,
    /// It may be gone any moment.
    Leaving,
    Gone,
}

/// A message; its number in the order of storing makes its body.
#[derive(Debug, Clone)]
pub struct Known {
    pub seq: u64,
    pub subject: String,
    pub stage: Stage,
}

/// All that is known at a moment.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    pub messages: Vec<Known>,
    pub is_closing: bool,
    pub is_closed: bool,
    /// A pair of messages that belong together is there, and from then on always one.
    pub has_pair: bool,
}

/// The lock is never held while a thread may have to wait, so the scheduler needs not know of it.
#[derive(Debug, Default)]
pub struct Account(Mutex<Moment>);

impl Account {
    pub fn now(&self) -> Moment {
        self.held().clone()
    }

    pub fn held(&self) -> MutexGuard<'_, Moment> {
        self.0.lock().unwrap()
    }
}

/// What the message of this number holds.
pub fn body_of(number: usize) -> Vec<u8> {
    (number as u64).to_le_bytes().repeat(1 + number % 3)
}

/// The number of a message that holds this.
pub fn number_of(body: &[u8]) -> usize {
    let number = body.first_chunk().expect("a body of eight bytes or more");
    u64::from_le_bytes(*number) as usize
}

/// What was known before a look and after it.
pub struct Around<'a> {
    pub before: &'a Moment,
    pub after: &'a Moment,
}

impl Around<'_> {
    /// What was there all the time: a look for it finds it.
    pub fn lasting(&self) -> impl Iterator<Item = &Known> {
        let known = self.before.messages.iter().zip(&self.after.messages);
        known
            .filter(|(before, after)| before.stage == Stage::There && after.stage == Stage::There)
            .map(|(before, _)| before)
    }

    /// Holds a number of messages against how many there were all the time, and how many may have been there at some moment.
    pub fn check_count(&self, count: usize) {
        let gone = self.before.messages.iter();
        let gone = gone.filter(|known| known.stage == Stage::Gone).count();
        let (least, most) = (self.lasting().count(), self.after.messages.len() - gone);
        assert!(
            (least..=most).contains(&count),
            "{count} messages, of {least} to {most}"
        );
    }
}
