//! Key exchange: RFC 8731 (curve25519), RFC 5656 (NIST curves), draft-ietf-sshm-mlkem-hybrid-kex (ML-KEM-768 with X25519);
//! the exchange hash and the keys from it (RFC 4253 section 7.2).

use super::cipher::{Cipher, KeyMaterial};
use super::wire::Sink;
use ring::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey};
use ring::digest;
#[cfg(feature = "pq")]
use ring::rand::SecureRandom;
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

/// Longest shared secret: the x coordinate of P-384.
const SECRET_MAX: usize = 48;

/// A key exchange method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `mlkem768x25519-sha256`
    #[cfg(feature = "pq")]
    MlKem768X25519,
    /// `curve25519-sha256`, also under its older name at libssh.org.
    Curve25519,
    /// `ecdh-sha2-nistp256`
    EcdhP256,
    /// `ecdh-sha2-nistp384`
    EcdhP384,
}

impl Method {
    /// All of them, best first.
    pub const ALL: &[Method] = &[
        #[cfg(feature = "pq")]
        Method::MlKem768X25519,
        Method::Curve25519,
        Method::EcdhP256,
        Method::EcdhP384,
    ];

    /// The names in KEXINIT.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            #[cfg(feature = "pq")]
            Method::MlKem768X25519 => &["mlkem768x25519-sha256"],
            Method::Curve25519 => &["curve25519-sha256", "curve25519-sha256@libssh.org"],
            Method::EcdhP256 => &["ecdh-sha2-nistp256"],
            Method::EcdhP384 => &["ecdh-sha2-nistp384"],
        }
    }

    fn hash(self) -> &'static digest::Algorithm {
        match self {
            Method::EcdhP384 => &digest::SHA384,
            _ => &digest::SHA256,
        }
    }

    fn group(self) -> &'static agreement::Algorithm {
        match self {
            Method::EcdhP256 => &agreement::ECDH_P256,
            Method::EcdhP384 => &agreement::ECDH_P384,
            _ => &agreement::X25519,
        }
    }
}

/// The client's half of a key exchange, until the reply comes.
pub struct Ephemeral {
    secret: EphemeralPrivateKey,
    /// What KEX_ECDH_INIT carries.
    public: Vec<u8>,
    /// The seed `d || z` of FIPS 203 section 7.1: 64 bytes kept for the round trip instead of the 2,400 of the key.
    #[cfg(feature = "pq")]
    seed: Option<Zeroizing<[u8; 64]>>,
}

/// The peer's public value is invalid, or the random source failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

impl Ephemeral {
    /// New keys for one exchange.
    pub fn generate(method: Method, random: &SystemRandom) -> Result<Self, Failed> {
        let secret = EphemeralPrivateKey::generate(method.group(), random).map_err(|_| Failed)?;
        let share = secret.compute_public_key().map_err(|_| Failed)?;
        #[cfg(feature = "pq")]
        if method == Method::MlKem768X25519 {
            let mut seed = Zeroizing::new([0; 64]);
            random.fill(&mut *seed).map_err(|_| Failed)?;
            let mut public = mlkem::encapsulation_key(&seed);
            public.extend_from_slice(share.as_ref());
            return Ok(Ephemeral { secret, public, seed: Some(seed) });
        }
        Ok(Ephemeral {
            secret,
            public: share.as_ref().to_vec(),
            #[cfg(feature = "pq")]
            seed: None,
        })
    }

    /// `Q_C`, or `C_INIT` of the hybrid method.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The shared secret from the server's `Q_S` or `S_REPLY`.
    pub fn agree(self, server_public: &[u8]) -> Result<Secret, Failed> {
        #[cfg(feature = "pq")]
        if let Some(seed) = &self.seed {
            let (ciphertext, share) = server_public.split_at_checked(mlkem::CIPHERTEXT).ok_or(Failed)?;
            let quantum_safe = mlkem::decapsulate(seed, ciphertext).ok_or(Failed)?;
            let classical = ecdh(self.secret, share)?;
            // K = HASH(K_PQ || K_CL), and it is a string, not a number.
            let mut both = digest::Context::new(&digest::SHA256);
            both.update(&*quantum_safe);
            both.update(&classical);
            return Ok(Secret::String(Zeroizing::new(both.finish().as_ref().to_vec())));
        }
        ecdh(self.secret, server_public).map(Secret::Number)
    }
}

