//! When a certificate is good.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Allowance for clocks that disagree: a certificate starts this long before it is made.
const SKEW: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The time from which a certificate is good, and until which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First instant at which the certificate is good.
    pub from: SystemTime,
    /// Last instant at which the certificate is good.
    pub until: SystemTime,
}

impl Validity {
    /// Good now, and for this long.
    pub fn lasting(time: Duration) -> Validity {
        let now = SystemTime::now();
        Validity { from: now - SKEW, until: now + time }
    }

    /// Was good for an hour, until an hour ago.
    pub fn past() -> Validity {
        let now = SystemTime::now();
        Validity { from: now - 2 * HOUR, until: now - HOUR }
    }

    /// Will be good for an hour, an hour from now.
    pub fn future() -> Validity {
        let now = SystemTime::now();
        Validity { from: now + HOUR, until: now + 2 * HOUR }
    }

    /// Both bounds in seconds since 1970.
    pub(crate) fn unix_seconds(self) -> (u64, u64) {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        (seconds(self.from), seconds(self.until))
    }
}
