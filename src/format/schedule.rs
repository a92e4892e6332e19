//! When a message schedule fires next.
//!
//! Sources: file format reference, section 9; recovery reference, section 7.5. The schedule list on
//! disk holds instants, so a pattern must yield the very second the server would compute, across
//! changes of the clock too; that fixes the order of the search in [`Cron::next`], which an equally
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
