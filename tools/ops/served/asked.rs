//! What a server answers about a stream, beside what the engine said of it.

use std::collections::BTreeMap;
use std::io;

use serde_json::{Value, json};

use super::consumer::Allowed;
use super::left::{Left, Seen};
use crate::nats::Client;

/// Something that is not the same.
pub struct Odd {
    pub what: String,
    pub ours: Value,
    pub theirs: Value,
}

/// How much was compared.
#[derive(Debug, Default, Clone, Copy)]
pub struct Compared {
    pub messages: u64,
    pub consumers: u64,
}

/// What differs, and how much was compared.
#[derive(Default)]
pub struct Comparison {
    pub odd: Vec<Odd>,
    pub compared: Compared,
}

impl Comparison {
    pub fn same(&mut self, what: &str, ours: Value, theirs: Value) {
        if ours != theirs {
            self.odd.push(Odd {
                what: what.to_owned(),
                ours,
                theirs,
            });
        }
    }
}

/// Compares all that a server has of a stream.
pub fn compare(client: &mut Client, left: &Left, seen: &Seen) -> io::Result<Comparison> {
    let mut comparison = Comparison::default();
    let ask = json!({"deleted_details": true, "subjects_filter": ">"});
    let info = match client.api("STREAM.INFO.S", &ask) {
        Ok(info) => info,
        Err(error) => {
            comparison.same("stream", json!("is there"), json!(error.to_string()));
            return Ok(comparison);
        }
    };
    compare_state(&mut comparison, seen, &info["state"]);
    compare_messages(&mut comparison, client, seen);
    compare_consumers(&mut comparison, client, left, seen)?;
    Ok(comparison)
}

fn compare_state(comparison: &mut Comparison, seen: &Seen, theirs: &Value) {
    let ours = &seen.of("state")["ok"];
    for field in ["messages", "bytes", "first_seq", "last_seq", "num_subjects"] {
        let number = |state: &Value| json!(state[field].as_u64().unwrap_or(0));
        comparison.same(field, number(ours), number(theirs));
    }
    for field in ["first_ts", "last_ts"] {
        let at = json!(ours[field].as_i64().unwrap_or(0));
        comparison.same(field, at, time(&theirs[field]));
    }
    comparison.same("deleted", deleted(ours), list(&theirs["deleted"]));
    comparison.same("lost", list(&ours["lost"]), list(&theirs["lost"]["msgs"]));
    let totals = &seen.of("subjects")["ok"]["totals"];
    comparison.same("subjects", sorted(totals), sorted(&theirs["subjects"]));
}

/// The runs of sequences that the protocol has, one by one, as a server lists them.
fn deleted(state: &Value) -> Value {
    let runs = state["deleted"].as_array().into_iter().flatten();
    let each = runs.flat_map(|run| {
        let end = |at: usize| run[at].as_u64().unwrap_or(0);
        end(0)..=end(1)
    });
    json!(each.collect::<Vec<_>>())
}

fn list(value: &Value) -> Value {
    if value.is_array() {
        value.clone()
    } else {
        json!([])
    }
}

fn sorted(subjects: &Value) -> Value {
    let fields = subjects.as_object().into_iter().flatten();
    json!(fields.collect::<BTreeMap<_, _>>())
}

/// A time of the interface in nanoseconds since 1970; none is 0.
fn time(text: &Value) -> Value {
    let text = text.as_str().unwrap_or_default();
    if text.starts_with("0001-01-01T") {
        return json!(0);
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => json!(i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)),
        Err(_) => json!(text),
    }
}

fn compare_messages(comparison: &mut Comparison, client: &mut Client, seen: &Seen) {
    let messages = seen.of("messages")["ok"]["msgs"].as_array();
    for ours in messages.into_iter().flatten() {
        let what = format!("message {}", ours["seq"]);
        let bytes = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let ours = json!({
            "subject": ours["subject"], "headers": bytes(&ours["hdr"]), "body": bytes(&ours["msg"]), "time": ours["ts"], "seq": ours["seq"],
        });
        let theirs = match client.api("STREAM.MSG.GET.S", &json!({"seq": ours["seq"]})) {
            Ok(answer) => {
                let theirs = &answer["message"];
                json!({
                    "subject": theirs["subject"], "headers": bytes(&theirs["hdrs"]), "body": bytes(&theirs["data"]),
                    "time": time(&theirs["time"]), "seq": theirs["seq"],
                })
            }
            Err(error) => json!(error.to_string()),
        };
        comparison.same(&what, ours, theirs);
        comparison.compared.messages += 1;
    }
}

fn compare_consumers(
    comparison: &mut Comparison,
    client: &mut Client,
    left: &Left,
    seen: &Seen,
) -> io::Result<()> {
    let ours: Vec<&str> = left.consumers().iter().map(|(name, _)| *name).collect();
    let answer = client.api("CONSUMER.NAMES.S", &json!({}))?;
    let names = answer["consumers"].as_array().into_iter().flatten();
    let mut theirs: Vec<&str> = names.filter_map(Value::as_str).collect();
    theirs.sort_unstable();
    comparison.same("consumers", json!(ours), json!(theirs));
    for name in ours.iter().filter(|name| theirs.contains(name)) {
        let ours = &seen.of(&format!("consumer {name}"))["ok"];
        let theirs = client.api(&format!("CONSUMER.INFO.S.{name}"), &json!({}))?;
        comparison.compared.consumers += 1;
        if !Allowed::new(ours, seen.ends()).admits_told(&theirs) {
            let told = json!({
                "delivered": theirs["delivered"], "ack_floor": theirs["ack_floor"],
                "num_ack_pending": theirs["num_ack_pending"], "num_redelivered": theirs["num_redelivered"],
            });
            comparison.same(&format!("consumer {name}"), ours.clone(), told);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_interface_become_nanoseconds() {
        assert_eq!(time(&json!("0001-01-01T00:00:00Z")), json!(0));
        assert_eq!(
            time(&json!("2100-01-01T00:00:01.000000007Z")),
            json!(4_102_444_801_000_000_007_i64)
        );
        assert_eq!(time(&json!("soon")), json!("soon"));
    }

    #[test]
    fn runs_become_sequences() {
        let state = json!({"deleted": [[2, 4], [7, 7]]});
        assert_eq!(deleted(&state), json!([2, 3, 4, 7]));
        assert_eq!(deleted(&json!({})), json!([]));
    }
}
