//! Connecting to a host by name over whichever of its addresses answers first (RFC 8305, "Happy Eyeballs").

use super::proxy::ask;
use crate::calendar::Seconds;
use crate::limits::ssh as limits;
use crate::proxy::Proxy;
use socket2::{SockRef, TcpKeepalive};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Why no connection came about.
#[derive(Debug)]
pub enum DialError {
    /// The name could not be resolved.
    Resolve(io::Error),
    /// The name has no addresses.
    NoAddress,
    /// No address accepted; holds the last one's error and how many there were.
    Connect(SocketAddr, io::Error, usize),
    /// Not in time.
    Timeout(Duration),
    /// The proxy, and what it answered.
    Proxy(String),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Resolve(error) => write!(f, "the name could not be resolved: {error}"),
            DialError::NoAddress => f.write_str("the name has no address"),
            DialError::Connect(address, error, 1) => write!(f, "{address}: {error}"),
            DialError::Connect(address, error, n) => {
                write!(f, "none of {n} addresses answers, the last was {address}: {error}")
            }
            DialError::Proxy(why) => f.write_str(why),
            DialError::Timeout(limit) => write!(f, "no connection within {} s", Seconds(*limit)),
        }
    }
}

impl std::error::Error for DialError {}

/// Connects to `host` (a name, or an IPv4 or IPv6 address without brackets), through a proxy if there is one, within `deadline`,
/// name resolution included.
///
/// The socket sends small packets at once, notices a dead peer by itself, and gives up on data that stays unacknowledged for as
/// long as a keepalive would.
pub async fn dial(proxy: Option<&Proxy>, host: &str, port: u16, deadline: Duration) -> Result<TcpStream, DialError> {
    let way = async {
        let (first, its_port) = proxy.map_or((host, port), |proxy| (&proxy.host, proxy.port));
        let connected = race(first, its_port).await;
        let Some(proxy) = proxy else { return connected };
        let mut stream =
            connected.map_err(|error| DialError::Proxy(format!("the proxy {proxy} can't be reached: {error}")))?;
        ask(&mut stream, proxy, host, port).await.map_err(DialError::Proxy)?;
        Ok(stream)
    };
    let stream = timeout(deadline, way).await.map_err(|_| DialError::Timeout(deadline))??;
    if let Err(error) = tune(&stream) {
        // The link works without; what is lost is how soon a dead peer is noticed.
        log::warn!("socket options for {host}:{port}: {error}");
    }
    Ok(stream)
}

async fn race(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let addresses: Vec<_> = lookup_host((host, port)).await.map_err(DialError::Resolve)?.collect();
    let addresses = interleave(&addresses);
    let mut waiting = addresses.iter().copied();
    let mut attempts = JoinSet::new();
    let mut last = DialError::NoAddress;
    let delay = Duration::from_millis(limits::CONNECTION_ATTEMPT_DELAY_MS);
    loop {
        let next = waiting.next();
        match next {
            Some(address) => {
                attempts.spawn(async move { TcpStream::connect(address).await.map_err(|error| (address, error)) });
            }
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        // The next address starts when this one has failed, or beside it when it takes long.
        let finished = tokio::select! {
            finished = attempts.join_next() => finished,
            () = sleep(delay), if next.is_some() => None,
        };
        match finished {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err((address, error)))) => last = DialError::Connect(address, error, addresses.len()),
            Some(Err(_)) | None => {}
        }
    }
}

/// RFC 8305 section 4: address families take turns, beginning with the resolver's choice; at most
/// [`limits::ADDRESSES_MAX`] in all.
fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let mut preferred = addresses.iter().filter(|address| address.is_ipv6() == first_is_v6);
    let mut others = addresses.iter().filter(|address| address.is_ipv6() != first_is_v6);
    let mut order = Vec::with_capacity(addresses.len());
    loop {
        let (one, other) = (preferred.next(), others.next());
        order.extend(one.into_iter().chain(other));
        if one.is_none() && other.is_none() {
            order.truncate(limits::ADDRESSES_MAX);
            return order;
        }
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    // After the link's own: what goes out while a peer is silent is asked once.
    let silence = Duration::from_millis(limits::KEEPALIVE_MS + limits::KEEPALIVE_ANSWER_MS);
    let interval = Duration::from_millis(limits::KEEPALIVE_ANSWER_MS);
    // A kernel that does not know it keeps more of what is to be sent, and a keystroke waits behind it.
    let _older_kernel = socket.set_tcp_notsent_lowat(limits::UNSENT_MAX);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(silence).with_interval(interval))?;
    socket.set_tcp_user_timeout(Some(silence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let order = interleave(&addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]));
        assert_eq!(order, addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]));
        let many = vec!["1.1.1.1:1"; 100];
        assert_eq!(interleave(&addresses(&many)).len(), limits::ADDRESSES_MAX);
    }

    #[tokio::test]
    async fn a_host_that_refuses_is_named_with_its_address() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = dial(None, "127.0.0.1", port, Duration::from_secs(5)).await.unwrap_err();
        assert!(matches!(error, DialError::Connect(address, _, 1) if address.port() == port), "{error}");
    }

    #[tokio::test]
    async fn a_connected_socket_is_tuned() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = dial(None, "localhost", port, Duration::from_secs(5)).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(stream.nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(41)));
    }
}
