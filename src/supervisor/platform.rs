//! What the agent does with the platform's API: tokens, certificates, relays, and the state file that remembers them.
//!
//! Blocking: it runs on the API client's own short-lived thread, one piece of work at a time.

use super::relays;
use crate::api::{self, Client, JwtMethod, NextStep};
use crate::bundle::Bundle;
use crate::clock::Clock;
use crate::config::{Auth, Config, ConfigError, Identity, OsFiles, SecretSource};
use crate::exit::Exit;
use crate::secret::Secret;
use crate::state::{Access, Fingerprint, Record, Relay, SaveError, Store, TokenKind};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why the platform, or what is needed for it, failed.
#[derive(Debug)]
pub(super) enum PlatformError {
    /// The platform, or the way to it.
    Api(api::Error),
    /// A setting, or the file that it names.
    Config(ConfigError),
    /// There was no relay to ask certificates for, and the platform knows none either: one may be set up later.
    NoRelay(api::Error),
    /// Nothing to show the platform.
    NoCredentials,
    /// The certificates are for another gateway than `INFISICAL_GATEWAY_ID`; holds theirs.
    OtherGateway(String),
    /// What a one-time token buys could not be kept: it was not spent.
    NowhereToKeep(SaveError),
    /// What a one-time token bought could not be kept.
    NotKept(SaveError),
}

impl PlatformError {
    /// What may help, `None` when only a person can.
    pub(super) fn next(&self) -> Option<NextStep> {
        match self {
            PlatformError::Api(error) => Some(error.next()),
            PlatformError::NoRelay(_) => Some(NextStep::RetryLater),
            _ => None,
        }
    }

    /// The platform does not know the gateway, or the relay.
    fn is_not_found(&self) -> bool {
        matches!(self, PlatformError::Api(error) if error.next() == NextStep::NotFound)
    }

    /// The code to end with, where this error ends the agent.
    pub(super) fn exit(&self) -> Exit {
        match self {
            PlatformError::Api(error) => error.exit(),
            PlatformError::NoRelay(_) => Exit::TempFail,
            PlatformError::Config(error) => error.exit(),
            PlatformError::NoCredentials | PlatformError::OtherGateway(_) => Exit::Config,
            PlatformError::NowhereToKeep(_) | PlatformError::NotKept(_) => Exit::Io,
        }
    }
}

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlatformError::Api(error) => error.fmt(f),
            PlatformError::NoRelay(error) => write!(f, "{error}; the platform has no relay for this gateway now"),
            PlatformError::Config(error) => error.fmt(f),
            PlatformError::NoCredentials => f.write_str(
                "this gateway is not enrolled; create an enrollment token on the platform, and set INFISICAL_GATEWAY_ENROLL_METHOD=token and INFISICAL_TOKEN_FILE",
            ),
            PlatformError::OtherGateway(id) => {
                write!(
                    f,
                    "the platform's certificates are for gateway {id}, not for INFISICAL_GATEWAY_ID; correct it or remove it"
                )
            }
            PlatformError::NowhereToKeep(error) => write!(f, "the one-time token is not spent: {error}"),
            PlatformError::NotKept(error) => {
                write!(f, "enrolled, and the enrolment is lost: {error}; then enrol with a new token")
            }
        }
    }
}

impl From<api::Error> for PlatformError {
    fn from(error: api::Error) -> Self {
        PlatformError::Api(error)
    }
}

impl From<ConfigError> for PlatformError {
    fn from(error: ConfigError) -> Self {
        PlatformError::Config(error)
    }
}

/// What certificates are to be asked for.
#[derive(Default)]
struct Choice {
    /// The relay; `None` when it is named in the settings, or the platform is to choose.
    relay: Option<Relay>,
    runner_up: Option<Relay>,
    /// The platform says that it has no relays.
    none_exist: bool,
}

/// A machine identity's token while it is good.
struct Login {
    token: Secret,
    /// To be renewed from then on: two thirds of its life.
    renew_at: Instant,
    /// It cannot be renewed beyond this.
    ends_at: Option<Instant>,
}

