//! edge-gateway: an unofficial, size-first Infisical Gateway for constrained hardware.
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod limits;
pub mod relay;
pub mod ssh;
mod supervisor;