/// `ring` checks that the point is on the curve, and that an X25519 secret is not zero (RFC 8731 section 3).
fn ecdh(secret: EphemeralPrivateKey, public: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let peer = UnparsedPublicKey::new(secret.algorithm(), public);
    agreement::agree_ephemeral(secret, &peer, |shared| {
        let mut copy = Zeroizing::new(Vec::with_capacity(SECRET_MAX));
        copy.extend_from_slice(shared);
        copy
    })
    .map_err(|_| Failed)
}

/// The shared secret `K`. Erased when dropped.
pub enum Secret {
    /// Hashed as `mpint`.
    Number(Zeroizing<Vec<u8>>),
    /// Hashed as `string`.
    String(Zeroizing<Vec<u8>>),
}

impl Secret {
    fn put(&self, sink: &mut impl Sink) {
        match self {
            Secret::Number(bytes) => sink.mpint(bytes),
            Secret::String(bytes) => sink.string(bytes),
        }
    }
}

/// The exchange hash while its parts come in (RFC 4253 section 8, RFC 5656 section 4):
/// `V_C, V_S, I_C, I_S, K_S, Q_C, Q_S, K`, each as a string, `K` as its method says.
pub struct Transcript {
    method: Method,
    context: digest::Context,
}

impl Transcript {
    /// Starts with both identifications, without CR LF.
    pub fn new(method: Method, client: &[u8], server: &[u8]) -> Self {
        let mut context = digest::Context::new(method.hash());
        context.string(client);
        context.string(server);
        Transcript { method, context }
    }

    /// The next part.
    pub fn string(&mut self, part: &[u8]) {
        self.context.string(part);
    }

    /// The last part: `H`, and the keys that follow from it.
    pub fn finish(mut self, secret: Secret) -> KeySource {
        secret.put(&mut self.context);
        KeySource { method: self.method, hash: self.context.finish(), secret }
    }
}

/// `K` and `H`: what all keys are derived from.
pub struct KeySource {
    method: Method,
    hash: digest::Digest,
    secret: Secret,
}

impl KeySource {
    /// `H`; of the first exchange also the session identifier.
    pub fn exchange_hash(&self) -> &digest::Digest {
        &self.hash
    }

    /// Key and IV of one direction (RFC 4253 section 7.2): letters A and C from client to server, B and D back.
    pub fn material(&self, cipher: Cipher, session_id: &[u8], iv: u8, key: u8) -> KeyMaterial {
        let mut material = KeyMaterial { key: Zeroizing::new([0; 64]), iv: Zeroizing::new([0; 12]) };
        self.derive(iv, session_id, &mut *material.iv);
        if let Some(bytes) = material.key.get_mut(..cipher.key_length()) {
            self.derive(key, session_id, bytes);
        }
        material
    }

    /// `K1 = HASH(K || H || X || session_id)`, `K2 = HASH(K || H || K1)` and so on.
    fn derive(&self, letter: u8, session_id: &[u8], out: &mut [u8]) {
        let mut done = 0;
        while done < out.len() {
            let mut context = digest::Context::new(self.method.hash());
            self.secret.put(&mut context);
            context.put(self.hash.as_ref());
            match out.get(..done) {
                Some(earlier) if done > 0 => context.put(earlier),
                _ => {
                    context.byte(letter);
                    context.put(session_id);
                }
            }
            let block = context.finish();
            for (byte, derived) in out.iter_mut().skip(done).zip(block.as_ref()) {
                *byte = *derived;
            }
            done += block.as_ref().len();
        }
    }
}

