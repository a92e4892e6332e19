//! The loop: requests in, answers out, in order.

use std::io::{self, BufRead, BufReader, Read, Write};

use serde_json::json;

use crate::answer::{Kind, Outcome, line, refuse};
use crate::request::{Clocked, Request};

/// What stands behind the protocol.
pub trait Served {
    /// Does what one request asks for at this time (nanoseconds since 1970). `reset` comes here too.
    fn perform(&mut self, request: Request, now_ns: i64) -> Outcome;
}

/// Answers until the input ends. An answer is flushed when no further request is waiting.
///
/// # Errors
///
/// Input or output fails.
pub fn serve(served: &mut impl Served, input: impl Read, output: impl Write) -> io::Result<()> {
    let mut input = BufReader::with_capacity(1 << 16, input);
    let mut output = io::BufWriter::with_capacity(1 << 16, output);
    let mut now_ns = 0;
    let mut text = Vec::new();
    loop {
        if !input.buffer().contains(&b'\n') {
            output.flush()?;
        }
        text.clear();
        if input.read_until(b'\n', &mut text)? == 0 {
            return output.flush();
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let outcome = one(served, &text, &mut now_ns);
        serde_json::to_writer(&mut output, &line(outcome))?;
        output.write_all(b"\n")?;
    }
}

fn one(served: &mut impl Served, text: &[u8], now_ns: &mut i64) -> Outcome {
    match serde_json::from_slice::<Clocked>(text) {
        Ok(Clocked { now }) => *now_ns = now.map_or(*now_ns, |now| now.max(*now_ns)),
        Err(error) => return refuse(Kind::BadRequest, error.to_string()),
    }
    match serde_json::from_slice::<Request>(text) {
        Ok(Request::Reset) => {
            *now_ns = 0;
            served.perform(Request::Reset, 0)?;
            Ok(json!({}))
        }
        Ok(request) => served.perform(request, *now_ns),
        Err(error) => refuse(Kind::BadRequest, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl Served for Echo {
        fn perform(&mut self, request: Request, now_ns: i64) -> Outcome {
            match request {
                Request::Append(message) => {
                    Ok(json!({ "subject": message.subject, "msg": message.msg, "now": now_ns }))
                }
                Request::State => refuse(Kind::Closed, "no store"),
                _ => Ok(json!({})),
            }
        }
    }

    fn answers(input: &str) -> Vec<String> {
        let mut output = Vec::new();
        serve(&mut Echo, input.as_bytes(), &mut output).expect("memory");
        let text = String::from_utf8(output).expect("UTF-8");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_clock_stands_does_not_run_backwards_and_a_reset_forgets_it() {
        let input = r#"
            {"op":"append","subject":"a","msg":"AAE=","now":7,"unknown":1}
            {"op":"append","subject":"b","now":3}
            {"op":"reset"}
            {"op":"append","subject":"c"}
        "#;
        assert_eq!(
            answers(input),
            [
                r#"{"ok":{"subject":"a","msg":[0,1],"now":7}}"#,
                r#"{"ok":{"subject":"b","msg":[],"now":7}}"#,
                r#"{"ok":{}}"#,
                r#"{"ok":{"subject":"c","msg":[],"now":0}}"#,
            ]
        );
    }

    #[test]
    fn what_makes_no_sense_is_told_and_the_next_is_served() {
        let input = "{\"op\":\"nonsense\"}\n{\"op\":\"append\",\"msg\":\"?\"}\n{\n{\"op\":\"state\",\"extra\":[]}\n{\"op\":\"skip_many\"}\n";
        let kinds: Vec<_> = answers(input)
            .iter()
            .map(|line| {
                let answer: serde_json::Value = serde_json::from_str(line).expect("JSON");
                answer["err"].as_str().unwrap_or_default().to_owned()
            })
            .collect();
        assert_eq!(
            kinds,
            [
                "bad-request",
                "bad-request",
                "bad-request",
                "closed",
                "bad-request"
            ]
        );
    }
}
