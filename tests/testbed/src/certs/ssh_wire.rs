//! OpenSSH's certificate format, written field by field (OpenSSH `PROTOCOL.certkeys`).
//!
//! ssh-key has a builder, but in a debug build it refuses to make the certificates that an agent must refuse.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use russh::keys::signature::Signer as _;
use russh::keys::ssh_key::encoding::Encode as _;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::ssh_key::{HashAlg, Signature};
use russh::keys::{PrivateKey, PublicKey};

/// The certificate's `type` field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertType {
    /// `SSH_CERT_TYPE_USER`
    User = 1,
    /// `SSH_CERT_TYPE_HOST`
    Host = 2,
}

/// The fields that the certificate authority chooses, in wire order.
pub(crate) struct Fields<'a> {
    pub(crate) serial: u64,
    pub(crate) cert_type: CertType,
    pub(crate) key_id: &'a str,
    pub(crate) principals: &'a [String],
    pub(crate) valid_after: u64,
    pub(crate) valid_before: u64,
    pub(crate) critical_options: &'a [(String, String)],
    pub(crate) extensions: &'a [(String, String)],
}

/// How an RSA authority signs; the other kinds have one way each.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CaSignature {
    /// `rsa-sha2-512`, which is what the platform makes.
    Sha512,
    /// `rsa-sha2-256`.
    Sha256,
    /// `ssh-rsa`, which no one may accept.
    Sha1,
    /// `rsa-sha2-512`, but over other bytes.
    Corrupt,
}

/// One `authorized_keys`-style line: certificate type, base64, comment.
pub(crate) fn line(subject: &PublicKey, fields: &Fields<'_>, ca: &PrivateKey, how: CaSignature) -> String {
    let subject = subject.to_bytes().expect("a key that was encoded before");
    let mut reader = subject.as_slice();
    let algorithm = take_string(&mut reader);
    let name = format!("{}-cert-v01@openssh.com", std::str::from_utf8(algorithm).expect("an algorithm name"));

    let mut blob = Vec::new();
    put(&mut blob, name.as_bytes());
    put(&mut blob, &rand::random::<[u8; 32]>());
    // What follows the algorithm name in a plain key: its mpints, or its curve and point.
    blob.extend_from_slice(reader);
    blob.extend_from_slice(&fields.serial.to_be_bytes());
    blob.extend_from_slice(&(fields.cert_type as u32).to_be_bytes());
    put(&mut blob, fields.key_id.as_bytes());
    put(&mut blob, &strings(fields.principals));
    blob.extend_from_slice(&fields.valid_after.to_be_bytes());
    blob.extend_from_slice(&fields.valid_before.to_be_bytes());
    put(&mut blob, &options(fields.critical_options));
    put(&mut blob, &options(fields.extensions));
    put(&mut blob, b"");
    put(&mut blob, &ca.public_key().to_bytes().expect("a key that was encoded before"));
    let signature = sign(ca, &blob, how);
    put(&mut blob, &signature);
    format!("{name} {} {}", BASE64.encode(&blob), fields.key_id)
}

fn sign(ca: &PrivateKey, signed: &[u8], how: CaSignature) -> Vec<u8> {
    let signature: Signature = match (ca.key_data(), how) {
        (KeypairData::Rsa(pair), CaSignature::Sha256) => (pair, Some(HashAlg::Sha256)).try_sign(signed),
        (KeypairData::Rsa(pair), CaSignature::Sha1) => (pair, None).try_sign(signed),
        (_, CaSignature::Corrupt) => ca.try_sign(b"something else"),
        _ => ca.try_sign(signed),
    }
    .expect("the factory's own keys can sign");
    signature.encode_vec().expect("a signature fits in memory")
}

fn strings(items: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        put(&mut out, item.as_bytes());
    }
    out
}

/// Name and data pairs. Data is itself a string inside the string, and empty data is nothing at all.
fn options(items: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, data) in items {
        put(&mut out, name.as_bytes());
        let mut inner = Vec::new();
        if !data.is_empty() {
            put(&mut inner, data.as_bytes());
        }
        put(&mut out, &inner);
    }
    out
}

/// An RFC 4251 `string`.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("certificate fields are small");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Splits the RFC 4251 `string` at the front off.
fn take_string<'a>(reader: &mut &'a [u8]) -> &'a [u8] {
    let (length, rest) = reader.split_first_chunk().expect("an encoded key starts with a string");
    let (string, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
    *reader = rest;
    string
}
