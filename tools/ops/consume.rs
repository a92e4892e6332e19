//! Steps of consumers.

use serde_json::{Value, json};

use crate::make::{Maker, SECOND_NS};

impl Maker {
    /// Puts a step of a consumer into the queue, often followed by a look at its state.
    pub fn consume(&mut self) {
        let at = usize::try_from(self.random.below(self.consumers.len() as u64)).unwrap_or(0);
        if !self.consumers[at].open {
            self.open_consumer(at);
            return;
        }
        let name = self.consumers[at].name;
        let step = self.consumer_step(at, name);
        let gone = step["op"] == "consumer_close" || step["op"] == "consumer_delete";
        self.queue.push_back(step);
        if gone {
            self.consumers[at].open = false;
            if self.random.chance(50) {
                self.open_consumer(at);
            }
        } else if self.random.chance(40) {
            self.queue
                .push_back(json!({"op": "consumer_state", "name": name}));
        }
    }

    fn consumer_step(&mut self, at: usize, name: &str) -> Value {
        let delivered = self.consumers[at].delivered;
        let last = self.view.last;
        let r = &mut self.random;
        let near = |r: &mut crate::random::Random| r.between(last.saturating_sub(12), last + 1);
        match r.weighted(&[50, 40, 6, 3, 4, 2, 4, 15, 5, 2]) {
            0 => {
                let again = r.chance(25);
                let dc = if again { r.between(1, 4) } else { 1 };
                json!({"op": "consumer_delivered", "name": name, "dseq": delivered + 1, "sseq": near(r), "dc": dc})
            }
            1 => {
                let dseq = r.between(delivered.saturating_sub(4), delivered + 1);
                json!({"op": "consumer_ack", "name": name, "dseq": dseq, "sseq": near(r)})
            }
            2 => self.consumer_update(name, delivered),
            3 => json!({"op": "consumer_set_starting", "name": name, "sseq": near(r)}),
            4 => json!({"op": "consumer_update_starting", "name": name, "sseq": near(r)}),
            5 => json!({"op": "consumer_reset", "name": name, "sseq": near(r)}),
            6 => json!({"op": "consumer_trim", "name": name, "sseq": near(r)}),
            7 => json!({"op": "consumer_state", "name": name}),
            8 => json!({"op": "consumer_close", "name": name}),
            _ => json!({"op": "consumer_delete", "name": name}),
        }
    }

    /// A whole state, mostly one that holds together.
    fn consumer_update(&mut self, name: &str, delivered: u64) -> Value {
        let last = self.view.last;
        let seconds = self.now_ns / SECOND_NS;
        let r = &mut self.random;
        let floor = r.below(last + 1);
        let to = r.between(floor, last + 2);
        let floor_consumer = r.below(delivered + 2);
        let to_consumer = floor_consumer + (to - floor);
        let mut pending: Vec<[u64; 3]> = Vec::new();
        let mut redelivered: Vec<[u64; 2]> = Vec::new();
        for seq in floor + 1..=to.min(floor + 6) {
            if r.chance(60) {
                pending.push([
                    seq,
                    floor_consumer + (seq - floor),
                    seconds.saturating_sub(r.below(30)),
                ]);
            }
            if r.chance(20) {
                redelivered.push([seq, r.between(1, 3)]);
            }
        }
        if r.chance(10) {
            pending.push([to + 9, 1, seconds]);
        }
        let floor = if r.chance(8) { to + 1 } else { floor };
        json!({"op": "consumer_update", "name": name, "state": {
            "delivered": {"consumer_seq": to_consumer, "stream_seq": to},
            "ack_floor": {"consumer_seq": floor_consumer, "stream_seq": floor},
            "pending": pending, "redelivered": redelivered,
        }})
    }
}
