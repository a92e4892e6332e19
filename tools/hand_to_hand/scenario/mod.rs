//! What a stock client does with a broker, in parts: each looks first whether everything is there that was acknowledged before,
//! whoever served then, and goes on. Between two parts the broker is stopped or killed, and another one may take over.

mod truth;
mod values;

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::kv;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Compression, Config, DirectGetErrorKind, State, Stream};
use async_nats::jetstream::{self, AckKind, Context};
use futures_util::StreamExt;

pub use truth::Truth;
use truth::{Figures, Messages, Position};
use values::{keep_values, watch_values};

pub type Outcome<T> = Result<T, async_nats::Error>;

const ORDERS: &str = "ORDERS";
const SMALL: &str = "SMALL";
const BUCKET: &str = "KV_B";
/// Messages that SMALL keeps, and values that the bucket keeps of each key.
const SMALL_MAX: usize = 20;
const HISTORY: usize = 3;
/// Longer than all parts take: what waits goes on waiting, until something is said about it.
const ACK_WAIT: Duration = Duration::from_secs(600);

/// How whoever served before came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// There was nobody.
    Never,
    /// Everything that was told is true.
    Safely,
    /// Killed, and not known to keep every acknowledgement of a consumer at once.
    Killed,
}

fn figures(state: &State) -> Figures {
    let (messages, bytes, last) = (state.messages, state.bytes, state.last_sequence);
    // Of a stream that never held a message servers say 0, others 1.
    let first = if last == 0 { 0 } else { state.first_sequence };
    (
        messages,
        bytes,
        first,
        last,
        state.deleted_count.unwrap_or(0),
        state.subjects_count,
    )
}

/// Plays the next part.
pub async fn play(port: u16, before: Ended, compresses: bool, truth: &mut Truth) -> Outcome<()> {
    let client = async_nats::connect(format!("127.0.0.1:{port}")).await?;
    let context = jetstream::new(client);
    if truth.part == 0 {
        make(&context, compresses).await?;
    } else {
        look(&context, before, truth).await?;
    }
    truth.part += 1;
    take_up(&context, before, truth).await?;
    publish(&context, truth).await?;
    remove(&context, truth).await?;
    consume(&context, truth).await?;
    redeliver(&context, truth).await?;
    keep_values(&context, truth).await?;
    watch_values(&context, truth).await?;
    note(&context, truth).await
}

async fn make(context: &Context, compresses: bool) -> Outcome<()> {
    let compression = if compresses {
        Compression::S2
    } else {
        Compression::None
    };
    for (name, subjects, max_messages) in [
        (ORDERS, "orders.>", -1),
        (SMALL, "small.*", SMALL_MAX as i64),
    ] {
        let config = Config {
            name: name.to_owned(),
            subjects: vec![subjects.to_owned()],
            max_messages,
            allow_direct: true,
            allow_rollup: true,
            compression: Some(compression.clone()),
            ..Config::default()
        };
        let made = context.create_stream(config.clone()).await?;
        // What is there already is no error where it is the same.
        context.create_stream(config.clone()).await?;
        let other = Config {
            max_bytes: 5,
            ..config
        };
        if context.create_stream(other).await.is_ok() {
            return Err("a stream was made over another one".into());
        }
        let work = pull::Config {
            durable_name: Some("WORK".to_owned()),
            ack_wait: ACK_WAIT,
            ack_policy: AckPolicy::Explicit,
            ..Default::default()
        };
        made.create_consumer(work.clone()).await?;
        made.create_consumer(pull::Config {
            durable_name: Some("SOON".to_owned()),
            ack_wait: Duration::from_secs(1),
            ..work
        })
        .await?;
    }
    let bucket = kv::Config {
        bucket: "B".to_owned(),
        history: HISTORY as i64,
        compression: compresses,
        ..Default::default()
    };
    context.create_key_value(bucket).await?;
    Ok(())
}

