//! A script from a seed: parts, each of which opens a store, works on it and closes it. After a part the sides change directories.
//!
//! The next step is drawn when the last is answered, so that sequences can be aimed at. What Go's store gets wrong by itself is kept
//! out here, each time with the reason beside it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};

use crate::options::Options;
use crate::random::Random;

pub const SECOND_NS: u64 = 1_000_000_000;

/// What a stream's messages are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Plain,
    /// Messages with a time to live; `late`: the stream learns of them by an update.
    Ttl {
        late: bool,
    },
    Markers,
    Schedules,
    Age,
    /// Nothing is ever removed but by truncating.
    Truncate,
}

/// What is known of the store that both sides agree on.
#[derive(Debug, Default)]
pub struct View {
    pub first: u64,
    pub last: u64,
    pub live: BTreeSet<u64>,
    /// Something may have been removed since `live` was true.
    pub stale: bool,
    /// The mark in the body of each message that has one.
    pub marks: BTreeMap<u64, String>,
    pub erased: Vec<String>,
    pub snapshots: u64,
    /// What the messages came to when the part ended.
    digest: Option<Value>,
}

impl View {
    /// The last message that is there.
    pub fn last_live(&self) -> u64 {
        self.live.last().copied().unwrap_or(0)
    }
}

pub struct Maker {
    pub random: Random,
    pub mode: Mode,
    pub stream: Value,
    pub view: View,
    pub queue: VecDeque<Value>,
    pub now_ns: u64,
    created_ns: u64,
    /// No time passes: what is due at an open is left open.
    held: bool,
    settings: Value,
    part: u64,
    parts: u64,
    left_in_part: u64,
    pub consumers: Vec<Consumer>,
    pub marks: u64,
    snapshot: Option<String>,
    restore_all: bool,
    /// Operations that are left out.
    without: Vec<String>,
    rekeys: bool,
}

/// A consumer that scripts work with.
#[derive(Debug, Clone)]
pub struct Consumer {
    pub name: &'static str,
    pub config: Value,
    pub open: bool,
    pub delivered: u64,
}

fn consumers() -> Vec<Consumer> {
    [
        ("CE", json!({"ack_policy": "explicit", "max_deliver": 3})),
        ("CA", json!({"ack_policy": "all"})),
        ("CN", json!({"ack_policy": "none"})),
    ]
    .into_iter()
    .map(|(name, mut config)| {
        config["name"] = json!(name);
        config["durable_name"] = json!(name);
        Consumer {
            name,
            config,
            open: false,
            delivered: 0,
        }
    })
    .collect()
}

