//! An organization's X.509 authorities: a root, one for gateways (the TLS servers) and one for the platform's clients.

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;

use super::authority::{self, Authority};
use super::keys::KeyKind;
use super::leaf::LeafSpec;
use super::validity::Validity;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const ORGANIZATION: &str = "4c1b1d9e-2f1c-4e0a-9a1e-6a1f0f3a7c55";

/// Makes the certificates of both ends of a tunnel.
///
/// Factories of one kind made with [`PkiFactory::new`] share their RSA keys; [`PkiFactory::stranger`] shares none.
pub struct PkiFactory {
    kind: KeyKind,
    root: Arc<Authority>,
    server_ca: Arc<Authority>,
    client_ca: Arc<Authority>,
}

impl PkiFactory {
    /// RSA-2048 and sha256WithRSAEncryption throughout, as the platform has it.
    pub fn new() -> PkiFactory {
        PkiFactory::with_kind(KeyKind::Rsa2048)
    }

    /// Keys of another kind throughout.
    pub fn with_kind(kind: KeyKind) -> PkiFactory {
        PkiFactory::made(kind, "")
    }

    /// RSA authorities of the same names that nobody trusts.
    pub fn stranger() -> PkiFactory {
        PkiFactory::made(KeyKind::Rsa2048, "stranger ")
    }

    fn made(kind: KeyKind, whose: &str) -> PkiFactory {
        let key = |role: &str| authority::key(kind, &format!("{whose}{role}"));
        let name = |common_name: &str| authority::name(Some(ORGANIZATION), common_name);
        let validity = || Validity::lasting(YEAR);
        let root = Authority::bare_root(key("root"), name("Infisical Gateway Root CA"), validity());
        let server_ca = root.intermediate(key("server ca"), name("Infisical Gateway Server CA"), validity());
        let client_ca = root.intermediate(key("client ca"), name("Infisical Gateway Client CA"), validity());
        PkiFactory { kind, root: root.into(), server_ca: server_ca.into(), client_ca: client_ca.into() }
    }

    /// The agent's certificate: `CN=Gateway`, 1 day, for `localhost` and the loopback addresses.
    pub fn gateway(&self) -> LeafSpec {
        LeafSpec::gateway(self.kind, self.server_ca.clone(), ORGANIZATION)
    }

    /// The certificate of one platform client: 5 minutes, `CN=platform:<gateway id>`, with the target in it.
    pub fn client(&self, gateway_id: &str, target_host: &str, target_port: u16) -> LeafSpec {
        let routing = serde_json::json!({ "targetHost": target_host, "targetPort": target_port });
        LeafSpec::client(self.kind, self.client_ca.clone(), ORGANIZATION, gateway_id)
            .routing(routing.to_string())
            .actor(r#"{"type":"platform"}"#)
    }

    /// Client authority then root, as PEM: `clientCertificateChain` of the certificate bundle.
    pub fn client_chain_pem(&self) -> String {
        self.client_ca.pem() + &self.root.pem()
    }

    /// Server authority then root, as PEM: what a client needs to check the agent.
    pub fn server_chain_pem(&self) -> String {
        self.server_ca.pem() + &self.root.pem()
    }

    /// The same as trust anchors. The agent sends its leaf alone.
    pub(crate) fn server_anchors(&self) -> RootCertStore {
        let mut anchors = RootCertStore::empty();
        for authority in [&self.server_ca, &self.root] {
            anchors.add(authority.der()).expect("the factory's own certificate");
        }
        anchors
    }

    pub(super) fn client_ca(&self) -> &Arc<Authority> {
        &self.client_ca
    }

    pub(super) fn server_ca(&self) -> &Arc<Authority> {
        &self.server_ca
    }
}

impl Default for PkiFactory {
    fn default() -> PkiFactory {
        PkiFactory::new()
    }
}
