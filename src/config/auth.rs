//! How the gateway proves who it is, from the settings that say so.

use std::path::PathBuf;

use super::args::Command;
use super::error::{ConfigError, example};
use super::files::Files;
use super::layer::{Entry, Values};
use super::table::{Id, SERVICE_ACCOUNT_TOKEN, setting};
use super::value::SecretSource;
use crate::secret::Secret;

/// What the agent shows the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Nothing was configured: what the state file holds, or nothing at all.
    Stored,
    /// A one-time enrollment token. Equal to the one enrolled with before: the state's access token counts.
    Enroll(Secret),
    /// A lasting gateway access token.
    Gateway(Secret),
    /// A machine identity, which registers the gateway by its name.
    Identity(Identity),
}

/// How a machine identity logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Its access token, got elsewhere.
    Token(Secret),
    /// `universal-auth`.
    Universal {
        /// The client id.
        client_id: String,
        /// The client secret.
        client_secret: Secret,
    },
    /// `oidc-auth`.
    Oidc {
        /// The identity's UUID.
        identity_id: String,
        /// The identity provider's token.
        jwt: SecretSource,
    },
    /// `jwt-auth`.
    Jwt {
        /// The identity's UUID.
        identity_id: String,
        /// The token.
        jwt: SecretSource,
    },
    /// `kubernetes`.
    Kubernetes {
        /// The identity's UUID.
        identity_id: String,
        /// The pod's service account token.
        jwt: SecretSource,
    },
}

/// Settings that say who the gateway is. One that the chosen way does not use is worth a warning.
const CREDENTIALS: [Id; 8] = [
    Id::Token,
    Id::AccessToken,
    Id::EnrollmentToken,
    Id::ClientId,
    Id::ClientSecret,
    Id::IdentityId,
    Id::Jwt,
    Id::ServiceAccountTokenPath,
];

/// Chooses. Warnings are added to `warnings`.
pub(super) fn choose(
    command: Command,
    values: &Values,
    files: &dyn Files,
    warnings: &mut Vec<String>,
) -> Result<Auth, ConfigError> {
    if command == Command::Status {
        // It asks the state, and whoever may read that need not be able to read tokens.
        return Ok(Auth::Stored);
    }
    let (auth, used) = match (values.get(Id::EnrollMethod), values.get(Id::AuthMethod)) {
        (Some(enroll), Some(auth)) => return Err(contradiction(enroll, auth)),
        (Some(enroll), None) if enroll.value.as_str() != "token" => {
            return Err(unsupported(
                enroll,
                "--enroll-method=token, or --auth-method=kubernetes with a machine identity",
            ));
        }
        (None, Some(method)) => identity(command, method, values, files, warnings)?,
        // `enroll` without a method can only mean the one-time token.
        (None, None) if command != Command::Enroll && prefers(values, Id::Token, Id::AccessToken)? => {
            identity_token(values, files, warnings)?
        }
        _ => enrollment(values, files, warnings)?,
    };
    if matches!(auth, Auth::Identity(_)) && values.get(Id::GatewayName).is_none() {
        let why = match &auth {
            Auth::Identity(Identity::Token(token)) if !is_jwt(token) => {
                "a machine identity registers the gateway by its name; if INFISICAL_TOKEN is a one-time enrollment token, set INFISICAL_GATEWAY_ENROLL_METHOD=token"
            }
            _ => "a machine identity registers the gateway by its name",
        };
        return Err(missing(Id::GatewayName, why));
    }
    if command == Command::Enroll {
        match auth {
            Auth::Enroll(_) => {}
            // What the official gateway keeps beside the token that it enrolled with.
            Auth::Gateway(_) if values.get(Id::Token).is_some() => {}
            Auth::Gateway(_) => {
                return Err(missing(Id::Token, "a gateway with a lasting access token is enrolled already"));
            }
            Auth::Stored => return Err(missing(Id::Token, "enroll needs a token from the platform")),
            Auth::Identity(_) => {
                return Err(ConfigError::config(
                    "enroll exchanges a one-time token; a machine identity has none, and `edge-gateway run` registers the gateway",
                ));
            }
        }
    }
    for entry in CREDENTIALS.iter().filter(|id| !used.contains(id)).filter_map(|id| values.get(*id)) {
        warnings.push(format!("{} has no effect: {}", entry.label(), purpose(&auth)));
    }
    Ok(auth)
}

