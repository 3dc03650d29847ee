//! Tokens, identities, and the files they come from.

use super::*;

#[test]
fn secrets_from_files() {
    let enroll = |setup: Setup| setup.env("INFISICAL_GATEWAY_ENROLL_METHOD", "token");
    let config = enroll(on("run --token-file=/t")).file("/t", " abc\n").config();
    assert_eq!(config.auth, Auth::Enroll(Secret::from("abc")));
    assert_eq!(config.warnings, [""; 0]);
    let open = enroll(on("run")).env("INFISICAL_TOKEN_FILE", "/t").file_mode("/t", "abc", 0o644).config();
    assert!(open.warnings[0].contains("chmod 600 /t") && open.warnings[0].contains("0644"), "{:?}", open.warnings);
    let open = enroll(on("run")).file_mode(OWN, "INFISICAL_TOKEN=abc", 0o604).config();
    assert!(open.warnings[0].contains("chmod 600 /etc/edge-gateway"), "{:?}", open.warnings);
    // A file of settings without secrets may be read by all.
    assert_eq!(on("run").file_mode(OWN, "EDGE_GATEWAY_LOG=info", 0o644).config().warnings, [""; 0]);

    enroll(on("run --token-file=/t")).refused(Exit::NoInput, &["--token-file", "/t", "does not exist"]);
    enroll(on("run --token-file=/t")).file("/t", "\n").refused(Exit::Config, &["/t is empty"]);
    let message = enroll(on("run --token-file=/t")).file("/t", "two words").refused(Exit::Config, &["/t", "one word"]);
    assert!(!message.contains("two"), "{message}");
    let message = on("run")
        .env("INFISICAL_TOKEN", "geheim\u{e4}")
        .refused(Exit::Config, &["INFISICAL_TOKEN", "ASCII", "INFISICAL_TOKEN_FILE="]);
    assert!(!message.contains("geheim"), "{message}");
    on("run --token-file=t").refused(Exit::Usage, &["--token-file", "absolute path"]);
    let credential = on("run").env("CREDENTIALS_DIRECTORY", "/run/c").file_mode("/run/c/infisical_jwt", "x", 0);
    credential.refused(Exit::NoInput, &["INFISICAL_JWT", "/run/c/infisical_jwt"]);
}

#[test]
fn what_the_official_gateway_left_behind() {
    let official = "/etc/infisical/gateways/branch-7.conf";
    let stored = "INFISICAL_GATEWAY_ACCESS_TOKEN=lasting\nINFISICAL_GATEWAY_DOMAIN=https://eu.infisical.com\nINFISICAL_GATEWAY_ENROLLMENT_TOKEN=once\n";
    let start = |line: &str| on(line).file(official, stored).file(OWN, "EDGE_GATEWAY_LOG=debug").config();
    // No token, and the same token: enrolled already.
    for line in ["start branch-7", "start branch-7 --enroll-method=token --token=once"] {
        let config = start(line);
        assert_eq!(config.auth, Auth::Gateway(Secret::from("lasting")), "{line}");
        assert_eq!((config.domain.as_str(), config.log.as_str()), ("https://eu.infisical.com", "debug"));
    }
    assert_eq!(start("start branch-7 --enroll-method=token --token=new").auth, Auth::Enroll(Secret::from("new")));
    // Only `start NAME` reads it.
    assert_eq!(start("run --name=branch-7").auth, Auth::Stored);
    // A service unit of the official gateway stores no one-time token; a token on the command line is newer.
    let unit = on("start branch-7 --enroll-method=token --token=new")
        .file(official, "INFISICAL_GATEWAY_ACCESS_TOKEN=lasting\n");
    assert_eq!(unit.config().auth, Auth::Enroll(Secret::from("new")));
    // Not root: the user's own.
    let user =
        on("start branch-7").by_user().env("HOME", "/home/u").file("/home/u/.infisical/gateways/branch-7.conf", stored);
    assert_eq!(user.config().auth, Auth::Gateway(Secret::from("lasting")));
    on("start ../x").file("/etc/infisical/gateways/../x.conf", stored).refused(Exit::Usage, &["start NAME", "letters"]);
}

