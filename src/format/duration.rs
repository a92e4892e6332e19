//! Durations and instants in the text forms the server reads and writes.
//!
//! Both parsers accept exactly what the server's own accept, which is more than the grammar in
//! RFC 3339 and less than common duration crates: a tool that reads one header differently
//! expires another message than the server does.

use std::fmt;

const NS_PER_SECOND: i128 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// Seconds from 0001-01-01T00:00:00Z, the server's "no time", to the Unix epoch.
const ZERO_TIME_UNIX_SECONDS: i64 = -62_135_596_800;
/// The magnitude of the most negative duration, 2^63 nanoseconds.
const MAX_MAGNITUDE: u64 = 1 << 63;

/// Why a duration was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurationError {
    /// No digits where a number has to start; `offset` counts bytes from the start of the text.
    ExpectedNumber {
        /// Where, in bytes.
        offset: usize,
    },
    /// A number without a unit behind it.
    MissingUnit {
        /// Where, in bytes.
        offset: usize,
    },
    /// A unit other than `ns`, `us`, `ms`, `s`, `m`, `h`.
    UnknownUnit {
        /// Where, in bytes.
        offset: usize,
    },
    /// More than 2^63 - 1 nanoseconds (2^63 below zero).
    OutOfRange {
        /// Where, in bytes.
        offset: usize,
    },
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExpectedNumber { offset } => write!(f, "expected a number at byte {offset}"),
            Self::MissingUnit { offset } => write!(f, "number without a unit at byte {offset}"),
            Self::UnknownUnit { offset } => write!(f, "unknown unit at byte {offset}"),
            Self::OutOfRange { offset } => {
                write!(
                    f,
                    "duration exceeds 64 bits of nanoseconds at byte {offset}"
                )
            }
        }
    }
}

impl std::error::Error for DurationError {}

/// Parses a duration such as `1h30m`, `-1.5s` or `250ms` into nanoseconds.
///
/// A sign may lead; numbers may have a fraction (`.5s` and `5.s` both count); every number needs a
/// unit, except that a lone `0` is zero. Errors name the byte where the text stopped making sense.
pub fn parse_duration(text: &str) -> Result<i64, DurationError> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let negative = text.starts_with('-');
    if unsigned == "0" {
        return Ok(0);
    }
    if unsigned.is_empty() {
        return Err(DurationError::ExpectedNumber { offset: text.len() });
    }
    let mut rest = unsigned;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let offset = text.len() - rest.len();
        let (term, after) = parse_term(rest, offset)?;
        total = total.wrapping_add(term);
        if total > MAX_MAGNITUDE {
            return Err(DurationError::OutOfRange { offset });
        }
        rest = after;
    }
    if negative {
        // The one magnitude that has no positive twin wraps onto itself, as it should.
        return Ok((total as i64).wrapping_neg());
    }
    i64::try_from(total).map_err(|_| DurationError::OutOfRange { offset: text.len() })
}

