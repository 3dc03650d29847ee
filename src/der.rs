//! As much DER (ITU-T X.690) as it takes to find the validity and the extensions of an X.509
//! certificate (RFC 5280 section 4.1).
//!
//! rustls and webpki check signatures, names and times, but keep extensions that they do not know to
//! themselves. Every read is bounds-checked, nothing recurses, and no input panics.

use core::fmt;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const ISSUER_UNIQUE_ID: u8 = 0x81;
const SUBJECT_UNIQUE_ID: u8 = 0x82;
const EXTENSIONS: u8 = 0xa3;

/// Not the DER of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an X.509 certificate")
    }
}

impl std::error::Error for Malformed {}

/// The parts of a certificate that are needed here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Certificate<'a> {
    /// `notBefore`, seconds since 1970.
    pub(crate) not_before: u64,
    /// `notAfter`, seconds since 1970.
    pub(crate) not_after: u64,
    extensions: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads one DER certificate, all of it.
    ///
    /// # Errors
    /// [`Malformed`] for anything else. The signature is not checked.
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, Malformed> {
        let mut outer = Reader(der);
        let mut certificate = Reader(outer.expect(SEQUENCE)?);
        outer.end()?;
        let mut tbs = Reader(certificate.expect(SEQUENCE)?);

        tbs.optional(VERSION)?;
        tbs.expect(INTEGER)?; // serialNumber
        tbs.expect(SEQUENCE)?; // signature
        tbs.expect(SEQUENCE)?; // issuer
        let mut validity = Reader(tbs.expect(SEQUENCE)?);
        let not_before = validity.time()?;
        let not_after = validity.time()?;
        validity.end()?;
        tbs.expect(SEQUENCE)?; // subject
        tbs.expect(SEQUENCE)?; // subjectPublicKeyInfo
        tbs.optional(ISSUER_UNIQUE_ID)?;
        tbs.optional(SUBJECT_UNIQUE_ID)?;
        let extensions = match tbs.optional(EXTENSIONS)? {
            Some(explicit) => {
                let mut explicit = Reader(explicit);
                let list = explicit.expect(SEQUENCE)?;
                explicit.end()?;
                list
            }
            None => &[],
        };
        tbs.end()?;
        Ok(Self { not_before, not_after, extensions })
    }

    /// The value of the extension with this identifier (the DER contents of the OID), or `None`.
    ///
    /// # Errors
    /// [`Malformed`] when the list is, or when the extension is there twice (RFC 5280 section 4.2).
    pub(crate) fn extension(&self, oid: &[u8]) -> Result<Option<&'a [u8]>, Malformed> {
        let mut found = None;
        let mut list = Reader(self.extensions);
        while !list.0.is_empty() {
            let mut extension = Reader(list.expect(SEQUENCE)?);
            let id = extension.expect(OBJECT_IDENTIFIER)?;
            extension.optional(BOOLEAN)?; // critical
            let value = extension.expect(OCTET_STRING)?;
            extension.end()?;
            if id == oid && found.replace(value).is_some() {
                return Err(Malformed);
            }
        }
        Ok(found)
    }
}

/// What is left of a run of DER values.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next value's tag and contents. Tags of one byte and lengths under 16 MiB, as DER writes
    /// them: definite, in the fewest bytes.
    fn value(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let (&tag, rest) = self.0.split_first().ok_or(Malformed)?;
        if tag & 0x1f == 0x1f {
            return Err(Malformed);
        }
        let (&first, mut rest) = rest.split_first().ok_or(Malformed)?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 3 {
                return Err(Malformed);
            }
            let (bytes, after) = rest.split_at_checked(count).ok_or(Malformed)?;
            length = bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
            let shortest = if length < 0x80 { 0 } else { length.ilog2() as usize / 8 + 1 };
            if count != shortest {
                return Err(Malformed);
            }
            rest = after;
        }
        let (contents, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok((tag, contents))
    }

    fn expect(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        match self.value()? {
            (found, contents) if found == tag => Ok(contents),
            _ => Err(Malformed),
        }
    }

    fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Malformed> {
        if self.0.first() == Some(&tag) { self.expect(tag).map(Some) } else { Ok(None) }
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }

    /// `Time` (RFC 5280 section 4.1.2.5): always UTC, always with seconds.
    fn time(&mut self) -> Result<u64, Malformed> {
        let (tag, text) = self.value()?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = digits(text, 2)?;
                (if year >= 50 { 1900 + year } else { 2000 + year }, rest)
            }
            GENERALIZED_TIME => digits(text, 4)?,
            _ => return Err(Malformed),
        };
        let (month, rest) = digits(rest, 2)?;
        let (day, rest) = digits(rest, 2)?;
        let (hour, rest) = digits(rest, 2)?;
        let (minute, rest) = digits(rest, 2)?;
        let (second, rest) = digits(rest, 2)?;
        let valid = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 60;
        if !valid || rest != b"Z" {
            return Err(Malformed);
        }
        // Before 1970 is as expired as 1970.
        let days = days_since_1970(year, month, day).unwrap_or(0);
        Ok(((days * 24 + hour) * 60 + minute) * 60 + second)
    }
}

