//! TLS settings with ring as the only provider.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::{ServerConfig, version};

use crate::certs::PkiCredential;

/// Named where it is used: installing a process-wide default would collide with the program under test.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static RING: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| ring::default_provider().into());
    RING.clone()
}

/// A web server with this certificate that asks for none.
pub(crate) fn web_server(credential: &PkiCredential) -> Arc<ServerConfig> {
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .expect("ring has both versions")
        .with_no_client_auth()
        .with_single_cert(vec![credential.certificate()], credential.private_key())
        .expect("the factory's key fits its certificate")
        .into()
}
