//! `testbed bench`: what the agent costs and yields, beside the limit of the machine and beside what people would use
//! instead, in one run and one table.

mod allocations;
mod contestant;
mod life;
mod limit;
mod link;
mod machine;
mod memory;
mod peers;
mod report;
mod shaped;
mod traffic;

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use testbed::load;
use testbed::targets::Target as Service;

use crate::transcript::Transcript;
use contestant::{Contestant, Served};
use limit::{Cipher, Middle};
use link::Line;
use peers::{Chain, SshClient};
use report::{Report, Target};
use traffic::{Moved, Way};

const MIB: u64 = 1 << 20;

/// How much of everything.
pub(super) struct Scale {
    bulk: u64,
    limit: Duration,
    rounds: usize,
    samples: usize,
    opens: usize,
    idle_tunnels: usize,
    busy: Duration,
    sweep: Duration,
    after_load: Duration,
    idle: Duration,
    relay_away: Duration,
    lines: &'static [Line],
    line_time: Duration,
    line_samples: usize,
}

const FULL: Scale = Scale {
    bulk: 256 * MIB,
    limit: Duration::from_secs(2),
    rounds: 3,
    samples: 2000,
    opens: 100,
    idle_tunnels: 64,
    busy: Duration::from_secs(4),
    sweep: Duration::from_secs(22),
    after_load: Duration::from_secs(60),
    idle: Duration::from_secs(60),
    relay_away: Duration::from_secs(5),
    lines: &[Line::new(40, 10.0), Line::new(100, 100.0)],
    line_time: Duration::from_secs(4),
    line_samples: 30,
};

const QUICK: Scale = Scale {
    bulk: 96 * MIB,
    limit: Duration::from_millis(500),
    rounds: 1,
    samples: 500,
    opens: 20,
    idle_tunnels: 32,
    busy: Duration::from_secs(1),
    sweep: Duration::from_secs(1),
    after_load: Duration::from_secs(12),
    idle: Duration::from_secs(5),
    relay_away: Duration::from_secs(1),
    lines: &[Line::new(100, 100.0)],
    line_time: Duration::from_secs(2),
    line_samples: 15,
};

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    quick: bool,
    only: Option<Part>,
    /// A line and a file for what was measured over it: this is the copy in the namespace.
    inside: Option<(String, PathBuf)>,
}

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Memory,
    Idle,
    Allocations,
    Aes,
    ChaCha,
    Starts,
    Lines,
}

impl Options {
    /// `None` for what is no option.
    pub(crate) fn parse(mut words: &[&str]) -> Option<Options> {
        let mut options = Options::default();
        loop {
            words = match words {
                [] => return Some(options),
                ["--quick", rest @ ..] => {
                    options.quick = true;
                    rest
                }
                ["--only", part, rest @ ..] => {
                    options.only = Some(Part::named(part)?);
                    rest
                }
                ["--inside", line, file, rest @ ..] => {
                    options.inside = Some(((*line).to_owned(), file.into()));
                    rest
                }
                _ => return None,
            }
        }
    }

