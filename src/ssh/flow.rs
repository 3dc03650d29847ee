//! Flow control of one channel (RFC 4254 section 5.2): a window that never promises more than the budget holds.

use super::error::Error;
use crate::budget::Share;
use crate::limits::ssh::{CHANNEL_WINDOW, CREDIT_FAR, NEAR_MS, READER_SLOW_MS, RECEIVE_DATA_MAX};

/// The least storage that is allocated.
const STORAGE_MIN: usize = 4 * 1024;

/// Bytes in, the same bytes out, in storage that exists only while there is something to store and grows as far as needed.
#[derive(Default)]
struct Ring {
    storage: Box<[u8]>,
    /// First byte to be read.
    head: usize,
    length: usize,
}

impl Ring {
    /// Appends `data`; the caller has made sure that no more than `window` bytes are stored then.
    fn push(&mut self, data: &[u8], window: usize) {
        let needed = self.length + data.len();
        if needed > self.storage.len() {
            self.grow(needed.next_power_of_two().max(STORAGE_MIN).min(window).max(needed));
        }
        let size = self.storage.len();
        let tail = (self.head + self.length) % size;
        let (first, second) = data.split_at(data.len().min(size - tail));
        for (at, part) in [(tail, first), (0, second)] {
            if let Some(space) = self.storage.get_mut(at..at + part.len()) {
                space.copy_from_slice(part);
            }
        }
        self.length += data.len();
    }

    /// Moves to larger storage.
    fn grow(&mut self, size: usize) {
        let mut storage = Vec::with_capacity(size);
        storage.extend_from_slice(self.front());
        let wrapped = self.length - storage.len();
        storage.extend_from_slice(self.storage.get(..wrapped).unwrap_or_default());
        storage.resize(size, 0);
        self.storage = storage.into_boxed_slice();
        self.head = 0;
    }

    /// The bytes that can be read without wrapping around.
    fn front(&self) -> &[u8] {
        let end = (self.head + self.length).min(self.storage.len());
        self.storage.get(self.head..end).unwrap_or_default()
    }

    fn consume(&mut self, n: usize) {
        self.length -= n;
        // An empty ring starts over, so that what comes next can be read in one piece.
        self.head = if self.length == 0 { 0 } else { (self.head + n) % self.storage.len().max(1) };
    }

    fn release(&mut self) {
        *self = Ring::default();
    }
}

/// From a grant to the last byte that it allowed: a round trip, if the peer sends all it may.
struct Round {
    /// Bytes received when it began.
    from: u64,
    /// Bytes received when all that was granted has come.
    until: u64,
    began: u64,
}

/// The receiving direction: what the peer may send, what it has sent, what has been read.
///
/// Invariant: `granted + buffered + unreturned = share`, until the channel is discarded.
pub(super) struct Receive {
    ring: Ring,
    share: Share,
    /// What the peer may still send.
    granted: usize,
    /// Read, and not yet given back as credit.
    unreturned: usize,
    /// All bytes that came.
    received: u64,
    round: Option<Round>,
    /// The shortest round: no shorter than the line is long, and not much longer.
    shortest: Option<u64>,
    /// Bytes in 1024 ms at the last time that the window grew.
    rate: u64,
    /// The next credit enlarges the window.
    grow: bool,
    /// What was lent is on its way back.
    rest: bool,
    /// Since when bytes have been lying in the ring, if they do.
    lying: Option<u64>,
    /// Whether data came since the last sweep.
    touched: bool,
    /// Nobody will read: data within the window is dropped.
    discard: bool,
}

impl Receive {
    pub(super) fn new(share: Share) -> Self {
        Receive {
            ring: Ring::default(),
            granted: share.bytes(),
            share,
            unreturned: 0,
            received: 0,
            round: None,
            shortest: None,
            rate: 0,
            grow: false,
            rest: false,
            lying: None,
            touched: false,
            discard: false,
        }
    }

    /// What the peer may send as long as nobody reads.
    pub(super) fn window(&self) -> usize {
        self.share.bytes()
    }

    /// Takes data that arrived on `channel`.
    pub(super) fn data(&mut self, channel: u32, data: &[u8], now: u64) -> Result<(), Error> {
        self.count(channel, data.len())?;
        if !self.discard && !data.is_empty() {
            let lying = *self.lying.get_or_insert(now);
            self.ring.push(data, self.share.bytes());
            self.touched = true;
            self.received += data.len() as u64;
            if let Some(round) = self.round.take_if(|round| self.received >= round.until) {
                self.judge(&round, now, now - lying >= READER_SLOW_MS);
            }
        }
        Ok(())
    }