/// Everything that was acknowledged is there, and nothing else.
async fn look(context: &Context, before: Ended, truth: &mut Truth) -> Outcome<()> {
    for name in [ORDERS, SMALL, BUCKET] {
        let stream = context.get_stream(name).await?;
        compare(&stream, name, &truth.messages(name), truth).await?;
        let found = figures(&stream.get_info().await?.state);
        truth.same(
            &format!("{name} as it was told before"),
            Some(found),
            truth.told.get(name).copied(),
        )?;
    }
    let consumer: PullConsumer = context
        .get_stream(ORDERS)
        .await?
        .get_consumer("WORK")
        .await?;
    if before == Ended::Safely {
        truth.same(
            "the consumer as it was told before",
            Some(position(&consumer).await?),
            truth.consumer,
        )?;
    }
    Ok(())
}

async fn compare(
    stream: &Stream,
    name: &'static str,
    expected: &Messages,
    truth: &mut Truth,
) -> Outcome<()> {
    let last = truth.last_seqs.get(name).copied().unwrap_or(0);
    for seq in 1..=last {
        let found = match stream.direct_get(seq).await {
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => None,
            found => Some(found.map_err(|error| format!("{name} {seq}: {error}"))?),
        };
        let found = found.map(|found| (found.subject.to_string(), found.payload.to_vec()));
        truth.same(&format!("{name} {seq}"), found, expected.get(&seq).cloned())?;
    }
    let subjects: BTreeSet<&String> = expected.values().map(|(subject, _)| subject).collect();
    let first = expected.keys().next().copied().unwrap_or(last + 1);
    let deleted = (last + 1 - first).saturating_sub(expected.len() as u64);
    let found = figures(&stream.get_info().await?.state);
    let known = (
        expected.len() as u64,
        found.1,
        first,
        last,
        deleted,
        subjects.len() as u64,
    );
    truth.same(&format!("{name} as it must be"), found, known)
}

async fn position(consumer: &PullConsumer) -> Outcome<Position> {
    let info = consumer.get_info().await?;
    let pair =
        |pair: jetstream::consumer::SequenceInfo| (pair.consumer_sequence, pair.stream_sequence);
    Ok((
        pair(info.delivered),
        pair(info.ack_floor),
        info.num_ack_pending,
        info.num_redelivered,
        info.num_pending,
    ))
}

/// Messages that a consumer has now, with how often each was delivered.
async fn fetch(
    consumer: &PullConsumer,
    most: usize,
) -> Outcome<Vec<(u64, i64, jetstream::Message)>> {
    let mut batch = consumer.fetch().max_messages(most).messages().await?;
    let mut fetched = Vec::new();
    while let Some(message) = batch.next().await {
        let message = message?;
        let (seq, count) = message
            .info()
            .map(|info| (info.stream_sequence, info.delivered))?;
        fetched.push((seq, count, message));
    }
    Ok(fetched)
}

async fn double_ack(message: &jetstream::Message) -> Outcome<()> {
    message
        .double_ack()
        .await
        .map_err(|error| format!("an acknowledgement is not answered: {error}").into())
}

/// Waits until what was sent without asking for an answer is worked off: a server does that beside other requests.
async fn arrived(context: &Context) -> Outcome<()> {
    context.client().flush().await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(())
}

/// What waited for its acknowledgement when somebody else served still does.
async fn take_up(context: &Context, before: Ended, truth: &mut Truth) -> Outcome<()> {
    let consumer: PullConsumer = context
        .get_stream(ORDERS)
        .await?
        .get_consumer("WORK")
        .await?;
    if before == Ended::Killed {
        // Acknowledgements may have been lost, deliveries too; messages may not.
        let delivered = truth.consumer.map_or(0, |(delivered, ..)| delivered.1);
        let fetched = fetch(&consumer, 10_000).await?;
        for (_, _, message) in &fetched {
            double_ack(message).await?;
        }
        let seen: BTreeSet<u64> = fetched.iter().map(|(seq, ..)| *seq).collect();
        let missing: Vec<u64> = truth
            .messages(ORDERS)
            .into_keys()
            .filter(|seq| *seq > delivered && !seen.contains(seq))
            .collect();
        truth.same("messages that never came", missing, Vec::new())?;
        for reply in std::mem::take(&mut truth.waiting).into_values() {
            context.client().request(reply, "+ACK".into()).await?;
        }
        return truth.same("deliveries that wait", position(&consumer).await?.2, 0);
    }
    let mut waiting = std::mem::take(&mut truth.waiting).into_iter();
    if let Some((_, reply)) = waiting.next() {
        let count = position(&consumer).await?.2;
        context.client().request(reply, "+ACK".into()).await?;
        truth.same(
            "deliveries that wait",
            position(&consumer).await?.2,
            count - 1,
        )?;
    }
    if let Some((seq, reply)) = waiting.next() {
        context.client().publish(reply, "-NAK".into()).await?;
        arrived(context).await?;
        let fetched = fetch(&consumer, 1).await?;
        truth.same(
            "what was refused before comes again",
            fetched
                .iter()
                .map(|(seq, count, _)| (*seq, *count))
                .collect(),
            vec![(seq, 2)],
        )?;
        double_ack(&fetched[0].2).await?;
    }
    truth.waiting = waiting.collect();
    Ok(())
}