impl Maker {
    pub fn new(seed: u64, options: &Options) -> Self {
        let without = &options.without;
        let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9).wrapping_add(77));
        let cipher = ["none", "chacha", "aes"][usize::try_from(seed % 3).unwrap_or(0)];
        let compression = ["none", "s2"][usize::try_from(seed / 3 % 2).unwrap_or(0)];
        let mode = match random.weighted(&[40, 10, 5, 10, 10, 12, 13]) {
            1 => Mode::Ttl { late: false },
            2 => Mode::Ttl { late: true },
            3 => Mode::Markers,
            4 => Mode::Schedules,
            5 => Mode::Age,
            // Truncating together with compression is left open.
            6 if compression == "none" => Mode::Truncate,
            _ => Mode::Plain,
        };
        let now_ns = options.begins_ns() + random.below(1_000_000_000_000);
        let stream = stream(&mut random, mode, compression);
        let block_sizes = [150, 200, 300, 500, 1000, 4000, 0];
        let mut settings = json!({
            "block_size": random.pick(&block_sizes),
            "sync": if random.chance(15) { "always" } else { "none" },
            "cipher": cipher,
            "account": if random.chance(70) { "ACC" } else { "$G" },
            "flush": if random.chance(80) { "each" } else { "batch" },
        });
        if cipher != "none" {
            settings["key"] = json!(format!("key {seed}"));
        }
        let mut maker = Self {
            mode,
            stream,
            view: View::default(),
            queue: VecDeque::new(),
            now_ns,
            created_ns: 0,
            held: false,
            settings,
            part: 0,
            parts: random.between(1, 4),
            left_in_part: random.between(5, 90),
            consumers: if random.chance(35) && !without.iter().any(|op| op == "consumers") {
                consumers()
            } else {
                Vec::new()
            },
            marks: 0,
            snapshot: None,
            restore_all: random.chance(50),
            without: without.clone(),
            rekeys: options.rekeys,
            random,
        };
        let open = maker.opening("open", maker.dir());
        maker.queue.push_back(open);
        maker
    }

    /// Whether an operation may be drawn.
    pub fn has(&self, op: &str) -> bool {
        !self.without.iter().any(|left_out| left_out == op)
    }

    fn dir(&self) -> String {
        format!("@{}/s", self.part % 2)
    }

    pub fn compressed(&self) -> bool {
        self.stream["compression"] == "s2"
    }

    fn opening(&self, op: &str, dir: String) -> Value {
        let mut request = self.settings.clone();
        request["op"] = json!(op);
        request["dir"] = json!(dir);
        request["stream"] = self.stream.clone();
        request
    }

    /// The next step, or none at the end.
    pub fn next(&mut self) -> Option<Value> {
        if self.queue.is_empty() {
            if self.part > self.parts {
                return None;
            }
            if self.left_in_part == 0 {
                self.end_part();
            } else {
                self.left_in_part -= 1;
                self.held = false;
                self.view.digest = None;
                self.draw();
            }
        }
        let mut step = self.queue.pop_front()?;
        if step.get("op").is_some() {
            self.pass_time();
            step["now"] = json!(self.now_ns);
            if self.created_ns == 0 {
                // The first request of all creates the store.
                self.created_ns = self.now_ns;
            }
            for (field, wanted) in [("append_at", "ts"), ("consumer_delivered", "ts")] {
                if step["op"] == field {
                    step[wanted] = json!(self.now_ns);
                }
            }
        }
        Some(step)
    }

    fn pass_time(&mut self) {
        if self.held {
            return;
        }
        self.now_ns += match self.random.below(20) {
            0..=8 => 0,
            9..=13 => self.random.between(1, 50_000_000),
            14..=18 => self.random.between(1, 2 * SECOND_NS),
            _ => self.random.between(SECOND_NS, 40 * SECOND_NS),
        };
    }

    fn end_part(&mut self) {
        // Messages that become due at the open are left open: what is due goes now, and no time passes until the store is open again.
        self.held = true;
        self.ask("maintain");
        self.look();
        let here = self.dir();
        let there = format!("@{}", (self.part + 1) % 2);
        if self.part < self.parts && self.random.chance(25) && self.has("snapshot") {
            self.view.snapshots += 1;
            let name = format!("snapshot-{}", self.view.snapshots);
            let consumers = self.random.chance(50);
            self.queue.push_back(json!({
                "op": "snapshot", "file": format!("@{}/{name}", self.part % 2), "consumers": consumers,
            }));
            self.snapshot = Some(name);
        }
        self.ask("close");
        for consumer in &mut self.consumers {
            consumer.open = false;
        }
        let mut meta = self.opening("", here.clone());
        meta["check"] = json!("meta");
        meta["created"] = json!(self.created_ns);
        if let Some(fields) = meta.as_object_mut() {
            fields.remove("op");
        }
        self.queue.push_back(meta);
        if self.settings["cipher"] == "none" && !self.compressed() && !self.view.erased.is_empty() {
            self.queue
                .push_back(json!({"check": "erased", "dir": here, "needles": self.view.erased}));
        }
        if let Some(name) = self.snapshot.take() {
            let mut restore = self.opening("restore", format!("{there}/restored-{name}"));
            restore["file"] = json!(format!("{there}/{name}"));
            self.queue.push_back(restore);
            self.look();
            self.ask("close");
        }
        if self.random.chance(10) {
            let closed = *self.random.pick(&["state", "append", "flush", "close"]);
            self.queue
                .push_back(json!({"op": closed, "subject": "k.1"}));
        }
        self.part += 1;
        self.left_in_part = if self.part == self.parts {
            0
        } else {
            self.random.between(5, 90)
        };
        if self.part <= self.parts {
            self.change_keys();
            let open = self.opening("open", self.dir());
            self.queue.push_back(open);
            self.look();
            self.queue.push_back(json!({"op": "state"}));
            let all = self.restore_all;
            for at in 0..self.consumers.len() {
                if all || self.random.chance(60) {
                    self.open_consumer(at);
                }
            }
        }
    }

    /// Where asked for, the next open comes with another key, another cipher, or the first key of all now and then. Not by default: the
    /// reference then often puts its index aside, and what only a limit removed is back.
    fn change_keys(&mut self) {
        let settings = &mut self.settings;
        if let Some(fields) = settings.as_object_mut() {
            fields.remove("old_key");
        }
        let change = self.random.below(100);
        if !self.rekeys {
            return;
        }
        let key = format!("another key {change}");
        match (settings["cipher"] == "none", change) {
            (true, 0..=4) => {
                settings["cipher"] = json!(if change < 3 { "chacha" } else { "aes" });
                settings["key"] = json!(key);
            }
            (false, 0..=7) => {
                settings["old_key"] = settings["key"].clone();
                settings["key"] = json!(key);
            }
            (false, 8..=12) => {
                let other = if settings["cipher"] == "aes" {
                    "chacha"
                } else {
                    "aes"
                };
                settings["cipher"] = json!(other);
            }
            _ => {}
        }
    }

    pub fn open_consumer(&mut self, at: usize) {
        let consumer = &mut self.consumers[at];
        consumer.open = true;
        self.queue.push_back(
            json!({"op": "consumer_open", "name": consumer.name, "config": consumer.config}),
        );
    }

    /// Everything that must be the same on both sides and after a change of directories.
    fn look(&mut self) {
        self.ask("state");
        self.queue
            .push_back(json!({"op": "dump", "seq": 0, "n": 1_000_000}));
        self.ask("digest");
        self.ask("subjects_totals");
        for at in 0..self.consumers.len() {
            if self.consumers[at].open {
                let name = self.consumers[at].name;
                self.queue
                    .push_back(json!({"op": "consumer_state", "name": name}));
            }
        }
    }

    fn ask(&mut self, op: &str) {
        self.queue.push_back(json!({ "op": op }));
    }

    /// Between parts nothing may change: neither by closing and opening, nor by the other side's doing so, nor in a restored snapshot.
    /// What it was before, where it did.
    pub fn changed(&mut self, step: &Value, answer: &Value) -> Option<Value> {
        if step["op"] != "digest" || !self.held {
            return None;
        }
        let now = answer["ok"]["digest"].clone();
        let before = self.view.digest.get_or_insert_with(|| now.clone());
        (*before != now).then(|| json!({ "ok": { "digest": before.clone() } }))
    }

    /// Takes in what both sides answered.
    pub fn observe(&mut self, step: &Value, answer: &Value) {
        let ok = &answer["ok"];
        let op = step["op"].as_str().unwrap_or_default();
        match op {
            "append" | "append_at" => {
                if let Some(seq) = ok["seq"].as_u64() {
                    self.view.last = seq;
                    self.view.live.insert(seq);
                    if let Some(mark) = self.pending_mark(step) {
                        self.view.marks.insert(seq, mark);
                    }
                    self.view.stale |= self.limited();
                }
            }
            "skip" | "skip_many" if ok.is_object() => self.view.stale = true,
            "remove" | "erase" if ok["removed"] == true => {
                if let Some(seq) = step["seq"].as_u64() {
                    self.view.live.remove(&seq);
                    if let (Some(mark), "erase") = (self.view.marks.remove(&seq), op) {
                        self.view.erased.push(mark);
                    }
                }
            }
            "state" | "open" | "restore" if ok.is_object() => self.see(ok),
            "truncate" if ok.is_object() => {
                self.view.last = step["seq"].as_u64().unwrap_or(0);
                self.view.stale = true;
            }
            "purge" | "purge_ex" | "compact" | "maintain" | "update_config" => {
                self.view.stale = true;
            }
            "consumer_delivered" if ok.is_object() => {
                for consumer in &mut self.consumers {
                    if step["name"] == consumer.name {
                        consumer.delivered =
                            consumer.delivered.max(step["dseq"].as_u64().unwrap_or(0));
                    }
                }
            }
            _ => {}
        }
    }

    fn limited(&self) -> bool {
        ["max_msgs", "max_bytes", "max_msgs_per_subject"]
            .iter()
            .any(|limit| self.stream[*limit].as_i64().is_some_and(|n| n > 0))
    }

    fn see(&mut self, state: &Value) {
        let number = |field: &str| state[field].as_u64().unwrap_or(0);
        let (first, last) = (number("first_seq"), number("last_seq"));
        self.view.first = first;
        self.view.last = last;
        self.view.live.clear();
        self.view.stale = false;
        if number("messages") == 0 {
            return;
        }
        let mut from = first;
        for run in state["deleted"].as_array().into_iter().flatten() {
            let (low, high) = (
                run[0].as_u64().unwrap_or(from),
                run[1].as_u64().unwrap_or(from),
            );
            self.view.live.extend(from..low);
            from = high + 1;
        }
        self.view.live.extend(from..=last);
    }
}

