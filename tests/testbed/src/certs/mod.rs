//! Certificate factories with the exact shapes of the platform, and the wrong shapes an agent must refuse.

mod keys;
mod ssh;
mod ssh_wire;
mod validity;

pub use keys::KeyKind;
pub use ssh::{CertSpec, SshCredential, SshFactory};
pub use ssh_wire::CertType;
pub use validity::Validity;
