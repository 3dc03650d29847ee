//! The `ring` provider, cut down to the suites and groups that the platform's Node and Go clients
//! and the targets speak, in the order that suits this CPU.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite as suite, default_provider, kx_group};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

/// The versions of TLS that are spoken.
#[cfg(feature = "tls12")]
pub(super) const VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
/// The versions of TLS that are spoken.
#[cfg(not(feature = "tls12"))]
pub(super) const VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13];

const CHACHA20: &[SupportedCipherSuite] = &[
    suite::TLS13_CHACHA20_POLY1305_SHA256,
    #[cfg(feature = "tls12")]
    suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    #[cfg(feature = "tls12")]
    suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

// AES-128 first: the smaller key is 20 to 40% faster, and both are out of reach.
const AES: &[SupportedCipherSuite] = &[
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    #[cfg(feature = "tls12")]
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    #[cfg(feature = "tls12")]
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    #[cfg(feature = "tls12")]
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    #[cfg(feature = "tls12")]
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
];

/// TLS 1.2 and 1.3 with ECDHE over X25519, P-256 and P-384; AES-GCM first only where the CPU has AES.
pub(super) fn provider() -> Arc<CryptoProvider> {
    let cipher_suites = if aes_in_hardware() { [AES, CHACHA20].concat() } else { [CHACHA20, AES].concat() };
    Arc::new(CryptoProvider {
        cipher_suites,
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..default_provider()
    })
}

/// Whether AES-GCM beats ChaCha20-Poly1305 here: by three times where it holds, and it loses by as
/// much on the MIPS and ARMv7 cores of most routers.
fn aes_in_hardware() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}
