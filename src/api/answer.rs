//! The platform's answers: JSON into checked values. Unknown fields are ignored, wrong ones are named.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::bundle::Bundle;
use crate::calendar::{parse_http_date, parse_rfc3339};
use crate::limits::{API_RELAYS, API_RETRY_AFTER_MAX};
use crate::secret::Secret;
use crate::syntax::{is_host, is_name, is_token, is_uuid};

/// What enrolling gives. Some platforms send certificates along; they are for a relay of the platform's choice, and `connect` gets
/// those for the nearest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// The gateway's lasting token.
    pub access_token: Secret,
    /// The gateway's UUID.
    pub gateway_id: String,
}

/// What a machine identity's login gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// The token.
    pub token: Secret,
    /// How long it is good.
    pub expires_in: Duration,
    /// How long it can be renewed, from the login on. Zero: without end.
    pub max_ttl: Duration,
}

/// A relay to choose from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Its name.
    pub name: String,
    /// Its host name or address.
    pub host: String,
    /// It belongs to the organization, not to the platform's operator.
    pub is_org: bool,
    /// When the platform last heard of it, seconds since 1970.
    pub heartbeat: Option<u64>,
}

/// An answer as it travels, and how it becomes a value.
pub(super) trait Answer: Sized {
    type Wire: DeserializeOwned;

    /// # Errors
    /// What is wrong, as half a sentence.
    fn check(wire: Self::Wire) -> Result<Self, String>;
}

