//! What is kept, and what becomes of it when the medium, the file or the clock is bad.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use testbed::agent::AgentConfig;
use testbed::api::Endpoint;
use testbed::bed::Bed;
use testbed::certs::Validity;

use crate::fixture::{Gateway, absolute, complaint, enrolling, is_native, limit, refusal, settings};
use crate::support::tools::{installed, say, skipped};

#[tokio::test]
async fn a_restart_without_the_platform() {
    let bed = Bed::start().await.unwrap();
    Gateway::served(&bed, &enrolling(&bed)).await.stop().await;
    bed.api.kill().await;
    let gateway = Gateway::served(&bed, &settings(&bed)).await;
    gateway.says("certificates from the state file").await;
    gateway.says(refusal()).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_power_cut_and_a_start_without_the_platform() {
    let bed = Bed::start().await.unwrap();
    Gateway::served(&bed, &enrolling(&bed)).await.kill(&bed).await;
    bed.api.kill().await;
    let gateway = Gateway::served(&bed, &settings(&bed)).await;
    // The platform's return is noticed without another start.
    bed.api.restart().await.unwrap();
    gateway.within(bed.api.wait_for(limit(), Endpoint::Connect, 200)).await;
    gateway.stop().await;
}

#[tokio::test]
async fn the_state_is_for_its_owner_alone_and_holds_no_one_time_token() {
    let bed = Bed::start().await.unwrap();
    let config = enrolling(&bed);
    Gateway::served(&bed, &config).await.stop().await;
    let state = bed.state_dir().unwrap().join("state");
    assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o600);
    let token = config.env["INFISICAL_TOKEN"].as_bytes();
    let bytes = fs::read(&state).unwrap();
    assert!(!bytes.windows(token.len()).any(|window| window == token));
}

