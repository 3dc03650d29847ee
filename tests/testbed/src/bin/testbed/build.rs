//! Getting an agent to run.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::transcript::{Mib, Transcript};

/// The agent's binary: the one that `EDGE_GATEWAY_BIN` names, or one built in the profile of this program.
pub(crate) fn agent(transcript: &Transcript) -> io::Result<PathBuf> {
    let binary = match env::var_os("EDGE_GATEWAY_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(transcript)?,
    };
    let size =
        std::fs::metadata(&binary).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", binary.display())))?;
    transcript.say("agent", format_args!("{} ({})", binary.display(), Mib(size.len() / 1024)));
    Ok(binary)
}

fn build(transcript: &Transcript) -> io::Result<PathBuf> {
    let profile = profile(&env::current_exe()?);
    // Set by `cargo run`, so that the same toolchain is used.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    transcript.say("build", format_args!("cargo build -p edge-gateway --profile {profile}"));
    let output = Command::new(cargo)
        .args(["build", "-p", "edge-gateway", "--bin", "edge-gateway", "--profile", &profile])
        .args(["--message-format", "json-render-diagnostics", "--manifest-path", manifest])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other("the agent doesn't build"));
    }
    let path = String::from_utf8_lossy(&output.stdout).lines().find_map(executable);
    path.ok_or_else(|| io::Error::other("cargo built no edge-gateway"))
}

/// The profile that a program in `target/<folder>/` was built in.
fn profile(program: &Path) -> String {
    match program.parent().and_then(Path::file_name).and_then(|folder| folder.to_str()) {
        Some("debug" | "") | None => "dev".to_owned(),
        Some(folder) => folder.to_owned(),
    }
}

/// The binary that one of cargo's messages reports.
fn executable(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let agent = message.pointer("/target/name") == Some(&Value::from("edge-gateway"));
    let path = message.get("executable").and_then(Value::as_str)?;
    agent.then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_that_of_the_folder() {
        for (program, expected) in [
            ("/w/target/debug/testbed", "dev"),
            ("/w/target/release/testbed", "release"),
            ("/w/target/x86_64-unknown-linux-musl/edge/testbed", "edge"),
            ("testbed", "dev"),
        ] {
            assert_eq!(profile(Path::new(program)), expected, "{program}");
        }
    }

    #[test]
    fn the_binary_is_found_in_cargos_messages() {
        let message =
            r#"{"reason":"compiler-artifact","target":{"name":"edge-gateway"},"executable":"/w/edge-gateway"}"#;
        assert_eq!(executable(message), Some("/w/edge-gateway".into()));
        for other in [
            r#"{"reason":"compiler-artifact","target":{"name":"edge-gateway"},"executable":null}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/w/other"}"#,
            "   Compiling edge-gateway",
        ] {
            assert_eq!(executable(other), None);
        }
    }
}
