//! All parts together: one relay, the API, the certificates and the folders, ready for an agent.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::AgentConfig;
use crate::api::{Api, ApiConfig, RelayEntry};
use crate::certs::{self, KeyKind, PkiFactory, SshFactory, WebCa};
use crate::client::PlatformClient;
use crate::dir::TempDir;
use crate::relay::{Relay, RelayConfig};

/// The name of the bed's relay.
pub const RELAY_NAME: &str = "testbed-relay";
/// The name of the bed's gateway.
pub const GATEWAY_NAME: &str = "testbed-gateway";

/// What a bed is like, before it starts.
pub struct Builder {
    ssh: Arc<SshFactory>,
    pki: Arc<PkiFactory>,
    relay: RelayConfig,
    https: bool,
    enroll_with_bundle: bool,
    host: IpAddr,
}

impl Builder {
    /// Agents reach the platform and the relay at this address: that of this machine for a virtual machine on it.
    /// Both listen on loopback all the same.
    pub fn host(mut self, host: IpAddr) -> Self {
        self.host = host;
        self.relay.host = Some(host);
        self
    }

    /// Issues every key and certificate of the platform in this kind.
    pub fn keys(mut self, kind: KeyKind) -> Self {
        self.ssh = Arc::new(SshFactory::with_kind(kind));
        self.pki = Arc::new(PkiFactory::with_kind(kind));
        self.relay.ssh = self.ssh.clone();
        self
    }

    /// Changes the relay.
    pub fn relay(mut self, change: impl FnOnce(&mut RelayConfig)) -> Self {
        change(&mut self.relay);
        self
    }

    /// Serves the API over plain HTTP.
    pub fn plain_http(mut self) -> Self {
        self.https = false;
        self
    }

    /// Answers enrollment with a certificate bundle too.
    pub fn enroll_with_bundle(mut self) -> Self {
        self.enroll_with_bundle = true;
        self
    }

    /// Starts everything.
    ///
    /// # Errors
    /// When a port can't be bound or a folder can't be made.
    pub async fn start(self) -> io::Result<Bed> {
        let web = WebCa::new();
        let relay = Relay::start(self.relay).await?;
        let api = Api::start(ApiConfig {
            pki: self.pki.clone(),
            ssh: self.ssh.clone(),
            tls: self.https.then(|| web.server_at(self.host)),
            enroll_with_bundle: self.enroll_with_bundle,
        })
        .await?;
        api.add_relay(entry(RELAY_NAME, self.host, &relay));
        let dir = TempDir::new()?;
        let ca_file = dir.write("ca.pem", &web.pem())?;
        let gateway_id = api.gateway_id(GATEWAY_NAME);
        Ok(Bed { relay, api, ssh: self.ssh, pki: self.pki, web, gateway_id, ca_file, dir, host: self.host })
    }
}

/// How the platform lists a relay of the organization that is well.
fn entry(name: &str, host: IpAddr, relay: &Relay) -> RelayEntry {
    RelayEntry {
        name: name.to_owned(),
        host: host.to_string(),
        of_organization: true,
        heartbeat_age: Some(Duration::from_secs(30)),
        relay: Some(relay.clone()),
    }
}

/// A running platform and relay. Dropping it stops everything and removes the folders.
pub struct Bed {
    /// The relay.
    pub relay: Relay,
    /// The API.
    pub api: Api,
    /// The authorities of SSH certificates.
    pub ssh: Arc<SshFactory>,
    /// The authorities of TLS certificates inside tunnels.
    pub pki: Arc<PkiFactory>,
    /// The authority of the API's certificate, for TLS targets too.
    pub web: WebCa,
    /// The id of the gateway [`GATEWAY_NAME`].
    pub gateway_id: String,
    /// A file with `web`'s certificate.
    pub ca_file: PathBuf,
    /// The bed's folder.
    pub dir: TempDir,
    /// Where agents reach the platform and the relay.
    host: IpAddr,
}

impl Bed {
    /// A bed with the platform's usual shapes.
    pub fn builder() -> Builder {
        certs::warm_up();
        let (ssh, pki) = (Arc::new(SshFactory::new()), Arc::new(PkiFactory::new()));
        let relay = RelayConfig::new(ssh.clone());
        Builder { ssh, pki, relay, https: true, enroll_with_bundle: false, host: Ipv4Addr::LOCALHOST.into() }
    }

    /// Starts a usual bed.
    ///
    /// # Errors
    /// When a port can't be bound or a folder can't be made.
    pub async fn start() -> io::Result<Bed> {
        Bed::builder().start().await
    }

    /// Starts another relay and lists it. It has the first one's port on another loopback address, because the agent
    /// has one port for all relays.
    ///
    /// # Errors
    /// When the port is taken there.
    pub async fn add_relay(&self, name: &str, address: Ipv4Addr) -> io::Result<Relay> {
        let mut config = RelayConfig::new(self.ssh.clone());
        config.bind = (address, self.relay.ssh_addr().port()).into();
        let relay = Relay::start(config).await?;
        self.api.add_relay(entry(name, address.into(), &relay));
        Ok(relay)
    }

    /// The agent's state folder, which is there and empty at first.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn state_dir(&self) -> io::Result<PathBuf> {
        let path = self.dir.path().join("state");
        match std::fs::create_dir(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => Ok(path),
        }
    }

    /// The settings that every agent of this bed needs, without any way to authenticate: what an enrolled one starts
    /// with.
    ///
    /// # Errors
    /// When the state folder can't be made.
    pub fn agent(&self, program: impl Into<PathBuf>) -> io::Result<AgentConfig> {
        Ok(AgentConfig::run(program)
            .env("INFISICAL_DOMAIN", self.api.url_at(self.host))
            .env("INFISICAL_GATEWAY_NAME", GATEWAY_NAME)
            .env("INFISICAL_RELAY_NAME", RELAY_NAME)
            .env("EDGE_GATEWAY_STATE_DIR", self.state_dir()?.display().to_string())
            .env("EDGE_GATEWAY_CA_FILE", self.ca_file.display().to_string())
            .env("EDGE_GATEWAY_RELAY_PORT", self.relay.ssh_addr().port().to_string()))
    }

    /// The same with a new one-time enrollment token.
    ///
    /// # Errors
    /// When the state folder can't be made.
    pub fn new_agent(&self, program: impl Into<PathBuf>) -> io::Result<AgentConfig> {
        Ok(self
            .agent(program)?
            .env("INFISICAL_GATEWAY_ENROLL_METHOD", "token")
            .env("INFISICAL_TOKEN", self.api.enrollment_token(GATEWAY_NAME)))
    }

    /// A platform client for the bed's gateway.
    pub fn client(&self) -> PlatformClient {
        PlatformClient::new(self.relay.clone(), &self.gateway_id, self.pki.clone())
    }

    /// Waits until the bed's gateway is at the relay.
    ///
    /// # Errors
    /// `TimedOut`, with what the relay has seen.
    pub async fn wait_for_gateway(&self, limit: Duration) -> io::Result<()> {
        self.relay.wait_for_gateway(&self.gateway_id, limit).await
    }
}
