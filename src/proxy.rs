//! The proxy that leads to the relay, where boxes have no other way out.

use std::fmt;

use crate::syntax::{authority, is_host};

/// What is spoken to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// CONNECT (RFC 9110, 9.3.6).
    Http,
    /// SOCKS5 (RFC 1928), which is given names to resolve itself.
    Socks5,
}

/// A proxy without user names and passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// What it speaks.
    pub scheme: Scheme,
    /// Its host, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Proxy {
    /// Reads `http://host:port` or `socks5://host:port`.
    ///
    /// # Errors
    /// What is wrong with it, to follow the setting's name in a message.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, authority) = text.trim().split_once("://").ok_or("needs http:// or socks5:// in front")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "socks5" | "socks5h" => Scheme::Socks5,
            _ => return Err("must start with http:// or socks5://"),
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains('@') {
            return Err("must not hold a user name or password: there is no login to a proxy");
        }
        let (host, port) = authority.rsplit_once(':').ok_or("needs a port, as in http://proxy.lan:3128")?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().ok().filter(|port| *port > 0).ok_or("has a port that is not 1 to 65535")?;
        if is_host(host) { Ok(Self { scheme, host: host.to_owned(), port }) } else { Err("holds no valid host name") }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, self.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_hosts_and_ports() {
        let proxy = |scheme, host: &str, port| Ok(Proxy { scheme, host: host.to_owned(), port });
        assert_eq!(Proxy::parse("http://proxy.lan:3128"), proxy(Scheme::Http, "proxy.lan", 3128));
        assert_eq!(Proxy::parse("SOCKS5://[fd00::1]:1080/"), proxy(Scheme::Socks5, "fd00::1", 1080));
        assert_eq!(Proxy::parse("socks5h://10.0.0.1:1"), proxy(Scheme::Socks5, "10.0.0.1", 1));
        for (wrong, part) in [
            ("proxy.lan:3128", "in front"),
            ("https://proxy.lan:3128", "must start"),
            ("http://proxy.lan", "port"),
            ("http://proxy.lan:0", "port"),
            ("http://:3128", "host"),
            ("http://me:secret@proxy.lan:3128", "user name"),
            ("http://proxy.lan:3128/path", "port"),
        ] {
            let error = Proxy::parse(wrong).unwrap_err();
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }
}
