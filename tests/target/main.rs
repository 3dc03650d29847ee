//! The agent's TLS and its handlers, over in-memory pipes and loopback TCP.

mod gateway;
mod http;
mod http_property;
mod http_target;
mod https;
mod peers;
mod pki;
mod simple;
mod tcp;
mod tls_client;
mod tls_server;
mod wire;
