//! The broker of `examples/broker` as a stock client and a rude one see it.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::broker_process::Broker;
use crate::scenario::{Ended, Truth, play};

fn newest(path: &Path) -> SystemTime {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let own = std::fs::metadata(path).and_then(|found| found.modified());
    entries
        .map(|entry| newest(&entry.path()))
        .chain(own)
        .max()
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The broker, as `cargo test` builds it; built here where only some tests were asked for.
fn program() -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    let profile = own.ancestors().nth(2).expect("a build directory");
    let program = profile.join("examples/broker");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["examples/broker", "src"].map(|dir| newest(&root.join(dir)));
    if sources
        .into_iter()
        .any(|changed| changed > newest(&program))
    {
        let name = profile.file_name().expect("a name").to_string_lossy();
        let name = if name == "debug" { "dev" } else { &name };
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--quiet", "--example", "broker", "--profile", name])
            .current_dir(root);
        assert!(build.status().expect("cargo runs").success());
    }
    program
}

fn part(broker: &Broker, before: Ended, truth: &mut Truth) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let limit = Duration::from_secs(120);
    let played = runtime.block_on(async {
        tokio::time::timeout(limit, play(broker.port, before, true, truth)).await
    });
    played
        .expect("it does not hang")
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_stock_client_finds_everything_after_a_stop_and_after_a_kill() {
    let (program, dir) = (program(), tempfile::tempdir().expect("a directory"));
    let mut truth = Truth::default();
    let broker = Broker::start(&program, dir.path(), &[], None).expect("it starts");
    part(&broker, Ended::Never, &mut truth);
    broker.stop().expect("it closes its streams");
    let broker = Broker::start(&program, dir.path(), &[], None).expect("it starts");
    part(&broker, Ended::Safely, &mut truth);
    // No more than that: everything that was acknowledged is synced.
    drop(broker);
    let broker = Broker::start(&program, dir.path(), &[], None).expect("it starts");
    part(&broker, Ended::Safely, &mut truth);
    assert!(truth.check_count > 1000);
}

/// A client that sends what it likes.
struct Rude(BufReader<TcpStream>);

impl Rude {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        let mut client = Rude(BufReader::new(stream));
        assert!(client.line().starts_with("INFO {"));
        client.send("CONNECT {\"headers\":true,\"no_responders\":true}\r\n");
        client
    }

    fn send(&mut self, text: impl AsRef<[u8]>) {
        // The broker may have hung up.
        let _ = self.0.get_mut().write_all(text.as_ref());
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let _ = self.0.read_line(&mut line);
        line
    }

    /// Asks, and takes the answer: what is behind the headers, or the status.
    fn ask(&mut self, subject: &str, body: &str) -> String {
        self.send(format!(
            "SUB here 1 \r\nPUB {subject} here {}\r\n{body}\r\n",
            body.len()
        ));
        let head = self.line();
        let length = head
            .trim()
            .rsplit(' ')
            .next()
            .and_then(|length| length.parse::<usize>().ok());
        let mut answer =
            vec![0; length.unwrap_or_else(|| panic!("{subject} {body}: {head:?}")) + 2];
        self.0.read_exact(&mut answer).expect("an answer");
        self.send("UNSUB 1\r\n");
        String::from_utf8_lossy(&answer).trim_end().to_owned()
    }

    fn gets_an_answer(mut self) -> bool {
        self.send("PING\r\n");
        self.line() == "PONG\r\n"
    }
}

