//! TLS to the platform: the public roots, the operator's own, and our clock instead of the system's.

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use ureq::unversioned::transport::time::{Duration, Instant};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use crate::chain::ChainVerifier;
use crate::clock::Clock;
use crate::limits::API_TLS_SESSIONS;
use crate::provider;
use crate::roots;

/// Certificates are valid by the agent's clock: a router's own may stand in 1970.
struct OurTime(Arc<Clock>);

impl fmt::Debug for OurTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OurTime")
    }
}

impl TimeProvider for OurTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(self.0.unix())))
    }
}

/// A TLS client configuration that trusts the public roots, and the CAs and servers in `extra_pem`.
///
/// # Errors
/// What is wrong with `extra_pem`, or with the TLS library's setup; without `extra_pem`, with the public roots if they are `needed`.
pub(super) fn client_config(
    extra_pem: Option<&[u8]>,
    needed: bool,
    clock: Arc<Clock>,
) -> Result<Arc<ClientConfig>, String> {
    let mut roots = match (roots::public(), extra_pem) {
        (Err(why), None) if needed => return Err(why),
        // A box whose platform has a CA of its own may have no other.
        (public, _) => public.unwrap_or_else(|_| Arc::new(RootCertStore::empty())),
    };
    let mut given = Vec::new();
    if let Some(pem) = extra_pem {
        let roots = Arc::make_mut(&mut roots);
        for (count, certificate) in (1..).zip(CertificateDer::pem_slice_iter(pem)) {
            let certificate = certificate.map_err(|error| format!("block {count} is damaged: {error}"))?;
            given.push(certificate.clone());
            roots.add(certificate).map_err(|error| format!("certificate {count} is no root certificate: {error}"))?;
        }
        if given.is_empty() {
            return Err("holds no PEM certificate (-----BEGIN CERTIFICATE-----)".to_owned());
        }
    }
    let provider = provider::provider();
    let verifier = ChainVerifier::of_servers(roots, given, &provider);
    let builder = ClientConfig::builder_with_details(provider, Arc::new(OurTime(clock)));
    let builder = builder.with_protocol_versions(provider::VERSIONS).map_err(|error| error.to_string())?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    // A resumed session spares a small CPU the certificate chain's signatures at each heartbeat.
    config.resumption = Resumption::in_memory_sessions(API_TLS_SESSIONS);
    Ok(Arc::new(config))
}

/// Wraps a connection to an `https` URL in TLS. ureq's own connector has neither a clock nor a choice of resumption.
#[derive(Debug)]
pub(super) struct HttpsConnector {
    pub(super) config: Arc<ClientConfig>,
}

impl<In: Transport> Connector<In> for HttpsConnector {
    type Out = Either<In, HttpsTransport<In>>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else {
            return Ok(None);
        };
        // A connection that is encrypted already comes back here when it is the way to a proxy.
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| ureq::Error::Tls("the host is no name for a certificate"))?;
        let connection = ClientConnection::new(self.config.clone(), name);
        let mut connection = connection.map_err(|error| ureq::Error::Other(Box::new(error)))?;
        let mut socket = TransportAdapter::new(transport, details.current_time.clone());
        socket.set_timeout(remaining(details));
        connection.complete_io(&mut socket)?;
        let config = details.config;
        Ok(Some(Either::B(HttpsTransport {
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            stream: StreamOwned::new(connection, socket),
        })))
    }
}

/// What the connection so far has left of the deadline for connecting.
fn remaining(details: &ConnectionDetails) -> NextTimeout {
    let mut timeout = details.timeout;
    if let (Duration::Exact(after), Instant::Exact(start), Instant::Exact(now)) =
        (timeout.after, details.now, (details.current_time)())
    {
        timeout.after = Duration::Exact(after.saturating_sub(now.duration_since(start)));
    }
    timeout
}

/// HTTP's bytes over TLS over another transport.
pub(super) struct HttpsTransport<In: Transport> {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter<In>>,
}

impl<In: Transport> Transport for HttpsTransport<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let output = self.buffers.output();
        self.stream.write_all(&output[..amount.min(output.len())])?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let length = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(length);
        Ok(length > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl<In: Transport> fmt::Debug for HttpsTransport<In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpsTransport")
    }
}
