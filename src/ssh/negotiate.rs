//! Algorithm negotiation (RFC 4253 section 7.1): what this side offers and what both agree on.

use super::cert::Authority;
use super::cipher::Cipher;
use super::error::{Error, PeerText};
use super::kex::Method;
use super::key::SignatureAlgorithm;
use super::msg::{KEXINIT, KexInit};
use super::wire::{NameList, Sink};

/// RFC 8308 section 2.1: the client asks for EXT_INFO.
const EXT_INFO_C: &str = "ext-info-c";
/// OpenSSH PROTOCOL section 1.10: the countermeasure to prefix truncation (CVE-2023-48795, "Terrapin").
const STRICT_CLIENT: &str = "kex-strict-c-v00@openssh.com";
/// The server's side of it.
const STRICT_SERVER: &str = "kex-strict-s-v00@openssh.com";

/// Servers negotiate a MAC even for ciphers that bring their own. Only such ciphers are offered, so none of these is ever used.
const MACS: [&str; 3] = ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256"];

/// How a host proves itself: a signature algorithm, for a certificate or for a raw key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostKeyAlgorithm {
    /// The signature of the exchange hash.
    pub signature: SignatureAlgorithm,
    /// Whether the key comes in a certificate.
    pub certificate: bool,
}

impl HostKeyAlgorithm {
    /// The name in KEXINIT.
    pub fn name(self) -> &'static str {
        if self.certificate { self.signature.certificate_name() } else { self.signature.name() }
    }
}

/// Whom this side believes.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Authorities whose host certificates are accepted.
    pub authorities: Vec<Authority>,
    /// Names of the host, one of which the certificate must be for: `host:port` and `host`.
    pub names: Vec<String>,
    /// A raw host key that is accepted although no authority vouches for it: for a plain OpenSSH relay.
    pub pinned: Option<Authority>,
}

impl Trust {
    /// The host key algorithms to offer. Raw keys only where one was pinned, and only of its type.
    pub fn host_key_algorithms(&self) -> impl Iterator<Item = HostKeyAlgorithm> + Clone {
        let certified = if self.authorities.is_empty() { &[][..] } else { &SignatureAlgorithm::ALL[..] };
        let raw = self.pinned.as_ref().map_or(&[][..], |key| key.key_type().signature_algorithms());
        let with =
            |certificate| move |signature: &SignatureAlgorithm| HostKeyAlgorithm { signature: *signature, certificate };
        certified.iter().map(with(true)).chain(raw.iter().map(with(false)))
    }
}

/// Our KEXINIT. It is written twice, to the socket and into the exchange hash, so only what varies is kept.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// 16 random bytes.
    pub cookie: [u8; 16],
    /// Whether this is the connection's first key exchange, the only one that negotiates extensions.
    pub first: bool,
}

impl Offer {
    /// Writes the KEXINIT payload.
    pub fn encode(&self, trust: &Trust, sink: &mut impl Sink) {
        let extensions: &[&str] = if self.first { &[EXT_INFO_C, STRICT_CLIENT] } else { &[] };
        sink.byte(KEXINIT);
        sink.put(&self.cookie);
        sink.name_list(Method::ALL.iter().flat_map(|method| method.names()).chain(extensions).copied());
        sink.name_list(trust.host_key_algorithms().map(HostKeyAlgorithm::name));
        let ciphers = Cipher::preferred();
        for _direction in 0..2 {
            sink.name_list(ciphers.iter().map(|cipher| cipher.name()));
        }
        for _direction in 0..2 {
            sink.name_list(MACS.into_iter());
        }
        for _direction in 0..2 {
            sink.name_list(["none"].into_iter());
        }
        for _direction in 0..2 {
            sink.name_list(core::iter::empty());
        }
        sink.boolean(false); // first_kex_packet_follows: nothing is guessed
        sink.uint32(0);
    }
}

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The key exchange method.
    pub method: Method,
    /// How the host proves itself.
    pub host_key: HostKeyAlgorithm,
    /// Cipher of what this side sends.
    pub client_to_server: Cipher,
    /// Cipher of what the server sends.
    pub server_to_client: Cipher,
    /// The server guessed, and guessed wrong: its next packet is to be ignored.
    pub ignore_guess: bool,
    /// The server supports strict key exchange.
    pub strict: bool,
}

