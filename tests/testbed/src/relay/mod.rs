//! The relay: an SSH server that gateways log in to, and that opens channels towards them.

mod config;
mod counters;
mod link;
mod registry;
mod session;
mod tunnel;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::server::{Handle, Msg};
use russh::{Channel, ChannelOpenFailure, Disconnect};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;

pub use config::{HostKey, RelayConfig, Shape};
pub use counters::Counters;
pub use tunnel::Tunnel;

use counters::OpenChannel;
use link::Mode;
use registry::{Gateway, Shared};

/// A relay on a loopback port. Clones are handles to the same relay, and the last one stops it.
#[derive(Clone)]
pub struct Relay(Arc<Owner>);

/// The relay's tasks hold [`Shared`] and not this, so that dropping the last handle ends them.
struct Owner {
    shared: Arc<Shared>,
    listener: Mutex<Listener>,
    exposed: Mutex<Vec<AbortHandle>>,
}

struct Listener {
    addr: SocketAddr,
    task: Option<JoinHandle<()>>,
}

/// A type of channel that the platform's relay never opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherChannel {
    /// `session`
    Session,
    /// `x11`
    X11,
    /// `auth-agent@openssh.com`
    Agent,
    /// `forwarded-tcpip`, which a plain OpenSSH server opens after `tcpip-forward`
    ForwardedTcpip,
    /// `forwarded-streamlocal@openssh.com`
    ForwardedStreamlocal,
}

