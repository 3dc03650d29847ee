//! The ways in which a gateway proves who it is, and in which it is told.

use serde_json::json;
use testbed::agent::AgentConfig;
use testbed::api::{Endpoint, Identity};
use testbed::bed::{Bed, GATEWAY_NAME, RELAY_NAME};
use testbed::certs::SshFactory;

use crate::fixture::{Gateway, SECRET, complaint, enrolling, limit, settings};

/// The official gateway's own command line, flag by flag.
#[tokio::test]
async fn the_official_spelling() {
    let bed = Bed::start().await.unwrap();
    let token = bed.api.enrollment_token(GATEWAY_NAME);
    let config = settings(&bed).without_env("INFISICAL_DOMAIN").without_env("INFISICAL_RELAY_NAME");
    let config = config.without_env("INFISICAL_GATEWAY_NAME").args(&[
        "gateway",
        "start",
        GATEWAY_NAME,
        "--enroll-method=token",
        &format!("--token={token}"),
        &format!("--domain={}/api/", bed.api.url()),
        &format!("--target-relay-name={RELAY_NAME}"),
    ]);
    let gateway = Gateway::served(&bed, &config).await;
    gateway.within(bed.api.wait_for(limit(), Endpoint::Heartbeat, 200)).await;
    let connect = bed.api.requests().into_iter().find(|call| call.is(Endpoint::Connect, 200)).unwrap();
    assert_eq!(connect.json(), json!({ "relayName": RELAY_NAME }));
    gateway.stop().await;
}

