//! The three AEAD ciphers, each with the packet length as part of what is authenticated.
//!
//! Everything happens in the caller's buffer: a packet is opened where it arrived and sealed where it was written.

use crate::cpu;
use ring::aead::chacha20_poly1305_openssh as chacha;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// Bytes of `packet_length` (RFC 4253 section 6).
pub const LENGTH: usize = 4;

/// Bytes of the authentication tag of all three ciphers.
pub const TAG: usize = 16;

/// An encryption algorithm by its SSH name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// `chacha20-poly1305@openssh.com` (OpenSSH PROTOCOL.chacha20poly1305): the length is encrypted too, under a key of its own.
    ChaCha20Poly1305,
    /// `aes256-gcm@openssh.com` (RFC 5647 with the changes in OpenSSH PROTOCOL section 1.6).
    Aes256Gcm,
    /// `aes128-gcm@openssh.com`
    Aes128Gcm,
}

impl Cipher {
    /// Fast first where the CPU has AES instructions.
    const WITH_AES: [Cipher; 3] = [Cipher::Aes256Gcm, Cipher::Aes128Gcm, Cipher::ChaCha20Poly1305];
    /// ChaCha20 first elsewhere: several times the speed of AES in software, and constant in time without tables.
    const WITHOUT_AES: [Cipher; 3] = [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm, Cipher::Aes128Gcm];

    /// All ciphers, best first on this CPU.
    pub fn preferred() -> [Cipher; 3] {
        if cpu::has_aes() { Self::WITH_AES } else { Self::WITHOUT_AES }
    }

    /// The algorithm's name in KEXINIT.
    pub fn name(self) -> &'static str {
        match self {
            Cipher::ChaCha20Poly1305 => "chacha20-poly1305@openssh.com",
            Cipher::Aes256Gcm => "aes256-gcm@openssh.com",
            Cipher::Aes128Gcm => "aes128-gcm@openssh.com",
        }
    }

    /// Bytes of key material: both keys of ChaCha20-Poly1305 are one run.
    pub fn key_length(self) -> usize {
        match self {
            Cipher::ChaCha20Poly1305 => chacha::KEY_LEN,
            Cipher::Aes256Gcm => 32,
            Cipher::Aes128Gcm => 16,
        }
    }

    /// The packet (without its length field) is a multiple of this.
    fn block(self) -> usize {
        match self {
            Cipher::ChaCha20Poly1305 => 8,
            Cipher::Aes256Gcm | Cipher::Aes128Gcm => 16,
        }
    }
}

/// Key material for one direction (RFC 4253 section 7.2). Erased when dropped.
pub struct KeyMaterial {
    /// [`Cipher::key_length`] bytes, the rest unused.
    pub key: Zeroizing<[u8; 64]>,
    /// The initial IV: 12 bytes for AES-GCM, unused by ChaCha20-Poly1305.
    pub iv: Zeroizing<[u8; 12]>,
}

/// The tag did not match: the packet was altered, or keys or sequence numbers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTag;

/// One direction's key, for sealing or for opening.
pub struct Key(Kind);

enum Kind {
    /// Before the first NEWKEYS: nothing is encrypted.
    Plain,
    ChaCha {
        seal: chacha::SealingKey,
        open: chacha::OpeningKey,
    },
    Gcm {
        // 544 bytes of round keys and GHASH table: boxed, so that a Key is small to move.
        key: Box<LessSafeKey>,
        iv: Zeroizing<[u8; 12]>,
    },
}

impl Key {
    /// No protection, for the first key exchange.
    pub fn plain() -> Self {
        Key(Kind::Plain)
    }

    /// The key of one direction. `None` only if `ring` refused a key of its own algorithm's length.
    pub fn new(cipher: Cipher, material: &KeyMaterial) -> Option<Self> {
        let algorithm = match cipher {
            Cipher::ChaCha20Poly1305 => {
                return Some(Key(Kind::ChaCha {
                    seal: chacha::SealingKey::new(&material.key),
                    open: chacha::OpeningKey::new(&material.key),
                }));
            }
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::Aes128Gcm => &AES_128_GCM,
        };
        let key = UnboundKey::new(algorithm, material.key.get(..cipher.key_length())?).ok()?;
        Some(Key(Kind::Gcm { key: Box::new(LessSafeKey::new(key)), iv: material.iv.clone() }))
    }

    /// Bytes behind the packet: the tag, or none before the first NEWKEYS.
    pub fn tag_length(&self) -> usize {
        match self.0 {
            Kind::Plain => 0,
            _ => TAG,
        }
    }

    /// The multiple that packets are padded to. Without encryption, and only there, it counts the length field in.
    pub fn block(&self) -> usize {
        match self.0 {
            Kind::Plain => 8,
            Kind::ChaCha { .. } => Cipher::ChaCha20Poly1305.block(),
            Kind::Gcm { .. } => Cipher::Aes256Gcm.block(),
        }
    }

