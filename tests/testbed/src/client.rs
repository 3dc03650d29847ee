//! The platform's end of a tunnel: a TLS client over a byte stream to the agent.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, SupportedProtocolVersion, version};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certs::{LeafSpec, PkiCredential, PkiFactory};
use crate::http::{self, Message};
use crate::relay::{Relay, Tunnel};
use crate::tls;

/// The ALPN names of the protocol.
pub mod alpn {
    /// Answers `PONG`.
    pub const PING: &str = "infisical-ping";
    /// Answers a line of JSON.
    pub const HEALTH: &str = "infisical-health";
    /// Raw bytes.
    pub const TCP: &str = "infisical-tcp-proxy";
    /// HTTP/1.1 requests after a configuration line.
    pub const HTTP: &str = "infisical-http-proxy";
    /// Answers what privileged access the gateway offers.
    pub const PAM_CAPABILITIES: &str = "infisical-pam-capabilities";
}

/// TLS settings of a platform client: no SNI, the agent's leaf checked for `localhost`.
pub struct TlsClient {
    pki: Arc<PkiFactory>,
    versions: Vec<&'static SupportedProtocolVersion>,
    provider: Arc<CryptoProvider>,
}

impl TlsClient {
    /// Both TLS versions.
    pub fn new(pki: Arc<PkiFactory>) -> TlsClient {
        TlsClient::with(pki, vec![&version::TLS13, &version::TLS12])
    }

    /// TLS 1.2 only.
    pub fn tls12(pki: Arc<PkiFactory>) -> TlsClient {
        TlsClient::with(pki, vec![&version::TLS12])
    }

    /// TLS 1.3 only.
    pub fn tls13(pki: Arc<PkiFactory>) -> TlsClient {
        TlsClient::with(pki, vec![&version::TLS13])
    }

    /// TLS 1.3 with ChaCha20-Poly1305 only: what two sides without AES in hardware agree on.
    pub fn chacha20(pki: Arc<PkiFactory>) -> TlsClient {
        let cipher_suites = vec![TLS13_CHACHA20_POLY1305_SHA256];
        let provider = CryptoProvider { cipher_suites, ..CryptoProvider::clone(&tls::provider()) };
        TlsClient { provider: Arc::new(provider), ..TlsClient::tls13(pki) }
    }

    fn with(pki: Arc<PkiFactory>, versions: Vec<&'static SupportedProtocolVersion>) -> TlsClient {
        TlsClient { pki, versions, provider: tls::provider() }
    }

    /// Handshakes over any stream, offering these ALPN names and showing this certificate.
    ///
    /// In TLS 1.3 an agent that refuses the certificate says so after the client's handshake is complete: the error
    /// comes from the first read.
    ///
    /// # Errors
    /// When the handshake fails, or the agent chose none of the names.
    pub async fn handshake<S>(
        &self,
        stream: S,
        alpn: &[&str],
        certificate: Option<&PkiCredential>,
    ) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = TlsConnector::from(Arc::new(self.config(alpn, certificate)));
        let localhost = ServerName::try_from("localhost").expect("a DNS name");
        let stream = connector.connect(localhost, stream).await?;
        let chosen = stream.get_ref().1.alpn_protocol();
        if !alpn.is_empty() && chosen.is_none() {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("the agent ignored ALPN {alpn:?}")));
        }
        Ok(stream)
    }

    fn config(&self, alpn: &[&str], certificate: Option<&PkiCredential>) -> ClientConfig {
        let anchors = Arc::new(self.pki.server_anchors());
        let verifier = WebPkiServerVerifier::builder_with_provider(anchors, self.provider.clone())
            .build()
            .expect("the factory has anchors");
        let config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&self.versions)
            .expect("ring has both versions")
            .with_webpki_verifier(verifier);
        let mut config = match certificate {
            Some(own) => config
                .with_client_auth_cert(vec![own.certificate()], own.private_key())
                .expect("the factory's key fits its certificate"),
            None => config.with_no_client_auth(),
        };
        config.enable_sni = false;
        config.alpn_protocols = alpn.iter().map(|&name| name.into()).collect();
        config
    }
}

/// A client that reaches one gateway through a relay.
pub struct PlatformClient {
    relay: Relay,
    gateway_id: String,
    pki: Arc<PkiFactory>,
    tls: TlsClient,
}

/// A TLS stream through a tunnel.
pub type Stream = TlsStream<Tunnel>;

impl PlatformClient {
    /// A client that speaks both TLS versions.
    pub fn new(relay: Relay, gateway_id: &str, pki: Arc<PkiFactory>) -> PlatformClient {
        let tls = TlsClient::new(pki.clone());
        PlatformClient { relay, gateway_id: gateway_id.to_owned(), pki, tls }
    }

