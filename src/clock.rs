//! The time that certificates are checked against.
//!
//! Routers boot in 1970 and stay there until NTP answers, so the clock has floors below it: the day this program was
//! built, and the last time that the platform told over verified TLS. A clock that runs ahead is believed: nothing here
//! could tell.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The day of the source's last commit, or `SOURCE_DATE_EPOCH`, in seconds since 1970; set by `build.rs`.
pub const BUILD_TIME: u64 = decimal(env!("EDGE_GATEWAY_BUILD_TIME"));

/// How far ahead of the build a told time may lie: 20 years in seconds. Beyond that it would poison the floor.
const MAX_AHEAD: u64 = 20 * 365 * 86_400;

/// Which clock was the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The system clock: the usual case.
    System,
    /// The system clock is older than this program.
    Build,
    /// The system clock is older than a time the platform told.
    LastKnownGood,
}

/// A time to check certificates against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Seconds since 1970.
    pub unix: u64,
    /// Where it comes from.
    pub source: Source,
}

/// The latest of three clocks, all in seconds since 1970.
pub fn read(system: u64, build: u64, last_good: u64) -> Reading {
    if system >= build && system >= last_good {
        Reading { unix: system, source: Source::System }
    } else if build >= last_good {
        Reading { unix: build, source: Source::Build }
    } else {
        Reading { unix: last_good, source: Source::LastKnownGood }
    }
}

/// The agent's clock, shared between the threads that check certificates.
#[derive(Debug)]
pub struct Clock {
    /// A mutex because 32-bit MIPS and ARMv5 have no 64-bit atomics.
    floor: Mutex<Floor>,
}

/// A time that was told, and when that was by a clock that only goes forward. Between two answers of the platform lie minutes,
/// and a client's certificate that is made in them must not be from the future.
#[derive(Clone, Copy, Debug)]
struct Floor {
    told: u64,
    at: Instant,
}

impl Floor {
    /// The told time and what has passed since.
    fn unix(self, now: Instant) -> u64 {
        match self.told {
            0 => 0,
            told => told.saturating_add(now.saturating_duration_since(self.at).as_secs()),
        }
    }
}

impl Clock {
    /// A clock whose floor is the last known good time of the state file (0: none).
    pub fn new(last_good: u64) -> Self {
        let told = if is_plausible(last_good) { last_good } else { 0 };
        Self { floor: Mutex::new(Floor { told, at: Instant::now() }) }
    }

    /// The time now.
    pub fn now(&self) -> Reading {
        read(system(), BUILD_TIME, self.lock().unix(Instant::now()))
    }

    /// Seconds since 1970, now.
    pub fn unix(&self) -> u64 {
        self.now().unix
    }

    /// Raises the floor to a time that the platform told over verified TLS. Times that are older, or absurd, are ignored.
    pub fn learn(&self, unix: u64) {
        if is_plausible(unix) {
            let (mut floor, now) = (self.lock(), Instant::now());
            if unix >= floor.unix(now) {
                *floor = Floor { told: unix, at: now };
            }
        }
    }

    /// The last time that was told, for the state file.
    pub fn last_good(&self) -> u64 {
        self.lock().told
    }

    fn lock(&self) -> MutexGuard<'_, Floor> {
        self.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The system clock in seconds since 1970; 0 for a clock before that.
pub fn system() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn is_plausible(unix: u64) -> bool {
    unix <= BUILD_TIME.saturating_add(MAX_AHEAD)
}

/// A decimal number at compile time; other characters are skipped.
const fn decimal(text: &str) -> u64 {
    let (bytes, mut value, mut i) = (text.as_bytes(), 0, 0);
    while i < bytes.len() {
        if bytes[i].is_ascii_digit() {
            value = value * 10 + (bytes[i] - b'0') as u64;
        }
        i += 1;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_latest_clock_wins() {
        assert_eq!(read(300, 200, 100), Reading { unix: 300, source: Source::System });
        assert_eq!(read(0, 200, 100), Reading { unix: 200, source: Source::Build });
        assert_eq!(read(0, 200, 250), Reading { unix: 250, source: Source::LastKnownGood });
        assert_eq!(read(200, 200, 200).source, Source::System);
    }

    #[test]
    fn the_floor_only_rises() {
        let later = BUILD_TIME + 1_000;
        let clock = Clock::new(later);
        clock.learn(later - 500);
        assert_eq!(clock.last_good(), later);
        clock.learn(later + 500);
        assert_eq!(clock.last_good(), later + 500);
        assert!(clock.unix() >= later + 500);
    }

    #[test]
    fn the_floor_goes_on_with_time() {
        let at = Instant::now();
        let after = |told: u64| Floor { told, at }.unix(at + Duration::from_secs(100));
        assert_eq!(after(BUILD_TIME), BUILD_TIME + 100);
        assert_eq!(after(0), 0, "nothing was told");
    }

    #[test]
    fn absurd_times_do_not_poison_it() {
        let clock = Clock::new(u64::MAX);
        clock.learn(BUILD_TIME + MAX_AHEAD + 1);
        assert_eq!(clock.last_good(), 0);
    }

    #[test]
    fn the_build_time_is_a_date_of_this_project() {
        const { assert!(BUILD_TIME > 1_767_225_600, "older than 2026") };
        assert!(BUILD_TIME <= system(), "built in the future: {BUILD_TIME}");
    }
}
