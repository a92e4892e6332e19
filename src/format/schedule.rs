//! When a message schedule fires next.
//!
//! Sources: file format reference, section 9; recovery reference, section 7.5. The schedule list on
//! disk holds instants, so a pattern must yield the very second the server would compute, across
//! changes of the clock too; that fixes the order of the search in `Cron::next`, which an equally
//! sensible search in civil time would not reproduce.

use super::duration::{civil_from_days, days_from_civil, parse_duration, parse_instant};
use super::headers::{SCHEDULE, SCHEDULE_TIME_ZONE, find};
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

const NS_PER_SECOND: i128 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// How many calendar years ahead a pattern is searched.
const SEARCHED_YEARS: i64 = 5;

/// When the schedule of a message fires, in nanoseconds since the Unix epoch.
///
/// `record_ts_ns` is the time of the record. Repeating schedules count from there, or from `now_ns`
/// where that would lie in the past; a single `@at` time may be past. None without a schedule, for
/// one the server would refuse, and for the server's "no time", 0001-01-01T00:00:00Z. Results
/// outside 64 bits of nanoseconds wrap as they do in the schedule list.
pub fn next_fire(headers: &[u8], record_ts_ns: i64, now_ns: i64) -> Option<i64> {
    let pattern = find(headers, SCHEDULE)?;
    let zone = match find(headers, SCHEDULE_TIME_ZONE) {
        Some(name) => Some(Zone::named(name)?),
        None => None,
    };
    // Undecodable bytes are legal where cron ignores the text, and fail everywhere else.
    fire_time(
        &String::from_utf8_lossy(pattern),
        zone,
        record_ts_ns,
        now_ns,
    )
}

/// Whether a message carries a schedule that the server would honour if it arrived at `now_ns`.
pub fn is_scheduled(headers: &[u8], now_ns: i64) -> bool {
    next_fire(headers, now_ns, now_ns).is_some()
}