/// Why there is no channel.
#[derive(Debug)]
pub enum OpenError {
    /// No gateway with this id is logged in.
    NotConnected,
    /// The gateway answered with this.
    Refused(ChannelOpenFailure),
    /// The connection ended before the gateway answered.
    Lost,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::NotConnected => f.write_str("the gateway is not connected to the relay"),
            OpenError::Refused(why) => write!(f, "the gateway refused the channel: {why:?}"),
            OpenError::Lost => f.write_str("the gateway's connection ended before it answered"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<OpenError> for io::Error {
    fn from(e: OpenError) -> io::Error {
        io::Error::other(e)
    }
}

impl Relay {
    /// Starts listening.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub async fn start(config: RelayConfig) -> io::Result<Relay> {
        let bind = config.bind;
        let shared = Arc::new(Shared::new(config));
        let listener = listen(&shared, bind).await?;
        Ok(Relay(Arc::new(Owner { shared, listener: Mutex::new(listener), exposed: Mutex::default() })))
    }

    /// Where gateways log in. Stays the same while the relay is dead.
    pub fn ssh_addr(&self) -> SocketAddr {
        self.0.listener.lock().expect("no holder panics").addr
    }

    /// What the relay has seen so far.
    pub fn counters(&self) -> Counters {
        self.0.shared.counters().borrow().clone()
    }

    /// Waits until the counters are as wanted, and returns them.
    ///
    /// # Errors
    /// `TimedOut`, with the counters as they are.
    pub async fn wait(&self, limit: Duration, wanted: impl FnMut(&Counters) -> bool) -> io::Result<Counters> {
        let mut receiver = self.0.shared.counters().subscribe();
        let result = timeout(limit, receiver.wait_for(wanted)).await;
        match result {
            Ok(Ok(counters)) => Ok(counters.clone()),
            _ => Err(io::Error::new(io::ErrorKind::TimedOut, format!("the relay has {:?}", self.counters()))),
        }
    }

    /// Waits until this gateway is served.
    ///
    /// # Errors
    /// `TimedOut`, with the counters as they are.
    pub async fn wait_for_gateway(&self, id: &str, limit: Duration) -> io::Result<()> {
        self.wait(limit, |_| self.is_connected(id)).await.map(drop)
    }

    /// Whether this gateway is served.
    pub fn is_connected(&self, id: &str) -> bool {
        self.0.shared.has(id)
    }

    /// Opens a `direct-tcpip` channel, which is what the relay does for each client.
    ///
    /// The platform's relay sends no type-specific payload; russh can only send the four RFC 4254 fields.
    ///
    /// # Errors
    /// When there is no such gateway, or it refuses.
    pub async fn open_channel(&self, gateway_id: &str) -> Result<Tunnel, OpenError> {
        let gateway = self.gateway(gateway_id)?;
        let opened = gateway.handle.channel_open_direct_tcpip("", 0, "", 0).await;
        self.admit(gateway, opened)
    }

    /// Opens a channel of a type that the platform's relay never opens.
    ///
    /// # Errors
    /// When there is no such gateway, or it refuses.
    pub async fn open_other(&self, gateway_id: &str, kind: OtherChannel) -> Result<Tunnel, OpenError> {
        let gateway = self.gateway(gateway_id)?;
        let opened = open_other(&gateway.handle, kind).await;
        self.admit(gateway, opened)
    }

    /// Listens on a free loopback port for this gateway's clients: each connection becomes one channel, for as long
    /// as the relay lives. A client that comes while the gateway is away is disconnected.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn expose(&self, gateway_id: &str) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let (owner, id) = (Arc::downgrade(&self.0), gateway_id.to_owned());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Some(owner) = owner.upgrade() else { return };
                let id = id.clone();
                tokio::spawn(async move { Relay(owner).bridge(&id, client).await });
            }
        });
        self.0.exposed.lock().expect("no holder panics").push(task.abort_handle());
        Ok(addr)
    }

    async fn bridge(self, gateway_id: &str, mut client: TcpStream) {
        let Ok(mut tunnel) = self.open_channel(gateway_id).await else {
            return;
        };
        drop(self);
        // Fails only for a client that has gone, and then copying ends at once.
        let _ = client.set_nodelay(true);
        // Either side may end it in any way; both are closed when this returns.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut tunnel).await;
    }

    /// Bytes received from and sent to this gateway on its present connection, SSH's own included.
    pub fn traffic(&self, gateway_id: &str) -> Option<(u64, u64)> {
        self.0.shared.gateway(gateway_id).map(|gateway| (gateway.link.received(), gateway.link.sent()))
    }

    /// Stops reading from and writing to this gateway, and keeps its place: what the relay knows of a gateway whose
    /// power was cut.
    pub fn freeze(&self, gateway_id: &str) {
        self.set(gateway_id, Mode::Frozen);
    }

    /// Undoes [`Relay::freeze`].
    pub fn thaw(&self, gateway_id: &str) {
        self.set(gateway_id, Mode::Open);
    }

    /// Resets this gateway's connection, frozen or not.
    pub fn cut(&self, gateway_id: &str) {
        self.set(gateway_id, Mode::Cut);
    }

    fn set(&self, gateway_id: &str, mode: Mode) {
        if let Some(gateway) = self.0.shared.gateway(gateway_id) {
            gateway.link.set(mode);
        }
    }

    /// Sends this gateway an SSH disconnect message.
    pub async fn disconnect(&self, gateway_id: &str, reason: &str) {
        if let Some(gateway) = self.0.shared.gateway(gateway_id) {
            // Fails when the connection has just ended by itself.
            let _ = gateway.handle.disconnect(Disconnect::ByApplication, reason.to_owned(), String::new()).await;
        }
    }

    /// Dies: the port is closed and every connection reset. Returns when all is gone.
    pub async fn kill(&self) {
        let task = self.0.listener.lock().expect("no holder panics").task.take();
        if let Some(task) = task {
            task.abort();
            // Always the error of an aborted task; waiting makes sure that it accepts nothing more.
            let _ = task.await;
        }
        let mut receiver = self.0.shared.counters().subscribe();
        self.0.shared.cut_all();
        // Never an error: `self` holds the sender.
        let _ = receiver.wait_for(|_| self.0.shared.is_deserted()).await;
    }

    /// Listens again on the same port after [`Relay::kill`].
    ///
    /// # Errors
    /// When the port can't be bound again.
    pub async fn restart(&self) -> io::Result<()> {
        self.kill().await;
        self.listen(self.ssh_addr()).await
    }

    /// Dies and comes back on another port, with a certificate for it.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn move_away(&self) -> io::Result<SocketAddr> {
        self.kill().await;
        let mut elsewhere = self.ssh_addr();
        elsewhere.set_port(0);
        self.listen(elsewhere).await?;
        Ok(self.ssh_addr())
    }

    async fn listen(&self, addr: SocketAddr) -> io::Result<()> {
        let listener = listen(&self.0.shared, addr).await?;
        *self.0.listener.lock().expect("no holder panics") = listener;
        Ok(())
    }

    fn gateway(&self, id: &str) -> Result<Gateway, OpenError> {
        self.0.shared.gateway(id).ok_or(OpenError::NotConnected)
    }

    fn admit(&self, gateway: Gateway, opened: Result<Channel<Msg>, russh::Error>) -> Result<Tunnel, OpenError> {
        let counters = self.0.shared.counters();
        match opened {
            Ok(channel) => Ok(Tunnel::new(channel, gateway.link, OpenChannel::new(counters))),
            Err(russh::Error::ChannelOpenFailure(why)) => {
                counters.send_modify(|c| c.channels_refused += 1);
                Err(OpenError::Refused(why))
            }
            Err(_) => Err(OpenError::Lost),
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(task) = &self.listener.get_mut().expect("no holder panics").task {
            task.abort();
        }
        for task in self.exposed.get_mut().expect("no holder panics") {
            task.abort();
        }
        self.shared.cut_all();
    }
}

async fn listen(shared: &Arc<Shared>, addr: SocketAddr) -> io::Result<Listener> {
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    let server = Arc::new(shared.config().server(addr));
    let shared = shared.clone();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(shared.serve(stream, server.clone()));
        }
    });
    Ok(Listener { addr, task: Some(task) })
}

async fn open_other(handle: &Handle, kind: OtherChannel) -> Result<Channel<Msg>, russh::Error> {
    match kind {
        OtherChannel::Session => handle.channel_open_session().await,
        OtherChannel::X11 => handle.channel_open_x11("", 0).await,
        OtherChannel::Agent => handle.channel_open_agent().await,
        OtherChannel::ForwardedTcpip => handle.channel_open_forwarded_tcpip("", 0, "", 0).await,
        OtherChannel::ForwardedStreamlocal => handle.channel_open_forwarded_streamlocal("").await,
    }
}
