//! What a person would put together from packages: an SSH client with remote forwarding, and stunnel behind it for the
//! mutual TLS. OpenSSH's server stands for the relay.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testbed::certs::{PkiCredential, PkiFactory};
use testbed::client::TlsClient;
use testbed::dir::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

use super::contestant::{LIMIT, tls};
use super::limit::Cipher;

/// An SSH client from a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SshClient {
    OpenSsh,
    Dropbear,
}

impl SshClient {
    pub(super) const BOTH: [SshClient; 2] = [SshClient::OpenSsh, SshClient::Dropbear];

    pub(super) fn name(self) -> &'static str {
        match self {
            SshClient::OpenSsh => "OpenSSH + stunnel",
            SshClient::Dropbear => "Dropbear + stunnel",
        }
    }

    /// The programs that it takes, with the Debian package of each.
    pub(super) fn needs(self) -> [(&'static str, &'static str); 4] {
        let [client, keys] = match self {
            SshClient::OpenSsh => [("ssh", "openssh-client"), ("ssh-keygen", "openssh-client")],
            SshClient::Dropbear => [("dbclient", "dropbear-bin"), ("dropbearkey", "dropbear-bin")],
        };
        [client, keys, ("sshd", "openssh-server"), ("stunnel", "stunnel4")]
    }

    /// Whether Debian's build speaks it.
    pub(super) fn speaks(self, cipher: Cipher) -> bool {
        // Dropbear leaves GCM out by default.
        self == SshClient::OpenSsh || cipher == Cipher::ChaCha
    }
}

/// Where a program is: on the path, or where Debian puts what is not for everyone.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn program(name: &str) -> io::Result<PathBuf> {
    find(name).ok_or_else(|| io::Error::new(ErrorKind::NotFound, format!("{name} is not installed")))
}

/// A process that ends with the value.
struct Process(Child);

impl Process {
    fn start(program: &Path, arguments: &[&OsStr], log: PathBuf) -> io::Result<Process> {
        let log = fs::File::create(log)?;
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map(Process)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The whole chain: client, TLS, and the server that it hangs on.
pub(super) struct Chain {
    ssh: Process,
    stunnel: Process,
    _server: Process,
    /// What the server listens on for the clients far away.
    door: SocketAddr,
    tls: TlsClient,
    certificate: PkiCredential,
    _folder: TempDir,
}

impl Chain {
    /// Starts it with the server on `host`; `through` is where the SSH client finds the server, given where it is.
    pub(super) async fn start(
        client: SshClient,
        cipher: Cipher,
        target: SocketAddr,
        host: Ipv4Addr,
        through: impl AsyncFnOnce(SocketAddr) -> io::Result<SocketAddr>,
    ) -> io::Result<Chain> {
        let folder = TempDir::new()?;
        let pki = std::sync::Arc::new(PkiFactory::new());
        let at = |name: &str| folder.path().join(name);
        let here = Ipv4Addr::LOCALHOST;
        let [server, inside, door] = [free_port(host).await?, free_port(here).await?, free_port(here).await?];
        let key = make_key(client, &folder)?;
        let sshd = start_sshd(&folder, server)?;
        reachable(server).await?;
        let stunnel = start_stunnel(&folder, &pki, inside, target)?;
        reachable(inside).await?;
        let relay = through(server).await?;
        let ssh = Process::start(
            &program(client.needs()[0].0)?,
            &arguments(client, cipher, relay, door, inside, &key).iter().map(OsStr::new).collect::<Vec<_>>(),
            at("ssh.log"),
        )?;
        if let Err(error) = reachable(door).await {
            let log = |name: &str| fs::read_to_string(at(name)).unwrap_or_default();
            return Err(io::Error::new(error.kind(), format!("{}{}", log("ssh.log"), log("sshd.log"))));
        }
        let certificate = pki.client("peer", &target.ip().to_string(), target.port()).issue();
        let tls = tls(cipher, pki);
        Ok(Chain { ssh, stunnel, _server: sshd, door, tls, certificate, _folder: folder })
    }

    /// A connection to the target.
    pub(super) async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.door).await?;
        stream.set_nodelay(true)?;
        // Debian's stunnel chooses no ALPN name as a server.
        self.tls.handshake(stream, &[], Some(&self.certificate)).await
    }

    /// What runs on the box: the SSH client and stunnel.
    pub(super) fn processes(&self) -> Vec<u32> {
        vec![self.ssh.0.id(), self.stunnel.0.id()]
    }
}

/// A port that was free a moment ago. These programs can't tell which one they took.
async fn free_port(host: Ipv4Addr) -> io::Result<SocketAddr> {
    TcpListener::bind((host, 0)).await?.local_addr()
}

