//! `testbed demo`: the life of an agent in a few seconds.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use testbed::agent::{Agent, Signal};
use testbed::api::Endpoint;
use testbed::bed::Bed;
use testbed::targets::{self, HttpTarget, pattern};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::build;
use crate::transcript::{Mib, Took, Transcript};

/// How long a step may take; a healthy agent needs milliseconds.
const LIMIT: Duration = Duration::from_secs(15);
/// Bytes sent through the TCP tunnel and back.
const TCP_BYTES: usize = 4 * 1024 * 1024;
/// Lines of the agent's log that are shown when something fails.
const LOG_TAIL: usize = 20;

/// Shows everything, and fails with one line that says what went wrong.
pub(crate) async fn run() -> io::Result<()> {
    let transcript = Transcript::start();
    let failed = |e: io::Error| io::Error::new(e.kind(), format!("demo: FAILED: {e}"));
    let binary = build::agent(&transcript).map_err(failed)?;
    let bed = Bed::start().await.map_err(failed)?;
    let demo = Demo { transcript, bed };
    demo.transcript.say("platform", demo.bed.api.url());
    demo.transcript.say("relay", demo.bed.relay.ssh_addr());

    let started = Instant::now();
    let mut agent = Agent::start(&demo.bed.new_agent(binary).map_err(failed)?).map_err(failed)?;
    demo.transcript.say("agent", format_args!("started as process {} with a one-time token", agent.pid()));
    let shown = tokio::select! {
        shown = demo.show(&agent, started) => shown,
        () = agent.output_ended() => match agent.wait(LIMIT).await {
            Ok(status) => Err(io::Error::other(format!("the agent ended by itself: {status}"))),
            Err(e) => Err(e),
        },
    };
    let result = match shown {
        Ok(summary) => demo.stop(&mut agent).await.map(|()| summary),
        Err(e) => Err(e),
    };
    match result {
        Ok(summary) => {
            println!("demo: OK: {summary}");
            Ok(())
        }
        Err(e) => {
            println!("the end of the agent's log:");
            let log = agent.log();
            for line in &log[log.len().saturating_sub(LOG_TAIL)..] {
                println!("    {line}");
            }
            Err(failed(e))
        }
    }
}

struct Demo {
    transcript: Transcript,
    bed: Bed,
}

impl Demo {
    /// Goes through all steps but the last and returns the summary.
    async fn show(&self, agent: &Agent, started: Instant) -> io::Result<String> {
        let served = self.enrol(started).await?;
        self.ask().await?;
        self.carry_tcp().await?;
        self.carry_http().await?;
        let memory = agent.memory()?;
        self.transcript.say(
            "memory",
            format_args!("{} resident, {} of it the agent's own", Mib(memory.resident), Mib(memory.private)),
        );
        let returned = self.survive().await?;
        Ok(format!(
            "enrolled and served {} after the start, served again {} after the relay's return, {} resident",
            Took(served),
            Took(returned),
            Mib(memory.resident)
        ))
    }

    /// From the one-time token to a tunnel that the platform has dialled back through.
    async fn enrol(&self, started: Instant) -> io::Result<Duration> {
        for (endpoint, what) in [(Endpoint::Enroll, "one-time token taken"), (Endpoint::Connect, "certificates issued")]
        {
            step(what, self.bed.api.wait_for(LIMIT, endpoint, 200)).await?;
            self.transcript.say("platform", what);
        }
        step("the tunnel", self.bed.wait_for_gateway(LIMIT)).await?;
        let served = started.elapsed();
        self.transcript.say("relay", format_args!("the tunnel is up, {} after the start", Took(served)));
        step("the heartbeat", self.bed.api.wait_for(LIMIT, Endpoint::Heartbeat, 200)).await?;
        self.transcript.say("platform", "heartbeat: dialled back through the relay, and answered");
        Ok(served)
    }