/// Reads a body.
pub(super) fn parse<A: Answer>(body: &[u8]) -> Result<A, String> {
    // serde_json's errors name the field and the position, never the value of a string.
    let wire = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    A::check(wire)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireEnrolment {
    access_token: Secret,
    gateway_id: String,
}

impl Answer for Enrolment {
    type Wire = WireEnrolment;

    fn check(wire: WireEnrolment) -> Result<Self, String> {
        check_token(&wire.access_token)?;
        if !is_uuid(&wire.gateway_id) {
            return Err("gatewayId is not a UUID".to_owned());
        }
        Ok(Self { access_token: wire.access_token, gateway_id: wire.gateway_id })
    }
}

impl Answer for Bundle {
    type Wire = Bundle;

    fn check(wire: Bundle) -> Result<Self, String> {
        Bundle::check(&wire).map(|()| wire).map_err(|error| error.to_string())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireToken {
    access_token: Secret,
    #[serde(default)]
    expires_in: u64,
    #[serde(default, rename = "accessTokenMaxTTL")]
    max_ttl: u64,
}

impl Answer for AccessToken {
    type Wire = WireToken;

    fn check(wire: WireToken) -> Result<Self, String> {
        check_token(&wire.access_token)?;
        Ok(Self {
            token: wire.access_token,
            expires_in: Duration::from_secs(wire.expires_in),
            max_ttl: Duration::from_secs(wire.max_ttl),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireRelay {
    name: String,
    host: String,
    org_id: Option<String>,
    heartbeat: Option<String>,
}

impl Answer for Vec<Relay> {
    type Wire = Vec<WireRelay>;

    /// One malformed relay does not cost the others.
    fn check(wire: Vec<WireRelay>) -> Result<Self, String> {
        let total = wire.len();
        let usable = wire.into_iter().filter(|relay| is_name(&relay.name) && is_host(&relay.host));
        let relays: Self = usable
            .take(API_RELAYS)
            .map(|relay| Relay {
                name: relay.name,
                host: relay.host,
                is_org: relay.org_id.is_some(),
                heartbeat: relay.heartbeat.as_deref().and_then(parse_rfc3339),
            })
            .collect();
        if relays.len() < total {
            log::warn!("{} of {total} relays are not used: malformed, or more than {API_RELAYS}", total - relays.len());
        }
        Ok(relays)
    }
}

/// An answer that only has to be there.
impl Answer for () {
    type Wire = serde::de::IgnoredAny;

    fn check(_: serde::de::IgnoredAny) -> Result<Self, String> {
        Ok(())
    }
}

/// The platform's way to say no. What is no text stays the JSON that it came as: a tree of values costs 10 KB of code.
#[derive(Default, Deserialize)]
pub(super) struct WireError<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl<'a> WireError<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// What a person needs to see: `message`, which is a text or, for malformed requests, a list of complaints.
    pub(super) fn message(&self) -> String {
        let said = self.message.or(self.error).map_or("", RawValue::get);
        // Read as bytes like everything else: a second kind of input is a second copy of the parser.
        serde_json::from_slice(said.as_bytes()).unwrap_or_else(|_| said.to_owned())
    }

    /// The web framework's own words for a path that it does not serve: `Route POST:/api/... not found`.
    pub(super) fn is_missing_route(&self) -> bool {
        self.message().starts_with("Route ")
    }
}

/// `Retry-After` (RFC 9110, 10.2.3): seconds, or a date that is compared with `now`. Bounded both ways: a platform can
/// neither hurry the agent nor silence it for a day.
pub(super) fn retry_after(value: &str, now: u64) -> Option<Duration> {
    let value = value.trim();
    let seconds = match value.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => parse_http_date(value)?.saturating_sub(now),
    };
    Some(Duration::from_secs(seconds).clamp(Duration::from_secs(1), API_RETRY_AFTER_MAX))
}

fn check_token(token: &Secret) -> Result<(), String> {
    if is_token(token.expose()) { Ok(()) } else { Err("accessToken is not a word of printable ASCII".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::tests::sample;

    const UUID: &str = "6f1c2f0e-8a5b-4c3d-9e7f-0123456789ab";

    #[test]
    fn enrolment_with_and_without_certificates() {
        let read = |json: &str| parse::<Enrolment>(json.as_bytes()).unwrap();
        let bare = format!(r#"{{"accessToken":"t","gatewayId":"{UUID}","tokenType":"Bearer"}}"#);
        let enrolment = Enrolment { access_token: "t".into(), gateway_id: UUID.to_owned() };
        assert_eq!(read(&bare), enrolment);

        let mut json = serde_json::to_value(sample()).unwrap();
        json["accessToken"] = "t".into();
        json["gatewayId"] = UUID.into();
        assert_eq!(read(&json.to_string()), enrolment);

        // The one-time token is spent by now: whatever is wrong with the rest, the access token counts.
        json["relayHost"] = "not a host".into();
        json["pki"] = 1.into();
        assert_eq!(read(&json.to_string()), enrolment);
    }

    #[test]
    fn wrong_fields_are_named_and_secrets_are_not_shown() {
        for (body, part) in [
            (r#"{"gatewayId":"x"}"#.to_owned(), "accessToken"),
            (r#"{"accessToken":"t","gatewayId":"x"}"#.to_owned(), "gatewayId"),
            (format!(r#"{{"accessToken":"hunter2 hunter2","gatewayId":"{UUID}"}}"#), "accessToken"),
            (format!(r#"{{"accessToken":["hunter2"],"gatewayId":"{UUID}"}}"#), "string"),
            ("hunter2".to_owned(), "expected"),
            (String::new(), "EOF"),
        ] {
            let error = parse::<Enrolment>(body.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{part}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn relays_that_are_malformed_cost_only_themselves() {
        let body = r#"[
            {"id":"1","name":"eu-1","host":"relay.example.com","orgId":null,"heartbeat":"2026-03-01T04:05:06.000Z"},
            {"id":"2","name":"own","host":"192.0.2.1","orgId":"o","heartbeat":null,"extra":{}},
            {"id":"3","name":"bad host","host":"x:22","orgId":null,"heartbeat":"yesterday"}
        ]"#;
        let relays: Vec<Relay> = parse(body.as_bytes()).unwrap();
        assert_eq!(relays.len(), 2);
        assert_eq!(
            relays[0],
            Relay {
                name: "eu-1".into(),
                host: "relay.example.com".into(),
                is_org: false,
                heartbeat: Some(1_772_337_906)
            }
        );
        assert_eq!((relays[1].is_org, relays[1].heartbeat), (true, None));
        let many = format!("[{}]", vec![r#"{"name":"a","host":"b"}"#; API_RELAYS + 1].join(","));
        assert_eq!(parse::<Vec<Relay>>(many.as_bytes()).unwrap().len(), API_RELAYS);
    }

    #[test]
    fn retry_after_in_both_forms_and_within_bounds() {
        let now = 1_772_337_906;
        let seconds = |value| retry_after(value, now).map(|time| time.as_secs());
        assert_eq!(seconds("30"), Some(30));
        assert_eq!(seconds("0"), Some(1));
        assert_eq!(seconds("99999999"), Some(API_RETRY_AFTER_MAX.as_secs()));
        assert_eq!(seconds("Sun, 01 Mar 2026 04:05:36 GMT"), Some(30));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(1));
        for bad in ["", "soon", "-1", "1.5"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn messages_of_every_shape() {
        let message = |body: &str| WireError::parse(body.as_bytes()).unwrap_or_default().message();
        assert_eq!(
            message(r#"{"statusCode":401,"message":"Token expired","error":"UnauthorizedError","reqId":"r"}"#),
            "Token expired"
        );
        assert_eq!(
            message(r#"{"message":[{"path":["name"],"message":"Required"}]}"#),
            r#"[{"path":["name"],"message":"Required"}]"#
        );
        assert_eq!(message(r#"{"error":"Not Found"}"#), "Not Found");
        assert_eq!(message("{}"), "");
        assert_eq!(message("no JSON"), "");
    }
}
