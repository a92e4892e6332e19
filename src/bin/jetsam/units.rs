//! How numbers, times and names are written for people, and names for JSON.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

/// The time the server's JSON shows where there is none.
pub const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// `1234567` as `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 stream`, `200 streams`.
pub fn streams(n: usize) -> String {
    match n {
        1 => "1 stream".to_owned(),
        n => format!("{} streams", count(n as u64)),
    }
}

/// Bytes in binary units: `12 MiB`, `1.5 KiB`, `17 B`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would print as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = format!("{value:.1}");
    format!(
        "{} {}",
        text.strip_suffix(".0").unwrap_or(&text),
        UNITS[unit]
    )
}

/// `3ms`, `1.50s`, `2m3s`, `1d2h3m4s`.
pub fn duration(elapsed: std::time::Duration) -> String {
    let seconds = elapsed.as_secs();
    if seconds == 0 && elapsed.as_millis() < 1000 {
        return format!("{}ms", elapsed.as_millis());
    }
    if seconds < 60 {
        return format!("{}.{:02}s", seconds, elapsed.subsec_millis() / 10);
    }
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let mut text = String::new();
    if days > 0 {
        let _ = write!(text, "{days}d");
    }
    if seconds >= 3600 {
        let _ = write!(text, "{hours}h");
    }
    let _ = write!(text, "{}m{}s", seconds / 60 % 60, seconds % 60);
    text
}

/// RFC 3339 in UTC with nanoseconds, trailing zeros trimmed, as the server writes it.
pub fn rfc3339(time_ns: Option<i64>) -> String {
    time_ns.map_or_else(
        || NO_TIME.to_owned(),
        |ns| Times::default().rfc3339(ns).to_owned(),
    )
}

/// Writes times one after the other: those of one second share all but their last digits.
#[derive(Debug, Default)]
pub struct Times {
    second: Option<i64>,
    /// What all times of the second begin with.
    shared: String,
    text: String,
}

impl Times {
    /// As [`rfc3339`].
    pub fn rfc3339(&mut self, time_ns: i64) -> &str {
        const NS_A_SECOND: i64 = 1_000_000_000;
        let (second, ns) = (
            time_ns.div_euclid(NS_A_SECOND),
            time_ns.rem_euclid(NS_A_SECOND),
        );
        if self.second != Some(second) {
            let whole = Timestamp::from_second(second);
            let whole = whole.map_or_else(|_| NO_TIME.to_owned(), |time| time.to_string());
            self.shared = whole.trim_end_matches('Z').to_owned();
            self.second = Some(second);
        }
        self.text.clear();
        self.text.push_str(&self.shared);
        if ns > 0 {
            let _ = write!(self.text, ".{ns:09}");
            self.text.truncate(self.text.trim_end_matches('0').len());
        }
        self.text.push('Z');
        &self.text
    }
}

/// Local time, `2006-01-02 15:04:05`.
pub fn local_time(time_ns: i64) -> String {
    Timestamp::from_nanosecond(i128::from(time_ns)).map_or_else(
        |_| NO_TIME.to_owned(),
        |time| {
            let zone = jiff::tz::TimeZone::system();
            time.to_zoned(zone)
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string()
        },
    )
}

/// Bytes as text: bytes that are not UTF-8 become `\xNN`, all else stays as it is.
pub fn text(bytes: &[u8]) -> String {
    text_of(bytes).into_owned()
}

/// As [`text`], without a copy where all is UTF-8.
pub fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        push_invalid(&mut text, chunk.invalid());
    }
    Cow::Owned(text)
}

fn push_invalid(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str("\\x");
        text.push(hex_digit(byte >> 4));
        text.push(hex_digit(byte & 15));
    }
}

/// Adds a control character as Rust's own escape. All of them are below 256.
fn push_control(text: &mut String, c: char) {
    match c {
        '\t' => text.push_str("\\t"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        _ => {
            let code = c as u32 as u8;
            text.push_str("\\u{");
            if code >= 16 {
                text.push(hex_digit(code >> 4));
            }
            text.push(hex_digit(code & 15));
            text.push('}');
        }
    }
}

fn hex_digit(value: u8) -> char {
    char::from(match value {
        0..10 => b'0' + value,
        _ => b'a' - 10 + value,
    })
}

/// Text that is safe on a terminal: control characters become escapes.
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    push_printable(&mut safe, text);
    safe
}

/// Adds text as [`printable`] makes it safe.
pub fn push_printable(safe: &mut String, text: &str) {
    push_escaped(safe, text, |_| false);
}

/// Adds the text of a message's body, see [`text_of`], which may have lines and tabs.
pub fn push_printable_lines(safe: &mut String, body: &[u8]) {
    for chunk in body.utf8_chunks() {
        push_escaped(safe, chunk.valid(), |c| c == '\n' || c == '\t');
        push_invalid(safe, chunk.invalid());
    }
}

/// Bytes that are looked at together: most text is plain for long stretches.
const STRETCH: usize = 64;

fn push_escaped(safe: &mut String, text: &str, keep: impl Fn(char) -> bool) {
    let mut rest = text;
    while !rest.is_empty() {
        let is_plain = |stretch: &&[u8]| stretch.iter().all(|byte| (b' '..=b'~').contains(byte));
        let stretches = rest.as_bytes().chunks(STRETCH).take_while(is_plain);
        let (plain, other) = rest.split_at(stretches.map(<[u8]>::len).sum());
        safe.push_str(plain);
        // A stretch of anything else, to the next character that begins behind it.
        let mut end = STRETCH.min(other.len());
        while !other.is_char_boundary(end) {
            end += 1;
        }
        let (stretch, behind) = other.split_at(end);
        let mut written = 0;
        let escaped = stretch.char_indices();
        for (at, c) in escaped.filter(|(_, c)| c.is_control() && !keep(*c)) {
            safe.push_str(&stretch[written..at]);
            push_control(safe, c);
            written = at + c.len_utf8();
        }
        safe.push_str(&stretch[written..]);
        rest = behind;
    }
}