/// ML-KEM-768 (FIPS 203) by RustCrypto, from seeds, so that `ring`'s random source serves it too.
#[cfg(feature = "pq")]
mod mlkem {
    use ml_kem::kem::{Decapsulate, KeyExport};
    use ml_kem::{DecapsulationKey768, Seed};
    use zeroize::Zeroizing;

    /// Bytes of a ciphertext.
    pub(super) const CIPHERTEXT: usize = 1088;

    fn key(seed: &[u8; 64]) -> DecapsulationKey768 {
        DecapsulationKey768::from_seed(Seed::from(*seed))
    }

    pub(super) fn encapsulation_key(seed: &[u8; 64]) -> Vec<u8> {
        key(seed).encapsulation_key().to_bytes().to_vec()
    }

    pub(super) fn decapsulate(seed: &[u8; 64], ciphertext: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let shared = key(seed).decapsulate_slice(ciphertext).ok()?;
        Some(Zeroizing::new(shared.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn both_sides_of_every_method_derive_the_same_keys() {
        let random = SystemRandom::new();
        for method in [Method::Curve25519, Method::EcdhP256, Method::EcdhP384] {
            let (client, server) =
                (Ephemeral::generate(method, &random).unwrap(), Ephemeral::generate(method, &random).unwrap());
            let (client_public, server_public) = (client.public().to_vec(), server.public().to_vec());
            let finish = |secret: Secret| {
                let mut transcript = Transcript::new(method, b"C", b"S");
                transcript.string(b"I");
                transcript.finish(secret)
            };
            let ours = finish(client.agree(&server_public).unwrap());
            let theirs = finish(server.agree(&client_public).unwrap());
            assert_eq!(ours.exchange_hash().as_ref(), theirs.exchange_hash().as_ref());
            for cipher in Cipher::preferred() {
                let keys = |source: &KeySource| source.material(cipher, b"id", b'A', b'C');
                assert_eq!(*keys(&ours).key, *keys(&theirs).key);
                assert_eq!(*keys(&ours).iv, *keys(&theirs).iv);
                assert_ne!(keys(&ours).key[..cipher.key_length()], vec![0; cipher.key_length()]);
                assert!(keys(&ours).key[cipher.key_length()..].iter().all(|byte| *byte == 0));
            }
        }
    }

    #[test]
    fn invalid_public_values_fail() {
        let random = SystemRandom::new();
        for method in Method::ALL {
            for public in [&[][..], &[0; 32], &[4; 65], &[0; 97], &[0; 1120], &[0; 1119]] {
                let client = Ephemeral::generate(*method, &random).unwrap();
                assert!(client.agree(public).is_err(), "{method:?}, {} bytes", public.len());
            }
        }
    }

    /// RFC 4253 section 7.2, computed with another implementation (Python's hashlib) from K = 0x80ff, H = SHA-256("H"), id = "id".
    #[test]
    fn keys_longer_than_the_hash_are_extended() {
        let secret = Secret::Number(Zeroizing::new(vec![0x80, 0xff]));
        let source = KeySource { method: Method::Curve25519, hash: digest::digest(&digest::SHA256, b"H"), secret };
        let material = source.material(Cipher::ChaCha20Poly1305, b"id", b'A', b'C');
        assert_eq!(
            material.key[..],
            unhex(concat!(
                "447662d39202b7cd6c40b06ce13f2a43af50a709b86385900a440c5804e64b4b",
                "e257f678390d96cbe773b57c264b1d095ced3e2921f68c1eedeaeda505363622"
            ))
        );
        assert_eq!(material.iv[..], unhex("afa324cef85221634ec780c2"));
    }

    #[cfg(feature = "pq")]
    #[test]
    fn mlkem_sizes_are_those_of_the_draft() {
        let ephemeral = Ephemeral::generate(Method::MlKem768X25519, &SystemRandom::new()).unwrap();
        assert_eq!(ephemeral.public().len(), 1184 + 32);
    }
}
