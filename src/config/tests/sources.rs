//! Where values come from, and which one counts.

use super::*;

#[test]
fn nothing_set_means_defaults() {
    let config = on("run").config();
    assert_eq!(config.domain.as_str(), "https://app.infisical.com");
    assert_eq!(config.auth, Auth::Stored);
    assert_eq!(config.state_dir, Path::new("/var/lib/edge-gateway"));
    assert_eq!((config.relay_port, config.max_tunnels, config.log.as_str()), (2222, 64, "info"));
    assert_eq!(config.exit_pause, Duration::ZERO);
    assert_eq!((config.relay_name, config.allow, config.ca_file), (None, None, None));
    assert_eq!(config.warnings, [""; 0]);
}

#[test]
fn the_official_spelling() {
    for line in [
        "start branch-7 --enroll-method=token --token=abc --domain=https://eu.infisical.com --target-relay-name=eu-1",
        "gateway start branch-7 --enroll-method token --token abc --domain https://eu.infisical.com/api --relay eu-1",
        "start --name=branch-7 --token=abc --enroll-method=token --domain=https://EU.infisical.com/ --target-relay-name=eu-1",
    ] {
        let config = on(line).config();
        assert_eq!(config.command, Command::Run);
        assert_eq!(config.domain.as_str(), "https://eu.infisical.com");
        assert_eq!(config.gateway_name.as_deref(), Some("branch-7"));
        assert_eq!(config.relay_name.as_deref(), Some("eu-1"));
        assert_eq!(config.auth, Auth::Enroll(Secret::from("abc")));
        // argv is public.
        assert!(config.warnings[0].contains("--token-file"), "{:?}", config.warnings);
    }
}

#[test]
fn flag_then_environment_then_credential_then_file() {
    let all = |line: &str| {
        on(line).file(OWN, "INFISICAL_RELAY_NAME=file\nINFISICAL_GATEWAY_NAME=file\nEDGE_GATEWAY_LOG=debug")
    };
    let config = all("run --target-relay-name=flag")
        .env("INFISICAL_RELAY_NAME", "env")
        .env("INFISICAL_GATEWAY_NAME", "env")
        .config();
    assert_eq!(config.relay_name.as_deref(), Some("flag"));
    assert_eq!(config.gateway_name.as_deref(), Some("env"));
    assert_eq!(config.log, "debug");

    let token =
        |setup: Setup| setup.file(OWN, "INFISICAL_TOKEN=of-file\nINFISICAL_GATEWAY_ENROLL_METHOD=token").config().auth;
    assert_eq!(token(on("run")), Auth::Enroll(Secret::from("of-file")));
    let credential =
        || on("run").env("CREDENTIALS_DIRECTORY", "/run/c").file_mode("/run/c/infisical_token", "of-systemd\n", 0o400);
    assert_eq!(token(credential()), Auth::Enroll(Secret::from("of-systemd")));
    assert_eq!(token(credential().env("INFISICAL_TOKEN", "of-env")), Auth::Enroll(Secret::from("of-env")));
}

#[test]
fn empty_values_count_as_unset() {
    let config = on("run --target-relay-name= --domain=")
        .env("INFISICAL_TOKEN", "")
        .file(OWN, "INFISICAL_GATEWAY_NAME=\n")
        .config();
    assert_eq!((config.auth, config.relay_name, config.gateway_name), (Auth::Stored, None, None));
}

#[test]
fn files_as_shells_and_systemd_write_them() {
    let text = "\u{feff}# comment\r\n; comment\n\n  export INFISICAL_DOMAIN = \"https://eu.infisical.com\" \nINFISICAL_GATEWAY_NAME='a'\r\nEDGE_GATEWAY_ALLOW=10.0.0.0/8:*, db.lan:5432";
    let config = on("run").file(OWN, text).config();
    assert_eq!(config.domain.as_str(), "https://eu.infisical.com");
    assert_eq!(config.gateway_name.as_deref(), Some("a"));
    assert_eq!(config.allow.as_deref(), Some("10.0.0.0/8:*, db.lan:5432"));
}

#[test]
fn a_named_file_is_the_only_one_and_must_exist() {
    let config = on("run --config=/a.conf")
        .file("/a.conf", "INFISICAL_RELAY_NAME=a")
        .file(OWN, "INFISICAL_GATEWAY_NAME=own")
        .config();
    assert_eq!((config.relay_name.as_deref(), config.gateway_name), (Some("a"), None));
    on("run --config=/a.conf").refused(Exit::NoInput, &["/a.conf", "does not exist"]);
    on("run").env("EDGE_GATEWAY_CONFIG", "a.conf").refused(Exit::NoInput, &["a.conf"]);
}

#[test]
fn other_programs_variables_are_left_alone() {
    let pod = on("run")
        .env("EDGE_GATEWAY_SERVICE_HOST", "10.0.0.1")
        .env("EDGE_GATEWAY_PORT", "tcp://10.0.0.1:80")
        .env("EDGE_GATEWAY_PORT_80_TCP", "x");
    assert_eq!(pod.env("INFISICAL_DISABLE_UPDATE_CHECK", "true").config().warnings, [""; 0]);
    let slip = on("run").env("INFISICAL_DOMIAN", "https://eu.infisical.com").config();
    assert!(slip.warnings[0].contains("did you mean INFISICAL_DOMAIN?"), "{:?}", slip.warnings);
}

#[test]
fn where_state_is_kept() {
    let user = |key: &str, value: &str| on("run").by_user().env(key, value);
    assert_eq!(user("HOME", "/home/u").config().state_dir, Path::new("/home/u/.local/state/edge-gateway"));
    assert_eq!(user("XDG_STATE_HOME", "/s").env("HOME", "/home/u").config().state_dir, Path::new("/s/edge-gateway"));
    assert_eq!(user("STATE_DIRECTORY", "/var/lib/gw:/var/lib/other").config().state_dir, Path::new("/var/lib/gw"));
    assert_eq!(user("EDGE_GATEWAY_STATE_DIR", "/data").config().state_dir, Path::new("/data"));
    user("XDG_STATE_HOME", "relative").refused(Exit::Config, &["EDGE_GATEWAY_STATE_DIR is missing", "example: "]);
}

#[test]
fn http_is_possible_but_not_silent() {
    let config = on("run --domain=http://127.0.0.1:8080").config();
    assert!(config.warnings[0].contains("unencrypted"), "{:?}", config.warnings);
}
