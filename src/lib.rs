//! edge-gateway: an unofficial, size-first Infisical Gateway for constrained hardware.
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod limits;
pub mod pool;
pub mod room;
pub mod target;
pub mod tls;
