//! The agent as a child process.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

/// Time between two looks at whether the process has ended.
const POLL: Duration = Duration::from_millis(5);

/// How to start the agent.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// What the binary is run by, with its own arguments in front of the binary's path: an emulator, say. Usually nothing.
    pub runner: Vec<String>,
    /// The binary.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment: nothing is inherited.
    pub env: BTreeMap<String, String>,
}

impl AgentConfig {
    /// `edge-gateway run` with an empty environment.
    pub fn run(program: impl Into<PathBuf>) -> AgentConfig {
        AgentConfig { runner: Vec::new(), program: program.into(), args: vec!["run".to_owned()], env: BTreeMap::new() }
    }

    /// With other arguments.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args = args.iter().map(|&arg| arg.to_owned()).collect();
        self
    }

    /// Run by these words, which come before those of a runner that is there already.
    pub fn run_by(mut self, words: &[&str]) -> Self {
        self.runner.splice(0..0, words.iter().map(|&word| word.to_owned()));
        self
    }

    /// With this variable.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Without this variable.
    pub fn without_env(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }
}

/// A signal to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Stop cleanly.
    Term,
    /// Read the configuration again.
    Hup,
    /// Stop the process where it is.
    Stop,
    /// Go on after [`Signal::Stop`].
    Cont,
}

/// A running agent. Dropping it kills the process and waits for it.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    log: watch::Receiver<Vec<String>>,
}

impl Agent {
    /// Starts the process.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(config: &AgentConfig) -> io::Result<Agent> {
        let mut command = match config.runner.split_first() {
            Some((runner, arguments)) => {
                let mut command = Command::new(runner);
                command.args(arguments).arg(&config.program);
                command
            }
            None => Command::new(&config.program),
        };
        let mut child = command
            .args(&config.args)
            .env_clear()
            .envs(&config.env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", config.program.display())))?;
        let (sender, log) = watch::channel(Vec::new());
        let stdout = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        let stderr = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        for pipe in [stdout, stderr].into_iter().flatten() {
            let sender = sender.clone();
            // Ends when the process closes its end, at the latest when it is killed.
            std::thread::spawn(move || collect(pipe, &sender));
        }
        Ok(Agent { child, log })
    }

    /// The lines written so far to standard output and standard error.
    pub fn log(&self) -> Vec<String> {
        self.log.borrow().clone()
    }

    /// Waits for a line that has this in it, and returns the line.
    ///
    /// # Errors
    /// When it doesn't come in time, or the output ends before it; the whole log is in the error.
    pub async fn wait_for_line(&self, limit: Duration, part: &str) -> io::Result<String> {
        let mut log = self.log.clone();
        let found = |lines: &Vec<String>| lines.iter().any(|line| line.contains(part));
        let kind = match timeout(limit, log.wait_for(found)).await {
            Ok(Ok(lines)) => match lines.iter().find(|line| line.contains(part)) {
                Some(line) => return Ok(line.clone()),
                None => ErrorKind::NotFound,
            },
            Ok(Err(_)) => ErrorKind::UnexpectedEof,
            Err(_) => ErrorKind::TimedOut,
        };
        Err(io::Error::new(kind, format!("no {part:?} in the agent's log:\n{}", self.log().join("\n"))))
    }

    /// Waits until the process has closed its output, which it does when it ends.
    pub async fn output_ended(&self) {
        let mut log = self.log.clone();
        // An error when both readers have dropped their sender.
        while log.changed().await.is_ok() {}
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in KiB, and the part of it that is this process's own.
    ///
    /// # Errors
    /// When the process has ended, or the system doesn't tell.
    pub fn memory(&self) -> io::Result<Memory> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid()))?;
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        };
        let own = field("Private_Clean:").zip(field("Private_Dirty:")).map(|(clean, dirty)| clean + dirty);
        match (field("Rss:"), field("Pss:"), own) {
            (Some(resident), Some(proportional), Some(private)) => Ok(Memory { resident, proportional, private }),
            _ => Err(io::Error::new(ErrorKind::InvalidData, "smaps_rollup without Rss, Pss or Private")),
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let name = match signal {
            Signal::Term => "TERM",
            Signal::Hup => "HUP",
            Signal::Stop => "STOP",
            Signal::Cont => "CONT",
        };
        // The shell's own `kill`: the standard library can only kill for good, and a system call needs unsafe code.
        let script = format!("kill -{name} {}", self.pid());
        match Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status()?.success() {
            true => Ok(()),
            false => Err(io::Error::new(ErrorKind::NotFound, format!("no process {}", self.pid()))),
        }
    }

    /// Kills the process at once and waits for it, as a power cut would.
    ///
    /// # Errors
    /// When the system doesn't let us.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    /// `TimedOut`, with the whole log.
    pub async fn wait(&mut self, limit: Duration) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                let text = format!("the agent still runs; its log:\n{}", self.log().join("\n"));
                return Err(io::Error::new(ErrorKind::TimedOut, text));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the process ends by itself and all its output has been read.
    ///
    /// # Errors
    /// `TimedOut`, with the whole log.
    pub async fn finish(mut self, limit: Duration) -> io::Result<(ExitStatus, Vec<String>)> {
        let status = self.wait(limit).await?;
        self.output_ended().await;
        Ok((status, self.log()))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Fails only when it has ended and been waited for.
        let _ = self.kill();
    }
}

/// Resident memory in KiB, from `/proc/PID/smaps_rollup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All resident pages.
    pub resident: u64,
    /// Resident pages, each divided by the number of processes that share it.
    pub proportional: u64,
    /// Pages that no other process has.
    pub private: u64,
}

fn collect(pipe: Box<dyn Read + Send>, log: &watch::Sender<Vec<String>>) {
    for line in BufReader::new(pipe).split(b'\n') {
        let Ok(line) = line else { return };
        let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
        log.send_modify(|lines| lines.push(line));
    }
}