    /// The same with other TLS settings.
    pub fn with_tls(mut self, tls: TlsClient) -> PlatformClient {
        self.tls = tls;
        self
    }

    /// The certificate that this client shows for a target, for tests that change it.
    pub fn certificate_for(&self, host: &str, port: u16) -> LeafSpec {
        self.pki.client(&self.gateway_id, host, port)
    }

    /// Opens a channel and handshakes in it.
    ///
    /// # Errors
    /// When the gateway can't be reached, or the handshake fails.
    pub async fn connect(&self, alpn: &[&str], certificate: Option<&PkiCredential>) -> io::Result<Stream> {
        let tunnel = self.relay.open_channel(&self.gateway_id).await?;
        self.tls.handshake(tunnel, alpn, certificate).await
    }

    /// Asks for `PONG`.
    ///
    /// # Errors
    /// When there is no such answer, or the agent doesn't close after it.
    pub async fn ping(&self) -> io::Result<()> {
        let answer = self.ask(alpn::PING).await?;
        if answer != b"PONG\n" {
            return Err(unexpected("ping", &answer));
        }
        Ok(())
    }

    /// Asks for the agent's health and returns the JSON.
    ///
    /// # Errors
    /// When there is no such answer, or the agent doesn't close after it.
    pub async fn health(&self) -> io::Result<serde_json::Value> {
        let answer = self.ask(alpn::HEALTH).await?;
        match answer.strip_suffix(b"\n").map(serde_json::from_slice) {
            Some(Ok(json)) => Ok(json),
            _ => Err(unexpected("health", &answer)),
        }
    }

    /// Connects to a TCP target.
    ///
    /// # Errors
    /// As [`PlatformClient::connect`]. A target that can't be reached shows in the first read.
    pub async fn tcp(&self, target: SocketAddr) -> io::Result<Stream> {
        self.tcp_to(&target.ip().to_string(), target.port()).await
    }

    /// Connects to a TCP target by name.
    ///
    /// # Errors
    /// As [`PlatformClient::tcp`].
    pub async fn tcp_to(&self, host: &str, port: u16) -> io::Result<Stream> {
        let certificate = self.certificate_for(host, port).issue();
        self.connect(&[alpn::TCP], Some(&certificate)).await
    }

    /// Connects to an HTTP target, with `CONFIG` as the first line.
    ///
    /// # Errors
    /// As [`PlatformClient::connect`].
    pub async fn http(&self, target: SocketAddr) -> io::Result<HttpStream> {
        self.http_to(&target.ip().to_string(), target.port(), "CONFIG\n").await
    }

    /// Connects to an HTTP target by name, which may start with `https://`, with this first line.
    ///
    /// # Errors
    /// As [`PlatformClient::connect`].
    pub async fn http_to(&self, host: &str, port: u16, config: &str) -> io::Result<HttpStream> {
        let certificate = self.certificate_for(host, port).issue();
        let mut stream = self.connect(&[alpn::HTTP], Some(&certificate)).await?;
        stream.write_all(config.as_bytes()).await?;
        Ok(HttpStream(BufReader::new(stream)))
    }

    /// Everything that the agent says for this ALPN name, up to a proper TLS close.
    async fn ask(&self, alpn: &str) -> io::Result<Vec<u8>> {
        // These have no target; the platform sends a routing extension all the same.
        let certificate = self.certificate_for("localhost", 0).issue();
        let mut stream = self.connect(&[alpn], Some(&certificate)).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

/// A connection that carries HTTP requests one after the other.
pub struct HttpStream(BufReader<Stream>);

impl HttpStream {
    /// Sends a request with a body, framed by its length, and reads the response.
    ///
    /// # Errors
    /// When the connection fails, or the response is malformed.
    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Message> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: target.example\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        self.raw(&[head.as_bytes(), body].concat(), method).await
    }

    /// Sends these bytes, whatever they are, and reads the response to a request of this method.
    ///
    /// # Errors
    /// As [`HttpStream::request`].
    pub async fn raw(&mut self, bytes: &[u8], method: &str) -> io::Result<Message> {
        self.0.write_all(bytes).await?;
        self.0.flush().await?;
        http::read_response(&mut self.0, method).await
    }

    /// The stream below, for what isn't a request and a response.
    pub fn stream(&mut self) -> &mut BufReader<Stream> {
        &mut self.0
    }
}

fn unexpected(what: &str, answer: &[u8]) -> io::Error {
    let text = format!("{what} was answered with {:?}", String::from_utf8_lossy(answer));
    io::Error::new(ErrorKind::InvalidData, text)
}