async fn publish(context: &Context, truth: &mut Truth) -> Outcome<()> {
    let part = truth.part;
    let mut acks = Vec::new();
    for number in 0..60_usize {
        let subject = format!("orders.{}", number % 7);
        let body = format!("{part}.{number} ")
            .repeat(1 + number * number % 300)
            .into_bytes();
        acks.push((
            subject.clone(),
            body.clone(),
            context.publish(subject, body.into()).await?,
        ));
    }
    for (subject, body, ack) in acks {
        let ack = ack.await?;
        truth.stored(ORDERS, ack.sequence, &subject, &body);
    }
    for number in 0..9 {
        let (subject, body) = (format!("small.{number}"), vec![b's'; number * 50]);
        let ack = context
            .publish(subject.clone(), body.clone().into())
            .await?
            .await?;
        truth.stored(SMALL, ack.sequence, &subject, &body);
    }
    expect(context, truth).await
}

/// Publishing where a certain state is expected, rightly and wrongly; and twice under one id.
async fn expect(context: &Context, truth: &mut Truth) -> Outcome<()> {
    let last = truth.last_seqs[ORDERS];
    let message = || PublishMessage::build().payload("expected".into());
    let id = |part: u32| format!("id-{part}");
    let right = [
        message().expected_last_sequence(last),
        message().expected_last_subject_sequence(last + 1),
        message().message_id(id(truth.part)),
    ];
    for message in right {
        let ack = context.send_publish("orders.3", message).await?.await?;
        truth.same(
            "the next sequence",
            ack.sequence,
            truth.last_seqs[ORDERS] + 1,
        )?;
        truth.stored(ORDERS, ack.sequence, "orders.3", b"expected");
    }
    let wrong = [
        (
            message().expected_last_sequence(last),
            PublishErrorKind::WrongLastSequence,
        ),
        (
            message().expected_last_subject_sequence(last + 1),
            PublishErrorKind::WrongLastSequence,
        ),
    ];
    for (message, expected) in wrong {
        let told = context.send_publish("orders.3", message).await?.await;
        truth.same(
            "what is refused",
            told.err().map(|error| error.kind()),
            Some(expected),
        )?;
    }
    // The window reaches back to whoever served before.
    for part in [truth.part, truth.part.max(2) - 1] {
        let ack = context
            .send_publish("orders.3", message().message_id(id(part)))
            .await?
            .await?;
        let first = truth
            .messages(ORDERS)
            .into_keys()
            .rev()
            .find(|seq| *seq == ack.sequence);
        truth.same(
            "sent twice under one id",
            (ack.duplicate, first),
            (true, Some(ack.sequence)),
        )?;
    }
    let nobody = context.publish("nobody.listens", "".into()).await?.await;
    truth.same(
        "no stream",
        nobody.err().map(|error| error.kind()),
        Some(PublishErrorKind::StreamNotFound),
    )
}

