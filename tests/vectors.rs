//! The SSH engine against what other implementations wrote: keys and certificates of OpenSSH, signatures of OpenSSL, and the
//! KEXINITs of three servers. `vectors/README.md` tells how they were made.

use base64::{Engine, engine::general_purpose::STANDARD};
use edge_gateway::ssh::auth::Credentials;
use edge_gateway::ssh::cert::{Authority, Certificate, CertificateError, UserCertificate};
use edge_gateway::ssh::cipher::Cipher;
use edge_gateway::ssh::error::{Error, FileError, PeerText};
use edge_gateway::ssh::kex::Method;
use edge_gateway::ssh::key::{KeyError, KeyType, PublicKey, SignatureAlgorithm};
use edge_gateway::ssh::msg::{self, KexInit, Message};
use edge_gateway::ssh::negotiate::{Agreed, HostKeyAlgorithm, Trust, negotiate};
use edge_gateway::ssh::private_key::PrivateKey;
use edge_gateway::ssh::wire::Sink;
use std::path::Path;

/// The fixtures of each supported key type.
const KEYS: [(&str, KeyType); 4] = [
    ("rsa-2048", KeyType::Rsa),
    ("ecdsa-256", KeyType::EcdsaP256),
    ("ecdsa-384", KeyType::EcdsaP384),
    ("ed25519", KeyType::Ed25519),
];

/// Any time at which certificates that are valid forever are valid: in seconds since 1970, 2026-01-15.
const NOW: u64 = 1_768_435_200;

