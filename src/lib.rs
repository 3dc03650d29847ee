//! edge-gateway: an unofficial, size-first Infisical Gateway for constrained hardware.
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod api;
pub mod bundle;
pub mod calendar;
pub mod cli;
pub mod clock;
pub mod config;
mod doctor;
pub mod domain;
pub mod escape;
pub mod exit;
pub mod limits;
pub mod relay;
pub mod ssh;
mod pool;
mod room;
mod status;
mod supervisor;
pub mod state;
pub mod target;
pub mod tls;
pub mod logging;
pub mod sdnotify;
pub mod secret;
pub mod state;
pub mod syntax;
