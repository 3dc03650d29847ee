//! SSH keys and certificates in the shapes that the platform issues, made by ssh-keygen as the platform does.

use super::temp::TempDir;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The key types that gateways and relays may have. The platform issues RSA-2048 only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeyType {
    Rsa2048,
    EcdsaP256,
    EcdsaP384,
    Ed25519,
}

impl KeyType {
    pub(crate) const ALL: [Self; 4] = [Self::Rsa2048, Self::EcdsaP256, Self::EcdsaP384, Self::Ed25519];

    fn options(self) -> [&'static str; 4] {
        match self {
            Self::Rsa2048 => ["-t", "rsa", "-b", "2048"],
            Self::EcdsaP256 => ["-t", "ecdsa", "-b", "256"],
            Self::EcdsaP384 => ["-t", "ecdsa", "-b", "384"],
            Self::Ed25519 => ["-t", "ed25519", "-b", "256"],
        }
    }
}

/// A key pair on disk: `private`, and the public key beside it with `.pub`.
#[derive(Clone, Debug)]
pub(crate) struct KeyPair {
    pub(crate) private: PathBuf,
}

impl KeyPair {
    /// The key pair of a role such as `user-ca`. Pairs are made once and kept in Cargo's folder for test files, since an
    /// RSA key takes longer to make than most tests to run; certificates are made anew for each test.
    pub(crate) fn of(role: &str, kind: KeyType) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ssh-keys");
        fs::create_dir_all(&folder).expect("a folder for keys");
        let pair = Self { private: folder.join(format!("{role}-{kind:?}")) };
        // Other tests, threads and processes alike, want the same pair.
        let lock = File::create(folder.join("lock")).expect("a lock file");
        lock.lock().expect("the lock");
        if !(pair.private.exists() && pair.public().exists()) {
            let _ = fs::remove_file(&pair.private);
            ssh_keygen(
                Command::new("ssh-keygen").args(kind.options()).args(["-N", "", "-C", role, "-f"]).arg(&pair.private),
            );
        }
        pair
    }

    /// The file of the public key, one line.
    pub(crate) fn public(&self) -> PathBuf {
        self.private.with_extension("pub")
    }
}

/// The four parties' keys, and a CA that nobody trusts.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) host_ca: KeyPair,
    pub(crate) user_ca: KeyPair,
    pub(crate) host: KeyPair,
    pub(crate) user: KeyPair,
    pub(crate) stranger_ca: KeyPair,
}

impl Keys {
    pub(crate) fn of(kind: KeyType) -> Self {
        Self {
            host_ca: KeyPair::of("host-ca", kind),
            user_ca: KeyPair::of("user-ca", kind),
            host: KeyPair::of("host", kind),
            user: KeyPair::of("user", kind),
            stranger_ca: KeyPair::of("stranger-ca", kind),
        }
    }
}

/// What a certificate says, in ssh-keygen's terms. Tests change a field to get a wrong one.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) ca: KeyPair,
    pub(crate) host: bool,
    pub(crate) key_id: &'static str,
    /// Comma-separated.
    pub(crate) principals: String,
    /// Option `-V`: from and to.
    pub(crate) validity: &'static str,
    /// Options `-O`.
    pub(crate) options: Vec<&'static str>,
    /// Option `-t`: the signature algorithm of an RSA CA. The platform's is rsa-sha2-512.
    pub(crate) signature: Option<&'static str>,
}

impl Certificate {
    /// A relay's certificate; its principal is the relay's `host:port`.
    pub(crate) fn host(ca: &KeyPair, principal: impl ToString) -> Self {
        Self {
            ca: ca.clone(),
            host: true,
            key_id: "relay-server",
            principals: principal.to_string(),
            validity: "-5m:+30d",
            options: Vec::new(),
            signature: None,
        }
    }

    /// A gateway's certificate; its principals are the gateway's id and name.
    pub(crate) fn user(ca: &KeyPair, gateway_id: &str) -> Self {
        Self {
            host: false,
            key_id: "client-relay",
            principals: format!("{gateway_id},edge-1"),
            validity: "-5m:+1d",
            ..Self::host(ca, "")
        }
    }

    /// Signs the public half of `key` and writes the certificate into `folder` as `<name>-cert.pub`.
    pub(crate) fn sign(&self, key: &KeyPair, folder: &TempDir, name: &str) -> PathBuf {
        // ssh-keygen puts the certificate beside the key that it signs.
        let public = folder.join(&format!("{name}.pub"));
        fs::copy(key.public(), &public).expect("a copy of the public key");
        let mut command = Command::new("ssh-keygen");
        command.arg("-s").arg(&self.ca.private).args(["-I", self.key_id, "-V", self.validity]);
        if !self.principals.is_empty() {
            command.args(["-n", &self.principals]);
        }
        if self.host {
            command.arg("-h");
        }
        for option in &self.options {
            command.args(["-O", option]);
        }
        if let Some(algorithm) = self.signature {
            command.args(["-t", algorithm]);
        }
        ssh_keygen(command.arg(&public));
        folder.join(&format!("{name}-cert.pub"))
    }
}

/// Runs ssh-keygen, which asks nothing and has to succeed.
fn ssh_keygen(command: &mut Command) {
    let done = command.stdin(Stdio::null()).output().expect("ssh-keygen");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
