//! What the writer does, and what it says of it.

use std::sync::Arc;

use jetsam::store::{
    Expected, Level, NewMessage, PurgeRequest, Store, StoreEvent, TidyBudget, Writer,
};
use shuttle::rand::{Rng, thread_rng};

use super::NOW_NS;
use super::account::{Account, Known, Stage, body_of};

pub const MAX_AGE_NS: i64 = 3_600_000_000_000;
pub const SUBJECTS: [&str; 3] = ["s.a", "s.b", "s.c"];
const PAIR: [&str; 2] = ["pair.a", "pair.b"];

fn time_of(number: usize) -> i64 {
    NOW_NS + number as i64
}

pub struct Script {
    writer: Writer,
    account: Arc<Account>,
    has_cuts: bool,
    last_seq: u64,
    /// First sequence of the pair that is there.
    pair: Option<u64>,
}

impl Script {
    pub fn new(store: &Store, account: Arc<Account>, has_cuts: bool) -> Self {
        let mut writer = store.writer().unwrap();
        let reader = store.reader();
        // Who is told of a change finds it made, and may look: no lock is held.
        writer.watch(Some(Box::new(move |event| match event {
            StoreEvent::Appended { seq, .. } => assert!(reader.get(*seq).is_ok(), "{event:?}"),
            StoreEvent::Removed { seq, .. } => assert!(reader.get(*seq).is_err(), "{event:?}"),
            StoreEvent::Purged { last_seq, .. } | StoreEvent::Truncated { last_seq, .. } => {
                assert!(reader.summary().last.seq >= *last_seq);
            }
            _ => {}
        })));
        Script {
            writer,
            account,
            has_cuts,
            last_seq: store.reader().summary().last.seq,
            pair: None,
        }
    }

    /// One step.
    pub fn step(&mut self) {
        match thread_rng().gen_range(0..100) {
            0..30 => self.append(),
            30..42 => self.exchange_pair(),
            42..56 => self.remove(),
            56..62 => self.purge_subject(),
            62..67 => self.compact(),
            67..71 => self.age(),
            71..79 => _ = self.writer.tidy(TidyBudget::default()).unwrap(),
            79..83 => _ = self.writer.sync().unwrap(),
            83..87 => self.writer.flush().unwrap(),
            87..90 => {
                let levels = [Level::Buffered, Level::Written, Level::Synced];
                self.writer.set_level(levels[thread_rng().gen_range(0..3)]);
            }
            90..96 if self.has_cuts => self.truncate(),
            _ if self.has_cuts => self.erase(),
            _ => self.append(),
        }
    }

    fn comes(&mut self, seq: u64, subject: &str) -> usize {
        let mut account = self.account.held();
        account.messages.push(Known {
            seq,
            subject: subject.to_owned(),
            stage: Stage::Coming,
        });
        account.messages.len() - 1
    }

    /// Moves those on that a step speaks of.
    fn on(&self, from: Stage, to: Stage, which: impl Fn(&Known) -> bool) -> u64 {
        let mut moved = 0;
        for known in &mut self.account.held().messages {
            if known.stage == from && which(known) {
                known.stage = to;
                moved += 1;
            }
        }
        moved
    }

    pub fn append(&mut self) {
        let subject = SUBJECTS[thread_rng().gen_range(0..SUBJECTS.len())];
        let number = self.comes(self.last_seq + 1, subject);
        let message = NewMessage {
            subject: subject.as_bytes(),
            headers: b"",
            body: &body_of(number),
        };
        let appended = self.writer.append(&message, time_of(number)).unwrap();
        self.last_seq += 1;
        assert_eq!(appended.seq, self.last_seq);
        self.on(Stage::Coming, Stage::There, |_| true);
    }

