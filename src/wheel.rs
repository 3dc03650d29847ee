//! Long timers that wake the process once.
//!
//! tokio keeps timers in a wheel whose hands move by 1, 64 and 4096 ms. A timer that is far away wakes the process up to three
//! times: each time it moves to a finer hand, and when it is due. One that is due when the coarse hand moves is due at the first
//! of these.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What the coarse hand moves by.
const TURN: u128 = 4096;

/// A timer is long, and may be late by a turn, from here on.
const LONG: Duration = Duration::from_secs(20);

/// Where the wheel of the process begins: it counts full milliseconds, rounded up, from just after this.
static BEGIN: OnceLock<Instant> = OnceLock::new();

/// To be called just before the runtime is built.
pub(crate) fn begin() {
    BEGIN.get_or_init(Instant::now);
}

/// The time to set a timer to that is due at `deadline`: later by up to 4.1 s, if it is a long one.
pub(crate) fn set(deadline: Instant) -> Instant {
    BEGIN.get().map_or(deadline, |&begin| due(begin, Instant::now(), deadline))
}

fn due(begin: Instant, now: Instant, deadline: Instant) -> Instant {
    if deadline.saturating_duration_since(now) >= LONG { turn(begin, deadline) } else { deadline }
}

/// The first turn that is not before `deadline`.
fn turn(begin: Instant, deadline: Instant) -> Instant {
    let turns = (deadline - begin).as_nanos().div_ceil(TURN * 1_000_000);
    let ms = u64::try_from(turns * TURN).unwrap_or(u64::MAX);
    begin.checked_add(Duration::from_millis(ms)).unwrap_or(deadline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_timer_is_due_at_a_turn_and_a_short_one_when_it_says() {
        let begin = Instant::now();
        let after = |ms| begin + Duration::from_millis(ms);
        assert_eq!(turn(begin, begin), begin);
        assert_eq!(turn(begin, after(1)), after(4096));
        assert_eq!(turn(begin, after(4096)), after(4096));
        assert_eq!(turn(begin, after(26_000)), after(28_672));

        let now = after(1000);
        assert_eq!(due(begin, now, after(16_000)), after(16_000));
        assert_eq!(due(begin, now, after(31_000)), after(32_768));
    }
}
