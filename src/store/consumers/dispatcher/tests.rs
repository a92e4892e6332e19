//! Each rule by which messages come, against a stream in memory.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::env::memory::{MemoryFileSystem, SeededEntropy, Unsynced};
use crate::format::meta::StreamMeta;
use crate::living::Idle;
use crate::store::{NewMessage, PurgeRequest, Store, StoreOptions, Writer};

const SECOND: i64 = 1_000_000_000;
const NONE: [u64; 0] = [];
const NOW: i64 = 1_767_323_045 * SECOND;

struct Stream {
    fs: MemoryFileSystem,
    store: Store,
    writer: Writer,
}

impl Stream {
    fn open(fs: MemoryFileSystem) -> Self {
        let config = br#"{"name":"S","subjects":["s.>"],"storage":"file"}"#;
        let options = StoreOptions::new(StreamMeta::parse(config).unwrap(), NOW);
        let entropy = Arc::new(SeededEntropy::new(fs.calls().len() as u64));
        let (shared, idle) = (Arc::new(fs.clone()), Idle::declared());
        let store = Store::open(shared, entropy, &idle, Path::new("/data/S"), &options).unwrap();
        let writer = store.writer().unwrap();
        Stream { fs, store, writer }
    }

    /// A stream with messages of these subjects, one each second.
    fn of(subjects: &[&str]) -> Self {
        let mut stream = Self::open(MemoryFileSystem::new());
        for (subject, second) in subjects.iter().zip(0..) {
            stream.append(subject, NOW + second * SECOND);
        }
        stream
    }

    fn append(&mut self, subject: &str, now_ns: i64) {
        let message = NewMessage {
            subject: subject.as_bytes(),
            headers: b"",
            body: b"body",
        };
        self.writer.append(&message, now_ns).unwrap();
    }

    fn remove(&mut self, seq: u64) {
        assert!(self.writer.remove(seq).unwrap());
    }

