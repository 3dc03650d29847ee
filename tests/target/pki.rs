//! Certificates of the platform's shapes, made for one test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edge_gateway::tls::{Bundle, Clock, ServerIdentity};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// RSA keys can't be made with `ring`; these two are public and good for tests only.
const RSA_CA: &str = include_str!("data/rsa-ca.test-key.pem");
const RSA_LEAF: &str = include_str!("data/rsa-leaf.test-key.pem");

const CLIENT_AUTH: &[u8] = &[0x30, 0x0a, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
const ANY_POLICY: &[u8] = &[0x30, 0x08, 0x30, 0x06, 6, 4, 0x55, 0x1d, 0x20, 0];

/// The algorithm of every key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Algorithm {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Algorithm {
    fn key(self, rsa: &str) -> KeyPair {
        match self {
            Self::Rsa => KeyPair::from_pem(rsa),
            Self::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Self::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            Self::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        }
        .expect("a key")
    }
}

/// One organisation: root, Server CA, Client CA, and the gateway's leaf.
pub(crate) struct Pki {
    algorithm: Algorithm,
    client_ca: Issuer<'static, KeyPair>,
    pub(crate) leaf: String,
    pub(crate) leaf_key: String,
    /// Client CA and root, as the agent gets them.
    pub(crate) client_chain: String,
    /// Server CA and root, as the client gets them.
    pub(crate) server_chain: String,
}

impl Pki {
    pub(crate) fn new() -> Self {
        Self::with(Algorithm::P256)
    }

    pub(crate) fn with(algorithm: Algorithm) -> Self {
        static ORGANISATIONS: AtomicU32 = AtomicU32::new(0);
        let organisation = format!("org-{}", ORGANISATIONS.fetch_add(1, Ordering::Relaxed));
        let named = |common| named(&organisation, common);
        let root_key = algorithm.key(RSA_CA);
        let mut root = named("Infisical Gateway Root CA");
        // KeyUsage (critical) and SKI, and no BasicConstraints.
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let mut ski = vec![4, 20];
        ski.extend([7; 20]);
        root.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 14], ski));
        let root_pem = root.self_signed(&root_key).expect("a root").pem();
        let root = Issuer::new(root, root_key);

        let authority = |name| {
            let key = algorithm.key(RSA_CA);
            let mut params = named(name);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            let pem = params.signed_by(&key, &root).expect("a CA").pem();
            (Issuer::new(params, key), pem)
        };
        let (server_ca, server_ca_pem) = authority("Infisical Gateway Server CA");
        let (client_ca, client_ca_pem) = authority("Infisical Gateway Client CA");

        let key = algorithm.key(RSA_LEAF);
        let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
        let mut leaf = CertificateParams::new(names).expect("names");
        leaf.distinguished_name = name(&organisation, "Gateway");
        valid(&mut leaf, -60, 86_400);
        let leaf = leaf.signed_by(&key, &server_ca).expect("a leaf").pem();
        Self {
            algorithm,
            client_ca,
            leaf,
            leaf_key: key.serialize_pem(),
            client_chain: client_ca_pem + &root_pem,
            server_chain: server_ca_pem + &root_pem,
        }
    }

    pub(crate) fn bundle(&self) -> Bundle<'_> {
        Bundle { certificate: &self.leaf, private_key: &self.leaf_key, client_chain: &self.client_chain }
    }

    pub(crate) fn identity(&self, protocols: &[&str]) -> ServerIdentity {
        ServerIdentity::new(&self.bundle(), protocols.iter().copied(), &system_clock()).expect("a good bundle")
    }

    /// A client of the platform that may reach `host:port`.
    pub(crate) fn client(&self, host: &str, port: u16) -> Client {
        let routing = format!(r#"{{"targetHost":"{host}","targetPort":{port}}}"#);
        self.client_with(&[(1, &routing), (2, r#"{"type":"platform"}"#)], 300)
    }

    /// A client with these platform extensions, whose certificate ends in `seconds`.
    pub(crate) fn client_with(&self, extensions: &[(u64, &str)], seconds: i64) -> Client {
        let key = self.algorithm.key(RSA_LEAF);
        let mut params = named("org", "platform:0b0c");
        params.distinguished_name.push(DnType::OrganizationalUnitName, "gateway-client");
        valid(&mut params, -600, seconds);
        let mut usage = CustomExtension::from_oid_content(&[2, 5, 29, 37], CLIENT_AUTH.to_vec());
        usage.set_criticality(true);
        params.custom_extensions.push(usage);
        params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 32], ANY_POLICY.to_vec()));
        for (arc, value) in extensions {
            params.custom_extensions.push(CustomExtension::from_oid_content(
                &[1, 3, 6, 1, 4, 1, 12345, 100, *arc],
                value.as_bytes().to_vec(),
            ));
        }
        let certificate = params.signed_by(&key, &self.client_ca).expect("a client").pem();
        Client { certificate, key: key.serialize_pem(), roots: self.server_chain.clone() }
    }
}

/// What the platform holds to be a client.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) roots: String,
}

impl Client {
    /// A rustls client with this certificate.
    pub(crate) fn config(&self, version: &'static rustls::SupportedProtocolVersion, alpn: &[&str]) -> ClientConfig {
        let certificates = CertificateDer::pem_slice_iter(self.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key");
        let mut config = client_builder(&self.roots, version)
            .with_client_auth_cert(certificates.map(|pem| pem.expect("a certificate")).collect(), key)
            .expect("a client");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

pub(crate) fn client_builder(
    roots: &str,
    version: &'static rustls::SupportedProtocolVersion,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        store.add(root.expect("a certificate")).expect("an anchor");
    }
    ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(store)
}

pub(crate) fn system_clock() -> Clock {
    Clock::new(|| now().as_secs())
}

pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970")
}

/// Validity from now on, in seconds.
pub(crate) fn valid(params: &mut CertificateParams, from: i64, until: i64) {
    let start = rcgen::date_time_ymd(1970, 1, 1);
    let at = |offset: i64| start + Duration::from_secs(now().as_secs().saturating_add_signed(offset));
    params.not_before = at(from);
    params.not_after = at(until);
}

pub(crate) fn name(organisation: &str, common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, organisation);
    name.push(DnType::CommonName, common);
    name
}

pub(crate) fn named(organisation: &str, common: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(organisation, common);
    valid(&mut params, -600, 86_400);
    params
}
