//! Name resolution with a deadline: the system's resolver on a thread of its own.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::limits::{API_ADDRESSES, RESOLVER_STACK};

/// The name could not be resolved, in the system's words.
#[derive(Debug)]
pub(super) struct LookupFailed(pub(super) io::Error);

impl fmt::Display for LookupFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for LookupFailed {}

/// Like ureq's resolver, but a thread that the system refuses is an error and not a panic, its stack is small, and
/// a failed lookup can be told from a failed connection.
#[derive(Debug)]
pub(super) struct ThreadResolver;

impl Resolver for ThreadResolver {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
            Some("https") => 443,
            Some(scheme) if scheme.starts_with("socks") => 1080,
            _ => 80,
        });
        let mut addresses = self.empty();
        if let Ok(address) = host.parse::<IpAddr>() {
            addresses.push(SocketAddr::new(address, port));
            return Ok(addresses);
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        let question = (host.to_owned(), port);
        let lookup = move || {
            // The receiver is gone when the deadline has passed: then nobody wants the answer.
            let _ = sender.send(question.to_socket_addrs());
        };
        thread::Builder::new().name("dns".to_owned()).stack_size(RESOLVER_STACK).spawn(lookup)?;
        let answer = match receiver.recv_timeout(*timeout.after) {
            Ok(answer) => answer.map_err(|error| ureq::Error::Other(Box::new(LookupFailed(error))))?,
            Err(_) => return Err(ureq::Error::Timeout(ureq::Timeout::Resolve)),
        };
        answer.take(API_ADDRESSES).for_each(|address| addresses.push(address));
        if addresses.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(addresses) }
    }
}
