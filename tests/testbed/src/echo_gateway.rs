//! A gateway on russh's client, which echoes what each channel receives unless told otherwise: the test bed's own
//! client for its relay, and the one to compare the agent's SSH engine with.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use russh::client::{self, AuthResult, ChannelOpenHandle, Handle, Msg, Session};
use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::encoding::Encode as _;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey, PublicKey, PublicKeyOrCertificate};
use russh::{AgentAuthError, Channel, ChannelId, ChannelStream, Disconnect, Preferred, Signer, cipher};

use crate::certs::SshCredential;

/// A connected and authenticated gateway. Dropping it drops the connection.
pub struct EchoGateway(Handle<Events>);

/// A channel that the relay opened, as a byte stream.
pub type Incoming = ChannelStream<Msg>;

/// What happens to each channel; it must not block, so it starts a task.
type Service = Box<dyn Fn(Incoming) + Send>;

impl EchoGateway {
    /// Logs in to a relay that `host_ca_line` vouches for.
    ///
    /// # Errors
    /// When there is no connection, the relay isn't trusted, or it refuses the certificate.
    pub async fn login(
        relay: SocketAddr,
        gateway_id: &str,
        credential: &SshCredential,
        host_ca_line: &str,
    ) -> io::Result<EchoGateway> {
        EchoGateway::login_as(&relay.to_string(), relay, gateway_id, credential, host_ca_line).await
    }

    /// The same, with a host certificate for another `host:port` than the one that is dialled.
    ///
    /// # Errors
    /// As [`EchoGateway::login`].
    pub async fn login_as(
        principal: &str,
        relay: SocketAddr,
        gateway_id: &str,
        credential: &SshCredential,
        host_ca_line: &str,
    ) -> io::Result<EchoGateway> {
        EchoGateway::connect(principal.to_owned(), relay, gateway_id, credential, host_ca_line, None).await
    }

    /// The same with another service than echo.
    ///
    /// # Errors
    /// As [`EchoGateway::login`].
    pub async fn login_serving(
        relay: SocketAddr,
        gateway_id: &str,
        credential: &SshCredential,
        host_ca_line: &str,
        service: impl Fn(Incoming) + Send + 'static,
    ) -> io::Result<EchoGateway> {
        let service: Service = Box::new(service);
        EchoGateway::connect(relay.to_string(), relay, gateway_id, credential, host_ca_line, Some(service)).await
    }

    async fn connect(
        principal: String,
        relay: SocketAddr,
        gateway_id: &str,
        credential: &SshCredential,
        host_ca_line: &str,
        service: Option<Service>,
    ) -> io::Result<EchoGateway> {
        let host_ca = PublicKey::from_openssh(host_ca_line).map_err(io::Error::other)?;
        let events = Events { host_ca, principal, service };
        let config = client::Config { preferred: preferred(), nodelay: true, ..client::Config::default() };
        let mut handle = client::connect(Arc::new(config), relay, events).await.map_err(io::Error::other)?;

        let certificate = credential.certificate();
        let hash = certificate.algorithm().is_rsa().then_some(HashAlg::Sha512);
        let mut signer = KeySigner(credential.private_key());
        let answer = handle
            .authenticate_certificate_with(gateway_id, certificate, hash, &mut signer)
            .await
            .map_err(io::Error::other)?;
        match answer {
            AuthResult::Success => Ok(EchoGateway(handle)),
            AuthResult::Failure { .. } => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    /// Asks the relay to forward a port, which the platform's relay refuses.
    ///
    /// # Errors
    /// When the relay refuses, or is gone.
    pub async fn request_forwarding(&self) -> io::Result<()> {
        self.0.tcpip_forward("localhost", 1).await.map(drop).map_err(io::Error::other)
    }

    /// Whether the relay has ended the connection.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Takes leave in words.
    ///
    /// # Errors
    /// When the connection has ended before.
    pub async fn logout(self) -> io::Result<()> {
        self.0.disconnect(Disconnect::ByApplication, "", "").await.map_err(io::Error::other)
    }
}

/// Host certificates, and the ciphers that the agent has; the relay's settings choose among them.
fn preferred() -> Preferred {
    Preferred {
        cipher: vec![cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::CHACHA20_POLY1305].into(),
        host_key_certificates: vec![
            Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
            Algorithm::Ed25519,
        ]
        .into(),
        ..Preferred::default()
    }
}

struct Events {
    host_ca: PublicKey,
    principal: String,
    /// `None` for echo.
    service: Option<Service>,
}

impl client::Handler for Events {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let Some(certificate) = shown.certificate() else {
            return Ok(false);
        };
        Ok(certificate.cert_type() == CertType::Host
            && certificate.validate([&self.host_ca.fingerprint(HashAlg::Sha256)]).is_ok()
            && certificate.valid_principals().contains(&self.principal))
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _host: &str,
        _port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        if let Some(service) = &self.service {
            service(channel.into_stream());
        }
        Ok(())
    }

    /// Echo happens here and not in a task for each channel: russh's session loop waits for a task that doesn't read,
    /// and an echoing task doesn't read while it waits for the session loop.
    async fn data(&mut self, channel: ChannelId, data: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        match self.service {
            Some(_) => Ok(()),
            None => session.data(channel, data.to_vec()),
        }
    }

    async fn channel_eof(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        match self.service {
            Some(_) => Ok(()),
            None => {
                session.eof(channel)?;
                session.close(channel)
            }
        }
    }

    async fn server_channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.reject(russh::ChannelOpenFailure::UnknownChannelType).await;
        Ok(())
    }
}

/// russh's own certificate login names an RSA certificate `ssh-rsa-cert-v01`; a signer of ours lets it say
/// `rsa-sha2-512-cert-v01`.
struct KeySigner<'a>(&'a PrivateKey);

impl Signer for KeySigner<'_> {
    type Error = AgentAuthError;

    async fn auth_sign(
        &mut self,
        _identity: &AgentIdentity,
        hash: Option<HashAlg>,
        mut signed: Vec<u8>,
    ) -> Result<Vec<u8>, Self::Error> {
        let signature = match self.0.key_data() {
            KeypairData::Rsa(pair) => (pair, hash).try_sign(&signed),
            other => other.try_sign(&signed),
        }
        .map_err(russh::keys::Error::from)?;
        signature.encode_prefixed(&mut signed).map_err(russh::keys::Error::from)?;
        Ok(signed)
    }
}