    /// Decides at the end of a round whether the window is what holds the peer back.
    fn judge(&mut self, round: &Round, now: u64, reader_is_slow: bool) {
        let time = now - round.began;
        let rate = (self.received - round.from) * 1024 / time.max(1);
        let shortest = self.shortest.map_or(time, |shortest| shortest.min(time));
        self.shortest = Some(shortest);
        let far = self.is_far();
        let small = self.share.bytes() < if far { CHANNEL_WINDOW } else { self.share.near() };
        // Over a long line the last doubling must have been worth it, and what is on its way must not queue for longer than
        // half a round trip: whatever else goes over the line would wait behind it.
        let faster = rate > self.rate + self.rate / 4;
        let queue = time > shortest + shortest / 2 + 2 * NEAR_MS;
        self.grow = !reader_is_slow && (small || far && faster && !queue);
        if self.grow && far {
            self.rate = rate;
        }
    }

    /// Whether the peer is at the other end of a long line. By the shortest round: a near line has long ones too, when the peer or
    /// this box is busy.
    fn is_far(&self) -> bool {
        self.shortest.is_some_and(|shortest| shortest >= NEAR_MS)
    }

    /// Takes data that nobody wants (stderr): it counts, and is given back at once.
    pub(super) fn skip(&mut self, channel: u32, length: usize) -> Result<(), Error> {
        self.count(channel, length)?;
        self.unreturned += length;
        Ok(())
    }

    fn count(&mut self, channel: u32, length: usize) -> Result<(), Error> {
        if length > RECEIVE_DATA_MAX {
            return Err(Error::DataTooLong(channel, length));
        }
        self.granted = self.granted.checked_sub(length).ok_or(Error::WindowOverrun(channel))?;
        Ok(())
    }

    /// The next bytes to be read, in one piece; empty when there are none.
    pub(super) fn front(&self) -> &[u8] {
        self.ring.front()
    }

    /// `n` bytes of [`Receive::front`] have been read.
    pub(super) fn consume(&mut self, n: usize) {
        self.ring.consume(n);
        self.unreturned += n;
        if self.ring.length == 0 {
            self.lying = None;
        }
    }

    /// Whether enough has been read to be worth a message, or there is more to grant at once.
    ///
    /// What waits here can't be on its way: over a long line a window yields as much less, so there it goes out in smaller pieces.
    pub(super) fn credit_due(&self) -> bool {
        let half = self.share.bytes() / 2;
        let enough = if self.is_far() { (half / 4).min(CREDIT_FAR) } else { half };
        !self.discard && (self.grow || self.unreturned >= enough)
    }

    /// Grants the peer what has been read, and more or less as the window changes; how much that is.
    pub(super) fn take_credit(&mut self, now: u64) -> u32 {
        if core::mem::take(&mut self.grow) {
            self.rest = false;
            let window = self.share.bytes();
            let double = (2 * window).max(CHANNEL_WINDOW);
            let wanted = if self.is_far() { double } else { double.min(self.share.near()) };
            self.unreturned += self.share.grow(wanted.saturating_sub(window));
        } else {
            let less =
                if self.rest { self.unreturned } else { self.share.excess(self.is_far()).min(self.unreturned / 2) };
            self.unreturned -= self.share.shrink(less);
        }
        let credit = core::mem::take(&mut self.unreturned);
        self.granted += credit;
        let until = self.received + self.granted as u64;
        self.round.get_or_insert(Round { from: self.received, until, began: now });
        credit as u32 // at most WINDOW_MAX
    }

    /// Drops what is buffered and whatever comes: no credit is given any more, and nothing is stored.
    pub(super) fn discard(&mut self) {
        self.discard = true;
        self.ring.release();
        self.share.shrink(usize::MAX);
    }

    /// Gives the storage back if it has stayed empty since the last sweep, and with it what was lent, as far as that was not
    /// granted to the peer. Whether anything is still held.
    pub(super) fn sweep(&mut self) -> bool {
        if self.ring.length == 0 && !core::mem::take(&mut self.touched) {
            self.ring.release();
            (self.rest, self.rate, self.round) = (true, 0, None);
            self.unreturned -= self.share.shrink(self.unreturned);
        }
        !self.ring.storage.is_empty()
    }
}

