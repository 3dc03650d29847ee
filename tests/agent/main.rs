//! The built binary, from outside: a platform, a relay and clients around it, one behaviour a test.
//!
//! `EDGE_GATEWAY_BIN` names another binary to test, and `EDGE_GATEWAY_RUNNER` the words to run it by, separated by spaces:
//! `qemu-arm-static -cpu cortex-a7`, for example.

mod clients;
mod credentials;
mod fixture;
mod go;
mod memory;
mod patient;
mod peers;
mod refusals;
mod relays;
mod service;
mod slips;
mod state;
#[path = "../support/mod.rs"]
mod support;
mod targets;
