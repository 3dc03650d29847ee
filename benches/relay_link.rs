//! The relay link against russh's client over the same relay, in one run: bytes echoed per CPU-second, and what the link allocates.
//!
//! `cargo bench --bench relay_link` (with `-- --quick` for a smaller volume). Each contestant runs alone on a thread, whose CPU time
//! the kernel counts; relay and load run on other threads. Rounds alternate, medians count. The size build is a process of its own.
//! Exits with 1 when the link is slower than russh's client at the same optimisation, or allocates for its packets.

use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io, thread};

use edge_gateway::relay::{Channel, Link, dial};
use edge_gateway::ssh::auth::Credentials;
use edge_gateway::ssh::cert::{Authority, UserCertificate};
use edge_gateway::ssh::connection::Config;
use edge_gateway::ssh::negotiate::Trust;
use edge_gateway::ssh::private_key::PrivateKey;
use testbed::certs::{KeyKind, SshCredential, SshFactory};
use testbed::dir::TempDir;
use testbed::echo_gateway::EchoGateway;
use testbed::relay::{Relay, RelayConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

const LIMIT: Duration = Duration::from_secs(60);
const WARM_UP: usize = 4 << 20;
const CHUNK: usize = 64 * 1024;
/// Ticks of `utime` and `stime` in a second: fixed at 100 for user space (`proc(5)`, `_SC_CLK_TCK`).
const TICKS: f64 = 100.0;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match run(std::env::args().any(|argument| argument == "--quick")) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("relay_link: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(quick: bool) -> Result<bool, Failure> {
    let (mib, rounds) = if quick { (64, 1) } else { (512, 3) };
    let size_build = build_size_example()?;
    let outside = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut good = true;
    println!("{mib} MiB echoed over 8 channels, {rounds} rounds, medians\n");
    println!("{:30} {:>9} {:>12} {:>9} {:>9}", "cipher and client", "CPU s", "MiB per CPU s", "wall s", "ratio");
    for cipher in ["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com"] {
        let field = Field::new(&outside, cipher)?;
        let (mut ours, mut size, mut russh) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(field.thread("ours", mib, serve_ours)?);
            russh.push(field.thread("russh", mib, serve_russh)?);
            size.push(field.process("size", mib, &size_build)?);
        }
        let reference = median(&mut russh);
        for (name, results) in [("russh", &mut russh), ("this link", &mut ours), ("this link, size build", &mut size)] {
            let (cpu, wall) = median(results);
            println!(
                "{:30} {cpu:>9.2} {:>12.0} {wall:>9.2} {:>9.2}",
                format!("{} {name}", cipher.split('@').next().unwrap_or(cipher)),
                mib as f64 / cpu,
                reference.0 / cpu
            );
        }
        let ratio = reference.0 / median(&mut ours).0;
        if ratio < 1.0 {
            println!("FAILED: the link moves fewer bytes per CPU-second than russh's client: {ratio:.2}");
            good = false;
        }
    }
    let field = Field::new(&outside, "aes256-gcm@openssh.com")?;
    let (allocations, packets) = field.allocations(if quick { 32 } else { 128 })?;
    println!(
        "\nallocations of engine, driver and echo tasks in the steady state: {allocations} in about {packets} packets"
    );
    if allocations > 0 {
        println!("FAILED: the steady state must not allocate");
        good = false;
    }
    Ok(good)
}

/// By CPU time.
fn median(results: &mut [(f64, f64)]) -> (f64, f64) {
    results.sort_by(|a, b| a.0.total_cmp(&b.0));
    results[results.len() / 2]
}

fn build_size_example() -> Result<std::path::PathBuf, Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--locked", "--example", "relay_echo"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    if !built.success() {
        return Err("the size build failed".into());
    }
    // target/release/deps/relay_link-... -> target/release/examples/relay_echo
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(3).ok_or("no target folder")?;
    Ok(target.join("release/examples/relay_echo"))
}

/// A relay and what it takes to log in to it.
struct Field<'a> {
    outside: &'a Runtime,
    relay: Relay,
    ssh: Arc<SshFactory>,
    files: TempDir,
}