fn fire_time(pattern: &str, zone: Option<Zone>, record_ts_ns: i64, now_ns: i64) -> Option<i64> {
    if pattern.is_empty() {
        return None;
    }
    let single = pattern.strip_prefix("@at ");
    let interval = pattern.strip_prefix("@every ");
    match (single, interval, zone) {
        (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => None,
        (Some(instant), _, None) => {
            let instant = parse_instant(instant).ok()?;
            (!instant.is_zero()).then(|| instant.unix_ns_wrapping())
        }
        (_, Some(interval), None) => next_interval(interval, record_ts_ns, now_ns),
        (None, None, zone) => next_match(
            &Cron::parse(expand_alias(pattern))?,
            &zone.unwrap_or(Zone::UTC),
            record_ts_ns,
            now_ns,
        ),
    }
}

fn next_interval(interval: &str, record_ts_ns: i64, now_ns: i64) -> Option<i64> {
    let interval_ns = i128::from(parse_duration(interval).ok()?);
    if interval_ns < NS_PER_SECOND {
        return None;
    }
    let next = i128::from(round_to_second(record_ts_ns)) * NS_PER_SECOND + interval_ns;
    let next = if next < i128::from(now_ns) {
        i128::from(round_to_second(now_ns)) * NS_PER_SECOND + interval_ns
    } else {
        next
    };
    Some(next as i64)
}

fn next_match(cron: &Cron, zone: &Zone, record_ts_ns: i64, now_ns: i64) -> Option<i64> {
    let in_ns = |seconds: i64| i128::from(seconds) * NS_PER_SECOND;
    let mut next = cron.next(zone, record_ts_ns.div_euclid(NS_PER_SECOND as i64))?;
    if in_ns(next) < i128::from(now_ns) {
        // The server keeps this start in 64 bits of nanoseconds, which the last half second of
        // the year 2262 overflows.
        let start_ns = in_ns(round_to_second(now_ns)) as i64;
        next = cron.next(zone, start_ns.div_euclid(NS_PER_SECOND as i64))?;
    }
    Some(in_ns(next) as i64)
}

/// The nearest whole second since the Unix epoch, halves up.
fn round_to_second(timestamp_ns: i64) -> i64 {
    let half = NS_PER_SECOND / 2;
    ((i128::from(timestamp_ns) + half).div_euclid(NS_PER_SECOND)) as i64
}

fn expand_alias(pattern: &str) -> &str {
    match pattern {
        "@yearly" | "@annually" => "0 0 0 1 1 *",
        "@monthly" => "0 0 0 1 * *",
        "@weekly" => "0 0 0 * * 0",
        "@daily" | "@midnight" => "0 0 0 * * *",
        "@hourly" => "0 0 * * * *",
        other => other,
    }
}

/// A time zone; none is UTC.
#[derive(Debug, Clone)]
struct Zone(Option<TimeZone>);

impl Zone {
    const UTC: Self = Self(None);

    /// The zone of exactly this IANA name, letter case included.
    ///
    /// `Local`, the zone of the machine the server runs on, is taken for UTC: nothing in a store
    /// says which machine that was.
    fn named(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?;
        if matches!(name, "UTC" | "Local") {
            return Some(Self::UTC);
        }
        let zone = TimeZoneDatabase::bundled().get(name).ok()?;
        // The database ignores case and invents an unknown zone; the server does neither.
        (zone.iana_name() == Some(name) && !zone.is_unknown()).then_some(Self(Some(zone)))
    }

    /// Seconds east of UTC at an instant.
    fn offset_seconds(&self, unix_seconds: i64) -> i64 {
        let (Some(zone), Ok(instant)) = (&self.0, Timestamp::from_second(unix_seconds)) else {
            return 0;
        };
        i64::from(zone.to_offset(instant).seconds())
    }

    fn local(&self, unix_seconds: i64) -> Local {
        let seconds = unix_seconds + self.offset_seconds(unix_seconds);
        let days = seconds.div_euclid(SECONDS_PER_DAY);
        let clock = seconds.rem_euclid(SECONDS_PER_DAY);
        let (year, month, day) = civil_from_days(days);
        Local {
            year,
            month,
            day,
            // The epoch was a Thursday.
            weekday: (days + 4).rem_euclid(7),
            clock,
        }
    }

    /// The instant of a local date and time; months and days out of range carry over.
    ///
    /// A time that the clock skips or shows twice is settled by two offsets: the first taken as if
    /// the local time were UTC, the second at the instant that the first one gives. This is the
    /// server's rule, and so is that an offset of zero needs no second look.
    fn instant(&self, year: i64, month: i64, day: i64, clock: i64) -> i64 {
        let seconds = days_from_civil(year, month, day) * SECONDS_PER_DAY + clock;
        match self.offset_seconds(seconds) {
            0 => seconds,
            guess => seconds - self.offset_seconds(seconds - guess),
        }
    }
}

/// A local date and time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Local {
    year: i64,
    month: i64,
    day: i64,
    /// Days since Sunday.
    weekday: i64,
    /// Seconds since midnight by the clock on the wall.
    clock: i64,
}

/// What one part of the search settles, in the order in which it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

impl Unit {
    const ALL: [Self; 5] = [
        Self::Month,
        Self::Day,
        Self::Hour,
        Self::Minute,
        Self::Second,
    ];

    fn value(self, local: &Local) -> i64 {
        match self {
            Self::Month => local.month,
            Self::Day => local.day,
            Self::Hour => local.clock / 3_600,
            Self::Minute => local.clock / 60 % 60,
            Self::Second => local.clock % 60,
        }
    }

    /// The least value, at which the next larger unit has changed.
    fn first(self) -> i64 {
        match self {
            Self::Month | Self::Day => 1,
            Self::Hour | Self::Minute | Self::Second => 0,
        }
    }

    /// The start of the month, day, ... that an instant lies in. Minutes are those of UTC, which
    /// matters in zones with odd seconds only.
    fn start(self, zone: &Zone, unix_seconds: i64) -> i64 {
        let Local {
            year,
            month,
            day,
            clock,
            ..
        } = zone.local(unix_seconds);
        match self {
            Self::Month => zone.instant(year, month, 1, 0),
            Self::Day => zone.instant(year, month, day, 0),
            Self::Hour => zone.instant(year, month, day, clock - clock % 3_600),
            Self::Minute => unix_seconds - unix_seconds.rem_euclid(60),
            Self::Second => unix_seconds,
        }
    }

