//! The binary packet protocol (RFC 4253 section 6): bytes of the stream to payloads and back, in two fixed buffers.
//!
//! `uint32 packet_length, byte padding_length, payload, random padding, tag`

use super::cipher::{Key, LENGTH};
use super::wire::SliceWriter;
use crate::limits::ssh::{INPUT_BUFFER, OUTPUT_BUFFER, PACKET_MAX, PADDING_POOL};
use ring::rand::{SecureRandom, SystemRandom};

/// `packet_length` and `padding_length`.
const HEADER: usize = LENGTH + 1;
/// RFC 4253 section 6: at least four bytes of padding.
const PADDING_MIN: usize = 4;
/// RFC 4253 section 6: the smallest packet, without MAC.
const PACKET_MIN: usize = 16;

/// A packet that breaks the rules of RFC 4253 section 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// The whole packet would be larger than [`PACKET_MAX`]; holds `packet_length`.
    TooLong(u32),
    /// Shorter than the minimum, or not a multiple of the cipher's block; holds `packet_length`.
    BadLength(u32),
    /// Less than four bytes of padding, or more than the packet holds; holds `padding_length`.
    BadPadding(u8),
    /// The authentication tag does not match.
    BadMac,
}

/// The receiving half: collects bytes, opens packets where they lie.
pub struct Input {
    buffer: Box<[u8]>,
    /// First byte that is not consumed.
    start: usize,
    /// End of the bytes received.
    end: usize,
    /// Total length of the packet at `start`, once its length field has been read: it is decrypted only once.
    expected: Option<usize>,
    key: Key,
    sequence: u32,
    /// Packets and bytes since the keys were new: what rekeying goes by.
    packets: u32,
    bytes: u64,
}

impl Default for Input {
    fn default() -> Self {
        Self::new()
    }
}

