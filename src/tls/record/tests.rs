use rustls::crypto::cipher::{AeadKey, Iv};

use super::*;
use crate::limits::RECORD_BUF;

fn secrets(which: u8, sequence: u64) -> (u64, ConnectionTrafficSecrets) {
    let key = AeadKey::from([7; 32]);
    let iv = Iv::from([9; 12]);
    let secrets = match which {
        0 => ConnectionTrafficSecrets::Aes256Gcm { key, iv },
        _ => ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
    };
    (sequence, secrets)
}

const EVERY: [(ProtocolVersion, u8); 4] = [
    (ProtocolVersion::TLSv1_2, 0),
    (ProtocolVersion::TLSv1_2, 1),
    (ProtocolVersion::TLSv1_3, 0),
    (ProtocolVersion::TLSv1_3, 1),
];

fn pair(version: ProtocolVersion, which: u8) -> (Sealer, Opener) {
    (
        Sealer::new(version, secrets(which, 3), 1 << 24).expect("a sealer"),
        Opener::new(version, secrets(which, 3)).expect("an opener"),
    )
}

fn sealed(sealer: &mut Sealer, plain: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0; RECORD_BUF];
    let start = sealer.prefix();
    buffer[start..start + plain.len()].copy_from_slice(plain);
    let length = sealer.seal(ContentType::ApplicationData, &mut buffer, plain.len()).expect("sealed");
    buffer.truncate(length);
    buffer
}

#[test]
fn what_is_sealed_opens_in_order_and_only_in_order() {
    for (version, which) in EVERY {
        let (mut sealer, mut opener) = pair(version, which);
        for plain in [&b"hello"[..], b"", &[0; TLS_PLAINTEXT_MAX]] {
            let mut record = sealed(&mut sealer, plain);
            assert_eq!(record_length(*record.first_chunk().expect("a header")), Ok(record.len()));
            let (content_type, range) = opener.open(&mut record).expect("opens");
            assert_eq!(content_type, ContentType::ApplicationData);
            assert_eq!(&record[range], plain);
        }
        let skipped = sealed(&mut sealer, b"1");
        assert!(!skipped.is_empty());
        let mut late = sealed(&mut sealer, b"2");
        assert_eq!(opener.open(&mut late), Err(RecordError::Authentication), "{version:?} {which}");
    }
}

#[test]
fn any_changed_byte_is_noticed() {
    for (version, which) in EVERY {
        let (mut sealer, _) = pair(version, which);
        let record = sealed(&mut sealer, b"secret");
        for at in 0..record.len() {
            let (_, mut opener) = pair(version, which);
            let mut record = record.clone();
            record[at] ^= 1;
            // TLS 1.2 authenticates its own idea of the length, not the header's.
            let length_byte = (3..5).contains(&at) && version == ProtocolVersion::TLSv1_2;
            assert_eq!(opener.open(&mut record).is_err(), !length_byte, "byte {at} {version:?} {which}");
        }
    }
}

#[test]
fn records_too_short_or_all_padding_are_refused() {
    for (version, which) in EVERY {
        let (_, mut opener) = pair(version, which);
        for length in 0..TLS_HEADER + MAX_TAG_LEN {
            let mut record = vec![23; length];
            assert!(opener.open(&mut record).is_err());
        }
    }
    let (mut sealer, mut opener) = pair(ProtocolVersion::TLSv1_3, 0);
    let mut buffer = vec![0; 64];
    let length = sealer.seal(ContentType::from(0), &mut buffer, 3).expect("sealed");
    assert_eq!(opener.open(&mut buffer[..length]), Err(RecordError::Padding));
}

#[test]
fn a_worn_key_seals_nothing_more() {
    let mut sealer = Sealer::new(ProtocolVersion::TLSv1_2, secrets(0, 0), 5).expect("a sealer");
    let mut buffer = vec![0; 64];
    let mut seal = |sealer: &mut Sealer| sealer.seal(ContentType::ApplicationData, &mut buffer, 1);
    assert!(!sealer.is_worn());
    assert!(seal(&mut sealer).is_ok() && seal(&mut sealer).is_ok());
    assert!(sealer.is_worn());
    for _ in 0..3 {
        assert!(seal(&mut sealer).is_ok());
    }
    assert_eq!(seal(&mut sealer), Err(RecordError::Exhausted));
}

#[test]
fn headers_of_other_protocols_are_refused() {
    assert_eq!(record_length(*b"GET /"), Err(RecordError::Header));
    assert_eq!(record_length([22, 2, 0, 0, 1]), Err(RecordError::Header));
    assert_eq!(record_length([23, 3, 3, 0x41, 0x01]), Err(RecordError::Overflow));
    assert_eq!(record_length([23, 3, 3, 0x41, 0x00]), Ok(TLS_HEADER + TLS_CIPHERTEXT_MAX));
}
