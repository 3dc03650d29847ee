//! Certificates (OpenSSH PROTOCOL.certkeys) and whether a host's is to be believed.

use super::error::{FileError, PeerText};
use super::key::{KeyError, KeyType, PublicKey, blob_of_line};
use super::wire::{Malformed, Reader};
use crate::limits::ssh::CERTIFICATE_MAX;
use core::fmt;

/// `SSH_CERT_TYPE_USER`
const TYPE_USER: u32 = 1;
/// `SSH_CERT_TYPE_HOST`
const TYPE_HOST: u32 = 2;

/// A parsed certificate inside the bytes that it came in. Nothing about it has been checked yet.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// The certified key.
    pub key: PublicKey<'a>,
    /// 1 for a user's, 2 for a host's.
    pub kind: u32,
    /// Seconds since 1970; not valid before.
    pub valid_after: u64,
    /// Seconds since 1970; not valid from then on.
    pub valid_before: u64,
    principals: &'a [u8],
    critical_options: &'a [u8],
    authority: &'a [u8],
    signature: &'a [u8],
    signed: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads a whole certificate blob.
    pub fn from_blob(blob: &'a [u8]) -> Result<Self, CertificateError> {
        if blob.len() > CERTIFICATE_MAX {
            return Err(CertificateError::TooLong(blob.len()));
        }
        let mut reader = Reader::new(blob);
        let name = reader.string()?;
        let Some(key_type) = KeyType::from_certificate_name(name) else {
            return Err(match KeyType::from_name(name) {
                Some(_) => CertificateError::RawKey,
                None => CertificateError::Key(KeyError::Unsupported),
            });
        };
        let _nonce = reader.string()?;
        let key = PublicKey::read_fields(key_type, &mut reader).map_err(CertificateError::Key)?;
        let _serial = reader.uint64()?;
        let kind = reader.uint32()?;
        let _key_id = reader.string()?;
        let principals = reader.string()?;
        let (valid_after, valid_before) = (reader.uint64()?, reader.uint64()?);
        let critical_options = reader.string()?;
        let _extensions = reader.string()?;
        let _reserved = reader.string()?;
        let authority = reader.string()?;
        let signed = blob.get(..blob.len() - reader.rest().len()).ok_or(Malformed)?;
        let signature = reader.string()?;
        reader.end()?;
        Ok(Certificate {
            key,
            kind,
            valid_after,
            valid_before,
            principals,
            critical_options,
            authority,
            signature,
            signed,
        })
    }

    /// The names that the certificate is for. Ends early at a malformed one.
    pub fn principals(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader::new(self.principals);
        core::iter::from_fn(move || reader.string().ok())
    }

    /// Checks a host certificate: type, authority, signature, time, options and name, in this order.
    /// `now` is in seconds since 1970; one of `names` must be among the principals.
    pub fn check_host(&self, authorities: &[Authority], names: &[String], now: u64) -> Result<(), CertificateError> {
        match self.kind {
            TYPE_HOST => {}
            TYPE_USER => return Err(CertificateError::UserCertificate),
            other => return Err(CertificateError::UnknownType(other)),
        }
        if !authorities.iter().any(|authority| authority.blob == self.authority) {
            return Err(CertificateError::UnknownAuthority);
        }
        PublicKey::from_blob(self.authority)
            .and_then(|key| key.verify(self.signed, self.signature, None))
            .map_err(CertificateError::Authority)?;
        if now < self.valid_after {
            return Err(CertificateError::NotYetValid { seconds: self.valid_after - now });
        }
        if now >= self.valid_before {
            return Err(CertificateError::Expired { seconds: now - self.valid_before });
        }
        // None is defined for hosts, so each is unknown, and an unknown critical option invalidates the certificate.
        if !self.critical_options.is_empty() {
            let name = Reader::new(self.critical_options).string()?;
            return Err(CertificateError::CriticalOption(PeerText::new(name)));
        }
        let named = |principal: &[u8]| names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(principal));
        if !self.principals().any(named) {
            // Without principals OpenSSH once took a host certificate to be for every host; this client never does.
            let first = self.principals().next().unwrap_or(b"nobody");
            return Err(CertificateError::Principal(PeerText::new(first)));
        }
        Ok(())
    }
}

