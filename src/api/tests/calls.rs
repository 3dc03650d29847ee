//! What each call sends, and what it makes of a good answer.

use super::*;
use crate::bundle::tests::sample;

const LOGIN: &str = r#"{"accessToken":"eyJ.new","expiresIn":7200,"accessTokenMaxTTL":2592000,"tokenType":"Bearer"}"#;
const UUID: &str = "6f1c2f0e-8a5b-4c3d-9e7f-0123456789ab";

/// Makes one call against `body` and checks the request line, the token and the body that were sent.
#[track_caller]
fn call<T>(body: &str, line: &str, bearer: bool, sent: &str, call: impl Fn(&Client) -> Result<T, Error>) -> T {
    let server = serve(vec![json(200, body)]);
    let result = call(&client(&server)).unwrap();
    let request = server.requests.recv().unwrap();
    assert_eq!(request.head[0], format!("{line} HTTP/1.1"));
    assert_eq!(request.header("authorization"), bearer.then_some(&*format!("Bearer {TOKEN}")));
    assert_eq!(request.header("user-agent"), Some(concat!("edge-gateway/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(request.header("accept-encoding"), None);
    assert_eq!(request.body, sent);
    if !sent.is_empty() {
        assert_eq!(request.header("content-type"), Some("application/json"));
    }
    result
}

#[test]
fn enroll() {
    let enrolment = call(
        &format!(r#"{{"accessToken":"{TOKEN}","gatewayId":"{UUID}"}}"#),
        "POST /api/v3/gateways/token-auth/enroll",
        false,
        r#"{"token":"once"}"#,
        |client| client.enroll(&Secret::from("once")),
    );
    assert_eq!((enrolment.access_token, enrolment.gateway_id.as_str()), (token(), UUID));
}

#[test]
fn connect_and_register() {
    let bundle = serde_json::to_string(&sample()).unwrap();
    let line = "POST /api/v3/gateways/connect";
    assert_eq!(call(&bundle, line, true, "{}", |client| client.connect(&token(), None)), sample());
    let sent = r#"{"relayName":"eu-1"}"#;
    assert_eq!(call(&bundle, line, true, sent, |client| client.connect(&token(), Some("eu-1"))), sample());
    let line = "POST /api/v2/gateways";
    let sent = r#"{"relayName":"eu-1","name":"a"}"#;
    assert_eq!(call(&bundle, line, true, sent, |client| client.register(&token(), "a", Some("eu-1"))), sample());
    assert_eq!(call(&bundle, line, true, r#"{"name":"a"}"#, |client| client.register(&token(), "a", None)), sample());
}

#[test]
fn heartbeat_and_relays() {
    call(r#"{"message":"ok"}"#, "POST /api/v2/gateways/heartbeat", true, r#"{"capabilities":{}}"#, |client| {
        client.heartbeat(&token())
    });
    let relays = call(r#"[{"id":"1","name":"eu-1","host":"192.0.2.1"}]"#, "GET /api/v1/relays", true, "", |client| {
        client.relays(&token())
    });
    assert_eq!(relays[0].name, "eu-1");
}

#[test]
fn logins() {
    let secret = Secret::from("shh");
    let universal = call(
        LOGIN,
        "POST /api/v1/auth/universal-auth/login",
        false,
        r#"{"clientId":"id","clientSecret":"shh"}"#,
        |client| client.universal_auth_login("id", &secret),
    );
    assert_eq!(universal.token.expose(), "eyJ.new");
    assert_eq!((universal.expires_in.as_secs(), universal.max_ttl.as_secs()), (7_200, 2_592_000));
    for (method, name) in
        [(JwtMethod::Oidc, "oidc-auth"), (JwtMethod::Jwt, "jwt-auth"), (JwtMethod::Kubernetes, "kubernetes-auth")]
    {
        let line = format!("POST /api/v1/auth/{name}/login");
        let sent = format!(r#"{{"identityId":"{UUID}","jwt":"shh"}}"#);
        assert_eq!(call(LOGIN, &line, false, &sent, |client| client.jwt_login(method, UUID, &secret)), universal);
    }
    let sent = format!(r#"{{"accessToken":"{TOKEN}"}}"#);
    assert_eq!(call(LOGIN, "POST /api/v1/auth/token/renew", false, &sent, |client| client.renew(&token())), universal);
}

#[test]
fn the_longest_token_fits() {
    let long = Secret::new("t".repeat(crate::limits::SECRET_BYTES));
    let server = serve(vec![json(200, "{}")]);
    client(&server).heartbeat(&long).unwrap();
    let request = server.requests.recv().unwrap();
    assert_eq!(request.header("authorization").unwrap().len(), "Bearer ".len() + long.expose().len());
}

#[test]
fn on_a_thread_of_its_own_with_a_callback() {
    let server = serve(vec![json(200, "{}")]);
    let client = Arc::new(client(&server));
    let (sender, receiver) = mpsc::channel();
    client
        .spawn(
            |client| client.heartbeat(&token()),
            move |result| sender.send((result, thread::current().name().map(str::to_owned))).unwrap(),
        )
        .unwrap();
    assert_eq!(receiver.recv().unwrap(), (Ok(()), Some("api".to_owned())));
}

#[test]
fn a_domain_with_a_path() {
    let server = serve(vec![json(200, "{}")]);
    client_of(&format!("http://{}/infisical/api/", server.address)).heartbeat(&token()).unwrap();
    assert_eq!(server.requests.recv().unwrap().head[0], "POST /infisical/api/v2/gateways/heartbeat HTTP/1.1");
}
