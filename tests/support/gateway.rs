//! The program under test: `examples/relay_echo.rs`, which logs in as a gateway does and echoes what its channels receive.

use super::keys::KeyPair;
use super::process::{Process, Stream};
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Exit codes, from sysexits(3).
pub(crate) mod exit {
    /// The relay can't be reached, or the connection was lost.
    pub(crate) const UNAVAILABLE: i32 = 69;
    /// The relay broke the protocol, or the two have no algorithm in common.
    pub(crate) const PROTOCOL: i32 = 76;
    /// The relay is not trusted, or it refused the user.
    pub(crate) const NOPERM: i32 = 77;
    /// Bad arguments or key files.
    pub(crate) const CONFIG: i32 = 78;
}

/// A `relay_echo` to be started.
pub(crate) struct Gateway {
    command: Command,
}

/// How a `relay_echo` that failed ended.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Option<i32>,
    /// Its one line on stderr, after `relay_echo: `.
    pub(crate) reason: String,
}

impl Gateway {
    /// Logs in to `relay` as `user` with a key and its certificate.
    pub(crate) fn new(relay: SocketAddr, user: &str, key: &KeyPair, certificate: &Path) -> Self {
        let mut command = Command::new(program());
        command.arg("--relay").arg(relay.to_string()).args(["--user", user]);
        command.arg("--key").arg(&key.private).arg("--cert").arg(certificate);
        Self { command }
    }

    /// Adds an option and its value.
    pub(crate) fn with(mut self, option: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.arg(option).arg(value);
        self
    }

    /// Starts it and waits until it is logged in; returns its ready line too.
    pub(crate) fn ready(self) -> (Process, String) {
        let process = self.spawn();
        let line = process.line(Stream::Stdout, "the ready line", |line| line.starts_with("ready"));
        (process, line)
    }

    /// Starts it and waits until it has failed.
    pub(crate) fn fails(self) -> Failure {
        failure(self.spawn())
    }

    fn spawn(mut self) -> Process {
        Process::spawn(self.command.stdin(Stdio::null()).stdout(Stdio::piped()))
    }
}

/// Waits for a `relay_echo` to fail, with the one line on stderr that it owes us.
pub(crate) fn failure(mut process: Process) -> Failure {
    let status = process.exit();
    let said = process.said(Stream::Stderr);
    let [line] = said.as_slice() else { panic!("{status}, and not one line on stderr: {said:?}") };
    let reason = line.strip_prefix("relay_echo: ");
    let reason = reason.unwrap_or_else(|| panic!("the line does not name the program: {line}")).to_owned();
    Failure { code: status.code(), reason }
}

/// Cargo puts examples beside the folder of the test that is running.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    let program = profile.join("examples/relay_echo");
    assert!(
        program.exists(),
        "{} is missing: cargo test builds it when it runs all tests, cargo build --example relay_echo at any time",
        program.display()
    );
    program
}
