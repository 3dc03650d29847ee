//! What the agent holds, within the numbers of `targets/budgets.toml`.

use std::path::Path;

use testbed::bed::Bed;
use testbed::client::alpn;
use testbed::load;
use testbed::process::{Resident, forget_peak};
use tokio::task::JoinSet;

use crate::fixture::{Gateway, enrolling, is_emulated, is_native};

/// Bytes that each busy tunnel carries, one way.
const SHARE: u64 = 1 << 20;

/// A number of the section `[memory]`, in KiB.
fn budget(name: &str) -> u64 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets/budgets.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split_once("[memory]").expect("a section of memory").1;
    let value = section.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
    value.and_then(|value| value.replace('_', "").parse().ok()).unwrap_or_else(|| panic!("no number for {name}"))
}

/// Half of the tunnels carry bytes to the target and half of them from it, all at once.
async fn busy(bed: &Bed, tunnels: usize) {
    let target = load::target().await.unwrap();
    let client = bed.client();
    let certificate = client.certificate_for("127.0.0.1", target.addr().port()).issue();
    let mut streams = Vec::new();
    for _ in 0..tunnels {
        streams.push(client.connect(&[alpn::TCP], Some(&certificate)).await.unwrap());
    }
    let mut tasks = JoinSet::new();
    for (number, mut stream) in streams.into_iter().enumerate() {
        tasks.spawn(async move {
            match number % 2 {
                0 => load::upload(&mut stream, SHARE).await,
                _ => load::download(&mut stream, SHARE).await,
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap().unwrap();
    }
}

#[tokio::test]
async fn memory_stays_within_its_budget_idle_and_with_busy_tunnels() {
    // There the emulator's memory would be measured.
    if is_emulated() {
        return;
    }
    let bed = Bed::start().await.unwrap();
    let gateway = Gateway::served(&bed, &enrolling(&bed).env("EDGE_GATEWAY_MAX_TUNNELS", "128")).await;
    // Of the shipped binary all is counted. One that was built for this machine has its own pages and its C library's beside.
    let held = |peak: bool| match Resident::of(gateway.pid()).unwrap() {
        memory if is_native() => memory.anonymous,
        memory if peak => memory.peak,
        memory => memory.all,
    };
    let within = |name: &str, held: u64| {
        println!("memory: {name}: {held} KiB of {} KiB", budget(name));
        assert!(held <= budget(name), "{name}: {held} KiB, over the budget of {} KiB", budget(name));
    };
    within("idle", held(false));
    for (tunnels, name) in [(32, "busy_32"), (128, "busy_128")] {
        forget_peak(gateway.pid()).unwrap();
        gateway
            .within(async {
                busy(&bed, tunnels).await;
                Ok(())
            })
            .await;
        within(name, held(true));
    }
    gateway.stop().await;
}
