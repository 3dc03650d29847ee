//! How soon a tunnel is served: after a start, after the relay comes back, and one after the other. And how often an
//! idle agent wakes up.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use testbed::agent::Agent;
use testbed::load;
use testbed::process::wakeups;
use testbed::targets::Target as Service;

use super::Scale;
use super::contestant::{Contestant, LIMIT, Served};
use super::limit::Cipher;
use super::report::{Report, Target};

/// How often a client far away tries again.
const RETRY: Duration = Duration::from_millis(1);

/// Starts and returns, each with an agent of its own.
pub(super) async fn starts(report: &mut Report, program: &Path, service: &Service, scale: &Scale) -> io::Result<()> {
    report.section("Start and return");
    let (mut cold, mut cached, mut back) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let mut served = Served::start(program, Cipher::Aes, service.addr(), |config| config).await?;
        cold.push(served.started.elapsed());
        // A clean stop frees the place at the relay.
        served.agent.signal(testbed::agent::Signal::Term)?;
        served.agent.wait(LIMIT).await?;
        let id = served.bed.gateway_id.clone();
        served.bed.relay.wait(LIMIT, |_| !served.bed.relay.is_connected(&id)).await?;

        let started = Instant::now();
        served.agent = Agent::start(&served.config)?;
        first_answer(&served).await?;
        cached.push(started.elapsed());

        served.bed.relay.kill().await;
        tokio::time::sleep(scale.relay_away).await;
        let started = Instant::now();
        served.bed.relay.restart().await?;
        first_answer(&served).await?;
        back.push(started.elapsed());
    }
    let away = scale.relay_away.as_secs();
    report.row("exec to served tunnel, enrolment and certificates included", median_ms(&mut cold), "ms");
    report.row("exec to served tunnel, from stored certificates", median_ms(&mut cached), "ms");
    report.row(format!("relay back after {away} s to served tunnel"), median_ms(&mut back), "ms");
    Ok(())
}

async fn first_answer(served: &Served) -> io::Result<()> {
    let started = Instant::now();
    loop {
        match served.bed.client().ping().await {
            Ok(()) => return Ok(()),
            Err(error) if started.elapsed() > LIMIT => return Err(error),
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

fn median_ms(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

/// Tunnels one after the other: each is opened, shakes hands, and carries a short exchange.
pub(super) async fn opening(report: &mut Report, contestant: &Contestant, name: &str, scale: &Scale) -> io::Result<()> {
    let mut times = Vec::new();
    let before = testbed::process::Cpu::of(&contestant.processes())?;
    let started = Instant::now();
    for _ in 0..scale.opens {
        let one = Instant::now();
        let mut stream = contestant.connect().await?;
        load::exchange(&mut *stream).await?;
        times.push(one.elapsed());
    }
    let rate = scale.opens as f64 / started.elapsed().as_secs_f64();
    let cpu = (testbed::process::Cpu::of(&contestant.processes())? - before).total();
    report.row(format!("{name}: tunnels opened, one after the other"), rate, "per second");
    report.row(format!("{name}: CPU time of one tunnel opened"), cpu * 1000.0 / scale.opens as f64, "ms");
    report.row(format!("{name}: open and first exchange, median"), median_ms(&mut times), "ms");
    report.row(
        format!("{name}: open and first exchange, p99"),
        times[(times.len() * 99 / 100).min(times.len() - 1)].as_secs_f64() * 1000.0,
        "ms",
    );
    Ok(())
}

/// Wake-ups of an agent that is connected and has nothing to do.
pub(super) async fn idle(report: &mut Report, agent: &Contestant, scale: &Scale) -> io::Result<()> {
    let Some(&process) = agent.processes().first() else { return Ok(()) };
    report.section("Idle");
    // Behind the first heartbeat and the sweeps after it; the next heartbeat comes three minutes after the first.
    tokio::time::sleep(scale.sweep).await;
    let before = wakeups(process)?;
    tokio::time::sleep(scale.idle).await;
    let minutes = scale.idle.as_secs_f64() / 60.0;
    let all = (wakeups(process)? - before) as f64 / minutes;
    report.row("wake-ups of the main thread", all, "per minute");
    // Every 30 s the link asks for a sign of life: one wake-up to ask and one for the answer.
    report.aim("wake-ups beyond the keepalive's 4", (all - 4.0).max(0.0), "per minute", Target::AtMost(4.0));
    Ok(())
}
