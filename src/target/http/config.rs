//! The `CONFIG` line, the first one on an HTTP proxy connection.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// How to treat `https://` targets on this connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Config {
    /// `ca=`: the PEM text of the CAs to trust, in place of the public ones.
    pub(super) ca: Option<Vec<u8>>,
    /// `verify=`: whether the target's certificate is checked. It is unless the client says no.
    pub(super) verify: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { ca: None, verify: true }
    }
}

impl Config {
    /// Reads `CONFIG [ca=<base64 PEM>] [verify=<true|false>]`, without its line feed. Parameters
    /// that are not known are for later versions, and ignored.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub(super) fn parse(line: &[u8]) -> Result<Self, &'static str> {
        let line = str::from_utf8(line).map_err(|_| "the first line is not text")?;
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("CONFIG") {
            return Err("the first line is not CONFIG");
        }
        let mut config = Self::default();
        for word in words {
            match word.split_once('=') {
                Some(("ca", text)) => {
                    let pem = STANDARD.decode(text).map_err(|_| "ca= in the CONFIG line is not base64")?;
                    config.ca = Some(pem);
                }
                Some(("verify", "true")) => config.verify = true,
                Some(("verify", "false")) => config.verify = false,
                Some(("verify", _)) => {
                    return Err("verify= in the CONFIG line is not true or false");
                }
                _ => {}
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines() {
        let config = |ca: Option<&[u8]>, verify| Ok(Config { ca: ca.map(<[u8]>::to_vec), verify });
        for (line, expected) in [
            ("CONFIG", config(None, true)),
            ("CONFIG\r", config(None, true)),
            ("CONFIG ca=UEVN verify=false", config(Some(b"PEM"), false)),
            ("CONFIG verify=true later=1 ca=UEVN", config(Some(b"PEM"), true)),
            ("CONFIG ca=", config(Some(b""), true)),
            ("", Err("the first line is not CONFIG")),
            ("GET / HTTP/1.1", Err("the first line is not CONFIG")),
            ("CONFIG ca=!", Err("ca= in the CONFIG line is not base64")),
            ("CONFIG verify=no", Err("verify= in the CONFIG line is not true or false")),
        ] {
            assert_eq!(Config::parse(line.as_bytes()), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Config::parse(&line);
            let _ = Config::parse(&[b"CONFIG ".as_slice(), &line].concat());
        }
    }
}
