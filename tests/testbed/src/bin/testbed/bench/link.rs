//! A long line between the box and the relay, in this process: bytes leave no faster than its rate, and arrive half a
//! round trip later. It needs no privilege and loses nothing; the kernel's own congestion control stays out of it.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use testbed::agent::Agent;
use testbed::relay::HostKey;
use testbed::targets::Target as Service;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::contestant::{Contestant, LIMIT, Served, builder};
use super::limit::Cipher;
use super::peers::{Chain, SshClient};
use super::report::{Report, Target};
use super::traffic::{Way, latency, throughput};
use super::{Scale, missing};

/// A line's speed and length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) round_trip: Duration,
    /// Bytes a second, each way.
    pub(super) rate: f64,
    /// Packets in a hundred that do not arrive.
    pub(super) loss: u32,
}

impl Line {
    pub(super) const fn new(round_trip_ms: u64, megabits: f64) -> Line {
        Line { round_trip: Duration::from_millis(round_trip_ms), rate: megabits * 1e6 / 8.0, loss: 0 }
    }

    /// The same with packets lost.
    pub(super) const fn losing(self, loss: u32) -> Line {
        Line { loss, ..self }
    }

    pub(super) fn megabits(self) -> f64 {
        self.rate * 8.0 / 1e6
    }

    fn name(self) -> String {
        let loss = if self.loss > 0 { format!(", {} % lost", self.loss) } else { String::new() };
        format!("{} ms, {:.0} Mbit/s{loss}", self.round_trip.as_millis(), self.megabits())
    }
}

/// What a modem holds back: so much time's worth of bytes, then the sender has to wait.
const QUEUE: Duration = Duration::from_millis(50);
const PIECE: usize = 4 * 1024;
/// Of the sockets at both ends of the line, so that what waits for it waits at the sender.
const SOCKET_BUFFER: u32 = 4 * 1024;

/// russh gives credit back by halves of a window, so of 4 MiB no more than two wait: what relays and servers have that give it back
/// in pieces, out of 2 MiB.
const RELAY_WINDOW: u32 = 4 * 1024 * 1024;

/// Lays a line to `to`: where it begins. It ends with the set.
async fn lay(line: Line, to: SocketAddr, tasks: &mut JoinSet<()>) -> io::Result<SocketAddr> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let listener = socket.listen(16)?;
    let begins = listener.local_addr()?;
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((near, _)) = listener.accept().await {
            connections.spawn(async move {
                // A side that is gone ends the connection.
                drop(connect(line, near, to).await);
            });
        }
    });
    Ok(begins)
}

async fn connect(line: Line, near: TcpStream, to: SocketAddr) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    let far = socket.connect(to).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::try_join!(carry(line, near_in, far_out), carry(line, far_in, near_out)).map(drop)
}

/// One direction.
async fn carry(line: Line, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let entering = async move {
        // When the last byte that entered has left the modem.
        let mut busy_until = Instant::now();
        let mut buffer = vec![0; PIECE];
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                return io::Result::Ok(());
            }
            busy_until = busy_until.max(Instant::now()) + Duration::from_secs_f64(count as f64 / line.rate);
            let arrival = busy_until + line.round_trip / 2;
            if sender.send((arrival, buffer[..count].to_vec())).is_err() {
                return Ok(());
            }
            sleep_until(busy_until - QUEUE).await;
        }
    };
    let leaving = async move {
        let mut arrived = VecDeque::new();
        while let Some((arrival, bytes)) = receiver.recv().await {
            sleep_until(arrival).await;
            arrived.extend(bytes);
            // What has arrived by now goes on together.
            while let Ok((arrival, bytes)) = receiver.try_recv() {
                if arrival > Instant::now() {
                    to.write_all(arrived.make_contiguous()).await?;
                    arrived.clear();
                    sleep_until(arrival).await;
                }
                arrived.extend(bytes);
            }
            to.write_all(arrived.make_contiguous()).await?;
            arrived.clear();
        }
        to.shutdown().await
    };
    tokio::try_join!(entering, leaving).map(drop)
}