#[test]
fn bad_input_is_told_and_costs_nobody_else_anything() {
    let (program, dir) = (program(), tempfile::tempdir().expect("a directory"));
    let broker = Broker::start(&program, dir.path(), &[], None).expect("it starts");
    for (sent, told) in [
        ("HELLO\r\n", "-ERR 'Unknown Protocol Operation'"),
        ("PUB a 2000000\r\n", "-ERR 'Maximum Payload Violation'"),
        ("HPUB a 5 3\r\nabc\r\n", "-ERR 'Maximum Payload Violation'"),
        (
            "PUB a 18446744073709551615\r\n",
            "-ERR 'Maximum Payload Violation'",
        ),
        ("PUB a 18446744073709551616\r\n", "-ERR 'Parser Error'"),
        ("PUB a -1\r\n", "-ERR 'Parser Error'"),
        ("PUB a 1\r\nabc\r\n", "-ERR 'Parser Error'"),
        ("PUB a..b 0\r\n\r\n", "-ERR 'Parser Error'"),
        ("SUB a..b 1\r\n", "-ERR 'Invalid Subject'"),
        ("CONNECT {\r\n", "-ERR 'Parser Error'"),
        ("UNSUB 1 many\r\n", "-ERR 'Parser Error'"),
        (&"a".repeat(5000), "-ERR 'Maximum Control Line Exceeded'"),
    ] {
        let mut rude = Rude::connect(broker.port);
        rude.send(sent);
        assert_eq!(rude.line().trim_end(), told, "{:.40}", sent);
        assert_eq!(rude.line(), "", "it hangs up");
    }
    let mut state = 7_u64;
    for _ in 0..100 {
        let bytes = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            b"PUSBH \r\n$JS.AI0123\xff\0"[(state >> 33) as usize % 20]
        });
        let mut rude = Rude::connect(broker.port);
        rude.send(bytes.take(300).collect::<Vec<u8>>());
    }
    assert!(Rude::connect(broker.port).gets_an_answer());
    broker.stop().expect("it closes its streams");
}

/// Makes the stream S and its consumer C.
fn make(client: &mut Rude) {
    let stream = r#"{"name":"S","subjects":["s.>"],"storage":"file","max_msgs":3,"discard":"new","max_msg_size":100}"#;
    assert!(
        client
            .ask("$JS.API.STREAM.CREATE.S", stream)
            .contains("\"config\"")
    );
    let consumer = r#"{"stream_name":"S","config":{"durable_name":"C","ack_policy":"explicit"}}"#;
    assert!(
        client
            .ask("$JS.API.CONSUMER.DURABLE.CREATE.S.C", consumer)
            .contains("max_ack_pending")
    );
}

