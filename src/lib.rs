//! edge-gateway: an unofficial, size-first Infisical Gateway for constrained hardware.
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod api;
pub mod bundle;
pub mod calendar;
pub mod clock;
pub mod config;
pub mod domain;
pub mod escape;
pub mod exit;
pub mod limits;
pub mod logging;
pub mod sdnotify;
pub mod secret;
pub mod state;
pub mod syntax;