/// The agent's standing with the platform, and the state file.
pub(super) struct Platform {
    auth: Auth,
    domain: String,
    gateway_name: Option<String>,
    gateway_id: Option<String>,
    relay_name: Option<String>,
    relay_port: u16,
    /// There is a proxy on the way to the relay: how far relays are cannot be measured.
    proxied: bool,
    clock: Arc<Clock>,
    store: Store,
    /// The medium has taken a record since the start.
    writable: bool,
    record: Record,
    /// Another platform's record. It stays on the medium until this platform has given something to keep: the domain may be a slip.
    other: Option<Record>,
    login: Option<Login>,
}

impl Platform {
    pub(super) fn new(config: &Config, clock: Arc<Clock>, store: Store, mut record: Record) -> Self {
        let domain = config.domain.as_str().to_owned();
        let mut other = None;
        if record.domain.as_ref().is_some_and(|other| *other != domain) {
            log::warn!(
                "the stored enrolment belongs to {}; it is not used for {domain}",
                record.domain.as_deref().unwrap_or_default()
            );
            let passing = record.passing;
            other = Some(std::mem::replace(&mut record, Record { passing, ..Record::default() }));
        }
        Platform {
            auth: config.auth.clone(),
            domain,
            gateway_name: config.gateway_name.clone(),
            gateway_id: config.gateway_id.clone(),
            relay_name: config.relay_name.clone(),
            relay_port: config.relay_port,
            proxied: config.relay_proxy.is_some(),
            clock,
            store,
            writable: false,
            record,
            other,
            login: None,
        }
    }

    /// The certificates of the last run, if they fit the settings of this one.
    pub(super) fn stored_bundle(&self) -> Option<&Bundle> {
        let relay_fits = match (&self.relay_name, &self.record.relay) {
            (Some(wanted), Some(relay)) => *wanted == relay.name,
            (Some(_), None) => false,
            (None, _) => true,
        };
        let token_fits = match &self.auth {
            Auth::Enroll(token) => self.is_enrolled_with(token),
            Auth::Stored | Auth::Gateway(_) => true,
            Auth::Identity(_) => self.record.gateway_name == self.gateway_name,
        };
        let id_fits = |bundle: &&Bundle| self.gateway_id.as_ref().is_none_or(|id| *id == bundle.gateway_id);
        self.record.bundle.as_ref().filter(|_| relay_fits && token_fits).filter(id_fits)
    }

    fn is_enrolled_with(&self, token: &Secret) -> bool {
        self.record.enrolled_with == Some(Fingerprint::of(token)) && self.record.access.is_some()
    }

    /// Whether a one-time token has yet to be exchanged.
    pub(super) fn is_to_enroll(&self) -> bool {
        matches!(&self.auth, Auth::Enroll(token) if !self.is_enrolled_with(token))
    }

    /// Enrols for the command, which ends with what it has in memory. Whether anything was to be done.
    pub(super) fn enroll(&mut self, client: &Client) -> Result<bool, PlatformError> {
        let enrolled = self.exchange(client)?;
        if enrolled {
            self.keep().map_err(PlatformError::NotKept)?;
        }
        Ok(enrolled)
    }

    /// Gets the lasting token for the one-time token, unless that is done already. Whether anything was done: then it is to be saved
    /// before anything else can fail.
    fn exchange(&mut self, client: &Client) -> Result<bool, PlatformError> {
        let Auth::Enroll(token) = &self.auth else { return Ok(false) };
        if self.is_enrolled_with(token) {
            return Ok(false);
        }
        // A medium that takes nothing is found out while the token is still good: once, and not at every attempt.
        if !self.writable {
            let kept = self.other.as_ref().unwrap_or(&self.record);
            self.store.save_all(kept).map_err(PlatformError::NowhereToKeep)?;
            self.writable = true;
        }
        let enrolment = client.enroll(token)?;
        log::info!("enrolled at {} as gateway {}", self.domain, enrolment.gateway_id);
        self.record = Record {
            domain: Some(self.domain.clone()),
            gateway_id: Some(enrolment.gateway_id),
            access: Some(Access { kind: TokenKind::Gateway, token: enrolment.access_token }),
            enrolled_with: Some(Fingerprint::of(token)),
            passing: self.record.passing,
            ..Record::default()
        };
        Ok(true)
    }

