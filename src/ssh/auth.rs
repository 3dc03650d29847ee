//! User authentication by certificate (RFC 4252 section 7, RFC 8308, RFC 8332, OpenSSH PROTOCOL.certkeys).

use super::cert::UserCertificate;
use super::error::{Error, FileError, PeerText};
use super::key::SignatureAlgorithm;
use super::msg::{Message, Rest, UserauthRequest};
use super::private_key::PrivateKey;
use super::wire::{NameList, Reader, Sink};

/// The service that authentication is for.
pub const CONNECTION_SERVICE: &[u8] = b"ssh-connection";
/// The service that authenticates.
pub const USERAUTH_SERVICE: &[u8] = b"ssh-userauth";

/// Who this side is and how it shows it.
#[derive(Debug)]
pub struct Credentials {
    user: String,
    key: PrivateKey,
    certificate: UserCertificate,
}

impl Credentials {
    /// The certificate must be for this private key.
    pub fn new(user: String, key: PrivateKey, certificate: UserCertificate) -> Result<Self, FileError> {
        use super::key::PublicKey;
        let certified = certificate.certificate().map_err(|_| FileError::Damaged)?.key;
        if PublicKey::from_blob(key.public_blob()) != Ok(certified) {
            return Err(FileError::KeyMismatch);
        }
        Ok(Credentials { user, key, certificate })
    }

    /// The certificate.
    pub fn certificate(&self) -> &UserCertificate {
        &self.certificate
    }

    /// The strongest algorithm that the server takes, by its `server-sig-algs` (RFC 8308 section 3.1) if it sent any.
    ///
    /// Servers list the plain names, the certificate names or both. Without the extension, RFC 8332 section 3.3 suggests trying
    /// SHA-2 anyway, and SHA-1 is never tried.
    pub fn choose(&self, server_sig_algs: &ServerSigAlgs) -> Result<SignatureAlgorithm, Error> {
        let own = self.key.key_type().signature_algorithms();
        match server_sig_algs {
            ServerSigAlgs::Unknown => own.first().copied().ok_or(Error::Signing),
            ServerSigAlgs::Known { accepted, list } => own
                .iter()
                .copied()
                .find(|algorithm| accepted & bit(*algorithm) != 0)
                .ok_or_else(|| Error::NoSha2(list.clone())),
        }
    }

    /// The whole USERAUTH_REQUEST payload, signed.
    pub fn request(&self, algorithm: SignatureAlgorithm, session_id: &[u8]) -> Option<Vec<u8>> {
        let mut specific = Vec::new();
        specific.boolean(true);
        specific.string(algorithm.certificate_name().as_bytes());
        specific.string(self.certificate.blob());
        let request = UserauthRequest {
            user: self.user.as_bytes(),
            service: CONNECTION_SERVICE,
            method: b"publickey",
            specific: Rest(&specific),
        };
        // RFC 4252 section 7: the signature is over the session identifier and the request up to here.
        let mut message = Vec::new();
        message.string(session_id);
        let header = message.len();
        request.encode(&mut message);
        let signature = self.key.sign(algorithm, &message)?;
        let mut payload = message.split_off(header);
        payload.string(&signature);
        Some(payload)
    }
}

/// What the server said about signatures.
#[derive(Clone, Debug, Default)]
pub enum ServerSigAlgs {
    /// No EXT_INFO with `server-sig-algs` came.
    #[default]
    Unknown,
    /// It came.
    Known {
        /// One bit for each algorithm of [`SignatureAlgorithm::ALL`].
        accepted: u8,
        /// The start of the list, for the error.
        list: PeerText,
    },
}

fn bit(algorithm: SignatureAlgorithm) -> u8 {
    1 << algorithm as u8
}

impl ServerSigAlgs {
    /// Reads the pairs of an EXT_INFO (RFC 8308 section 2.3); `None` when they are malformed. Unknown extensions are skipped.
    pub fn read(count: u32, pairs: &[u8]) -> Option<Option<Self>> {
        let mut reader = Reader::new(pairs);
        let mut found = None;
        for _ in 0..count {
            let (name, value) = (reader.string().ok()?, reader.string().ok()?);
            if name == b"server-sig-algs" {
                let list = NameList(core::str::from_utf8(value).ok()?);
                let accepted = SignatureAlgorithm::ALL
                    .into_iter()
                    .filter(|algorithm| list.contains(algorithm.name()) || list.contains(algorithm.certificate_name()))
                    .fold(0, |bits, algorithm| bits | bit(algorithm));
                found = Some(ServerSigAlgs::Known { accepted, list: PeerText::new(value) });
            }
        }
        reader.end().ok()?;
        Some(found)
    }
}