    /// Appends two messages that belong together, and takes the two before away in the same step.
    fn exchange_pair(&mut self) {
        let (first, before) = (self.last_seq + 1, self.pair);
        let numbers = [self.comes(first, PAIR[0]), self.comes(first + 1, PAIR[1])];
        let leaves =
            |known: &Known| before.is_some_and(|seq| known.seq == seq || known.seq == seq + 1);
        self.on(Stage::There, Stage::Leaving, leaves);
        let mut batch = self.writer.batch(time_of(numbers[1])).unwrap();
        if let Some(seq) = before {
            assert!(batch.remove(seq).unwrap() && batch.remove(seq + 1).unwrap());
        }
        for (subject, number) in PAIR.iter().zip(numbers) {
            let message = NewMessage {
                subject: subject.as_bytes(),
                headers: b"",
                body: &body_of(number),
            };
            batch.append(&message, Expected::default()).unwrap();
        }
        batch.commit().unwrap();
        self.last_seq += 2;
        self.pair = Some(first);
        self.on(Stage::Leaving, Stage::Gone, |_| true);
        self.on(Stage::Coming, Stage::There, |_| true);
        self.account.held().has_pair = true;
    }

    /// A sequence that may go alone.
    fn any_seq(&self) -> Option<u64> {
        let account = self.account.held();
        let pair = self.pair.unwrap_or(u64::MAX - 1);
        let free = account.messages.iter().filter(|known| {
            known.stage == Stage::There && known.seq != pair && known.seq != pair + 1
        });
        let free: Vec<u64> = free.map(|known| known.seq).collect();
        let at = thread_rng().gen_range(0..free.len().max(1));
        free.get(at).copied()
    }

    fn remove(&mut self) {
        let Some(seq) = self.any_seq() else { return };
        self.on(Stage::There, Stage::Leaving, |known| known.seq == seq);
        assert!(self.writer.remove(seq).unwrap());
        self.on(Stage::Leaving, Stage::Gone, |_| true);
    }

    fn erase(&mut self) {
        let Some(seq) = self.any_seq() else { return };
        self.on(Stage::There, Stage::Leaving, |known| known.seq == seq);
        assert!(self.writer.erase(seq).unwrap());
        self.on(Stage::Leaving, Stage::Gone, |_| true);
    }

    fn purge_subject(&mut self) {
        let subject = SUBJECTS[thread_rng().gen_range(0..SUBJECTS.len())];
        let count = self.on(Stage::There, Stage::Leaving, |known| {
            known.subject == subject
        });
        let request = PurgeRequest {
            filter: subject.as_bytes(),
            ..PurgeRequest::default()
        };
        assert_eq!(self.writer.purge(&request), Ok(count));
        self.on(Stage::Leaving, Stage::Gone, |_| true);
    }

    fn compact(&mut self) {
        let Some(seq) = self.any_seq() else { return };
        let below = seq.min(self.pair.unwrap_or(u64::MAX));
        let count = self.on(Stage::There, Stage::Leaving, |known| known.seq < below);
        assert_eq!(self.writer.compact(below), Ok(count));
        self.on(Stage::Leaving, Stage::Gone, |_| true);
    }

    /// Lets so much time go by that everything up to a message is too old.
    fn age(&mut self) {
        let Some(seq) = self
            .any_seq()
            .filter(|seq| *seq < self.pair.unwrap_or(u64::MAX))
        else {
            return;
        };
        let number = {
            let account = self.account.held();
            let mut known = account.messages.iter();
            known.position(|known| known.seq == seq && known.stage == Stage::There)
        };
        let count = self.on(Stage::There, Stage::Leaving, |known| known.seq <= seq);
        let aged = self.writer.maintain(time_of(number.unwrap()) + MAX_AGE_NS);
        assert_eq!(aged.unwrap().expired_count, count);
        self.on(Stage::Leaving, Stage::Gone, |_| true);
    }

    fn truncate(&mut self) {
        let Some(seq) = self.any_seq() else { return };
        self.cut_behind(seq.max(self.pair.map_or(0, |pair| pair + 1)));
    }

    pub fn cut_behind(&mut self, last_seq: u64) {
        let count = self.on(Stage::There, Stage::Leaving, |known| known.seq > last_seq);
        assert_eq!(self.writer.truncate(last_seq), Ok(count));
        self.on(Stage::Leaving, Stage::Gone, |_| true);
        self.last_seq = last_seq;
    }

    pub fn close(self, store: Store) {
        self.account.held().is_closing = true;
        store.close(self.writer).unwrap();
        self.account.held().is_closed = true;
    }
}
