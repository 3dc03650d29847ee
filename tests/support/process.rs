//! A child process that can't outlive its test.

use super::DEADLINE;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// One of a process's two output streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A running program, its process group and all that it has printed. On drop the group is killed and the program reaped.
pub(crate) struct Process {
    name: String,
    child: Child,
    /// Once it is, its id may be somebody else's.
    reaped: bool,
    output: Arc<Output>,
}

#[derive(Default)]
struct Output {
    said: Mutex<Said>,
    changed: Condvar,
}

#[derive(Default)]
struct Said {
    lines: Vec<(Stream, String)>,
    /// Streams that reached their end.
    ended: usize,
}

impl Process {
    /// Starts `command` in a process group of its own. Output that the caller has not redirected is collected line by line.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child =
            command.stderr(Stdio::piped()).process_group(0).spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let output = Arc::new(Output::default());
        match child.stdout.take() {
            Some(stdout) => collect(stdout, Stream::Stdout, &output),
            None => output.said.lock().unwrap().ended += 1,
        }
        collect(child.stderr.take().expect("piped above"), Stream::Stderr, &output);
        Self { name, child, reaped: false, output }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the stream holds a line that `wanted` accepts, from the beginning on, and returns it.
    pub(crate) fn line(&self, stream: Stream, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.lines(stream, what, 1, wanted).remove(0)
    }

    /// Waits until the stream holds `count` lines that `wanted` accepts, and returns those that there are.
    pub(crate) fn lines(&self, stream: Stream, what: &str, count: usize, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let found = self.wait(DEADLINE, |said| {
            let lines: Vec<_> = said.of(stream).filter(|line| wanted(line)).map(str::to_owned).collect();
            (lines.len() >= count).then_some(lines)
        });
        found.unwrap_or_else(|why| panic!("{}: {why} while waiting for {what}", self.name))
    }

    /// All that the stream holds so far.
    pub(crate) fn said(&self, stream: Stream) -> Vec<String> {
        self.output.said.lock().unwrap().of(stream).map(str::to_owned).collect()
    }

    /// Waits for the process to end by itself.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        // The end of its output is the end of the process, and unlike wait() it can be waited for with a deadline.
        let ended = self.wait(DEADLINE, |said| (said.ended == 2).then_some(()));
        assert!(ended.is_ok(), "{} is still running after {DEADLINE:?}", self.name);
        self.reaped = true;
        self.child.wait().expect("a child of ours")
    }

    /// Sends a signal to the process alone.
    pub(crate) fn signal(&self, signal: &str) {
        assert!(kill(signal, &self.id().to_string()), "{}: no signal {signal} for it", self.name);
    }

    /// Sends a signal to the process and its children.
    pub(crate) fn signal_group(&self, signal: &str) {
        assert!(kill(signal, &format!("-{}", self.id())), "{}: no signal {signal} for its group", self.name);
    }

    /// Resident memory in KiB: `VmRSS` of proc(5).
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("/proc of a child");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a live process");
        line.trim().trim_end_matches("kB").trim_end().parse().expect("a number of kB")
    }

    /// Waits until `check` has an answer; the error says why there is none.
    fn wait<T>(&self, limit: Duration, check: impl Fn(&Said) -> Option<T>) -> Result<T, &'static str> {
        let deadline = Instant::now() + limit;
        let mut said = self.output.said.lock().unwrap();
        loop {
            if let Some(answer) = check(&said) {
                return Ok(answer);
            }
            if said.ended == 2 {
                return Err("it ended");
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return Err("it said nothing in time");
            };
            said = self.output.changed.wait_timeout(said, left).unwrap().0;
        }
    }
}

impl Said {
    fn of(&self, stream: Stream) -> impl Iterator<Item = &str> {
        self.lines.iter().filter(move |(from, _)| *from == stream).map(|(_, line)| line.as_str())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            kill("KILL", &format!("-{}", self.id()));
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            let said = self.output.said.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let skipped = said.lines.len().saturating_sub(TRANSCRIPT);
            eprintln!("--- {} ({skipped} lines before these)", self.name);
            for (stream, line) in &said.lines[skipped..] {
                eprintln!("{stream:?} {line}");
            }
        }
    }
}

/// Lines of a process's output that a failed test prints.
const TRANSCRIPT: usize = 40;

fn collect(from: impl Read + Send + 'static, stream: Stream, output: &Arc<Output>) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            output.said.lock().unwrap().lines.push((stream, line));
            output.changed.notify_all();
        }
        output.said.lock().unwrap().ended += 1;
        output.changed.notify_all();
    });
}

/// kill(1) as the shell has it built in: the standard library sends no signal but KILL, and none to a group.
fn kill(signal: &str, target: &str) -> bool {
    Command::new("sh")
        .args(["-c", r#"kill -s "$0" -- "$1""#, signal, target])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
