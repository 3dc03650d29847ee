//! Lines with the time since the start.

use std::fmt;
use std::time::{Duration, Instant};

/// Prints what happens as it happens.
pub(crate) struct Transcript(Instant);

impl Transcript {
    pub(crate) fn start() -> Transcript {
        Transcript(Instant::now())
    }

    pub(crate) fn say(&self, topic: &str, text: impl fmt::Display) {
        println!("{:8.3} s  {topic:<10} {text}", self.0.elapsed().as_secs_f64());
    }
}

/// A duration in the unit that suits it.
pub(crate) struct Took(pub(crate) Duration);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs_f64() {
            seconds if seconds < 1.0 => write!(f, "{:.1} ms", seconds * 1000.0),
            seconds => write!(f, "{seconds:.2} s"),
        }
    }
}

/// KiB as MiB.
pub(crate) struct Mib(pub(crate) u64);

impl fmt::Display for Mib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MiB", self.0 as f64 / 1024.0)
    }
}
