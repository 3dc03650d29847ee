//! Growing pauses with jitter: a pure function of the number of failures and a seed.

use std::time::Duration;

/// Steps in which a pause is spread.
const FRACTIONS: u32 = 1 << 16;

/// Doubles from a least pause to a greatest one; each pause is drawn between half and the whole of it, so that a fleet that lost its
/// relay together does not come back together.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    least: Duration,
    greatest: Duration,
    failures: u32,
    random: u32,
}

impl Backoff {
    /// `seed` should differ from box to box.
    pub(super) fn new(least: Duration, greatest: Duration, seed: u32) -> Self {
        // The generator below stands still at 0.
        Backoff { least, greatest, failures: 0, random: seed | 1 }
    }

    /// The pause after one more failure.
    pub(super) fn next(&mut self) -> Duration {
        let whole = self.least.saturating_mul(1 << self.failures.min(16)).min(self.greatest);
        self.failures = self.failures.saturating_add(1);
        let half = whole / 2;
        half + half * self.fraction() / FRACTIONS
    }

    /// A success that lasted: the next failure counts as the first.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last reset.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// A number below [`FRACTIONS`], by Marsaglia's xorshift: spread is all that is asked of it.
    fn fraction(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random >> 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_secs(1);
    const GREATEST: Duration = Duration::from_secs(60);

    #[test]
    fn pauses_double_up_to_the_greatest_and_start_over() {
        for seed in [0, 1, 7, u32::MAX] {
            let mut backoff = Backoff::new(LEAST, GREATEST, seed);
            for failure in 0..40u32 {
                let whole = LEAST.saturating_mul(1 << failure.min(6)).min(GREATEST);
                let pause = backoff.next();
                assert!(pause >= whole / 2 && pause <= whole, "failure {failure}: {pause:?}");
            }
            backoff.reset();
            assert!(backoff.next() <= LEAST);
        }
    }

    #[test]
    fn boxes_differ() {
        let pauses = |seed| {
            let mut backoff = Backoff::new(LEAST, GREATEST, seed);
            (0..5).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        assert_ne!(pauses(3), pauses(5));
    }
}
