//! The relay on golang.org/x/crypto/ssh of `tests/peers/go-relay`.

use super::GATEWAY_ID;
use super::gateway::Gateway;
use super::keys::{Certificate, KeyType, Keys};
use super::process::{Process, Stream};
use super::temp::TempDir;
use super::tools;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A Go relay to be started: its keys, its host certificate and its flags.
pub(crate) struct Plan {
    keys: Keys,
    flags: Vec<String>,
    raw_host_key: bool,
    alter: fn(&mut Certificate, &Keys),
}

/// A running Go relay and the keys to log in to it.
pub(crate) struct GoRelay {
    process: Process,
    pub(crate) keys: Keys,
    /// Where gateways log in.
    pub(crate) ssh: SocketAddr,
    /// Where TCP clients are accepted.
    pub(crate) clients: SocketAddr,
    folder: TempDir,
}

impl Plan {
    /// As the platform does it: RSA-2048 throughout, and a host certificate for `host:port`.
    pub(crate) fn new() -> Self {
        Self::with_keys(Keys::of(KeyType::Rsa2048))
    }

    pub(crate) fn with_keys(keys: Keys) -> Self {
        Self { keys, flags: Vec::new(), raw_host_key: false, alter: |_, _| () }
    }

    /// Adds a flag of go-relay.
    pub(crate) fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// Presents a host certificate that was changed before it was signed.
    pub(crate) fn certificate(mut self, alter: fn(&mut Certificate, &Keys)) -> Self {
        self.alter = alter;
        self
    }

    /// Presents the bare host key.
    pub(crate) fn raw_host_key(mut self) -> Self {
        self.raw_host_key = true;
        self
    }

    /// Starts it. None if it can't be built here, which has been said; the test then returns.
    pub(crate) fn start(self) -> Option<GoRelay> {
        let program = program()?;
        let folder = TempDir::new();
        let mut command = Command::new(program);
        command.arg("-host-key").arg(&self.keys.host.private).arg("-user-ca").arg(self.keys.user_ca.public());
        if !self.raw_host_key {
            command.arg("-host-cert").arg(folder.join("host-cert.pub"));
        }
        command.args(&self.flags).stdin(Stdio::null()).stdout(Stdio::piped());
        let process = Process::spawn(&mut command);
        let ready = process.line(Stream::Stdout, "its addresses", |_| true);
        let ready: Value = serde_json::from_str(&ready).expect("a line of JSON");
        let address = |name: &str| ready[name].as_str().and_then(|text| text.parse().ok()).expect("an address");
        let ssh: SocketAddr = address("ssh");
        if !self.raw_host_key {
            let mut certificate = Certificate::host(&self.keys.host_ca, ssh);
            (self.alter)(&mut certificate, &self.keys);
            certificate.sign(&self.keys.host, &folder, "host");
        }
        Some(GoRelay { process, keys: self.keys, ssh, clients: address("client"), folder })
    }
}

impl GoRelay {
    /// A gateway that trusts this relay's CA and that this relay lets in.
    pub(crate) fn gateway(&self) -> Gateway {
        self.gateway_with(Certificate::user(&self.keys.user_ca, GATEWAY_ID))
    }

    /// A gateway with another certificate.
    pub(crate) fn gateway_with(&self, certificate: Certificate) -> Gateway {
        let certificate = certificate.sign(&self.keys.user, &self.folder, "user");
        Gateway::new(self.ssh, GATEWAY_ID, &self.keys.user, &certificate).with("--host-ca", self.keys.host_ca.public())
    }

    /// Starts a gateway and waits until both sides say that it is logged in.
    pub(crate) fn log_in(&self, gateway: Gateway) -> Process {
        let (process, _) = gateway.ready();
        self.event("login");
        process
    }

    /// A new client, for which the relay opens a channel.
    pub(crate) fn client(&self) -> TcpStream {
        super::traffic::connect(self.clients)
    }

    /// Waits for the first event of that name in the relay's log.
    pub(crate) fn event(&self, name: &str) -> Value {
        self.events(name, 1).remove(0)
    }

    /// Waits until the relay's log holds `count` events of that name.
    pub(crate) fn events(&self, name: &str, count: usize) -> Vec<Value> {
        let mark = format!(r#""msg":"{name}""#);
        let lines =
            self.process.lines(Stream::Stderr, &format!("{count} x {name}"), count, |line| line.contains(&mark));
        lines.iter().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// Events of that name so far.
    pub(crate) fn count(&self, name: &str) -> usize {
        let mark = format!(r#""msg":"{name}""#);
        self.process.said(Stream::Stderr).iter().filter(|line| line.contains(&mark)).count()
    }

    /// Sends the relay a signal.
    pub(crate) fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }
}

/// The built relay; None if it can't be built here, which has been said.
///
/// # Panics
/// If it does not compile.
pub(crate) fn program() -> Option<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if !tools::installed(&["go", "ssh-keygen"]) {
        return None;
    }
    match BUILT.get_or_init(build) {
        Ok(program) => Some(program),
        Err(why) => {
            tools::skipped(why);
            None
        }
    }
}

/// Builds the relay; the error is that its modules are neither cached nor within reach.
fn build() -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/go-relay");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-relay");
    // Other test processes may be at it too.
    let lock = File::create(program.with_extension("lock")).expect("a lock file");
    lock.lock().expect("the lock");
    let go = |arguments: &[&OsStr]| {
        let done = Command::new("go").current_dir(&source).args(arguments).output().expect("go");
        let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        if done.status.success() { Ok(()) } else { Err(said) }
    };
    go(&["mod".as_ref(), "download".as_ref()]).map_err(|why| format!("go can't fetch modules: {why}"))?;
    go(&["build".as_ref(), "-o".as_ref(), program.as_ref()]).expect("go build");
    Ok(program)
}