    /// One unit later: dates by the calendar, times by elapsed seconds.
    fn step(self, zone: &Zone, unix_seconds: i64) -> i64 {
        let local = zone.local(unix_seconds);
        match self {
            Self::Month => zone.instant(local.year, local.month + 1, local.day, local.clock),
            Self::Day => zone.instant(local.year, local.month, local.day + 1, local.clock),
            Self::Hour => unix_seconds + 3_600,
            Self::Minute => unix_seconds + 60,
            Self::Second => unix_seconds + 1,
        }
    }
}

/// The values one field allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Field {
    /// Bit n set: n is allowed.
    allowed: u64,
    /// Whether a part of the field is a bare `*` or `?`.
    star: bool,
}

impl Field {
    fn allows(self, value: i64) -> bool {
        (0..64).contains(&value) && self.allowed >> value & 1 == 1
    }

    /// A comma list of ranges. Empty list elements do not count, so `,` allows nothing at all.
    fn parse(text: &str, bounds: &Bounds) -> Option<Self> {
        text.split(',')
            .filter(|part| !part.is_empty())
            .try_fold(Self::default(), |field, part| {
                let part = bounds.range(part)?;
                Some(Self {
                    allowed: field.allowed | part.allowed,
                    star: field.star | part.star,
                })
            })
    }
}

/// What may stand in a field.
struct Bounds {
    first: u64,
    last: u64,
    /// Names of the values from `first` on.
    names: &'static [&'static str],
}

const SECONDS: Bounds = Bounds {
    first: 0,
    last: 59,
    names: &[],
};
const MINUTES: Bounds = SECONDS;
const HOURS: Bounds = Bounds {
    first: 0,
    last: 23,
    names: &[],
};
const DAYS: Bounds = Bounds {
    first: 1,
    last: 31,
    names: &[],
};
const MONTHS: Bounds = Bounds {
    first: 1,
    last: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
const WEEKDAYS: Bounds = Bounds {
    first: 0,
    last: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

impl Bounds {
    /// `*`, `?`, `n` or `a-b`, each with an optional `/step`.
    fn range(&self, text: &str) -> Option<Field> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(number(step)?)),
            None => (text, None),
        };
        let (low, high) = match range.split_once('-') {
            Some((low, high)) => (low, Some(high)),
            None => (range, None),
        };
        // The server does not look at what follows a star and a hyphen.
        let star = matches!(low, "*" | "?");
        let (first, last) = if star {
            (self.first, self.last)
        } else {
            let first = self.value(low)?;
            let last = match high {
                Some(high) => self.value(high)?,
                None if step.is_some() => self.last,
                None => first,
            };
            (first, last)
        };
        let step = step.unwrap_or(1);
        if first < self.first || last > self.last || first > last || step == 0 {
            return None;
        }
        // No field has 64 values, so a longer step changes nothing.
        let allowed = (first..=last)
            .step_by(step.min(64) as usize)
            .fold(0, |bits, value| bits | 1 << value);
        Some(Field {
            allowed,
            star: star && step == 1,
        })
    }

    fn value(&self, text: &str) -> Option<u64> {
        // The server folds case letter by letter, by which a dotted capital I becomes a plain i.
        let name = text.replace('\u{130}', "i").to_lowercase();
        match (self.first..).zip(self.names).find(|(_, of)| **of == name) {
            Some((value, _)) => Some(value),
            None => number(text),
        }
    }
}

/// A decimal number with an optional plus sign, as far as 63 bits reach.
fn number(text: &str) -> Option<u64> {
    if text.starts_with('-') {
        return None;
    }
    u64::try_from(text.parse::<i64>().ok()?).ok()
}

/// A cron pattern of six fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cron {
    second: Field,
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

