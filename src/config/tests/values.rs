//! What is refused, and what the refusal says.

use super::*;

#[test]
fn malformed_files_are_refused_by_line() {
    on("run")
        .file(OWN, "\nsome-token-that-lost-its-key")
        .refused(Exit::Config, &[OWN, ":2:", "KEY=value", "INFISICAL_DOMAIN="]);
    let message = on("run").file(OWN, "secret-token-value").refused(Exit::Config, &[]);
    assert!(!message.contains("secret-token"), "{message}");
    on("run").file(OWN, "INFISICAL_DOMIAN=x").refused(
        Exit::Config,
        &[":1:", "INFISICAL_DOMIAN", "did you mean INFISICAL_DOMAIN?", "Example: INFISICAL_DOMAIN=https://"],
    );
    on("run").file(OWN, "INFISICAL_GATEWAY_NAME=\"a").refused(Exit::Config, &["INFISICAL_GATEWAY_NAME", "quote"]);
    on("run").file(OWN, "EDGE_GATEWAY_CONFIG=/x").refused(Exit::Config, &["EDGE_GATEWAY_CONFIG", "not in a file"]);
    on("run").file_mode(OWN, "", 0).refused(Exit::NoInput, &[OWN, "chmod"]);
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    on("run --relay-prot=1").refused(Exit::Usage, &["--relay-prot", "--relay-port=2222"]);
    on("run -d x").refused(Exit::Usage, &["-d"]);
    on("run")
        .env("EDGE_GATEWAY_STATEDIR", "/x")
        .refused(Exit::Config, &["EDGE_GATEWAY_STATEDIR", "EDGE_GATEWAY_STATE_DIR=/"]);
    // Not a secret, so it has no file form.
    on("run --domain-file=/x").refused(Exit::Usage, &["--domain-file"]);
}

#[test]
fn commands() {
    for (line, command) in
        [("run", Command::Run), ("start", Command::Run), ("status", Command::Status), ("doctor", Command::Doctor)]
    {
        assert_eq!(on(line).config().command, command);
    }
    on("").refused(Exit::Usage, &["command is missing", "run, enroll"]);
    on("gateway").refused(Exit::Usage, &["command is missing"]);
    on("connect").refused(Exit::Usage, &["connect", "run, enroll"]);
    let message = on("run eyJhbGciOi").refused(Exit::Usage, &["`run`", "--flag=value"]);
    assert!(!message.contains("eyJ"), "{message}");
    on("start a b").refused(Exit::Usage, &["`start`"]);
    on("run --domain").refused(Exit::Usage, &["--domain needs a value", "--domain=https://"]);
    on("run --domain --log=info").refused(Exit::Usage, &["--domain needs a value"]);
}

