//! Large buffers, lent to the streams that have bytes in flight and taken back when they have none.
//!
//! All are [`RECORD_BUF`] bytes long, room for any TLS record. Up to [`RECORD_BUFS_KEPT`] free ones
//! wait for the next stream, so a busy tunnel allocates nothing; the rest go back to the allocator,
//! so a burst does not stay in memory. How many are lent at once is half of the memory budget; who
//! finds none waits, and is served in turn.
//!
//! Each [`Lane`] has a share of its own. A holder may wait for a buffer of a later lane and for the
//! network, never for an earlier lane, so nobody waits in a circle.

use core::fmt;
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::budget::Budget;
use crate::limits::{MEMORY_DEFAULT, RECORD_BUF, RECORD_BUFS_KEPT};

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Bytes that came from a client.
    Clients,
    /// Bytes of an HTTP target, either way: if these do not read or answer, only HTTP waits.
    Targets,
    /// Bytes on their way to a client, and those of handshakes: held for moments.
    Sending,
}

impl Lane {
    /// The lane for what is sent on a stream that receives in this one.
    pub fn way_out(self) -> Self {
        match self {
            Lane::Clients | Lane::Sending => Lane::Sending,
            Lane::Targets => Lane::Targets,
        }
    }
}

struct Pool(Mutex<State>);

struct State {
    lanes: [Queue; 3],
    free: heapless::Vec<Box<[u8]>, RECORD_BUFS_KEPT>,
    /// The fewest that were free at any time since the last [`trim`].
    unused: usize,
    tickets: u64,
}

struct Queue {
    limit: usize,
    /// Buffers lent, and those kept for whom was called.
    lent: usize,
    waiting: VecDeque<(u64, Waker)>,
    /// Tickets whose buffer is there, and that have not taken it yet.
    called: Vec<u64>,
}

impl Queue {
    const fn new(limit: usize) -> Self {
        Queue { limit, lent: 0, waiting: VecDeque::new(), called: Vec::new() }
    }

    /// A buffer came back: it is for whom has waited longest. Its waker is to be called without the lock.
    #[must_use]
    fn pass_on(&mut self) -> Option<Waker> {
        if self.lent <= self.limit
            && let Some((ticket, waker)) = self.waiting.pop_front()
        {
            self.called.push(ticket);
            return Some(waker);
        }
        self.lent -= 1;
        None
    }
}

impl Pool {
    const fn new(memory: usize) -> Self {
        let [clients, targets, sending] = lanes(memory);
        let lanes = [Queue::new(clients), Queue::new(targets), Queue::new(sending)];
        Pool(Mutex::new(State { lanes, free: heapless::Vec::new(), unused: 0, tickets: 0 }))
    }

