//! Where the platform is.

use std::fmt;

use crate::syntax::is_host;

/// The platform's base URL in one spelling: lower-case scheme and host, no trailing slash, no `/api`.
#[derive(Clone, PartialEq, Eq)]
pub struct Domain {
    base: String,
    /// Where the host lies in `base`, without brackets and port.
    host: std::ops::Range<usize>,
}

impl Domain {
    /// The platform's US region, used when no domain is configured.
    pub const DEFAULT: &str = "https://app.infisical.com";

    /// Reads `https://host[:port][/path]`, with or without the `/api` that older settings carry.
    ///
    /// # Errors
    /// What is wrong with it, to follow the setting's name in a message.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or("needs https:// in front")?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "https" && scheme != "http" {
            return Err("must start with https:// (or http://)");
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let authority = authority.to_ascii_lowercase();
        if authority.contains('@') {
            return Err("must not hold a user name or password");
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => v6.split_once(']').ok_or("has an opening [ without ]")?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        if !is_host(host) {
            return Err("holds no valid host name");
        }
        let number = port.strip_prefix(':').map(str::parse::<u16>);
        if !port.is_empty() && !matches!(number, Some(Ok(1..))) {
            return Err("has a port that is not 1 to 65535");
        }
        let is_path = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~');
        if !path.bytes().all(is_path) {
            return Err("must end after the host and path");
        }
        let path = path.trim_end_matches('/');
        let path = path.strip_suffix("/api").unwrap_or(path).trim_end_matches('/');
        let start = scheme.len() + "://".len() + usize::from(authority.starts_with('['));
        let host = start..start + host.len();
        Ok(Self { base: format!("{scheme}://{authority}{path}"), host })
    }

    /// The base URL.
    pub fn as_str(&self) -> &str {
        &self.base
    }

    /// The host without port and brackets, for messages and name checks.
    pub fn host(&self) -> &str {
        self.base.get(self.host.clone()).unwrap_or_default()
    }

    /// Whether requests travel encrypted.
    pub fn is_https(&self) -> bool {
        self.base.starts_with("https://")
    }

    /// The URL of one API call; `path` starts with a slash and follows `/api`.
    pub fn api(&self, path: &str) -> String {
        format!("{}/api{path}", self.base)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling() {
        for (text, base, host) in [
            (Domain::DEFAULT, "https://app.infisical.com", "app.infisical.com"),
            ("HTTPS://EU.Infisical.com/", "https://eu.infisical.com", "eu.infisical.com"),
            ("https://eu.infisical.com/api", "https://eu.infisical.com", "eu.infisical.com"),
            (" https://vault.lan:8443/secrets/api/ ", "https://vault.lan:8443/secrets", "vault.lan"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "127.0.0.1"),
            ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443", "2001:db8::1"),
        ] {
            let domain = Domain::parse(text).unwrap();
            assert_eq!((domain.as_str(), domain.host()), (base, host));
            assert_eq!(domain.api("/v1/relays"), format!("{base}/api/v1/relays"));
        }
        assert!(!Domain::parse("http://a").unwrap().is_https());
    }

    #[test]
    fn malformed() {
        for bad in [
            "",
            "app.infisical.com",
            "ftp://a",
            "https://",
            "https:///api",
            "https://a:0",
            "https://a:99999",
            "https://a:",
            "https://a?b=c",
            "https://user:pw@a",
            "https://[::1",
            "https://a b",
            "https://a/\nx",
            "https://a/%2e",
            "https://10.0.0.256",
        ] {
            assert!(Domain::parse(bad).is_err(), "{bad}");
        }
    }
}