    /// Fetches certificates, for another relay than the last one if `elsewhere`, and remembers them.
    pub(super) fn fetch(&mut self, client: &Client, elsewhere: bool) -> Result<Bundle, PlatformError> {
        if self.exchange(client)? {
            self.save();
        }
        let token = self.token(client)?;
        let mut choice = self.choose_relay(client, &token, elsewhere)?;
        let asked = match self.certificates(client, choice.relay.as_ref()) {
            // A relay that was chosen once and has been deleted or renamed since. One that is named is a person's to mend.
            Err(error) if error.is_not_found() && self.relay_name.is_none() && self.record.relay.take().is_some() => {
                log::warn!("{error}; choosing among the relays that there are");
                choice = self.choose_relay(client, &token, false)?;
                self.certificates(client, choice.relay.as_ref())
            }
            asked => asked,
        };
        let name = self.relay_name.clone().or_else(|| choice.relay.map(|relay| relay.name));
        let bundle = asked.map_err(|error| match error {
            PlatformError::Api(error) if choice.none_exist && matches!(error.status(), Some(400 | 404)) => {
                PlatformError::NoRelay(error)
            }
            error => error,
        })?;
        if self.gateway_id.as_ref().is_some_and(|id| *id != bundle.gateway_id) {
            return Err(PlatformError::OtherGateway(bundle.gateway_id));
        }
        self.record.domain = Some(self.domain.clone());
        self.record.gateway_id = Some(bundle.gateway_id.clone());
        if matches!(self.auth, Auth::Identity(_)) {
            self.record.gateway_name = self.gateway_name.clone();
        }
        self.record.relay = name.map(|name| Relay { name, host: bundle.relay_host.clone() });
        self.record.runner_up = choice.runner_up;
        self.record.bundle = Some(bundle.clone());
        self.save();
        Ok(bundle)
    }

    /// Asks for certificates for the relay that is named in the settings, or for this one.
    fn certificates(&mut self, client: &Client, relay: Option<&Relay>) -> Result<Bundle, PlatformError> {
        let name = self.relay_name.clone().or_else(|| relay.map(|relay| relay.name.clone()));
        self.with_login(client, |platform, token| match (&platform.auth, &platform.gateway_name) {
            (Auth::Identity(_), Some(gateway)) => client.register(token, gateway, name.as_deref()),
            _ => client.connect(token, name.as_deref()),
        })
    }

    /// The relay to ask for, and the next best: the one in use, or the nearest that lives. None when one is named, or the platform is
    /// to choose.
    fn choose_relay(&mut self, client: &Client, token: &Secret, elsewhere: bool) -> Result<Choice, PlatformError> {
        if self.relay_name.is_some() {
            return Ok(Choice::default());
        }
        if self.record.relay.is_some() && !elsewhere {
            let (relay, runner_up) = (self.record.relay.clone(), self.record.runner_up.clone());
            return Ok(Choice { relay, runner_up, none_exist: false });
        }
        let relays = match client.relays(token) {
            Ok(relays) => relays,
            Err(error) if error.status().is_some() => {
                log::warn!("{error}; the platform chooses the relay");
                return Ok(Choice::default());
            }
            Err(error) => return Err(error.into()),
        };
        let avoid = self.record.relay.as_ref().filter(|_| elsewhere).map(|relay| relay.name.as_str());
        let groups = relays::candidates(&relays, self.clock.unix(), avoid);
        let chosen = relays::nearest(groups, |relay| {
            if self.proxied {
                return Some(Duration::ZERO);
            }
            let latency = relays::connect_time(relay, self.relay_port);
            match latency {
                Some(latency) => log::info!("relay {} at {} answers in {latency:.1?}", relay.name, relay.host),
                None => {
                    log::warn!("relay {} at {} does not answer on port {}", relay.name, relay.host, self.relay_port)
                }
            }
            latency
        });
        let remember = |relay: &api::Relay| Relay { name: relay.name.clone(), host: relay.host.clone() };
        let latest = relays.iter().max_by_key(|relay| relay.heartbeat);
        let (relay, runner_up) = match (chosen, latest) {
            (Some((first, second)), _) => (Some(remember(first)), second.map(remember)),
            // The platform gives no certificates to a new gateway that names no relay: what does not answer now may do so soon.
            (None, Some(latest)) => {
                log::warn!("no relay answers; asking for {}, of which the platform heard last", latest.name);
                (Some(remember(latest)), None)
            }
            (None, None) => (None, None),
        };
        Ok(Choice { relay, runner_up, none_exist: latest.is_none() })
    }

