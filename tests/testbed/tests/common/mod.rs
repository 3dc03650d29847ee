//! What the test files share.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use testbed::certs::PkiFactory;
use testbed::http::{self, Message};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Runs a tool that may be missing: `None`, said on standard error, when it is.
pub(crate) fn tool(name: &str, args: &[&str], files: &[&Path]) -> Option<Output> {
    match Command::new(name).args(args).args(files).output() {
        Ok(output) => Some(output),
        Err(e) => {
            eprintln!("skipped: {name} does not run here: {e}");
            None
        }
    }
}

/// A TLS server with what the agent gets in its certificate bundle.
pub(crate) fn agent_like(pki: &PkiFactory, alpn: &[&str]) -> TlsAcceptor {
    let mut anchors = RootCertStore::empty();
    for anchor in CertificateDer::pem_slice_iter(pki.client_chain_pem().as_bytes()) {
        anchors.add(anchor.unwrap()).unwrap();
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(anchors.into(), provider.clone()).build().unwrap();
    let leaf = pki.gateway().issue();
    let certificate = CertificateDer::from_pem_slice(leaf.certificate_pem().as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(leaf.private_key_pem().as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|&name| name.into()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// A connection to an HTTP or HTTPS server.
pub(crate) struct Connection(BufReader<Box<dyn Stream>>);

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Connection {
    pub(crate) async fn plain(addr: SocketAddr) -> io::Result<Connection> {
        Ok(Connection(BufReader::new(Box::new(TcpStream::connect(addr).await?))))
    }

    /// HTTPS to a server that this PEM certificate vouches for.
    pub(crate) async fn tls(addr: SocketAddr, ca_pem: &str) -> io::Result<Connection> {
        Connection::tls_as(addr.ip(), addr, ca_pem).await
    }

    /// The same, checked for another address than the one that is dialled.
    pub(crate) async fn tls_as(host: IpAddr, addr: SocketAddr, ca_pem: &str) -> io::Result<Connection> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(addr).await?;
        let name = ServerName::from(host);
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        Ok(Connection(BufReader::new(Box::new(stream))))
    }

    /// Sends a request, framed by its length if it has a body, and reads the response.
    pub(crate) async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Message> {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        self.0.write_all(format!("{text}\r\n{body}").as_bytes()).await?;
        self.0.flush().await?;
        http::read_response(&mut self.0, method).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> io::Result<Message> {
        self.request("GET", path, &[], "").await
    }

    pub(crate) fn stream(&mut self) -> &mut BufReader<Box<dyn Stream>> {
        &mut self.0
    }
}