/// What is chosen and which settings it used.
type Choice = (Auth, &'static [Id]);

/// The platform's gateway tokens: one-time, lasting, or none.
fn enrollment(values: &Values, files: &dyn Files, warnings: &mut Vec<String>) -> Result<Choice, ConfigError> {
    const USED: &[Id] = &[Id::Token, Id::AccessToken, Id::EnrollmentToken];
    let given = values.secret(Id::Token, files, warnings)?;
    let access = values.secret(Id::AccessToken, files, warnings)?;
    let enrolled_with = values.secret(Id::EnrollmentToken, files, warnings)?;
    let auth = match (given, access, enrolled_with) {
        (None, None, None) => Auth::Stored,
        (None, None, Some((token, _))) | (Some((token, _)), None, _) => Auth::Enroll(token),
        (None, Some((access, _)), _) => Auth::Gateway(access),
        // What the official gateway keeps: the same one-time token means that it is enrolled already.
        (Some((token, _)), Some((access, _)), Some((used, _))) => {
            if used == token {
                Auth::Gateway(access)
            } else {
                Auth::Enroll(token)
            }
        }
        (Some((token, _)), Some((access, _)), None) => {
            if prefers(values, Id::Token, Id::AccessToken)? {
                Auth::Enroll(token)
            } else {
                Auth::Gateway(access)
            }
        }
    };
    Ok((auth, USED))
}

fn identity_token(values: &Values, files: &dyn Files, warnings: &mut Vec<String>) -> Result<Choice, ConfigError> {
    let Some((token, _)) = values.secret(Id::Token, files, warnings)? else {
        return Ok((Auth::Stored, &[]));
    };
    if !is_jwt(&token) {
        let method = setting(Id::EnrollMethod);
        warnings.push(format!(
            "INFISICAL_TOKEN does not look like a machine identity's access token; for a one-time enrollment token set {}",
            example(method)
        ));
    }
    Ok((Auth::Identity(Identity::Token(token)), &[Id::Token]))
}

fn identity(
    command: Command,
    method: &Entry,
    values: &Values,
    files: &dyn Files,
    warnings: &mut Vec<String>,
) -> Result<Choice, ConfigError> {
    let why = format!("{} is {}", method.label(), method.value.as_str());
    let text = |id| values.text(id).map(str::to_owned).ok_or_else(|| missing(id, &why));
    let (identity, used): (_, &[Id]) = match method.value.as_str() {
        "universal-auth" => {
            const USED: &[Id] = &[Id::ClientId, Id::ClientSecret];
            let client_id = text(Id::ClientId)?;
            let Some((client_secret, _)) = values.secret(Id::ClientSecret, files, warnings)? else {
                return without(command, Id::ClientSecret, &why, USED, warnings);
            };
            (Identity::Universal { client_id, client_secret }, USED)
        }
        "kubernetes" => {
            let path = values.path(Id::ServiceAccountTokenPath);
            // Mounted by Kubernetes and changed every hour: it is looked at when it is needed.
            let jwt = SecretSource::File(path.unwrap_or_else(|| PathBuf::from(SERVICE_ACCOUNT_TOKEN)));
            let identity_id = text(Id::IdentityId)?;
            (Identity::Kubernetes { identity_id, jwt }, &[Id::IdentityId, Id::ServiceAccountTokenPath])
        }
        kind @ ("oidc-auth" | "jwt-auth") => {
            const USED: &[Id] = &[Id::IdentityId, Id::Jwt];
            let identity_id = text(Id::IdentityId)?;
            let Some((_, jwt)) = values.secret(Id::Jwt, files, warnings)? else {
                return without(command, Id::Jwt, &why, USED, warnings);
            };
            let identity = if kind == "jwt-auth" {
                Identity::Jwt { identity_id, jwt }
            } else {
                Identity::Oidc { identity_id, jwt }
            };
            (identity, USED)
        }
        _ => {
            return Err(unsupported(
                method,
                "universal-auth, kubernetes, oidc-auth, jwt-auth, or --enroll-method=token",
            ));
        }
    };
    Ok((Auth::Identity(identity), used))
}

/// A secret that is not there. The service manager may hand it to the gateway alone (systemd's credentials): `doctor`, run by a
/// person, then looks at everything else.
fn without(
    command: Command,
    id: Id,
    why: &str,
    used: &'static [Id],
    warnings: &mut Vec<String>,
) -> Result<Choice, ConfigError> {
    if command != Command::Doctor {
        return Err(missing(id, why));
    }
    warnings.push(format!("{} is not known here, so logging in is not tried: {why}", setting(id).key));
    Ok((Auth::Stored, used))
}

/// Machine identities' access tokens are JWTs (RFC 7519); enrollment tokens are not.
fn is_jwt(token: &Secret) -> bool {
    token.expose().starts_with("eyJ")
}

/// Whether `a` is given and `b` is not, or in a source of less weight. Both in one source: refused.
fn prefers(values: &Values, a: Id, b: Id) -> Result<bool, ConfigError> {
    match (values.get(a), values.get(b)) {
        (Some(a), Some(b)) => match a.origin.weight().cmp(&b.origin.weight()) {
            std::cmp::Ordering::Equal => Err(contradiction(a, b)),
            order => Ok(order.is_gt()),
        },
        (a, _) => Ok(a.is_some()),
    }
}

fn purpose(auth: &Auth) -> &'static str {
    match auth {
        Auth::Stored => "no credentials are in use but the stored ones",
        Auth::Enroll(_) | Auth::Gateway(_) => "the gateway uses its own token",
        Auth::Identity(Identity::Token(_)) => "the machine identity's token is given",
        Auth::Identity(_) => "another login method is chosen",
    }
}

fn contradiction(a: &Entry, b: &Entry) -> ConfigError {
    ConfigError::config(format!("{} and {} contradict each other; keep one", a.label(), b.label()))
}

fn missing(id: Id, why: &str) -> ConfigError {
    let setting = setting(id);
    ConfigError::config(format!("{} is missing: {why}; example: {}", setting.key, example(setting)))
}

fn unsupported(entry: &Entry, instead: &str) -> ConfigError {
    ConfigError::config(format!(
        "{}: {} is not supported in this build; use {instead}",
        entry.label(),
        entry.value.as_str()
    ))
}
