//! The state file's bytes:
//!
//! | offset | size | what |
//! |---|---|---|
//! | 0 | 4 | `EGWS` |
//! | 4 | 2 | version, little-endian |
//! | 6 | 4 | length of the record, little-endian |
//! | 10 | 4 | CRC-32 (ISO-HDLC) of the bytes before and after it, little-endian |
//! | 14 | length | the record, postcard |
//!
//! Every version keeps the first 14 bytes, so that an older program knows a newer file from a damaged one.

use std::fmt;

use zeroize::Zeroizing;

use super::record::{Record, sha256};
use crate::limits::STATE_BYTES;

/// The format that this program writes.
pub const VERSION: u16 = 1;

const MAGIC: &[u8; 4] = b"EGWS";
const HEAD: usize = 14;

/// Why a file is not a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Shorter than it says, or empty: a write was torn.
    Truncated,
    /// Its bytes are not those that were written.
    Corrupt,
    /// Another file, or larger than any state.
    Foreign,
    /// Written by a newer program, with this version.
    Newer(u16),
    /// This user may not read it. It is left where it is: for its owner it is good.
    Denied,
    /// The medium does not give it.
    Unreadable(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Truncated => f.write_str("is cut short"),
            Damage::Corrupt => f.write_str("is damaged"),
            Damage::Foreign => f.write_str("is not a state file"),
            Damage::Newer(version) => write!(f, "is of version {version}, and this program knows up to {VERSION}"),
            Damage::Denied => f.write_str("may not be read by this user"),
            Damage::Unreadable(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

/// A record as a file's bytes, wiped when dropped, and what tells whether it is worth writing.
pub(super) struct Encoded {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// SHA-256 of the record without [`Record::passing`].
    pub(super) lasting: [u8; 32],
}

/// Encodes a record. `None` when it is larger than [`STATE_BYTES`].
pub(super) fn encode(record: &Record) -> Option<Encoded> {
    let size = |result: postcard::Result<usize>| result.ok().filter(|size| *size <= STATE_BYTES - HEAD);
    let length = size(postcard::experimental::serialized_size(record))?;
    let passing = size(postcard::experimental::serialized_size(&record.passing))?;
    // At once and in full, so that no abandoned smaller buffer keeps a part of a key.
    let mut bytes = Zeroizing::new(vec![0; HEAD + length]);
    let (head, body) = bytes.split_at_mut(HEAD);
    postcard::to_slice(record, body).ok()?;
    let lasting = sha256(body.get(..length - passing)?);
    head[..4].copy_from_slice(MAGIC);
    head[4..6].copy_from_slice(&VERSION.to_le_bytes());
    head[6..10].copy_from_slice(&u32::try_from(length).ok()?.to_le_bytes());
    let sum = crc32(head[..10].iter().chain(body.iter()));
    head[10..].copy_from_slice(&sum.to_le_bytes());
    Some(Encoded { bytes, lasting })
}

/// Reads a file's bytes.
///
/// # Errors
/// Why they are not a state.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, Damage> {
    let magic = &bytes[..bytes.len().min(MAGIC.len())];
    if bytes.len() > STATE_BYTES || !MAGIC.starts_with(magic) {
        return Err(Damage::Foreign);
    }
    let Some((&[_, _, _, _, v0, v1, l0, l1, l2, l3, c0, c1, c2, c3], body)) = bytes.split_first_chunk::<HEAD>() else {
        return Err(Damage::Truncated);
    };
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if body.len() < length {
        return Err(Damage::Truncated);
    }
    let sum = crc32(bytes[..10].iter().chain(body));
    if body.len() != length || sum != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(Damage::Corrupt);
    }
    match u16::from_le_bytes([v0, v1]) {
        VERSION => match postcard::take_from_bytes(body) {
            Ok((record, [])) => Ok(record),
            _ => Err(Damage::Corrupt),
        },
        0 => Err(Damage::Corrupt),
        newer => Err(Damage::Newer(newer)),
    }
}

/// CRC-32 as in zip and Ethernet. Bit by bit: a table would be 1 KiB for a few writes a day.
fn crc32<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    !bytes.fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A body in an envelope that says the truth about it.
    pub(in crate::state) fn envelope(body: &[u8]) -> Vec<u8> {
        let mut bytes =
            [&MAGIC[..], &VERSION.to_le_bytes(), &u32::try_from(body.len()).unwrap().to_le_bytes()].concat();
        let sum = crc32(bytes.iter().chain(body));
        bytes.extend(sum.to_le_bytes());
        [&bytes, body].concat()
    }

    #[test]
    fn crc_check_value() {
        assert_eq!(crc32(b"123456789".iter()), 0xcbf4_3926);
    }

    /// The format is a promise: a state written by one release is read by the next.
    #[test]
    fn literal_bytes_of_version_1() {
        let record = Record { gateway_id: Some("ab".to_owned()), ..Record::default() };
        let encoded = encode(&record).unwrap();
        let body = [0, 0, 1, 2, b'a', b'b', 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(&encoded.bytes[..10], b"EGWS\x01\x00\x0e\x00\x00\x00");
        assert_eq!(encoded.bytes[HEAD..], body);
        assert_eq!(decode(&encoded.bytes), Ok(record));
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let good = encode(&Record::default()).unwrap().bytes;
        let with_version = |version: u16| {
            let mut bytes = good.to_vec();
            bytes[4..6].copy_from_slice(&version.to_le_bytes());
            let sum = crc32(bytes[..10].iter().chain(&bytes[HEAD..]));
            bytes[10..14].copy_from_slice(&sum.to_le_bytes());
            bytes
        };
        assert_eq!(decode(&with_version(2)), Err(Damage::Newer(2)));
        assert_eq!(decode(&with_version(0)), Err(Damage::Corrupt));
        for (bytes, damage) in [
            (Vec::new(), Damage::Truncated),
            (b"EGW".to_vec(), Damage::Truncated),
            (good[..HEAD + 1].to_vec(), Damage::Truncated),
            (b"#!/bin/sh".to_vec(), Damage::Foreign),
            (vec![0; 100], Damage::Foreign),
            (vec![b'E'; STATE_BYTES + 1], Damage::Foreign),
            ([&good[..], b"\n"].concat(), Damage::Corrupt),
        ] {
            assert_eq!(decode(&bytes), Err(damage), "{} bytes", bytes.len());
        }
    }

    #[test]
    fn what_passes_is_no_change() {
        let mut record = Record { gateway_id: Some("ab".to_owned()), ..Record::default() };
        let before = encode(&record).unwrap();
        record.passing.last_good_time = u64::MAX;
        record.passing.api_failures = 1;
        let after = encode(&record).unwrap();
        assert_eq!(before.lasting, after.lasting);
        assert_ne!(before.bytes, after.bytes);
        record.gateway_id = None;
        assert_ne!(encode(&record).unwrap().lasting, after.lasting);
    }

    #[test]
    fn too_large_a_record_is_not_written() {
        let record = Record { gateway_id: Some("x".repeat(STATE_BYTES)), ..Record::default() };
        assert!(encode(&record).is_none());
    }
}