/// What a contestant gets.
struct Entry {
    address: std::net::SocketAddr,
    id: String,
    credential: SshCredential,
    host_ca: String,
}

impl<'a> Field<'a> {
    fn new(outside: &'a Runtime, cipher: &'static str) -> Result<Self, Failure> {
        // russh's client names RSA certificates in a way that servers refuse: Ed25519 for both.
        let ssh = Arc::new(SshFactory::with_kind(KeyKind::Ed25519));
        let config = RelayConfig { ciphers: vec![cipher], ..RelayConfig::new(ssh.clone()) };
        let relay = outside.block_on(Relay::start(config))?;
        Ok(Field { outside, relay, ssh, files: TempDir::new()? })
    }

    fn entry(&self, id: &str) -> Entry {
        Entry {
            address: self.relay.ssh_addr(),
            id: id.to_owned(),
            credential: self.ssh.user("relay", id, "bench").issue(),
            host_ca: self.ssh.host_ca_line(),
        }
    }

    /// Runs a contestant on a thread of its own: CPU and wall seconds for the volume behind the warm-up.
    fn thread(
        &self,
        id: &str,
        mib: usize,
        contestant: fn(Entry, oneshot::Receiver<()>),
    ) -> Result<(f64, f64), Failure> {
        let entry = self.entry(id);
        let (stop, stopped) = oneshot::channel();
        let (name, named) = mpsc::channel();
        let thread = thread::spawn(move || {
            let own = fs::read_link("/proc/thread-self").map(|path| path.to_string_lossy().into_owned());
            if name.send(own).is_ok() {
                contestant(entry, stopped);
            }
        });
        let stat = format!("/proc/{}/stat", named.recv()??);
        let result = self.measure(id, mib, &stat);
        drop(stop);
        thread.join().map_err(|_| "a contestant panicked")?;
        result
    }

    /// The same for a process.
    fn process(&self, id: &str, mib: usize, program: &std::path::Path) -> Result<(f64, f64), Failure> {
        let entry = self.entry(id);
        let key = self.files.write("key", &entry.credential.private_key_pem())?;
        let cert = self.files.write("cert", entry.credential.certificate_line())?;
        let ca = self.files.write("ca", &entry.host_ca)?;
        let child = Command::new(program)
            .args(["--relay", &entry.address.to_string(), "--user", id])
            .arg("--key")
            .arg(key)
            .arg("--cert")
            .arg(cert)
            .arg("--host-ca")
            .arg(ca)
            .stdout(Stdio::null())
            .spawn()?;
        let child = Reaped(child);
        self.measure(id, mib, &format!("/proc/{}/stat", child.0.id()))
    }

    fn measure(&self, id: &str, mib: usize, stat: &str) -> Result<(f64, f64), Failure> {
        self.outside.block_on(async {
            self.relay.wait_for_gateway(id, LIMIT).await?;
            let door = self.relay.expose(id).await?;
            load(door, 8, WARM_UP).await?;
            let (cpu, started) = (cpu_seconds(stat)?, Instant::now());
            load(door, 8, mib << 20).await?;
            let wall = started.elapsed().as_secs_f64();
            Ok((cpu_seconds(stat)? - cpu, wall))
        })
    }

    /// How often the link's thread allocates for a volume, and how many packets that is, both ways.
    fn allocations(&self, mib: usize) -> Result<(u64, usize), Failure> {
        let entry = self.entry("counted");
        let (begin, began) = mpsc::channel::<()>();
        let (report, reported) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
            let link = runtime.block_on(connect(&entry));
            let (ready, mut warm) = oneshot::channel::<()>();
            // The warm-up runs until the main thread says so; then the same tasks go on inside the count.
            let waiter = thread::spawn(move || began.recv().is_ok() && ready.send(()).is_ok());
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        channel = link.accept() => {
                            if let Ok(channel) = channel { tokio::spawn(echo(channel)); }
                        }
                        _ = &mut warm => break,
                    }
                }
            });
            drop(waiter.join());
            let counted = allocation_counter::measure(|| runtime.block_on(async { drop(stopped.await) }));
            let _gone = report.send(counted.count_total);
        });
        let volume = mib << 20;
        self.outside.block_on(async {
            self.relay.wait_for_gateway("counted", LIMIT).await?;
            let door = self.relay.expose("counted").await?;
            let mut streams = Vec::new();
            for _ in 0..8 {
                let mut stream = TcpStream::connect(door).await?;
                exchange(&mut stream, WARM_UP / 8).await?;
                streams.push(stream);
            }
            begin.send(())?;
            // What the switch itself allocates is behind us once another exchange is through.
            for stream in &mut streams {
                exchange(stream, volume / 8).await?;
            }
            drop(stop);
            Ok::<_, Failure>(())
        })?;
        let counted = reported.recv()?;
        thread.join().map_err(|_| "the counted thread panicked")?;
        // Data packets of at most 32 KiB in and 16 KiB out.
        Ok((counted, volume / (32 << 10) + volume / (16 << 10)))
    }
}

struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is waited for.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Moves `volume` bytes through `channels` connections and back, and checks each.
async fn load(door: std::net::SocketAddr, channels: usize, volume: usize) -> io::Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..channels {
        tasks.spawn(async move {
            let mut stream = TcpStream::connect(door).await?;
            exchange(&mut stream, volume / channels).await
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}

async fn exchange(stream: &mut TcpStream, volume: usize) -> io::Result<()> {
    let pattern: Vec<u8> = (0..CHUNK).map(|i| (i * 7 + i / 251) as u8).collect();
    let (mut reader, mut writer) = stream.split();
    let send = async {
        for _ in 0..volume / CHUNK {
            writer.write_all(&pattern).await?;
        }
        Ok::<_, io::Error>(())
    };
    let receive = async {
        let mut back = vec![0; CHUNK];
        for _ in 0..volume / CHUNK {
            reader.read_exact(&mut back).await?;
            if back != pattern {
                return Err(io::Error::other("the echo differs"));
            }
        }
        Ok(())
    };
    tokio::try_join!(send, receive).map(drop)
}

/// `utime` and `stime` of a process or thread: fields 14 and 15, counted behind the name in parentheses.
fn cpu_seconds(stat: &str) -> Result<f64, Failure> {
    let text = fs::read_to_string(stat)?;
    let fields: Vec<&str> = text.rsplit_once(')').ok_or("stat without a name")?.1.split_whitespace().collect();
    let ticks: f64 = [11, 12].iter().map(|at| fields[*at].parse::<f64>()).sum::<Result<f64, _>>()?;
    Ok(ticks / TICKS)
}

fn serve_ours(entry: Entry, stopped: oneshot::Receiver<()>) {
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let link = connect(&entry).await;
        let accept = async {
            while let Ok(channel) = link.accept().await {
                tokio::spawn(echo(channel));
            }
        };
        tokio::select! {
            () = accept => {}
            _ = stopped => {}
        }
    });
}

async fn connect(entry: &Entry) -> Link {
    let key = PrivateKey::from_pem(&entry.credential.private_key_pem()).expect("the key");
    let certificate = UserCertificate::from_line(entry.credential.certificate_line()).expect("the certificate");
    let trust = Trust {
        authorities: vec![Authority::from_line(&entry.host_ca).expect("the host CA")],
        names: vec![entry.address.to_string()],
        pinned: None,
    };
    let credentials = Credentials::new(entry.id.clone(), key, certificate).expect("the credentials");
    let stream = dial(None, &entry.address.ip().to_string(), entry.address.port(), LIMIT).await.expect("a connection");
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    Link::establish(stream, Config::new(trust, Arc::new(credentials)), Arc::new(clock)).await.expect("a link")
}

async fn echo(mut channel: Channel) -> io::Result<()> {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let n = channel.read(&mut buffer).await?;
        if n == 0 {
            return channel.shutdown().await;
        }
        channel.write_all(&buffer[..n]).await?;
    }
}

fn serve_russh(entry: Entry, stopped: oneshot::Receiver<()>) {
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let gateway = EchoGateway::login(entry.address, &entry.id, &entry.credential, &entry.host_ca).await;
        drop(stopped.await);
        drop(gateway);
    });
}
