//! `testbed serve`: a platform and a relay for an agent that someone starts by hand.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use testbed::agent::AgentConfig;
use testbed::api::{Api, Endpoint};
use testbed::bed::Bed;
use testbed::certs::Validity;
use testbed::relay::Counters;
use testbed::targets::{self, HttpTarget};

use crate::transcript::Transcript;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Longer than anyone watches.
const EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Runs until it is interrupted, for an agent that reaches this machine at `host`.
pub(crate) async fn run(host: IpAddr) -> io::Result<()> {
    let bed = Bed::builder().host(host).start().await?;
    let (echo, http) = (targets::echo().await?, HttpTarget::start().await?);
    let clients = bed.relay.expose(&bed.gateway_id).await?;

    println!("# The settings of an agent that enrols here, once, by hand:");
    for (name, value) in settings(&bed.new_agent("edge-gateway")?) {
        println!("export {name}='{value}'");
    }
    println!("edge-gateway run\n");
    println!("# Targets: TCP echo {}, HTTP {}", echo.addr(), http.addr());
    println!("# A client by hand, whose certificate is for the TCP echo target:");
    println!("{}\n", client_command(&bed, clients, SocketAddr::new(host, echo.addr().port()))?);
    println!("# What happens; interrupt to stop, which removes the state folder too:");

    let transcript = Transcript::start();
    tokio::select! {
        () = watch_api(&bed.api, &transcript) => {}
        () = watch_relay(&bed, &transcript) => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

/// An OpenSSL command that reaches a target through the gateway. Its certificate lasts a day instead of minutes.
fn client_command(bed: &Bed, clients: SocketAddr, target: SocketAddr) -> io::Result<String> {
    let certificate = bed.client().certificate_for(&target.ip().to_string(), target.port());
    let certificate = certificate.valid(Validity::lasting(DAY)).issue();
    let cert = bed.dir.write("client.pem", certificate.certificate_pem())?;
    let key = bed.dir.write("client.key", certificate.private_key_pem())?;
    let ca = bed.dir.write("gateway-ca.pem", &bed.pki.server_chain_pem())?;
    Ok(format!(
        "openssl s_client -quiet -noservername -verify_hostname localhost -verify_return_error \\\n  \
         -connect {clients} -alpn infisical-tcp-proxy -CAfile {} -cert {} -key {}",
        ca.display(),
        cert.display(),
        key.display()
    ))
}

fn settings(agent: &AgentConfig) -> impl Iterator<Item = (&String, &String)> {
    agent.env.iter()
}

/// Tells of every answered call.
async fn watch_api(api: &Api, transcript: &Transcript) {
    let mut told = 0;
    loop {
        let more = api.wait(EVER, |seen| seen.get(told).is_some_and(|request| request.status.is_some())).await;
        let Ok(seen) = more else { return };
        let request = &seen[told];
        let status = request.status.unwrap_or_default();
        let dialled = request.is(Endpoint::Heartbeat, 200);
        let note = if dialled { ", and the gateway answered the platform's ping" } else { "" };
        transcript.say("platform", format_args!("{} -> {status}{note}", request.request.start_line));
        told += 1;
    }
}

/// Tells of gateways that come and go.
async fn watch_relay(bed: &Bed, transcript: &Transcript) {
    let mut last = Counters::default();
    loop {
        let changed = |now: &Counters| {
            (now.logins, now.ended, now.rejected, now.duplicates)
                != (last.logins, last.ended, last.rejected, last.duplicates)
        };
        let Ok(now) = bed.relay.wait(EVER, changed).await else {
            return;
        };
        if now.duplicates > last.duplicates {
            transcript.say("relay", "a gateway came a second time and was turned away");
        } else if now.logins > last.logins {
            transcript.say("relay", "a gateway logged in");
        }
        if now.ended > last.ended {
            transcript.say("relay", "a connection ended");
        }
        if now.rejected > last.rejected {
            let why = now.last_rejection.as_deref().unwrap_or_default();
            transcript.say("relay", format_args!("a certificate was refused: {why}"));
        }
        last = now;
    }
}