    /// A consumer C that goes on or begins.
    fn consumer(&self, more: &str) -> Dispatcher {
        let config = format!(r#"{{"durable_name":"C"{more}}}"#);
        let config = ConsumerMeta::parse(config.as_bytes()).unwrap();
        let place = self.store.consumer_place();
        let consumer = Consumer::open(&place, "C", Some(&config), NOW).unwrap();
        Dispatcher::new(consumer, self.store.reader(), NOW).unwrap()
    }
}

const EXPLICIT: &str = r#","ack_policy":"explicit","ack_wait":10000000000"#;

fn explicit(more: &str) -> String {
    format!("{EXPLICIT}{more}")
}

/// Sequence, number and count of what comes now.
fn next(dispatcher: &mut Dispatcher, now_ns: i64) -> Option<(u64, u64, u64)> {
    let found = dispatcher.next(now_ns).unwrap()?;
    Some((found.message.seq, found.consumer_seq, found.count))
}

/// The sequences that come now.
fn all(dispatcher: &mut Dispatcher, now_ns: i64) -> Vec<u64> {
    std::iter::from_fn(|| next(dispatcher, now_ns).map(|(seq, ..)| seq)).collect()
}

fn pair(consumer: u64, stream: u64) -> SequencePair {
    SequencePair { consumer, stream }
}

fn floor(dispatcher: &Dispatcher) -> SequencePair {
    dispatcher.consumer().state().ack_floor
}

fn waiting(dispatcher: &Dispatcher) -> Vec<u64> {
    let pending = &dispatcher.consumer().state().pending;
    pending.keys().copied().collect()
}

#[test]
fn a_consumer_begins_where_its_policy_says() {
    let mut stream = Stream::of(&["s.a", "s.b", "s.a", "s.c", "s.b", "s.c"]);
    stream.remove(1);
    let at_time = format!(
        r#""by_start_time","opt_start_time":"{}""#,
        crate::format::duration::format_rfc3339(NOW + 3 * SECOND)
    );
    for (policy, expected) in [
        (r#""all""#, vec![2, 3, 4, 5, 6]),
        (r#""all","filter_subjects":["s.a","s.c"]"#, vec![3, 4, 6]),
        (r#""new""#, vec![]),
        (r#""last""#, vec![6]),
        (r#""last","filter_subject":"s.b""#, vec![5]),
        (r#""last","filter_subject":"s.x""#, vec![]),
        (r#""last_per_subject""#, vec![3, 5, 6]),
        (r#""last_per_subject","filter_subject":"s.b""#, vec![5]),
        (r#""by_start_sequence","opt_start_seq":4"#, vec![4, 5, 6]),
        (
            r#""by_start_sequence","opt_start_seq":1"#,
            vec![2, 3, 4, 5, 6],
        ),
        (&at_time, vec![4, 5, 6]),
    ] {
        let mut consumer = stream.consumer(&format!(r#","deliver_policy":{policy}"#));
        let count = consumer.pending_count().unwrap();
        assert_eq!(count, expected.len() as u64, "{policy}");
        assert_eq!(all(&mut consumer, NOW), expected, "{policy}");
        assert_eq!(consumer.pending_count(), Ok(0), "{policy}");
        consumer.delete().unwrap();
    }
}

#[test]
fn what_is_stored_later_comes_however_a_consumer_began() {
    for policy in ["new", "last_per_subject", "by_start_sequence"] {
        let mut stream = Stream::of(&["s.a", "s.b"]);
        let more = format!(r#","deliver_policy":"{policy}","opt_start_seq":4"#);
        let mut consumer = stream.consumer(&more);
        all(&mut consumer, NOW);
        stream.append("s.a", NOW);
        stream.append("s.b", NOW);
        let expected = if policy == "by_start_sequence" {
            vec![4]
        } else {
            vec![3, 4]
        };
        assert_eq!(all(&mut consumer, NOW), expected, "{policy}");
    }
}

#[test]
fn where_a_consumer_begins_survives_a_crash() {
    let mut stream = Stream::of(&["s.a"]);
    stream.writer.sync().unwrap();
    drop(stream.consumer(r#","deliver_policy":"new""#));
    stream.append("s.b", NOW);
    stream.writer.sync().unwrap();
    let Stream { fs, store, writer } = stream;
    drop((store, writer));
    let again = Stream::open(fs.crash_image(Unsynced::Dropped));
    assert_eq!(all(&mut again.consumer(""), NOW), [2]);
}

#[test]
fn without_acknowledgements_what_was_delivered_is_done() {
    let stream = Stream::of(&["s.a", "s.b"]);
    let mut consumer = stream.consumer("");
    assert_eq!(next(&mut consumer, NOW), Some((1, 1, 1)));
    assert_eq!(floor(&consumer), pair(1, 1));
    assert_eq!(consumer.next_due(), None);
    let refused = Err(ConsumerError::NoAckPolicy);
    assert_eq!(consumer.ack(pair(1, 1)), refused);
    assert_eq!(consumer.nak(1, 0, NOW), refused);
    assert_eq!(consumer.progress(1, NOW), refused);
    assert_eq!(all(&mut consumer, NOW + 100 * SECOND), [2]);
}

#[test]
fn what_is_not_acknowledged_comes_again_before_anything_new() {
    let stream = Stream::of(&["s.a", "s.b", "s.c"]);
    let mut consumer = stream.consumer(EXPLICIT);
    assert_eq!(next(&mut consumer, NOW), Some((1, 1, 1)));
    assert_eq!(next(&mut consumer, NOW + SECOND), Some((2, 2, 1)));
    consumer.ack(pair(2, 2)).unwrap();
    assert_eq!(consumer.next_due(), Some(NOW + 10 * SECOND));
    assert_eq!(next(&mut consumer, NOW + 10 * SECOND), Some((1, 3, 2)));
    assert_eq!(consumer.pending_count(), Ok(1));
    assert_eq!(next(&mut consumer, NOW + 10 * SECOND), Some((3, 4, 1)));
    assert_eq!(consumer.consumer().state().redelivered[&1], 1);
    // The acknowledgement of either delivery is one of the message.
    consumer.ack(pair(1, 1)).unwrap();
    consumer.ack(pair(4, 3)).unwrap();
    assert_eq!((floor(&consumer), consumer.next_due()), (pair(4, 3), None));
    assert_eq!(all(&mut consumer, NOW + 99 * SECOND), NONE);
}

#[test]
fn what_waits_longest_comes_first() {
    let stream = Stream::of(&["s.a", "s.b", "s.c", "s.d"]);
    let mut consumer = stream.consumer(EXPLICIT);
    all(&mut consumer, NOW);
    consumer.nak(3, SECOND, NOW).unwrap();
    consumer.nak(2, 2 * SECOND, NOW).unwrap();
    assert_eq!(all(&mut consumer, NOW + 10 * SECOND), [3, 2, 1, 4]);
}

#[test]
fn an_acknowledgement_of_all_stands_for_those_before() {
    let mut stream = Stream::of(&["s.a", "s.b", "s.c", "s.d"]);
    let mut consumer = stream.consumer(r#","ack_policy":"all","ack_wait":10000000000"#);
    all(&mut consumer, NOW);
    consumer.ack(pair(2, 2)).unwrap();
    assert_eq!(waiting(&consumer), [3, 4]);
    assert_eq!(floor(&consumer), pair(2, 2));
    // One that left the stream is acknowledged with those before it all the same.
    stream.remove(4);
    consumer.settle().unwrap();
    assert_eq!(waiting(&consumer), [3]);
    consumer.ack(pair(4, 4)).unwrap();
    assert_eq!((waiting(&consumer), consumer.next_due()), (vec![], None));
    let never = Err(ConsumerError::NotPending { sequence: 9 });
    assert_eq!(consumer.ack(pair(9, 9)), never);
}

#[test]
fn a_refused_message_comes_again_at_once_or_after_its_delay() {
    let stream = Stream::of(&["s.a", "s.b"]);
    let mut consumer = stream.consumer(EXPLICIT);
    all(&mut consumer, NOW);
    consumer.nak(2, 0, NOW + SECOND).unwrap();
    assert_eq!(next(&mut consumer, NOW + SECOND), Some((2, 3, 2)));
    consumer.nak(1, 60 * SECOND, NOW + SECOND).unwrap();
    consumer.ack(pair(3, 2)).unwrap();
    assert_eq!(consumer.next_due(), Some(NOW + 61 * SECOND));
    assert_eq!(all(&mut consumer, NOW + 60 * SECOND), NONE);
    assert_eq!(next(&mut consumer, NOW + 61 * SECOND), Some((1, 4, 2)));
    consumer.nak(1, i64::MIN, NOW + 62 * SECOND).unwrap();
    assert_eq!(consumer.next_due(), Some(NOW + 62 * SECOND));
    consumer.nak(1, i64::MAX, NOW + 62 * SECOND).unwrap();
    assert_eq!(all(&mut consumer, NOW + 1_000_000 * SECOND), NONE);
    let unknown = Err(ConsumerError::NotPending { sequence: 2 });
    assert_eq!(consumer.nak(2, 0, NOW), unknown);
}

#[test]
fn a_message_in_work_waits_anew_and_a_terminated_one_no_longer() {
    let stream = Stream::of(&["s.a", "s.b"]);
    let mut consumer = stream.consumer(EXPLICIT);
    all(&mut consumer, NOW);
    consumer.progress(1, NOW + 8 * SECOND).unwrap();
    assert_eq!(all(&mut consumer, NOW + 17 * SECOND), [2]);
    assert_eq!(all(&mut consumer, NOW + 18 * SECOND), [1]);
    consumer.terminate(pair(4, 1)).unwrap();
    assert_eq!(waiting(&consumer), [2]);
    assert_eq!(floor(&consumer), pair(1, 1));
}

#[test]
fn each_delivery_waits_as_its_backoff_says() {
    let stream = Stream::of(&["s.a"]);
    let mut consumer = stream.consumer(&explicit(r#","backoff":[1000000000,5000000000]"#));
    let mut now_ns = NOW;
    for (count, wait_s) in [(1, 1), (2, 5), (3, 5), (4, 5)] {
        assert_eq!(next(&mut consumer, now_ns), Some((1, count, count)));
        assert_eq!(consumer.next_due(), Some(now_ns + wait_s * SECOND));
        now_ns += wait_s * SECOND;
    }
    // A delay is as long as it says, whatever the wait.
    consumer.nak(1, 2 * SECOND, now_ns).unwrap();
    assert_eq!(consumer.next_due(), Some(now_ns + 2 * SECOND));
}

#[test]
fn a_message_is_given_up_after_as_many_deliveries_as_may_be() {
    let stream = Stream::of(&["s.a", "s.b"]);
    let mut consumer = stream.consumer(&explicit(r#","max_deliver":2"#));
    assert_eq!(next(&mut consumer, NOW), Some((1, 1, 1)));
    assert_eq!(next(&mut consumer, NOW), Some((2, 2, 1)));
    consumer.nak(1, 0, NOW).unwrap();
    assert_eq!(next(&mut consumer, NOW), Some((1, 3, 2)));
    assert_eq!(all(&mut consumer, NOW + 9 * SECOND), NONE);
    assert_eq!(waiting(&consumer), [1, 2]);
    assert_eq!(all(&mut consumer, NOW + 10 * SECOND), [2]);
    // The server remembers it as one that was delivered too often.
    let state = consumer.consumer().state();
    assert_eq!((waiting(&consumer), state.redelivered[&1]), (vec![2], 2));
    assert_eq!(floor(&consumer), pair(1, 1));
}

#[test]
fn no_more_wait_than_may_and_room_is_made_by_acknowledging() {
    let stream = Stream::of(&["s.a", "s.b", "s.c", "s.d"]);
    let mut consumer = stream.consumer(&explicit(r#","max_ack_pending":2"#));
    assert_eq!(all(&mut consumer, NOW), [1, 2]);
    assert!(consumer.is_stalled());
    assert_eq!(consumer.pending_count(), Ok(2));
    consumer.ack(pair(2, 2)).unwrap();
    assert_eq!(all(&mut consumer, NOW), [3]);
    // What is due comes all the same.
    assert_eq!(all(&mut consumer, NOW + 10 * SECOND), [1, 3]);
}

#[test]
fn nobody_waits_for_a_message_that_is_gone() {
    let mut stream = Stream::of(&["s.a", "s.b", "s.c", "s.d", "s.e", "s.f"]);
    let mut consumer = stream.consumer(&explicit(r#","max_ack_pending":4"#));
    assert_eq!(all(&mut consumer, NOW), [1, 2, 3, 4]);
    // In the middle: seen where it makes room.
    stream.remove(3);
    assert_eq!(all(&mut consumer, NOW), [5]);
    assert_eq!(waiting(&consumer), [1, 2, 4, 5]);
    // At the beginning: seen at once.
    stream.remove(1);
    assert_eq!(all(&mut consumer, NOW), [6]);
    assert_eq!(floor(&consumer), pair(1, 1));
    stream.remove(4);
    assert_eq!(all(&mut consumer, NOW + 10 * SECOND), [2, 5, 6]);
    assert_eq!(consumer.consumer().state().redelivered.len(), 3);
    stream.writer.purge(&PurgeRequest::default()).unwrap();
    assert_eq!(all(&mut consumer, NOW + 10 * SECOND), NONE);
    assert_eq!((waiting(&consumer), consumer.next_due()), (vec![], None));
    assert_eq!(floor(&consumer), consumer.consumer().state().delivered);
    assert!(consumer.consumer().state().redelivered.is_empty());
}

#[test]
fn last_messages_that_were_replaced_meanwhile_are_not_counted() {
    let mut stream = Stream::of(&["s.a", "s.b", "s.c"]);
    let mut consumer = stream.consumer(r#","deliver_policy":"last_per_subject""#);
    assert_eq!(next(&mut consumer, NOW), Some((1, 1, 1)));
    stream.append("s.b", NOW);
    stream.remove(2);
    assert_eq!(consumer.pending_count(), Ok(2));
    assert_eq!(next(&mut consumer, NOW), Some((3, 2, 1)));
    assert_eq!(consumer.pending_count(), Ok(1));
    assert_eq!(next(&mut consumer, NOW), Some((4, 3, 1)));
}

#[test]
fn what_is_to_come_is_counted_as_the_stream_changes() {
    let mut stream = Stream::of(&["s.a", "s.b", "s.a", "s.b"]);
    let mut consumer = stream.consumer(r#","filter_subject":"s.a""#);
    assert_eq!(consumer.pending_count(), Ok(2));
    assert_eq!(next(&mut consumer, NOW), Some((1, 1, 1)));
    assert_eq!(consumer.pending_count(), Ok(1));
    stream.append("s.a", NOW);
    assert_eq!(consumer.pending_count(), Ok(2));
    stream.remove(3);
    assert_eq!(consumer.pending_count(), Ok(1));
    assert_eq!(next(&mut consumer, NOW), Some((5, 2, 1)));
    assert_eq!(consumer.pending_count(), Ok(0));
}

#[test]
fn after_a_restart_what_waits_is_due_by_the_times_in_the_state() {
    let stream = Stream::of(&["s.a", "s.b", "s.c", "s.d"]);
    let more = explicit(r#","backoff":[10000000000,20000000000]"#);
    let mut consumer = stream.consumer(&more);
    assert_eq!(next(&mut consumer, NOW), Some((1, 1, 1)));
    assert_eq!(next(&mut consumer, NOW + 3 * SECOND), Some((2, 2, 1)));
    consumer.nak(1, 0, NOW + 4 * SECOND).unwrap();
    assert_eq!(next(&mut consumer, NOW + 4 * SECOND), Some((1, 3, 2)));
    assert_eq!(next(&mut consumer, NOW + 4 * SECOND), Some((3, 4, 1)));
    consumer.nak(3, 60 * SECOND, NOW + 4 * SECOND).unwrap();
    consumer.close(Level::Synced, NOW + 5 * SECOND).unwrap();
    let mut again = stream.consumer("");
    assert_eq!(again.next_due(), Some(NOW + 13 * SECOND));
    assert_eq!(next(&mut again, NOW + 6 * SECOND), Some((4, 5, 1)));
    assert_eq!(next(&mut again, NOW + 13 * SECOND), Some((2, 6, 2)));
    again.ack(pair(5, 4)).unwrap();
    assert_eq!(again.next_due(), Some(NOW + 24 * SECOND));
    assert_eq!(next(&mut again, NOW + 24 * SECOND), Some((1, 7, 3)));
    assert_eq!(again.ack(pair(7, 1)), Ok(()));
    assert_eq!(again.ack(pair(6, 2)), Ok(()));
    assert_eq!(again.next_due(), Some(NOW + 64 * SECOND));
}

#[test]
fn a_consumer_ahead_of_a_stream_that_lost_its_end_is_taken_back() {
    let mut stream = Stream::of(&["s.a", "s.b", "s.c", "s.d"]);
    let mut consumer = stream.consumer(EXPLICIT);
    assert_eq!(all(&mut consumer, NOW), [1, 2, 3, 4]);
    consumer.ack(pair(1, 1)).unwrap();
    consumer.close(Level::Synced, NOW).unwrap();
    stream.writer.truncate(3).unwrap();
    let mut again = stream.consumer("");
    assert_eq!(waiting(&again), [2, 3]);
    stream.append("s.e", NOW);
    assert_eq!(next(&mut again, NOW), Some((4, 5, 1)));
    again.close(Level::Synced, NOW).unwrap();
    stream.writer.truncate(1).unwrap();
    let mut again = stream.consumer("");
    assert_eq!((waiting(&again), floor(&again)), (vec![], pair(5, 1)));
    stream.append("s.f", NOW);
    assert_eq!(next(&mut again, NOW), Some((2, 6, 1)));
}

#[test]
fn a_start_that_is_still_to_come_is_not_lost_by_a_restart() {
    let mut stream = Stream::of(&["s.a"]);
    let more = r#","deliver_policy":"by_start_sequence","opt_start_seq":3"#;
    stream.consumer(more).close(Level::Synced, NOW).unwrap();
    let mut again = stream.consumer("");
    stream.append("s.a", NOW);
    assert_eq!(all(&mut again, NOW), NONE);
    stream.append("s.a", NOW);
    assert_eq!(all(&mut again, NOW), [3]);
}

#[test]
fn messages_that_were_there_come_at_the_pace_at_which_they_were_stored() {
    let mut stream = Stream::of(&["s.a", "s.b", "s.c"]);
    let mut consumer = stream.consumer(r#","replay_policy":"original""#);
    stream.append("s.d", NOW + 100 * SECOND);
    let later = NOW + 500 * SECOND;
    assert_eq!(all(&mut consumer, later), [1]);
    assert_eq!(consumer.next_due(), Some(later + SECOND));
    assert_eq!(all(&mut consumer, later + SECOND), [2]);
    assert_eq!(all(&mut consumer, later + 2 * SECOND - 1), NONE);
    // What was stored after it began comes at once.
    assert_eq!(all(&mut consumer, later + 2 * SECOND), [3, 4]);
    assert_eq!(consumer.next_due(), None);
}

#[test]
fn a_paused_consumer_gets_nothing_until_its_time() {
    let stream = Stream::of(&["s.a"]);
    let until = NOW + 5 * SECOND;
    let text = crate::format::duration::format_rfc3339(until);
    let mut consumer = stream.consumer(&format!(r#","pause_until":"{text}""#));
    assert_eq!(all(&mut consumer, until - 1), NONE);
    assert_eq!(consumer.next_due(), Some(until));
    assert_eq!(all(&mut consumer, until), [1]);
    assert_eq!(consumer.next_due(), None);
}

#[test]
fn another_configuration_counts_for_what_waits_already() {
    let stream = Stream::of(&["s.a", "s.b", "s.c"]);
    let mut consumer = stream.consumer(&explicit(r#","max_ack_pending":1"#));
    assert_eq!(all(&mut consumer, NOW), [1]);
    let config = br#"{"durable_name":"C","ack_policy":"explicit","ack_wait":2000000000,"filter_subject":"s.c"}"#;
    let config = ConsumerMeta::parse(config).unwrap();
    consumer.update_config(&config).unwrap();
    assert_eq!(consumer.pending_count(), Ok(1));
    assert_eq!(all(&mut consumer, NOW), [3]);
    assert_eq!(all(&mut consumer, NOW + 2 * SECOND), [1, 3]);
}

#[test]
fn a_message_that_does_not_verify_is_told_once_and_holds_nobody_up() {
    let mut stream = Stream::of(&["s.a", "s.b", "s.c"]);
    let mut consumer = stream.consumer(EXPLICIT);
    assert_eq!(next(&mut consumer, NOW), Some((1, 1, 1)));
    stream.writer.sync().unwrap();
    let Stream { fs, store, writer } = stream;
    consumer.close(Level::Synced, NOW).unwrap();
    store.close(writer).unwrap();
    let block = Path::new("/data/S/msgs/1.blk");
    let mut bytes = crate::env::ReadFiles::read(&fs, block, 1 << 20).unwrap();
    let length = bytes.len() / 3;
    for damaged in [length - 12, 2 * length - 12] {
        bytes[damaged] ^= 1;
    }
    let stream = Stream::open(fs.clone());
    fs.seed_file(block, bytes);
    let mut consumer = stream.consumer("");
    let corrupt = |error, expected| match error {
        Err(DispatchError::Read(ReadError::Corrupt { seq, .. })) => assert_eq!(seq, expected),
        other => panic!("{other:?}"),
    };
    corrupt(consumer.next(NOW).map(|_| ()), 2);
    corrupt(consumer.next(NOW + 10 * SECOND).map(|_| ()), 1);
    assert_eq!(next(&mut consumer, NOW + 10 * SECOND), Some((3, 2, 1)));
    assert_eq!(waiting(&consumer), [1, 3]);
    assert_eq!(consumer.next_due(), Some(NOW + 20 * SECOND));
}

#[test]
fn what_clients_say_to_a_delivery_is_taken_in_their_words() {
    let stream = Stream::of(&["s.a", "s.b", "s.c", "s.d", "s.e", "s.f"]);
    let mut consumer = stream.consumer(EXPLICIT);
    all(&mut consumer, NOW);
    let later = NOW + SECOND;
    for (seq, body, due_s) in [
        (6, "+ACK", None),
        (5, "", None),
        (4, "+TERM no more", None),
        (2, "+NXT {}", None),
        (1, "-NOT", Some(10)),
        (3, "+WPI", Some(11)),
        (3, "-NAK", Some(1)),
        (3, "-NAK {\"delay\": 5000000000}", Some(6)),
        (3, "-NAK 7s", Some(8)),
        (3, "-NAK soon", Some(1)),
        (3, "-NAK {}", Some(1)),
    ] {
        let subject = format!("$JS.ACK.S.C.1.{seq}.{seq}.0.0");
        let answered = consumer.take_answer(&subject, body.as_bytes(), later);
        assert_eq!(answered, Ok(()), "{body}");
        let pending = consumer.consumer().state().pending.get(&seq);
        let due_ns = pending.map(|pending| pending.timestamp_ns + 10 * SECOND);
        assert_eq!(due_ns, due_s.map(|due_s| NOW + due_s * SECOND), "{body}");
    }
    assert_eq!(waiting(&consumer), [1, 3]);
}

#[test]
fn a_consumer_is_told_as_clients_read_it() {
    let mut stream = Stream::of(&["s.a", "s.b", "s.c"]);
    let mut consumer = stream.consumer(EXPLICIT);
    assert_eq!(next(&mut consumer, NOW), Some((1, 1, 1)));
    assert_eq!(next(&mut consumer, NOW), Some((2, 2, 1)));
    consumer.nak(1, 0, NOW).unwrap();
    assert_eq!(next(&mut consumer, NOW), Some((1, 3, 2)));
    stream.remove(2);
    let told = consumer.info("S").unwrap();
    assert_eq!(
        (&told["stream_name"], &told["name"]),
        (&json!("S"), &json!("C"))
    );
    assert_eq!(told["config"]["ack_policy"], "explicit");
    assert_eq!(
        told["delivered"],
        json!({"consumer_seq": 3, "stream_seq": 2})
    );
    assert_eq!(
        told["ack_floor"],
        json!({"consumer_seq": 0, "stream_seq": 0})
    );
    let counts = ["num_ack_pending", "num_redelivered", "num_pending"];
    assert_eq!(counts.map(|name| told[name].clone()), [1, 1, 1]);
}

#[test]
fn an_acknowledgement_names_its_delivery() {
    let stream = Stream::of(&["s.a", "s.b", "s.c"]);
    let mut consumer = stream.consumer(EXPLICIT);
    let first = consumer.next(NOW).unwrap().unwrap();
    let subject = first.ack_subject("S", "C", 2);
    assert_eq!(subject, format!("$JS.ACK.S.C.1.1.1.{NOW}.2"));
    assert_eq!(consumer.take_answer(&subject, b"", NOW), Ok(()));
    assert_eq!(next(&mut consumer, NOW), Some((2, 2, 1)));
    let of_a_domain = "$JS.ACK.hub.HASH.S.C.1.2.2.0.1.x";
    assert_eq!(consumer.take_answer(of_a_domain, b"+ACK", NOW), Ok(()));
    assert_eq!(waiting(&consumer), NONE);
    for wrong in [
        "",
        "$JS.ACK.S.C",
        "$JS.ACK.S.C.1.x.3.0.0",
        "$JS.ACK.S.C.1.-1.3.0.0",
    ] {
        let refused = Err(ConsumerError::NotPending { sequence: 0 });
        assert_eq!(
            consumer.take_answer(wrong, b"+WPI", NOW),
            refused,
            "{wrong}"
        );
    }
}

#[test]
fn a_message_is_acknowledged_whichever_of_its_deliveries_is_named() {
    let stream = Stream::of(&["s.a", "s.b", "s.c"]);
    let mut consumer = stream.consumer(EXPLICIT);
    all(&mut consumer, NOW);
    consumer.ack(pair(2, 2)).unwrap();
    consumer.ack(pair(1, 1)).unwrap();
    assert_eq!(floor(&consumer), pair(2, 2));
    consumer.ack(pair(1, 3)).unwrap();
    assert_eq!((waiting(&consumer), floor(&consumer)), (vec![], pair(3, 3)));
}