/// Serves with these settings, to the platform's satisfaction.
async fn served_with(bed: &Bed, config: &AgentConfig) {
    let gateway = Gateway::served(bed, config).await;
    gateway.within(bed.api.wait_for(limit(), Endpoint::Heartbeat, 200)).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_one_time_token_in_a_file() {
    let bed = Bed::start().await.unwrap();
    let token = format!("{}\n", bed.api.enrollment_token(GATEWAY_NAME));
    let file = bed.dir.write("token", &token).unwrap();
    let config = settings(&bed)
        .env("INFISICAL_GATEWAY_ENROLL_METHOD", "token")
        .env("INFISICAL_TOKEN_FILE", file.display().to_string());
    served_with(&bed, &config).await;
    assert_eq!(bed.api.count(Endpoint::Enroll), 1);
}

#[tokio::test]
async fn a_one_time_token_among_systemds_credentials() {
    let bed = Bed::start().await.unwrap();
    bed.dir.write("infisical_token", &bed.api.enrollment_token(GATEWAY_NAME)).unwrap();
    let config = settings(&bed)
        .env("INFISICAL_GATEWAY_ENROLL_METHOD", "token")
        .env("CREDENTIALS_DIRECTORY", bed.dir.path().display().to_string());
    served_with(&bed, &config).await;
    assert_eq!(bed.api.count(Endpoint::Enroll), 1);
}

/// Some versions of the platform answer the enrolment with certificates too.
#[tokio::test]
async fn an_enrolment_that_brings_certificates() {
    let bed = Bed::builder().enroll_with_bundle().start().await.unwrap();
    served_with(&bed, &enrolling(&bed)).await;
}

#[tokio::test]
async fn the_same_one_time_token_again_means_enrolled_already() {
    let bed = Bed::start().await.unwrap();
    let config = enrolling(&bed);
    for _ in 0..2 {
        served_with(&bed, &config).await;
    }
    assert_eq!(bed.api.count(Endpoint::Enroll), 1);
    // As the command says it.
    let mut again = Gateway::start(&config.clone().args(&["enroll"]));
    again.says("already enrolled with this token").await;
    assert_eq!(again.wait(limit()).await.unwrap().code(), Some(0));
    // Without any token the state folder is enough, and another token is a new enrolment.
    served_with(&bed, &settings(&bed)).await;
    assert_eq!(bed.api.count(Endpoint::Enroll), 1);
    served_with(&bed, &enrolling(&bed)).await;
    assert_eq!(bed.api.count(Endpoint::Enroll), 2);
}

#[tokio::test]
async fn enrolling_and_running_apart() {
    let bed = Bed::start().await.unwrap();
    let enrol = enrolling(&bed).without_env("INFISICAL_GATEWAY_ENROLL_METHOD").args(&["enroll"]);
    let mut agent = Gateway::start(&enrol);
    assert_eq!(agent.wait(limit()).await.unwrap().code(), Some(0), "{:?}", agent.log());
    assert_eq!((bed.api.count(Endpoint::Enroll), bed.api.count(Endpoint::Connect)), (1, 0));
    served_with(&bed, &settings(&bed)).await;
}

#[tokio::test]
async fn a_lasting_gateway_token() {
    let bed = Bed::start().await.unwrap();
    let config = settings(&bed).env("INFISICAL_GATEWAY_ACCESS_TOKEN", bed.api.gateway_token(GATEWAY_NAME));
    served_with(&bed, &config).await;
    assert_eq!(bed.api.count(Endpoint::Enroll), 0);
}

/// A machine identity registers the gateway by its name, after the login that its method asks for.
async fn identity(bed: &Bed, config: &AgentConfig, login: Option<Endpoint>) {
    served_with(bed, config).await;
    if let Some(login) = login {
        bed.api.wait_for(limit(), login, 200).await.unwrap();
    }
    let register = bed.api.requests().into_iter().find(|call| call.is(Endpoint::Register, 200)).unwrap();
    assert_eq!(register.json(), json!({ "name": GATEWAY_NAME, "relayName": RELAY_NAME }));
}

#[tokio::test]
async fn universal_auth() {
    let bed = Bed::start().await.unwrap();
    let (client_id, client_secret) = ("an id".to_owned(), format!("{SECRET} client secret").replace(' ', "-"));
    bed.api.add_identity(Identity::Universal { client_id: client_id.clone(), client_secret: client_secret.clone() });
    let config = settings(&bed)
        .env("INFISICAL_AUTH_METHOD", "universal-auth")
        .env("INFISICAL_UNIVERSAL_AUTH_CLIENT_ID", client_id)
        .env("INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET", client_secret);
    identity(&bed, &config, Some(Endpoint::UniversalLogin)).await;
    let wrong = config.env("INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET", format!("{SECRET}-other"));
    let wrong = wrong.env("EDGE_GATEWAY_STATE_DIR", bed.dir.path().join("other").display().to_string());
    let line = complaint(&wrong, 77).await;
    assert!(line.contains("Invalid credentials") && line.contains("check the machine identity's id"), "{line}");
}

const IDENTITY: &str = "6f1c2f0e-8a5b-4c3d-9e7f-0123456789ab";

async fn by_jwt(method: &str, login: Endpoint) {
    let bed = Bed::start().await.unwrap();
    let jwt = format!("{SECRET}.{method}.signature");
    bed.api.add_identity(Identity::Jwt { identity_id: IDENTITY.to_owned(), jwt: jwt.clone() });
    let config = settings(&bed).env("INFISICAL_AUTH_METHOD", method).env("INFISICAL_MACHINE_IDENTITY_ID", IDENTITY);
    let config = if method == "kubernetes" {
        let file = bed.dir.write("service-account", &jwt).unwrap();
        config.env("INFISICAL_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH", file.display().to_string())
    } else {
        config.env("INFISICAL_JWT", jwt)
    };
    identity(&bed, &config, Some(login)).await;
}

#[tokio::test]
async fn oidc_auth() {
    by_jwt("oidc-auth", Endpoint::OidcLogin).await;
}

#[tokio::test]
async fn jwt_auth() {
    by_jwt("jwt-auth", Endpoint::JwtLogin).await;
}

#[tokio::test]
async fn kubernetes_auth() {
    by_jwt("kubernetes", Endpoint::KubernetesLogin).await;
}

#[tokio::test]
async fn a_machine_identitys_own_token() {
    let bed = Bed::start().await.unwrap();
    let config = settings(&bed).env("INFISICAL_TOKEN", bed.api.identity_token());
    identity(&bed, &config, None).await;
}

/// A token that the platform no longer takes is no reason to end: the machine identity logs in again.
#[tokio::test]
async fn an_identity_whose_token_was_revoked_logs_in_again() {
    let bed = Bed::start().await.unwrap();
    let jwt = format!("{SECRET}.jwt");
    bed.api.add_identity(Identity::Jwt { identity_id: IDENTITY.to_owned(), jwt: jwt.clone() });
    let config = settings(&bed)
        .env("INFISICAL_AUTH_METHOD", "jwt-auth")
        .env("INFISICAL_MACHINE_IDENTITY_ID", IDENTITY)
        .env("INFISICAL_JWT", jwt);
    // The relay does not take the first certificate, so that the agent comes back for another one.
    let stranger = SshFactory::stranger();
    bed.api.shape_user(move |spec| spec.signed_by(&stranger));
    let gateway = Gateway::start(&config);
    gateway.within(bed.relay.wait(limit(), |counters| counters.rejected > 0)).await;
    bed.api.revoke_tokens();
    bed.api.shape_user(|spec| spec);
    gateway.is_served(&bed).await;
    assert!(bed.api.count(Endpoint::JwtLogin) >= 2);
    gateway.stop().await;
}