/// The sending direction: what the peer lets this side send.
pub(super) struct Send {
    window: u32,
    packet_max: u32,
}

impl Send {
    pub(super) fn new(window: u32, packet_max: u32) -> Self {
        Send { window, packet_max }
    }

    /// The most that one packet may carry now.
    pub(super) fn room(&self) -> usize {
        self.window.min(self.packet_max) as usize
    }

    /// `n` bytes, at most [`Send::room`], were sent.
    pub(super) fn sent(&mut self, n: usize) {
        self.window = self.window.saturating_sub(u32::try_from(n).unwrap_or(u32::MAX));
    }

    /// The peer adjusts its window.
    pub(super) fn adjust(&mut self, channel: u32, bytes: u32) -> Result<(), Error> {
        self.window = self.window.checked_add(bytes).ok_or(Error::WindowOverflow(channel))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::limits::ssh::{NEAR_WINDOW_MAX, WINDOW_MAX, WINDOW_START};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn receive() -> Receive {
        Receive::new(Arc::new(Budget::default()).admit().unwrap())
    }

    /// Has the peer send all it may and the reader take it, `time` ms later, until `rounds` credits went out.
    fn transfer(receive: &mut Receive, now: &mut u64, rounds: usize, time: impl Fn(usize) -> u64) {
        for _ in 0..rounds {
            let burst = receive.granted;
            *now += time(burst);
            let mut left = burst;
            while left > 0 {
                let n = left.min(RECEIVE_DATA_MAX);
                receive.data(0, &vec![1; n], *now).unwrap();
                left -= n;
            }
            while !receive.front().is_empty() {
                receive.consume(receive.front().len());
            }
            assert!(receive.credit_due());
            receive.take_credit(*now);
        }
    }

    #[test]
    fn the_window_is_what_was_promised() {
        let mut receive = receive();
        let chunk = [7; WINDOW_START];
        receive.data(0, &chunk, 0).unwrap();
        assert_eq!(receive.data(3, &[1], 0), Err(Error::WindowOverrun(3)));
        assert!(!receive.credit_due());
        receive.consume(WINDOW_START / 2);
        assert!(receive.credit_due());
        assert_eq!(receive.take_credit(0) as usize, WINDOW_START / 2);
        receive.data(0, &chunk[..WINDOW_START / 2], 0).unwrap();
        assert_eq!(receive.data(0, &[1], 0), Err(Error::WindowOverrun(0)));
        let long = vec![0; RECEIVE_DATA_MAX + 1];
        assert_eq!(receive.data(4, &long, 0), Err(Error::DataTooLong(4, RECEIVE_DATA_MAX + 1)));
    }

    #[test]
    fn a_near_peer_gets_a_moderate_window_and_a_far_one_a_large_one() {
        let (mut near, mut now) = (receive(), 0);
        transfer(&mut near, &mut now, 40, |_| 0);
        assert_eq!(near.share.bytes(), NEAR_WINDOW_MAX);

        let budget = Arc::new(Budget::default());
        let others: Vec<_> = (0..9).map(|_| budget.admit().unwrap()).collect();
        let mut one_of_many = Receive::new(budget.admit().unwrap());
        transfer(&mut one_of_many, &mut now, 40, |_| 0);
        assert_eq!(one_of_many.share.bytes(), (4 << 20) / 4 / 10, "beside {} others", others.len());

        let mut far = Receive::new(Arc::new(Budget::new(64 << 20, 1)).admit().unwrap());
        transfer(&mut far, &mut now, 40, |_| 100);
        assert_eq!(far.share.bytes(), WINDOW_MAX, "each doubling makes it faster");

        let mut slow = Receive::new(Arc::new(Budget::new(64 << 20, 1)).admit().unwrap());
        transfer(&mut slow, &mut now, 40, |bytes| 40 + bytes as u64 / 1250);
        assert_eq!(slow.share.bytes(), CHANNEL_WINDOW, "10 Mbit/s are full with it, and more would queue");
    }

    #[test]
    fn credit_goes_out_in_smaller_pieces_over_a_long_line() {
        for (time, piece) in [(0, CHANNEL_WINDOW / 2), (40, CHANNEL_WINDOW / 8)] {
            let (mut receive, mut now) = (receive(), 0);
            transfer(&mut receive, &mut now, 2, |bytes| if bytes > WINDOW_START { 20 * time } else { time });
            assert_eq!((receive.share.bytes(), receive.granted), (CHANNEL_WINDOW, CHANNEL_WINDOW));
            for part in 1..=piece {
                receive.data(0, &[1], now).unwrap();
                receive.consume(1);
                assert_eq!(receive.credit_due(), part == piece, "{part} bytes at {time} ms");
            }
        }
    }

    #[test]
    fn a_slow_reader_gets_no_larger_window() {
        let (mut receive, mut now) = (receive(), 0);
        for _ in 0..100 {
            while receive.granted > 0 {
                receive.data(0, &vec![1; receive.granted.min(1000)], now).unwrap();
                now += READER_SLOW_MS;
            }
            while !receive.credit_due() {
                receive.consume(1000.min(receive.front().len()));
                receive.data(0, &[1], now).unwrap_or_default();
            }
            receive.take_credit(now);
        }
        assert_eq!(receive.share.bytes(), WINDOW_START);
    }

    #[test]
    fn a_window_at_rest_goes_back_as_the_peer_uses_it_up() {
        let budget = Arc::new(Budget::default());
        let (mut receive, mut now) = (Receive::new(budget.admit().unwrap()), 0);
        transfer(&mut receive, &mut now, 40, |_| 0);
        assert!(receive.sweep() && !receive.sweep());
        assert_eq!(budget.promised(), NEAR_WINDOW_MAX, "the peer was promised all of it");
        let granted = receive.granted;
        receive.data(0, &vec![1; granted.min(RECEIVE_DATA_MAX)], now).unwrap();
        receive.consume(granted.min(RECEIVE_DATA_MAX));
        assert_eq!(receive.take_credit(now), 0);
        assert_eq!(budget.promised(), NEAR_WINDOW_MAX - RECEIVE_DATA_MAX);
        receive.discard();
        assert_eq!(budget.promised(), WINDOW_START);
    }

    #[test]
    fn storage_comes_with_the_first_byte_grows_with_need_and_goes_after_an_idle_sweep() {
        let mut receive = receive();
        assert!(!receive.sweep());
        receive.data(0, b"x", 0).unwrap();
        assert_eq!(receive.ring.storage.len(), STORAGE_MIN);
        receive.data(0, &[1; STORAGE_MIN], 0).unwrap();
        assert_eq!(receive.ring.storage.len(), 2 * STORAGE_MIN);
        receive.consume(STORAGE_MIN + 1);
        assert!(receive.sweep(), "it was in use since the last sweep");
        assert!(!receive.sweep());
        receive.data(0, b"y", 0).unwrap();
        assert!(receive.sweep() && receive.sweep(), "what is not read stays");
        assert_eq!(receive.front(), b"y");
    }

    #[test]
    fn the_send_window_cannot_overflow() {
        let mut send = Send::new(u32::MAX - 1, 10);
        assert_eq!(send.room(), 10);
        send.adjust(0, 1).unwrap();
        assert_eq!(send.adjust(9, 1), Err(Error::WindowOverflow(9)));
        send.sent(10);
        send.adjust(0, 10).unwrap();
    }

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(steps in prop::collection::vec((0usize..40_000, 0usize..40_000), 1..40)) {
            let mut receive = receive();
            let (mut written, mut read) = (0u32, 0u32);
            for (now, (push, pull)) in (0..).zip(steps) {
                let length = push.min(receive.granted).min(RECEIVE_DATA_MAX);
                let data: Vec<u8> = (0..length as u32).map(|i| ((written + i) / 7) as u8).collect();
                receive.data(0, &data, now).unwrap();
                written += length as u32;
                let mut left = pull;
                while left > 0 && !receive.front().is_empty() {
                    let n = left.min(receive.front().len());
                    for byte in &receive.front()[..n] {
                        prop_assert_eq!(*byte, (read / 7) as u8);
                        read += 1;
                    }
                    receive.consume(n);
                    left -= n;
                }
                if receive.credit_due() {
                    receive.take_credit(now);
                }
                let window = receive.share.bytes();
                prop_assert_eq!(receive.granted + receive.ring.length + receive.unreturned, window);
                prop_assert!(receive.ring.storage.len() <= window && window <= WINDOW_MAX);
                prop_assert_eq!(receive.ring.length as u32, written - read);
            }
        }
    }
}
