//! The user's private key: read from OpenSSH PEM (OpenSSH PROTOCOL.key), used to sign.

use super::error::FileError;
use super::key::{KeyType, PublicKey, SignatureAlgorithm};
use super::wire::{Malformed, Reader, Sink};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::rand::SystemRandom;
use ring::rsa::{KeyPairComponents, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA512, RsaKeyPair,
};
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
const MAGIC: &[u8] = b"openssh-key-v1\0";
/// A PEM above this is no private key: an RSA key of 4096 bits takes 3.4 KiB.
const PEM_MAX: usize = 16 * 1024;

/// A private key that signs. Its `Debug` shows the type only.
pub struct PrivateKey {
    pair: Pair,
    public: Vec<u8>,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    EcdsaP256(Box<EcdsaKeyPair>),
    EcdsaP384(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl core::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PrivateKey({})", self.key_type().name())
    }
}

impl From<Malformed> for FileError {
    fn from(_: Malformed) -> Self {
        FileError::Damaged
    }
}

impl PrivateKey {
    /// Reads an unencrypted OpenSSH private key.
    pub fn from_pem(pem: &str) -> Result<Self, FileError> {
        if pem.len() > PEM_MAX {
            return Err(FileError::TooLong);
        }
        let (_, rest) = pem.split_once(BEGIN).ok_or(FileError::NotAPem)?;
        let (body, _) = rest.split_once(END).ok_or(FileError::NotAPem)?;
        let mut text = Zeroizing::new(Vec::with_capacity(body.len()));
        text.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
        let mut bytes = Zeroizing::new(vec![0; text.len()]);
        let length = STANDARD.decode_slice(&*text, &mut bytes).map_err(|_| FileError::Damaged)?;

        let mut reader = Reader::new(bytes.get(..length).ok_or(FileError::Damaged)?);
        if reader.bytes(MAGIC.len())? != MAGIC {
            return Err(FileError::Damaged);
        }
        let (cipher, kdf, _options) = (reader.string()?, reader.string()?, reader.string()?);
        if cipher != b"none" || kdf != b"none" {
            return Err(FileError::Encrypted);
        }
        if reader.uint32()? != 1 {
            return Err(FileError::Damaged);
        }
        let public = reader.string()?;
        let private = reader.string()?;
        reader.end()?;
        let pair = read_pair(private, public)?;
        Ok(PrivateKey { pair, public: public.to_vec() })
    }

    /// The public key's blob.
    pub fn public_blob(&self) -> &[u8] {
        &self.public
    }

    /// The type of the key.
    pub fn key_type(&self) -> KeyType {
        match self.pair {
            Pair::Rsa(_) => KeyType::Rsa,
            Pair::EcdsaP256(_) => KeyType::EcdsaP256,
            Pair::EcdsaP384(_) => KeyType::EcdsaP384,
            Pair::Ed25519(_) => KeyType::Ed25519,
        }
    }

    /// Signs `message`: a signature blob of algorithm name and value. `None` when the algorithm is not this key's.
    pub fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Option<Vec<u8>> {
        if !self.key_type().signature_algorithms().contains(&algorithm) {
            return None;
        }
        let random = SystemRandom::new();
        let mut value = Vec::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding = match algorithm {
                    SignatureAlgorithm::RsaSha512 => &RSA_PKCS1_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                value.resize(pair.public().modulus_len(), 0);
                pair.sign(padding, &random, message, &mut value).ok()?;
            }
            Pair::EcdsaP256(pair) | Pair::EcdsaP384(pair) => {
                let signature = pair.sign(&random, message).ok()?;
                let (r, s) = signature.as_ref().split_at(signature.as_ref().len() / 2);
                value.mpint(r);
                value.mpint(s);
            }
            Pair::Ed25519(pair) => value.put(pair.sign(message).as_ref()),
        }
        let mut blob = Vec::new();
        blob.string(algorithm.name().as_bytes());
        blob.string(&value);
        Some(blob)
    }
}

