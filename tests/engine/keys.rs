//! Keys and certificates made on the spot, from seeds.

use base64::{Engine, engine::general_purpose::STANDARD};
use edge_gateway::ssh::auth::Credentials;
use edge_gateway::ssh::cert::{Authority, UserCertificate};
use edge_gateway::ssh::key::SignatureAlgorithm;
use edge_gateway::ssh::private_key::PrivateKey;
use edge_gateway::ssh::wire::Sink;
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::sync::Arc;

/// The time at which the tests play.
pub const TODAY: u64 = 1_700_000_000;

/// An Ed25519 key from a seed, in the form in which people have them.
pub fn key(seed: u8) -> PrivateKey {
    let seed = [seed; 32];
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let point = pair.public_key().as_ref();
    let mut public = Vec::new();
    public.string(b"ssh-ed25519");
    public.string(point);
    let mut private = Vec::new();
    private.uint32(7);
    private.uint32(7);
    private.put(&public);
    private.string(&[&seed[..], point].concat());
    private.string(b"test");
    for padding in 1..=(8 - private.len() % 8) as u8 {
        private.byte(padding);
    }
    let mut all = b"openssh-key-v1\0".to_vec();
    all.string(b"none");
    all.string(b"none");
    all.string(b"");
    all.uint32(1);
    all.string(&public);
    all.string(&private);
    let body = STANDARD.encode(all);
    PrivateKey::from_pem(&format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----\n"))
        .unwrap()
}

pub const HOST: u8 = 1;
pub const HOST_CA: u8 = 2;
pub const USER: u8 = 3;
pub const USER_CA: u8 = 4;

/// A certificate to be.
pub struct Certificate {
    pub kind: u32,
    pub principals: Vec<&'static str>,
    pub valid: (u64, u64),
    pub critical_option: Option<&'static str>,
    pub key: u8,
    pub authority: u8,
    /// Overrides the name of the authority's signature algorithm.
    pub signature_name: Option<&'static str>,
}

impl Certificate {
    pub fn host() -> Self {
        Certificate {
            kind: 2,
            principals: vec!["relay:2222"],
            valid: (TODAY - 60, TODAY + 60),
            critical_option: None,
            key: HOST,
            authority: HOST_CA,
            signature_name: None,
        }
    }

    pub fn user() -> Self {
        Certificate { kind: 1, principals: vec!["gateway"], key: USER, authority: USER_CA, ..Self::host() }
    }

    pub fn blob(&self) -> Vec<u8> {
        let key = key(self.key);
        let authority = crate::keys::key(self.authority);
        let mut principals = Vec::new();
        for principal in &self.principals {
            principals.string(principal.as_bytes());
        }
        let mut options = Vec::new();
        if let Some(name) = self.critical_option {
            options.string(name.as_bytes());
            options.string(b"");
        }
        let mut blob = Vec::new();
        blob.string(b"ssh-ed25519-cert-v01@openssh.com");
        blob.string(&[9; 32]);
        blob.put(&key.public_blob()[15..]); // the fields behind the type's name
        blob.uint64(1);
        blob.uint32(self.kind);
        blob.string(b"relay-server");
        blob.string(&principals);
        blob.uint64(self.valid.0);
        blob.uint64(self.valid.1);
        blob.string(&options);
        blob.string(b"");
        blob.string(b"");
        blob.string(authority.public_blob());
        let mut signature = authority.sign(SignatureAlgorithm::Ed25519, &blob).unwrap();
        if let Some(name) = self.signature_name {
            let value = signature.split_off(4 + "ssh-ed25519".len());
            signature.clear();
            signature.string(name.as_bytes());
            signature.put(&value);
        }
        blob.string(&signature);
        blob
    }
}

pub fn authority(seed: u8) -> Authority {
    Authority::from_line(&format!("ssh-ed25519 {} test", STANDARD.encode(key(seed).public_blob()))).unwrap()
}

pub fn credentials() -> Arc<Credentials> {
    let line = format!("ssh-ed25519-cert-v01@openssh.com {} test", STANDARD.encode(Certificate::user().blob()));
    Arc::new(Credentials::new("gateway".into(), key(USER), UserCertificate::from_line(&line).unwrap()).unwrap())
}
