//! One gateway's connection, on russh's server side.

use std::sync::Arc;

use russh::keys::Certificate;
use russh::keys::ssh_key::certificate::CertType;
use russh::server::{Auth, Handler, Session as Ssh};

use super::link::{Control, Mode};
use super::registry::Shared;

pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) link: Arc<Control>,
    /// The user name of the accepted certificate.
    pub(super) gateway: String,
}

impl Session {
    /// Why the relay doesn't take this certificate. russh has checked its signature and its times before.
    fn objection(&self, user: &str, certificate: &Certificate) -> Option<&'static str> {
        if certificate.cert_type() != CertType::User {
            Some("not a user certificate")
        } else if certificate.signature_key() != self.shared.user_ca() {
            Some("signed by an unknown authority")
        } else if !certificate.valid_principals().iter().any(|principal| principal == user) {
            Some("the user name is not a principal")
        } else if certificate.critical_options().iter().next().is_some() {
            Some("unknown critical option")
        } else {
            None
        }
    }
}

impl Handler for Session {
    type Error = russh::Error;

    async fn auth_openssh_certificate(&mut self, user: &str, certificate: &Certificate) -> Result<Auth, Self::Error> {
        if let Some(objection) = self.objection(user, certificate) {
            self.shared.counters().send_modify(|c| {
                c.rejected += 1;
                c.last_rejection = Some(objection.to_owned());
            });
            return Ok(Auth::reject());
        }
        self.gateway = user.to_owned();
        Ok(Auth::Accept)
    }

    async fn auth_succeeded(&mut self, session: &mut Ssh) -> Result<(), Self::Error> {
        if !self.shared.admit(&self.gateway, session.handle(), &self.link) {
            // The success message still goes out: the gateway sees a login that works and a connection that closes.
            self.link.set(Mode::Closing);
        }
        Ok(())
    }

    async fn tcpip_forward(&mut self, _address: &str, _port: &mut u32, _: &mut Ssh) -> Result<bool, Self::Error> {
        Ok(self.shared.allow_forwarding())
    }
}