async fn reachable(address: SocketAddr) -> io::Result<()> {
    let started = Instant::now();
    loop {
        match TcpStream::connect(address).await {
            Ok(_) => return Ok(()),
            Err(error) if started.elapsed() > LIMIT / 4 => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Runs a program to its end.
fn run(name: &str, arguments: &[&OsStr]) -> io::Result<Vec<u8>> {
    let output = Command::new(program(name)?).args(arguments).stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(io::Error::other(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)))),
    }
}

/// Makes the client's key, in its own form, and the server's files for it.
fn make_key(client: SshClient, folder: &TempDir) -> io::Result<PathBuf> {
    let (key, host) = (folder.path().join("key"), folder.path().join("host"));
    let word = OsStr::new;
    run("ssh-keygen", &[word("-q"), word("-t"), word("ed25519"), word("-N"), word(""), word("-f"), host.as_os_str()])?;
    let line = match client {
        SshClient::OpenSsh => {
            run(
                "ssh-keygen",
                &[word("-q"), word("-t"), word("ed25519"), word("-N"), word(""), word("-f"), key.as_os_str()],
            )?;
            fs::read_to_string(key.with_extension("pub"))?
        }
        SshClient::Dropbear => {
            let printed = run("dropbearkey", &[word("-t"), word("ed25519"), word("-f"), key.as_os_str()])?;
            let printed = String::from_utf8_lossy(&printed).into_owned();
            printed.lines().find(|line| line.starts_with("ssh-")).unwrap_or_default().to_owned()
        }
    };
    folder.write("authorized_keys", &line)?;
    Ok(key)
}

fn start_sshd(folder: &TempDir, address: SocketAddr) -> io::Result<Process> {
    let at = |name: &str| folder.path().join(name).display().to_string();
    if fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        // Where root's sshd confines itself before authentication; the init script makes it otherwise.
        fs::create_dir_all("/run/sshd")?;
    }
    let settings = format!(
        "ListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
         AllowTcpForwarding remote\nUseDNS no\nMaxSessions 200\n",
        at("host"),
        at("authorized_keys")
    );
    let file = folder.write("sshd_config", &settings)?;
    let arguments = [OsStr::new("-D"), OsStr::new("-e"), OsStr::new("-f"), file.as_os_str()];
    Process::start(&program("sshd")?, &arguments, folder.path().join("sshd.log"))
}

fn start_stunnel(folder: &TempDir, pki: &PkiFactory, accept: SocketAddr, target: SocketAddr) -> io::Result<Process> {
    let leaf = pki.gateway().issue();
    let cert = folder.write("leaf.pem", leaf.certificate_pem())?;
    let key = folder.write("leaf.key", leaf.private_key_pem())?;
    let ca = folder.write("clients.pem", &pki.client_chain_pem())?;
    let settings = format!(
        "foreground = yes\npid =\ndebug = warning\n[tunnel]\naccept = {accept}\nconnect = {target}\ncert = {}\nkey = {}\n\
         CAfile = {}\nverifyChain = yes\nrequireCert = yes\nTIMEOUTclose = 0\nsocket = l:TCP_NODELAY=1\n\
         socket = r:TCP_NODELAY=1\n",
        cert.display(),
        key.display(),
        ca.display()
    );
    let file = folder.write("stunnel.conf", &settings)?;
    Process::start(&program("stunnel")?, &[file.as_os_str()], folder.path().join("stunnel.log"))
}

/// How the client is called: no shell, no terminal, one forwarded port.
fn arguments(
    client: SshClient,
    cipher: Cipher,
    relay: SocketAddr,
    door: SocketAddr,
    inside: SocketAddr,
    key: &Path,
) -> Vec<String> {
    let user = user_name();
    let forward = format!("{}:{}:{}:{}", door.ip(), door.port(), inside.ip(), inside.port());
    let key = key.display().to_string();
    let port = relay.port().to_string();
    let (host, cipher) = (format!("{user}@{}", relay.ip()), cipher.ssh());
    let words: Vec<&str> = match client {
        SshClient::OpenSsh => vec![
            "-F",
            "none",
            "-N",
            "-T",
            "-i",
            &key,
            "-p",
            &port,
            "-R",
            &forward,
            "-c",
            cipher,
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
            "-o",
            "ExitOnForwardFailure=yes",
            "-o",
            "IdentitiesOnly=yes",
            &host,
        ],
        SshClient::Dropbear => {
            vec!["-N", "-T", "-y", "-y", "-i", &key, "-p", &port, "-R", &forward, "-c", cipher, &host]
        }
    };
    words.into_iter().map(str::to_owned).collect()
}

fn user_name() -> String {
    let name = run("id", &[OsStr::new("-un")]).unwrap_or_default();
    String::from_utf8_lossy(&name).trim().to_owned()
}
