//! What readers look for, and what they have to find.

use std::sync::Arc;

use jetsam::store::{ReadError, Reader, StoredMessage};
use shuttle::rand::{Rng, thread_rng};

use super::account::{Account, Around, Known, Stage, body_of, number_of};
use super::writing::SUBJECTS;

/// One reader.
pub struct Looks {
    reader: Reader,
    account: Arc<Account>,
    has_cuts: bool,
    last_seq: u64,
    /// Messages it holds on to.
    held: Vec<StoredMessage>,
}

fn is_absence(error: &ReadError) -> bool {
    matches!(
        error,
        ReadError::NotFound | ReadError::Deleted { .. } | ReadError::Beyond { .. }
    )
}

impl Looks {
    pub fn new(reader: Reader, account: Arc<Account>, has_cuts: bool) -> Self {
        Looks {
            reader,
            account,
            has_cuts,
            last_seq: 0,
            held: Vec::new(),
        }
    }

    /// One look.
    pub fn look(&mut self) {
        let last_seq = self.reader.summary().last.seq;
        let seq = thread_rng().gen_range(0..last_seq + 2);
        let subject = SUBJECTS[thread_rng().gen_range(0..SUBJECTS.len())];
        match thread_rng().gen_range(0..10) {
            0..3 => self.get(seq),
            3 => self.walk(seq, &["s.*"]),
            4 => self.walk(seq, &[subject]),
            5 => self.walk(seq, &["pair.a", subject]),
            6 => self.previous(seq, subject),
            7 => self.last(subject),
            8 => self.counts(),
            _ => self.summary(),
        }
    }

    /// Looks for a message, and holds what is found against what was known before and afterwards. `skips` says which of the messages
    /// that were there all the time cannot be: they would have been found instead.
    fn find(
        &mut self,
        look: impl Fn(&Reader) -> Result<StoredMessage, ReadError>,
        skips: impl Fn(&Known, Option<u64>) -> bool,
    ) -> Option<u64> {
        let before = self.account.now();
        let found = look(&self.reader);
        let after = self.account.now();
        let around = Around {
            before: &before,
            after: &after,
        };
        let seq = match found {
            Err(ReadError::Closed) => {
                assert!(after.is_closing, "closed by nobody");
                return None;
            }
            Err(error) => {
                assert!(is_absence(&error), "{error:?}");
                None
            }
            Ok(message) => {
                check(&message, &around);
                let seq = message.seq;
                self.held.push(message);
                Some(seq)
            }
        };
        assert!(!before.is_closed, "a closed store was read");
        let skipped = around.lasting().find(|known| skips(known, seq));
        assert!(
            skipped.is_none(),
            "found {seq:?}, but {skipped:?} was there"
        );
        seq
    }

    pub fn get(&mut self, seq: u64) {
        let found = self.find(
            |reader| reader.get(seq),
            |known, found| known.seq == seq && found.is_none(),
        );
        assert!(found.is_none_or(|found| found == seq));
    }

    /// Goes through a few messages, as long as the stream moves.
    fn walk(&mut self, from: u64, filters: &[&str]) {
        let bytes: Vec<&[u8]> = filters.iter().map(|filter| filter.as_bytes()).collect();
        let mut from = from;
        for _ in 0..4 {
            let found = self.find(
                |reader| reader.next(&bytes, from),
                |known, found| {
                    known.seq >= from
                        && found.is_none_or(|found| known.seq < found)
                        && selects(filters, &known.subject)
                },
            );
            let Some(seq) = found else { return };
            assert!(seq >= from, "{seq} before {from}");
            from = seq + 1;
        }
    }

    fn previous(&mut self, from: u64, subject: &str) {
        let found = self.find(
            |reader| reader.previous(&[subject.as_bytes()], from),
            |known, found| {
                known.seq <= from
                    && found.is_none_or(|found| known.seq > found)
                    && known.subject == subject
            },
        );
        assert!(found.is_none_or(|seq| seq <= from));
    }

    fn last(&mut self, subject: &str) {
        self.find(
            |reader| reader.last(subject.as_bytes()),
            |known, found| known.subject == subject && found.is_none_or(|found| known.seq > found),
        );
    }

    fn counts(&mut self) {
        let before = self.account.now();
        let totals = self.reader.subject_totals(b"pair.*");
        let counted = self.reader.count(&[b"s.*", b"pair.*"], 0);
        let after = self.account.now();
        let around = Around {
            before: &before,
            after: &after,
        };
        let counts: Vec<u64> = totals.values().copied().collect();
        match before.has_pair {
            true => assert_eq!(counts, [1, 1], "{totals:?}"),
            false => assert!(matches!(counts.as_slice(), [] | [1, 1]), "{totals:?}"),
        }
        match counted {
            Err(error) => assert!(error == ReadError::Closed && after.is_closing, "{error:?}"),
            Ok(count) => {
                let count = count as usize;
                around.check_count(count);
            }
        }
    }

    fn summary(&mut self) {
        let before = self.account.now();
        let summary = self.reader.summary();
        let deleted = self.reader.deleted();
        let after = self.account.now();
        let around = Around {
            before: &before,
            after: &after,
        };
        let count = summary.message_count as usize;
        around.check_count(count);
        let lasting = around.lasting().find(|known| deleted.contains(known.seq));
        assert!(lasting.is_none(), "{lasting:?} is said to be gone");
        if !self.has_cuts {
            assert!(summary.last.seq >= self.last_seq, "the stream went back");
        }
        self.last_seq = summary.last.seq;
    }

    /// What it holds on to is what it was.
    pub fn end(self) {
        for message in &self.held {
            assert_eq!(message.body(), body_of(number_of(message.body())));
        }
    }
}

fn selects(filters: &[&str], subject: &str) -> bool {
    filters
        .iter()
        .any(|filter| *filter == subject || *filter == "s.*" && subject.starts_with("s."))
}

/// A message that was found is one that was stored there, whole, and had not gone before the look for it began.
fn check(message: &StoredMessage, around: &Around<'_>) {
    let number = number_of(message.body());
    assert_eq!(message.body(), body_of(number));
    let known = around.after.messages.get(number);
    let known = known.expect("a message that somebody stored");
    assert_eq!(known.seq, message.seq);
    assert_eq!(known.subject.as_bytes(), message.subject());
    let before = around.before.messages.get(number);
    let was_gone = before.is_some_and(|known| known.stage == Stage::Gone);
    assert!(!was_gone, "{known:?} had gone");
}

/// A store that was opened again holds what was there, and nothing else.
pub fn holds_all(reader: &Reader, account: &Account) {
    let known = account.now();
    let around = Around {
        before: &known,
        after: &known,
    };
    assert_eq!(
        reader.summary().message_count as usize,
        around.lasting().count()
    );
    for known in around.lasting() {
        check(&reader.get(known.seq).unwrap(), &around);
    }
}
