//! Bytes through a contestant: how many a second, for how much CPU time, and how long a short exchange takes meanwhile.

use std::io;
use std::time::{Duration, Instant};

use testbed::load::{self, Wire};
use testbed::process::Cpu;
use tokio::task::JoinSet;

use super::contestant::Contestant;
use super::limit::GIB;

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the platform's client to the target.
    Up,
    /// From the target to the client.
    Down,
}

impl Way {
    pub(super) const BOTH: [Way; 2] = [Way::Up, Way::Down];

    pub(super) fn name(self) -> &'static str {
        match self {
            Way::Up => "to the target",
            Way::Down => "from the target",
        }
    }

    async fn carry(self, stream: &mut (impl Wire + ?Sized), bytes: u64) -> io::Result<()> {
        match self {
            Way::Up => load::upload(stream, bytes).await,
            Way::Down => load::download(stream, bytes).await,
        }
    }
}

/// What moving some bytes took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    pub(super) mib_per_second: f64,
    /// CPU seconds per GiB of the contestant's processes.
    pub(super) cpu: f64,
    /// The part of it in the program, not in the kernel.
    pub(super) user: f64,
}

/// For one measurement: more than any that works takes.
const PATIENCE: Duration = Duration::from_secs(60);

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("nothing for {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(late()))
}

/// Moves `bytes` in all over so many tunnels at once.
pub(super) async fn throughput(contestant: &Contestant, way: Way, tunnels: usize, bytes: u64) -> io::Result<Moved> {
    in_time(move_all(contestant, way, tunnels, bytes)).await
}

async fn move_all(contestant: &Contestant, way: Way, tunnels: usize, bytes: u64) -> io::Result<Moved> {
    let mut streams = Vec::new();
    for _ in 0..tunnels {
        let mut stream = contestant.connect().await?;
        // Windows and buffers as in the middle of a long transfer.
        way.carry(&mut *stream, (256 * 1024).min(bytes)).await?;
        streams.push(stream);
    }
    let share = bytes / tunnels as u64;
    let processes = contestant.processes();
    let (before, started) = (Cpu::of(&processes)?, Instant::now());
    let mut tasks = JoinSet::new();
    for mut stream in streams {
        tasks.spawn(async move {
            way.carry(&mut *stream, share).await?;
            io::Result::Ok(stream)
        });
    }
    let mut done = Vec::new();
    while let Some(task) = tasks.join_next().await {
        done.push(task??);
    }
    let (wall, cpu) = (started.elapsed().as_secs_f64(), Cpu::of(&processes)? - before);
    let gib = (share * tunnels as u64) as f64 / GIB;
    Ok(Moved { mib_per_second: gib * 1024.0 / wall, cpu: cpu.total() / gib, user: cpu.user / gib })
}

/// Round trips of a short exchange.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latency {
    pub(super) median: Duration,
    pub(super) p99: Duration,
}

/// So many round trips on one tunnel, while `bulk` others send all they can in each of these ways.
pub(super) async fn latency(contestant: &Contestant, samples: usize, bulk: usize, ways: &[Way]) -> io::Result<Latency> {
    let mut loads = JoinSet::new();
    for &way in ways {
        for _ in 0..bulk {
            let mut stream = contestant.connect().await?;
            // Aborted when the samples are there.
            loads.spawn(async move { way.carry(&mut *stream, u64::MAX / 2).await });
        }
    }
    let mut stream = contestant.connect().await?;
    for _ in 0..samples / 10 + 3 {
        load::exchange(&mut *stream).await?;
    }
    let mut times = Vec::with_capacity(samples);
    for _ in 0..samples {
        times.push(load::exchange(&mut *stream).await?);
    }
    if let Some(ended) = loads.try_join_next() {
        ended??;
    }
    loads.shutdown().await;
    times.sort();
    Ok(Latency { median: times[samples / 2], p99: times[(samples * 99 / 100).min(samples - 1)] })
}