/// A configuration.
fn stream(random: &mut Random, mode: Mode, compression: &str) -> Value {
    let mut stream = json!({
        "name": "S", "subjects": ["k.>", "m.>", "t.>"], "storage": "file", "retention": "limits",
        "num_replicas": 1, "compression": compression, "discard": "old",
    });
    if mode != Mode::Truncate {
        if random.chance(18) {
            stream["max_msgs"] = json!(random.between(1, 30));
        }
        if random.chance(18) {
            stream["max_bytes"] = json!(random.between(60, 3000));
        }
        if random.chance(25) {
            stream["max_msgs_per_subject"] = json!(random.between(1, 5));
        }
        // Whether a marker or a scheduled message may be refused is not said.
        if random.chance(30) && !matches!(mode, Mode::Schedules | Mode::Markers) {
            stream["discard"] = json!("new");
            if stream["max_msgs_per_subject"].is_u64() && random.chance(60) {
                stream["discard_new_per_subject"] = json!(true);
            }
        }
    }
    if random.chance(10) {
        stream["max_msg_size"] = json!(random.between(20, 200));
    }
    if random.chance(8) {
        stream["first_seq"] = json!(random.between(1, 5000));
    }
    match mode {
        Mode::Ttl { late } => stream["allow_msg_ttl"] = json!(!late),
        Mode::Markers => {
            stream["allow_msg_ttl"] = json!(true);
            stream["allow_rollup_hdrs"] = json!(true);
            stream["subject_delete_marker_ttl"] = json!(random.between(1, 90) * SECOND_NS);
            if random.chance(60) {
                stream["max_age"] = json!(random.between(2, 60) * SECOND_NS);
            }
        }
        Mode::Schedules => {
            stream["allow_msg_schedules"] = json!(true);
            stream["allow_msg_ttl"] = json!(random.chance(60));
            stream["allow_rollup_hdrs"] = json!(true);
        }
        Mode::Age => stream["max_age"] = json!(random.between(2, 60) * SECOND_NS),
        Mode::Plain | Mode::Truncate => {}
    }
    stream
}
