//! What the interoperation tests share: peers to start, keys to give them, and traffic to send.
//!
//! Everything here runs against real processes. A value that starts one kills and reaps it when it is dropped,
//! every wait has a deadline, and a failed test prints what its processes said.
#![allow(dead_code, reason = "each test file uses its own part of this module")]

pub(crate) mod gateway;
pub(crate) mod go_relay;
pub(crate) mod keys;
pub(crate) mod process;
pub(crate) mod sshd;
pub(crate) mod temp;
pub(crate) mod tools;
pub(crate) mod traffic;

use std::time::Duration;

/// How long a test waits for anything that should happen soon. Far more than it takes: it only has to end.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The gateway id that tests log in with: the SSH user name and its certificate's principal.
pub(crate) const GATEWAY_ID: &str = "7c1ff4f3-1d5a-4c0e-9f6e-5b8a4c2f9f10";
