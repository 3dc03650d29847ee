//! Who is measured: something that forwards TLS connections from far away to a target.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use testbed::agent::{Agent, AgentConfig};
use testbed::bed::{Bed, Builder};
use testbed::certs::PkiCredential;
use testbed::client::{PlatformClient, TlsClient, alpn};
use testbed::load::Wire;

use super::limit::Cipher;
use super::peers::Chain;

pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// More than any row opens.
const TUNNELS: &str = "160";

/// One that runs.
pub(super) enum Contestant {
    Agent(Box<Served>),
    Chain(Box<Chain>),
}

impl Contestant {
    /// A connection to the target through it, TLS included.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Wire>> {
        match self {
            Contestant::Agent(served) => Ok(Box::new(served.connect().await?)),
            Contestant::Chain(chain) => Ok(Box::new(chain.connect().await?)),
        }
    }

    /// Its processes on the box.
    pub(super) fn processes(&self) -> Vec<u32> {
        match self {
            Contestant::Agent(served) => vec![served.agent.pid()],
            Contestant::Chain(chain) => chain.processes(),
        }
    }
}

/// The agent with a platform and a relay of its own.
pub(super) struct Served {
    pub(super) bed: Bed,
    pub(super) agent: Agent,
    pub(super) config: AgentConfig,
    /// When the process was started.
    pub(super) started: Instant,
    client: PlatformClient,
    certificate: PkiCredential,
}

impl Served {
    /// Starts all of it; `change` has the last word on the settings.
    pub(super) async fn start(
        program: &std::path::Path,
        cipher: Cipher,
        target: SocketAddr,
        change: impl FnOnce(AgentConfig) -> AgentConfig,
    ) -> io::Result<Served> {
        let bed = builder(cipher).start().await?;
        let config = change(settings(bed.new_agent(program)?));
        let started = Instant::now();
        let agent = Agent::start(&config)?;
        bed.wait_for_gateway(LIMIT).await?;
        bed.client().ping().await?;
        Ok(Served::new(bed, agent, config, started, cipher, target))
    }

    /// One that was started.
    pub(super) fn new(
        bed: Bed,
        agent: Agent,
        config: AgentConfig,
        started: Instant,
        cipher: Cipher,
        target: SocketAddr,
    ) -> Served {
        let client = bed.client().with_tls(tls(cipher, bed.pki.clone()));
        let certificate = client.certificate_for(&target.ip().to_string(), target.port()).issue();
        Served { bed, agent, config, started, client, certificate }
    }

    pub(super) async fn connect(&self) -> io::Result<testbed::client::Stream> {
        self.client.connect(&[alpn::TCP], Some(&self.certificate)).await
    }
}

/// A bed whose relay speaks one cipher.
pub(super) fn builder(cipher: Cipher) -> Builder {
    Bed::builder().relay(|relay| relay.ciphers = vec![cipher.ssh()])
}

/// The settings of every agent that is measured.
pub(super) fn settings(config: AgentConfig) -> AgentConfig {
    config.env("EDGE_GATEWAY_MAX_TUNNELS", TUNNELS).env("EDGE_GATEWAY_LOG", "warn")
}

/// The platform's end of TLS, with one cipher.
pub(super) fn tls(cipher: Cipher, pki: Arc<testbed::certs::PkiFactory>) -> TlsClient {
    match cipher {
        Cipher::Aes => TlsClient::tls13(pki),
        Cipher::ChaCha => TlsClient::chacha20(pki),
    }
}