async fn remove(context: &Context, truth: &mut Truth) -> Outcome<()> {
    let stream = context.get_stream(ORDERS).await?;
    // What an id of another part stands for stays, and what waits.
    let kept = 12;
    let of_5: Vec<u64> = truth
        .messages(ORDERS)
        .into_iter()
        .filter(|(_, (subject, _))| subject == "orders.5")
        .map(|(seq, _)| seq)
        .collect();
    let doomed = &of_5[..of_5.len().saturating_sub(kept)];
    let purged = stream
        .purge()
        .filter("orders.5")
        .keep(kept as u64)
        .await?
        .purged;
    truth.same("purged", purged, doomed.len() as u64)?;
    truth
        .streams
        .entry(ORDERS)
        .or_default()
        .retain(|seq, _| !doomed.contains(seq));
    truth.waiting.retain(|seq, _| !doomed.contains(seq));
    // A roll-up leaves the message that asks for it.
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Rollup", "sub");
    let ack = context
        .publish_with_headers("orders.6", headers, "rolled".into())
        .await?
        .await?;
    truth
        .streams
        .entry(ORDERS)
        .or_default()
        .retain(|_, (subject, _)| subject != "orders.6");
    truth
        .waiting
        .retain(|seq, _| truth.streams[ORDERS].contains_key(seq));
    truth.stored(ORDERS, ack.sequence, "orders.6", b"rolled");
    compare(&stream, ORDERS, &truth.messages(ORDERS), truth).await
}

/// Takes some messages: of eight five are acknowledged, one is refused first, and two wait on.
async fn consume(context: &Context, truth: &mut Truth) -> Outcome<()> {
    let consumer: PullConsumer = context
        .get_stream(ORDERS)
        .await?
        .get_consumer("WORK")
        .await?;
    let delivered = position(&consumer).await?.0.1;
    let fetched = fetch(&consumer, 8).await?;
    let next: Vec<(u64, i64)> = truth
        .messages(ORDERS)
        .into_keys()
        .filter(|seq| *seq > delivered)
        .take(8)
        .map(|seq| (seq, 1))
        .collect();
    truth.same(
        "what comes next",
        fetched
            .iter()
            .map(|(seq, count, _)| (*seq, *count))
            .collect(),
        next,
    )?;
    for (place, (seq, _, message)) in fetched.iter().enumerate() {
        match place {
            2 => message.ack_with(AckKind::Nak(None)).await?,
            3 | 5 => {
                _ = truth.waiting.insert(
                    *seq,
                    message
                        .reply
                        .as_ref()
                        .map(ToString::to_string)
                        .unwrap_or_default(),
                )
            }
            _ => {}
        }
    }
    arrived(context).await?;
    let again = fetch(&consumer, 1).await?;
    truth.same(
        "what was refused comes again",
        again.iter().map(|(seq, count, _)| (*seq, *count)).collect(),
        vec![(fetched[2].0, 2)],
    )?;
    for (place, (_, _, message)) in fetched.iter().chain(&again).enumerate() {
        if !matches!(place, 2 | 3 | 5) {
            double_ack(message).await?;
        }
    }
    Ok(())
}

/// What is not acknowledged in time comes again, and goes on being worked at where that is said.
async fn redeliver(context: &Context, truth: &mut Truth) -> Outcome<()> {
    let consumer: PullConsumer = context
        .get_stream(SMALL)
        .await?
        .get_consumer("SOON")
        .await?;
    let first = fetch(&consumer, 1).await?;
    let (seq, count) = first
        .first()
        .map(|(seq, count, _)| (*seq, *count))
        .ok_or("nothing to deliver")?;
    truth.same(
        "nothing waits",
        fetch(&consumer, 1)
            .await?
            .first()
            .map(|(again, ..)| *again == seq),
        Some(false),
    )?;
    tokio::time::sleep(Duration::from_millis(1300)).await;
    let again = fetch(&consumer, 2).await?;
    let found = again
        .iter()
        .find(|(found, ..)| *found == seq)
        .map(|(_, count, _)| *count);
    truth.same(
        "what was not acknowledged comes again",
        found,
        Some(count + 1),
    )?;
    for (_, _, message) in &again {
        double_ack(message).await?;
    }
    Ok(())
}

/// Keeps what is told at the end of a part.
async fn note(context: &Context, truth: &mut Truth) -> Outcome<()> {
    for name in [ORDERS, SMALL, BUCKET] {
        let stream = context.get_stream(name).await?;
        compare(&stream, name, &truth.messages(name), truth).await?;
        truth
            .told
            .insert(name, figures(&stream.get_info().await?.state));
    }
    let consumer: PullConsumer = context
        .get_stream(ORDERS)
        .await?
        .get_consumer("WORK")
        .await?;
    truth.consumer = Some(position(&consumer).await?);
    Ok(())
}