fn bytes(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(path: &str) -> String {
    String::from_utf8(bytes(path)).expect("a text file")
}

fn private_key(name: &str) -> PrivateKey {
    PrivateKey::from_pem(&text(&format!("keys/{name}"))).expect(name)
}

fn public_key(name: &str) -> Authority {
    Authority::from_line(&text(&format!("keys/{name}.pub"))).expect(name)
}

/// The blob of a certificate, read without our parser's help.
fn certificate(name: &str) -> Vec<u8> {
    let line = text(&format!("certificates/{name}.pub"));
    STANDARD.decode(line.split(' ').nth(1).expect("three fields")).expect("base64")
}

/// Whether the engine believes a certificate of `relay.example:2222` that `authority` should have signed.
fn check(certificate: &[u8], authority: &str, now: u64) -> Result<(), CertificateError> {
    let names = ["relay.example:2222".to_owned(), "relay.example".to_owned()];
    Certificate::from_blob(certificate)?.check_host(&[public_key(authority)], &names, now)
}

#[test]
fn private_keys_sign_what_their_public_keys_verify() {
    for (name, key_type) in KEYS {
        let (private, public) = (private_key(name), public_key(name));
        assert_eq!(private.key_type(), key_type);
        assert_eq!(private.public_blob(), public.blob(), "{name}");
        let public = PublicKey::from_blob(public.blob()).unwrap();
        for algorithm in SignatureAlgorithm::ALL {
            let signature = private.sign(algorithm, b"message");
            assert_eq!(
                signature.is_some(),
                key_type.signature_algorithms().contains(&algorithm),
                "{name} {algorithm:?}"
            );
            let Some(signature) = signature else { continue };
            assert_eq!(public.verify(b"message", &signature, Some(algorithm)), Ok(()), "{name} {algorithm:?}");
            assert_eq!(public.verify(b"massage", &signature, Some(algorithm)), Err(KeyError::BadSignature));
        }
    }
}

/// The signatures that OpenSSL made of `message`, put into the form of RFC 4253 section 6.6.
fn signatures_of_openssl() -> [(&'static str, SignatureAlgorithm, Vec<u8>); 5] {
    use SignatureAlgorithm as Algorithm;
    let blob = |algorithm: Algorithm, value: &[u8]| {
        let mut blob = Vec::new();
        blob.string(algorithm.name().as_bytes());
        blob.string(value);
        blob
    };
    let ecdsa = |algorithm, file| blob(algorithm, &numbers_of_der(&bytes(file)));
    [
        ("rsa-2048", Algorithm::RsaSha256, blob(Algorithm::RsaSha256, &bytes("signatures/rsa-2048.sha256"))),
        ("rsa-2048", Algorithm::RsaSha512, blob(Algorithm::RsaSha512, &bytes("signatures/rsa-2048.sha512"))),
        ("ecdsa-256", Algorithm::EcdsaP256, ecdsa(Algorithm::EcdsaP256, "signatures/ecdsa-256.der")),
        ("ecdsa-384", Algorithm::EcdsaP384, ecdsa(Algorithm::EcdsaP384, "signatures/ecdsa-384.der")),
        ("ed25519", Algorithm::Ed25519, blob(Algorithm::Ed25519, &bytes("signatures/ed25519"))),
    ]
}

/// A DER sequence of two short integers, as RFC 5656 section 3.1.2 wants it: two mpints, which have the same contents.
fn numbers_of_der(der: &[u8]) -> Vec<u8> {
    let [0x30, length, rest @ ..] = der else { panic!("no sequence") };
    assert_eq!(usize::from(*length), rest.len());
    let [0x02, length, rest @ ..] = rest else { panic!("no first integer") };
    let (r, rest) = rest.split_at(usize::from(*length));
    let [0x02, length, s @ ..] = rest else { panic!("no second integer") };
    assert_eq!(usize::from(*length), s.len());
    let mut numbers = Vec::new();
    numbers.mpint(r);
    numbers.mpint(s);
    numbers
}

#[test]
fn signatures_of_openssl_hold_and_altered_ones_do_not() {
    let message = bytes("message");
    for (name, algorithm, signature) in signatures_of_openssl() {
        let key = public_key(name);
        let key = PublicKey::from_blob(key.blob()).unwrap();
        assert_eq!(key.verify(&message, &signature, Some(algorithm)), Ok(()), "{name} {algorithm:?}");
        assert_eq!(key.verify(&message, &signature, None), Ok(()), "{name} {algorithm:?}");
        for altered in 0..signature.len() {
            let mut signature = signature.clone();
            signature[altered] ^= 1;
            assert!(key.verify(&message, &signature, None).is_err(), "{name} {algorithm:?}, byte {altered}");
        }
    }
}

/// PKCS #1 v1.5 and Ed25519 leave nothing to chance: our signature must be the very one that OpenSSL makes.
#[test]
fn signatures_without_randomness_are_those_of_openssl() {
    let message = bytes("message");
    for (name, algorithm, signature) in signatures_of_openssl() {
        if !name.starts_with("ecdsa") {
            assert_eq!(private_key(name).sign(algorithm, &message), Some(signature), "{name} {algorithm:?}");
        }
    }
}

#[test]
fn signatures_of_another_algorithm_are_refused_by_name() {
    let message = bytes("message");
    let [(_, _, sha256), (_, _, sha512), (_, _, ecdsa), ..] = signatures_of_openssl();
    let rsa = public_key("rsa-2048");
    let rsa = PublicKey::from_blob(rsa.blob()).unwrap();
    let required = Some(SignatureAlgorithm::RsaSha512);
    assert_eq!(rsa.verify(&message, &sha512, required), Ok(()));
    assert_eq!(rsa.verify(&message, &sha256, required), Err(KeyError::WrongAlgorithm), "not the one agreed on");
    assert_eq!(rsa.verify(&message, &ecdsa, None), Err(KeyError::WrongAlgorithm), "not one of an RSA key's");
    for (name, error) in [(&b"ssh-rsa"[..], KeyError::Sha1), (b"rsa-sha2-384", KeyError::Unsupported)] {
        let mut signature = Vec::new();
        signature.string(name);
        signature.string(&bytes("signatures/rsa-2048.sha256"));
        assert_eq!(rsa.verify(&message, &signature, None), Err(error));
    }
}

#[test]
fn keys_that_cannot_be_used_say_why() {
    let private = |name: &str| PrivateKey::from_pem(&text(&format!("keys/{name}"))).map(|_| ());
    let public = |name: &str| Authority::from_line(&text(&format!("keys/{name}.pub"))).map(|_| ());
    let user = |name: &str| UserCertificate::from_line(&text(&format!("certificates/{name}.user.pub"))).map(|_| ());
    for (result, error, words) in [
        (private("encrypted"), FileError::Encrypted, "remove the passphrase"),
        (private("rsa-1024"), FileError::RsaSize, "2048"),
        (public("rsa-1024"), FileError::RsaSize, "2048"),
        (user("rsa-1024"), FileError::RsaSize, "2048"),
        (private("ecdsa-521"), FileError::Unsupported, "P-256 or P-384"),
        (public("ecdsa-521"), FileError::Unsupported, "P-256 or P-384"),
        (user("ecdsa-521"), FileError::Unsupported, "P-256 or P-384"),
        (private("rsa-2048.pub"), FileError::NotAPem, "BEGIN OPENSSH PRIVATE KEY"),
        (Authority::from_line(&text("keys/rsa-2048")).map(|_| ()), FileError::NotALine, "one line"),
    ] {
        assert_eq!(result, Err(error));
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_damaged_private_key_is_refused() {
    for (name, _) in KEYS {
        let pem = text(&format!("keys/{name}"));
        let lines: Vec<_> = pem.lines().collect();
        for missing in 0..lines.len() {
            let (before, after) = (&lines[..missing], &lines[missing + 1..]);
            let damaged = [before, after].concat().join("\n");
            assert!(PrivateKey::from_pem(&damaged).is_err(), "{name} without line {missing}");
        }
    }
}

#[test]
fn user_certificates_go_with_their_keys() {
    for (name, key_type) in KEYS {
        for authority in ["rsa", "ed25519"] {
            let line = text(&format!("certificates/{name}.user-by-{authority}.pub"));
            let parsed = UserCertificate::from_line(&line).expect(name);
            let certificate = parsed.certificate().unwrap();
            assert_eq!(certificate.key.key_type(), key_type);
            assert_eq!((certificate.valid_after, certificate.valid_before), (0, u64::MAX));
            assert!(certificate.principals().eq([b"7c1ff4f3-1d5a-4c0e-9f6e-5b8a4c2f9f10"]));
            for (other, _) in KEYS {
                let credentials = Credentials::new("user".into(), private_key(other), parsed.clone()).map(|_| ());
                let expected = if other == name { Ok(()) } else { Err(FileError::KeyMismatch) };
                assert_eq!(credentials, expected, "{name} with the key {other}");
            }
        }
        let host = text(&format!("certificates/{name}.host.pub"));
        assert_eq!(UserCertificate::from_line(&host).map(|_| ()), Err(FileError::NotAUserCertificate));
    }
}

#[test]
fn host_certificates_of_every_type_and_authority_hold() {
    for (certified, authority) in [
        ("rsa-2048.host", "ca-rsa"),
        ("ecdsa-256.host", "ca-rsa"),
        ("ecdsa-384.host", "ca-rsa"),
        ("ed25519.host", "ca-rsa"),
        ("host-by-rsa-sha2-256", "ca-rsa"),
        ("host-by-ed25519", "ca-ed25519"),
        ("host-by-ecdsa-256", "ecdsa-256"),
        ("host-by-ecdsa-384", "ecdsa-384"),
        ("host-of-two-names", "ca-rsa"),
        ("host-of-bare-name", "ca-rsa"),
    ] {
        for now in [0, NOW, u64::MAX - 1] {
            assert_eq!(check(&certificate(certified), authority, now), Ok(()), "{certified} at {now}");
        }
    }
}

#[test]
fn host_certificates_that_do_not_hold_say_why() {
    let cases = [
        ("ed25519.host", "ca-ed25519", CertificateError::UnknownAuthority, "not signed by"),
        ("host-by-ed25519", "ca-rsa", CertificateError::UnknownAuthority, "not signed by"),
        ("rsa-2048.user-by-rsa", "ca-rsa", CertificateError::UserCertificate, "user certificate"),
        (
            "host-of-another-name",
            "ca-rsa",
            CertificateError::Principal(PeerText::new(b"another.example:2222")),
            "not a principal of it (it is for another.example:2222)",
        ),
        ("host-of-no-name", "ca-rsa", CertificateError::Principal(PeerText::new(b"nobody")), "principal"),
        (
            "host-with-critical-option",
            "ca-rsa",
            CertificateError::CriticalOption(PeerText::new(b"only-on-sundays@relay.example")),
            "unknown critical option \"only-on-sundays@relay.example\"",
        ),
        ("host-with-sha1", "ca-rsa", CertificateError::Authority(KeyError::Sha1), "SHA-1"),
        ("rsa-1024.user", "ca-rsa", CertificateError::Key(KeyError::RsaSize(1024)), "1024 bits"),
        ("ecdsa-521.user", "ca-rsa", CertificateError::Key(KeyError::Unsupported), "unsupported key type"),
    ];
    for (certified, authority, error, words) in cases {
        assert_eq!(check(&certificate(certified), authority, NOW), Err(error.clone()), "{certified}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(check(public_key("rsa-2048").blob(), "ca-rsa", NOW), Err(CertificateError::RawKey));
}

#[test]
fn host_certificates_hold_from_their_first_second_to_their_last() {
    let january = certificate("host-of-january-2026");
    let (first, end) = (1_767_225_600, 1_769_904_000); // 2026-01-01T00:00:00Z, 2026-02-01T00:00:00Z
    let at = |now| check(&january, "ca-rsa", now);
    assert_eq!(at(first), Ok(()));
    assert_eq!(at(end - 1), Ok(()));
    let early = at(first - 1).unwrap_err();
    assert_eq!(early, CertificateError::NotYetValid { seconds: 1 });
    assert!(early.to_string().contains("not yet valid"), "{early}");
    let late = at(end + 59).unwrap_err();
    assert_eq!(late, CertificateError::Expired { seconds: 59 });
    assert!(late.to_string().contains("expired 59 s ago"), "{late}");
    assert_eq!(at(end), Err(CertificateError::Expired { seconds: 0 }));
}

#[test]
fn an_altered_host_certificate_is_refused_whatever_was_altered() {
    for name in ["rsa-2048.host", "ed25519.host"] {
        let certificate = certificate(name);
        for altered in 0..certificate.len() {
            let mut certificate = certificate.clone();
            certificate[altered] ^= 1;
            assert!(check(&certificate, "ca-rsa", NOW).is_err(), "{name}, byte {altered}");
        }
        for length in 0..certificate.len() {
            assert!(check(&certificate[..length], "ca-rsa", NOW).is_err(), "{name}, {length} bytes");
        }
    }
}

/// The identification and the KEXINIT payload that a server sent.
fn kexinit(name: &str) -> (String, Vec<u8>) {
    let file = text(&format!("kexinit/{name}"));
    let mut lines = file.lines().filter(|line| !line.starts_with('#'));
    let identification = lines.next().expect("an identification").to_owned();
    let digits: Vec<u8> = lines.flat_map(str::bytes).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    (identification, digits.chunks(2).map(byte).collect())
}

/// What a gateway that trusts `authorities` and the key `pinned` agrees on with a server.
fn agreement(server: &str, authorities: &[&str], pinned: Option<&str>) -> Result<Agreed, Error> {
    let (_, payload) = kexinit(server);
    assert_eq!(msg::reencode(&payload).as_ref(), Ok(&payload), "{server}");
    let trust = Trust {
        authorities: authorities.iter().map(|name| public_key(name)).collect(),
        names: vec!["relay.example:2222".into()],
        pinned: pinned.map(public_key),
    };
    negotiate(&trust, &KexInit::parse(&payload).expect(server))
}

/// The method with a server that has the post-quantum one.
fn best_method() -> Method {
    Method::ALL[0]
}

fn agreed(method: Method, signature: SignatureAlgorithm, certificate: bool) -> Agreed {
    // Every one of the servers has both of the ciphers that can be the first choice of a CPU.
    let cipher = Cipher::preferred()[0];
    Agreed {
        method,
        host_key: HostKeyAlgorithm { signature, certificate },
        client_to_server: cipher,
        server_to_client: cipher,
        ignore_guess: false,
        strict: true,
    }
}

#[test]
fn kexinit_of_golang_x_crypto() {
    let (identification, payload) = kexinit("go");
    assert_eq!(identification, "SSH-2.0-Go");
    let theirs = KexInit::parse(&payload).unwrap();
    assert_eq!(theirs.kex_algorithms.names().next(), Some("mlkem768x25519-sha256"));
    assert!(theirs.server_host_key_algorithms.names().all(|name| name.ends_with("-cert-v01@openssh.com")));
    let expected = agreed(best_method(), SignatureAlgorithm::RsaSha512, true);
    assert_eq!(agreement("go", &["ca-rsa"], None), Ok(expected));
    // An RSA host that offers its certificate only: a raw key of the same type can't be agreed on.
    let kind = agreement("go", &[], Some("rsa-2048")).unwrap_err();
    assert!(matches!(kind, Error::NoCommon("host key algorithm", _)), "{kind}");
}

#[test]
fn kexinit_of_openssh() {
    let (identification, payload) = kexinit("openssh-9.2");
    assert!(identification.starts_with("SSH-2.0-OpenSSH_9.2"));
    let theirs = KexInit::parse(&payload).unwrap();
    assert_eq!(theirs.kex_algorithms.names().next(), Some("sntrup761x25519-sha512"));
    // OpenSSH 9.2 has a post-quantum method, but not ours.
    let expected = |certificate| agreed(Method::Curve25519, SignatureAlgorithm::RsaSha512, certificate);
    assert_eq!(agreement("openssh-9.2", &["ca-rsa"], None), Ok(expected(true)));
    assert_eq!(agreement("openssh-9.2", &[], Some("rsa-2048")), Ok(expected(false)));
    assert_eq!(agreement("openssh-9.2", &["ca-rsa"], Some("rsa-2048")), Ok(expected(true)), "a certificate is better");
}

#[test]
fn kexinit_of_russh() {
    let (identification, payload) = kexinit("russh-0.65");
    assert_eq!(identification, "SSH-2.0-russh_0.65.1");
    let theirs = KexInit::parse(&payload).unwrap();
    assert!(theirs.kex_algorithms.contains("ext-info-s"));
    let refused = Error::RawHostKey(PeerText::new(b"ssh-ed25519"));
    assert_eq!(agreement("russh-0.65", &["ca-rsa"], None), Err(refused));
    let expected = agreed(best_method(), SignatureAlgorithm::Ed25519, false);
    assert_eq!(agreement("russh-0.65", &[], Some("ed25519")), Ok(expected));
}
