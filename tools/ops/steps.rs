//! One step of a part, drawn by weight.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::make::{Maker, Mode, SECOND_NS};

/// Filters for reading and purging; all but the last few match something now and then.
const FILTERS: &[&str] = &[
    ">", "k.>", "k.*", "k.*.x", "k.1.>", "k.1.*", "m.>", "m.*.a", "m.2.*", "*.1", "*.*.x", "*.>",
    "k.3", "k.0", "k.0.x", "m.1.a", "t.1", "none.>", "k.9", "k",
];

/// Sets of filters no two of which match the same subject: overlapping ones are left open.
const SETS: &[&[&str]] = &[
    &["k.0", "k.1"],
    &["k.*", "m.>"],
    &["k.*.x", "k.*.y"],
    &["m.1.>", "k.2", "t.*"],
    &["k.>", "m.*.b", "none.x"],
    &[">"],
    &["*.1", "*.2"],
];

fn encoded(text: &str) -> Value {
    json!(STANDARD.encode(text))
}

fn decoded(value: &Value) -> String {
    value
        .as_str()
        .and_then(|text| STANDARD.decode(text).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_default()
}

impl Maker {
    /// Puts the next step of a part into the queue.
    pub fn draw(&mut self) {
        let timed = !matches!(self.mode, Mode::Plain | Mode::Truncate);
        let removes = self.mode != Mode::Truncate;
        let only = |yes: bool, weight: u64| if yes { weight } else { 0 };
        let weights = [
            380,                                           // append
            only(removes && self.has("remove"), 70),       // remove
            only(removes && self.has("erase"), 30),        // erase
            only(self.has("skip"), 15),                    // skip
            only(self.has("skip_many"), 8),                // skip_many
            only(removes && self.has("purge"), 4),         // purge
            only(removes && self.has("purge_ex"), 30),     // purge_ex
            only(removes && self.has("compact"), 14),      // compact
            12,                                            // sync, flush
            only(removes && self.has("update_config"), 8), // update_config
            only(!removes && self.has("truncate"), 25),    // truncate
            only(timed, 40),                               // maintain
            260,                                           // a read
            only(!self.consumers.is_empty(), 110),         // a consumer
            30,                                            // state
            20,                                            // something refused
        ];
        let step = match self.random.weighted(&weights) {
            0 => self.append(),
            1 => self.aim("remove"),
            2 => self.aim("erase"),
            3 => self.skip(),
            4 => {
                json!({"op": "skip_many", "seq": self.view.last + 1, "n": self.random.between(1, 12)})
            }
            5 => json!({"op": "purge"}),
            6 => self.purge_ex(),
            7 => return self.compact(),
            8 => json!({"op": self.random.pick(&["sync", "sync", "flush"])}),
            9 => self.update_config(),
            10 => return self.truncate(),
            11 => json!({"op": "maintain"}),
            12 => self.read(),
            13 => return self.consume(),
            14 => json!({"op": "state"}),
            _ => self.refused(),
        };
        self.queue.push_back(step);
    }

    fn subject(&mut self) -> String {
        let r = &mut self.random;
        match r.below(4) {
            0 | 1 => format!("k.{}", r.below(5)),
            2 => format!("k.{}.{}", r.below(3), r.pick(&["x", "y"])),
            _ => format!("m.{}.{}", r.below(4), r.pick(&["a", "b", "c"])),
        }
    }

    /// A body; most carry a mark that no other has.
    fn body(&mut self) -> String {
        let r = &mut self.random;
        if r.chance(10) {
            return String::new();
        }
        self.marks += 1;
        let mark = format!("<{:08x}.{:05}>", r.next() & 0xffff_ffff, self.marks);
        let filler = match r.below(12) {
            0 => r.between(200, 1500),
            1..=3 => r.between(30, 120),
            _ => r.below(25),
        };
        let word = *r.pick(&["tide ", "hull ", "x", "reef and sail "]);
        let filler = usize::try_from(filler).unwrap_or(0);
        mark + &word.repeat(filler / word.len() + 1)[..filler]
    }

    /// The mark in the body of an append. Not where schedules copy bodies: those copies are not erased with it.
    pub fn pending_mark(&self, step: &Value) -> Option<String> {
        if self.mode == Mode::Schedules {
            return None;
        }
        let body = decoded(&step["msg"]);
        body.split_inclusive('>')
            .next()
            .filter(|mark| mark.starts_with('<') && mark.len() > 14)
            .map(str::to_owned)
    }

    fn append(&mut self) -> Value {
        let mut subject = self.subject();
        let mut headers: Vec<String> = Vec::new();
        let mut ttl = 0;
        match self.mode {
            Mode::Ttl { .. } | Mode::Markers if self.random.chance(50) => {
                ttl = self.ttl(&mut headers);
            }
            Mode::Schedules if self.random.chance(45) => {
                subject = format!("k.{}", self.random.below(4));
                self.schedule(&mut headers);
            }
            Mode::Schedules if self.stream["allow_msg_ttl"] == true && self.random.chance(20) => {
                ttl = self.ttl(&mut headers);
            }
            _ => {}
        }
        let r = &mut self.random;
        if r.chance(15) {
            headers.push(format!("Nats-Msg-Id: id-{}", r.below(1000)));
        }
        if self.stream["max_msgs_per_subject"].is_u64() && r.chance(8) {
            headers.push("Nats-Rollup: sub".to_owned());
        }
        if self.mode == Mode::Markers && r.chance(6) {
            headers.push("KV-Operation: PURGE".to_owned());
        }
        let mut step = json!({"op": "append", "subject": subject, "msg": encoded(&self.body())});
        if self.random.chance(10) {
            step["op"] = json!("append_at");
            step["seq"] = json!(if self.random.chance(70) {
                self.view.last + 1
            } else {
                0
            });
        }
        if !headers.is_empty() {
            step["hdr"] = encoded(&format!("NATS/1.0\r\n{}\r\n\r\n", headers.join("\r\n")));
        }
        if ttl != 0 {
            step["ttl"] = json!(ttl);
        }
        step
    }

    /// A time to live, in the header and in seconds.
    fn ttl(&mut self, headers: &mut Vec<String>) -> i64 {
        let forms = [
            ("1", 1),
            ("2s", 2),
            ("5", 5),
            ("10s", 10),
            ("1m", 60),
            ("1h", 3600),
            ("never", -1),
        ];
        // With an age limit and without markers, an open ignores that a message never expires.
        let (text, seconds) = *self.random.pick(&forms);
        headers.push(format!("Nats-TTL: {text}"));
        seconds
    }

    fn schedule(&mut self, headers: &mut Vec<String>) {
        let r = &mut self.random;
        let pattern = if r.chance(50) {
            format!("@every {}s", r.between(1, 20))
        } else {
            let at = (self.now_ns + r.between(1, 30) * SECOND_NS) / SECOND_NS;
            let text = jiff::Timestamp::from_second(i64::try_from(at).unwrap_or(0))
                .map(|time| time.to_string())
                .unwrap_or_default();
            format!("@at {text}")
        };
        headers.push(format!("Nats-Schedule: {pattern}"));
        headers.push(format!("Nats-Schedule-Target: t.{}", r.below(3)));
        if self.stream["allow_msg_ttl"] == true && r.chance(40) {
            headers.push(format!("Nats-Schedule-TTL: {}s", r.between(1, 30)));
        }
        if r.chance(30) {
            headers.push("Nats-Schedule-Rollup: sub".to_owned());
        }
        if r.chance(30) {
            headers.push("Nats-Rollup: sub".to_owned());
        }
        if r.chance(30) {
            headers.push("Nats-Expected-Last-Sequence: 7".to_owned());
        }
        if r.chance(30) {
            headers.push("X-Kept: yes".to_owned());
        }
    }

    /// A sequence: mostly of a message, now and then outside of everything.
    fn seq(&mut self) -> u64 {
        let view = &self.view;
        let r = &mut self.random;
        match r.below(12) {
            0 => view.last + r.below(3),
            1 => view.first.saturating_sub(r.below(3)),
            2 | 3 => r.between(view.first.min(view.last), view.last),
            _ if view.live.is_empty() => view.last,
            4 => view.last_live(),
            5 => view.live.first().copied().unwrap_or(0),
            _ => {
                let skip = r.below(view.live.len() as u64);
                let skip = usize::try_from(skip).unwrap_or(0);
                view.live.iter().nth(skip).copied().unwrap_or(0)
            }
        }
    }

    fn aim(&mut self, op: &str) -> Value {
        json!({"op": op, "seq": self.seq()})
    }

    fn skip(&mut self) -> Value {
        let seq = if self.random.chance(50) {
            0
        } else {
            self.view.last + 1
        };
        json!({"op": "skip", "seq": seq})
    }

    fn filter(&mut self) -> &'static str {
        self.random.pick::<&str>(FILTERS)
    }

    fn purge_ex(&mut self) -> Value {
        let filter = self.filter();
        let mut step = json!({"op": "purge_ex", "filter": filter});
        match self.random.below(5) {
            0 | 1 => {}
            2 | 3 => step["keep"] = json!(self.random.between(1, 4)),
            // All below a sequence is a compaction, which has rules of its own.
            _ if filter == ">" => step["keep"] = json!(2),
            _ => {
                step["seq"] = json!(self.seq());
                if self.random.chance(40) {
                    step["keep"] = json!(self.random.between(1, 3));
                }
            }
        }
        step
    }

    /// L30, L31, G7: a compaction to a sequence behind the last message, or to one that a skip used up, leaves Go's store with a wrong
    /// first sequence and lets deleted messages return. So the target is a message, or lies outside.
    fn compact(&mut self) {
        if self.view.stale {
            self.queue.push_back(json!({"op": "state"}));
            self.left_to_draw();
            return;
        }
        let view = &self.view;
        let r = &mut self.random;
        let seq = match r.below(12) {
            0 => view.last + r.between(1, 9),
            1 => 0,
            2 => view.first.saturating_sub(1),
            _ if view.live.is_empty() => view.last + 1,
            _ => {
                // Rather from the front, so that something is left to work with.
                let among = (view.live.len() as u64).div_ceil(2);
                let skip = usize::try_from(r.below(among)).unwrap_or(0);
                view.live.iter().nth(skip).copied().unwrap_or(0)
            }
        };
        let step = if seq > 1 && r.chance(25) {
            json!({"op": "purge_ex", "filter": ">", "seq": seq, "keep": r.below(2)})
        } else {
            json!({"op": "compact", "seq": seq})
        };
        self.queue.push_back(step);
    }

    fn truncate(&mut self) {
        if self.view.stale {
            self.queue.push_back(json!({"op": "state"}));
            self.left_to_draw();
            return;
        }
        let view = &self.view;
        let r = &mut self.random;
        let seq = match r.below(8) {
            0 => view.last + 1 + r.below(2),
            1 => view.first.saturating_sub(1),
            _ => {
                let back = usize::try_from(r.below(8)).unwrap_or(0);
                view.live.iter().rev().nth(back).copied().unwrap_or(0)
            }
        };
        self.queue.push_back(json!({"op": "truncate", "seq": seq}));
    }

    /// The drawing was for looking first; it does not count.
    fn left_to_draw(&mut self) {
        self.view.stale = false;
        if self.mode == Mode::Truncate {
            return;
        }
        self.view.stale = true;
    }

    fn update_config(&mut self) -> Value {
        let r = &mut self.random;
        let stream = &mut self.stream;
        match r.below(5) {
            0 => stream["max_msgs"] = json!(r.between(1, 30)),
            1 => stream["max_bytes"] = json!(r.between(100, 3000)),
            2 => stream["max_msgs_per_subject"] = json!(r.between(1, 6)),
            3 if self.mode == (Mode::Ttl { late: true }) => stream["allow_msg_ttl"] = json!(true),
            // Lengthening it is left open.
            3 if self.mode == Mode::Age => {
                let age = stream["max_age"].as_u64().unwrap_or(SECOND_NS);
                stream["max_age"] = json!((age / 2).max(SECOND_NS / 2));
            }
            _ => {
                let limit = *r.pick(&["max_msgs", "max_bytes", "max_msgs_per_subject"]);
                if stream["discard_new_per_subject"].is_null() {
                    stream[limit] = json!(-1);
                }
            }
        }
        json!({"op": "update_config", "stream": stream})
    }

    fn read(&mut self) -> Value {
        let filter = self.filter();
        let seq = self.seq();
        let set = *self.random.pick(SETS);
        let filters = match self.random.below(4) {
            0 => json!([]),
            1 => json!(set),
            _ => json!([filter]),
        };
        match self.random.below(16) {
            0 | 1 => json!({"op": "load", "seq": seq}),
            2 | 3 => json!({"op": "load_next", "filters": filters, "seq": seq}),
            4 | 5 => json!({"op": "load_prev", "filters": filters, "seq": seq}),
            6 => json!({"op": "load_last", "filter": filter}),
            7 => json!({"op": "subject_of", "seq": seq}),
            8 => {
                let back = self.random.below(20 * SECOND_NS);
                json!({"op": "seq_from_time", "ts": self.now_ns - back})
            }
            9 => json!({"op": "filtered_state", "filter": filter, "seq": seq}),
            10 => json!({"op": "subjects_state", "filter": filter}),
            11 => json!({"op": "subjects_totals", "filter": filter}),
            12 => {
                let last = self.random.chance(50);
                json!({"op": "num_pending", "filters": filters, "seq": seq, "last_per_subject": last})
            }
            13 => json!({"op": "all_last"}),
            14 => {
                // A largest sequence above the last is left open.
                let max_seq = if self.random.chance(50) {
                    0
                } else {
                    seq.min(self.view.last)
                };
                let allowed = *self.random.pick(&[0, 0, 1, 4, 100]);
                json!({"op": "multi_last", "filters": filters, "max_seq": max_seq, "max_allowed": allowed})
            }
            _ if !self.has("encoded_state") => json!({"op": "state"}),
            _ => json!({"op": "encoded_state", "failed": self.random.below(3)}),
        }
    }

    /// What a store refuses.
    fn refused(&mut self) -> Value {
        let last = self.view.last;
        match self.random.below(10) {
            0 => {
                json!({"op": "append", "subject": self.random.pick(&["", "k..a", "k.*", ">", "a b", "k.", ".k", "a\tb"])})
            }
            1 => json!({"op": "append_at", "subject": "k.1", "seq": last + 2}),
            2 => json!({"op": "append_at", "subject": "k.1", "seq": last.max(1)}),
            3 => json!({"op": "skip", "seq": last + 3}),
            4 => json!({"op": "load", "seq": 0}),
            5 => json!({"op": "remove", "seq": last + 1}),
            6 => json!({"op": "remove", "seq": 0}),
            7 => json!({"op": "nonsense"}),
            8 => json!({"op": "load", "seq": last + 5}),
            _ => json!({"op": "purge_ex", "filter": "k.1", "seq": 1}),
        }
    }
}
