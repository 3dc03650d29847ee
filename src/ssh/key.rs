//! Public keys and signatures: RSA with SHA-2 (RFC 8332), ECDSA P-256 and P-384 (RFC 5656), Ed25519 (RFC 8709).

use super::wire::{Malformed, Reader};
use core::fmt;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};

/// RSA keys are accepted from this many bits on.
pub const RSA_BITS_MIN: usize = 2048;
/// RSA keys are accepted up to this many bits.
pub const RSA_BITS_MAX: usize = 8192;

/// A signature algorithm by its SSH name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// `rsa-sha2-512`
    RsaSha512,
    /// `rsa-sha2-256`
    RsaSha256,
    /// `ecdsa-sha2-nistp256`
    EcdsaP256,
    /// `ecdsa-sha2-nistp384`
    EcdsaP384,
    /// `ssh-ed25519`
    Ed25519,
}

impl SignatureAlgorithm {
    /// All of them, in the order in which they are offered for host keys.
    pub const ALL: [Self; 5] = [Self::Ed25519, Self::EcdsaP256, Self::EcdsaP384, Self::RsaSha512, Self::RsaSha256];

    /// The name in a signature and, for raw keys, in KEXINIT.
    pub fn name(self) -> &'static str {
        match self {
            Self::RsaSha512 => "rsa-sha2-512",
            Self::RsaSha256 => "rsa-sha2-256",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::Ed25519 => "ssh-ed25519",
        }
    }

    /// The name for a key that is presented in a certificate (OpenSSH PROTOCOL.certkeys).
    pub fn certificate_name(self) -> &'static str {
        match self {
            Self::RsaSha512 => "rsa-sha2-512-cert-v01@openssh.com",
            Self::RsaSha256 => "rsa-sha2-256-cert-v01@openssh.com",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256-cert-v01@openssh.com",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384-cert-v01@openssh.com",
            Self::Ed25519 => "ssh-ed25519-cert-v01@openssh.com",
        }
    }
}

/// Why a key or a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The encoding is wrong.
    Malformed,
    /// A key type, curve or signature algorithm that is not accepted.
    Unsupported,
    /// An RSA signature with SHA-1 (`ssh-rsa`).
    Sha1,
    /// An RSA modulus of this many bits.
    RsaSize(usize),
    /// Another algorithm than the one agreed on, or another than the key's.
    WrongAlgorithm,
    /// The signature is wrong.
    BadSignature,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Malformed => f.write_str("malformed key or signature"),
            KeyError::Unsupported => f.write_str("unsupported key type or signature algorithm"),
            KeyError::Sha1 => f.write_str("RSA signature with SHA-1 (ssh-rsa)"),
            KeyError::RsaSize(bits) => {
                write!(f, "RSA key of {bits} bits, accepted are {RSA_BITS_MIN} to {RSA_BITS_MAX}")
            }
            KeyError::WrongAlgorithm => f.write_str("the signature is of another algorithm than the key"),
            KeyError::BadSignature => f.write_str("the signature does not match"),
        }
    }
}

impl From<Malformed> for KeyError {
    fn from(_: Malformed) -> Self {
        KeyError::Malformed
    }
}

/// The type of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// `ssh-rsa`
    Rsa,
    /// `ecdsa-sha2-nistp256`
    EcdsaP256,
    /// `ecdsa-sha2-nistp384`
    EcdsaP384,
    /// `ssh-ed25519`
    Ed25519,
}

impl KeyType {
    const ALL: [Self; 4] = [Self::Rsa, Self::EcdsaP256, Self::EcdsaP384, Self::Ed25519];

    /// The name in a public key blob.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa => "ssh-rsa",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::Ed25519 => "ssh-ed25519",
        }
    }

    /// The name in a certificate blob (OpenSSH PROTOCOL.certkeys).
    pub fn certificate_name(self) -> &'static str {
        match self {
            Self::Rsa => "ssh-rsa-cert-v01@openssh.com",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256-cert-v01@openssh.com",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384-cert-v01@openssh.com",
            Self::Ed25519 => "ssh-ed25519-cert-v01@openssh.com",
        }
    }

    /// The type with this [`KeyType::name`].
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|key_type| key_type.name().as_bytes() == name)
    }

    /// The type with this [`KeyType::certificate_name`].
    pub fn from_certificate_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|key_type| key_type.certificate_name().as_bytes() == name)
    }

    /// The signatures that a key of this type makes, strongest first.
    pub fn signature_algorithms(self) -> &'static [SignatureAlgorithm] {
        match self {
            Self::Rsa => &[SignatureAlgorithm::RsaSha512, SignatureAlgorithm::RsaSha256],
            Self::EcdsaP256 => &[SignatureAlgorithm::EcdsaP256],
            Self::EcdsaP384 => &[SignatureAlgorithm::EcdsaP384],
            Self::Ed25519 => &[SignatureAlgorithm::Ed25519],
        }
    }
}