#[tokio::test]
async fn expired_certificates_wait_for_the_platform() {
    let bed = Bed::start().await.unwrap();
    bed.api.shape_leaf(|spec| spec.valid(Validity::past()));
    let gateway = Gateway::start(&enrolling(&bed));
    gateway.says("serverCertificate: expired").await;
    gateway.kill(&bed).await;
    bed.api.kill().await;

    let gateway = Gateway::start(&settings(&bed));
    let line = gateway.says("in the state file are of no use").await;
    assert!(line.contains("expired"), "{line}");
    gateway.says(refusal()).await;
    assert_eq!(bed.relay.counters().connections, 0, "shown to a relay all the same");
    bed.api.shape_leaf(|spec| spec);
    bed.api.restart().await.unwrap();
    gateway.is_served(&bed).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_damaged_state_is_kept_and_told() {
    let bed = Bed::start().await.unwrap();
    Gateway::served(&bed, &enrolling(&bed)).await.stop().await;
    let folder = bed.state_dir().unwrap();
    let state = fs::read(folder.join("state")).unwrap();
    fs::write(folder.join("state"), &state[..state.len() / 2]).unwrap();
    let gateway = Gateway::served(&bed, &enrolling(&bed)).await;
    let line = gateway.says("state.bad-0").await;
    assert!(line.starts_with("error: ") && line.contains("enrol again"), "{line}");
    assert_eq!(fs::read(folder.join("state.bad-0")).unwrap(), state[..state.len() / 2]);
    gateway.stop().await;
}

#[tokio::test]
async fn one_agent_for_one_folder() {
    let bed = Bed::start().await.unwrap();
    let gateway = Gateway::served(&bed, &enrolling(&bed)).await;
    let line = complaint(&settings(&bed), 73).await;
    assert!(line.contains("another agent") && line.contains("EDGE_GATEWAY_STATE_DIR"), "{line}");
    gateway.stop().await;
}

/// The settings, under a limit that makes every write to a file fail as it does on a full medium.
fn on_a_full_medium(config: AgentConfig) -> AgentConfig {
    config.run_by(&["/bin/sh", "-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"])
}

#[tokio::test]
async fn a_full_medium_spends_no_token() {
    let bed = Bed::start().await.unwrap();
    for command in ["enroll", "run"] {
        let line = complaint(&on_a_full_medium(enrolling(&bed)).args(&[command]), 74).await;
        assert!(line.contains("not spent") && line.contains("EDGE_GATEWAY_STATE_DIR"), "{line}");
    }
    assert_eq!(bed.api.count(Endpoint::Enroll), 0);
}

#[tokio::test]
async fn a_full_medium_does_not_end_a_tunnel() {
    let bed = Bed::start().await.unwrap();
    Gateway::served(&bed, &enrolling(&bed)).await.stop().await;
    let before = fs::read(bed.state_dir().unwrap().join("state")).unwrap();
    let gateway = Gateway::served(&bed, &on_a_full_medium(settings(&bed))).await;
    gateway.says("the state cannot be saved").await;
    gateway.is_served(&bed).await;
    gateway.stop().await;
    assert_eq!(fs::read(bed.state_dir().unwrap().join("state")).unwrap(), before, "what was there is intact");
}

/// The settings, without root's right to write where the mode forbids it. `None`: this machine can't take it away.
fn without_roots_rights(config: AgentConfig) -> Option<AgentConfig> {
    if fs::metadata("/proc/self").is_ok_and(|own| own.uid() != 0) {
        return Some(config);
    }
    let setpriv = absolute("setpriv");
    let words = [setpriv.as_str(), "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"];
    let works = Command::new(words[0]).args(&words[1..]).arg("/bin/true").status().is_ok_and(|status| status.success());
    (works || skipped("setpriv can't drop capabilities here")).then(|| config.run_by(&words))
}

#[tokio::test]
async fn a_read_only_folder() {
    let bed = Bed::start().await.unwrap();
    let Some(config) = without_roots_rights(enrolling(&bed)) else { return };
    let folder = bed.state_dir().unwrap();
    set_mode(&folder, 0o500);
    let line = complaint(&config, 74).await;
    assert!(line.contains("not spent") && line.contains(&folder.display().to_string()), "{line}");
    assert_eq!(bed.api.count(Endpoint::Enroll), 0);

    // With certificates in it, it is served from.
    set_mode(&folder, 0o700);
    Gateway::served(&bed, &enrolling(&bed)).await.stop().await;
    set_mode(&folder, 0o500);
    let Some(config) = without_roots_rights(settings(&bed)) else { return };
    let gateway = Gateway::served(&bed, &config).await;
    gateway.says("the state cannot be saved").await;
    gateway.is_served(&bed).await;
    gateway.stop().await;
    set_mode(&folder, 0o700);
}

fn set_mode(folder: &Path, mode: u32) {
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
}

/// A box without a real-time clock. A library in front of libc's puts this process's clock into 1970.
#[tokio::test]
async fn a_clock_in_1970() {
    if !is_native() {
        // A static or foreign binary takes no library in front.
        say("another binary than this machine's own is tested: its clock can't be set");
        return;
    }
    if !installed(&["cc"]) {
        return;
    }
    let bed = Bed::start().await.unwrap();
    let source = bed.dir.write("clock.c", include_str!("clock.c")).unwrap();
    let library = bed.dir.path().join("clock.so");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status().unwrap();
    assert!(made.success());
    let clockless = |config: AgentConfig| config.env("LD_PRELOAD", library.display().to_string());
    // The day of the build is good enough for the platform's certificate; then the platform tells the time, and the bundle's
    // certificates, minutes old, are valid.
    Gateway::served(&bed, &clockless(enrolling(&bed))).await.stop().await;
    // Later there is the last time that the platform told.
    let gateway = Gateway::served(&bed, &clockless(settings(&bed))).await;
    let line = gateway.says("clock is in the past").await;
    assert!(line.starts_with("warning: "), "{line}");
    gateway.within(bed.api.wait_for(limit(), Endpoint::Heartbeat, 200)).await;
    gateway.stop().await;
}
