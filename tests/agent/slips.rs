//! What people do by a slip, and what the platform changes behind the agent's back.

use std::fs;

use testbed::agent::Signal;
use testbed::api::Endpoint;
use testbed::bed::{Bed, RELAY_NAME};

use crate::fixture::{Gateway, complaint, enrolling, limit, settings, with_file};

/// Another domain, with and without something to enrol with, costs nothing: the enrolment is there when the slip is mended.
#[tokio::test]
async fn a_wrong_domain_keeps_the_enrolment() {
    let (bed, other) = (Bed::start().await.unwrap(), Bed::start().await.unwrap());
    Gateway::served(&bed, &enrolling(&bed)).await.stop().await;
    let folder = bed.state_dir().unwrap();
    let before = fs::read(folder.join("state")).unwrap();
    let slip = settings(&other).env("EDGE_GATEWAY_STATE_DIR", folder.display().to_string());

    let line = complaint(&slip, 78).await;
    assert!(line.contains("not enrolled"), "{line}");
    let spent = slip.clone().env("INFISICAL_GATEWAY_ENROLL_METHOD", "token").env("INFISICAL_TOKEN", "gwe_spent");
    complaint(&spent, 77).await;
    assert_eq!(fs::read(folder.join("state")).unwrap(), before);

    if cfg!(feature = "doctor") {
        let mut doctor = Gateway::start(&slip.args(&["doctor"]));
        doctor.says("FAIL enrolment: it belongs to").await;
        doctor.says("there is no token here to try").await;
        assert_eq!(doctor.wait(limit()).await.unwrap().code(), Some(69));
    }
    let shown = other.api.requests();
    let tokens = shown.iter().flat_map(|call| &call.request.headers).filter(|(_, value)| value.contains("gat_"));
    assert!(!shown.is_empty() && tokens.count() == 0, "the other platform was shown this one's token");
    Gateway::served(&bed, &settings(&bed)).await.stop().await;
    assert_eq!(bed.api.count(Endpoint::Enroll), 1);
}

/// An access token of another gateway: the link moves to that one, though the relay stays.
#[tokio::test]
async fn another_gateways_token_moves_the_link() {
    let bed = Bed::start().await.unwrap();
    Gateway::served(&bed, &enrolling(&bed)).await.stop().await;
    let token = bed.api.gateway_token("another");
    let gateway = Gateway::start(&settings(&bed).env("INFISICAL_GATEWAY_ACCESS_TOKEN", token));
    gateway.within(bed.relay.wait_for_gateway(&bed.api.gateway_id("another"), limit())).await;
    gateway.within(bed.relay.wait(limit(), |counters| counters.gateways == 1)).await;
    gateway.stop().await;
}

/// The relay that was chosen is renamed on the platform.
#[tokio::test]
async fn a_relay_that_is_gone_is_chosen_anew() {
    let bed = Bed::start().await.unwrap();
    Gateway::served(&bed, &enrolling(&bed).without_env("INFISICAL_RELAY_NAME")).await.stop().await;
    bed.api.change_relays(|relays| relays[0].name = "renamed".to_owned());
    let gateway = Gateway::start(&settings(&bed).without_env("INFISICAL_RELAY_NAME"));
    gateway.says("choosing among the relays that there are").await;
    let renamed =
        |call: &testbed::api::Recorded| call.is(Endpoint::Connect, 200) && call.json()["relayName"] == "renamed";
    gateway.within(bed.api.wait(limit(), |seen| seen.iter().any(renamed))).await;
    gateway.is_served(&bed).await;
    gateway.stop().await;
}

/// A platform without a relay, and one whose relay does not answer: neither ends an agent that has yet to be served.
#[tokio::test]
async fn relays_that_come_later_are_waited_for() {
    let bed = Bed::start().await.unwrap();
    let mut kept = Vec::new();
    bed.api.change_relays(|relays| kept = std::mem::take(relays));
    let gateway = Gateway::start(&enrolling(&bed).without_env("INFISICAL_RELAY_NAME"));
    gateway.says("the platform has no relay for this gateway now").await;
    bed.relay.kill().await;
    bed.api.change_relays(|relays| *relays = kept);
    gateway.says(&format!("no relay answers; asking for {RELAY_NAME}")).await;
    bed.relay.restart().await.unwrap();
    gateway.is_served(&bed).await;
    gateway.stop().await;
}

/// A reload with settings that the start would refuse leaves everything as it is.
#[tokio::test]
async fn a_reload_refuses_what_the_start_would_refuse() {
    let bed = Bed::start().await.unwrap();
    let config = with_file(&bed, enrolling(&bed).without_env("EDGE_GATEWAY_CA_FILE"), "");
    let right = format!("EDGE_GATEWAY_CA_FILE={}\n", bed.ca_file.display());
    with_file(&bed, config.clone(), &right);
    let gateway = Gateway::served(&bed, &config).await;
    for wrong in ["EDGE_GATEWAY_CA_FILE=/nowhere/ca.pem\n", "EDGE_GATEWAY_ALLOW=10.0.0.0/33:*\n"] {
        with_file(&bed, config.clone(), &format!("{right}{wrong}EDGE_GATEWAY_MAX_TUNNELS=11\n"));
        gateway.signal(Signal::Hup).unwrap();
        let line = gateway.says("the settings are not changed").await;
        assert!(line.contains("EDGE_GATEWAY_"), "{line}");
    }
    gateway.within(bed.client().ping()).await;
    assert_eq!(bed.relay.counters().logins, 1);
    gateway.stop().await;
}

/// The log can be made to tell more without cutting a tunnel.
#[tokio::test]
async fn a_reload_changes_the_log_at_once() {
    let bed = Bed::start().await.unwrap();
    let config = with_file(&bed, enrolling(&bed), "");
    let gateway = Gateway::served(&bed, &config).await;
    assert!(!gateway.log().iter().any(|line| line.starts_with("debug: ")));
    with_file(&bed, config, "EDGE_GATEWAY_LOG=debug\n");
    gateway.signal(Signal::Hup).unwrap();
    gateway.says("settings read again").await;
    gateway.within(bed.client().ping()).await;
    // The `core` flavour has no such lines.
    if cfg!(feature = "doctor") {
        gateway.says("infisical-ping").await;
    }
    assert_eq!(bed.relay.counters().logins, 1);
    gateway.stop().await;
}

/// `enroll` with something else than a one-time token, and with nowhere to keep what that bought.
#[tokio::test]
async fn enroll_says_when_there_is_no_enrolment() {
    let bed = Bed::start().await.unwrap();
    let token = bed.api.gateway_token("another");
    let line = complaint(&settings(&bed).args(&["enroll"]).env("INFISICAL_GATEWAY_ACCESS_TOKEN", token), 78).await;
    assert!(line.contains("INFISICAL_TOKEN") && line.contains("enrolled already"), "{line}");

    let gate = bed.api.hold(Endpoint::Enroll);
    let mut gateway = Gateway::start(&enrolling(&bed).args(&["enroll"]));
    gateway.within(bed.api.wait(limit(), |seen| !seen.is_empty())).await;
    fs::remove_dir_all(bed.state_dir().unwrap()).unwrap();
    gate.open();
    assert_eq!(gateway.wait(limit()).await.unwrap().code(), Some(74), "{:?}", gateway.log());
    gateway.says("enrolled, and the enrolment is lost").await;
}
