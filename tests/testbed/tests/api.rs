//! The API as a raw HTTPS client sees it.

mod common;

use std::io;
use std::time::Duration;

use common::Connection;
use serde_json::{Value, json};
use testbed::api::{Endpoint, Fault, Identity};
use testbed::bed::{Bed, GATEWAY_NAME, RELAY_NAME};
use testbed::certs::Validity;
use testbed::echo_gateway::EchoGateway;
use testbed::http::Message;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(10);

async fn send(bed: &Bed, endpoint: Endpoint, token: Option<&str>, body: &Value) -> io::Result<Message> {
    let mut connection = Connection::tls(bed.api.addr(), &bed.web.pem()).await?;
    let bearer = format!("Bearer {}", token.unwrap_or_default());
    let headers: &[_] = if token.is_some() { &[("Authorization", bearer.as_str())] } else { &[] };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    connection.request(endpoint.method(), endpoint.path(), headers, &body).await
}

/// The status and the body of the answer.
async fn call(bed: &Bed, endpoint: Endpoint, token: Option<&str>, body: Value) -> (u16, Value) {
    let response = send(bed, endpoint, token, &body).await.unwrap();
    (response.status(), serde_json::from_slice(&response.body).unwrap())
}

/// An enrolled gateway's access token.
async fn enrolled(bed: &Bed) -> String {
    let token = bed.api.enrollment_token(GATEWAY_NAME);
    let (status, answer) = call(bed, Endpoint::Enroll, None, json!({ "token": token })).await;
    assert_eq!(status, 200, "{answer}");
    answer["accessToken"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_bundle(bundle: &Value, gateway_id: &str) {
    assert_eq!(bundle["gatewayId"], gateway_id);
    assert_eq!(bundle["relayHost"], "127.0.0.1");
    for (pointer, start) in [
        ("/pki/serverCertificate", "-----BEGIN CERTIFICATE-----"),
        ("/pki/serverPrivateKey", "-----BEGIN PRIVATE KEY-----"),
        ("/pki/clientCertificateChain", "-----BEGIN CERTIFICATE-----"),
        ("/ssh/clientCertificate", "ssh-rsa-cert-v01@openssh.com "),
        ("/ssh/clientPrivateKey", "-----BEGIN OPENSSH PRIVATE KEY-----"),
        ("/ssh/serverCAPublicKey", "ssh-rsa "),
    ] {
        let text = bundle.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        assert!(text.starts_with(start), "{pointer} is {text:?}");
    }
}

#[tokio::test]
async fn a_gateway_enrolls_once_and_gets_certificates() {
    let bed = Bed::start().await.unwrap();
    let token = bed.api.enrollment_token(GATEWAY_NAME);
    let (status, answer) = call(&bed, Endpoint::Enroll, None, json!({ "token": token })).await;
    assert_eq!((status, &answer["gatewayId"]), (200, &json!(bed.gateway_id)));
    let access = answer["accessToken"].as_str().unwrap();

    let (status, again) = call(&bed, Endpoint::Enroll, None, json!({ "token": token })).await;
    assert_eq!((status, &again["statusCode"]), (401, &json!(401)));

    let wanted = json!({ "relayName": RELAY_NAME });
    let (status, bundle) = call(&bed, Endpoint::Connect, Some(access), wanted).await;
    assert_eq!(status, 200, "{bundle}");
    assert_bundle(&bundle, &bed.gateway_id);
    let (status, error) = call(&bed, Endpoint::Connect, Some(access), json!({ "relayName": "none" })).await;
    assert_eq!((status, &error["message"]), (404, &json!("Relay with name 'none' not found")));
}

#[tokio::test]
async fn enrolling_may_bring_the_certificates_too() {
    let bed = Bed::builder().enroll_with_bundle().start().await.unwrap();
    let token = bed.api.enrollment_token(GATEWAY_NAME);
    let (_, answer) = call(&bed, Endpoint::Enroll, None, json!({ "token": token })).await;
    assert_bundle(&answer, &bed.gateway_id);
    assert!(answer["accessToken"].is_string());
}

#[tokio::test]
async fn identities_log_in_register_and_renew() {
    let bed = Bed::start().await.unwrap();
    bed.api.add_identity(Identity::Universal { client_id: "c".into(), client_secret: "s".into() });
    bed.api.add_identity(Identity::Jwt { identity_id: "i".into(), jwt: "a.b.c".into() });
    let jwt = json!({ "identityId": "i", "jwt": "a.b.c" });
    for (endpoint, proof) in [
        (Endpoint::UniversalLogin, json!({ "clientId": "c", "clientSecret": "s" })),
        (Endpoint::OidcLogin, jwt.clone()),
        (Endpoint::JwtLogin, jwt.clone()),
        (Endpoint::KubernetesLogin, jwt),
    ] {
        let (status, login) = call(&bed, endpoint, None, proof).await;
        assert_eq!((status, &login["tokenType"]), (200, &json!("Bearer")), "{endpoint:?}");
        let token = login["accessToken"].as_str().unwrap();
        let (status, bundle) = call(&bed, Endpoint::Register, Some(token), json!({ "name": GATEWAY_NAME })).await;
        assert_eq!(status, 200, "{endpoint:?}: {bundle}");
        assert_bundle(&bundle, &bed.gateway_id);
        let (status, renewed) = call(&bed, Endpoint::Renew, None, json!({ "accessToken": token })).await;
        assert_eq!((status, renewed["accessToken"].as_str()), (200, Some(token)));
    }
    let (status, _) = call(&bed, Endpoint::JwtLogin, None, json!({ "identityId": "i", "jwt": "other" })).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn aws_login_gives_a_gateway_token() {
    let bed = Bed::start().await.unwrap();
    let proof = json!({
        "method": "aws", "gatewayId": bed.gateway_id, "iamHttpRequestMethod": "POST",
        "iamRequestBody": "QQ==", "iamRequestHeaders": "e30=",
    });
    let (status, login) = call(&bed, Endpoint::AwsLogin, None, proof).await;
    assert_eq!(status, 200, "{login}");
    let (status, _) = call(&bed, Endpoint::Connect, login["accessToken"].as_str(), json!({})).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn tokens_are_checked() {
    let bed = Bed::start().await.unwrap();
    let access = enrolled(&bed).await;
    for token in [None, Some("nonsense")] {
        for endpoint in [Endpoint::Connect, Endpoint::Heartbeat, Endpoint::Relays] {
            assert_eq!(call(&bed, endpoint, token, Value::Null).await.0, 401, "{endpoint:?}");
        }
    }
    let (status, _) = call(&bed, Endpoint::Register, Some(&access), json!({ "name": "x" })).await;
    assert_eq!(status, 403);
    bed.api.revoke_tokens();
    assert_eq!(call(&bed, Endpoint::Connect, Some(&access), json!({})).await.0, 401);
    bed.api.set_token_ttl(Duration::ZERO);
    let access = enrolled(&bed).await;
    let (status, error) = call(&bed, Endpoint::Connect, Some(&access), json!({})).await;
    assert_eq!((status, &error["message"]), (401, &json!("Token has expired")));
}

#[tokio::test]
async fn relays_are_listed() {
    let bed = Bed::start().await.unwrap();
    bed.api.change_relays(|relays| {
        let mut silent = relays[0].clone();
        silent.of_organization = false;
        silent.heartbeat_age = None;
        relays.push(silent);
    });
    let access = enrolled(&bed).await;
    let (status, list) = call(&bed, Endpoint::Relays, Some(&access), Value::Null).await;
    assert_eq!((status, list.as_array().map(Vec::len)), (200, Some(2)));
    assert_eq!(list[0]["name"], RELAY_NAME);
    assert_eq!(list[0]["host"], "127.0.0.1");
    assert!(list[0]["orgId"].is_string() && list[0]["heartbeat"].as_str().unwrap().ends_with('Z'));
    assert!(list[1]["orgId"].is_null() && list[1]["heartbeat"].is_null());
}

#[tokio::test]
async fn a_heartbeat_dials_the_gateway_back() {
    let bed = Bed::start().await.unwrap();
    let access = enrolled(&bed).await;
    let (status, _) = call(&bed, Endpoint::Heartbeat, Some(&access), json!({ "capabilities": {} })).await;
    assert_eq!(status, 400);

    let (_, bundle) = call(&bed, Endpoint::Connect, Some(&access), json!({})).await;
    let (status, error) = call(&bed, Endpoint::Heartbeat, Some(&access), json!({})).await;
    assert_eq!(status, 400);
    assert!(error["message"].as_str().unwrap().contains("not connected"), "{error}");

    // A gateway that echoes TLS is reached, and is not an agent.
    let host_ca = bundle.pointer("/ssh/serverCAPublicKey").unwrap().as_str().unwrap();
    let user = bed.ssh.user(RELAY_NAME, &bed.gateway_id, GATEWAY_NAME).issue();
    let _echo = EchoGateway::login(bed.relay.ssh_addr(), &bed.gateway_id, &user, host_ca).await.unwrap();
    bed.wait_for_gateway(LIMIT).await.unwrap();
    let (status, error) = call(&bed, Endpoint::Heartbeat, Some(&access), json!({})).await;
    assert_eq!(status, 400);
    assert!(!error["message"].as_str().unwrap().contains("not connected"), "{error}");
    assert_eq!(bed.relay.counters().channels_opened, 1);
}

#[tokio::test]
async fn answers_can_be_made_wrong() {
    let bed = Bed::start().await.unwrap();
    let access = enrolled(&bed).await;
    let connect = async |fault: Fault| {
        bed.api.fail_times(Endpoint::Connect, 1, fault);
        send(&bed, Endpoint::Connect, Some(&access), &json!({})).await
    };
    let json = |response: &Message| serde_json::from_slice::<Value>(&response.body).unwrap();

    let response = connect(Fault::status(403, "No such permission")).await.unwrap();
    assert_eq!((response.status(), &json(&response)["message"]), (403, &json!("No such permission")));
    let response = connect(Fault::rate_limited(7)).await.unwrap();
    assert_eq!((response.status(), response.header("retry-after")), (429, Some("7")));
    let response = connect(Fault::captive_portal()).await.unwrap();
    assert_eq!((response.status(), response.header("content-type")), (200, Some("text/html")));
    let response = connect(Fault::captive_redirect()).await.unwrap();
    assert_eq!((response.status(), response.header("location")), (302, Some("http://portal.example/login")));
    let response = connect(Fault::body("{\"gatewayId\":")).await.unwrap();
    assert_eq!(response.body, b"{\"gatewayId\":");
    let response = connect(Fault::without("/pki/serverPrivateKey")).await.unwrap();
    assert!(json(&response)["pki"].get("serverPrivateKey").is_none());
    let response = connect(Fault::with("/relayHost", 5)).await.unwrap();
    assert_eq!(json(&response)["relayHost"], 5);
    let response = connect(Fault::Huge).await.unwrap();
    assert!(response.body.len() > 100_000_000 && response.body.ends_with(b"}"));

    let error = connect(Fault::Truncated).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    let error = connect(Fault::Reset).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let patience = Duration::from_millis(200);
    assert!(timeout(patience, connect(Fault::Silence)).await.is_err());
    assert!(timeout(patience, connect(Fault::Drip)).await.is_err());

    let response = send(&bed, Endpoint::Connect, Some(&access), &json!({})).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn certificates_in_a_bundle_can_be_shaped() {
    let bed = Bed::start().await.unwrap();
    let access = enrolled(&bed).await;
    bed.api.shape_user(|spec| spec.valid(Validity::past()));
    bed.api.shape_leaf(|spec| spec.valid(Validity::past()));
    let (_, bundle) = call(&bed, Endpoint::Connect, Some(&access), json!({})).await;
    let line = bundle.pointer("/ssh/clientCertificate").unwrap().as_str().unwrap();
    let user = russh::keys::Certificate::from_openssh(line).unwrap();
    assert!(user.valid_before_time().unwrap() < std::time::SystemTime::now());
}

#[tokio::test]
async fn requests_are_recorded_and_waited_for() {
    let bed = Bed::start().await.unwrap();
    let access = enrolled(&bed).await;
    let mut connection = Connection::tls(bed.api.addr(), &bed.web.pem()).await.unwrap();
    assert_eq!(connection.get("/api/nowhere").await.unwrap().status(), 404);
    let body = json!({ "relayName": RELAY_NAME }).to_string();
    let headers = [("Authorization", format!("Bearer {access}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let response = connection.request("POST", Endpoint::Connect.path(), &headers, &body).await.unwrap();
    assert_eq!(response.status(), 200);

    bed.api.wait_for(LIMIT, Endpoint::Connect, 200).await.unwrap();
    let requests = bed.api.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[2].json(), json!({ "relayName": RELAY_NAME }));
    assert_eq!(bed.api.count(Endpoint::Enroll), 1);
    let never = bed.api.wait_for(Duration::from_millis(10), Endpoint::Heartbeat, 200).await.unwrap_err();
    assert_eq!(never.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn dies_and_comes_back_on_the_same_port() {
    let bed = Bed::start().await.unwrap();
    let mut open = Connection::tls(bed.api.addr(), &bed.web.pem()).await.unwrap();
    bed.api.kill().await;
    assert!(open.get("/api/nowhere").await.is_err());
    assert!(Connection::tls(bed.api.addr(), &bed.web.pem()).await.is_err());
    bed.api.restart().await.unwrap();
    enrolled(&bed).await;
}

#[tokio::test]
async fn speaks_plain_http_when_told_to() {
    let bed = Bed::builder().plain_http().start().await.unwrap();
    assert!(bed.api.url().starts_with("http://"));
    let mut connection = Connection::plain(bed.api.addr()).await.unwrap();
    assert_eq!(connection.get("/api/v1/relays").await.unwrap().status(), 401);
}
