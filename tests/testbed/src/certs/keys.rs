//! Where key pairs come from.
//!
//! The platform issues RSA-2048 only, and making such a key takes a good part of a second. So a process makes one
//! RSA key for each role, when it is first asked for, and every factory of the process uses it. The other kinds
//! cost nothing and are made fresh.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use rsa::RsaPrivateKey;
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

type Slot = Arc<OnceLock<RsaPrivateKey>>;

/// This process's RSA key for a role such as `ssh host ca`.
pub(crate) fn rsa(role: &str) -> RsaPrivateKey {
    static POOL: LazyLock<Mutex<HashMap<String, Slot>>> = LazyLock::new(Mutex::default);
    // The slot is taken out of the lock before the slow part, so that roles are generated in parallel.
    let slot = POOL
        .lock()
        .expect("no holder panics")
        .entry(role.to_owned())
        .or_default()
        .clone();
    slot.get_or_init(|| {
        RsaPrivateKey::new(&mut rand::rng(), RSA_BITS)
            .expect("2048 bits is a size that rsa can make")
    })
    .clone()
}

/// A key pair in SSH's form.
pub(crate) fn ssh(kind: KeyKind, role: &str) -> PrivateKey {
    let algorithm = match kind {
        KeyKind::Rsa2048 => {
            let pair = RsaKeypair::try_from(rsa(role)).expect("a two-prime RSA key");
            return PrivateKey::new(KeypairData::Rsa(pair), "").expect("an empty comment");
        }
        KeyKind::EcdsaP256 => Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP256,
        },
        KeyKind::EcdsaP384 => Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP384,
        },
        KeyKind::Ed25519 => Algorithm::Ed25519,
    };
    PrivateKey::random(&mut rand::rng(), algorithm).expect("the kinds above are supported")
}