fn digits(text: &[u8], count: usize) -> Result<(u64, &[u8]), Malformed> {
    let (number, rest) = text.split_at_checked(count).ok_or(Malformed)?;
    let mut value = 0;
    for byte in number {
        if !byte.is_ascii_digit() {
            return Err(Malformed);
        }
        value = value * 10 + u64::from(byte - b'0');
    }
    Ok((value, rest))
}

/// Days from 1970-01-01 to this day of the Gregorian calendar, `None` before it. Years start in
/// March, so that the leap day is the last of its year.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    const DAYS_TO_1970: u64 = 719_468;
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    (year * 365 + leap_days + day_of_year).checked_sub(DAYS_TO_1970)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, CustomExtension, KeyPair, date_time_ymd};

    use super::*;

    /// 1.3.6.1.4.1.12345.100.1
    const ROUTING: &[u8] = &[0x2b, 6, 1, 4, 1, 0xe0, 0x39, 100, 1];

    fn certificate(extensions: Vec<CustomExtension>) -> Vec<u8> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".into()]).expect("names");
        params.not_before = date_time_ymd(2025, 2, 28);
        params.not_after = date_time_ymd(2052, 3, 1);
        params.custom_extensions = extensions;
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    fn routing(value: &[u8]) -> CustomExtension {
        CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 12345, 100, 1], value.to_vec())
    }

    #[test]
    fn validity_and_a_raw_extension_are_found() {
        let der = certificate(vec![routing(b"{}")]);
        let parsed = Certificate::parse(&der).expect("a certificate");
        // UTCTime, then GeneralizedTime (the year is past 2049).
        assert_eq!(parsed.not_before, 1_740_700_800);
        assert_eq!(parsed.not_after, 2_592_864_000);
        assert_eq!(parsed.extension(ROUTING), Ok(Some(b"{}".as_slice())));
        assert_eq!(parsed.extension(&[0x2b, 6, 1]), Ok(None));
    }

    #[test]
    fn an_extension_that_is_there_twice_is_refused() {
        let der = certificate(vec![routing(b"{}"), routing(b"[]")]);
        let parsed = Certificate::parse(&der).expect("a certificate");
        assert_eq!(parsed.extension(ROUTING), Err(Malformed));
    }

    #[test]
    fn lengths_that_are_not_der_are_refused() {
        for bytes in [
            &[0x30, 0x80, 0, 0][..],      // indefinite
            &[0x30, 0x81, 0x01, 0],       // one byte would do
            &[0x30, 0x82, 0x00, 0x80],    // a leading zero
            &[0x30, 0x84, 0, 0, 0, 1, 0], // over 16 MiB
            &[0x30, 0x02, 0x05],          // cut short
            &[0x3f, 0x01, 0x00],          // a tag of several bytes
        ] {
            assert_eq!(Reader(bytes).value(), Err(Malformed), "{bytes:x?}");
        }
    }

    #[test]
    fn impossible_times_are_refused() {
        for text in ["250228000000+0100", "2502280000Z", "251301000000Z", "250100000000Z", "25010 000000Z"] {
            let mut der = vec![UTC_TIME, text.len() as u8];
            der.extend(text.bytes());
            assert_eq!(Reader(&der).time(), Err(Malformed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(parsed) = Certificate::parse(&bytes) {
                let _ = parsed.extension(ROUTING);
            }
        }

        #[test]
        fn a_damaged_certificate_never_panics(at in any::<prop::sample::Index>(), with in any::<u8>(), keep in any::<prop::sample::Index>()) {
            let mut der = certificate(vec![routing(b"{}")]);
            let at = at.index(der.len());
            der[at] = with;
            der.truncate(keep.index(der.len()) + 1);
            if let Ok(parsed) = Certificate::parse(&der) {
                let _ = parsed.extension(ROUTING);
            }
        }
    }
}
