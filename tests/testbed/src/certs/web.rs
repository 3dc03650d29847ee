//! The certificates of ordinary HTTPS servers: the platform's API and TLS targets.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls::ServerConfig;

use super::authority::{self, Authority};
use super::keys::KeyKind;
use super::leaf::PkiCredential;
use super::validity::Validity;
use crate::tls;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Older than any build of the agent: a box whose clock stands in 1970 checks web servers against the day of its build.
const AGE: Duration = Duration::from_secs(5 * 365 * 24 * 3600);

/// An authority for web servers, which nobody trusts who wasn't told to.
pub struct WebCa(Authority);

impl WebCa {
    /// A new authority that looks old, good for one more day.
    pub fn new() -> WebCa {
        let key = authority::key(KeyKind::EcdsaP256, "web ca");
        WebCa(Authority::root(key, authority::name(None, "Test bed web CA"), one_more_day()))
    }

    /// The authority as PEM: what a client is told to trust.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server certificate for `localhost` and the loopback address.
    pub fn localhost(&self, validity: Validity) -> PkiCredential {
        self.leaf(Ipv4Addr::LOCALHOST.into(), validity)
    }

    fn leaf(&self, host: IpAddr, validity: Validity) -> PkiCredential {
        let key = authority::key(KeyKind::EcdsaP256, "web leaf");
        let mut params = authority::params(authority::name(None, "localhost"), validity);
        params.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into().expect("ASCII")),
            SanType::IpAddress(Ipv4Addr::LOCALHOST.into()),
        ];
        if !host.is_loopback() {
            params.subject_alt_names.push(SanType::IpAddress(host));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        PkiCredential::new(&self.0.sign(&params, &key), &key)
    }

    /// TLS settings of a web server on the loopback address.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.server_at(Ipv4Addr::LOCALHOST.into())
    }

    /// The same for clients that reach this machine at another address too.
    pub fn server_at(&self, host: IpAddr) -> Arc<ServerConfig> {
        tls::web_server(&self.leaf(host, one_more_day()))
    }

    /// TLS settings of a web server on the loopback address with a certificate that is good at other times.
    pub fn server_valid(&self, validity: Validity) -> Arc<ServerConfig> {
        tls::web_server(&self.localhost(validity))
    }
}

fn one_more_day() -> Validity {
    Validity { from: SystemTime::now() - AGE, ..Validity::lasting(DAY) }
}

impl Default for WebCa {
    fn default() -> WebCa {
        WebCa::new()
    }
}
