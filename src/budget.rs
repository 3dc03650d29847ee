//! How much memory the large buffers of the whole process may take: one number, `EDGE_GATEWAY_MEMORY`, in two halves.
//!
//! **Windows**: what peers have been told they may send. A promise can't be taken back, so what counts is what was promised, not
//! what lies in a ring buffer. Every tunnel has [`WINDOW_START`] for sure; the rest of this half is lent to tunnels that fill their
//! windows, and comes back as they empty them. **Records**: buffers of one TLS record each, held by the [`pool`](crate::pool).

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use crate::limits::ssh::{CHANNEL_WINDOW, CHANNELS_MAX, NEAR_WINDOW_MAX, WINDOW_MAX, WINDOW_START};
use crate::limits::{MEMORY_DEFAULT, RECORD_BUF};

/// The half for windows. Shared by all links of the process.
#[derive(Debug)]
pub struct Budget {
    /// Bytes of this half.
    windows: usize,
    /// Tunnels that are let in.
    tunnels: usize,
    /// Tunnels that are there, each with [`WINDOW_START`].
    open: AtomicUsize,
    /// Bytes lent beyond that.
    lent: AtomicUsize,
}

/// For a link that is told nothing else: as many channels as it can number.
impl Default for Budget {
    fn default() -> Self {
        Self::new(2 * MEMORY_DEFAULT, CHANNELS_MAX)
    }
}

impl Budget {
    /// Half of `memory` for the windows of at most `tunnels`; fewer when they would not all have a [`WINDOW_START`].
    pub fn new(memory: usize, tunnels: usize) -> Self {
        let windows = memory / 2;
        Self {
            windows,
            tunnels: tunnels.min(windows / WINDOW_START).max(1),
            open: AtomicUsize::new(0),
            lent: AtomicUsize::new(0),
        }
    }

    /// Tunnels that are let in at one time.
    pub fn tunnels(&self) -> usize {
        self.tunnels
    }

    /// Record buffers that the other half of `memory` holds.
    pub const fn records(memory: usize) -> usize {
        memory / 2 / RECORD_BUF
    }

    /// Bytes promised to peers, or set aside for them, at most.
    pub fn promised(&self) -> usize {
        self.open.load(Ordering::Relaxed) * WINDOW_START + self.lent.load(Ordering::Relaxed)
    }

    /// The window of a new tunnel; `None` when there are as many as may be.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Share> {
        let admitted = |open| (open < self.tunnels).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admitted).ok()?;
        Some(Share { budget: self.clone(), bytes: WINDOW_START })
    }

    /// What there would be for each tunnel.
    fn each(&self) -> usize {
        self.windows / self.open.load(Ordering::Relaxed).max(1)
    }

    /// What one tunnel is lent without a long line: its part of a quarter.
    fn near(&self) -> usize {
        (self.each() / 4).clamp(CHANNEL_WINDOW, NEAR_WINDOW_MAX)
    }

    /// What one tunnel may have at most: three quarters of what there would be for each.
    fn most(&self) -> usize {
        (self.each() / 4 * 3).min(WINDOW_MAX)
    }
}

/// What one tunnel has of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    /// Bytes of it.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that a window is to have for a near peer.
    pub(crate) fn near(&self) -> usize {
        self.budget.near()
    }

    /// Bytes of it beyond what one tunnel may have by now, over a long line or a near one: others have come since it grew.
    pub(crate) fn excess(&self, far: bool) -> usize {
        let most = self.budget.most();
        let due = if far { most } else { most.min(self.budget.near()) };
        self.bytes.saturating_sub(due.max(WINDOW_START))
    }

    /// Takes up to `more` from what is to be lent; how much that was.
    pub(crate) fn grow(&mut self, more: usize) -> usize {
        let budget = &self.budget;
        let more = more.min(budget.most().saturating_sub(self.bytes));
        let to_lend = budget.windows.saturating_sub(budget.tunnels * WINDOW_START);
        let mut taken = 0;
        let lent = budget.lent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |lent| {
            taken = more.min(to_lend.saturating_sub(lent));
            (taken > 0).then_some(lent + taken)
        });
        if lent.is_err() {
            return 0;
        }
        self.bytes += taken;
        taken
    }

    /// Gives back up to `less` of what was lent; how much that was.
    pub(crate) fn shrink(&mut self, less: usize) -> usize {
        let less = less.min(self.bytes - WINDOW_START);
        self.budget.lent.fetch_sub(less, Ordering::Relaxed);
        self.bytes -= less;
        less
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(usize::MAX);
        self.budget.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MEMORY_MIN;

    #[test]
    fn every_tunnel_that_is_let_in_has_its_window_and_nobody_gets_more_than_there_is() {
        let budget = Arc::new(Budget::new(2 << 20, 128));
        let mut shares: Vec<Share> = (0..128).map(|_| budget.admit().expect("room")).collect();
        assert!(budget.admit().is_none(), "the 129th");
        assert!(shares.iter_mut().all(|share| share.grow(1) == 0), "the half is promised");
        assert_eq!(budget.promised(), 1 << 20);
        shares.pop();
        assert!(budget.admit().is_some());
    }

    #[test]
    fn what_is_lent_comes_back() {
        let budget = Arc::new(Budget::new(4 << 20, 64));
        let mut one = budget.admit().expect("room");
        assert_eq!(one.grow(usize::MAX), (3 << 19) - WINDOW_START, "alone");
        let mut other = budget.admit().expect("room");
        assert_eq!(other.grow(usize::MAX), WINDOW_START, "no more is to be lent");
        assert_eq!((one.excess(true), other.excess(true)), (3 << 18, 0), "the first has more than its share by now");
        assert_eq!(one.shrink(one.excess(true)), 3 << 18);
        assert_eq!(one.grow(1), 0);
        assert_eq!(other.grow(usize::MAX), (3 << 18) - 2 * WINDOW_START);
        assert_eq!(one.shrink(1000), 1000);
        assert_eq!(budget.promised(), one.bytes() + other.bytes());
        drop((one, other));
        assert_eq!(budget.promised(), 0);
    }

    #[test]
    fn the_least_memory_serves_one_tunnel() {
        assert_eq!(Budget::new(MEMORY_MIN, 1).tunnels(), 1);
        assert!(Budget::new(MEMORY_MIN, 64).tunnels() < 64);
        assert!(Budget::records(MEMORY_MIN) >= 3, "one for each lane of the pool");
    }
}
