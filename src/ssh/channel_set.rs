//! A set of channels that is gone round fairly.

use super::mux::ChannelId;
use crate::limits::ssh::CHANNELS_MAX;

/// A set of channels, and a place to go round it from.
#[derive(Default)]
pub(super) struct Set {
    bits: [u32; CHANNELS_MAX / 32],
    cursor: u16,
}

impl Set {
    pub(super) fn insert(&mut self, id: ChannelId) {
        if let Some(word) = self.bits.get_mut(id.index() / 32) {
            *word |= 1 << (id.0 % 32);
        }
    }

    pub(super) fn remove(&mut self, id: ChannelId) {
        if let Some(word) = self.bits.get_mut(id.index() / 32) {
            *word &= !(1 << (id.0 % 32));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bits.iter().all(|word| *word == 0)
    }

    /// The next member behind the one found last, all the way round. It stays a member.
    pub(super) fn next(&mut self) -> Option<ChannelId> {
        let start = usize::from(self.cursor);
        // The word that the cursor is in comes twice: its part behind the cursor first, the part before it last.
        for step in 0..=self.bits.len() {
            let index = (start / 32 + step) % self.bits.len();
            let mut word = self.bits.get(index).copied().unwrap_or_default();
            let behind = u32::MAX << (start % 32);
            if step == 0 {
                word &= behind;
            } else if step == self.bits.len() {
                word &= !behind;
            }
            if word != 0 {
                let found = (index * 32) as u16 + word.trailing_zeros() as u16;
                self.cursor = (found + 1) % CHANNELS_MAX as u16;
                return Some(ChannelId(found));
            }
        }
        None
    }
}
