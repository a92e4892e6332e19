//! A consumer as its clients talk of it.

use serde_json::{Value, json};

use super::dispatcher::{Delivery, Dispatcher};
use super::error::{ConsumerError, DispatchError};
use crate::format::consumer::SequencePair;
use crate::format::duration::parse_duration;

impl Dispatcher {
    /// Takes what a client says to a delivery, in its words: `+ACK` or nothing, `-NAK` with a delay or without, `+WPI`, `+TERM`. `+NXT`
    /// acknowledges; that it asks for the next message the broker has to see. Other words say nothing. `subject` is where it says so, the
    /// [`ack_subject`](Delivery::ack_subject) of the delivery.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack). A subject that names no delivery is one of a message that does not wait.
    pub fn take_answer(
        &mut self,
        subject: &str,
        body: &[u8],
        now_ns: i64,
    ) -> Result<(), ConsumerError> {
        let acked = acked_by(subject).unwrap_or_default();
        match body {
            b"" | b"+ACK" | b"+OK" => self.ack(acked),
            b"+WPI" => self.progress(acked.stream, now_ns),
            [b'-', b'N', b'A', b'K', delay @ ..] => self.nak(acked.stream, delay_of(delay), now_ns),
            [b'+', b'T', b'E', b'R', b'M', ..] => self.terminate(acked),
            [b'+', b'N', b'X', b'T', ..] => self.ack(acked),
            _ => Ok(()),
        }
    }

    /// What the server's API tells of the consumer in the answer to a request for its information; who takes requests for messages
    /// adds how many wait.
    ///
    /// # Errors
    ///
    /// [`DispatchError`].
    pub fn info(&mut self, stream: &str) -> Result<Value, DispatchError> {
        self.settle()?;
        let pending_count = self.pending_count()?;
        let state = self.consumer().state();
        let told =
            |pair: SequencePair| json!({"consumer_seq": pair.consumer, "stream_seq": pair.stream});
        let mut info = self.consumer().config().info();
        info["stream_name"] = json!(stream);
        info["delivered"] = told(state.delivered);
        info["ack_floor"] = told(state.ack_floor);
        info["num_ack_pending"] = json!(state.pending.len());
        info["num_redelivered"] = json!(state.redelivered.len());
        info["num_pending"] = json!(pending_count);
        Ok(info)
    }
}

impl Delivery {
    /// The subject at which a client acknowledges it, which clients read the numbers of the delivery from, too.
    #[must_use]
    pub fn ack_subject(&self, stream: &str, consumer: &str, pending_count: u64) -> String {
        let Delivery {
            message,
            consumer_seq,
            count,
        } = self;
        let (seq, time_ns) = (message.seq, message.timestamp_ns);
        format!(
            "$JS.ACK.{stream}.{consumer}.{count}.{seq}.{consumer_seq}.{time_ns}.{pending_count}"
        )
    }
}

/// The delivery that is meant by the subject of an acknowledgement. With a domain and an account it is a longer one.
fn acked_by(subject: &str) -> Option<SequencePair> {
    let tokens: Vec<&str> = subject.split('.').collect();
    let at = if tokens.len() >= 11 { 7 } else { 5 };
    let number = |at: usize| tokens.get(at)?.parse().ok();
    Some(SequencePair {
        stream: number(at)?,
        consumer: number(at + 1)?,
    })
}

/// The delay behind `-NAK`: a duration, or JSON with one in nanoseconds. What is neither is none.
fn delay_of(text: &[u8]) -> i64 {
    let text = String::from_utf8_lossy(text);
    let delay = match serde_json::from_str::<Value>(&text) {
        Ok(wish) => wish["delay"].as_i64(),
        Err(_) => parse_duration(text.trim()).ok(),
    };
    delay.unwrap_or(0)
}
