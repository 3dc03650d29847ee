//! `infisical-http-proxy`: HTTP/1.1 requests to the target of the client's certificate.
//!
//! What it does and what it refuses is in `docs/http-proxy.md`.

mod answer;
mod body;
mod config;
mod exchange;
mod fields;
mod kubernetes;
mod pump;
mod request;
mod response;
mod session;
mod tunnel;
mod upstream;

pub use kubernetes::Kubernetes;
pub(super) use session::serve;
