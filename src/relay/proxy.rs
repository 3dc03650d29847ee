//! The way through a proxy: what is said on the connection before SSH begins. Nothing beyond the proxy's answer is read.

use crate::escape::Escaped;
use crate::limits::PROXY_HEAD;
use crate::proxy::{Proxy, Scheme};
use crate::syntax::authority;
use std::io;
use std::net::IpAddr;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Asks for a connection to `host` and `port`.
///
/// # Errors
/// What the proxy answered, or that it did not.
pub(super) async fn ask<S>(stream: &mut S, proxy: &Proxy, host: &str, port: u16) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let asked = match proxy.scheme {
        Scheme::Http => connect(stream, host, port).await,
        Scheme::Socks5 => socks5(stream, host, port).await,
    };
    asked.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => format!("the proxy {proxy}: it closed the connection"),
        _ => format!("the proxy {proxy}: {error}"),
    })
}

/// CONNECT (RFC 9110, 9.3.6). The head is read byte by byte: the relay may speak right behind it.
async fn connect<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, host: &str, port: u16) -> io::Result<()> {
    let target = authority(host, port);
    stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()).await?;
    let mut head = Vec::with_capacity(PROXY_HEAD);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == PROXY_HEAD {
            return Err(io::Error::other(format!("its answer is longer than {PROXY_HEAD} bytes")));
        }
        head.push(stream.read_u8().await?);
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    match status {
        // Any 2xx opens the tunnel.
        Some(status) if status.len() == 3 && status.starts_with('2') => Ok(()),
        Some(_) => Err(io::Error::other(format!("it answered \"{}\"", Escaped::new(&line, 100)))),
        None => Err(io::Error::other("it does not speak HTTP")),
    }
}