#[test]
fn values_are_checked_and_the_refusal_names_key_value_and_example() {
    for (key, value, part) in [
        ("INFISICAL_DOMAIN", "app.infisical.com", "https://"),
        ("INFISICAL_GATEWAY_NAME", "../../etc/shadow", "letters"),
        ("INFISICAL_RELAY_NAME", "a b", "letters"),
        ("INFISICAL_GATEWAY_ID", "7", "UUID"),
        ("INFISICAL_AUTH_METHOD", "ldap", "one of universal-auth"),
        ("INFISICAL_GATEWAY_ENROLL_METHOD", "tokens", "one of token"),
        ("EDGE_GATEWAY_STATE_DIR", "state", "absolute"),
        ("EDGE_GATEWAY_CA_FILE", "ca.pem", "absolute"),
        ("EDGE_GATEWAY_RELAY_PORT", "0", "1 to 65535"),
        ("EDGE_GATEWAY_MEMORY", "102399", "from 100KiB to 1024MiB"),
        ("EDGE_GATEWAY_MEMORY", "4MB", "from 100KiB to 1024MiB"),
        ("EDGE_GATEWAY_MEMORY", "99999999999999MiB", "from 100KiB to 1024MiB"),
        ("EDGE_GATEWAY_RELAY_PORT", "65536", "1 to 65535"),
        ("EDGE_GATEWAY_RELAY_PORT", "ssh", "1 to 65535"),
        ("EDGE_GATEWAY_MAX_TUNNELS", "257", "1 to 256"),
        ("EDGE_GATEWAY_LOG", "loud", "debug"),
        ("EDGE_GATEWAY_LOG", "info,=debug", "debug"),
        ("EDGE_GATEWAY_LOG_STYLE", "json", "one of auto"),
        ("EDGE_GATEWAY_ALLOW", "a\u{7}", "control"),
    ] {
        let message = on("run").env(key, value).refused(Exit::Config, &[key, part, "environment", "example: "]);
        assert!(message.contains(&format!("\"{}\"", Escaped::new(value, 80))), "{message}");
    }
    on("run --relay-port=x").refused(Exit::Usage, &["--relay-port (command line)"]);
    on("run").file(OWN, "\n\nEDGE_GATEWAY_RELAY_PORT=x").refused(Exit::Config, &["edge-gateway.conf:3"]);
    for good in ["info", "WARN", "info,edge_gateway::ssh=trace", "off"] {
        assert_eq!(on("run").env("EDGE_GATEWAY_LOG", good).config().log, good);
    }
}

#[test]
fn contradictions_within_one_source_are_refused() {
    on("run")
        .env("INFISICAL_DOMAIN", "https://a.example")
        .env("INFISICAL_API_URL", "https://b.example")
        .refused(Exit::Config, &["INFISICAL_DOMAIN", "INFISICAL_API_URL", "contradict"]);
    on("run")
        .env("INFISICAL_TOKEN", "a")
        .env("INFISICAL_TOKEN_FILE", "/t")
        .refused(Exit::Config, &["INFISICAL_TOKEN ", "INFISICAL_TOKEN_FILE", "contradict"]);
    on("run --relay=a --target-relay-name=b").refused(Exit::Config, &["--relay ", "--target-relay-name"]);
    on("run")
        .file(OWN, "EDGE_GATEWAY_RELAY_PORT=1\nEDGE_GATEWAY_RELAY_PORT=2")
        .refused(Exit::Config, &["conf:1", "conf:2"]);
    on("start a --name=b").refused(Exit::Config, &["start NAME", "--name"]);
    on("run")
        .env("INFISICAL_GATEWAY_ENROLL_METHOD", "token")
        .env("INFISICAL_AUTH_METHOD", "jwt-auth")
        .refused(Exit::Config, &["contradict"]);
    let both = || on("run").env("INFISICAL_TOKEN", "eyJa").env("INFISICAL_GATEWAY_ACCESS_TOKEN", "eyJb");
    both().refused(Exit::Config, &["INFISICAL_TOKEN", "INFISICAL_GATEWAY_ACCESS_TOKEN", "contradict"]);
    both().env("INFISICAL_GATEWAY_ENROLL_METHOD", "token").refused(Exit::Config, &["contradict"]);
    // One value in two spellings is none.
    let same = on("run")
        .env("INFISICAL_DOMAIN", "https://a.example")
        .env("INFISICAL_API_URL", "https://A.example/api/")
        .config();
    assert_eq!(same.domain.as_str(), "https://a.example");
    // A weightier source overrules, whatever the spelling.
    let over = on("run --domain=https://c.example").env("INFISICAL_API_URL", "https://b.example").config();
    assert_eq!(over.domain.as_str(), "https://c.example");
}

#[test]
fn a_size_can_be_written_in_three_ways() {
    for text in ["2097152", "2048KiB", "2MiB", "2 MiB"] {
        assert_eq!(on("run").env("EDGE_GATEWAY_MEMORY", text).config().memory, 2 << 20, "{text}");
    }
}