    async fn ask(&self) -> io::Result<()> {
        let client = self.bed.client();
        let asked = Instant::now();
        step("ping", client.ping()).await?;
        self.transcript.say("ping", format_args!("PONG in {}", Took(asked.elapsed())));
        let asked = Instant::now();
        let health = step("health", client.health()).await?;
        self.transcript.say("health", format_args!("{health} in {}", Took(asked.elapsed())));
        if health["status"] != "ok" {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("health: {health}")));
        }
        Ok(())
    }

    /// Bytes to an echo service and back, both ways at once.
    async fn carry_tcp(&self) -> io::Result<()> {
        let target = targets::echo().await?;
        let asked = Instant::now();
        let stream = step("tcp", self.bed.client().tcp(target.addr())).await?;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let sent = pattern(0, TCP_BYTES);
        let mut received = Vec::with_capacity(TCP_BYTES);
        step("tcp", async {
            let sending = async {
                writer.write_all(&sent).await?;
                writer.shutdown().await
            };
            tokio::try_join!(sending, reader.read_to_end(&mut received)).map(drop)
        })
        .await?;
        if received != sent {
            let text = format!("tcp: {} of {TCP_BYTES} bytes came back, or other ones", received.len());
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        let took = asked.elapsed();
        self.transcript.say("tcp", format_args!("{} there and back in {}", Mib(TCP_BYTES as u64 / 1024), Took(took)));
        Ok(())
    }

    /// Requests of several forms on one connection.
    async fn carry_http(&self) -> io::Result<()> {
        let target = HttpTarget::start().await?;
        let asked = Instant::now();
        let mut http = step("http", self.bed.client().http(target.addr())).await?;
        for (method, path, body, expected) in [
            ("GET", "/bytes/10000", &b""[..], pattern(0, 10_000)),
            ("GET", "/chunked/10000", b"", pattern(0, 10_000)),
            ("POST", "/echo", b"a body", b"a body".to_vec()),
        ] {
            let response = step("http", http.request(method, path, &[], body)).await?;
            if response.status() != 200 || response.body != expected {
                let text = format!("http: {method} {path} was answered with {}", response.start_line);
                return Err(io::Error::new(ErrorKind::InvalidData, text));
            }
            self.transcript.say("http", format_args!("{method} {path}: 200, {} bytes", response.body.len()));
        }
        self.transcript.say("http", format_args!("3 requests on one connection in {}", Took(asked.elapsed())));
        Ok(())
    }

    /// Kills the relay, starts it again, and waits for the tunnel.
    async fn survive(&self) -> io::Result<Duration> {
        self.bed.relay.kill().await;
        self.transcript.say("relay", "killed: every connection reset");
        step("the relay", self.bed.relay.restart()).await?;
        let back = Instant::now();
        self.transcript.say("relay", "back on the same port");
        step("the tunnel after the relay's return", self.bed.wait_for_gateway(LIMIT)).await?;
        let returned = back.elapsed();
        self.transcript.say("relay", format_args!("the tunnel is back, {} after the relay", Took(returned)));
        step("ping after the relay's return", self.bed.client().ping()).await?;
        self.transcript.say("ping", "PONG");
        Ok(returned)
    }

    async fn stop(&self, agent: &mut Agent) -> io::Result<()> {
        let asked = Instant::now();
        agent.signal(Signal::Term)?;
        let status = agent.wait(LIMIT).await?;
        self.transcript.say("agent", format_args!("stopped by SIGTERM in {}: {status}", Took(asked.elapsed())));
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("SIGTERM ended the agent with {status}"))),
        }
    }
}

/// Gives a step its name and its time.
async fn step<T>(name: &str, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match timeout(LIMIT, work).await {
        Ok(result) => result.map_err(|e| io::Error::new(e.kind(), format!("{name}: {e}"))),
        Err(_) => Err(io::Error::new(ErrorKind::TimedOut, format!("{name}: nothing for {LIMIT:?}"))),
    }
}
