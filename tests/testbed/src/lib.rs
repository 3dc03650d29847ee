//! A stand-in platform, relay and client to run edge-gateway against.
//!
//! Nothing here depends on the agent: the test bed is an independent peer, and the agent meets it only as a
//! process or as a byte stream. Every part listens on a free port of the loopback interface and goes away with
//! the value that owns it.
#![forbid(unsafe_code)]

pub mod agent;
pub mod api;
pub mod bed;
pub mod certs;
pub mod client;
pub mod dir;
pub mod echo_gateway;
pub mod http;
pub mod relay;
pub mod targets;
mod tls;
