//! Every setting, once: `--help`, `docs/settings.md`, the refusal of unknown names and the reading of values all come
//! from here.

/// A setting's row in [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The rows describe themselves.
pub enum Id {
    Domain,
    GatewayName,
    EnrollMethod,
    Token,
    AccessToken,
    EnrollmentToken,
    GatewayId,
    RelayName,
    AuthMethod,
    ClientId,
    ClientSecret,
    IdentityId,
    Jwt,
    ServiceAccountTokenPath,
    ConfigFile,
    StateDir,
    CaFile,
    RelayPort,
    RelayProxy,
    Allow,
    Deny,
    MaxTunnels,
    Memory,
    Log,
    LogStyle,
    ExitPause,
}

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A base URL ([`crate::domain::Domain`]).
    Domain,
    /// A proxy's URL ([`crate::proxy::Proxy`]).
    Proxy,
    /// Printable text without spaces that must not leak. `KEY_FILE` names a file that holds it.
    Secret,
    /// A gateway's or relay's name.
    Name,
    /// A UUID.
    Uuid,
    /// Printable text.
    Text,
    /// An absolute path.
    Path,
    /// A decimal number from the first to the second bound.
    Number(u32, u32),
    /// A number of bytes from the first to the second bound: plain, or in `KiB` or `MiB`.
    Size(usize, usize),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Log levels: `info`, or `info,edge_gateway::ssh=debug`.
    LogFilter,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Which one.
    pub id: Id,
    /// Its name in the environment and in files.
    pub key: &'static str,
    /// Older names, and those that the official gateway writes into its own files.
    pub older: &'static [&'static str],
    /// Its flag without `--`, then older flags. Empty: none.
    pub flags: &'static [&'static str],
    /// What a value must look like.
    pub kind: Kind,
    /// What holds when it is not set, in words or as the value. Empty: nothing.
    pub default: &'static str,
    /// A value for messages and documentation.
    pub example: &'static str,
    /// One line for `--help` and the documentation.
    pub help: &'static str,
}

impl Setting {
    /// Whether its value must not be shown.
    pub fn is_secret(&self) -> bool {
        self.kind == Kind::Secret
    }
}

/// The setting of an id.
pub(super) fn setting(id: Id) -> &'static Setting {
    &TABLE[id as usize]
}

/// What the platform knows to log in with. Those that this build lacks are named so that the refusal can be clear.
pub(super) const AUTH_METHODS: &[&str] =
    &["universal-auth", "kubernetes", "oidc-auth", "jwt-auth", "azure", "gcp-id-token", "gcp-iam", "aws-iam"];

/// How the official gateway enrols. This build does `token`.
pub(super) const ENROLL_METHODS: &[&str] = &["token", "aws", "gcp", "kubernetes"];

/// Ways to print the log.
pub(super) const LOG_STYLES: &[&str] = &["auto", "plain", "time", "syslog"];

/// Where our own file is looked for.
pub(super) const DEFAULT_FILE: &str = "/etc/edge-gateway/edge-gateway.conf";

