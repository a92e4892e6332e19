//! Consumers: what comes next to whom, and what becomes of it.

use jetsam::format::meta::ConsumerMeta;
use jetsam::store::consumers::{self, ConsumerError, Delivery, Dispatcher, Requests};
use jetsam::store::{Level, Store};
use serde_json::json;

use crate::api::{Answer, refuse};
use crate::clients::{CONGESTED_BYTES, Message, Router};

/// Messages a consumer delivers before the others have their turn.
const TURN: usize = 256;

/// Whether this broker does all that a configuration asks for.
pub fn check(config: &ConsumerMeta) -> Answer<()> {
    let strange = "deliver_group rate_limit_bps priority_groups direct";
    refuse(&config.encode(), 10012, strange)
}

pub struct Consumer {
    stream: String,
    dispatcher: Dispatcher,
    requests: Requests,
    /// Whether somebody wants to know that an acknowledgement is safe.
    is_asked: bool,
}

impl Consumer {
    /// Opens one that is there, or makes it by `new`.
    pub fn open(store: &Store, name: &str, new: Option<ConsumerMeta>, now_ns: i64) -> Answer<Self> {
        let file = consumers::Consumer::open(&store.consumer_place(), name, new.as_ref(), now_ns)?;
        check(file.config())?;
        Ok(Consumer {
            stream: store.config().name,
            requests: Requests::of(file.config(), now_ns),
            dispatcher: Dispatcher::new(file, store.reader(), now_ns)?,
            is_asked: false,
        })
    }

    pub fn config(&self) -> &ConsumerMeta {
        self.dispatcher.consumer().config()
    }

    /// Takes a request for messages.
    pub fn pull(&mut self, message: &Message, router: &mut Router) {
        let now_ns = router.now_ns;
        if let Err(status) = self.requests.take(message.reply, message.body, now_ns) {
            router.send(message.reply, &format!("NATS/1.0 {status}\r\n\r\n"), "");
        }
    }

    /// Takes an acknowledgement.
    pub fn acknowledge(&mut self, message: &Message, router: &mut Router) {
        let (subject, now_ns) = (message.subject, router.now_ns);
        // What waits no longer is acknowledged already.
        let _ = self.dispatcher.take_answer(subject, message.body, now_ns);
        // Who asks for an answer wants to know that it is safe: written by the next commit.
        if !message.reply.is_empty() {
            self.is_asked = true;
            router.send(message.reply, "", "");
        }
    }

    /// Delivers what there is to those who want it; whether there may be more.
    pub fn serve(&mut self, router: &mut Router) -> bool {
        self.tell(router, false);
        for _ in 0..TURN {
            let target = self.requests.next();
            let waiting = target.and_then(|target| router.waiting(target));
            if waiting.is_none_or(|bytes| bytes > CONGESTED_BYTES) {
                return false;
            }
            let next = self.dispatcher.next(router.now_ns);
            let next = next.inspect_err(|error| eprintln!("{}: {error}", self.stream));
            let Ok(Some(delivery)) = next else {
                self.tell(router, true);
                return false;
            };
            self.deliver(&delivery, router);
        }
        true
    }

    fn deliver(&mut self, delivery: &Delivery, router: &mut Router) {
        let (found, left) = (&delivery.message, self.dispatcher.pending_count());
        let name = self.dispatcher.consumer().name();
        let reply = delivery.ack_subject(&self.stream, name, left.unwrap_or(0));
        let subject = String::from_utf8_lossy(found.subject());
        let message = Message::new(&subject, &reply, found.headers(), found.body());
        router.deliver(self.requests.next().unwrap_or_default(), &message);
        self.requests.served(router.now_ns);
    }

    /// Ends requests that are over, and lets all others know that the consumer lives; `is_idle`
    /// where there is nothing to deliver.
    fn tell(&mut self, router: &mut Router, is_idle: bool) {
        let hears = |target: &str| router.waiting(target).is_some();
        let delivered = self.dispatcher.consumer().state().delivered;
        for notice in self.requests.due(router.now_ns, is_idle, hears) {
            router.send(&notice.reply, &notice.headers(delivered), "");
        }
    }

    /// Whether it is gone, since nobody listens any more.
    pub fn is_over(&mut self, now_ns: i64) -> bool {
        self.requests.are_abandoned(now_ns) && self.dispatcher.delete().is_ok()
    }

    /// Makes the state safe, from time to time or where somebody asks.
    pub fn commit(&mut self, is_due: bool, now_ns: i64) -> Result<(), ConsumerError> {
        match std::mem::take(&mut self.is_asked) || is_due {
            true => self.dispatcher.flush(Level::Synced, now_ns),
            false => Ok(()),
        }
    }

    pub fn info(&mut self) -> Answer {
        let mut info = self.dispatcher.info(&self.stream)?;
        info["num_waiting"] = json!(self.requests.count());
        Ok(info)
    }
}