/// One `number unit` pair; `offset` is where `text` begins, for errors.
fn parse_term(text: &str, offset: usize) -> Result<(u64, &str), DurationError> {
    let (whole, after_whole) = split_digits(text);
    let (fraction, after_number) = match after_whole.strip_prefix('.') {
        Some(tail) => split_digits(tail),
        None => ("", after_whole),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(DurationError::ExpectedNumber { offset });
    }
    let out_of_range = DurationError::OutOfRange { offset };
    let count = whole_count(whole).ok_or(out_of_range)?;
    let unit_end = after_number
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(after_number.len());
    let (unit, rest) = after_number.split_at(unit_end);
    let unit_offset = offset + (text.len() - after_number.len());
    if unit.is_empty() {
        return Err(DurationError::MissingUnit {
            offset: unit_offset,
        });
    }
    let unit_ns = unit_ns(unit).ok_or(DurationError::UnknownUnit {
        offset: unit_offset,
    })?;
    if count > MAX_MAGNITUDE / unit_ns {
        return Err(out_of_range);
    }
    let mut value = count.wrapping_mul(unit_ns);
    let (digits, scale) = fraction_parts(fraction);
    if digits > 0 {
        // The server rounds in floating point; an exact computation would differ by a nanosecond.
        value = value.wrapping_add((digits as f64 * (unit_ns as f64 / scale)) as u64);
        if value > MAX_MAGNITUDE {
            return Err(out_of_range);
        }
    }
    Ok((value, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// The value of leading digits, up to and including 2^63.
fn whole_count(digits: &str) -> Option<u64> {
    let mut count: u64 = 0;
    for byte in digits.bytes() {
        count = count.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
        if count > MAX_MAGNITUDE {
            return None;
        }
    }
    Some(count)
}

/// Digits behind the point as a number and what to divide it by. Digits that no longer fit are
/// dropped, not refused.
fn fraction_parts(digits: &str) -> (u64, f64) {
    let mut value: u64 = 0;
    let mut scale = 1.0;
    for byte in digits.bytes() {
        if value > (MAX_MAGNITUDE - 1) / 10 {
            break;
        }
        let next = value * 10 + u64::from(byte - b'0');
        if next > MAX_MAGNITUDE {
            break;
        }
        value = next;
        scale *= 10.0;
    }
    (value, scale)
}

fn unit_ns(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Why an instant was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeError {
    /// The text does not have the shape `YYYY-MM-DDThh:mm:ss[.fraction](Z|±hh:mm)` at this byte.
    Shape {
        /// Where, in bytes.
        offset: usize,
    },
    /// A number of the right shape that no calendar or clock shows, a leap second included.
    Range {
        /// Which part.
        field: &'static str,
        /// What it holds.
        value: u32,
    },
    /// The instant exists but lies outside what 64 bits of nanoseconds can say.
    Unrepresentable {
        /// What was found.
        unix_seconds: i64,
    },
}

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape { offset } => write!(f, "not an RFC 3339 time at byte {offset}"),
            Self::Range { field, value } => write!(f, "{field} {value} is out of range"),
            Self::Unrepresentable { unix_seconds } => {
                write!(
                    f,
                    "{unix_seconds} s since 1970 does not fit 64 bits of nanoseconds"
                )
            }
        }
    }
}

impl std::error::Error for TimeError {}

/// An instant with the offset it was written in.
///
/// Wider than nanoseconds in 64 bits, because a `Created` of year 1 is ordinary in old files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instant {
    /// Seconds since the Unix epoch, rounded down.
    pub unix_seconds: i64,
    /// Nanoseconds within that second, below 10^9.
    pub nanoseconds: u32,
    /// Seconds east of UTC in which the text was written; only formatting looks at it.
    pub offset_seconds: i32,
}

impl Instant {
    /// The instant the server takes for "no time": 0001-01-01T00:00:00Z.
    pub const ZERO: Self = Self {
        unix_seconds: ZERO_TIME_UNIX_SECONDS,
        nanoseconds: 0,
        offset_seconds: 0,
    };

    /// The instant `timestamp_ns` nanoseconds after the Unix epoch, in UTC.
    pub fn from_unix_ns(timestamp_ns: i64) -> Self {
        Self {
            unix_seconds: timestamp_ns.div_euclid(1_000_000_000),
            nanoseconds: timestamp_ns.rem_euclid(1_000_000_000) as u32,
            offset_seconds: 0,
        }
    }

    /// Whether this is the server's "no time".
    pub fn is_zero(&self) -> bool {
        self.unix_seconds == ZERO_TIME_UNIX_SECONDS && self.nanoseconds == 0
    }

    /// Nanoseconds since the Unix epoch, modulo 2^64: what the server stores for any instant.
    pub fn unix_ns_wrapping(&self) -> i64 {
        self.exact_ns() as i64
    }

    /// Nanoseconds since the Unix epoch, or an error outside the years 1677 to 2262.
    pub fn unix_ns(&self) -> Result<i64, TimeError> {
        i64::try_from(self.exact_ns()).map_err(|_| TimeError::Unrepresentable {
            unix_seconds: self.unix_seconds,
        })
    }

    fn exact_ns(&self) -> i128 {
        i128::from(self.unix_seconds) * NS_PER_SECOND + i128::from(self.nanoseconds)
    }

    /// RFC 3339 in UTC, with up to nine digits of fraction and no trailing zeros.
    pub fn to_rfc3339_utc(&self) -> String {
        Self {
            offset_seconds: 0,
            ..*self
        }
        .to_rfc3339()
    }

