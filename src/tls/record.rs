//! The TLS record layer after the handshake: one record sealed or opened in place, in a buffer of
//! the caller's, without an allocation. RFC 8446 section 5 and RFC 5246 section 6.2.3.3, AEAD suites
//! only.
//!
//! rustls does the handshake and the key schedule, and hands over the traffic secrets
//! (`rustls::kernel`); the ciphers are `ring`'s.

use core::ops::Range;

use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey,
};
use rustls::{ConnectionTrafficSecrets, ContentType, ProtocolVersion};

use crate::limits::{TLS_CIPHERTEXT_MAX, TLS_HEADER, TLS_PLAINTEXT_MAX};

const LEGACY_VERSION: [u8; 2] = [3, 3];
const EXPLICIT_NONCE: usize = 8;

/// Space that a sealed record takes after its plaintext: the inner content type and the tag.
pub(super) const SUFFIX: usize = 1 + MAX_TAG_LEN;

/// Why a record is refused; each is fatal to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordError {
    /// The header is not that of a TLS record of this connection.
    Header,
    /// Longer than the protocol allows.
    Overflow,
    /// Failed authentication: tampered with, reordered, or out of sync.
    Authentication,
    /// Authentic, but without a content type.
    Padding,
    /// As many records were sealed with this key as its cipher can bear.
    Exhausted,
    /// Traffic secrets that these ciphers can't use.
    Secrets,
}

/// How a suite places its nonce and content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// TLS 1.3: implicit nonce, the content type sealed at the end of the plaintext.
    Tls13,
    /// AES-GCM in TLS 1.2 (RFC 5288): half of the nonce travels in the record.
    Tls12Explicit,
    /// ChaCha20-Poly1305 in TLS 1.2 (RFC 7905): implicit nonce.
    Tls12Implicit,
}

impl Framing {
    /// Bytes before the plaintext.
    fn prefix(self) -> usize {
        match self {
            Self::Tls12Explicit => TLS_HEADER + EXPLICIT_NONCE,
            Self::Tls13 | Self::Tls12Implicit => TLS_HEADER,
        }
    }
}

/// One direction's key, and the number of its next record.
struct Keyed {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
    framing: Framing,
}

impl Keyed {
    fn new(
        version: ProtocolVersion,
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, RecordError> {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(RecordError::Secrets),
        };
        let framing = match version {
            ProtocolVersion::TLSv1_3 => Framing::Tls13,
            ProtocolVersion::TLSv1_2 if algorithm == &CHACHA20_POLY1305 => Framing::Tls12Implicit,
            ProtocolVersion::TLSv1_2 => Framing::Tls12Explicit,
            _ => return Err(RecordError::Secrets),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| RecordError::Secrets)?;
        let iv = iv.as_ref().try_into().map_err(|_| RecordError::Secrets)?;
        Ok(Self { key: LessSafeKey::new(key), iv, sequence, framing })
    }

    /// The number of this record; 2^64 of them take longer than the hardware lasts.
    fn next(&mut self) -> Result<u64, RecordError> {
        let sequence = self.sequence;
        self.sequence = sequence.checked_add(1).ok_or(RecordError::Exhausted)?;
        Ok(sequence)
    }

    /// The IV with the sequence number folded in (RFC 8446 section 5.3, RFC 7905 section 2; also how
    /// rustls chooses the explicit part for AES-GCM in TLS 1.2, where it only must not repeat).
    fn nonce(&self, sequence: u64) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, part) in nonce[NONCE_LEN - 8..].iter_mut().zip(sequence.to_be_bytes()) {
            *byte ^= part;
        }
        nonce
    }
}

/// Additional data: in TLS 1.3 the header as it travels, in TLS 1.2 the sequence number and the
/// header with the length of the plaintext.
fn additional_data(framing: Framing, sequence: u64, header: [u8; TLS_HEADER], plain: usize) -> Aad<AdditionalData> {
    let mut bytes = [0; 8 + TLS_HEADER];
    let used = match framing {
        Framing::Tls13 => {
            bytes[..TLS_HEADER].copy_from_slice(&header);
            TLS_HEADER
        }
        Framing::Tls12Explicit | Framing::Tls12Implicit => {
            bytes[..8].copy_from_slice(&sequence.to_be_bytes());
            bytes[8..11].copy_from_slice(&header[..3]);
            // At most TLS_CIPHERTEXT_MAX, checked where the header was read or made.
            bytes[11..].copy_from_slice(&(plain as u16).to_be_bytes());
            bytes.len()
        }
    };
    Aad::from(AdditionalData { bytes, used })
}

struct AdditionalData {
    bytes: [u8; 8 + TLS_HEADER],
    used: usize,
}

impl AsRef<[u8]> for AdditionalData {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

fn header(content_type: ContentType, length: usize) -> [u8; TLS_HEADER] {
    let [high, low] = (length as u16).to_be_bytes();
    [content_type.into(), LEGACY_VERSION[0], LEGACY_VERSION[1], high, low]
}

/// Seals what is sent.
pub(super) struct Sealer {
    keyed: Keyed,
    pub(super) limit: u64,
}

impl Sealer {
    /// `limit` is how many records the cipher's key may seal.
    pub(super) fn new(
        version: ProtocolVersion,
        secrets: (u64, ConnectionTrafficSecrets),
        limit: u64,
    ) -> Result<Self, RecordError> {
        Ok(Self { keyed: Keyed::new(version, secrets)?, limit })
    }