    fn trim(&self) {
        let mut pool = self.lock();
        let kept = pool.free.len() - pool.unused.min(pool.free.len());
        pool.free.truncate(kept);
        pool.unused = kept;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static POOL: Pool = Pool::new(MEMORY_DEFAULT);

/// How many buffers each lane has. A tunnel whose target does not read keeps one of the first lane, so that has the most;
/// those of the last are held for moments.
const fn lanes(memory: usize) -> [usize; 3] {
    let all = Budget::records(memory);
    let few = if all < 8 { 1 } else { all / 8 };
    [all - 2 * few, few, few]
}

/// Bounds what is lent by half of `memory`. What is lent already stays so.
pub fn set_memory(memory: usize) {
    let mut pool = POOL.lock();
    for (queue, limit) in pool.lanes.iter_mut().zip(lanes(memory)) {
        queue.limit = limit;
    }
}

/// Gives back the free buffers that nobody needed since the last call. Called now and then, by whoever has a timer anyway.
pub fn trim() {
    POOL.trim();
}

/// A place in the queue for a buffer; dropping it leaves the queue.
pub struct Claim {
    pool: &'static Pool,
    lane: Lane,
    ticket: Option<u64>,
}

impl Claim {
    /// Not yet in the queue.
    pub fn new(lane: Lane) -> Self {
        Self { pool: &POOL, lane, ticket: None }
    }

    /// A buffer as soon as one is there, in turn.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<Buffer> {
        let mut pool = self.pool.lock();
        let queue = &mut pool.lanes[self.lane as usize];
        match self.ticket {
            None if queue.waiting.is_empty() && queue.lent < queue.limit => queue.lent += 1,
            Some(ticket) if queue.called.contains(&ticket) => {
                queue.called.retain(|called| *called != ticket);
                self.ticket = None;
            }
            Some(ticket) => {
                if let Some((_, waker)) = queue.waiting.iter_mut().find(|(waiting, _)| *waiting == ticket) {
                    waker.clone_from(cx.waker());
                }
                return Poll::Pending;
            }
            None => {
                pool.tickets += 1;
                self.ticket = Some(pool.tickets);
                let place = (pool.tickets, cx.waker().clone());
                pool.lanes[self.lane as usize].waiting.push_back(place);
                return Poll::Pending;
            }
        }
        let free = pool.free.pop();
        pool.unused = pool.unused.min(pool.free.len());
        drop(pool);
        let bytes = free.unwrap_or_else(|| vec![0; RECORD_BUF].into_boxed_slice());
        Poll::Ready(Buffer { pool: self.pool, bytes, lane: self.lane })
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("lane", &self.lane).field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut pool = self.pool.lock();
        let queue = &mut pool.lanes[self.lane as usize];
        queue.waiting.retain(|(waiting, _)| *waiting != ticket);
        let called = queue.called.len();
        queue.called.retain(|called| *called != ticket);
        let next = if queue.called.len() < called { queue.pass_on() } else { None };
        drop(pool);
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

/// A buffer of [`RECORD_BUF`] bytes with whatever its last user left in it.
pub struct Buffer {
    pool: &'static Pool,
    bytes: Box<[u8]>,
    lane: Lane,
}

impl Buffer {
    /// A buffer as soon as one is there.
    pub async fn take(lane: Lane) -> Self {
        let mut claim = Claim::new(lane);
        poll_fn(|cx| claim.poll(cx)).await
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("lane", &self.lane).finish_non_exhaustive()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut pool = self.pool.lock();
        let next = pool.lanes[self.lane as usize].pass_on();
        let surplus = pool.free.push(bytes);
        drop(pool);
        // Given back to the allocator outside of the lock.
        drop(surplus);
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::limits::MEMORY_MIN;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_finds_none_is_served_in_turn_and_a_place_given_up_is_passed_on() {
        let woken: [Arc<Woken>; 3] = Default::default();
        let wakers = woken.each_ref().map(|woken| Waker::from(woken.clone()));
        let poll = |claim: &mut Claim, who: usize| claim.poll(&Context::from_waker(&wakers[who]));
        let times = |who: usize| woken[who].0.load(Ordering::Relaxed);

        let pool: &'static Pool = Box::leak(Box::new(Pool::new(2 << 20)));
        let claim = || Claim { pool, ..Claim::new(Lane::Targets) };
        let mut lent = Vec::new();
        let mut first = claim();
        while let Poll::Ready(buffer) = poll(&mut first, 0) {
            assert_eq!(buffer.len(), RECORD_BUF);
            lent.push(buffer);
        }
        assert_eq!(lent.len(), lanes(2 << 20)[Lane::Targets as usize]);
        let mut second = claim();
        assert!(poll(&mut second, 1).is_pending() && poll(&mut second, 1).is_pending());
        lent.pop();
        assert_eq!((times(0), times(1)), (1, 0), "the first was first");
        let mut third = claim();
        assert!(poll(&mut third, 2).is_pending(), "what is free is for whom was called");
        drop(first);
        assert_eq!(times(1), 1, "who was called and left passes it on");
        lent.push(match poll(&mut second, 1) {
            Poll::Ready(buffer) => buffer,
            Poll::Pending => panic!("the second was called"),
        });
        drop(third);
        let count = lent.len();
        drop(lent);
        let again: Vec<_> = (0..count).map(|_| poll(&mut claim(), 0)).collect();
        assert!(again.iter().all(Poll::is_ready), "nothing was lost");
        drop(again);
        assert!(pool.lock().free.len() <= RECORD_BUFS_KEPT);
        pool.trim();
        drop(match poll(&mut claim(), 0) {
            Poll::Ready(buffer) => buffer,
            Poll::Pending => panic!("one is free"),
        });
        pool.trim();
        assert_eq!(pool.lock().free.len(), 1, "one was in use in the meantime");
        pool.trim();
        assert!(pool.lock().free.is_empty());
    }

    #[test]
    fn every_lane_has_a_buffer_and_all_together_have_the_half() {
        for memory in [MEMORY_MIN, 2 << 20, MEMORY_DEFAULT] {
            assert!(lanes(memory).iter().all(|&count| count > 0));
            assert_eq!(lanes(memory).iter().sum::<usize>(), memory / 2 / RECORD_BUF);
        }
        assert!(
            lanes(MEMORY_DEFAULT)[0] >= crate::limits::TUNNELS_DEFAULT as usize,
            "no tunnel waits for another's target"
        );
    }
}
