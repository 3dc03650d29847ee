//! Whatever happens to the bytes of a state file, it never becomes another valid state, and nothing panics.

use proptest::prelude::*;

use super::*;

fn bytes() -> Vec<u8> {
    encode(&record()).unwrap().bytes.to_vec()
}

#[test]
fn every_truncation() {
    let bytes = bytes();
    for length in 0..bytes.len() {
        assert_eq!(decode(&bytes[..length]), Err(Damage::Truncated), "{length}");
    }
}

#[test]
fn every_flipped_bit() {
    let mut bytes = bytes();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            assert!(decode(&bytes).is_err(), "bit {bit} of byte {at}");
            bytes[at] ^= 1 << bit;
        }
    }
    assert_eq!(decode(&bytes), Ok(record()));
}

proptest! {
    #[test]
    fn any_record_comes_back(id in ".{0,40}", token in ".{0,200}", time: u64, failures: u32) {
        let mut record = record();
        record.gateway_id = Some(id);
        record.access = Some(Access { kind: TokenKind::Identity, token: Secret::new(token) });
        record.passing = Passing { last_good_time: time, api_failures: failures, relay_failures: 0 };
        prop_assert_eq!(decode(&encode(&record).unwrap().bytes), Ok(record));
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&bytes).is_err());
    }

    /// Past the checksum: a body that was never a record, in a good envelope.
    #[test]
    fn any_body_in_a_good_envelope(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = format::tests::envelope(&body);
        if let Ok(record) = decode(&bytes) {
            prop_assert_eq!(&encode(&record).unwrap().bytes[..], &bytes[..]);
        }
    }

    #[test]
    fn several_bytes_overwritten(patches in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let good = bytes();
        let mut bytes = good.clone();
        for (at, value) in patches {
            bytes[at.index(good.len())] = value;
        }
        match decode(&bytes) {
            Ok(decoded) => prop_assert!(bytes == good && decoded == record()),
            Err(_) => prop_assert!(bytes != good),
        }
    }
}
