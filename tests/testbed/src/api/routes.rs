//! What each call does when nothing is wrong.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::endpoint::Endpoint;
use super::fault::Response;
use super::platform::{Gateway, Identity, Owner, Platform, RelayEntry};
use super::server::Inner;
use crate::client::PlatformClient;
use crate::http::Message;

/// How long the platform waits for a gateway that it dials back.
const DIAL_BACK: Duration = Duration::from_secs(10);

type Answer = Result<Value, Response>;

pub(super) async fn answer(api: &Arc<Inner>, endpoint: Endpoint, request: &Message) -> Answer {
    let body = json_body(request)?;
    match endpoint {
        Endpoint::Heartbeat => {
            // The lock is released before the platform waits for the gateway.
            let (gateway, relay) = called_by(&mut api.platform(), request)?;
            dial_back(api, &gateway, relay).await
        }
        Endpoint::Enroll => enroll(api, &body),
        Endpoint::Connect => {
            let mut platform = api.platform();
            let Owner::Gateway(id) = platform.owner(bearer(request)?)?.clone() else {
                return Err(Response::error(403, "Only a gateway may connect"));
            };
            bundle(api, &mut platform, &id, &body)
        }
        Endpoint::Register => register(api, request, &body),
        Endpoint::Relays => {
            let mut platform = api.platform();
            platform.owner(bearer(request)?)?;
            Ok(platform.relay_list())
        }
        Endpoint::AwsLogin => aws_login(&mut api.platform(), &body),
        Endpoint::UniversalLogin => {
            let (client_id, client_secret) = (text(&body, "clientId")?, text(&body, "clientSecret")?);
            api.platform().log_in(&Identity::Universal { client_id, client_secret })
        }
        Endpoint::OidcLogin | Endpoint::JwtLogin | Endpoint::KubernetesLogin => {
            let (identity_id, jwt) = (text(&body, "identityId")?, text(&body, "jwt")?);
            api.platform().log_in(&Identity::Jwt { identity_id, jwt })
        }
        Endpoint::Renew => api.platform().renew(&text(&body, "accessToken")?),
    }
}

fn enroll(api: &Inner, body: &Value) -> Answer {
    let token = text(body, "token")?;
    let mut platform = api.platform();
    let id = platform.enroll(&token)?;
    let access = platform.grant(Owner::Gateway(id.clone()));
    let mut answer = json!({ "accessToken": access, "gatewayId": id });
    if api.config.enroll_with_bundle {
        let bundle = bundle(api, &mut platform, &id, &json!({}))?;
        if let (Value::Object(answer), Value::Object(bundle)) = (&mut answer, bundle) {
            answer.extend(bundle);
        }
    }
    Ok(answer)
}

fn register(api: &Inner, request: &Message, body: &Value) -> Answer {
    let name = text(body, "name")?;
    let mut platform = api.platform();
    let id = platform.gateway_named(&name);
    match platform.owner(bearer(request)?)? {
        Owner::Identity(gateway) => *gateway = Some(id.clone()),
        Owner::Gateway(_) => {
            return Err(Response::error(403, "Only a machine identity may register a gateway"));
        }
    }
    bundle(api, &mut platform, &id, body)
}

/// AWS itself is not asked: a signed `GetCallerIdentity` that looks right is believed.
fn aws_login(platform: &mut Platform, body: &Value) -> Answer {
    let id = text(body, "gatewayId")?;
    for field in ["iamHttpRequestMethod", "iamRequestBody", "iamRequestHeaders"] {
        text(body, field)?;
    }
    if text(body, "method")? != "aws" {
        return Err(Response::error(422, "method must be aws"));
    }
    platform.gateway(&id)?;
    let token = platform.grant(Owner::Gateway(id));
    Ok(json!({ "accessToken": token, "tokenType": "Bearer" }))
}

/// The certificates for a gateway's connection to the relay that it names, or to the first.
fn bundle(api: &Inner, platform: &mut Platform, id: &str, body: &Value) -> Answer {
    let wanted = match body.get("relayName") {
        None => None,
        Some(Value::String(name)) => Some(name.as_str()),
        Some(_) => return Err(Response::error(422, "relayName must be a string")),
    };
    let relay = platform.relay(wanted)?;
    let gateway = platform.gateway(id)?;
    gateway.relay = Some(relay.name.clone());
    Ok(api.issue(gateway, &relay))
}

/// The gateway whose token this is, and the relay it should be at.
fn called_by(platform: &mut Platform, request: &Message) -> Result<(Gateway, RelayEntry), Response> {
    let id = match platform.owner(bearer(request)?)? {
        Owner::Gateway(id) | Owner::Identity(Some(id)) => id.clone(),
        Owner::Identity(None) => return Err(Response::error(404, "The identity has no gateway")),
    };
    let gateway = platform.gateway(&id)?.clone();
    let Some(relay) = &gateway.relay else {
        return Err(Response::error(400, "The gateway is at no relay"));
    };
    let relay = platform.relay(Some(relay))?;
    Ok((gateway, relay))
}

/// A heartbeat succeeds when the platform reaches the gateway through the relay while the call is open.
async fn dial_back(api: &Inner, gateway: &Gateway, entry: RelayEntry) -> Answer {
    let unreachable = |why: &str| {
        let message = format!("Failed to reach gateway '{}' through relay '{}': {why}", gateway.name, entry.name);
        Response::error(400, &message)
    };
    let Some(relay) = entry.relay.clone() else {
        return Err(unreachable("there is no such relay"));
    };
    let client = PlatformClient::new(relay, &gateway.id, api.config.pki.clone());
    match timeout(DIAL_BACK, client.ping()).await {
        Ok(Ok(())) => Ok(json!({ "message": "Successfully triggered heartbeat" })),
        Ok(Err(e)) => Err(unreachable(&e.to_string())),
        Err(_) => Err(unreachable("no answer")),
    }
}

fn json_body(request: &Message) -> Answer {
    if request.body.is_empty() {
        return Ok(json!({}));
    }
    match serde_json::from_slice(&request.body) {
        Ok(body @ Value::Object(_)) => Ok(body),
        _ => Err(Response::error(400, "The body is not a JSON object")),
    }
}

fn text(body: &Value, field: &str) -> Result<String, Response> {
    match body.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(Response::error(422, &format!("{field} must be a string"))),
    }
}

fn bearer(request: &Message) -> Result<&str, Response> {
    let header = request.header("authorization").unwrap_or_default();
    header.strip_prefix("Bearer ").ok_or_else(|| Response::error(401, "Token missing"))
}
