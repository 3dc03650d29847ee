//! What the platform, or something in its place, can answer: the exit code, and one line with the next step.

use std::sync::Arc;

use testbed::api::{Endpoint, Fault};
use testbed::bed::{Bed, GATEWAY_NAME};
use testbed::certs::{Validity, WebCa};
use testbed::targets::{HttpTarget, Target};
use tokio::io::AsyncWriteExt as _;

use crate::fixture::{Gateway, complaint, enrolling, limit, refusal, settings};

/// `enroll` with this fault: the code it ends with, and what its line has in it.
async fn enroll(fault: Fault, code: i32, parts: &[&str]) {
    let bed = Bed::start().await.unwrap();
    bed.api.fail(Endpoint::Enroll, fault);
    let line = complaint(&enrolling(&bed).args(&["enroll"]), code).await;
    for part in ["enrolling at 127.0.0.1: "].iter().chain(parts) {
        assert!(line.contains(part), "no {part:?} in: {line}");
    }
    // What went wrong has not spent the token.
    bed.api.heal();
    let mut again = Gateway::start(&enrolling(&bed).args(&["enroll"]));
    assert_eq!(again.wait(limit()).await.unwrap().code(), Some(0), "{:?}", again.log());
}

#[tokio::test]
async fn status_401() {
    enroll(Fault::status(401, "Token is used up"), 77, &["401 \"Token is used up\"", "create a new enrollment token"])
        .await;
}

#[tokio::test]
async fn status_403() {
    enroll(Fault::status(403, "IP not allowed"), 77, &["403 \"IP not allowed\"", "grant the identity the permission"])
        .await;
}

#[tokio::test]
async fn status_404() {
    enroll(Fault::status(404, "No such token"), 77, &["404 \"No such token\"", "create a new enrollment token"]).await;
    let missing = "Route POST:/api/v3/gateways/token-auth/enroll not found";
    enroll(Fault::status(404, missing), 76, &["INFISICAL_DOMAIN", "new enough"]).await;
}

#[tokio::test]
async fn status_409() {
    enroll(Fault::status(409, "Name is taken"), 78, &["409 \"Name is taken\"", "INFISICAL_GATEWAY_NAME"]).await;
}

#[tokio::test]
async fn status_422() {
    enroll(Fault::status(422, "Relay is unknown"), 78, &["422 \"Relay is unknown\"", "correct the setting"]).await;
}

#[tokio::test]
async fn status_429() {
    enroll(Fault::rate_limited(7), 75, &["429 \"Rate limit exceeded", "the next try may come in 7 s"]).await;
}

#[tokio::test]
async fn status_5xx() {
    enroll(Fault::status(500, "Oops"), 75, &["500 \"Oops\"", "a later try may succeed"]).await;
    enroll(Fault::status(503, "Down"), 75, &["503 \"Down\"", "a later try may succeed"]).await;
}

#[tokio::test]
async fn a_captive_portal() {
    enroll(Fault::captive_portal(), 76, &["a web page (200)", "captive portal"]).await;
    enroll(Fault::bare(404), 76, &["a 404 that is no JSON", "proxy that answers instead"]).await;
    enroll(Fault::captive_redirect(), 76, &["a redirect (302) to http://portal.example/login", "captive portal"]).await;
}

#[tokio::test]
async fn answers_that_are_not_usable() {
    enroll(Fault::body("[1, 2"), 76, &["the answer is not usable"]).await;
    enroll(Fault::body("{}"), 76, &["the answer is not usable", "accessToken"]).await;
    enroll(Fault::with("/gatewayId", 7), 76, &["the answer is not usable", "expected a string"]).await;
}

#[tokio::test]
async fn an_answer_of_100_mb() {
    enroll(Fault::Huge, 76, &["longer than 262144 bytes"]).await;
}

#[tokio::test]
async fn connections_that_break_off() {
    enroll(Fault::Reset, 75, &["the network failed", "a later try may succeed"]).await;
    enroll(Fault::Truncated, 75, &["a later try may succeed"]).await;
}

#[tokio::test]
async fn a_platform_that_is_not_trusted() {
    let bed = Bed::start().await.unwrap();
    let config = enrolling(&bed).args(&["enroll"]);
    let line = complaint(&config.clone().without_env("EDGE_GATEWAY_CA_FILE"), 76).await;
    assert!(line.contains("not trusted") && line.contains("EDGE_GATEWAY_CA_FILE"), "{line}");

    let late = WebCa::new();
    let server = HttpTarget::start_tls(late.server_valid(Validity::past())).await.unwrap();
    let ca = bed.dir.write("late.pem", &late.pem()).unwrap();
    let config = config.env("EDGE_GATEWAY_CA_FILE", ca.display().to_string());
    let config = config.env("INFISICAL_DOMAIN", format!("https://{}", server.addr()));
    let line = complaint(&config, 76).await;
    assert!(line.contains("not valid now") && line.contains("clock"), "{line}");
}