    /// RFC 3339 in the offset of this value, with up to nine digits of fraction and no trailing
    /// zeros.
    pub fn to_rfc3339(&self) -> String {
        let local = self
            .unix_seconds
            .saturating_add(i64::from(self.offset_seconds));
        let (year, month, day) = civil_from_days(local.div_euclid(SECONDS_PER_DAY));
        let clock = local.rem_euclid(SECONDS_PER_DAY);
        let (hour, minute, second) = (clock / 3_600, clock / 60 % 60, clock % 60);
        let sign = if year < 0 { "-" } else { "" };
        let mut text = format!(
            "{sign}{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}",
            year.unsigned_abs()
        );
        if self.nanoseconds > 0 {
            let fraction = format!("{:09}", self.nanoseconds);
            text.push('.');
            text.push_str(fraction.trim_end_matches('0'));
        }
        if self.offset_seconds == 0 {
            text.push('Z');
        } else {
            let sign = if self.offset_seconds < 0 { '-' } else { '+' };
            let minutes = self.offset_seconds.unsigned_abs() / 60;
            text.push_str(&format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60));
        }
        text
    }
}

/// Formats nanoseconds since the Unix epoch as RFC 3339 in UTC without trailing zeros.
pub fn format_rfc3339(timestamp_ns: i64) -> String {
    Instant::from_unix_ns(timestamp_ns).to_rfc3339()
}

/// Parses an RFC 3339 instant into nanoseconds since the Unix epoch; errors also where the result
/// does not fit. See [`parse_instant`] for what is accepted.
pub fn parse_rfc3339(text: &str) -> Result<i64, TimeError> {
    parse_instant(text)?.unix_ns()
}

/// Parses an RFC 3339 instant as leniently as the server does.
///
/// Beyond the RFC: one digit may stand for the hour, a comma for the point, and offsets may say 24
/// hours or 60 minutes. Digits beyond the ninth of a fraction are dropped. Leap seconds, lower-case
/// `t` and `z`, and a blank for the `T` are refused.
pub fn parse_instant(text: &str) -> Result<Instant, TimeError> {
    let mut cursor = Cursor {
        bytes: text.as_bytes(),
        offset: 0,
    };
    let year = cursor.two_digits()? * 100 + cursor.two_digits()?;
    cursor.literal(b'-')?;
    let month = in_range("month", cursor.two_digits()?, 1, 12)?;
    cursor.literal(b'-')?;
    let day = cursor.two_digits()?;
    cursor.literal(b'T')?;
    let hour = in_range("hour", cursor.one_or_two_digits()?, 0, 23)?;
    cursor.literal(b':')?;
    let minute = in_range("minute", cursor.two_digits()?, 0, 59)?;
    cursor.literal(b':')?;
    let second = in_range("second", cursor.two_digits()?, 0, 59)?;
    let nanoseconds = cursor.fraction();
    let offset_seconds = cursor.zone()?;
    if cursor.offset != text.len() {
        return Err(TimeError::Shape {
            offset: cursor.offset,
        });
    }
    in_range("day", day, 1, days_in_month(i64::from(year), month))?;
    let days = days_from_civil(i64::from(year), i64::from(month), i64::from(day));
    let clock = i64::from(hour * 3_600 + minute * 60 + second);
    let unix_seconds = days * SECONDS_PER_DAY + clock - i64::from(offset_seconds);
    Ok(Instant {
        unix_seconds,
        nanoseconds,
        offset_seconds,
    })
}

fn in_range(field: &'static str, value: u32, low: u32, high: u32) -> Result<u32, TimeError> {
    if (low..=high).contains(&value) {
        Ok(value)
    } else {
        Err(TimeError::Range { field, value })
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl Cursor<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.offset + ahead).copied()
    }

    fn digit(&self, ahead: usize) -> Option<u32> {
        self.peek(ahead)
            .filter(u8::is_ascii_digit)
            .map(|byte| u32::from(byte - b'0'))
    }

    fn literal(&mut self, expected: u8) -> Result<(), TimeError> {
        if self.peek(0) != Some(expected) {
            return Err(TimeError::Shape {
                offset: self.offset,
            });
        }
        self.offset += 1;
        Ok(())
    }

    fn two_digits(&mut self) -> Result<u32, TimeError> {
        match (self.digit(0), self.digit(1)) {
            (Some(tens), Some(ones)) => {
                self.offset += 2;
                Ok(tens * 10 + ones)
            }
            _ => Err(TimeError::Shape {
                offset: self.offset,
            }),
        }
    }

    fn one_or_two_digits(&mut self) -> Result<u32, TimeError> {
        match (self.digit(0), self.digit(1)) {
            (Some(ones), None) => {
                self.offset += 1;
                Ok(ones)
            }
            _ => self.two_digits(),
        }
    }

    /// Nanoseconds of an optional fraction.
    fn fraction(&mut self) -> u32 {
        if !matches!(self.peek(0), Some(b'.' | b',')) || self.digit(1).is_none() {
            return 0;
        }
        self.offset += 1;
        let mut nanoseconds = 0;
        let mut unit = 100_000_000;
        while let Some(digit) = self.digit(0) {
            nanoseconds += digit * unit;
            unit /= 10;
            self.offset += 1;
        }
        nanoseconds
    }

    /// Seconds east of UTC.
    fn zone(&mut self) -> Result<i32, TimeError> {
        let sign = match self.peek(0) {
            Some(b'Z') => {
                self.offset += 1;
                return Ok(0);
            }
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => {
                return Err(TimeError::Shape {
                    offset: self.offset,
                });
            }
        };
        self.offset += 1;
        let hours = in_range("time zone offset hour", self.two_digits()?, 0, 24)?;
        self.literal(b':')?;
        let minutes = in_range("time zone offset minute", self.two_digits()?, 0, 60)?;
        Ok(sign * (hours * 3_600 + minutes * 60) as i32)
    }
}

