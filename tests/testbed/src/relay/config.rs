//! What a relay is like.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey};
use russh::server::Config;
use russh::{Limits, MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};

use crate::certs::{CertSpec, SshFactory};

/// Makes the relay's certificate wrong.
pub type Shape = Arc<dyn Fn(CertSpec) -> CertSpec + Send + Sync>;

/// What the relay shows of itself.
#[derive(Clone)]
pub enum HostKey {
    /// A certificate for the relay's own `host:port`.
    Certificate,
    /// That certificate, changed.
    Shaped(Shape),
    /// A key without a certificate.
    Raw,
}

/// Settings of a [`Relay`](super::Relay). The defaults are those of the platform's relay, as far as russh has them.
///
/// Two things that russh can't do: leave the plain host key algorithms out of its offer (they come after the
/// certificate ones), and tell which global requests it refused, keepalives among them
/// ([`Relay::traffic`](super::Relay::traffic) shows that there were some).
#[derive(Clone)]
pub struct RelayConfig {
    /// Issues the relay's certificate, and is the authority for gateways.
    pub ssh: Arc<SshFactory>,
    /// Where to listen; port 0 takes a free one.
    pub bind: SocketAddr,
    /// The address that gateways dial and the certificate names, when it is not the one that the relay listens at.
    pub host: Option<IpAddr>,
    /// How the relay proves who it is.
    pub host_key: HostKey,
    /// Key exchange methods, best first, by their SSH names.
    pub kex: Vec<&'static str>,
    /// Ciphers, best first, by their SSH names.
    pub ciphers: Vec<&'static str>,
    /// Message authentication codes for the ciphers that need one, best first.
    pub macs: Vec<&'static str>,
    /// Bytes in one direction after which the relay starts a new key exchange; at most 1 GiB.
    pub rekey_after: usize,
    /// Window that the relay grants for each channel, in bytes. russh refills it when bytes arrive, whether or not
    /// the client takes them.
    pub window: u32,
    /// Largest packet that the relay takes, in bytes.
    pub max_packet: u32,
    /// Messages of a channel that may wait for its client. One more stops the whole connection (a property of
    /// russh, see the agent's architecture notes).
    pub backlog: usize,
    /// How often the relay asks a silent gateway for a sign of life.
    pub keepalive: Option<Duration>,
    /// Grant `tcpip-forward`, as a plain OpenSSH server does. The platform's relay refuses every global request.
    pub allow_forwarding: bool,
}

impl RelayConfig {
    /// A relay like the platform's, on a free loopback port.
    pub fn new(ssh: Arc<SshFactory>) -> RelayConfig {
        RelayConfig {
            ssh,
            bind: (Ipv4Addr::LOCALHOST, 0).into(),
            host: None,
            host_key: HostKey::Certificate,
            kex: vec![
                "mlkem768x25519-sha256",
                "curve25519-sha256",
                "curve25519-sha256@libssh.org",
                "ecdh-sha2-nistp256",
                "ecdh-sha2-nistp384",
                "ecdh-sha2-nistp521",
                "diffie-hellman-group14-sha256",
            ],
            ciphers: vec![
                "aes128-gcm@openssh.com",
                "aes256-gcm@openssh.com",
                "chacha20-poly1305@openssh.com",
                "aes128-ctr",
                "aes256-ctr",
            ],
            macs: vec![
                "hmac-sha2-256-etm@openssh.com",
                "hmac-sha2-512-etm@openssh.com",
                "hmac-sha2-256",
                "hmac-sha2-512",
            ],
            rekey_after: 1 << 30,
            window: 2 * 1024 * 1024,
            max_packet: 32 * 1024,
            backlog: 1024,
            keepalive: None,
            allow_forwarding: false,
        }
    }

    /// The same in russh's words, for a relay that listens on `addr`.
    pub(super) fn server(&self, addr: SocketAddr) -> Config {
        let (key, certificate) = self.identity(addr);
        Config {
            server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-testbed-relay")),
            methods: MethodSet::from(&[MethodKind::PublicKey][..]),
            // Constant-time rejection protects passwords, and there are none here.
            auth_rejection_time: Duration::ZERO,
            keys: vec![key],
            certificates: certificate.into_iter().collect(),
            limits: Limits::new(self.rekey_after, self.rekey_after, Duration::from_secs(3600)),
            window_size: self.window,
            maximum_packet_size: self.max_packet,
            channel_buffer_size: self.backlog,
            preferred: self.preferred(),
            inactivity_timeout: None,
            keepalive_interval: self.keepalive,
            ..Config::default()
        }
    }

    fn identity(&self, addr: SocketAddr) -> (PrivateKey, Option<russh::keys::Certificate>) {
        let dialled = SocketAddr::new(self.host.unwrap_or(addr.ip()), addr.port());
        let spec = self.ssh.host(&dialled.to_string());
        let spec = match &self.host_key {
            HostKey::Shaped(shape) => shape(spec),
            HostKey::Certificate | HostKey::Raw => spec,
        };
        let credential = spec.issue();
        let certificate = (!matches!(self.host_key, HostKey::Raw)).then(|| credential.certificate());
        (credential.private_key().clone(), certificate)
    }

    fn preferred(&self) -> Preferred {
        let extensions = [kex::EXTENSION_SUPPORT_AS_SERVER, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER];
        let kex = names::<kex::Name>(&self.kex).into_iter().chain(extensions).collect();
        Preferred {
            kex: Cow::Owned(kex),
            key: Cow::Owned(vec![
                Algorithm::Ed25519,
                Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
                Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
                Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
                Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
            ]),
            cipher: Cow::Owned(names::<cipher::Name>(&self.ciphers)),
            mac: Cow::Owned(names::<mac::Name>(&self.macs)),
            compression: Cow::Owned(vec![compression::NONE]),
            ..Preferred::default()
        }
    }
}

/// russh's constants for these names.
///
/// # Panics
/// When russh doesn't know a name: the test asks for what it can't get.
fn names<N: TryFrom<&'static str>>(names: &[&'static str]) -> Vec<N> {
    names.iter().map(|&name| N::try_from(name).ok().unwrap_or_else(|| panic!("russh has no {name}"))).collect()
}