impl Input {
    /// An empty buffer and no encryption.
    pub fn new() -> Self {
        Input {
            buffer: vec![0; INPUT_BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            expected: None,
            key: Key::plain(),
            sequence: 0,
            packets: 0,
            bytes: 0,
        }
    }

    /// Room for bytes from the socket. Never empty as long as every whole packet is taken out.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// The first `n` bytes of [`Input::space`] were filled.
    pub fn filled(&mut self, n: usize) {
        self.end = self.end.saturating_add(n).min(self.buffer.len());
    }

    /// Bytes received and not consumed: for the identification line, which is no packet.
    pub fn raw(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Drops the first `n` bytes of [`Input::raw`].
    pub fn consume_raw(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.end);
    }

    /// Opens the next packet when all of it is there: its sequence number and payload.
    pub fn next_packet(&mut self) -> Result<Option<(u32, &mut [u8])>, PacketError> {
        let have = self.end - self.start;
        let total = match self.expected {
            Some(total) => total,
            None => {
                let Some(first) = self.raw().first_chunk() else { return Ok(None) };
                let total = self.check_length(self.key.packet_length(self.sequence, *first))?;
                self.expected = Some(total);
                total
            }
        };
        if have < total {
            return Ok(None);
        }
        self.expected = None;
        let packet = self.start..self.start + total;
        self.start += total;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let packet = self.buffer.get_mut(packet).ok_or(PacketError::BadMac)?;
        let sequence = self.sequence;
        self.key.open(sequence, packet).map_err(|_| PacketError::BadMac)?;
        self.sequence = sequence.wrapping_add(1);
        self.packets = self.packets.saturating_add(1);
        self.bytes = self.bytes.saturating_add(total as u64);

        let padding = packet.get(LENGTH).copied().unwrap_or_default();
        let end = total - self.key.tag_length();
        match end.checked_sub(usize::from(padding)) {
            // A payload holds at least its message number.
            Some(end) if usize::from(padding) >= PADDING_MIN && end > HEADER => {
                Ok(packet.get_mut(HEADER..end).map(|payload| (sequence, payload)))
            }
            _ => Err(PacketError::BadPadding(padding)),
        }
    }

    /// The length of the whole packet, if `packet_length` is one that a correct peer would send.
    fn check_length(&self, packet_length: u32) -> Result<usize, PacketError> {
        let tag = self.key.tag_length();
        let length = match usize::try_from(packet_length) {
            Ok(length) if length <= PACKET_MAX - LENGTH - tag => length,
            _ => return Err(PacketError::TooLong(packet_length)),
        };
        // OpenSSH and others go below the 16 bytes of section 6 where the length field is not part of the block.
        let (padded, least) = match self.key.block_covers_length() {
            true => (LENGTH + length, PACKET_MIN),
            false => (length, self.key.block()),
        };
        if padded < least || !padded.is_multiple_of(self.key.block()) {
            return Err(PacketError::BadLength(packet_length));
        }
        Ok(LENGTH + length + tag)
    }

    /// New keys from the next packet on. Strict key exchange starts counting at 0 again.
    pub fn set_key(&mut self, key: Key, reset_sequence: bool) {
        self.key = key;
        (self.packets, self.bytes) = (0, 0);
        if reset_sequence {
            self.sequence = 0;
        }
    }

    /// Packets and bytes since the keys were new.
    pub fn used(&self) -> (u32, u64) {
        (self.packets, self.bytes)
    }
}

/// The sending half: packets are written and sealed in the buffer that the socket is fed from.
pub struct Output {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    key: Key,
    sequence: u32,
    packets: u32,
    bytes: u64,
    random: SystemRandom,
    /// Random bytes for padding, fetched in advance; the unused ones are at the front.
    pool: [u8; PADDING_POOL],
    pooled: usize,
}

impl Output {
    /// An empty buffer and no encryption.
    pub fn new(random: SystemRandom) -> Self {
        Output {
            buffer: vec![0; OUTPUT_BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            key: Key::plain(),
            sequence: 0,
            packets: 0,
            bytes: 0,
            random,
            pool: [0; PADDING_POOL],
            pooled: 0,
        }
    }

    /// Bytes for the socket.
    pub fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// The socket took the first `n` bytes of [`Output::pending`].
    pub fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// The largest payload that a packet written now could have.
    pub fn payload_room(&self) -> usize {
        let free = self.buffer.len() - (self.end - self.start);
        // Padding is at most one block more than its minimum.
        free.saturating_sub(HEADER + PADDING_MIN + self.key.block() + self.key.tag_length())
    }

    /// Appends bytes that are no packet: the identification line.
    pub fn put_raw(&mut self, bytes: &[u8]) {
        if let Some(space) = self.buffer.get_mut(self.end..self.end + bytes.len()) {
            space.copy_from_slice(bytes);
            self.end += bytes.len();
        }
    }

    /// Writes one packet whose payload `write` produces. `false`, and nothing changed, when it does not fit.
    #[must_use]
    pub fn packet(&mut self, write: impl FnOnce(&mut SliceWriter<'_>)) -> bool {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let from = self.end + HEADER;
        let Some(space) = self.buffer.get_mut(from..) else { return false };
        let mut writer = SliceWriter::new(space);
        write(&mut writer);
        match writer.finish() {
            Some(length) => self.seal(length),
            None => false,
        }
    }

    /// Frames and seals the payload of `length` bytes that stands behind the header.
    fn seal(&mut self, length: usize) -> bool {
        let block = self.key.block();
        let counted = length + if self.key.block_covers_length() { HEADER } else { HEADER - LENGTH };
        let mut padding = block - counted % block;
        if padding < PADDING_MIN {
            padding += block;
        }
        // The smallest packet counts 16 bytes with its length field; only a tiny payload with the 8-byte block can be below.
        if HEADER + length + padding < PACKET_MIN {
            padding += block;
        }
        let plain = HEADER + length + padding;
        let total = plain + self.key.tag_length();
        let Some(packet) = self.buffer.get_mut(self.end..self.end + total) else { return false };
        let (Ok(packet_length), Ok(padding_length)) = (u32::try_from(plain - LENGTH), u8::try_from(padding)) else {
            return false;
        };
        if let Some(field) = packet.first_chunk_mut() {
            *field = packet_length.to_be_bytes();
        }
        if let Some(field) = packet.get_mut(LENGTH) {
            *field = padding_length;
        }
        if self.pooled < padding {
            if self.random.fill(&mut self.pool).is_err() {
                return false;
            }
            self.pooled = self.pool.len();
        }
        self.pooled -= padding;
        if let (Some(space), Some(random)) =
            (packet.get_mut(plain - padding..plain), self.pool.get(self.pooled..self.pooled + padding))
        {
            space.copy_from_slice(random);
        }
        if self.key.seal(self.sequence, packet).is_err() {
            return false;
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.packets = self.packets.saturating_add(1);
        self.bytes = self.bytes.saturating_add(total as u64);
        self.end += total;
        true
    }

    /// New keys from the next packet on. Strict key exchange starts counting at 0 again.
    pub fn set_key(&mut self, key: Key, reset_sequence: bool) {
        self.key = key;
        (self.packets, self.bytes) = (0, 0);
        if reset_sequence {
            self.sequence = 0;
        }
    }

    /// Packets and bytes since the keys were new.
    pub fn used(&self) -> (u32, u64) {
        (self.packets, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::cipher::{Cipher, KeyMaterial};
    use crate::ssh::wire::Sink;
    use zeroize::Zeroizing;

    fn key(cipher: Option<Cipher>) -> Key {
        let material = KeyMaterial { key: Zeroizing::new([3; 64]), iv: Zeroizing::new([4; 12]) };
        cipher.map_or_else(Key::plain, |cipher| Key::new(cipher, &material).unwrap())
    }

    fn all() -> [Option<Cipher>; 4] {
        [None, Some(Cipher::ChaCha20Poly1305), Some(Cipher::Aes256Gcm), Some(Cipher::Aes128Gcm)]
    }

    fn output(cipher: Option<Cipher>) -> Output {
        let mut output = Output::new(SystemRandom::new());
        output.set_key(key(cipher), true);
        output
    }

    fn input(cipher: Option<Cipher>) -> Input {
        let mut input = Input::new();
        input.set_key(key(cipher), true);
        input
    }

    fn feed(input: &mut Input, bytes: &[u8]) {
        input.space()[..bytes.len()].copy_from_slice(bytes);
        input.filled(bytes.len());
    }

    #[test]
    fn every_payload_length_survives_one_byte_at_a_time() {
        for cipher in all() {
            let (mut output, mut input) = (output(cipher), input(cipher));
            for length in (1..80).chain([16_384, 32_777]) {
                let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
                assert!(output.packet(|writer| writer.put(&payload)));
                let wire = output.pending().to_vec();
                output.consume(wire.len());
                let (last, head) = wire.split_last().unwrap();
                for byte in head {
                    feed(&mut input, &[*byte]);
                    assert!(input.next_packet().unwrap().is_none());
                }
                feed(&mut input, &[*last]);
                let (_, opened) = input.next_packet().unwrap().unwrap();
                assert_eq!(opened, payload, "{cipher:?} {length}");
            }
        }
    }

    #[test]
    fn many_packets_in_one_read_come_out_in_order() {
        for cipher in all() {
            let (mut output, mut input) = (output(cipher), input(cipher));
            for number in 0..100u8 {
                assert!(output.packet(|writer| writer.put(&[number; 9])));
            }
            feed(&mut input, output.pending());
            for number in 0..100u8 {
                let (sequence, payload) = input.next_packet().unwrap().unwrap();
                assert_eq!((sequence, &*payload), (u32::from(number), &[number; 9][..]));
            }
            assert!(input.next_packet().unwrap().is_none());
        }
    }

    #[test]
    fn a_full_buffer_takes_nothing_and_loses_nothing() {
        let mut output = output(Some(Cipher::Aes128Gcm));
        let mut written = 0;
        while output.packet(|writer| writer.put(&[1; 4000])) {
            written += 1;
        }
        assert!(output.payload_room() < 4000);
        let before = output.pending().to_vec();
        assert!(!output.packet(|writer| writer.put(&[2; 4000])));
        assert_eq!(output.pending(), before);
        let mut input = input(Some(Cipher::Aes128Gcm));
        feed(&mut input, &before);
        for _ in 0..written {
            assert_eq!(input.next_packet().unwrap().unwrap().1, [1; 4000]);
        }
    }

    #[test]
    fn the_room_that_is_promised_is_there() {
        for cipher in all() {
            let mut output = output(cipher);
            for payload in [1usize, 100, 5000] {
                assert!(output.packet(|writer| writer.put(&vec![0; payload])));
            }
            let room = output.payload_room();
            assert!(output.packet(|writer| writer.put(&vec![0; room])), "{cipher:?}");
        }
    }

    /// Plain packets laid out by hand from RFC 4253 section 6.
    #[test]
    fn packets_that_break_the_rules() {
        let cases: [(&[u8], PacketError); 7] = [
            (b"\0\0\x88\xb8", PacketError::TooLong(35_000)),
            (b"\xff\xff\xff\xff", PacketError::TooLong(u32::MAX)),
            (b"\0\0\0\x04", PacketError::BadLength(4)),
            (b"\0\0\0\x0d", PacketError::BadLength(13)),
            (b"\0\0\0\x0c\x03\x02789012345\0", PacketError::BadPadding(3)),
            (b"\0\0\0\x0c\x0b\x0290123456789", PacketError::BadPadding(11)),
            (b"\0\0\0\x0c\xff\x0290123456789", PacketError::BadPadding(255)),
        ];
        for (wire, error) in cases {
            let mut input = input(None);
            feed(&mut input, wire);
            assert_eq!(input.next_packet().err(), Some(error), "{wire:?}");
        }
        let mut input = input(None);
        feed(&mut input, b"\0\0\0\x0c\x0a\x15PPPPPPPPPP");
        let newkeys = input.next_packet().unwrap().unwrap();
        assert_eq!((newkeys.0, &*newkeys.1), (0, &b"\x15"[..]), "NEWKEYS as OpenSSH pads it");
    }

    #[test]
    fn an_altered_byte_is_a_bad_mac() {
        for cipher in all().into_iter().flatten() {
            let mut output = output(Some(cipher));
            assert!(output.packet(|writer| writer.put(b"payload")));
            let mut wire = output.pending().to_vec();
            wire[10] ^= 1;
            let mut input = input(Some(cipher));
            feed(&mut input, &wire);
            assert_eq!(input.next_packet().err(), Some(PacketError::BadMac));
        }
    }
}
