//! A stand-in platform, relay and client to run edge-gateway against.
//!
//! Nothing here depends on the agent: the test bed is an independent peer, and the agent meets it only as a
//! process or as a byte stream. Every part listens on a free port of the loopback interface and goes away with
//! the value that owns it.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use std::time::Duration;
//! use testbed::{agent::Agent, api::{Endpoint, Fault}, bed::Bed};
//!
//! let bed = Bed::start().await?;
//! bed.api.fail_times(Endpoint::Connect, 1, Fault::rate_limited(1));
//! let agent = Agent::start(&bed.new_agent("target/debug/edge-gateway")?)?;
//! bed.wait_for_gateway(Duration::from_secs(10)).await?;
//! bed.client().ping().await?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod agent;
pub mod api;
pub mod bed;
pub mod certs;
pub mod client;
pub mod dir;
pub mod echo_gateway;
pub mod http;
pub mod load;
pub mod process;
pub mod relay;
pub mod targets;
mod tls;
