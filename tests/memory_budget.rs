//! The memory budget through the built program: as many tunnels as it allows, every byte exact, no growth past it, and a clear
//! refusal for one more.

use std::io;
use std::time::Duration;

use testbed::agent::Agent;
use testbed::bed::Bed;
use testbed::client::{PlatformClient, Stream, alpn};
use testbed::load;
use testbed::process::Resident;
use testbed::relay::OpenError;
use testbed::targets::Target;
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(60);
const TUNNELS: usize = 128;
const BUDGET_KIB: u64 = 2 * 1024;
/// What a tunnel takes beside its buffers: task, TLS session, keys, in a build without optimisation.
const TUNNEL_KIB: u64 = 16;
const SHARE: u64 = 256 * 1024;

struct Field {
    bed: Bed,
    agent: Agent,
    target: Target,
}

impl Field {
    async fn new(settings: &[(&str, &str)]) -> Field {
        let bed = Bed::start().await.expect("a bed");
        let config = bed.new_agent(env!("CARGO_BIN_EXE_edge-gateway")).expect("settings");
        let config = settings.iter().fold(config, |config, (name, value)| config.env(name, *value));
        let agent = Agent::start(&config).expect("started");
        bed.wait_for_gateway(LIMIT).await.expect("connected");
        bed.client().ping().await.expect("served");
        Field { bed, agent, target: load::target().await.expect("a port") }
    }

    async fn open(&self, count: usize) -> Vec<Stream> {
        let client: PlatformClient = self.bed.client();
        let certificate = client.certificate_for("127.0.0.1", self.target.addr().port()).issue();
        let mut streams = Vec::new();
        for _ in 0..count {
            let mut stream = client.connect(&[alpn::TCP], Some(&certificate)).await.expect("a tunnel");
            load::exchange(&mut stream).await.expect("as sent");
            streams.push(stream);
        }
        streams
    }
}

/// Every stream carries [`SHARE`] bytes each way, all at once.
async fn carry(streams: Vec<Stream>) -> Vec<Stream> {
    let mut tasks = JoinSet::new();
    for (number, mut stream) in streams.into_iter().enumerate() {
        tasks.spawn(async move {
            // Half of them begin with the one direction, half with the other.
            if number % 2 == 0 {
                load::upload(&mut stream, SHARE).await?;
            }
            load::download(&mut stream, SHARE).await?;
            if number % 2 == 1 {
                load::upload(&mut stream, SHARE).await?;
            }
            io::Result::Ok(stream)
        });
    }
    let mut streams = Vec::new();
    while let Some(task) = tasks.join_next().await {
        streams.push(task.expect("no panic").expect("every byte as it was sent"));
    }
    streams
}

#[tokio::test]
async fn a_small_budget_serves_all_tunnels_exactly_and_refuses_one_more() {
    let settings = [("EDGE_GATEWAY_MEMORY", "2 MiB"), ("EDGE_GATEWAY_MAX_TUNNELS", "128")];
    let field = Field::new(&settings).await;
    let before = Resident::of(field.agent.pid()).expect("memory");
    let streams = carry(field.open(TUNNELS).await).await;

    let refused = field.bed.relay.open_channel(&field.bed.gateway_id).await.err().expect("no room for one more");
    let shortage = matches!(&refused, OpenError::Refused(reason) if format!("{reason:?}") == "ResourceShortage");
    assert!(shortage, "{refused}");

    let streams = carry(streams).await;
    let after = Resident::of(field.agent.pid()).expect("memory");
    let growth = after.peak - before.all;
    let most = BUDGET_KIB + TUNNELS as u64 * TUNNEL_KIB;
    assert!(growth <= most, "{TUNNELS} tunnels took {growth} KiB, not {most}: {before:?}, {after:?}");

    // Room that is given up is used again.
    drop(streams);
    field.bed.relay.wait(LIMIT, |counters| counters.channels == 0).await.expect("closed");
    carry(field.open(8).await).await;
}

#[tokio::test]
async fn clients_and_targets_that_do_not_read_hold_no_more_than_their_share() {
    let field = Field::new(&[("EDGE_GATEWAY_MEMORY", "1 MiB"), ("EDGE_GATEWAY_MAX_TUNNELS", "64")]).await;
    let mut stalled = field.open(24).await;
    for stream in &mut stalled {
        load::ask_and_stall(stream, 64 << 20).await.expect("asked");
    }
    carry(field.open(16).await).await;
    drop(stalled);
}

#[tokio::test]
async fn a_budget_too_small_for_one_tunnel_is_refused_with_the_least_that_works() {
    let bed = Bed::start().await.expect("a bed");
    let config =
        bed.new_agent(env!("CARGO_BIN_EXE_edge-gateway")).expect("settings").env("EDGE_GATEWAY_MEMORY", "64KiB");
    let (status, log) = Agent::start(&config).expect("started").finish(LIMIT).await.expect("it ends");
    assert_eq!(status.code(), Some(78), "{log:?}");
    let told = log.iter().any(|line| line.contains("EDGE_GATEWAY_MEMORY") && line.contains("from 100KiB"));
    assert!(told, "{log:?}");

    let field = Field::new(&[("EDGE_GATEWAY_MEMORY", "100KiB")]).await;
    field.agent.wait_for_line(LIMIT, "tunnels are served at one time, not 64").await.expect("said so");
    let streams = carry(field.open(2).await).await;
    assert_eq!(streams.len(), 2);
}