/// A public key inside the bytes that it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKey<'a> {
    /// Exponent and modulus, big-endian without leading zeros.
    Rsa {
        #[allow(missing_docs)]
        e: &'a [u8],
        #[allow(missing_docs)]
        n: &'a [u8],
    },
    /// An uncompressed point on P-256.
    EcdsaP256(&'a [u8]),
    /// An uncompressed point on P-384.
    EcdsaP384(&'a [u8]),
    /// The 32 bytes of RFC 8032.
    Ed25519(&'a [u8]),
}

impl<'a> PublicKey<'a> {
    /// Reads a whole public key blob: type name and fields, nothing behind them.
    pub fn from_blob(blob: &'a [u8]) -> Result<Self, KeyError> {
        let mut reader = Reader::new(blob);
        let key_type = KeyType::from_name(reader.string()?).ok_or(KeyError::Unsupported)?;
        let key = Self::read_fields(key_type, &mut reader)?;
        reader.end()?;
        Ok(key)
    }

    /// Reads the fields of a key of this type, as they stand in a key blob and, behind the nonce, in a certificate.
    pub fn read_fields(key_type: KeyType, reader: &mut Reader<'a>) -> Result<Self, KeyError> {
        let point = |reader: &mut Reader<'a>, curve: &[u8], length| {
            let named = reader.string()?;
            let point = reader.string()?;
            // Uncompressed form only, as RFC 5656 section 3.1 lets an implementation choose.
            if named == curve && point.len() == length && point.first() == Some(&4) {
                Ok(point)
            } else {
                Err(KeyError::Malformed)
            }
        };
        Ok(match key_type {
            KeyType::Rsa => {
                let (e, n) = (reader.mpint()?, reader.mpint()?);
                let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
                if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
                    return Err(KeyError::RsaSize(bits));
                }
                PublicKey::Rsa { e, n }
            }
            KeyType::EcdsaP256 => PublicKey::EcdsaP256(point(reader, b"nistp256", 65)?),
            KeyType::EcdsaP384 => PublicKey::EcdsaP384(point(reader, b"nistp384", 97)?),
            KeyType::Ed25519 => match reader.string()? {
                key if key.len() == 32 => PublicKey::Ed25519(key),
                _ => return Err(KeyError::Malformed),
            },
        })
    }

    /// The type of this key.
    pub fn key_type(&self) -> KeyType {
        match self {
            PublicKey::Rsa { .. } => KeyType::Rsa,
            PublicKey::EcdsaP256(_) => KeyType::EcdsaP256,
            PublicKey::EcdsaP384(_) => KeyType::EcdsaP384,
            PublicKey::Ed25519(_) => KeyType::Ed25519,
        }
    }

    /// Checks `signature` (a blob of algorithm name and value) over `message`. When `required` is given, the algorithm must be
    /// that one; in any case it must be one of this key's own.
    pub fn verify(
        &self,
        message: &[u8],
        signature: &[u8],
        required: Option<SignatureAlgorithm>,
    ) -> Result<(), KeyError> {
        let mut reader = Reader::new(signature);
        let (name, value) = (reader.string()?, reader.string()?);
        reader.end()?;
        if name == KeyType::Rsa.name().as_bytes() {
            return Err(KeyError::Sha1);
        }
        let algorithm = SignatureAlgorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().as_bytes() == name)
            .ok_or(KeyError::Unsupported)?;
        if required.is_some_and(|required| required != algorithm)
            || !self.key_type().signature_algorithms().contains(&algorithm)
        {
            return Err(KeyError::WrongAlgorithm);
        }
        match *self {
            PublicKey::Rsa { e, n } => {
                // RFC 8332 section 3 lets the value be as long as the modulus; some signers drop leading zeros.
                let mut padded = [0; RSA_BITS_MAX / 8];
                let padded = padded.get_mut(..n.len()).ok_or(KeyError::Malformed)?;
                let zeros = n.len().checked_sub(value.len()).ok_or(KeyError::BadSignature)?;
                padded.get_mut(zeros..).ok_or(KeyError::Malformed)?.copy_from_slice(value);
                let parameters = match algorithm {
                    SignatureAlgorithm::RsaSha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    _ => &signature::RSA_PKCS1_2048_8192_SHA256,
                };
                RsaPublicKeyComponents { n, e }.verify(parameters, message, padded).map_err(|_| KeyError::BadSignature)
            }
            PublicKey::EcdsaP256(point) => {
                verify(&signature::ECDSA_P256_SHA256_FIXED, point, message, &ecdsa_fixed::<64>(value)?)
            }
            PublicKey::EcdsaP384(point) => {
                verify(&signature::ECDSA_P384_SHA384_FIXED, point, message, &ecdsa_fixed::<96>(value)?)
            }
            PublicKey::Ed25519(key) => verify(&signature::ED25519, key, message, value),
        }
    }
}

fn verify(
    algorithm: &'static dyn VerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    value: &[u8],
) -> Result<(), KeyError> {
    UnparsedPublicKey::new(algorithm, key).verify(message, value).map_err(|_| KeyError::BadSignature)
}

/// RFC 5656 section 3.1.2: `mpint r`, `mpint s`, here as two numbers of fixed length side by side.
fn ecdsa_fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], KeyError> {
    let mut reader = Reader::new(value);
    let mut fixed = [0; N];
    for half in fixed.chunks_exact_mut(N / 2) {
        let number = reader.mpint()?;
        let zeros = half.len().checked_sub(number.len()).ok_or(KeyError::Malformed)?;
        half.get_mut(zeros..).ok_or(KeyError::Malformed)?.copy_from_slice(number);
    }
    reader.end()?;
    Ok(fixed)
}

/// The base64 in the second field of an `authorized_keys` style line, decoded.
pub(super) fn blob_of_line(line: &str) -> Option<Vec<u8>> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let mut fields = line.split_ascii_whitespace();
    let name = fields.next()?;
    let blob = STANDARD.decode(fields.next()?).ok()?;
    (Reader::new(&blob).string() == Ok(name.as_bytes())).then_some(blob)
}
