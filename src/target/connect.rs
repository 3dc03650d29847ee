//! From a target's name to a TCP connection that the policy allows.

use core::fmt;
use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use super::policy::TargetPolicy;
use crate::limits::supervisor::RESOLVER_THREADS;
use crate::limits::{TARGET_ADDRESSES, TARGET_CONNECT_STAGGER, TARGET_CONNECT_TIME, TARGET_KEEPALIVE};
use crate::tls::{Host, Target};

/// Why there is no connection. The target is not named: the caller does that.
#[derive(Debug)]
pub(super) enum ConnectError {
    Policy,
    NotFound(io::Error),
    Timeout,
    Failed(SocketAddr, io::Error),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy => f.write_str("refused by this gateway's policy"),
            Self::NotFound(error) => write!(f, "the name can't be resolved: {error}"),
            Self::Timeout => write!(f, "no connection within {} s", TARGET_CONNECT_TIME.as_secs()),
            Self::Failed(address, error) => write!(f, "{address} can't be reached: {error}"),
        }
    }
}

/// Connects within [`TARGET_CONNECT_TIME`], to an address that was checked itself.
pub(super) async fn connect(target: &Target, policy: &TargetPolicy) -> Result<TcpStream, ConnectError> {
    let stream = match timeout(TARGET_CONNECT_TIME, resolve_and_race(target, policy)).await {
        Ok(result) => result?,
        Err(_) => return Err(ConnectError::Timeout),
    };
    // Neither is worth losing the connection for.
    let _ = stream.set_nodelay(true);
    let (idle, interval) = TARGET_KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    Ok(stream)
}

async fn resolve_and_race(target: &Target, policy: &TargetPolicy) -> Result<TcpStream, ConnectError> {
    let Target { host, port, .. } = target;
    if policy.refuses_name(host, *port) {
        return Err(ConnectError::Policy);
    }
    let found = match host {
        Host::Ip(address) => vec![SocketAddr::new(*address, *port)],
        Host::Name(name) => resolve(name, *port).await.map_err(ConnectError::NotFound)?,
    };
    if found.is_empty() {
        return Err(ConnectError::NotFound(io::ErrorKind::NotFound.into()));
    }
    let mut allowed: Vec<SocketAddr> =
        found.into_iter().filter(|address| policy.allows(host, address.ip(), *port)).collect();
    if allowed.is_empty() {
        return Err(ConnectError::Policy);
    }
    alternate(&mut allowed);
    allowed.truncate(TARGET_ADDRESSES);
    race(&allowed).await
}

/// Names of targets that are resolved at the same time: one thread less than there are, so that a name server that is silent for
/// targets does not keep the agent from its relay.
static LOOKUPS: Semaphore = Semaphore::const_new(RESOLVER_THREADS - 1);

/// The system's resolver. It can't be interrupted: who gives up waiting leaves the thread, and its place, to a lookup that goes on.
async fn resolve(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let place = LOOKUPS.acquire().await.map_err(io::Error::other)?;
    let name = name.to_owned();
    let lookup = spawn_blocking(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
        drop(place);
        found
    });
    lookup.await?
}

/// Lets the address families take turns, the resolver's favourite first (RFC 8305 section 4).
fn alternate(addresses: &mut [SocketAddr]) {
    for at in 1..addresses.len() {
        let last = addresses[at - 1].is_ipv4();
        if let Some(other) = addresses[at..].iter().position(|address| address.is_ipv4() != last) {
            addresses[at..=at + other].rotate_right(1);
        }
    }
}

/// Tries one address after the other, each with a head start over the next (RFC 8305 section 5). The
/// first connection wins; when all fail, the first failure is the one to report.
async fn race(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    async fn attempt(address: SocketAddr) -> Result<TcpStream, ConnectError> {
        TcpStream::connect(address).await.map_err(|error| ConnectError::Failed(address, error))
    }
    let mut waiting = addresses.iter();
    let mut running = Vec::new();
    let mut failure = None;
    let mut stagger = pin!(sleep(TARGET_CONNECT_STAGGER));
    poll_fn(|cx| {
        loop {
            let mut failed = false;
            match poll_any(&mut running, cx) {
                Poll::Ready(Ok(stream)) => return Poll::Ready(Ok(stream)),
                Poll::Ready(Err(error)) => {
                    failed = true;
                    failure.get_or_insert(error);
                }
                Poll::Pending if !running.is_empty() && stagger.as_mut().poll(cx).is_pending() => {
                    return Poll::Pending;
                }
                Poll::Pending => {}
            }
            if let Some(address) = waiting.next() {
                running.push(Box::pin(attempt(*address)));
                stagger.as_mut().reset(Instant::now() + TARGET_CONNECT_STAGGER);
            } else if running.is_empty() {
                return Poll::Ready(Err(failure.take().unwrap_or(ConnectError::Timeout)));
            } else if !failed {
                return Poll::Pending;
            }
        }
    })
    .await
}

/// The result of a future that is ready, which is removed.
fn poll_any<F: Future>(running: &mut Vec<Pin<Box<F>>>, cx: &mut Context<'_>) -> Poll<F::Output> {
    for at in 0..running.len() {
        if let Poll::Ready(result) = running[at].as_mut().poll(cx) {
            drop(running.swap_remove(at));
            return Poll::Ready(result);
        }
    }
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use tokio::net::TcpListener;

    use super::*;

    fn v4(last: u8) -> SocketAddr {
        (Ipv4Addr::new(10, 0, 0, last), 1).into()
    }

    fn v6(last: u16) -> SocketAddr {
        (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last), 1).into()
    }

    #[test]
    fn address_families_take_turns() {
        let mut addresses = [v6(1), v6(2), v6(3), v4(1), v4(2)];
        alternate(&mut addresses);
        assert_eq!(addresses, [v6(1), v4(1), v6(2), v4(2), v6(3)]);
        let mut addresses = [v4(1), v4(2)];
        alternate(&mut addresses);
        assert_eq!(addresses, [v4(1), v4(2)]);
    }

    /// A loopback address where nothing listens.
    async fn closed() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        listener.local_addr().expect("an address")
    }

    #[tokio::test]
    async fn the_first_address_that_answers_wins_and_else_the_first_failure_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let open = listener.local_addr().expect("an address");
        let (dead, also_dead) = (closed().await, closed().await);
        let stream = race(&[dead, also_dead, open]).await.expect("connected");
        assert_eq!(stream.peer_addr().expect("an address"), open);
        let error = race(&[dead, also_dead]).await.expect_err("nothing listens").to_string();
        assert!(error.starts_with(&format!("{dead} can't be reached: ")), "{error}");
    }

    #[tokio::test]
    async fn a_name_is_no_way_around_the_addresses() {
        let port = closed().await.port();
        let target = Target::new("localhost", port).expect("a target");
        let policy = TargetPolicy::parse(None, Some("127.0.0.0/8,[::1]")).expect("a policy");
        let error = connect(&target, &policy).await.expect_err("refused");
        assert!(matches!(error, ConnectError::Policy), "{error}");
        let error = connect(&target, &TargetPolicy::default()).await.expect_err("nothing listens");
        assert!(matches!(error, ConnectError::Failed(..)), "{error}");
    }
}
