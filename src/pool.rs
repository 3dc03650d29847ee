//! Large buffers, lent to the streams that have bytes in flight and taken back when they have none.
//!
//! All are [`RECORD_BUF`] bytes long, room for any TLS record. Up to [`RECORD_BUFS_KEPT`] free ones
//! wait for the next stream, so a busy tunnel allocates nothing; the rest go back to the allocator,
//! so a burst does not stay in memory. How many are lent at once is bounded by their users: two for
//! each stream.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use crate::limits::{RECORD_BUF, RECORD_BUFS_KEPT};

static FREE: Mutex<heapless::Vec<Box<[u8]>, RECORD_BUFS_KEPT>> = Mutex::new(heapless::Vec::new());

/// A buffer of [`RECORD_BUF`] bytes with whatever its last user left in it.
#[derive(Debug)]
pub struct Buffer(Box<[u8]>);

impl Buffer {
    /// A free buffer, or a new one.
    pub fn take() -> Self {
        let free = FREE.lock().ok().and_then(|mut free| free.pop());
        Self(free.unwrap_or_else(|| vec![0; RECORD_BUF].into_boxed_slice()))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        if let Ok(mut free) = FREE.lock() {
            // A full list drops it, outside of any hot path.
            let _ = free.push(buffer);
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_buffers_than_are_kept_can_be_lent_and_returned() {
        let lent: Vec<Buffer> = (0..RECORD_BUFS_KEPT * 2).map(|_| Buffer::take()).collect();
        assert!(lent.iter().all(|buffer| buffer.len() == RECORD_BUF));
        drop(lent);
        assert!(FREE.lock().expect("no test panics holding it").len() <= RECORD_BUFS_KEPT);
    }
}