/// Requests, and the server's numbers for what is wrong with them.
const BAD_REQUESTS: &[(&str, &str, u32)] = &[
    ("STREAM.CREATE.S", "{", 10052),
    ("STREAM.CREATE.S", r#"{"name":7}"#, 10025),
    ("STREAM.CREATE.T", r#"{"name":"S"}"#, 10056),
    (
        "STREAM.CREATE.S",
        r#"{"name":"S","subjects":["s.>"],"storage":"file"}"#,
        10058,
    ),
    (
        "STREAM.CREATE.T",
        r#"{"name":"T","subjects":["s.x"],"storage":"file"}"#,
        10065,
    ),
    (
        "STREAM.CREATE.T",
        r#"{"name":"T","storage":"memory"}"#,
        10052,
    ),
    (
        "STREAM.CREATE.T",
        r#"{"name":"T","retention":"workqueue","storage":"file"}"#,
        10052,
    ),
    ("STREAM.INFO.T", "", 10059),
    ("CONSUMER.INFO.S.D", "", 10014),
    (
        "CONSUMER.CREATE.S.C",
        r#"{"config":{"durable_name":"C","ack_policy":"none"},"action":"create"}"#,
        10148,
    ),
    (
        "CONSUMER.CREATE.S.D",
        r#"{"config":{"durable_name":"E"}}"#,
        10017,
    ),
    (
        "CONSUMER.CREATE.S.D",
        r#"{"config":{"filter_subject":"a..b"}}"#,
        10093,
    ),
    (
        "CONSUMER.CREATE.S.D",
        r#"{"config":{},"action":"update"}"#,
        10149,
    ),
    ("CONSUMER.CREATE.S", "[]", 10012),
];

#[test]
fn bad_requests_are_answered_with_the_servers_numbers() {
    let (program, dir) = (program(), tempfile::tempdir().expect("a directory"));
    let broker = Broker::start(&program, dir.path(), &[], None).expect("it starts");
    let mut client = Rude::connect(broker.port);
    make(&mut client);
    for (subject, body, number) in BAD_REQUESTS {
        let told = client.ask(&format!("$JS.API.{subject}"), body);
        let is_made = *number == 10012 && told.contains("stream_name");
        assert!(
            told.contains(&format!("\"err_code\":{number}")) || is_made,
            "{subject} {body}: {told}"
        );
    }
}

#[test]
fn limits_pulls_and_acknowledgements_are_told_as_the_server_tells_them() {
    let (program, dir) = (program(), tempfile::tempdir().expect("a directory"));
    let broker = Broker::start(&program, dir.path(), &[], None).expect("it starts");
    let mut client = Rude::connect(broker.port);
    make(&mut client);
    assert!(
        client.ask("s.a", &"x".repeat(101)).contains("10054"),
        "a message that is too large"
    );
    for seq in 1..=3 {
        assert_eq!(
            client.ask("s.a", "x"),
            format!(r#"{{"seq":{seq},"stream":"S"}}"#)
        );
    }
    assert!(client.ask("s.a", "x").contains("\"err_code\":10077"));
    for (body, status) in [
        ("nonsense", "400"),
        ("0", "400"),
        ("{\"no_wait\":true,\"batch\":-5,\"max_bytes\":1}", "400"),
    ] {
        let told = client.ask("$JS.API.CONSUMER.MSG.NEXT.S.C", body);
        assert!(
            told.starts_with(&format!("NATS/1.0 {status}")),
            "{body}: {told}"
        );
    }
    for subject in [
        "$JS.API.CONSUMER.MSG.NEXT.S.D",
        "$JS.API.NOTHING",
        "$JS.ACK.S.D.1.1.1.1.0",
        "nobody",
        "$JS.API.DIRECT.GET.S",
    ] {
        assert!(
            client.ask(subject, "").starts_with("NATS/1.0 503"),
            "{subject}"
        );
    }
    for words in [
        "x.y.z",
        "1.18446744073709551615.18446744073709551615.0.0",
        "",
        "0.0.0.0.0",
    ] {
        let told = client.ask(
            format!("$JS.ACK.S.C.{words}").trim_end_matches('.'),
            "-NAK {\"delay\":-9223372036854775808}",
        );
        assert!(
            told.is_empty() || told.starts_with("NATS/1.0 503"),
            "{words}: {told}"
        );
    }
    assert!(client.gets_an_answer());
}

#[test]
fn a_client_that_does_not_fetch_is_dropped_and_the_others_are_served() {
    let (program, dir) = (program(), tempfile::tempdir().expect("a directory"));
    let broker = Broker::start(&program, dir.path(), &[], None).expect("it starts");
    let mut slow = Rude::connect(broker.port);
    slow.send("SUB flood 1\r\nPING\r\n");
    assert_eq!(slow.line(), "PONG\r\n");
    let mut fast = Rude::connect(broker.port);
    let message = [b"PUB flood 1000000\r\n", &[b'x'; 1_000_000][..], b"\r\n"].concat();
    // What is being sent, what waits for that, and what gathers meanwhile is 64 MiB each at the most.
    for _ in 0..260 {
        fast.send(&message);
    }
    assert!(fast.gets_an_answer());
    let mut fetched = Vec::new();
    // An end or a reset, but an end.
    let ended = slow.0.read_to_end(&mut fetched);
    let is_over = !matches!(&ended, Err(error) if error.kind() == ErrorKind::WouldBlock);
    assert!(
        is_over && fetched.len() < 230_000_000,
        "{} bytes, {ended:?}",
        fetched.len()
    );
}
