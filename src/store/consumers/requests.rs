//! Requests for messages that wait at a consumer.

use std::collections::VecDeque;
use std::fmt;

use serde_json::Value;

use crate::format::consumer::SequencePair;
use crate::format::meta::ConsumerMeta;

/// How long the server keeps a consumer without a durable name to which nobody listens, where its configuration does not say.
const INACTIVE_DEFAULT_NS: i64 = 5_000_000_000;

/// What is said to who waits for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestStatus {
    /// The request asks for nothing that can be given.
    Bad,
    /// As many requests wait as may.
    TooMany,
    /// There is no message now, and the request does not wait.
    NoMessages,
    /// Its time is over.
    Timeout,
    /// It goes on waiting; the consumer lives.
    Heartbeat,
}

impl RequestStatus {
    /// Whether the request is over with it.
    #[must_use]
    pub fn is_end(self) -> bool {
        self != RequestStatus::Heartbeat
    }
}

/// The status line, without the `NATS/1.0` before it.
impl fmt::Display for RequestStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RequestStatus::Bad => "400 Bad Request",
            RequestStatus::TooMany => "409 Exceeded MaxWaiting",
            RequestStatus::NoMessages => "404 No Messages",
            RequestStatus::Timeout => "408 Request Timeout",
            RequestStatus::Heartbeat => "100 Idle Heartbeat",
        })
    }
}

/// A request and what is to be said to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestNotice {
    /// Where its answers go.
    pub reply: String,
    /// What is to be said.
    pub status: RequestStatus,
    /// Messages that it did not get.
    pub left: u64,
}

impl RequestNotice {
    /// The header block that says so, with how far the consumer is: `delivered` of its state.
    #[must_use]
    pub fn headers(&self, delivered: SequencePair) -> String {
        let (status, left) = (self.status, self.left);
        let SequencePair { consumer, stream } = delivered;
        format!(
            "NATS/1.0 {status}\r\nNats-Last-Consumer: {consumer}\r\nNats-Last-Stream: {stream}\r\n\
             Nats-Pending-Messages: {left}\r\nNats-Pending-Bytes: 0\r\n\r\n"
        )
    }
}

#[derive(Debug)]
struct Request {
    reply: String,
    /// Messages it is still to get.
    left: u64,
    /// Whether it ends where there is nothing.
    is_short: bool,
    expires_ns: Option<i64>,
    heartbeat_ns: Option<i64>,
    /// When something was said to it last.
    told_ns: i64,
}

/// Who waits for messages of a consumer, each in turn. A push consumer has one request that never ends.
///
/// No clock and no thread here either: times come in, and what is to be said is asked for.
///
/// ```
/// use jetsam::format::meta::ConsumerMeta;
/// use jetsam::store::consumers::{RequestStatus, Requests};
/// # const SECOND: i64 = 1_000_000_000;
/// let config = ConsumerMeta::explicit("C").expect("a configuration");
/// let mut requests = Requests::of(&config, 0);
/// requests.take("inbox.1", br#"{"batch":2,"expires":5000000000}"#, 0).expect("it waits");
/// assert_eq!(requests.next(), Some("inbox.1"));
/// requests.served(SECOND);
/// let told = requests.due(5 * SECOND, true, |_| true);
/// assert_eq!((told[0].status, told[0].left), (RequestStatus::Timeout, 1));
/// assert_eq!(requests.next(), None);
/// ```
#[derive(Debug)]
pub struct Requests {
    waiting: VecDeque<Request>,
    /// Where a push consumer delivers to; empty for a pull consumer.
    target: String,
    most: usize,
    heard_ns: i64,
    /// After how long without anybody who listens the consumer goes.
    inactive_ns: Option<i64>,
}

fn positive(wish: &Value, name: &str) -> Option<i64> {
    wish[name].as_i64().filter(|value| *value > 0)
}

impl Requests {
    /// Those of a consumer of this configuration: none, but for a push consumer's own.
    #[must_use]
    pub fn of(config: &ConsumerMeta, now_ns: i64) -> Self {
        let settings = Value::Object(config.settings().raw().clone());
        let default_ns = config.durable.is_empty().then_some(INACTIVE_DEFAULT_NS);
        let mut requests = Requests {
            waiting: VecDeque::new(),
            target: config.deliver_subject.clone(),
            most: settings["max_waiting"].as_u64().unwrap_or(0) as usize,
            heard_ns: now_ns,
            inactive_ns: positive(&settings, "inactive_threshold").or(default_ns),
        };
        if !requests.target.is_empty() {
            requests.waiting.push_back(Request {
                reply: config.deliver_subject.clone(),
                left: u64::MAX,
                is_short: false,
                expires_ns: None,
                heartbeat_ns: positive(&settings, "idle_heartbeat"),
                told_ns: now_ns,
            });
        }
        requests
    }

