//! What may go wrong with a call.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// A wrong answer, or none.
#[derive(Clone)]
pub enum Fault {
    /// This response and nothing else happens.
    Answer(Response),
    /// Takes the request and says nothing for as long as the client waits.
    Silence,
    /// Resets the connection.
    Reset,
    /// Announces the whole answer, sends half of it and closes.
    Truncated,
    /// Sends 100 MB of JSON white space before the answer.
    Huge,
    /// Sends the answer one byte at a time with a tenth of a second between, which takes minutes.
    Drip,
    /// The right answer, once the gate is open.
    Held(Gate),
    /// The right answer, changed.
    Edited(Arc<dyn Fn(&mut Value) + Send + Sync>),
}

/// Holds answers back until it is opened.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A gate that is shut.
    pub(super) fn shut() -> Gate {
        Gate(Arc::new(Semaphore::new(0)))
    }

    /// Lets everything through, for ever.
    pub fn open(&self) {
        self.0.close();
    }

    pub(super) async fn passed(&self) {
        // Always the error of a closed semaphore: nothing is ever added to it.
        let _ = self.0.acquire().await;
    }
}

/// A response's status, extra headers and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers beside `Content-Length`.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

impl Response {
    /// A JSON response.
    pub(super) fn json(status: u16, body: &Value) -> Response {
        let headers = vec![("Content-Type", "application/json; charset=utf-8".to_owned())];
        Response { status, headers, body: body.to_string() }
    }

    /// An error in the platform's form.
    pub(super) fn error(status: u16, message: &str) -> Response {
        let body = json!({
            "reqId": "req-testbed",
            "statusCode": status,
            "message": message,
            "error": reason(status),
        });
        Response::json(status, &body)
    }
}

impl Fault {
    /// An error in the platform's form.
    pub fn status(status: u16, message: &str) -> Fault {
        Fault::Answer(Response::error(status, message))
    }

    /// 429, to be tried again after this many seconds.
    pub fn rate_limited(seconds: u32) -> Fault {
        let mut response = Response::error(429, "Rate limit exceeded. Please try again later");
        response.headers.push(("Retry-After", seconds.to_string()));
        Fault::Answer(response)
    }

    /// A reverse proxy's answer while the platform behind it starts.
    pub fn bare(status: u16) -> Fault {
        let headers = vec![("Content-Type", "text/plain".to_owned())];
        Fault::Answer(Response { status, headers, body: "page not found\n".to_owned() })
    }

    /// The login page of a hotel's network, in the place of the answer.
    pub fn captive_portal() -> Fault {
        Fault::Answer(Response {
            status: 200,
            headers: vec![("Content-Type", "text/html".to_owned())],
            body: "<!DOCTYPE html><html><head><title>Welcome</title></head><body>Log in</body></html>".to_owned(),
        })
    }

    /// A redirect to such a page.
    pub fn captive_redirect() -> Fault {
        Fault::Answer(Response {
            status: 302,
            headers: vec![
                ("Content-Type", "text/html".to_owned()),
                ("Location", "http://portal.example/login".to_owned()),
            ],
            body: "<html><body>Moved</body></html>".to_owned(),
        })
    }

    /// 200 with this body, JSON or not.
    pub fn body(body: &str) -> Fault {
        let headers = vec![("Content-Type", "application/json; charset=utf-8".to_owned())];
        Fault::Answer(Response { status: 200, headers, body: body.to_owned() })
    }

    /// The right answer with this value at this JSON pointer, such as `/pki/serverPrivateKey`.
    pub fn with(pointer: &'static str, value: impl Into<Value>) -> Fault {
        let value = value.into();
        Fault::Edited(Arc::new(move |answer| {
            if let Some(place) = answer.pointer_mut(pointer) {
                *place = value.clone();
            }
        }))
    }

    /// The right answer without the field at this JSON pointer.
    pub fn without(pointer: &'static str) -> Fault {
        Fault::Edited(Arc::new(move |answer| {
            let (parent, field) = pointer.rsplit_once('/').unwrap_or(("", pointer));
            if let Some(Value::Object(parent)) = answer.pointer_mut(parent) {
                parent.remove(field);
            }
        }))
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Answer(response) => f.debug_tuple("Answer").field(response).finish(),
            Fault::Silence => f.write_str("Silence"),
            Fault::Reset => f.write_str("Reset"),
            Fault::Truncated => f.write_str("Truncated"),
            Fault::Huge => f.write_str("Huge"),
            Fault::Drip => f.write_str("Drip"),
            Fault::Held(_) => f.write_str("Held"),
            Fault::Edited(_) => f.write_str("Edited"),
        }
    }
}

/// The reason phrase of a status code, which is also the `error` of the platform's answers.
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