/// Days since the Unix epoch of a proleptic Gregorian date. Months and days out of range carry
/// over, so that "day 32 of January" is the first of February. Meant for `|year|` below 10^12.
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year + (month - 1).div_euclid(12);
    let month = (month - 1).rem_euclid(12);
    // Counting years from March puts the leap day last, where it disturbs nothing.
    let (year, month) = if month >= 2 {
        (year, month - 2)
    } else {
        (year - 1, month + 10)
    };
    let days_before_month = (153 * month + 2) / 5;
    365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + days_before_month
        + (day - 1)
        - 719_468
}

/// Year, month and day of a count of days since the Unix epoch.
pub(crate) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let (month, carry) = if shifted_month < 10 {
        (shifted_month + 3, 0)
    } else {
        (shifted_month - 9, 1)
    };
    (era * 400 + year_of_era + carry, month, day)
}

fn days_in_month(year: i64, month: u32) -> u32 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn durations_the_server_accepts() {
        for (text, expected) in [
            ("0", 0),
            ("-0", 0),
            ("5s", 5 * SECOND),
            ("+5s", 5 * SECOND),
            ("-1s", -SECOND),
            (".5s", SECOND / 2),
            ("5.s", 5 * SECOND),
            ("1.5h", 5_400 * SECOND),
            ("2h45m", 9_900 * SECOND),
            ("1h15m30.918273645s", 4_530_918_273_645),
            ("10us", 10_000),
            ("10\u{b5}s", 10_000),
            ("10\u{3bc}s", 10_000),
            ("0.3333333333333333333h", 20 * 60 * SECOND),
            ("9007199254740993ns", 9_007_199_254_740_993),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
            ("-2562047h47m16.854775808s", i64::MIN),
            ("0.100000000000000000000h", 360 * SECOND),
            ("0.830103483285477580700h", 2_988_372_539_827),
        ] {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn durations_the_server_refuses() {
        use DurationError::*;
        for (text, expected) in [
            ("", ExpectedNumber { offset: 0 }),
            ("3", MissingUnit { offset: 1 }),
            ("-", ExpectedNumber { offset: 1 }),
            ("s", ExpectedNumber { offset: 0 }),
            (".s", ExpectedNumber { offset: 0 }),
            ("+.s", ExpectedNumber { offset: 1 }),
            ("1d", UnknownUnit { offset: 1 }),
            ("1s ", UnknownUnit { offset: 1 }),
            (" 1s", ExpectedNumber { offset: 0 }),
            ("1S", UnknownUnit { offset: 1 }),
            ("1s2", MissingUnit { offset: 3 }),
            ("9223372036854775808ns", OutOfRange { offset: 21 }),
            ("9223372036854775.808us", OutOfRange { offset: 22 }),
            ("3000000h", OutOfRange { offset: 0 }),
            ("99999999999999999999ns", OutOfRange { offset: 0 }),
            ("-9223372036854775809ns", OutOfRange { offset: 1 }),
        ] {
            assert_eq!(parse_duration(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn instants_the_server_accepts() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2023-11-14T22:13:20Z", 1_700_000_000 * SECOND),
            (
                "2023-11-14T22:13:20.5Z",
                1_700_000_000 * SECOND + SECOND / 2,
            ),
            (
                "2023-11-14T22:13:20,5Z",
                1_700_000_000 * SECOND + SECOND / 2,
            ),
            (
                "2023-11-14T22:13:20.1234567899Z",
                1_700_000_000 * SECOND + 123_456_789,
            ),
            ("2023-11-15T00:13:20+02:00", 1_700_000_000 * SECOND),
            ("2023-11-14T20:43:20-01:30", 1_700_000_000 * SECOND),
            ("2023-11-15T22:13:20+24:00", 1_700_000_000 * SECOND),
            ("1970-01-01T5:00:00Z", 5 * 3_600 * SECOND),
            ("1677-09-21T00:12:43.145224192Z", i64::MIN),
            ("2262-04-11T23:47:16.854775807Z", i64::MAX),
        ] {
            assert_eq!(parse_rfc3339(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn instants_the_server_refuses() {
        use TimeError::*;
        for (text, expected) in [
            ("", Shape { offset: 0 }),
            ("2023-11-14 22:13:20Z", Shape { offset: 10 }),
            ("2023-11-14t22:13:20Z", Shape { offset: 10 }),
            ("2023-11-14T22:13:20z", Shape { offset: 19 }),
            ("2023-11-14T22:13:20", Shape { offset: 19 }),
            ("2023-11-14T22:13:20.Z", Shape { offset: 19 }),
            ("2023-11-14T22:13:20Zx", Shape { offset: 20 }),
            (
                "2023-11-14T22:13:60Z",
                Range {
                    field: "second",
                    value: 60,
                },
            ),
            (
                "2023-11-14T24:13:00Z",
                Range {
                    field: "hour",
                    value: 24,
                },
            ),
            (
                "2023-02-29T00:00:00Z",
                Range {
                    field: "day",
                    value: 29,
                },
            ),
            (
                "2023-13-01T00:00:00Z",
                Range {
                    field: "month",
                    value: 13,
                },
            ),
            (
                "2023-01-00T00:00:00Z",
                Range {
                    field: "day",
                    value: 0,
                },
            ),
            (
                "2023-11-14T22:13:20+25:00",
                Range {
                    field: "time zone offset hour",
                    value: 25,
                },
            ),
        ] {
            assert_eq!(parse_instant(text), Err(expected), "{text}");
        }
        assert_eq!(
            parse_rfc3339("2300-01-01T00:00:00Z"),
            Err(Unrepresentable {
                unix_seconds: 10_413_792_000
            })
        );
    }

    #[test]
    fn no_time_survives_and_wraps_as_on_disk() {
        let zero = parse_instant("0001-01-01T00:00:00Z").unwrap();
        assert_eq!(zero, Instant::ZERO);
        assert!(zero.is_zero());
        assert_eq!(zero.to_rfc3339(), "0001-01-01T00:00:00Z");
        assert_eq!(zero.unix_ns_wrapping(), -6_795_364_578_871_345_152);
        assert!(zero.unix_ns().is_err());
    }

    #[test]
    fn formatting_trims_zeros_and_keeps_the_offset() {
        let text = "2023-11-15T00:13:20.120+02:00";
        let instant = parse_instant(text).unwrap();
        assert_eq!(instant.to_rfc3339(), "2023-11-15T00:13:20.12+02:00");
        assert_eq!(instant.to_rfc3339_utc(), "2023-11-14T22:13:20.12Z");
        assert_eq!(format_rfc3339(-1), "1969-12-31T23:59:59.999999999Z");
        let late = parse_instant("9999-12-31T23:59:59-00:01").unwrap();
        assert_eq!(late.to_rfc3339_utc(), "10000-01-01T00:00:59Z");
    }

    proptest! {
        #[test]
        fn formatted_instants_read_back(timestamp_ns in any::<i64>()) {
            prop_assert_eq!(parse_rfc3339(&format_rfc3339(timestamp_ns)), Ok(timestamp_ns));
        }

        #[test]
        fn days_and_dates_are_inverse(days in -4_000_000i64..4_000_000) {
            let (year, month, day) = civil_from_days(days);
            prop_assert_eq!(days_from_civil(year, month, day), days);
        }

        #[test]
        fn parsers_take_any_text(text in any::<String>(), near in "[-+]?[0-9.,:TZhmsnu -]{0,30}") {
            for text in [text, near] {
                let _ = parse_duration(&text);
                let _ = parse_instant(&text).map(|instant| (instant.to_rfc3339(), instant.unix_ns()));
            }
        }
    }
}
