//! What this CPU has.

/// Whether it, and the cryptography for it, has AES instructions. AES-GCM beats ChaCha20-Poly1305 by three times where it does, and
/// loses by as much on the MIPS and ARMv7 cores of most routers.
#[allow(clippy::needless_return, reason = "one of several cfg blocks")]
pub(crate) fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}