    fn wants(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}

impl Part {
    fn named(name: &str) -> Option<Part> {
        Some(match name {
            "memory" => Part::Memory,
            "idle" => Part::Idle,
            "allocations" => Part::Allocations,
            "aes" => Part::Aes,
            "chacha" => Part::ChaCha,
            "starts" => Part::Starts,
            "lines" => Part::Lines,
            _ => return None,
        })
    }
}

/// Runs all of it and says what was missed. A full run writes the page.
pub(crate) async fn run(options: &Options) -> io::Result<()> {
    let scale = if options.quick { &QUICK } else { &FULL };
    let (started, transcript) = (Instant::now(), Transcript::start());
    let program = crate::build::agent(&transcript)?;
    let mut report = Report::default();
    let service = load::target().await?;
    if let Some((line, file)) = &options.inside {
        return shaped::inside(line, file, &program, &service, scale).await;
    }

    // An agent for each, so that both begin when nothing has happened yet.
    if options.wants(Part::Memory) {
        memory::measure(&mut report, &fresh(&program, &service).await?, scale).await?;
    }
    if options.wants(Part::Idle) {
        life::idle(&mut report, &fresh(&program, &service).await?, scale).await?;
    }
    if options.wants(Part::Allocations) {
        allocations::measure(&mut report)?;
    }
    for (part, cipher) in [(Part::Aes, Cipher::Aes), (Part::ChaCha, Cipher::ChaCha)] {
        if options.wants(part) {
            compare(&mut report, &program, cipher, &service, scale).await?;
        }
    }
    if options.wants(Part::Starts) {
        life::starts(&mut report, &program, &service, scale).await?;
    }
    if options.wants(Part::Lines) {
        link::measure(&mut report, &program, &service, scale).await?;
        shaped::measure(&mut report, &program, options.quick, scale).await?;
    }

    let facts = machine::facts(&program, started.elapsed(), options.quick)?;
    machine::write(&report, &facts, !options.quick && options.only.is_none())?;
    println!("\n{} targets missed", report.missed());
    Ok(())
}

async fn fresh(program: &Path, service: &Service) -> io::Result<Contestant> {
    let served = Served::start(program, Cipher::Aes, service.addr(), |config| config).await?;
    Ok(Contestant::Agent(Box::new(served)))
}

/// Why a peer can't run here with this cipher.
fn missing(client: SshClient, cipher: Cipher) -> Option<String> {
    if !client.speaks(cipher) {
        return Some(format!("Debian's build does not speak {}", cipher.ssh()));
    }
    let absent = client.needs().into_iter().find(|(program, _)| peers::find(program).is_none());
    absent.map(|(program, package)| format!("{program} is not installed (package {package})"))
}

/// One cipher: the limit, the agent, its peers.
async fn compare(
    report: &mut Report,
    program: &Path,
    cipher: Cipher,
    service: &Service,
    scale: &Scale,
) -> io::Result<()> {
    report.section(match cipher {
        Cipher::Aes => "AES-256-GCM in SSH and TLS, on loopback",
        Cipher::ChaCha => "ChaCha20-Poly1305 in SSH and TLS, on loopback",
    });
    let (passes, copy) = {
        let (time, bytes) = (scale.limit, scale.bulk);
        let limits = move || {
            let tcp = (limit::tcp(Middle::Splice, bytes)?, limit::tcp(Middle::Copy, bytes)?);
            let passes = |neighbour| limit::two_passes(cipher, time, neighbour);
            io::Result::Ok((passes(false)?, passes(true)?, tcp))
        };
        let (passes, beside, (splice, copy)) = tokio::task::spawn_blocking(limits).await??;
        report.row(format!("limit: two passes of {} in ring", cipher.name()), passes, "CPU s/GiB");
        report.row("limit: the same beside a busy neighbour", beside, "CPU s/GiB");
        report.row("limit: TCP spliced in the kernel", splice, "CPU s/GiB");
        report.row("limit: TCP through a 16 KiB buffer", copy, "CPU s/GiB");
        (passes, copy)
    };

    let agent = Served::start(program, cipher, service.addr(), |config| config).await?;
    let agent = Contestant::Agent(Box::new(agent));
    let mut ours = Vec::new();
    for tunnels in [1, 8, 32, 128] {
        for way in Way::BOTH {
            let moved = traffic::throughput(&agent, way, tunnels, scale.bulk).await?;
            tell(report, "edge-gateway", way, tunnels, moved);
            if tunnels == 1 {
                let ratio = passes / moved.cpu;
                report.aim(
                    format!("edge-gateway: of the two-pass limit, {}", way.name()),
                    ratio,
                    "times",
                    Target::AtLeast(0.8),
                );
                report.row(
                    format!("edge-gateway: of two passes and one TCP copy, {}", way.name()),
                    (passes + copy) / moved.cpu,
                    "times",
                );
                report.row(
                    format!("edge-gateway: in the program, of the two-pass limit, {}", way.name()),
                    passes / moved.user,
                    "times",
                );
                ours.push(moved);
            }
        }
    }
    waits(report, "edge-gateway", &agent, scale, true).await?;
    life::opening(report, &agent, "edge-gateway", scale).await?;
    drop(agent);

    let mut best = [f64::INFINITY; 2];
    for client in SshClient::BOTH {
        if let Some(why) = missing(client, cipher) {
            report.skip(&format!("{}, {}", client.name(), cipher.name()), &why);
            continue;
        }
        // A peer that stalls is no reason to measure nothing else.
        if let Err(error) = peer(report, client, cipher, service, scale, &mut best).await {
            report.skip(&format!("the rest of {}, {}", client.name(), cipher.name()), &error.to_string());
        }
    }
    for ((way, ours), best) in Way::BOTH.into_iter().zip(ours).zip(best) {
        if best.is_finite() {
            let name = format!("edge-gateway beside the better chain, bytes per CPU second, {}", way.name());
            report.aim(name, best / ours.cpu, "times", Target::AtLeast(1.3));
        }
    }
    Ok(())
}

/// One chain of what people would use instead; `best` is the least CPU time of any for a GiB each way.
async fn peer(
    report: &mut Report,
    client: SshClient,
    cipher: Cipher,
    service: &Service,
    scale: &Scale,
    best: &mut [f64; 2],
) -> io::Result<()> {
    let chain = Chain::start(client, cipher, service.addr(), Ipv4Addr::LOCALHOST, async |server| Ok(server)).await?;
    let chain = Contestant::Chain(Box::new(chain));
    for tunnels in [1, 8] {
        for (way, best) in Way::BOTH.into_iter().zip(&mut *best) {
            let moved = traffic::throughput(&chain, way, tunnels, scale.bulk).await?;
            tell(report, client.name(), way, tunnels, moved);
            if tunnels == 1 {
                *best = best.min(moved.cpu);
            }
        }
    }
    waits(report, client.name(), &chain, scale, false).await?;
    life::opening(report, &chain, client.name(), scale).await
}

fn tell(report: &mut Report, who: &str, way: Way, tunnels: usize, moved: Moved) {
    let name = format!("{who}: {tunnels} tunnel{}, {}", if tunnels == 1 { "" } else { "s" }, way.name());
    report.row(name.clone(), moved.mib_per_second, "MiB/s");
    report.row(name, moved.cpu, "CPU s/GiB");
}

/// Round trips, alone and beside bulk.
async fn waits(report: &mut Report, who: &str, it: &Contestant, scale: &Scale, aim: bool) -> io::Result<()> {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let idle = traffic::latency(it, scale.samples, 0, &[]).await?;
    report.row(format!("{who}: round trip, median"), micros(idle.median), "us");
    report.row(format!("{who}: round trip, p99"), micros(idle.p99), "us");
    let loaded = traffic::latency(it, scale.samples, 1, &Way::BOTH).await?;
    report.row(format!("{who}: round trip beside bulk both ways, median"), micros(loaded.median), "us");
    report.row(format!("{who}: round trip beside bulk both ways, p99"), micros(loaded.p99), "us");
    let name = format!("{who}: p99 beside bulk, beside p99 alone");
    let times = loaded.p99.as_secs_f64() / idle.p99.as_secs_f64();
    if aim {
        report.aim(name, times, "times", Target::AtMost(3.0));
    } else {
        report.row(name, times, "times");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_in_any_order_and_nothing_else_passes() {
        assert_eq!(Options::parse(&[]), Some(Options::default()));
        let both = Some(Options { quick: true, only: Some(Part::Lines), inside: None });
        assert_eq!(Options::parse(&["--quick", "--only", "lines"]), both);
        assert_eq!(Options::parse(&["--only", "lines", "--quick"]), both);
        for words in [&["--only"][..], &["--only", "all"], &["quick"]] {
            assert_eq!(Options::parse(words), None, "{words:?}");
        }
    }
}
