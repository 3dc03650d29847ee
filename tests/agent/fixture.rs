//! The agent under test, and how to start it.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::time::Duration;

use testbed::agent::{Agent, AgentConfig, Signal};
use testbed::bed::Bed;

use crate::support::tools;

/// What must never be in the log, whatever happens: the beginnings of the platform's tokens, and private keys. Tests give
/// their own secrets the last of these.
const SECRETS: [&str; 5] = ["gwe_", "gat_", "PRIVATE KEY", "b3BlbnNzaC1rZXk", SECRET];

/// The beginning of every secret that a test makes up.
pub(crate) const SECRET: &str = "unspeakable";

/// The binary that is tested.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("EDGE_GATEWAY_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_edge-gateway").into()).into()
}

/// What the binary is run by, if anything.
fn runner() -> Vec<String> {
    let words = std::env::var("EDGE_GATEWAY_RUNNER").unwrap_or_default();
    words
        .split_whitespace()
        .enumerate()
        .map(|(at, word)| if at == 0 { absolute(word) } else { word.to_owned() })
        .collect()
}

/// A program with its folder: the agent's environment has no `PATH`.
pub(crate) fn absolute(program: &str) -> String {
    tools::find(program).map_or_else(|| program.to_owned(), |path| path.display().to_string())
}

/// Whether the binary is the one that was just built for this machine, and not another one or an emulated one.
pub(crate) fn is_native() -> bool {
    std::env::var_os("EDGE_GATEWAY_BIN").is_none() && runner().is_empty()
}

/// Whether the binary that is tested runs in an emulator.
pub(crate) fn is_emulated() -> bool {
    !runner().is_empty()
}

/// What the log says of a port that refuses. Under qemu-user a MIPS program is given the host's number of that error, which means
/// nothing there: it is the emulator's fault, and the agent can only show the number.
pub(crate) fn refusal() -> &'static str {
    if runner().first().is_some_and(|emulator| emulator.contains("qemu-mips")) { "os error 111" } else { "refused" }
}

/// How long anything may take that should happen at once.
pub(crate) fn limit() -> Duration {
    Duration::from_secs(if runner().is_empty() { 20 } else { 120 })
}

/// `run` with what an agent needs that is enrolled already.
pub(crate) fn settings(bed: &Bed) -> AgentConfig {
    AgentConfig { runner: runner(), ..bed.agent(program()).unwrap() }
}

/// `run` with a new one-time token.
pub(crate) fn enrolling(bed: &Bed) -> AgentConfig {
    AgentConfig { runner: runner(), ..bed.new_agent(program()).unwrap() }
}

/// Settings in a file that a test can change.
pub(crate) fn with_file(bed: &Bed, config: AgentConfig, text: &str) -> AgentConfig {
    let path = bed.dir.write("edge-gateway.conf", text).unwrap();
    config.env("EDGE_GATEWAY_CONFIG", path.display().to_string())
}

/// A running agent, whose log is looked through for secrets at the end.
pub(crate) struct Gateway(Agent);

impl Gateway {
    pub(crate) fn start(config: &AgentConfig) -> Self {
        Self(Agent::start(config).unwrap())
    }

    /// Starts it and waits until the relay has it.
    pub(crate) async fn served(bed: &Bed, config: &AgentConfig) -> Self {
        let gateway = Self::start(config);
        gateway.is_served(bed).await;
        gateway
    }

    /// Waits until a tunnel is served.
    pub(crate) async fn is_served(&self, bed: &Bed) {
        self.within(bed.wait_for_gateway(limit())).await;
        self.within(bed.client().ping()).await;
    }

    /// Waits for a line that has this in it.
    pub(crate) async fn says(&self, part: &str) -> String {
        self.0.wait_for_line(limit(), part).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The result of some work, or a panic that shows the log.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = std::io::Result<T>>) -> T {
        let error = match tokio::time::timeout(limit(), work).await {
            Ok(Ok(value)) => return value,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("nothing within {:?}", limit()),
        };
        panic!("{error}; the agent's log:\n{}", self.0.log().join("\n"))
    }

    /// Ends it with SIGTERM, and expects that to be a success.
    pub(crate) async fn stop(mut self) {
        self.0.signal(Signal::Term).unwrap();
        let status = self.0.wait(limit()).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(status.code(), Some(0), "{}", self.0.log().join("\n"));
    }

    /// Ends it at once, and waits until the relay has noticed.
    pub(crate) async fn kill(mut self, bed: &Bed) {
        self.0.kill().unwrap();
        self.within(bed.relay.wait(limit(), |counters| counters.gateways == 0)).await;
    }
}

impl Deref for Gateway {
    type Target = Agent;

    fn deref(&self) -> &Agent {
        &self.0
    }
}

impl DerefMut for Gateway {
    fn deref_mut(&mut self) -> &mut Agent {
        &mut self.0
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            check_log(&self.0.log());
        }
    }
}

/// No secrets, and no panic.
fn check_log(log: &[String]) {
    for line in log {
        for secret in SECRETS {
            assert!(!line.contains(secret), "a secret in the log: {line}");
        }
        assert!(!line.contains("panicked"), "{}", log.join("\n"));
    }
}

/// Starts an agent that ends by itself with this code, and returns its complaint: the one line that is an error.
pub(crate) async fn complaint(config: &AgentConfig, code: i32) -> String {
    let (status, log) = Agent::start(config).unwrap().finish(limit()).await.unwrap_or_else(|error| panic!("{error}"));
    check_log(&log);
    assert_eq!(status.code(), Some(code), "{}", log.join("\n"));
    let errors: Vec<_> =
        log.iter().filter(|line| line.starts_with("error: ") || line.starts_with("edge-gateway: ")).collect();
    assert_eq!(errors.len(), 1, "not one line of complaint:\n{}", log.join("\n"));
    errors[0].clone()
}
