//! Lines that the kernel makes, with loss: `tc netem` in a network namespace, where a copy of this program measures.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use testbed::agent::Agent;
use testbed::dir::TempDir;
use testbed::targets::Target as Service;

use super::contestant::{Contestant, LIMIT, Served, builder};
use super::limit::Cipher;
use super::link::{Line, one, peer};
use super::peers::{Chain, SshClient, find};
use super::report::Report;
use super::{Scale, missing};

/// In the namespace the relay has this address, and what goes to it or comes from it takes the line.
const RELAY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The shell's way out when there can be no such line.
const NO_LINE: i32 = 75;

/// Packets are as on a real line, not the 64 KiB that the loopback device carries at once.
const SETUP: &str = r#"
set -e
trap 'exit 75' EXIT
ip link set lo mtu 1500 up
ip link set lo gso_max_segs 1
tc qdisc add dev lo root handle 1: htb default 1
tc class add dev lo parent 1: classid 1:1 htb rate 10gbit
way() {
    tc class add dev lo parent 1: classid "1:$1" htb rate 10gbit
    tc qdisc add dev lo parent "1:$1" netem delay "$DELAY" loss "$LOSS" rate "$RATE" limit 1000
    tc filter add dev lo parent 1: protocol ip u32 match ip "$2" 127.0.0.2/32 flowid "1:$1"
}
way 2 dst
way 3 src
trap - EXIT
exec "$@"
"#;

/// Measures over each line, or says why that can't be.
pub(super) async fn measure(report: &mut Report, program: &Path, quick: bool, scale: &Scale) -> io::Result<()> {
    report.section("Lines that the kernel makes, with loss (tc netem in a network namespace)");
    let tools = [("unshare", "util-linux"), ("ip", "iproute2"), ("tc", "iproute2")];
    if let Some((tool, package)) = tools.into_iter().find(|(tool, _)| find(tool).is_none()) {
        report.skip("lines with loss", &format!("{tool} is not installed (package {package})"));
        return Ok(());
    }
    for line in scale.lines.iter().map(|line| line.losing(1)) {
        let folder = TempDir::new()?;
        let file = folder.path().join("rows.json");
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", SETUP, "sh"]).arg(std::env::current_exe()?);
        command.args(["bench", "--inside", &format!("{},{}", line.round_trip.as_millis(), line.megabits())]).arg(&file);
        command.args(quick.then_some("--quick"));
        command
            .env("EDGE_GATEWAY_BIN", program)
            .env("DELAY", format!("{}ms", line.round_trip.as_millis() / 2))
            .env("LOSS", format!("{}%", line.loss))
            .env("RATE", format!("{}mbit", line.megabits()));
        let output = command.stdout(Stdio::inherit()).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let why = said.lines().last().unwrap_or("no reason given");
        match output.status.code() {
            Some(0) => report.take_over(&serde_json::from_slice::<Value>(&std::fs::read(&file)?)?),
            Some(NO_LINE | 1) if !file.exists() => {
                report.skip("lines with loss", why);
                return Ok(());
            }
            _ => return Err(io::Error::other(format!("in the namespace: {said}"))),
        }
    }
    Ok(())
}

/// The copy's work: `line` is the round trip in ms and the rate in Mbit/s.
pub(super) async fn inside(
    line: &str,
    file: &Path,
    program: &Path,
    service: &Service,
    scale: &Scale,
) -> io::Result<()> {
    // There now: what goes wrong from here on is a failure, not a missing line.
    std::fs::write(file, "{}")?;
    let numbers = line.split_once(',').and_then(|(ms, rate)| Some((ms.parse().ok()?, rate.parse().ok()?)));
    let (round_trip, megabits) = numbers.ok_or_else(|| io::Error::other("no line"))?;
    let line = Line::new(round_trip, megabits).losing(1);
    let mut report = Report::default();

    let bed = builder(Cipher::Aes).relay(|relay| relay.bind = (RELAY, 0).into()).start().await?;
    let config = bed.new_agent(program)?;
    let started = Instant::now();
    let agent = Agent::start(&config)?;
    bed.wait_for_gateway(LIMIT).await?;
    let served = Served::new(bed, agent, config, started, Cipher::Aes, service.addr());
    one(&mut report, "edge-gateway", line, &Contestant::Agent(Box::new(served)), scale).await?;
    if missing(SshClient::OpenSsh, Cipher::Aes).is_none() {
        let here = async |server| Ok(server);
        let chain = Chain::start(SshClient::OpenSsh, Cipher::Aes, service.addr(), RELAY, here).await?;
        peer(&mut report, line, chain, scale).await;
    }
    std::fs::write(file, report.json(&[]).to_string())
}
