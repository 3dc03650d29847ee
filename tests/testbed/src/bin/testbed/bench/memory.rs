//! What the agent holds: idle, for each idle tunnel, under load, and afterwards.

use std::io;
use std::time::{Duration, Instant};

use testbed::load::{self, Wire};
use testbed::process::{Resident, forget_peak};
use tokio::task::JoinSet;

use super::Scale;
use super::contestant::Contestant;
use super::report::{Report, Target};

const MIB: f64 = 1024.0;
/// How long an agent gets until it holds what it holds when idle.
const SETTLE: Duration = Duration::from_secs(3);

/// Measures an agent that has been connected just now and has done nothing yet.
pub(super) async fn measure(report: &mut Report, agent: &Contestant, scale: &Scale) -> io::Result<()> {
    let Some(&process) = agent.processes().first() else { return Ok(()) };
    report.section("Memory of the agent");
    tokio::time::sleep(SETTLE).await;
    let idle = Resident::of(process)?;
    report.aim("resident, idle and connected", idle.all as f64 / MIB, "MiB", Target::AtMost(2.0));
    report.row("anonymous, idle and connected", idle.anonymous as f64 / MIB, "MiB");

    let mut streams = Vec::new();
    for _ in 0..scale.idle_tunnels {
        let mut stream = agent.connect().await?;
        load::exchange(&mut *stream).await?;
        streams.push(stream);
    }
    // Ring buffers that stay empty are given back after ten seconds, at the second look.
    tokio::time::sleep(scale.sweep).await;
    let held = Resident::of(process)?;
    let each = held.anonymous.saturating_sub(idle.anonymous) as f64 / streams.len() as f64;
    report.row(format!("anonymous, for each of {} idle tunnels", streams.len()), each, "KiB");
    drop(streams);

    for (tunnels, wanted) in [(32, 4.0), (128, 8.0)] {
        let (resident, peak) = under_load(agent, process, tunnels, scale.busy).await?;
        let name = format!("{tunnels} busy tunnels, half of them each way");
        report.aim(format!("resident, peak, {name}"), peak as f64 / MIB, "MiB", Target::AtMost(wanted));
        report.row(format!("anonymous, {name}"), resident as f64 / MIB, "MiB");
    }
    tokio::time::sleep(scale.after_load).await;
    let after = Resident::of(process)?;
    let name = format!("resident {} s after load, beside idle", scale.after_load.as_secs());
    report.aim(name, after.all as f64 / idle.all as f64, "times", Target::AtMost(1.1));
    let name = format!("anonymous {} s after load, beside idle", scale.after_load.as_secs());
    report.row(name, after.anonymous as f64 / idle.anonymous as f64, "times");
    Ok(())
}

/// The most anonymous memory seen and the peak of all that was resident, in KiB, while so many tunnels are busy.
async fn under_load(agent: &Contestant, process: u32, tunnels: usize, time: Duration) -> io::Result<(u64, u64)> {
    let mut streams: Vec<Box<dyn Wire>> = Vec::new();
    for _ in 0..tunnels {
        streams.push(agent.connect().await?);
    }
    forget_peak(process)?;
    let mut tasks = JoinSet::new();
    for (number, mut stream) in streams.into_iter().enumerate() {
        tasks.spawn(async move {
            match number % 2 {
                0 => load::upload(&mut *stream, u64::MAX / 2).await,
                _ => load::download(&mut *stream, u64::MAX / 2).await,
            }
        });
    }
    let started = Instant::now();
    let mut most = 0;
    while started.elapsed() < time {
        tokio::time::sleep(Duration::from_millis(20)).await;
        most = most.max(Resident::of(process)?.anonymous);
        if let Some(ended) = tasks.try_join_next() {
            ended??;
        }
    }
    let peak = Resident::of(process)?.peak;
    tasks.shutdown().await;
    Ok((most, peak))
}
