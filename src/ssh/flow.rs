//! Flow control of one channel (RFC 4254 section 5.2): a window that is exactly the free space of a ring buffer.

use super::error::Error;
use crate::limits::ssh::{CHANNEL_WINDOW, CREDIT_THRESHOLD, RECEIVE_DATA_MAX};

/// Bytes in, the same bytes out, in [`CHANNEL_WINDOW`] bytes of storage that exist only while there is something to store.
#[derive(Default)]
struct Ring {
    storage: Box<[u8]>,
    /// First byte to be read.
    head: usize,
    length: usize,
}

impl Ring {
    /// Appends what fits; the caller has made sure that all of it does.
    fn push(&mut self, data: &[u8]) {
        if self.storage.is_empty() {
            self.storage = vec![0; CHANNEL_WINDOW].into_boxed_slice();
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

/// The receiving direction: what the peer may send, what it has sent, what has been read.
///
/// Invariant: `granted + buffered + unreturned = CHANNEL_WINDOW`.
pub(super) struct Receive {
    ring: Ring,
    /// What the peer may still send.
    granted: usize,
    /// Read, and not yet given back as credit.
    unreturned: usize,
    /// Whether data came since the last sweep.
    touched: bool,
    /// Nobody will read: data within the window is dropped.
    discard: bool,
}

impl Receive {
    pub(super) fn new() -> Self {
        Receive { ring: Ring::default(), granted: CHANNEL_WINDOW, unreturned: 0, touched: false, discard: false }
    }

    /// Takes data that arrived on `channel`.
    pub(super) fn data(&mut self, channel: u32, data: &[u8]) -> Result<(), Error> {
        self.count(channel, data.len())?;
        if !self.discard && !data.is_empty() {
            self.ring.push(data);
            self.touched = true;
        }
        Ok(())
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
    }

    /// Whether enough has been read to be worth a message.
    pub(super) fn credit_due(&self) -> bool {
        !self.discard && self.unreturned >= CREDIT_THRESHOLD
    }

    /// Grants the peer what has been read; how much that is.
    pub(super) fn take_credit(&mut self) -> u32 {
        let credit = core::mem::take(&mut self.unreturned);
        self.granted += credit;
        credit as u32 // at most CHANNEL_WINDOW
    }

    /// Drops what is buffered and whatever comes: no credit is given any more.
    pub(super) fn discard(&mut self) {
        self.discard = true;
        self.ring.release();
    }

    /// Gives the storage back if it has stayed empty since the last sweep. Whether storage is still held.
    pub(super) fn sweep(&mut self) -> bool {
        if self.ring.length == 0 && !core::mem::take(&mut self.touched) {
            self.ring.release();
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
    use proptest::prelude::*;

    #[test]
    fn the_window_is_the_free_space() {
        let mut receive = Receive::new();
        let chunk = [7; RECEIVE_DATA_MAX];
        receive.data(0, &chunk).unwrap();
        let rest = CHANNEL_WINDOW - chunk.len();
        receive.data(0, &chunk[..rest]).unwrap();
        assert_eq!(receive.data(3, &[1]), Err(Error::WindowOverrun(3)));
        assert!(!receive.credit_due());
        receive.consume(CREDIT_THRESHOLD);
        assert!(receive.credit_due());
        assert_eq!(receive.take_credit() as usize, CREDIT_THRESHOLD);
        receive.data(0, &chunk[..CREDIT_THRESHOLD]).unwrap();
        assert_eq!(receive.data(0, &[1]), Err(Error::WindowOverrun(0)));
        assert_eq!(receive.data(4, &vec![0; RECEIVE_DATA_MAX + 1]), Err(Error::DataTooLong(4, RECEIVE_DATA_MAX + 1)));
    }

    #[test]
    fn storage_comes_with_the_first_byte_and_goes_after_an_idle_sweep() {
        let mut receive = Receive::new();
        assert!(!receive.sweep());
        receive.data(0, b"x").unwrap();
        receive.consume(1);
        assert!(receive.sweep(), "it was in use since the last sweep");
        assert!(!receive.sweep());
        receive.data(0, b"y").unwrap();
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
            let mut receive = Receive::new();
            let (mut written, mut read) = (0u32, 0u32);
            for (push, pull) in steps {
                let length = push.min(receive.granted).min(RECEIVE_DATA_MAX);
                let data: Vec<u8> = (0..length as u32).map(|i| ((written + i) / 7) as u8).collect();
                receive.data(0, &data).unwrap();
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
                    receive.take_credit();
                }
                prop_assert_eq!(receive.granted + receive.ring.length + receive.unreturned, CHANNEL_WINDOW);
                prop_assert_eq!(receive.ring.length as u32, written - read);
            }
        }
    }
}