/// RFC 4253 section 7.1: the first of the client's algorithms that the server has too.
fn first_common<T: Copy>(
    ours: impl Iterator<Item = (&'static str, T)>,
    theirs: NameList<'_>,
    kind: &'static str,
) -> Result<T, Error> {
    let mut ours = ours;
    ours.find(|(name, _)| theirs.contains(name))
        .map(|(_, value)| value)
        .ok_or_else(|| Error::NoCommon(kind, PeerText::new(theirs.0.as_bytes())))
}

/// Agrees with the server's KEXINIT.
pub fn negotiate(trust: &Trust, theirs: &KexInit<'_>) -> Result<Agreed, Error> {
    let methods = Method::ALL.iter().flat_map(|method| method.names().iter().map(move |name| (*name, *method)));
    let method = first_common(methods.clone(), theirs.kex_algorithms, "key exchange")?;

    let offered = theirs.server_host_key_algorithms;
    let host_keys = trust.host_key_algorithms().map(|algorithm| (algorithm.name(), algorithm));
    let host_key = first_common(host_keys.clone(), offered, "host key algorithm").map_err(|error| {
        // The case that an operator must recognise: a server that is no relay, or a relay without its certificate.
        match offered.names().any(|name| name.contains("-cert-")) {
            false => Error::RawHostKey(PeerText::new(offered.0.as_bytes())),
            true => error,
        }
    })?;

    let ciphers = Cipher::preferred().map(|cipher| (cipher.name(), cipher));
    let client_to_server =
        first_common(ciphers.into_iter(), theirs.encryption_client_to_server, "cipher towards the relay")?;
    let server_to_client =
        first_common(ciphers.into_iter(), theirs.encryption_server_to_client, "cipher from the relay")?;
    for list in [theirs.compression_client_to_server, theirs.compression_server_to_client] {
        first_common([("none", ())].into_iter(), list, "compression")?;
    }

    let same_first = |ours: Option<&str>, theirs: NameList<'_>| theirs.names().next() == ours;
    let guessed_right = same_first(methods.clone().next().map(|(name, _)| name), theirs.kex_algorithms)
        && same_first(host_keys.clone().next().map(|(name, _)| name), offered);
    Ok(Agreed {
        method,
        host_key,
        client_to_server,
        server_to_client,
        ignore_guess: theirs.first_kex_packet_follows && !guessed_right,
        strict: theirs.kex_algorithms.contains(STRICT_SERVER),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::msg::Message;

    const CA: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJDsGnRAYYCdHf6/7cxKYR+AbyiMUyfYFkvFbHRGmpJd test";

    fn trust(authorities: bool, pinned: bool) -> Trust {
        let key = Authority::from_line(CA).unwrap();
        Trust {
            authorities: authorities.then(|| key.clone()).into_iter().collect(),
            names: vec!["relay:2222".into()],
            pinned: pinned.then_some(key),
        }
    }

    fn server() -> KexInit<'static> {
        let ciphers = NameList("aes128-gcm@openssh.com,chacha20-poly1305@openssh.com");
        KexInit {
            cookie: [0; 16],
            kex_algorithms: NameList("curve25519-sha256,ecdh-sha2-nistp256,ext-info-s,kex-strict-s-v00@openssh.com"),
            server_host_key_algorithms: NameList("rsa-sha2-256-cert-v01@openssh.com,rsa-sha2-512-cert-v01@openssh.com"),
            encryption_client_to_server: ciphers,
            encryption_server_to_client: ciphers,
            mac_client_to_server: NameList(""),
            mac_server_to_client: NameList(""),
            compression_client_to_server: NameList("none,zlib@openssh.com"),
            compression_server_to_client: NameList("none"),
            languages_client_to_server: NameList(""),
            languages_server_to_client: NameList(""),
            first_kex_packet_follows: false,
            reserved: 0,
        }
    }

    #[test]
    fn the_clients_order_decides() {
        let agreed = negotiate(&trust(true, false), &server()).unwrap();
        assert_eq!(agreed.method, Method::Curve25519);
        assert_eq!(agreed.host_key.name(), "rsa-sha2-512-cert-v01@openssh.com");
        assert!(agreed.strict && !agreed.ignore_guess);
    }

    #[test]
    fn our_offer_reads_as_a_kexinit_and_names_extensions_only_at_first() {
        for first in [true, false] {
            let mut payload = Vec::new();
            Offer { cookie: [7; 16], first }.encode(&trust(true, false), &mut payload);
            let parsed = KexInit::parse(&payload).unwrap();
            assert_eq!(parsed.kex_algorithms.contains(STRICT_CLIENT), first);
            assert_eq!(parsed.kex_algorithms.contains(EXT_INFO_C), first);
            assert!(parsed.server_host_key_algorithms.names().all(|name| name.contains("-cert-v01@openssh.com")));
            assert!(
                !payload.windows(4).any(|bytes| bytes == b"sha1") && !payload.windows(3).any(|bytes| bytes == b"cbc")
            );
        }
    }

    #[test]
    fn raw_host_keys_are_offered_only_when_pinned_and_only_of_that_type() {
        let names = |trust: Trust| trust.host_key_algorithms().map(HostKeyAlgorithm::name).collect::<Vec<_>>();
        assert_eq!(names(trust(false, true)), ["ssh-ed25519"]);
        assert_eq!(names(trust(true, true)).len(), 6);
        assert_eq!(names(trust(false, false)), [""; 0]);
        let raw = KexInit { server_host_key_algorithms: NameList("rsa-sha2-512,ssh-ed25519"), ..server() };
        assert!(matches!(negotiate(&trust(true, false), &raw), Err(Error::RawHostKey(_))));
        assert!(!negotiate(&trust(true, true), &raw).unwrap().host_key.certificate);
    }

    #[test]
    fn nothing_in_common_names_the_kind_and_the_offer() {
        let cbc = KexInit { encryption_server_to_client: NameList("aes256-cbc"), ..server() };
        assert_eq!(
            negotiate(&trust(true, false), &cbc).unwrap_err().to_string(),
            "no common cipher from the relay, the peer offers aes256-cbc"
        );
        let zlib = KexInit { compression_client_to_server: NameList("zlib"), ..server() };
        assert!(matches!(negotiate(&trust(true, false), &zlib), Err(Error::NoCommon("compression", _))));
    }

    #[test]
    fn a_wrong_guess_is_ignored_and_a_right_one_is_not() {
        let wrong = KexInit { first_kex_packet_follows: true, ..server() };
        assert!(negotiate(&trust(true, false), &wrong).unwrap().ignore_guess);
        let first = Method::ALL[0].names()[0];
        let lists = format!("{first},curve25519-sha256");
        let right = KexInit {
            kex_algorithms: NameList(&lists),
            server_host_key_algorithms: NameList("ssh-ed25519-cert-v01@openssh.com"),
            ..wrong
        };
        assert!(!negotiate(&trust(true, false), &right).unwrap().ignore_guess);
    }
}