    /// Tells the platform that the gateway lives.
    pub(super) fn heartbeat(&mut self, client: &Client) -> Result<(), PlatformError> {
        self.with_login(client, |_, token| client.heartbeat(token))
    }

    /// Calls with a token; a machine identity whose token is no longer taken logs in once more.
    fn with_login<T>(
        &mut self,
        client: &Client,
        call: impl Fn(&Self, &Secret) -> Result<T, api::Error>,
    ) -> Result<T, PlatformError> {
        let token = self.token(client)?;
        match call(self, &token) {
            Err(error) if error.status() == Some(401) && self.login.take().is_some() => {
                let token = self.token(client)?;
                Ok(call(self, &token)?)
            }
            result => Ok(result?),
        }
    }

    /// The token for the next call.
    fn token(&mut self, client: &Client) -> Result<Secret, PlatformError> {
        match &self.auth {
            Auth::Gateway(token) => Ok(token.clone()),
            Auth::Stored | Auth::Enroll(_) => {
                self.record.access.as_ref().map(|access| access.token.clone()).ok_or(PlatformError::NoCredentials)
            }
            Auth::Identity(Identity::Token(token)) => Ok(token.clone()),
            Auth::Identity(identity) => {
                let identity = identity.clone();
                self.identity_token(client, &identity)
            }
        }
    }

    fn identity_token(&mut self, client: &Client, identity: &Identity) -> Result<Secret, PlatformError> {
        let now = Instant::now();
        if let Some(login) = &self.login {
            if now < login.renew_at {
                return Ok(login.token.clone());
            }
            if login.ends_at.is_none_or(|end| now < end) {
                match client.renew(&login.token) {
                    Ok(renewed) => {
                        let ends_at = login.ends_at;
                        return Ok(self.remember_login(renewed, now, ends_at));
                    }
                    Err(error) => log::info!("{error}; logging in again"),
                }
            }
        }
        let granted = login(client, identity)?;
        let ends_at = (!granted.max_ttl.is_zero()).then(|| now.checked_add(granted.max_ttl)).flatten();
        Ok(self.remember_login(granted, now, ends_at))
    }

    fn remember_login(&mut self, granted: api::AccessToken, now: Instant, ends_at: Option<Instant>) -> Secret {
        // A life beyond any clock counts as a day: renewing early does no harm.
        let renew_at = now.checked_add(granted.expires_in / 3 * 2).unwrap_or(now + Duration::from_secs(86_400));
        self.login = Some(Login { token: granted.token.clone(), renew_at, ends_at });
        granted.token
    }

    /// Saves what the platform gave.
    fn keep(&mut self) -> Result<(), SaveError> {
        self.other = None;
        self.record.passing.last_good_time = self.clock.last_good();
        self.store.save(&self.record).map(drop)
    }

    fn save(&mut self) {
        if let Err(error) = self.keep() {
            log::error!("{error}; until then it is kept in memory only");
        }
    }

    /// Saves everything, the time that the platform told included: for a clean stop.
    pub(super) fn save_all(&mut self) {
        self.record.passing.last_good_time = self.clock.last_good();
        if self.other.is_none()
            && self.record != Record::default()
            && let Err(error) = self.store.save_all(&self.record)
        {
            log::error!("{error}");
        }
    }
}

fn login(client: &Client, identity: &Identity) -> Result<api::AccessToken, PlatformError> {
    let jwt = |source: &SecretSource| source.read("INFISICAL_JWT", &OsFiles);
    Ok(match identity {
        // Handled by the caller: there is nothing to log in with.
        Identity::Token(_) => return Err(PlatformError::NoCredentials),
        Identity::Universal { client_id, client_secret } => client.universal_auth_login(client_id, client_secret)?,
        Identity::Oidc { identity_id, jwt: source } => client.jwt_login(JwtMethod::Oidc, identity_id, &jwt(source)?)?,
        Identity::Jwt { identity_id, jwt: source } => client.jwt_login(JwtMethod::Jwt, identity_id, &jwt(source)?)?,
        Identity::Kubernetes { identity_id, jwt: source } => {
            let token = source.read("INFISICAL_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH", &OsFiles)?;
            client.jwt_login(JwtMethod::Kubernetes, identity_id, &token)?
        }
    })
}