/// Reads the private section: two equal check numbers, the key, a comment, and the padding 1, 2, 3...
fn read_pair(private: &[u8], public: &[u8]) -> Result<Pair, FileError> {
    let mut reader = Reader::new(private);
    if reader.uint32()? != reader.uint32()? {
        return Err(FileError::Damaged);
    }
    let key_type = KeyType::from_name(reader.string()?).ok_or(FileError::Unsupported)?;
    // The public key that stands ahead of the private section is what the certificate is compared with: it must be the pair's own.
    let matches = |own: PublicKey<'_>| match PublicKey::from_blob(public) {
        Ok(public) if public == own => Ok(()),
        _ => Err(FileError::Inconsistent),
    };
    let pair = match key_type {
        KeyType::Rsa => {
            let (n, e, d) = (reader.mpint()?, reader.mpint()?, reader.mpint()?);
            let (q_inverse, p, q) = (reader.mpint()?, reader.mpint()?, reader.mpint()?);
            let exponent = |prime: &[u8]| modulo_prime_minus_one(d, prime);
            let components = KeyPairComponents {
                public_key: PublicKeyComponents { n, e },
                d,
                p,
                q,
                dP: &exponent(p)[..],
                dQ: &exponent(q)[..],
                qInv: q_inverse,
            };
            if !(256..=512).contains(&n.len()) {
                return Err(FileError::RsaSize);
            }
            matches(PublicKey::Rsa { e, n })?;
            Pair::Rsa(Box::new(RsaKeyPair::from_components(&components).map_err(|_| FileError::Inconsistent)?))
        }
        KeyType::EcdsaP256 | KeyType::EcdsaP384 => {
            let _curve = reader.string()?;
            let (point, scalar) = (reader.string()?, reader.mpint()?);
            let (algorithm, length) = match key_type {
                KeyType::EcdsaP256 => (&ECDSA_P256_SHA256_FIXED_SIGNING, 32),
                _ => (&ECDSA_P384_SHA384_FIXED_SIGNING, 48),
            };
            let mut padded = Zeroizing::new([0; 48]);
            let zeros = usize::checked_sub(length, scalar.len()).ok_or(FileError::Damaged)?;
            padded.get_mut(zeros..length).ok_or(FileError::Damaged)?.copy_from_slice(scalar);
            let scalar = padded.get(..length).ok_or(FileError::Damaged)?;
            let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, scalar, point, &SystemRandom::new())
                .map_err(|_| FileError::Inconsistent)?;
            match key_type {
                KeyType::EcdsaP256 => {
                    matches(PublicKey::EcdsaP256(point))?;
                    Pair::EcdsaP256(Box::new(pair))
                }
                _ => {
                    matches(PublicKey::EcdsaP384(point))?;
                    Pair::EcdsaP384(Box::new(pair))
                }
            }
        }
        KeyType::Ed25519 => {
            let (point, seed_and_point) = (reader.string()?, reader.string()?);
            let seed = seed_and_point.get(..32).ok_or(FileError::Damaged)?;
            let pair = Ed25519KeyPair::from_seed_and_public_key(seed, point).map_err(|_| FileError::Inconsistent)?;
            matches(PublicKey::Ed25519(point))?;
            Pair::Ed25519(Box::new(pair))
        }
    };
    let _comment = reader.string()?;
    if !reader.rest().iter().zip(1u8..).all(|(byte, expected)| *byte == expected) {
        return Err(FileError::Damaged);
    }
    Ok(pair)
}

/// `d mod (prime - 1)`: the CRT exponent, which `ring` wants and the OpenSSH format leaves out. `prime` is odd.
///
/// Long division bit by bit; the subtraction is always done and kept by a mask, so that time does not depend on the secrets.
fn modulo_prime_minus_one(d: &[u8], prime: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut modulus = Zeroizing::new(prime.to_vec());
    if let Some(last) = modulus.last_mut() {
        *last &= !1;
    }
    let mut remainder = Zeroizing::new(vec![0u8; modulus.len()]);
    let mut difference = Zeroizing::new(vec![0u8; modulus.len()]);
    for bit in d.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)) {
        let mut carry = bit;
        for byte in remainder.iter_mut().rev() {
            let shifted = *byte >> 7;
            *byte = *byte << 1 | carry;
            carry = shifted;
        }
        let mut borrow = false;
        for ((out, left), right) in difference.iter_mut().zip(remainder.iter()).zip(modulus.iter()).rev() {
            let (partial, first) = left.overflowing_sub(*right);
            let (result, second) = partial.overflowing_sub(u8::from(borrow));
            *out = result;
            borrow = first | second;
        }
        // The shift may have carried out of the top byte; then the difference is right although it borrowed.
        let keep = 0u8.wrapping_sub(u8::from(!borrow) | carry);
        for (byte, reduced) in remainder.iter_mut().zip(difference.iter()) {
            *byte = *byte & !keep | *reduced & keep;
        }
    }
    remainder
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn remainder_is_that_of_the_machine(d: u128, prime in 3u64..) {
            let prime = prime | 1;
            let bytes = prime.to_be_bytes();
            let remainder = modulo_prime_minus_one(&d.to_be_bytes(), &bytes);
            let expected = (d % u128::from(prime - 1)) as u64;
            prop_assert_eq!(&remainder[..], &expected.to_be_bytes()[..]);
        }
    }
}