    /// Takes a request as clients write it: nothing for one message, a number of them, or JSON with `batch`, `expires`, `no_wait` and
    /// `idle_heartbeat`. A number of bytes (`max_bytes`) cannot be asked for.
    ///
    /// # Errors
    ///
    /// [`RequestStatus::Bad`], [`RequestStatus::TooMany`].
    pub fn take(&mut self, reply: &str, body: &[u8], now_ns: i64) -> Result<(), RequestStatus> {
        let wish: Value = match body {
            b"" => Value::from(1),
            body => serde_json::from_slice(body).map_err(|_| RequestStatus::Bad)?,
        };
        let batch = match &wish {
            Value::Object(fields) => fields.get("batch").map_or(Some(1), Value::as_u64),
            number => number.as_u64(),
        };
        let left = batch.filter(|batch| *batch > 0);
        let is_bad = !self.target.is_empty() || positive(&wish, "max_bytes").is_some();
        let left = left.filter(|_| !is_bad).ok_or(RequestStatus::Bad)?;
        if self.waiting.len() >= self.most {
            return Err(RequestStatus::TooMany);
        }
        let expires_ns = positive(&wish, "expires");
        self.waiting.push_back(Request {
            reply: reply.to_owned(),
            left,
            is_short: wish["no_wait"] == true && expires_ns.is_none(),
            expires_ns: expires_ns.map(|wait_ns| now_ns.saturating_add(wait_ns)),
            heartbeat_ns: positive(&wish, "idle_heartbeat"),
            told_ns: now_ns,
        });
        self.heard_ns = now_ns;
        Ok(())
    }

    /// Where the next message goes, if anybody waits for one.
    #[must_use]
    pub fn next(&self) -> Option<&str> {
        self.waiting.front().map(|request| &*request.reply)
    }

    /// The next one got a message; then the others have their turn.
    pub fn served(&mut self, now_ns: i64) {
        let Some(mut request) = self.waiting.pop_front() else {
            return;
        };
        (request.left, request.told_ns) = (request.left - 1, now_ns);
        if request.left > 0 {
            self.waiting.push_back(request);
        }
    }

    /// What is to be said at this time, to those for whom `hears` says that they listen; who does not is dropped. `is_idle` says that there
    /// is no message now.
    pub fn due(
        &mut self,
        now_ns: i64,
        is_idle: bool,
        hears: impl Fn(&str) -> bool,
    ) -> Vec<RequestNotice> {
        let (mut told, target) = (Vec::new(), &self.target);
        self.waiting.retain_mut(|request| {
            let is_heard = hears(&request.reply);
            if is_heard {
                self.heard_ns = now_ns;
            }
            let status = request.status(now_ns, is_idle).filter(|_| is_heard);
            if let Some(status) = status {
                request.told_ns = now_ns;
                told.push(RequestNotice {
                    reply: request.reply.clone(),
                    status,
                    left: request.left,
                });
            }
            let goes_on = is_heard && !status.is_some_and(RequestStatus::is_end);
            goes_on || request.reply == *target
        });
        told
    }