/// The agent, and the better known of its peers, over each line.
pub(super) async fn measure(report: &mut Report, program: &Path, service: &Service, scale: &Scale) -> io::Result<()> {
    report.section("Long lines between box and relay (laid in this process, without loss)");
    for &line in scale.lines {
        let mut tasks = JoinSet::new();
        let agent = Contestant::Agent(Box::new(agent_over(line, program, service, &mut tasks).await?));
        one(report, "edge-gateway", line, &agent, scale).await?;
        drop(agent);
        if let Some(why) = missing(SshClient::OpenSsh, Cipher::Aes) {
            report.skip(&format!("{}, {}", SshClient::OpenSsh.name(), line.name()), &why);
            continue;
        }
        let through = async |server| lay(line, server, &mut tasks).await;
        let chain = Chain::start(SshClient::OpenSsh, Cipher::Aes, service.addr(), Ipv4Addr::LOCALHOST, through).await?;
        peer(report, line, chain, scale).await;
    }
    Ok(())
}

/// A peer that breaks is no reason to measure nothing else.
pub(super) async fn peer(report: &mut Report, line: Line, chain: Chain, scale: &Scale) {
    let name = SshClient::OpenSsh.name();
    if let Err(error) = one(report, name, line, &Contestant::Chain(Box::new(chain)), scale).await {
        report.skip(&format!("the rest of {name}, {}", line.name()), &error.to_string());
    }
}

async fn agent_over(line: Line, program: &Path, service: &Service, tasks: &mut JoinSet<()>) -> io::Result<Served> {
    // The relay's certificate names its own port; the agent comes to the line's.
    let shape = Arc::new(|spec: testbed::certs::CertSpec| spec.principals(&["127.0.0.1"]));
    let bed = builder(Cipher::Aes)
        .relay(|relay| {
            relay.host_key = HostKey::Shaped(shape);
            relay.window = RELAY_WINDOW;
        })
        .start()
        .await?;
    let begins = lay(line, bed.relay.ssh_addr(), tasks).await?;
    // The usual settings: how large a window may be depends on how many there may be.
    let config = bed.new_agent(program)?.env("EDGE_GATEWAY_RELAY_PORT", begins.port().to_string());
    let started = std::time::Instant::now();
    let agent = Agent::start(&config)?;
    bed.wait_for_gateway(LIMIT).await?;
    Ok(Served::new(bed, agent, config, started, Cipher::Aes, service.addr()))
}

pub(super) async fn one(report: &mut Report, name: &str, line: Line, it: &Contestant, scale: &Scale) -> io::Result<()> {
    let of = |what: &str| format!("{}: {name}: {what}", line.name());
    let bytes = (line.rate * scale.line_time.as_secs_f64()) as u64;
    for way in Way::BOTH {
        // Windows grow with use: the first transfer is what a user sees of a short one, the second of a long one.
        let moved = throughput(it, way, 1, bytes).await?;
        let share = moved.mib_per_second * 1024.0 * 1024.0 / line.rate;
        report.row(of(&format!("one tunnel {}", way.name())), share * 100.0, "% of line");
    }
    let idle = latency(it, scale.line_samples, 0, &[]).await?;
    report.row(of("round trip, median"), millis(idle.median), "ms");
    for way in Way::BOTH {
        let loaded = latency(it, scale.line_samples, 1, &[way]).await?;
        let what = of(&format!("round trip p99 beside bulk {}, beside idle p99", way.name()));
        let times = loaded.p99.as_secs_f64() / idle.p99.as_secs_f64();
        match it {
            Contestant::Agent(_) => report.aim(what, times, "times", Target::AtMost(3.0)),
            Contestant::Chain(_) => report.row(what, times, "times"),
        }
    }
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