/// Why a certificate is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateError {
    /// The fields do not fit.
    Malformed,
    /// More than [`CERTIFICATE_MAX`] bytes; holds how many.
    TooLong(usize),
    /// A plain key where a certificate was agreed on.
    RawKey,
    /// The certified key is not acceptable.
    Key(KeyError),
    /// A user certificate presented by a host.
    UserCertificate,
    /// Neither a user's nor a host's; holds the type.
    UnknownType(u32),
    /// Signed by another authority.
    UnknownAuthority,
    /// The authority's signature does not hold.
    Authority(KeyError),
    #[allow(missing_docs)]
    NotYetValid { seconds: u64 },
    #[allow(missing_docs)]
    Expired { seconds: u64 },
    /// A critical option; holds its name.
    CriticalOption(PeerText),
    /// For another host; holds the first principal.
    Principal(PeerText),
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateError::Malformed => f.write_str("it is malformed"),
            CertificateError::TooLong(n) => write!(f, "it has {n} bytes, the limit is {CERTIFICATE_MAX}"),
            CertificateError::RawKey => f.write_str("it is a raw host key, not a certificate"),
            CertificateError::Key(error) => write!(f, "{error}"),
            CertificateError::UserCertificate => f.write_str("it is a user certificate, not a host's"),
            CertificateError::UnknownType(kind) => write!(f, "it is of unknown type {kind}"),
            CertificateError::UnknownAuthority => f.write_str("it is not signed by the configured CA"),
            CertificateError::Authority(error) => write!(f, "the CA's signature does not hold: {error}"),
            CertificateError::NotYetValid { seconds } => {
                write!(f, "it is not yet valid, by {seconds} s; check this machine's clock")
            }
            CertificateError::Expired { seconds } => {
                write!(f, "it expired {seconds} s ago; check this machine's clock")
            }
            CertificateError::CriticalOption(name) => write!(f, "it has the unknown critical option \"{name}\""),
            CertificateError::Principal(first) => write!(f, "this host is not a principal of it (it is for {first})"),
        }
    }
}

impl From<Malformed> for CertificateError {
    fn from(_: Malformed) -> Self {
        CertificateError::Malformed
    }
}

/// A public key that this side was told to trust: a certificate authority, or a pinned host key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    blob: Vec<u8>,
    key_type: KeyType,
}

impl Authority {
    /// Reads a public key line: `ssh-rsa AAAA... comment`.
    pub fn from_line(line: &str) -> Result<Self, FileError> {
        let blob = blob_of_line(line).ok_or(FileError::NotALine)?;
        match PublicKey::from_blob(&blob).map(|key| key.key_type()) {
            Ok(key_type) => Ok(Authority { blob, key_type }),
            Err(KeyError::RsaSize(_)) => Err(FileError::RsaSize),
            Err(KeyError::Unsupported) => Err(FileError::Unsupported),
            Err(_) => Err(FileError::Damaged),
        }
    }

    /// The public key blob.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The type of the key.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }
}

/// The certificate that this side authenticates with.
#[derive(Clone, Debug)]
pub struct UserCertificate {
    blob: Vec<u8>,
}

impl UserCertificate {
    /// Reads a certificate line: `ssh-rsa-cert-v01@openssh.com AAAA... comment`.
    pub fn from_line(line: &str) -> Result<Self, FileError> {
        let blob = blob_of_line(line).ok_or(FileError::NotALine)?;
        let kind = Certificate::from_blob(&blob).map(|certificate| certificate.kind);
        match kind {
            Ok(TYPE_USER) => Ok(UserCertificate { blob }),
            Ok(_) => Err(FileError::NotAUserCertificate),
            Err(CertificateError::TooLong(_)) => Err(FileError::TooLong),
            Err(CertificateError::Key(KeyError::RsaSize(_))) => Err(FileError::RsaSize),
            Err(CertificateError::Key(KeyError::Unsupported) | CertificateError::RawKey) => Err(FileError::Unsupported),
            Err(_) => Err(FileError::Damaged),
        }
    }

    /// The certificate blob.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The certificate's fields. It was parsed once already, so this succeeds.
    pub fn certificate(&self) -> Result<Certificate<'_>, CertificateError> {
        Certificate::from_blob(&self.blob)
    }
}
