//! The `ring` provider, cut down to the suites and groups that the platform's Node and Go clients
//! and the targets speak, in the order that suits this CPU.
//!
//! It is put together here because rustls's own takes along what its suites need for QUIC.

use std::sync::Arc;

use ring::rand::SystemRandom;
use rustls::crypto::ring::{cipher_suite as suite, kx_group, sign::any_supported_type};
use rustls::crypto::{CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, WebPkiSupportedAlgorithms};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use rustls::{
    CipherSuiteCommon, Error, SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion, Tls13CipherSuite,
    version,
};
use webpki::ring as webpki_algorithm;
use zeroize::Zeroizing;

use crate::cpu;

/// The versions of TLS that are spoken.
#[cfg(feature = "tls12")]
pub const VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
/// The versions of TLS that are spoken.
#[cfg(not(feature = "tls12"))]
pub const VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13];

static TLS13_CHACHA20_POLY1305_SHA256: Tls13CipherSuite = without_quic(suite::TLS13_CHACHA20_POLY1305_SHA256);
static TLS13_AES_128_GCM_SHA256: Tls13CipherSuite = without_quic(suite::TLS13_AES_128_GCM_SHA256);
static TLS13_AES_256_GCM_SHA384: Tls13CipherSuite = without_quic(suite::TLS13_AES_256_GCM_SHA384);

static CHACHA20: &[SupportedCipherSuite] = &[
    SupportedCipherSuite::Tls13(&TLS13_CHACHA20_POLY1305_SHA256),
    #[cfg(feature = "tls12")]
    suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    #[cfg(feature = "tls12")]
    suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

// AES-128 first: the smaller key is 20 to 40% faster, and both are out of reach.
static AES: &[SupportedCipherSuite] = &[
    SupportedCipherSuite::Tls13(&TLS13_AES_128_GCM_SHA256),
    SupportedCipherSuite::Tls13(&TLS13_AES_256_GCM_SHA384),
    #[cfg(feature = "tls12")]
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    #[cfg(feature = "tls12")]
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    #[cfg(feature = "tls12")]
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    #[cfg(feature = "tls12")]
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
];

/// A suite of rustls's, for TLS over TCP only.
const fn without_quic(suite: SupportedCipherSuite) -> Tls13CipherSuite {
    #[allow(irrefutable_let_patterns)] // without TLS 1.2 there is no other kind
    #[allow(clippy::panic)] // of the compiler: this runs in constants only
    let SupportedCipherSuite::Tls13(suite) = suite else {
        panic!("a suite of TLS 1.2");
    };
    Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: suite.common.suite,
            hash_provider: suite.common.hash_provider,
            confidentiality_limit: suite.common.confidentiality_limit,
        },
        hkdf_provider: suite.hkdf_provider,
        aead_alg: suite.aead_alg,
        quic: None,
    }
}

/// The signatures that are checked, in certificates and in handshakes: all that `ring` knows, without SHA-1.
static SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        webpki_algorithm::ECDSA_P256_SHA256,
        webpki_algorithm::ECDSA_P256_SHA384,
        webpki_algorithm::ECDSA_P384_SHA256,
        webpki_algorithm::ECDSA_P384_SHA384,
        webpki_algorithm::ED25519,
        webpki_algorithm::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        webpki_algorithm::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        webpki_algorithm::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        webpki_algorithm::RSA_PKCS1_2048_8192_SHA256,
        webpki_algorithm::RSA_PKCS1_2048_8192_SHA384,
        webpki_algorithm::RSA_PKCS1_2048_8192_SHA512,
        webpki_algorithm::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        webpki_algorithm::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        webpki_algorithm::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    // In TLS 1.2 the scheme says nothing of the curve: the second algorithm is for that.
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[webpki_algorithm::ECDSA_P384_SHA384, webpki_algorithm::ECDSA_P256_SHA384],
        ),
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[webpki_algorithm::ECDSA_P256_SHA256, webpki_algorithm::ECDSA_P384_SHA256],
        ),
        (SignatureScheme::ED25519, &[webpki_algorithm::ED25519]),
        (SignatureScheme::RSA_PSS_SHA512, &[webpki_algorithm::RSA_PSS_2048_8192_SHA512_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA384, &[webpki_algorithm::RSA_PSS_2048_8192_SHA384_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA256, &[webpki_algorithm::RSA_PSS_2048_8192_SHA256_LEGACY_KEY]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[webpki_algorithm::RSA_PKCS1_2048_8192_SHA512]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[webpki_algorithm::RSA_PKCS1_2048_8192_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[webpki_algorithm::RSA_PKCS1_2048_8192_SHA256]),
    ],
};

/// Random numbers and private keys by `ring`.
#[derive(Debug)]
struct Ring;

impl SecureRandom for Ring {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        ring::rand::SecureRandom::fill(&SystemRandom::new(), bytes).map_err(|_| GetRandomFailed)
    }
}

impl KeyProvider for Ring {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        any_supported_type(&Zeroizing::new(key))
    }
}

/// TLS 1.2 and 1.3 with ECDHE over X25519, P-256 and P-384; AES-GCM first only where the CPU has AES.
pub fn provider() -> Arc<CryptoProvider> {
    let cipher_suites = if cpu::has_aes() { [AES, CHACHA20].concat() } else { [CHACHA20, AES].concat() };
    Arc::new(CryptoProvider {
        cipher_suites,
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        signature_verification_algorithms: SIGNATURES,
        secure_random: &Ring,
        key_provider: &Ring,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_checked_and_agreed_on_is_what_rustls_has() {
        let (ours, theirs) = (provider(), rustls::crypto::ring::default_provider());
        let schemes = |provider: &CryptoProvider| provider.signature_verification_algorithms.supported_schemes();
        assert_eq!(schemes(&ours), schemes(&theirs));
        assert_eq!(SIGNATURES.all.len(), theirs.signature_verification_algorithms.all.len());
        assert_eq!(ours.kx_groups.len(), theirs.kx_groups.len());
        assert!(ours.cipher_suites.iter().all(|suite| theirs.cipher_suites.contains(suite)));
    }
}