impl Cron {
    fn parse(pattern: &str) -> Option<Self> {
        let mut fields = pattern.split_whitespace();
        let cron = Self {
            second: Field::parse(fields.next()?, &SECONDS)?,
            minute: Field::parse(fields.next()?, &MINUTES)?,
            hour: Field::parse(fields.next()?, &HOURS)?,
            day: Field::parse(fields.next()?, &DAYS)?,
            month: Field::parse(fields.next()?, &MONTHS)?,
            weekday: Field::parse(fields.next()?, &WEEKDAYS)?,
        };
        fields.next().is_none().then_some(cron)
    }

    fn matches(&self, unit: Unit, local: &Local) -> bool {
        let value = unit.value(local);
        match unit {
            Unit::Month => self.month.allows(value),
            Unit::Day => self.day_matches(local),
            Unit::Hour => self.hour.allows(value),
            Unit::Minute => self.minute.allows(value),
            Unit::Second => self.second.allows(value),
        }
    }

    /// A star in one of the two day fields leaves the choice to the other; without a star either
    /// may choose.
    fn day_matches(&self, local: &Local) -> bool {
        let day = self.day.allows(local.day);
        let weekday = self.weekday.allows(local.weekday);
        if self.day.star || self.weekday.star {
            day && weekday
        } else {
            day || weekday
        }
    }

