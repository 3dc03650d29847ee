//! Certificate factories with the exact shapes of the platform, and the wrong shapes an agent must refuse.

mod authority;
mod keys;
mod leaf;
mod pki;
mod ssh;
mod ssh_wire;
mod validity;
mod web;

pub use keys::KeyKind;
pub use leaf::{ACTOR, LeafSpec, PAM, PkiCredential, ROUTING};
pub use pki::PkiFactory;
pub use ssh::{CertSpec, SshCredential, SshFactory};
pub use ssh_wire::CertType;
pub use validity::Validity;
pub use web::WebCa;

/// Makes the RSA keys of a usual bed now, two at a time or more, instead of one by one when each is first needed.
pub(crate) fn warm_up() {
    keys::warm_up(&[
        "root",
        "server ca",
        "client ca",
        "gateway leaf",
        "client leaf",
        "ssh host ca",
        "ssh user ca",
        "ssh host",
        "ssh user",
    ]);
}
