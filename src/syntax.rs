//! The shapes of names that come from people and from the platform. Shape only: whether a host resolves or a
//! certificate verifies is for others to find out.

use std::net::IpAddr;

use crate::limits::SECRET_BYTES;

/// A UUID in its usual text form, any version and case (RFC 9562, 4).
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A DNS name or an IP address, without port and without brackets.
pub fn is_host(text: &str) -> bool {
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let edge = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-');
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && edge(bytes.first())
            && edge(bytes.last())
            // Underscores are no host names by RFC 952, but private networks have them.
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253
        && name.split('.').all(label)
        // All-numeric names are mistyped addresses: `10.0.0.256`.
        && !name.split('.').next_back().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Host and port as one word; an IPv6 address in brackets (RFC 3986, 3.2).
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A gateway or relay name: 1 to 64 letters, digits, `.`, `_` and `-`, not starting with a sign. Safe as a file name.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// One word of printable ASCII, as it fits into an HTTP header: a token, password or JWT of at most [`SECRET_BYTES`].
pub fn is_token(text: &str) -> bool {
    (1..=SECRET_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Text that begins with one PEM label and ends with the same, of printable ASCII lines (RFC 7468, 2).
pub fn is_pem(text: &str, label: &str) -> bool {
    let text = text.trim_ascii();
    let begin = text.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_prefix(label));
    let end = text.strip_suffix("-----").and_then(|rest| rest.strip_suffix(label));
    begin.is_some_and(|rest| rest.starts_with("-----"))
        && end.is_some_and(|rest| rest.ends_with("-----END "))
        && text.bytes().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n' | b'\r'))
}

/// One line of an `authorized_keys` file without options: algorithm, base64, and perhaps a comment.
pub fn is_ssh_line(text: &str) -> bool {
    let text = text.trim_ascii();
    let mut words = text.split(' ');
    let algorithm = words.next().unwrap_or_default();
    let blob = words.next().unwrap_or_default();
    (algorithm.starts_with("ssh-") || algorithm.starts_with("ecdsa-") || algorithm.starts_with("rsa-"))
        && blob.starts_with("AAAA")
        && blob.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
        && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        assert_eq!(authority("fd00::1", 22), "[fd00::1]:22");
        assert_eq!(authority("relay", 2222), "relay:2222");
    }

    #[test]
    fn uuids() {
        assert!(is_uuid("6f1c2f0e-8a5b-4c3d-9e7f-0123456789AB"));
        for bad in [
            "",
            "6f1c2f0e8a5b4c3d9e7f0123456789ab",
            "6f1c2f0e-8a5b-4c3d-9e7f-0123456789ag",
            "../../../../../../../../../etc/passwd",
        ] {
            assert!(!is_uuid(bad), "{bad}");
        }
    }

    #[test]
    fn hosts() {
        for good in [
            "localhost",
            "relay.example.com",
            "relay.example.com.",
            "192.0.2.7",
            "2001:db8::1",
            "a_b.internal",
            "1-2.example",
        ] {
            assert!(is_host(good), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "",
            ".",
            "a..b",
            "-a.example",
            "a-.example",
            "relay:8443",
            "[2001:db8::1]",
            "a b",
            "a/b",
            "10.0.0.256",
            "user@host",
            &long,
            "é.example",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn names() {
        assert!(is_name("branch-office.7_b"));
        for bad in ["", "..", ".hidden", "-flag", "a/b", "a b", "ä", &"n".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn pem_blocks() {
        assert!(is_pem("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "CERTIFICATE"));
        for bad in [
            "",
            "-----BEGIN CERTIFICATE-----",
            "-----BEGIN CERTIFICATE-----\nMIIB\n",
            "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
            "-----BEGIN CERTIFICATE-----\nM\0IB\n-----END CERTIFICATE-----\n",
            "<html>-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
        ] {
            assert!(!is_pem(bad, "CERTIFICATE"), "{bad}");
        }
    }

    #[test]
    fn ssh_lines() {
        assert!(is_ssh_line("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA relay ca\n"));
        assert!(is_ssh_line("ecdsa-sha2-nistp256-cert-v01@openssh.com AAAAKGVj"));
        for bad in [
            "",
            "ssh-rsa",
            "ssh-rsa MIIB",
            "ssh-rsa AAAA\nssh-rsa AAAA",
            "command=\"x\" ssh-rsa AAAA",
            "ssh-rsa AAAA\u{7}",
        ] {
            assert!(!is_ssh_line(bad), "{bad}");
        }
    }
}
