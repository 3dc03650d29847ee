//! Running a child process, with a shell in the agent's place.

use std::io::ErrorKind;
use std::time::Duration;

use testbed::agent::{Agent, AgentConfig, Signal};

const LIMIT: Duration = Duration::from_secs(10);

fn shell(script: &str) -> AgentConfig {
    AgentConfig::run("/bin/sh").args(&["-c", script])
}

#[tokio::test]
async fn its_lines_are_collected_and_waited_for() {
    let agent = Agent::start(&shell("echo first; echo second >&2; exit 3")).unwrap();
    assert_eq!(agent.wait_for_line(LIMIT, "fir").await.unwrap(), "first");
    assert_eq!(agent.wait_for_line(LIMIT, "sec").await.unwrap(), "second");
    assert_eq!(agent.wait_for_line(LIMIT, "third").await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    let (status, log) = agent.finish(LIMIT).await.unwrap();
    assert_eq!((status.code(), log.len()), (Some(3), 2));
}

#[tokio::test]
async fn it_inherits_no_environment() {
    let config = shell("echo \"[$HOME][$GREETING]\"").env("GREETING", "hello").env("GONE", "x").without_env("GONE");
    let (_, log) = Agent::start(&config).unwrap().finish(LIMIT).await.unwrap();
    assert_eq!(log, ["[][hello]"]);
}

#[tokio::test]
async fn runners_come_before_the_binary() {
    let inner = AgentConfig::run("-c").args(&["echo $0 $1", "a", "b"]).run_by(&["/bin/sh"]);
    let config = inner.run_by(&["/usr/bin/env", "VARIABLE=x"]);
    let (_, log) = Agent::start(&config).unwrap().finish(LIMIT).await.unwrap();
    assert_eq!(log, ["a b"]);
}

#[tokio::test]
async fn signals_reach_it_and_it_is_reaped() {
    let script = "trap 'echo hup' HUP; trap 'echo term; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let agent = Agent::start(&shell(script)).unwrap();
    agent.wait_for_line(LIMIT, "ready").await.unwrap();
    assert!(agent.memory().unwrap().resident > 0);
    agent.signal(Signal::Hup).unwrap();
    agent.wait_for_line(LIMIT, "hup").await.unwrap();
    agent.signal(Signal::Term).unwrap();
    let (status, _) = agent.finish(LIMIT).await.unwrap();
    assert!(status.success());

    let agent = Agent::start(&shell("echo ready; exec sleep 60")).unwrap();
    let process = format!("/proc/{}", agent.pid());
    agent.wait_for_line(LIMIT, "ready").await.unwrap();
    drop(agent);
    assert!(!std::path::Path::new(&process).exists());
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let error = Agent::start(&AgentConfig::run("/nowhere/edge-gateway")).unwrap_err();
    assert!(error.to_string().contains("/nowhere/edge-gateway"), "{error}");
}