#[test]
fn machine_identities() {
    let identity =
        |setup: Setup| setup.env("INFISICAL_GATEWAY_NAME", "a").env("INFISICAL_MACHINE_IDENTITY_ID", UUID).config();
    let token = identity(on("run").env("INFISICAL_TOKEN", "eyJx"));
    assert_eq!(token.auth, Auth::Identity(Identity::Token(Secret::from("eyJx"))));
    assert!(
        token
            .warnings
            .iter()
            .any(|warning| warning.contains("INFISICAL_MACHINE_IDENTITY_ID (environment) has no effect")),
        "{:?}",
        token.warnings
    );

    let universal = on("run --auth-method=universal-auth --name=a --client-id=id --client-secret-file=/s")
        .file("/s", "shh")
        .config();
    assert_eq!(
        universal.auth,
        Auth::Identity(Identity::Universal { client_id: "id".to_owned(), client_secret: Secret::from("shh") })
    );

    let identity_id = UUID.to_owned();
    let auth = |method: &str, file: &str| {
        identity(on("run").env("INFISICAL_AUTH_METHOD", method).env("INFISICAL_JWT_FILE", file).file("/j", "eyJ")).auth
    };
    let jwt = SecretSource::File(PathBuf::from("/j"));
    assert_eq!(
        auth("jwt-auth", "/j"),
        Auth::Identity(Identity::Jwt { identity_id: identity_id.clone(), jwt: jwt.clone() })
    );
    assert_eq!(auth("oidc-auth", "/j"), Auth::Identity(Identity::Oidc { identity_id: identity_id.clone(), jwt }));
    let jwt = SecretSource::File(PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount/token"));
    assert_eq!(auth("kubernetes", ""), Auth::Identity(Identity::Kubernetes { identity_id, jwt }));
}

#[test]
fn incomplete_or_unsupported_identities() {
    let method = |method: &str| on("run --name=a").env("INFISICAL_AUTH_METHOD", method);
    method("universal-auth")
        .refused(Exit::Config, &["INFISICAL_UNIVERSAL_AUTH_CLIENT_ID is missing", "universal-auth", "example: "]);
    method("universal-auth")
        .env("INFISICAL_UNIVERSAL_AUTH_CLIENT_ID", "x")
        .refused(Exit::Config, &["CLIENT_SECRET is missing", "CLIENT_SECRET_FILE=/"]);
    method("jwt-auth")
        .env("INFISICAL_MACHINE_IDENTITY_ID", UUID)
        .refused(Exit::Config, &["INFISICAL_JWT is missing", "INFISICAL_JWT_FILE="]);
    method("kubernetes").refused(Exit::Config, &["INFISICAL_MACHINE_IDENTITY_ID is missing"]);
    for other in ["azure", "gcp-id-token", "gcp-iam", "aws-iam"] {
        method(other).refused(Exit::Config, &[other, "not supported in this build", "universal-auth"]);
    }
    for other in ["aws", "gcp", "kubernetes"] {
        on("run")
            .env("INFISICAL_GATEWAY_ENROLL_METHOD", other)
            .refused(Exit::Config, &[other, "not supported in this build", "token"]);
    }
    on("run")
        .env("INFISICAL_TOKEN", "eyJx")
        .refused(Exit::Config, &["INFISICAL_GATEWAY_NAME is missing", "machine identity"]);
}

#[test]
fn a_one_time_token_without_its_method_is_noticed() {
    let config = on("run --name=a").env("INFISICAL_TOKEN", "gw-once").config();
    assert_eq!(config.auth, Auth::Identity(Identity::Token(Secret::from("gw-once"))));
    assert!(config.warnings[0].contains("INFISICAL_GATEWAY_ENROLL_METHOD=token"), "{:?}", config.warnings);
    // `enroll` leaves no doubt.
    assert_eq!(on("enroll").env("INFISICAL_TOKEN", "gw-once").config().auth, Auth::Enroll(Secret::from("gw-once")));
    on("enroll").refused(Exit::Config, &["INFISICAL_TOKEN is missing", "INFISICAL_TOKEN_FILE="]);
}

#[test]
fn nothing_shows_a_secret() {
    let config = on("run --name=a --auth-method=universal-auth --client-id=id")
        .env("INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET", "hunter2")
        .env("INFISICAL_JWT", "hunter2")
        .config();
    assert!(
        config.given.iter().any(|given| given.key == "INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET" && given.shown == "***")
    );
    assert!(!format!("{config:?}").contains("hunter2"));
}
