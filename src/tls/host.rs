//! Hosts and targets as the platform writes them.

use core::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A place to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What was written before the host.
    pub scheme: Option<Scheme>,
    /// The host.
    pub host: Host,
    /// The port, never 0.
    pub port: u16,
}

/// The prefix of a target host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http://`
    Http,
    /// `https://`
    Https,
}

/// A host, by name or by address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A DNS name, as written.
    Name(String),
    /// An address; an IPv4 address in IPv6 clothing is undressed.
    Ip(IpAddr),
}

impl Target {
    /// Checks a host (`[http[s]://]name-or-address`) and a port.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(host: &str, port: u16) -> Result<Self, String> {
        let (scheme, host) = if let Some(host) = host.strip_prefix("https://") {
            (Some(Scheme::Https), host)
        } else if let Some(host) = host.strip_prefix("http://") {
            (Some(Scheme::Http), host)
        } else {
            (None, host)
        };
        let host =
            Host::parse(host).ok_or_else(|| format!("\"{}\" is not a host name or an IP address", Excerpt(host)))?;
        if port == 0 {
            return Err("port 0".into());
        }
        Ok(Self { scheme, host, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Host {
    /// A name of LDH labels and underscores (RFC 1123 section 2.1), or an address, IPv6 in brackets
    /// or without.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(address) = text.strip_prefix('[') {
            let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Ip(IpAddr::V6(address).to_canonical()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self::Ip(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        (name.len() <= 253 && name.split('.').all(label)).then(|| Self::Name(text.to_owned()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(address)) => address.fmt(f),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// The start of a text from the network, short enough for a log line.
struct Excerpt<'a>(&'a str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().take(64).try_for_each(|c| f.write_fmt(format_args!("{c}")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts() {
        let target = |host: &str| Target::new(host, 443).map(|target| (target.scheme, target.to_string()));
        assert_eq!(target("https://k8s.local"), Ok((Some(Scheme::Https), "k8s.local:443".into())));
        assert_eq!(target("http://10.0.0.1"), Ok((Some(Scheme::Http), "10.0.0.1:443".into())));
        assert_eq!(target("fd00::1"), Ok((None, "[fd00::1]:443".into())));
        assert_eq!(target("[fd00::1]"), Ok((None, "[fd00::1]:443".into())));
        assert_eq!(target("::ffff:10.0.0.1"), Ok((None, "10.0.0.1:443".into())));
        assert_eq!(target("my_db.lan."), Ok((None, "my_db.lan.:443".into())));
        for bad in ["a..b", "a/b", "https://", "a:1", "[10.0.0.1]", "[::1", "ä", "user@host", "ftp://a"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_host_text_panics(text in ".*") {
            if let Some(host) = Host::parse(&text) {
                // What was accepted can be written into a Host field or a log line.
                prop_assert!(host.to_string().bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
