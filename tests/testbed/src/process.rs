//! What the kernel says of running processes: CPU time, memory, wake-ups.

use std::fs;
use std::io::{self, ErrorKind};
use std::ops::Sub;

/// Ticks of `utime` and `stime` in a second: fixed at 100 for user space (`proc(5)`, `_SC_CLK_TCK`).
const TICKS: f64 = 100.0;

/// CPU seconds of a process, those of its threads that have ended included.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cpu {
    /// In the program.
    pub user: f64,
    /// In the kernel on its behalf.
    pub system: f64,
}

impl Cpu {
    /// Of all these processes.
    ///
    /// # Errors
    /// When one has ended, or the system doesn't tell.
    pub fn of(processes: &[u32]) -> io::Result<Cpu> {
        processes.iter().try_fold(Cpu::default(), |sum, process| {
            let one = Cpu::read(&format!("/proc/{process}/stat"))?;
            Ok(Cpu { user: sum.user + one.user, system: sum.system + one.system })
        })
    }

    /// Of the thread that asks.
    ///
    /// # Errors
    /// When the system doesn't tell.
    pub fn of_thread() -> io::Result<Cpu> {
        Cpu::read("/proc/thread-self/stat")
    }

    fn read(path: &str) -> io::Result<Cpu> {
        let text = fs::read_to_string(path)?;
        // Fields 14 and 15, counted behind the name in parentheses, which may hold anything.
        let mut fields = text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().skip(11)).into_iter().flatten();
        let mut ticks = || fields.next().and_then(|field| field.parse::<f64>().ok());
        match (ticks(), ticks()) {
            (Some(user), Some(system)) => Ok(Cpu { user: user / TICKS, system: system / TICKS }),
            _ => Err(io::Error::new(ErrorKind::InvalidData, format!("{path} without times"))),
        }
    }

    /// Both.
    pub fn total(self) -> f64 {
        self.user + self.system
    }
}

impl Sub for Cpu {
    type Output = Cpu;

    fn sub(self, before: Cpu) -> Cpu {
        Cpu { user: self.user - before.user, system: self.system - before.system }
    }
}

/// A number from `/proc/PID/status`, without its unit.
fn status(process: u32, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("no {name} of process {process}")))
}

/// How often the main thread went to sleep and was woken again so far.
///
/// # Errors
/// When the process has ended.
pub fn wakeups(process: u32) -> io::Result<u64> {
    status(process, "voluntary_ctxt_switches")
}

/// Memory in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resident {
    /// All of it.
    pub all: u64,
    /// What no file backs: heap and stacks.
    pub anonymous: u64,
    /// The most that `all` was since [`forget_peak`].
    pub peak: u64,
}

impl Resident {
    /// Now.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn of(process: u32) -> io::Result<Resident> {
        let field = |name| status(process, name);
        Ok(Resident { all: field("VmRSS")?, anonymous: field("RssAnon")?, peak: field("VmHWM")? })
    }
}

/// Starts the peak over from what is resident now.
///
/// # Errors
/// When the process has ended, or belongs to someone else.
pub fn forget_peak(process: u32) -> io::Result<()> {
    fs::write(format!("/proc/{process}/clear_refs"), "5")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_looked_at() {
        let own = std::process::id();
        let before = Cpu::of_thread().expect("times");
        let mut x = 1u64;
        while (Cpu::of_thread().expect("times") - before).total() < 0.02 {
            for i in 0..100_000u64 {
                x = std::hint::black_box(x.wrapping_mul(i | 1));
            }
        }
        assert!(Cpu::of(&[own, own]).expect("times").total() >= 0.04);
        let memory = Resident::of(own).expect("memory");
        assert!(memory.all >= memory.anonymous && memory.anonymous > 0 && memory.peak >= memory.all / 2, "{memory:?}");
        wakeups(own).expect("a number");
        assert!(Resident::of(u32::MAX).is_err());
    }
}