/// Where Kubernetes mounts a pod's token.
pub(super) const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// All settings, in the order of [`Id`].
pub static TABLE: [Setting; 26] = [
    Setting {
        id: Id::Domain,
        key: "INFISICAL_DOMAIN",
        older: &["INFISICAL_API_URL", "INFISICAL_GATEWAY_DOMAIN"],
        flags: &["domain"],
        kind: Kind::Domain,
        default: crate::domain::Domain::DEFAULT,
        example: "https://eu.infisical.com",
        help: "the platform's URL",
    },
    Setting {
        id: Id::GatewayName,
        key: "INFISICAL_GATEWAY_NAME",
        older: &[],
        flags: &["name"],
        kind: Kind::Name,
        default: "",
        example: "branch-office-7",
        help: "this gateway's name; needed with a machine identity",
    },
    Setting {
        id: Id::EnrollMethod,
        key: "INFISICAL_GATEWAY_ENROLL_METHOD",
        older: &[],
        flags: &["enroll-method"],
        kind: Kind::Choice(ENROLL_METHODS),
        default: "",
        example: "token",
        help: "`token`: INFISICAL_TOKEN is a one-time enrollment token",
    },
    Setting {
        id: Id::Token,
        key: "INFISICAL_TOKEN",
        older: &[],
        flags: &["token"],
        kind: Kind::Secret,
        default: "",
        example: "/run/credentials/token",
        help: "one-time enrollment token (enroll method `token`), else a machine identity's access token",
    },
    Setting {
        id: Id::AccessToken,
        key: "INFISICAL_GATEWAY_ACCESS_TOKEN",
        older: &[],
        flags: &[],
        kind: Kind::Secret,
        default: "",
        example: "/run/credentials/access-token",
        help: "the lasting token of a gateway that is enrolled already",
    },
    Setting {
        id: Id::EnrollmentToken,
        key: "INFISICAL_GATEWAY_ENROLLMENT_TOKEN",
        older: &[],
        flags: &[],
        kind: Kind::Secret,
        default: "",
        example: "/run/credentials/enrollment-token",
        help: "the token that INFISICAL_GATEWAY_ACCESS_TOKEN was enrolled with, as the official gateway stores it",
    },
    Setting {
        id: Id::GatewayId,
        key: "INFISICAL_GATEWAY_ID",
        older: &[],
        flags: &["gateway-id"],
        kind: Kind::Uuid,
        default: "",
        example: "6f1c2f0e-8a5b-4c3d-9e7f-0123456789ab",
        help: "the gateway's id, if another one must not be served by mistake",
    },
    Setting {
        id: Id::RelayName,
        key: "INFISICAL_RELAY_NAME",
        older: &[],
        flags: &["target-relay-name", "relay"],
        kind: Kind::Name,
        default: "the nearest healthy one",
        example: "eu-relay-1",
        help: "the one relay to use, without failover",
    },
    Setting {
        id: Id::AuthMethod,
        key: "INFISICAL_AUTH_METHOD",
        older: &[],
        flags: &["auth-method"],
        kind: Kind::Choice(AUTH_METHODS),
        default: "",
        example: "universal-auth",
        help: "how a machine identity logs in: `universal-auth`, `kubernetes`, `oidc-auth`, `jwt-auth`",
    },
    Setting {
        id: Id::ClientId,
        key: "INFISICAL_UNIVERSAL_AUTH_CLIENT_ID",
        older: &[],
        flags: &["client-id"],
        kind: Kind::Text,
        default: "",
        example: "6f1c2f0e-8a5b-4c3d-9e7f-0123456789ab",
        help: "client id for `universal-auth`",
    },
    Setting {
        id: Id::ClientSecret,
        key: "INFISICAL_UNIVERSAL_AUTH_CLIENT_SECRET",
        older: &[],
        flags: &["client-secret"],
        kind: Kind::Secret,
        default: "",
        example: "/run/credentials/client-secret",
        help: "client secret for `universal-auth`",
    },
    Setting {
        id: Id::IdentityId,
        key: "INFISICAL_MACHINE_IDENTITY_ID",
        older: &[],
        flags: &["machine-identity-id"],
        kind: Kind::Uuid,
        default: "",
        example: "6f1c2f0e-8a5b-4c3d-9e7f-0123456789ab",
        help: "machine identity for `kubernetes`, `oidc-auth`, `jwt-auth`",
    },
    Setting {
        id: Id::Jwt,
        key: "INFISICAL_JWT",
        older: &[],
        flags: &["jwt"],
        kind: Kind::Secret,
        default: "",
        example: "/run/tokens/jwt",
        help: "token for `oidc-auth` and `jwt-auth`; from a file it is read anew at each login",
    },
    Setting {
        id: Id::ServiceAccountTokenPath,
        key: "INFISICAL_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH",
        older: &[],
        flags: &["service-account-token-path"],
        kind: Kind::Path,
        default: SERVICE_ACCOUNT_TOKEN,
        example: "/var/run/secrets/tokens/infisical",
        help: "the pod's token for `kubernetes`",
    },
    Setting {
        id: Id::ConfigFile,
        key: "EDGE_GATEWAY_CONFIG",
        older: &[],
        flags: &["config"],
        kind: Kind::Path,
        default: DEFAULT_FILE,
        example: "/etc/edge-gateway/second.conf",
        help: "the only file of settings to read; it must exist",
    },
    Setting {
        id: Id::StateDir,
        key: "EDGE_GATEWAY_STATE_DIR",
        older: &[],
        flags: &["state-dir"],
        kind: Kind::Path,
        default: "/var/lib/edge-gateway; not root: ~/.local/state/edge-gateway",
        example: "/data/edge-gateway",
        help: "where the enrolment is kept",
    },
    Setting {
        id: Id::CaFile,
        key: "EDGE_GATEWAY_CA_FILE",
        older: &[],
        flags: &["ca-file"],
        kind: Kind::Path,
        default: "",
        example: "/etc/ssl/company-ca.pem",
        help: "more root certificates (PEM) for a self-hosted platform, or its own one",
    },
    Setting {
        id: Id::RelayPort,
        key: "EDGE_GATEWAY_RELAY_PORT",
        older: &[],
        flags: &["relay-port"],
        kind: Kind::Number(1, 65_535),
        default: "2222",
        example: "2222",
        help: "the relay's SSH port",
    },
    Setting {
        id: Id::RelayProxy,
        key: "EDGE_GATEWAY_RELAY_PROXY",
        older: &[],
        flags: &["relay-proxy"],
        kind: Kind::Proxy,
        default: "",
        example: "socks5://proxy.lan:1080",
        help: "a proxy that leads to the relay: `http://` (CONNECT) or `socks5://`, host and port",
    },
    Setting {
        id: Id::Allow,
        key: "EDGE_GATEWAY_ALLOW",
        older: &[],
        flags: &["allow"],
        kind: Kind::Text,
        default: "everything",
        example: "192.168.1.0/24:*,db.lan:5432",
        help: "targets that may be reached",
    },
    Setting {
        id: Id::Deny,
        key: "EDGE_GATEWAY_DENY",
        older: &[],
        flags: &["deny"],
        kind: Kind::Text,
        default: "nothing",
        example: "192.168.1.1:*",
        help: "targets that may not be reached, though allowed",
    },
    Setting {
        id: Id::MaxTunnels,
        key: "EDGE_GATEWAY_MAX_TUNNELS",
        older: &[],
        flags: &["max-tunnels"],
        kind: Kind::Number(1, crate::limits::TUNNELS_MAX),
        default: "64",
        example: "64",
        help: "connections served at one time",
    },
    Setting {
        id: Id::Memory,
        key: "EDGE_GATEWAY_MEMORY",
        older: &[],
        flags: &["memory"],
        kind: Kind::Size(crate::limits::MEMORY_MIN, crate::limits::MEMORY_MAX),
        default: "4MiB",
        example: "2MiB",
        help: "memory for the buffers of all tunnels together; with less, fewer tunnels are served",
    },
    Setting {
        id: Id::Log,
        key: "EDGE_GATEWAY_LOG",
        older: &[],
        flags: &["log"],
        kind: Kind::LogFilter,
        default: "info",
        example: "info,edge_gateway::relay=debug",
        help: "`error`, `warn`, `info`, `debug` or `trace`, also for single modules",
    },
    Setting {
        id: Id::LogStyle,
        key: "EDGE_GATEWAY_LOG_STYLE",
        older: &[],
        flags: &["log-style"],
        kind: Kind::Choice(LOG_STYLES),
        default: "auto",
        example: "syslog",
        help: "`plain`, with `time`, or with `syslog` priorities; `auto` suits journal, terminal and procd",
    },
    Setting {
        id: Id::ExitPause,
        key: "EDGE_GATEWAY_EXIT_PAUSE",
        older: &[],
        flags: &["exit-pause"],
        kind: Kind::Number(0, 3600),
        default: "0",
        example: "300",
        help: "seconds that `run` waits before it ends for what only a person can mend (for procd, which starts it again)",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_indexes_and_names_are_unique() {
        let (mut keys, mut flags) = (BTreeSet::new(), BTreeSet::new());
        for (i, setting) in TABLE.iter().enumerate() {
            assert_eq!(setting.id as usize, i, "{}", setting.key);
            for key in setting.older.iter().chain([&setting.key]) {
                assert!(keys.insert(*key), "{key}");
                assert!(key.starts_with("INFISICAL_") || key.starts_with("EDGE_GATEWAY_"), "{key}");
            }
            for flag in setting.flags {
                assert!(flags.insert(*flag), "{flag}");
            }
            assert!(!setting.example.is_empty() && !setting.help.is_empty(), "{}", setting.key);
        }
    }
}