/// Standard base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Reads `32000`, `8MiB`, `8M`, `64k`: binary units, as the `nats` command takes them.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    digits.trim_end().parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn text_of_any_length_is_safe_and_whole() {
        let slow = |text: &str| -> String {
            let escape = |c: char| match c.is_control() {
                true => c.escape_default().to_string(),
                false => c.to_string(),
            };
            text.chars().map(escape).collect()
        };
        for length in 0..200 {
            for odd in ["", "\u{1b}[31m", "é", "\u{85}", "\n", "€uro\0"] {
                let text = format!("{}{odd}{}", "a".repeat(length), "b".repeat(length % 70));
                assert_eq!(printable(&text), slow(&text));
                let repeated = text.repeat(3);
                assert_eq!(printable(&repeated), slow(&repeated));
            }
        }
        let all: String = (0..0x120).filter_map(char::from_u32).collect();
        assert_eq!(printable(&all), slow(&all));
    }

    #[test]
    fn a_body_of_any_bytes_is_written_as_its_text_is() {
        let bytes: Vec<u8> = (0..2000_u32).map(|nth| (nth * nth / 7) as u8).collect();
        for length in 0..bytes.len() {
            let body = &bytes[..length];
            let mut written = String::new();
            push_printable_lines(&mut written, body);
            let mut expected = String::new();
            push_escaped(&mut expected, &text_of(body), |c| c == '\n' || c == '\t');
            assert_eq!(written, expected);
        }
        let mut odd = String::new();
        push_printable_lines(&mut odd, b"a\xff\x80\tb\0");
        assert_eq!(odd, "a\\xff\\x80\tb\\u{0}");
    }

    #[test]
    fn times_of_one_second_are_written_one_after_the_other() {
        let mut times = Times::default();
        for (ns, want) in [
            (1_700_000_000_000_000_000, "2023-11-14T22:13:20Z"),
            (1_700_000_000_120_000_000, "2023-11-14T22:13:20.12Z"),
            (1_700_000_000_000_000_007, "2023-11-14T22:13:20.000000007Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (0, "1970-01-01T00:00:00Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
            (i64::MIN, "1677-09-21T00:12:43.145224192Z"),
        ] {
            assert_eq!(times.rfc3339(ns), want);
            assert_eq!(rfc3339(Some(ns)), want);
        }
    }

    #[test]
    fn counts_have_commas() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ];
        for (n, want) in cases {
            assert_eq!(count(n), want);
        }
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn sizes_are_binary_with_one_digit_at_most() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (12 << 20, "12 MiB"),
            ((1 << 20) - 1, "1 MiB"),
            (u64::MAX, "16 EiB"),
        ];
        for (n, want) in cases {
            assert_eq!(bytes(n), want);
        }
    }

    #[test]
    fn durations_read_like_the_nats_command() {
        let cases = [
            (3, "3ms"),
            (1500, "1.50s"),
            (59_999, "59.99s"),
            (123_000, "2m3s"),
            (3_600_000, "1h0m0s"),
            (93_784_000, "1d2h3m4s"),
        ];
        for (ms, want) in cases {
            assert_eq!(duration(Duration::from_millis(ms)), want);
        }
    }

    #[test]
    fn times_are_trimmed_like_the_server_does() {
        assert_eq!(rfc3339(None), "0001-01-01T00:00:00Z");
        assert_eq!(rfc3339(Some(0)), "1970-01-01T00:00:00Z");
        assert_eq!(
            rfc3339(Some(1_767_323_045_123_456_789)),
            "2026-01-02T03:04:05.123456789Z"
        );
        assert_eq!(
            rfc3339(Some(1_767_323_045_120_000_000)),
            "2026-01-02T03:04:05.12Z"
        );
        assert_eq!(
            rfc3339(Some(-6_795_364_578_871_345_152)),
            "1754-08-30T22:43:41.128654848Z"
        );
        assert_eq!(rfc3339(Some(i64::MIN)), "1677-09-21T00:12:43.145224192Z");
    }

    #[test]
    fn names_survive_bytes_that_are_not_text() {
        assert_eq!(text(b"orders.\xff.\xc3\xa4"), "orders.\\xff.\u{e4}");
        assert_eq!(text(b"plain\\x"), "plain\\x");
        assert_eq!(printable("a\x1b[31m\nb"), "a\\u{1b}[31m\\nb");
        let mut lines = String::new();
        push_printable_lines(&mut lines, b"a\x1b\n\tb");
        assert_eq!(lines, "a\\u{1b}\n\tb");
    }

    #[test]
    fn base64_pads() {
        let cases: [(&[u8], &str); 5] = [
            (b"", ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foobar", "Zm9vYmFy"),
            (b"\xff\xfe\xfd", "//79"),
        ];
        for (bytes, want) in cases {
            assert_eq!(base64(bytes), want);
        }
        assert_eq!(hex(&[0, 0xab]), "00ab");
    }

    #[test]
    fn sizes_are_read_in_binary_units() {
        let cases = [
            ("32000", Some(32_000)),
            ("8MiB", Some(8 << 20)),
            ("1M", Some(1 << 20)),
            ("64 k", Some(64 << 10)),
            ("", None),
            ("M", None),
            ("-1", None),
            ("1.5M", None),
            ("8 apples", None),
            ("99999999999999999999", None),
            ("18446744073709551615k", None),
        ];
        for (text, want) in cases {
            assert_eq!(parse_bytes(text), want, "{text:?}");
        }
    }
}