    /// How many wait.
    #[must_use]
    pub fn count(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody listened for so long, as far as [`take`](Self::take) and [`due`](Self::due) were told, that the consumer goes: after
    /// its `inactive_threshold`, or 5 seconds for one without a durable name.
    #[must_use]
    pub fn are_abandoned(&self, now_ns: i64) -> bool {
        let silent_ns = now_ns.saturating_sub(self.heard_ns);
        self.inactive_ns.is_some_and(|most_ns| silent_ns > most_ns)
    }
}

impl Request {
    fn status(&self, now_ns: i64, is_idle: bool) -> Option<RequestStatus> {
        let is_silent = |wait_ns: i64| now_ns.saturating_sub(self.told_ns) >= wait_ns;
        if self.expires_ns.is_some_and(|end_ns| now_ns >= end_ns) {
            Some(RequestStatus::Timeout)
        } else if self.is_short && is_idle {
            Some(RequestStatus::NoMessages)
        } else if self.heartbeat_ns.is_some_and(is_silent) {
            Some(RequestStatus::Heartbeat)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(more: &str) -> Requests {
        let config = format!(r#"{{"ack_policy":"explicit"{more}}}"#);
        Requests::of(&ConsumerMeta::parse(config.as_bytes()).unwrap(), 0)
    }

    fn due(requests: &mut Requests, now_ns: i64, is_idle: bool) -> Vec<(String, RequestStatus)> {
        let told = requests.due(now_ns, is_idle, |reply| reply != "nobody");
        let told = told.into_iter();
        told.map(|notice| (notice.reply, notice.status)).collect()
    }

    #[test]
    fn requests_are_taken_as_clients_write_them() {
        for (body, left) in [
            ("", Some(1)),
            ("7", Some(7)),
            ("{}", Some(1)),
            (r#"{"batch":3,"no_wait":true}"#, Some(3)),
            (r#"{"batch":3,"max_bytes":0}"#, Some(3)),
            ("0", None),
            ("-1", None),
            ("{", None),
            ("[]", None),
            ("nonsense", None),
            (r#"{"batch":-5}"#, None),
            (r#"{"batch":3,"max_bytes":9}"#, None),
        ] {
            let mut requests = requests("");
            let taken = requests.take("a", body.as_bytes(), 5);
            let expected = left.map_or(Err(RequestStatus::Bad), |_| Ok(()));
            assert_eq!(taken, expected, "{body}");
            let found = requests.waiting.front().map(|request| request.left);
            assert_eq!(found, left, "{body}");
        }
    }

    #[test]
    fn those_who_wait_have_their_turn_and_no_more_wait_than_may() {
        let mut requests = requests(r#","max_waiting":2"#);
        requests.take("a", b"2", 0).unwrap();
        requests.take("b", b"2", 0).unwrap();
        assert_eq!(requests.take("c", b"", 0), Err(RequestStatus::TooMany));
        let mut served = Vec::new();
        while let Some(reply) = requests.next() {
            served.push(reply.to_owned());
            requests.served(0);
        }
        assert_eq!(served, ["a", "b", "a", "b"]);
        assert_eq!(requests.count(), 0);
    }

    #[test]
    fn each_is_told_what_it_has_to_know() {
        let mut requests = requests("");
        let mut take = |reply: &str, body: &str| requests.take(reply, body.as_bytes(), 0).unwrap();
        take("short", r#"{"no_wait":true}"#);
        take("waits", r#"{"no_wait":true,"expires":30}"#);
        take("lives", r#"{"expires":30,"idle_heartbeat":10}"#);
        take("nobody", "1");
        take("always", "1");
        let told = |reply: &str, status| vec![(reply.to_owned(), status)];
        assert_eq!(due(&mut requests, 9, false), []);
        let short = told("short", RequestStatus::NoMessages);
        assert_eq!(due(&mut requests, 9, true), short);
        let lives = told("lives", RequestStatus::Heartbeat);
        assert_eq!(due(&mut requests, 10, true), lives);
        assert_eq!(due(&mut requests, 19, true), []);
        assert_eq!(requests.count(), 3);
        let ended = ["waits", "lives"].map(|reply| (reply.to_owned(), RequestStatus::Timeout));
        assert_eq!(due(&mut requests, 30, true), ended);
        assert_eq!(requests.next(), Some("always"));
    }

    #[test]
    fn a_push_consumer_has_one_request_that_never_ends() {
        let mut requests = requests(r#","deliver_subject":"there","idle_heartbeat":10"#);
        assert_eq!(requests.take("a", b"", 0), Err(RequestStatus::Bad));
        for _ in 0..3 {
            assert_eq!(requests.next(), Some("there"));
            requests.served(5);
        }
        assert_eq!(due(&mut requests, 14, true), []);
        let told = requests.due(15, true, |_| true);
        let delivered = SequencePair {
            consumer: 7,
            stream: 9,
        };
        let headers = told[0].headers(delivered);
        let status =
            "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 7\r\nNats-Last-Stream: 9\r\n";
        assert!(headers.starts_with(status) && headers.ends_with("\r\n\r\n"));
        // It waits for somebody to listen, and nobody is told anything.
        assert_eq!(requests.due(90, true, |_| false), []);
        assert_eq!(requests.next(), Some("there"));
    }

    #[test]
    fn a_consumer_to_which_nobody_listens_goes_unless_it_is_durable() {
        let second = 1_000_000_000;
        for (more, most_s) in [
            ("", Some(5)),
            (r#","durable_name":"C""#, None),
            (
                r#","durable_name":"C","inactive_threshold":9000000000"#,
                Some(9),
            ),
        ] {
            let mut requests = requests(more);
            requests.take("a", b"", second).unwrap();
            requests.due(2 * second, true, |_| true);
            requests.due(3 * second, true, |_| false);
            let most_ns = most_s.map_or(i64::MAX - 1, |most_s: i64| (2 + most_s) * second);
            assert!(!requests.are_abandoned(most_ns), "{more}");
            assert_eq!(
                requests.are_abandoned(most_ns + 1),
                most_s.is_some(),
                "{more}"
            );
        }
    }
}