    /// Whether [`Key::block`] counts the length field in.
    pub fn block_covers_length(&self) -> bool {
        matches!(self.0, Kind::Plain)
    }

    /// `packet_length` of the packet that starts with these bytes. Not authenticated until [`Key::open`] has succeeded.
    pub fn packet_length(&self, sequence: u32, first: [u8; LENGTH]) -> u32 {
        u32::from_be_bytes(match &self.0 {
            Kind::ChaCha { open, .. } => open.decrypt_packet_length(sequence, first),
            _ => first,
        })
    }

    /// Opens `packet` (length field, ciphertext, tag) in place. The plaintext stands where the ciphertext stood.
    pub fn open(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), BadTag> {
        match &mut self.0 {
            Kind::Plain => Ok(()),
            Kind::ChaCha { open, .. } => {
                let (body, tag) = packet.split_last_chunk_mut::<TAG>().ok_or(BadTag)?;
                open.open_in_place(sequence, body, tag).map(|_| ()).map_err(|_| BadTag)
            }
            Kind::Gcm { key, iv } => {
                let (length, body) = packet.split_first_chunk_mut::<LENGTH>().ok_or(BadTag)?;
                key.open_in_place(next_nonce(iv), Aad::from(&*length), body).map(|_| ()).map_err(|_| BadTag)
            }
        }
    }

    /// Seals `packet` (length field, plaintext, room for the tag) in place.
    pub fn seal(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), BadTag> {
        match &mut self.0 {
            Kind::Plain => Ok(()),
            Kind::ChaCha { seal, .. } => {
                let (body, tag) = packet.split_last_chunk_mut::<TAG>().ok_or(BadTag)?;
                seal.seal_in_place(sequence, body, tag);
                Ok(())
            }
            Kind::Gcm { key, iv } => {
                let (body, tag) = packet.split_last_chunk_mut::<TAG>().ok_or(BadTag)?;
                let (length, body) = body.split_first_chunk_mut::<LENGTH>().ok_or(BadTag)?;
                let sealed =
                    key.seal_in_place_separate_tag(next_nonce(iv), Aad::from(&*length), body).map_err(|_| BadTag)?;
                tag.copy_from_slice(sealed.as_ref());
                Ok(())
            }
        }
    }
}

/// RFC 5647 section 7.1: a fixed field of 4 bytes and a counter of 8, which advances with every packet.
fn next_nonce(iv: &mut [u8; 12]) -> Nonce {
    let nonce = Nonce::assume_unique_for_key(*iv);
    if let Some(counter) = iv.last_chunk_mut::<8>() {
        *counter = u64::from_be_bytes(*counter).wrapping_add(1).to_be_bytes();
    }
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(cipher: Cipher) -> Key {
        let mut material = KeyMaterial { key: Zeroizing::new([7; 64]), iv: Zeroizing::new([9; 12]) };
        material.key[40] = 1;
        Key::new(cipher, &material).unwrap()
    }

    #[test]
    fn sealed_packets_open_and_altered_ones_do_not() {
        for cipher in Cipher::WITH_AES {
            let (mut sealer, mut opener, mut other) = (key(cipher), key(cipher), key(cipher));
            for sequence in 0..3 {
                let mut packet = [0u8; LENGTH + 32 + TAG];
                packet[3] = 32;
                packet[LENGTH..LENGTH + 32].copy_from_slice(&[sequence as u8; 32]);
                let plain = packet;
                sealer.seal(sequence, &mut packet).unwrap();
                assert_ne!(packet[LENGTH..], plain[LENGTH..]);
                assert_eq!(opener.packet_length(sequence, *packet.first_chunk().unwrap()), 32, "{cipher:?}");
                for position in [0, LENGTH, LENGTH + 31, LENGTH + 32, packet.len() - 1] {
                    let mut altered = packet;
                    altered[position] ^= 1;
                    let mut fresh = key(cipher);
                    assert_eq!(fresh.open(sequence, &mut altered), Err(BadTag), "{cipher:?}, byte {position}");
                }
                opener.open(sequence, &mut packet).unwrap();
                assert_eq!(packet[LENGTH..LENGTH + 32], plain[LENGTH..LENGTH + 32]);
            }
            let mut replayed = [0u8; LENGTH + 32 + TAG];
            sealer.seal(3, &mut replayed).unwrap();
            assert_eq!(other.open(0, &mut replayed), Err(BadTag), "{cipher:?}: a packet opens only in its place");
        }
    }

    #[test]
    fn the_counter_of_rfc_5647_carries() {
        let mut iv = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 255];
        next_nonce(&mut iv);
        assert_eq!(iv, [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn too_short_for_a_tag_is_an_error_and_no_panic() {
        for cipher in Cipher::WITH_AES {
            for length in 0..LENGTH + TAG {
                assert_eq!(key(cipher).open(0, &mut vec![0; length]), Err(BadTag));
            }
        }
    }
}