    /// The first matching second after one, in seconds since the Unix epoch; None when none is
    /// found in the running year and the five after it.
    ///
    /// Units are settled from months down to seconds, each by stepping until it matches. When a
    /// larger unit changes on the way, all start over. Only the first step of all goes from the
    /// start of its unit, so after a midnight that the clock skips, later days are visited at an
    /// odd hour, and hours before it are overlooked.
    fn next(&self, zone: &Zone, after_seconds: i64) -> Option<i64> {
        if [self.second, self.minute, self.hour, self.month]
            .iter()
            .any(|field| field.allowed == 0)
        {
            return None;
        }
        let mut at = after_seconds + 1;
        let last_year = zone.local(at).year + SEARCHED_YEARS;
        let mut aligned = false;
        'search: while zone.local(at).year <= last_year {
            for unit in Unit::ALL {
                while !self.matches(unit, &zone.local(at)) {
                    if !aligned {
                        aligned = true;
                        at = unit.start(zone, at);
                    }
                    let later = unit.step(zone, at);
                    if later <= at {
                        // A zone that skips a whole day stops the calendar; the server never
                        // comes out of there.
                        return None;
                    }
                    at = later;
                    if unit.value(&zone.local(at)) == unit.first() {
                        continue 'search;
                    }
                }
            }
            return Some(at);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::duration::{format_rfc3339, parse_rfc3339};
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000_000;

    fn block(pattern: &str, zone: &str) -> Vec<u8> {
        let zone = match zone {
            "" => String::new(),
            zone => format!("Nats-Schedule-Time-Zone: {zone}\r\n"),
        };
        format!("NATS/1.0\r\n{zone}Nats-Schedule: {pattern}\r\n\r\n").into_bytes()
    }

    fn ns(time: &str) -> i64 {
        parse_rfc3339(time).unwrap()
    }

    /// The answer for a record of this time, long before which it still is.
    fn fires(pattern: &str, zone: &str, record: &str) -> Option<String> {
        next_fire(&block(pattern, zone), ns(record), 0).map(format_rfc3339)
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn answers_of_the_server_where_clocks_change() {
        for (pattern, zone, record, expected) in [
            // The hour that is skipped, and the one that comes twice.
            (
                "0 30 2 * * *",
                "Europe/Berlin",
                "2027-03-27T12:00:00Z",
                Some("2027-03-29T00:30:00Z"),
            ),
            (
                "0 30 2 * * *",
                "Europe/Berlin",
                "2027-10-30T12:00:00Z",
                Some("2027-10-31T00:30:00Z"),
            ),
            (
                "0 30 2 * * *",
                "Europe/Berlin",
                "2027-10-31T00:30:00Z",
                Some("2027-10-31T01:30:00Z"),
            ),
            // Skipped midnights, which upset the hours of the days after them.
            (
                "0 0 0 5 9 *",
                "America/Santiago",
                "2027-07-01T00:00:00Z",
                Some("2030-09-05T04:00:00Z"),
            ),
            (
                "0 0 0 * * *",
                "America/Santiago",
                "2027-09-04T12:00:00Z",
                Some("2027-09-06T03:00:00Z"),
            ),
            (
                "0 0 0 14 3 *",
                "America/Havana",
                "2027-02-01T00:00:00Z",
                None,
            ),
            (
                "0 0 1 15 3 *",
                "America/Havana",
                "2027-03-01T06:00:00Z",
                None,
            ),
            (
                "0 0 1 1 * *",
                "Africa/Cairo",
                "2027-04-29T06:00:00Z",
                Some("2027-04-30T22:00:00Z"),
            ),
            ("0 0 0 30 4 *", "Africa/Cairo", "2027-04-28T06:00:00Z", None),
            // Half an hour of summer time.
            (
                "0 15 2 * * *",
                "Australia/Lord_Howe",
                "2027-10-02T06:00:00Z",
                Some("2027-10-03T15:15:00Z"),
            ),
            (
                "0 0 6 * * mon-fri",
                "Asia/Kolkata",
                "2027-01-01T01:00:00Z",
                Some("2027-01-04T00:30:00Z"),
            ),
            (
                "0 0 0 31 * *",
                "",
                "2027-01-31T00:00:00Z",
                Some("2027-03-31T00:00:00Z"),
            ),
            (
                "0 0 0 29 2 *",
                "",
                "2028-02-29T00:00:00Z",
                Some("2032-02-29T00:00:00Z"),
            ),
            (
                "0 0 0 29 2 0",
                "",
                "2028-03-01T00:00:00Z",
                Some("2029-02-04T00:00:00Z"),
            ),
            ("0 0 0 29 2 ?", "", "2096-03-01T00:00:00Z", None),
        ] {
            assert_eq!(
                fires(pattern, zone, record).as_deref(),
                expected,
                "{pattern} in {zone} after {record}"
            );
        }
    }

    #[test]
    fn a_zone_without_that_day_ends_the_search() {
        // Samoa had no 30 December 2011; the calendar does not get past the 29th.
        assert_eq!(
            fires("0 0 0 15 * *", "Pacific/Apia", "2011-12-28T12:00:00Z"),
            None
        );
    }

    #[test]
    fn single_instants() {
        let at = |text: &str| next_fire(&block(&format!("@at {text}"), ""), 0, i64::MAX);
        assert_eq!(at("1970-01-01T00:00:01.5Z"), Some(1_500_000_000));
        assert_eq!(at("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(at("0001-01-01T00:00:00Z"), None);
        assert_eq!(
            at("0001-01-01T00:00:00.000000001Z"),
            Some(-6_795_364_578_871_345_151)
        );
        for wrong in [
            "",
            " 1970-01-01T00:00:01Z",
            "1970-01-01T00:00:01",
            "1970-02-30T00:00:01Z",
            "soon",
        ] {
            assert_eq!(at(wrong), None, "{wrong:?}");
        }
        assert_eq!(
            fires("@at 2027-01-01T00:00:00Z", "UTC", "2026-01-01T00:00:00Z"),
            None
        );
    }

    #[test]
    fn intervals() {
        let every = |text: &str, record_ns, now_ns| {
            next_fire(&block(&format!("@every {text}"), ""), record_ns, now_ns)
        };
        assert_eq!(every("90s", SECOND / 2, 0), Some(91 * SECOND));
        assert_eq!(every("90s", SECOND / 2 - 1, 0), Some(90 * SECOND));
        assert_eq!(every("1500ms", 0, 0), Some(1_500_000_000));
        assert_eq!(
            every("1s", 0, SECOND),
            Some(SECOND),
            "due now is not yet past"
        );
        assert_eq!(every("1s", 0, SECOND + 1), Some(2 * SECOND));
        assert_eq!(
            every("10s", 0, 100 * SECOND + SECOND / 2),
            Some(111 * SECOND)
        );
        assert_eq!(
            every("2562047h", i64::MAX, 0),
            Some(-2_836_709_551_616),
            "wraps"
        );
        for wrong in ["999ms", "-1h", "0", "5", "", "1s ", "soon"] {
            assert_eq!(every(wrong, 0, 0), None, "{wrong:?}");
        }
        assert_eq!(fires("@every 1m", "UTC", "2026-01-01T00:00:00Z"), None);
    }

    #[test]
    fn aliases_and_zone_names() {
        let record = "2026-05-06T07:08:09.5Z";
        for (alias, expected) in [
            ("@yearly", "2027-01-01T00:00:00Z"),
            ("@annually", "2027-01-01T00:00:00Z"),
            ("@monthly", "2026-06-01T00:00:00Z"),
            ("@weekly", "2026-05-10T00:00:00Z"),
            ("@daily", "2026-05-07T00:00:00Z"),
            ("@midnight", "2026-05-07T00:00:00Z"),
            ("@hourly", "2026-05-06T08:00:00Z"),
        ] {
            assert_eq!(
                fires(alias, "", record).as_deref(),
                Some(expected),
                "{alias}"
            );
        }
        for alias in ["@Daily", "@daily ", "@minutely", "@at", "@every", ""] {
            assert_eq!(fires(alias, "", record), None, "{alias:?}");
        }
        assert_eq!(
            fires("@daily", "America/New_York", record).as_deref(),
            Some("2026-05-07T04:00:00Z")
        );
        assert_eq!(
            fires("@daily", "Local", record),
            fires("@daily", "UTC", record)
        );
        for zone in [
            "utc",
            "europe/berlin",
            "Europe",
            "Etc/Unknown",
            "+02:00",
            "UTC ",
            "Mars/Base",
        ] {
            assert_eq!(fires("@daily", zone, record), None, "{zone:?}");
        }
        let empty = b"NATS/1.0\r\nNats-Schedule-Time-Zone:\r\nNats-Schedule: @daily\r\n\r\n";
        assert_eq!(next_fire(empty, 0, 0), None);
    }

    #[test]
    fn fields_say_what_they_allow() {
        let bits = |values: &[u64]| values.iter().fold(0, |bits, value| bits | 1 << value);
        for (text, bounds, values, star) in [
            ("5", &SECONDS, &[5][..], false),
            ("+5,007", &SECONDS, &[5, 7], false),
            ("50/3", &SECONDS, &[50, 53, 56, 59], false),
            ("10-14/2", &SECONDS, &[10, 12, 14], false),
            ("10/9223372036854775807", &SECONDS, &[10], false),
            ("?/7", &HOURS, &[0, 7, 14, 21], false),
            ("5/1", &WEEKDAYS, &[5, 6], false),
            ("*-what/1", &WEEKDAYS, &[0, 1, 2, 3, 4, 5, 6], true),
            ("2,?", &WEEKDAYS, &[0, 1, 2, 3, 4, 5, 6], true),
            ("Mon-fr\u{130}/2", &WEEKDAYS, &[1, 3, 5], false),
            ("DEC,1", &MONTHS, &[1, 12], false),
            (",", &MONTHS, &[], false),
            (",3,,4,", &DAYS, &[3, 4], false),
        ] {
            let expected = Field {
                allowed: bits(values),
                star,
            };
            assert_eq!(Field::parse(text, bounds), Some(expected), "{text:?}");
        }
        for (text, bounds) in [
            ("60", &SECONDS),
            ("24", &HOURS),
            ("0", &DAYS),
            ("32", &DAYS),
            ("13", &MONTHS),
            ("7", &WEEKDAYS),
            ("sunday", &WEEKDAYS),
            ("jan", &WEEKDAYS),
            ("5-4", &HOURS),
            ("1-2-3", &HOURS),
            ("0--0", &HOURS),
            ("-1", &HOURS),
            ("1-", &HOURS),
            ("1/0", &HOURS),
            ("1/-0", &HOURS),
            ("1/2/3", &HOURS),
            ("1/", &HOURS),
            ("*/9223372036854775808", &HOURS),
            ("**", &HOURS),
            ("1_0", &HOURS),
            ("\u{663}", &HOURS),
        ] {
            assert_eq!(Field::parse(text, bounds), None, "{text:?}");
        }
        assert!(Cron::parse(" * *\u{a0}* *\t* * ").is_some());
        assert!(Cron::parse("* * * * *").is_none());
        assert!(Cron::parse("* * * * * * *").is_none());
    }

    #[test]
    fn day_fields_widen_or_narrow_each_other() {
        // The 1st of May 2026 is a Friday.
        let record = "2026-05-02T00:00:00Z";
        for (pattern, expected) in [
            ("0 0 0 13 * fri", "2026-05-08T00:00:00Z"),
            ("0 0 0 13 * *", "2026-05-13T00:00:00Z"),
            ("0 0 0 ? * fri", "2026-05-08T00:00:00Z"),
            ("0 0 0 */2 * fri", "2026-05-03T00:00:00Z"),
            ("0 0 0 13,* * fri", "2026-05-08T00:00:00Z"),
            ("0 0 0 , * fri", "2026-05-08T00:00:00Z"),
        ] {
            assert_eq!(
                fires(pattern, "", record).as_deref(),
                Some(expected),
                "{pattern}"
            );
        }
        for never in [
            "0 0 0 , * ,",
            "0 0 0 , * *",
            "0 0 0 30 2 *",
            ", * * * * *",
            "* * * * , *",
        ] {
            assert_eq!(fires(never, "", record), None, "{never}");
        }
    }

    #[test]
    fn what_has_passed_counts_from_now() {
        let headers = block("0 0 * * * *", "");
        let fire = |now: &str| {
            next_fire(&headers, ns("2026-01-01T00:10:00Z"), ns(now)).map(format_rfc3339)
        };
        assert_eq!(
            fire("2026-01-01T01:00:00Z").as_deref(),
            Some("2026-01-01T01:00:00Z")
        );
        assert_eq!(
            fire("2026-01-01T01:00:00.1Z").as_deref(),
            Some("2026-01-01T02:00:00Z")
        );
        // Rounding now up to the full hour steps over that hour.
        assert_eq!(
            fire("2026-01-01T04:59:59.5Z").as_deref(),
            Some("2026-01-01T06:00:00Z")
        );
        assert!(is_scheduled(&headers, ns("2026-01-01T04:59:59.5Z")));
        assert!(!is_scheduled(&block("x", ""), 0));
        assert!(!is_scheduled(b"", 0));
    }

    proptest! {
        #[test]
        fn any_pattern_at_any_time_is_taken(
            pattern in prop_oneof![
                any::<String>(),
                "[@a-z0-9 ]{0,20}",
                "([*?0-9,/-]{1,4} ){5}[*?0-9,/-]{1,4}",
                "[*,0-5]{1,3} [*,0-5]{1,3} [*,0-2]{1,3} [*,1-9]{1,3} [*,1-9]{1,3} [*,0-6]{1,3}",
            ],
            zone in prop_oneof![
                Just(String::new()), Just("Europe/Berlin".into()), Just("Pacific/Apia".into()),
                Just("America/Havana".into()), Just("Asia/Manila".into()), any::<String>(),
            ],
            record_ns: i64,
            now_ns in prop_oneof![Just(0), any::<i64>()],
        ) {
            let headers = block(&pattern, &zone);
            let _ = next_fire(&headers, record_ns, now_ns);
            let _ = is_scheduled(&headers, now_ns);
        }

        #[test]
        fn a_match_is_the_first_one_in_utc(
            second in 0u32..60, minute in 0u32..60, hour in 0u32..24, day in 1i64..29,
            record_seconds in 0i64..4_000_000_000,
        ) {
            let headers = block(&format!("{second} {minute} {hour} {day} * ?"), "");
            let found = next_fire(&headers, record_seconds * SECOND, 0).unwrap() / SECOND;
            let clock = i64::from(hour * 3_600 + minute * 60 + second);
            let (year, month, _) = civil_from_days(record_seconds / SECONDS_PER_DAY);
            let expected = (month..month + 2)
                .map(|month| days_from_civil(year, month, day) * SECONDS_PER_DAY + clock)
                .find(|&at| at > record_seconds);
            prop_assert_eq!(Some(found), expected);
        }
    }
}
