//! Where key pairs come from.
//!
//! The platform issues RSA-2048 only, and making such a key takes a good part of a second. So a process makes one
//! RSA key for each role, when it is first asked for, and every factory of the process uses it. The other kinds
//! cost nothing and are made fresh.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use rsa::RsaPrivateKey;
use rsa::pkcs8::EncodePrivateKey as _;
use russh::keys::ssh_key::private::{KeypairData, RsaKeypair};
use russh::keys::{Algorithm, EcdsaCurve, PrivateKey};

/// Bits of every RSA key that the platform issues.
const RSA_BITS: usize = 2048;

/// A kind of key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// What the platform issues today.
    Rsa2048,
    /// ECDSA on NIST P-256.
    EcdsaP256,
    /// ECDSA on NIST P-384.
    EcdsaP384,
    /// Ed25519.
    Ed25519,
}

/// An RSA key in the two forms that the factories need.
struct RsaKey {
    ssh: PrivateKey,
    /// PKCS#8 DER.
    pkcs8: Vec<u8>,
}

impl RsaKey {
    fn generate() -> RsaKey {
        let key = RsaPrivateKey::new(&mut rand::rng(), RSA_BITS).expect("2048 bits is a size that rsa can make");
        let pkcs8 = key.to_pkcs8_der().expect("a key that was generated").as_bytes().to_vec();
        let pair = RsaKeypair::try_from(key).expect("a two-prime RSA key");
        let ssh = PrivateKey::new(KeypairData::Rsa(pair), "").expect("an empty comment");
        RsaKey { ssh, pkcs8 }
    }
}

/// This process's RSA key for a role such as `ssh host ca`.
fn rsa(role: &str) -> Arc<RsaKey> {
    type Slot = Arc<OnceLock<Arc<RsaKey>>>;
    static POOL: LazyLock<Mutex<HashMap<String, Slot>>> = LazyLock::new(Mutex::default);
    // The slot is taken out of the lock before the slow part, so that roles are generated in parallel.
    let slot = POOL.lock().expect("no holder panics").entry(role.to_owned()).or_default().clone();
    slot.get_or_init(|| Arc::new(RsaKey::generate())).clone()
}

/// This process's RSA key for a role, as PKCS#8 DER.
pub(crate) fn rsa_pkcs8(role: &str) -> Vec<u8> {
    rsa(role).pkcs8.clone()
}

/// Makes the RSA keys for these roles now and in parallel, so that nobody waits for them later.
pub(crate) fn warm_up(roles: &[&str]) {
    std::thread::scope(|scope| {
        for role in roles {
            scope.spawn(|| rsa(role));
        }
    });
}

/// A key pair in SSH's form.
pub(crate) fn ssh(kind: KeyKind, role: &str) -> PrivateKey {
    let algorithm = match kind {
        KeyKind::Rsa2048 => return rsa(role).ssh.clone(),
        KeyKind::EcdsaP256 => Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
        KeyKind::EcdsaP384 => Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
        KeyKind::Ed25519 => Algorithm::Ed25519,
    };
    PrivateKey::random(&mut rand::rng(), algorithm).expect("the kinds above are supported")
}
