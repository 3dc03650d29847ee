//! Tells the agent when its source was written: a floor for clocks that boot in 1970 (`src/clock.rs`).
//!
//! Never the current time: one source builds one binary.

use std::process::Command;

/// Used where there is neither `SOURCE_DATE_EPOCH` nor a git checkout: 2026-11-24, this file's date.
const WRITTEN: u64 = 1_795_478_400;
const DAY: u64 = 86_400;

fn main() {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rerun-if-changed=build.rs");
    let time = from_environment().or_else(from_git).unwrap_or(WRITTEN);
    println!("cargo::rustc-env=EDGE_GATEWAY_BUILD_TIME={time}");
}

/// <https://reproducible-builds.org/specs/source-date-epoch/>
fn from_environment() -> Option<u64> {
    std::env::var("SOURCE_DATE_EPOCH").ok()?.trim().parse().ok()
}

/// The day of the last commit. The day, so that the agent is not compiled anew after each commit.
fn from_git() -> Option<u64> {
    // Unpacked inside another repository, a package feed for example: that one's commits say nothing about us.
    if !git(&["rev-parse", "--show-prefix"])?.is_empty() {
        return None;
    }
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let time: u64 = git(&["log", "-1", "--format=%ct"])?.parse().ok()?;
    Some(time - time % DAY)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