    /// New keys of the same cipher (a TLS 1.3 key update).
    pub(super) fn rekey(&mut self, secrets: (u64, ConnectionTrafficSecrets)) -> Result<(), RecordError> {
        self.keyed = Keyed::new(ProtocolVersion::TLSv1_3, secrets)?;
        Ok(())
    }

    /// Where the plaintext of a record begins.
    pub(super) fn prefix(&self) -> usize {
        self.keyed.framing.prefix()
    }

    /// Whether a new key is due: three records are left, for the key update itself and an alert.
    pub(super) fn is_worn(&self) -> bool {
        self.keyed.sequence >= self.limit.saturating_sub(3)
    }

    /// Seals the `length` bytes at [`prefix`](Self::prefix) of `buffer`, which has [`SUFFIX`] bytes
    /// of room after them, and returns the length of the whole record at the start of `buffer`.
    pub(super) fn seal(
        &mut self,
        content_type: ContentType,
        buffer: &mut [u8],
        length: usize,
    ) -> Result<usize, RecordError> {
        if self.keyed.sequence >= self.limit {
            return Err(RecordError::Exhausted);
        }
        let framing = self.keyed.framing;
        let start = framing.prefix();
        let mut end = start + length;
        if length > TLS_PLAINTEXT_MAX || buffer.len() < end + SUFFIX {
            return Err(RecordError::Overflow);
        }
        let outer_type = if framing == Framing::Tls13 {
            buffer[end] = content_type.into();
            end += 1;
            ContentType::ApplicationData
        } else {
            content_type
        };
        let total = end + MAX_TAG_LEN;
        let header = header(outer_type, total - TLS_HEADER);
        let sequence = self.keyed.next()?;
        let nonce = self.keyed.nonce(sequence);
        buffer[..TLS_HEADER].copy_from_slice(&header);
        if framing == Framing::Tls12Explicit {
            buffer[TLS_HEADER..start].copy_from_slice(&nonce[NONCE_LEN - EXPLICIT_NONCE..]);
        }
        let tag = self
            .keyed
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                additional_data(framing, sequence, header, length),
                &mut buffer[start..end],
            )
            .map_err(|_| RecordError::Overflow)?;
        buffer[end..total].copy_from_slice(tag.as_ref());
        Ok(total)
    }
}

/// Opens what is received.
pub(super) struct Opener(Keyed);

impl Opener {
    pub(super) fn new(version: ProtocolVersion, secrets: (u64, ConnectionTrafficSecrets)) -> Result<Self, RecordError> {
        Keyed::new(version, secrets).map(Self)
    }

    /// Whether this is TLS 1.3.
    pub(super) fn is_tls13(&self) -> bool {
        self.0.framing == Framing::Tls13
    }

    /// Opens one whole record, header included; returns its type and where its plaintext is.
    pub(super) fn open(&mut self, record: &mut [u8]) -> Result<(ContentType, Range<usize>), RecordError> {
        let header: [u8; TLS_HEADER] = *record.first_chunk().ok_or(RecordError::Header)?;
        let outer_type = ContentType::from(header[0]);
        let framing = self.0.framing;
        if framing == Framing::Tls13 && outer_type != ContentType::ApplicationData {
            return Err(RecordError::Header);
        }
        let start = framing.prefix();
        let plain = record.len().checked_sub(start + MAX_TAG_LEN).ok_or(RecordError::Authentication)?;
        let sequence = self.0.next()?;
        let mut nonce = self.0.nonce(sequence);
        if framing == Framing::Tls12Explicit {
            nonce[..NONCE_LEN - EXPLICIT_NONCE].copy_from_slice(&self.0.iv[..NONCE_LEN - EXPLICIT_NONCE]);
            nonce[NONCE_LEN - EXPLICIT_NONCE..].copy_from_slice(&record[TLS_HEADER..start]);
        }
        self.0
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(nonce),
                additional_data(framing, sequence, header, plain),
                &mut record[start..],
            )
            .map_err(|_| RecordError::Authentication)?;
        let (content_type, length) = if framing == Framing::Tls13 {
            // TLSInnerPlaintext: content, its type, then padding of zeros.
            let padded = &record[start..start + plain];
            let end = padded.iter().rposition(|&byte| byte != 0).ok_or(RecordError::Padding)?;
            (ContentType::from(padded[end]), end)
        } else {
            (outer_type, plain)
        };
        if length > TLS_PLAINTEXT_MAX {
            return Err(RecordError::Overflow);
        }
        Ok((content_type, start..start + length))
    }
}

/// The length of the whole record that this header begins.
pub(super) fn record_length(header: [u8; TLS_HEADER]) -> Result<usize, RecordError> {
    let [content_type, major, _, high, low] = header;
    // change_cipher_spec (20) to application_data (23).
    if !(20..=23).contains(&content_type) || major != 3 {
        return Err(RecordError::Header);
    }
    match usize::from(u16::from_be_bytes([high, low])) {
        length if length > TLS_CIPHERTEXT_MAX => Err(RecordError::Overflow),
        length => Ok(TLS_HEADER + length),
    }
}

#[cfg(test)]
mod tests;