/// SOCKS5 without a login (RFC 1928, 3 to 6).
async fn socks5<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, host: &str, port: u16) -> io::Result<()> {
    const VERSION: u8 = 5;
    const NO_LOGIN: u8 = 0;
    stream.write_all(&[VERSION, 1, NO_LOGIN]).await?;
    match (stream.read_u8().await?, stream.read_u8().await?) {
        (VERSION, NO_LOGIN) => {}
        (VERSION, _) => return Err(io::Error::other("it wants a login")),
        _ => return Err(io::Error::other("it does not speak SOCKS5")),
    }
    // CONNECT, and a reserved byte.
    let mut request = vec![VERSION, 1, 0];
    match host.parse() {
        Ok(IpAddr::V4(address)) => request.extend([&[1][..], &address.octets()].concat()),
        Ok(IpAddr::V6(address)) => request.extend([&[4][..], &address.octets()].concat()),
        // Host names have at most 253 bytes (`syntax::is_host`).
        Err(_) => request.extend([&[3, host.len() as u8][..], host.as_bytes()].concat()),
    }
    request.extend(port.to_be_bytes());
    stream.write_all(&request).await?;
    let mut reply = [0; 4];
    stream.read_exact(&mut reply).await?;
    let [VERSION, code, _, kind] = reply else { return Err(io::Error::other("it does not speak SOCKS5")) };
    if code != 0 {
        let why = match code {
            2 => "its rules do not allow that",
            3 => "the network is unreachable",
            4 => "the relay is unreachable",
            5 => "the relay refused the connection",
            _ => "it failed",
        };
        return Err(io::Error::other(format!("{why} (SOCKS reply {code})")));
    }
    // The address that it connected from, and its port.
    let length = match kind {
        1 => 4,
        4 => 16,
        _ => usize::from(stream.read_u8().await?),
    };
    stream.read_exact(&mut [0; 255 + 2][..length + 2]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    /// What is said to a proxy that answers so, what came of it, and what is left to read.
    async fn asked(proxy: &str, host: &str, answers: &[(usize, &[u8])]) -> (Vec<u8>, Result<(), String>, Vec<u8>) {
        let (mut ours, mut theirs) = duplex(4096);
        let proxy = Proxy::parse(proxy).unwrap();
        let ask = async {
            let result = ask(&mut ours, &proxy, host, 2222).await;
            let mut left = vec![0; 4];
            let count = if result.is_ok() { ours.read(&mut left).await.unwrap() } else { 0 };
            left.truncate(count);
            drop(ours);
            (result, left)
        };
        let answer = async {
            let mut heard = Vec::new();
            for (length, answer) in answers {
                let from = heard.len();
                heard.resize(from + length, 0);
                theirs.read_exact(&mut heard[from..]).await.unwrap();
                theirs.write_all(answer).await.unwrap();
            }
            drop(theirs);
            heard
        };
        let ((result, left), heard) = tokio::join!(ask, answer);
        (heard, result, left)
    }

    #[tokio::test]
    async fn connect_leaves_what_follows_to_ssh() {
        let request = b"CONNECT [fd00::1]:2222 HTTP/1.1\r\nHost: [fd00::1]:2222\r\n\r\n";
        let answer = b"HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\nSSH-";
        let (heard, result, left) = asked("http://p:1", "fd00::1", &[(request.len(), answer)]).await;
        assert_eq!((heard.as_slice(), result, left.as_slice()), (&request[..], Ok(()), &b"SSH-"[..]));
    }

    #[tokio::test]
    async fn connect_that_fails_says_why() {
        let length = "CONNECT relay:2222 HTTP/1.1\r\nHost: relay:2222\r\n\r\n".len();
        let long = [b'x'; PROXY_HEAD + 1];
        for (answer, part) in [
            (&b"HTTP/1.1 403 For\x1bbidden\r\n\r\n"[..], "p:1: it answered \"HTTP/1.1 403 For"),
            (b"SSH-2.0-x\r\n\r\n", "does not speak HTTP"),
            (b"HTTP/1.1 20\r\n\r\n", "it answered"),
            (&long, "longer than"),
            (b"HTTP/1.1 200", "closed the connection"),
        ] {
            let (_, result, _) = asked("http://p:1", "relay", &[(length, answer)]).await;
            let error = result.unwrap_err();
            assert!(error.contains(part) && !error.contains('\x1b'), "{error}");
        }
    }

    #[tokio::test]
    async fn socks5_with_names_and_addresses() {
        for (host, address) in [
            ("relay", &b"\x03\x05relay"[..]),
            ("10.0.0.1", b"\x01\x0a\0\0\x01"),
            ("fd00::1", b"\x04\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"),
        ] {
            let request = [&b"\x05\x01\0"[..], address, &2222u16.to_be_bytes()].concat();
            for bound in [&b"\x01\0\0\0\0\0\0"[..], b"\x03\x02ab\0\0", &[&[4][..], &[0; 18]].concat()] {
                let reply = [b"\x05\0\0", bound, b"SSH-"].concat();
                let (heard, result, left) =
                    asked("socks5://p:1", host, &[(3, b"\x05\0"), (request.len(), &reply)]).await;
                let said = [&b"\x05\x01\0"[..], &request].concat();
                assert_eq!((heard, result, left.as_slice()), (said, Ok(()), &b"SSH-"[..]));
            }
        }
    }

    #[tokio::test]
    async fn socks5_that_fails_says_why() {
        for (answers, part) in [
            (&[(3, &b"\x05\xff"[..])][..], "wants a login"),
            (&[(3, b"HT")], "does not speak SOCKS5"),
            (&[(3, b"\x05\0"), (12, b"\x05\x02\0\x01")], "rules do not allow"),
            (&[(3, b"\x05\0"), (12, b"\x05\x63\0\x01")], "SOCKS reply 99"),
            (&[(3, b"\x05\0"), (12, b"\x05\0\0\x01\0")], "closed the connection"),
        ] {
            let (_, result, _) = asked("socks5://p:1", "relay", answers).await;
            let error = result.unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
