//! edge-gateway: an unofficial, size-first Infisical Gateway for constrained hardware.
//!
//! `docs/architecture.md` tells how the modules hang together.
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod api;
pub mod budget;
pub mod bundle;
pub mod calendar;
pub mod chain;
pub mod cli;
pub mod clock;
pub mod config;
mod cpu;
mod der;
#[cfg(feature = "doctor")]
mod doctor;
pub mod domain;
pub mod escape;
pub mod exit;
pub mod limits;
pub mod logging;
pub mod pool;
pub mod provider;
pub mod proxy;
pub mod relay;
pub mod room;
pub mod roots;
pub mod sdnotify;
pub mod secret;
pub mod ssh;
pub mod state;
mod status;
mod supervisor;
pub mod syntax;
pub mod target;
pub mod tls;
mod wheel;