/// An answer that is no TLS, and one that is no HTTP.
#[tokio::test]
async fn something_else_than_a_platform() {
    let bed = Bed::start().await.unwrap();
    let banner: Arc<[u8]> = b"220 mail.example ESMTP ready\r\n".as_slice().into();
    let server = Target::serve(move |mut stream| {
        let banner = banner.clone();
        async move {
            // A client that hangs up first has seen enough.
            let _ = stream.write_all(&banner).await;
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
    })
    .await
    .unwrap();
    let config = enrolling(&bed).args(&["enroll"]);
    let line = complaint(&config.clone().env("INFISICAL_DOMAIN", format!("https://{}", server.addr())), 75).await;
    assert!(line.contains("TLS failed"), "{line}");
    let line = complaint(&config.env("INFISICAL_DOMAIN", format!("http://{}", server.addr())), 76).await;
    assert!(line.contains("something else than HTTP"), "{line}");
}

#[tokio::test]
async fn a_platform_that_is_down() {
    let bed = Bed::start().await.unwrap();
    bed.api.kill().await;
    let line = complaint(&enrolling(&bed).args(&["enroll"]), 75).await;
    let hint = if refusal() == "refused" { "INFISICAL_DOMAIN" } else { "a later try" };
    assert!(line.contains(refusal()) && line.contains(hint), "{line}");
}

#[tokio::test]
async fn a_name_that_does_not_resolve() {
    let bed = Bed::start().await.unwrap();
    let config = enrolling(&bed).args(&["enroll"]).env("INFISICAL_DOMAIN", "https://platform.invalid");
    // A machine without a network shall not keep the test waiting.
    let config = config.env("RES_OPTIONS", "timeout:1 attempts:1");
    let line = complaint(&config, 68).await;
    assert!(line.contains("platform.invalid") && line.contains("does not resolve") && line.contains("DNS"), "{line}");
}

/// A refusal that only a person can mend ends an agent that has nothing to serve with.
#[tokio::test]
async fn a_refusal_ends_run_with_its_code() {
    let bed = Bed::start().await.unwrap();
    let line = complaint(&settings(&bed), 78).await;
    assert!(line.contains("not enrolled") && line.contains("INFISICAL_TOKEN"), "{line}");
    let line = complaint(&enrolling(&bed).env("INFISICAL_RELAY_NAME", "nowhere"), 78).await;
    assert!(
        line.contains("Relay with name 'nowhere' not found") && line.contains("names of gateway and relay"),
        "{line}"
    );
    bed.api.revoke_tokens();
    let line = complaint(&settings(&bed), 77).await;
    assert!(line.contains("401") && line.contains("create a new enrollment token"), "{line}");
    let stolen = settings(&bed).env("INFISICAL_GATEWAY_ACCESS_TOKEN", bed.api.gateway_token("another"));
    let line = complaint(&stolen.env("INFISICAL_GATEWAY_ID", bed.api.gateway_id(GATEWAY_NAME)), 78).await;
    assert!(line.contains("INFISICAL_GATEWAY_ID"), "{line}");
}

/// Everything else is waited out: `run` goes on until the platform answers as it should.
#[tokio::test]
async fn what_may_pass_is_waited_out() {
    let bed = Bed::start().await.unwrap();
    bed.api.fail_times(Endpoint::Enroll, 1, Fault::status(502, "Bad Gateway"));
    bed.api.fail_times(Endpoint::Connect, 1, Fault::rate_limited(1));
    bed.api.fail_times(Endpoint::Relays, 1, Fault::bare(404));
    let gateway = Gateway::served(&bed, &enrolling(&bed).without_env("INFISICAL_RELAY_NAME")).await;
    gateway.says("502").await;
    gateway.says("a 404 that is no JSON").await;
    gateway.says("the next try may come in 1 s").await;
    gateway.stop().await;
}

/// The platform may refuse what it likes: while the certificates live, the tunnel stays.
#[tokio::test]
async fn a_tunnel_outlives_the_platforms_refusals() {
    let bed = Bed::start().await.unwrap();
    bed.api.fail(Endpoint::Heartbeat, Fault::status(401, "Token has expired"));
    let gateway = Gateway::served(&bed, &enrolling(&bed)).await;
    gateway.says("Token has expired").await;
    gateway.within(bed.client().ping()).await;
    gateway.stop().await;
}

/// Certificates that cannot be used are named by their field, and asked for again.
#[tokio::test]
async fn certificates_of_no_use() {
    let bed = Bed::start().await.unwrap();
    bed.api.fail_times(Endpoint::Connect, 1, Fault::with("/pki/serverPrivateKey", "not a key"));
    let gateway = Gateway::served(&bed, &enrolling(&bed)).await;
    gateway.says("pki.serverPrivateKey is not a PEM private key").await;
    gateway.stop().await;

    let bed = Bed::start().await.unwrap();
    bed.api.shape_user(|spec| spec.valid(Validity::past()));
    let gateway = Gateway::start(&enrolling(&bed));
    let line = gateway.says("clientCertificate: expired").await;
    assert!(line.contains("the clock says"), "{line}");
    bed.api.shape_user(|spec| spec);
    gateway.is_served(&bed).await;
    gateway.stop().await;
}
