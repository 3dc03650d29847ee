//! OpenSSH's server as the relay: an ordinary sshd, reached through remote forwarding (`ssh -R`).
//!
//! The test accepts the connections and starts `sshd -i` for each, as inetd does. So the port is known before the host
//! certificate is signed for it, nobody else can take it, and each connection has a process and a log of its own.

use super::gateway::Gateway;
use super::keys::{Certificate, KeyType, Keys};
use super::process::{Process, Stream};
use super::temp::TempDir;
use super::{DEADLINE, GATEWAY_ID, tools};
use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// An sshd to be started: its keys and its configuration.
pub(crate) struct Plan {
    keys: Keys,
    settings: String,
    certified: bool,
    stranger: bool,
}

/// A running sshd and the keys to log in to it.
pub(crate) struct Sshd {
    pub(crate) keys: Keys,
    address: SocketAddr,
    folder: TempDir,
    sessions: Arc<Mutex<Vec<Arc<Process>>>>,
    stopped: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

/// The settings of all tests: nobody gets in but by certificate, and nothing outside of the test's folder matters.
const SETTINGS: &str = "
AuthorizedKeysFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UseDNS no
PidFile none
AllowTcpForwarding remote
";

impl Plan {
    pub(crate) fn new() -> Self {
        Self::with_keys(Keys::of(KeyType::Rsa2048))
    }

    pub(crate) fn with_keys(keys: Keys) -> Self {
        Self { keys, settings: SETTINGS.to_owned(), certified: true, stranger: false }
    }

    /// Adds a line of sshd_config(5).
    pub(crate) fn setting(mut self, line: &str) -> Self {
        self.settings.push_str(line);
        self.settings.push('\n');
        self
    }

    /// Has no host certificate, as most servers.
    pub(crate) fn uncertified(mut self) -> Self {
        self.certified = false;
        self
    }

    /// Has its host certificate from a CA that nobody trusts.
    pub(crate) fn stranger(mut self) -> Self {
        self.stranger = true;
        self
    }

    /// Starts it. None if there is no sshd here, which has been said; the test then returns.
    pub(crate) fn start(self) -> Option<Sshd> {
        if !tools::installed(&["sshd", "ssh-keygen"]) {
            return None;
        }
        let program = tools::find("sshd")?;
        if user_id() == "0" {
            // Where root's sshd confines itself before authentication; the init script makes it otherwise.
            fs::create_dir_all("/run/sshd").expect("/run/sshd");
        }
        let folder = TempDir::new();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("a port");
        let configuration = self.configure(&folder, address);
        let sessions = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let acceptor = thread::spawn({
            let (sessions, stopped) = (Arc::clone(&sessions), Arc::clone(&stopped));
            move || {
                for client in listener.incoming().map_while(Result::ok) {
                    if stopped.load(Ordering::Acquire) {
                        break;
                    }
                    sessions.lock().unwrap().push(Arc::new(session(&program, &configuration, client)));
                }
            }
        });
        Some(Sshd { keys: self.keys, address, folder, sessions, stopped, acceptor: Some(acceptor) })
    }

    /// Writes sshd_config and the files that it names.
    fn configure(&self, folder: &TempDir, address: SocketAddr) -> PathBuf {
        let principals = folder.join("principals");
        fs::write(&principals, format!("{GATEWAY_ID}\n")).expect("the principals' file");
        let mut text = self.settings.clone();
        let mut set = |name: &str, path: PathBuf| writeln!(text, "{name} {}", path.display()).expect("a string");
        set("HostKey", self.keys.host.private.clone());
        set("TrustedUserCAKeys", self.keys.user_ca.public());
        set("AuthorizedPrincipalsFile", principals);
        if self.certified {
            let ca = if self.stranger { &self.keys.stranger_ca } else { &self.keys.host_ca };
            set("HostCertificate", Certificate::host(ca, address).sign(&self.keys.host, folder, "host"));
        }
        let configuration = folder.join("sshd_config");
        fs::write(&configuration, text).expect("sshd's configuration");
        configuration
    }
}

impl Sshd {
    /// A gateway that this server lets in, and that asks for a forwarded port.
    pub(crate) fn gateway(&self) -> Gateway {
        self.gateway_on("127.0.0.1:0").with("--host-ca", self.keys.host_ca.public())
    }

    /// A gateway that is yet to be told whom to trust.
    pub(crate) fn gateway_on(&self, forward: &str) -> Gateway {
        let certificate = Certificate::user(&self.keys.user_ca, GATEWAY_ID).sign(&self.keys.user, &self.folder, "user");
        Gateway::new(self.address, &user_name(), &self.keys.user, &certificate).with("--forward", forward)
    }

    /// Starts a gateway and waits until it is logged in; returns the forwarded address too.
    pub(crate) fn log_in(&self, gateway: Gateway) -> (Process, SocketAddr) {
        let (process, line) = gateway.ready();
        let forward = line.strip_prefix("ready forward=").and_then(|address| address.parse().ok());
        (process, forward.unwrap_or_else(|| panic!("no forwarded address in {line:?}")))
    }

    /// The server process of the one connection so far.
    pub(crate) fn session(&self) -> Arc<Process> {
        let sessions = self.sessions.lock().unwrap();
        let [session] = sessions.as_slice() else { panic!("{} connections", sessions.len()) };
        Arc::clone(session)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        // It only has to wake the acceptor.
        let _ = TcpStream::connect_timeout(&self.address, DEADLINE);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// The server of one connection.
fn session(program: &PathBuf, configuration: &PathBuf, client: TcpStream) -> Process {
    let _ = client.set_nodelay(true);
    let answers = client.try_clone().expect("a second handle of a socket");
    // -e: the log goes to stderr.
    let mut command = Command::new(program);
    command.args(["-i", "-e", "-f"]).arg(configuration);
    Process::spawn(command.stdin(Stdio::from(OwnedFd::from(client))).stdout(Stdio::from(OwnedFd::from(answers))))
}

/// Whether this machine's OpenSSH has a key exchange. If not, that has been said, and the test that asked shall return, in CI
/// too: Debian 12's OpenSSH is older than mlkem768x25519-sha256, which the Go relay has.
pub(crate) fn has_kex(name: &str) -> bool {
    let known = Command::new("ssh").args(["-Q", "kex"]).output().expect("ssh");
    let has = String::from_utf8_lossy(&known.stdout).lines().any(|line| line == name);
    if !has {
        tools::say(&format!("skipped: this OpenSSH has no {name}"));
    }
    has
}

/// Lines of a session's log on stderr.
pub(crate) fn wait_for_log(session: &Process, what: &str, count: usize) {
    session.lines(Stream::Stderr, what, count, |line| line.contains(what));
}

fn user_id() -> String {
    id("-u")
}

fn user_name() -> String {
    id("-un")
}

fn id(option: &str) -> String {
    let done = Command::new("id").arg(option).output().expect("id");
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}
