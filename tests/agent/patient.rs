//! Behaviours that are waits of ten seconds and more. One test runs them all at once, so that it takes as long as the longest.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use testbed::api::{Endpoint, Fault, Recorded};
use testbed::bed::Bed;
use testbed::certs::Validity;
use testbed::targets;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::fixture::{Gateway, complaint, enrolling, is_native, limit};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_its_time() {
    let mut behaviours = JoinSet::new();
    behaviours.spawn(a_platform_that_never_answers());
    behaviours.spawn(a_platform_that_never_says_hello());
    behaviours.spawn(failover_without_a_named_relay_and_none_with_one());
    behaviours.spawn(the_platform_moves_the_gateway());
    behaviours.spawn(a_move_that_is_taken_back());
    behaviours.spawn(a_client_that_says_nothing_is_dropped());
    behaviours.spawn(a_tunnel_that_does_not_end_is_cut_after_ten_seconds());
    while let Some(ended) = behaviours.join_next().await {
        if let Err(failure) = ended {
            // Its message is above, with the name of the file and the line.
            std::panic::resume_unwind(failure.into_panic());
        }
    }
}

async fn a_platform_that_never_answers() {
    let bed = Bed::start().await.unwrap();
    bed.api.fail(Endpoint::Enroll, Fault::Silence);
    let started = Instant::now();
    let mut agent = Gateway::start(&enrolling(&bed).args(&["enroll"]));
    let code = agent.wait(limit() + Duration::from_secs(30)).await.unwrap().code();
    assert_eq!(code, Some(75), "{:?}", agent.log());
    agent.says("no complete answer in time").await;
    assert!(started.elapsed() >= Duration::from_secs(25));
}

/// TCP connects, and nothing speaks TLS there.
async fn a_platform_that_never_says_hello() {
    let bed = Bed::start().await.unwrap();
    let silent = targets::stalling().await.unwrap();
    let config = enrolling(&bed).args(&["enroll"]).env("INFISICAL_DOMAIN", format!("https://{}", silent.addr()));
    let line = complaint(&config, 75).await;
    assert!(line.contains("no connection in time"), "{line}");
}

async fn failover_without_a_named_relay_and_none_with_one() {
    let (named, free) = tokio::join!(Bed::start(), Bed::start());
    let (named, free) = (named.unwrap(), free.unwrap());
    let second = named.add_relay("second", Ipv4Addr::new(127, 0, 0, 6)).await.unwrap();
    let held = Gateway::served(&named, &enrolling(&named)).await;
    let other = free.add_relay("other", Ipv4Addr::new(127, 0, 0, 7)).await.unwrap();
    // It is chosen last: the organization's own come first.
    free.api.change_relays(|relays| relays[1].of_organization = false);
    let moving = Gateway::served(&free, &enrolling(&free).without_env("INFISICAL_RELAY_NAME")).await;

    named.relay.kill().await;
    free.relay.kill().await;
    let gone = Instant::now();
    moving.within(other.wait_for_gateway(&free.gateway_id, limit() + Duration::from_secs(10))).await;
    let took = gone.elapsed();
    assert!(took >= Duration::from_secs(9), "a relay that restarts has time for it: {took:?}");
    assert!(took < Duration::from_secs(20) || !is_native(), "{took:?}");
    moving.stop().await;

    // By now the other one has had every reason to leave.
    assert_eq!(second.counters().connections, 0);
    named.relay.restart().await.unwrap();
    held.is_served(&named).await;
    held.stop().await;
}

/// Certificates are renewed before a third of their life has passed. When the new ones are for another relay, the new link
/// comes before the old one goes, and a tunnel on the old one may end in peace.
async fn the_platform_moves_the_gateway() {
    let bed = Bed::start().await.unwrap();
    let second = bed.add_relay("second", Ipv4Addr::new(127, 0, 0, 8)).await.unwrap();
    // The platform chooses for those that may not see the list.
    bed.api.fail(Endpoint::Relays, Fault::status(403, "No permission to list relays"));
    let life = limit() / 2;
    bed.api.shape_leaf(move |spec| spec.valid(Validity::lasting(life)));
    let gateway = Gateway::served(&bed, &enrolling(&bed).without_env("INFISICAL_RELAY_NAME")).await;
    let target = targets::echo().await.unwrap();
    let mut stream = bed.client().tcp(target.addr()).await.unwrap();

    bed.api.shape_leaf(|spec| spec);
    bed.api.change_relays(|relays| relays.reverse());
    gateway.within(second.wait_for_gateway(&bed.gateway_id, limit() + life)).await;
    stream.write_all(b"x").await.unwrap();
    gateway.within(stream.read_exact(&mut [0; 1])).await;
    drop(stream);
    gateway.within(bed.relay.wait(limit(), |counters| counters.gateways == 0)).await;
    assert!(second.is_connected(&bed.gateway_id));
    gateway.stop().await;
}

/// The platform moves the gateway to a relay that does not answer, and back: the link that was never left goes on.
async fn a_move_that_is_taken_back() {
    let bed = Bed::start().await.unwrap();
    let second = bed.add_relay("second", Ipv4Addr::new(127, 0, 0, 5)).await.unwrap();
    bed.api.fail(Endpoint::Relays, Fault::status(403, "No permission to list relays"));
    // Renewed at a third of their life.
    bed.api.shape_leaf(|spec| spec.valid(Validity::lasting(limit() / 4)));
    let gateway = Gateway::served(&bed, &enrolling(&bed).without_env("INFISICAL_RELAY_NAME")).await;
    second.kill().await;
    bed.api.change_relays(|relays| relays.reverse());
    gateway.says("relay 127.0.0.5").await;
    gateway.says("trying again").await;
    let beaten = bed.api.count(Endpoint::Heartbeat);
    bed.api.change_relays(|relays| relays.reverse());
    gateway.says("relay 127.0.0.1 was never left").await;
    // The platform is told some seconds later, which is time enough for a second login.
    let beats = |seen: &[Recorded]| seen.iter().filter(|call| call.endpoint == Some(Endpoint::Heartbeat)).count();
    gateway.within(bed.api.wait(limit(), |seen| beats(seen) > beaten)).await;
    gateway.within(bed.client().ping()).await;
    assert_eq!((bed.relay.counters().logins, bed.relay.counters().duplicates), (1, 0));
    gateway.stop().await;
}

async fn a_client_that_says_nothing_is_dropped() {
    let bed = Bed::start().await.unwrap();
    let gateway = Gateway::served(&bed, &enrolling(&bed)).await;
    let _silent = bed.relay.open_channel(&bed.gateway_id).await.unwrap();
    gateway.says("no TLS handshake within 10 s").await;
    gateway.within(bed.client().ping()).await;
    gateway.stop().await;
}

async fn a_tunnel_that_does_not_end_is_cut_after_ten_seconds() {
    let bed = Bed::start().await.unwrap();
    let target = targets::stalling().await.unwrap();
    let gateway = Gateway::served(&bed, &enrolling(&bed)).await;
    let _stream = bed.client().tcp(target.addr()).await.unwrap();
    let started = Instant::now();
    gateway.stop().await;
    let took = started.elapsed();
    assert!(took < Duration::from_secs(13) || !is_native(), "{took:?}");
}
