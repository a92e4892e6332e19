//! The time and random numbers.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::{Clock, Entropy, IoError, Operation};

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsClock;

/// The operating system's random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsEntropy;

impl Clock for OsClock {
    fn now_ns(&self) -> i64 {
        nanoseconds(SystemTime::now())
    }
}

impl Entropy for OsEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), IoError> {
        getrandom::fill(buffer).map_err(|error| IoError {
            operation: Operation::Random,
            path: PathBuf::from("the operating system"),
            kind: io::ErrorKind::Other,
            code: error.raw_os_error(),
        })
    }
}

/// Nanoseconds since the Unix epoch, held within what 64 bits can say (1677 to 2262).
pub(super) fn nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, i64::wrapping_neg)
        }
    }
}

pub(super) fn system_time(time_ns: i64) -> SystemTime {
    let distance = Duration::from_nanos(time_ns.unsigned_abs());
    if time_ns < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    }
}
