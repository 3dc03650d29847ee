//! Heap allocations, from a build that counts them: the agent's test `tunnel_cost`.

use std::io;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::report::{Report, Target};

/// Runs the counting build and takes its numbers over.
pub(super) fn measure(report: &mut Report) -> io::Result<()> {
    report.section("Allocations");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let output = Command::new(cargo)
        .args([
            "test",
            "--quiet",
            "--locked",
            "--manifest-path",
            manifest,
            "--test",
            "tunnel_cost",
            "--",
            "--nocapture",
        ])
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with('{'));
    let line = line.ok_or_else(|| io::Error::other(format!("the build that counts allocations failed:\n{text}")))?;
    let counted: Value = serde_json::from_str(line)?;
    let number = |name: &str| {
        counted.get(name).and_then(Value::as_f64).ok_or_else(|| io::Error::other(format!("no {name} was counted")))
    };
    // A window that grows moves its bytes to larger storage now and then; a record costs nothing.
    report.aim("for each TLS record received", number("per_record_received")?, "", Target::AtMost(0.01));
    report.aim("for each TLS record sent", number("per_record_sent")?, "", Target::AtMost(1.0));
    report.row("for each MiB to the target", number("per_mib_up")?, "");
    report.row("for each MiB from the target", number("per_mib_down")?, "");
    report.row("bytes for each MiB to the target", number("bytes_per_mib_up")?, "B");
    report.row("bytes for each MiB from the target", number("bytes_per_mib_down")?, "B");
    Ok(())
}
