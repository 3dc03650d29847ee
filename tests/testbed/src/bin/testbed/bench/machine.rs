//! Where and when a run was made, and the files that it leaves.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::report::Report;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The first line that a program prints, if it is there.
fn told(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(root()).output().ok()?;
    let text =
        String::from_utf8_lossy(if output.stdout.is_empty() { &output.stderr } else { &output.stdout }).into_owned();
    output.status.success().then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}

/// What to know about a run.
pub(super) fn facts(program: &Path, took: Duration, quick: bool) -> io::Result<Vec<(&'static str, String)>> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':')).map(|(_, name)| name.trim());
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let commit = told("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let changed = told("git", &["status", "--porcelain", "--untracked-files=no", "--", "src", "Cargo.toml"]);
    let dirty = if changed.is_some_and(|line| !line.is_empty()) { ", with changes" } else { "" };
    let size = fs::metadata(program)?.len();
    let name = program.strip_prefix(root().canonicalize()?).unwrap_or(program);
    let mut facts = vec![
        ("machine", format!("{} x {}, Linux {}", cpus, model.unwrap_or("unknown CPU"), kernel.trim())),
        ("date", told("date", &["-u", "+%Y-%m-%d"]).unwrap_or_default()),
        ("commit", format!("{commit}{dirty}")),
        ("agent", format!("{} ({} KiB)", name.display(), size / 1024)),
    ];
    let versions = [("OpenSSH", "ssh", "-V"), ("Dropbear", "dbclient", "-V"), ("stunnel", "stunnel", "-version")];
    for (peer, program, flag) in versions {
        let found = super::peers::find(program).map(|path| path.display().to_string());
        let version = found.and_then(|path| told(&path, &[flag])).unwrap_or_else(|| "absent".to_owned());
        facts.push((peer, version));
    }
    facts.push(("run", format!("{}, {} s", if quick { "quick" } else { "full" }, took.as_secs())));
    Ok(facts)
}

/// Writes the JSON, and if it is wanted the page.
pub(super) fn write(report: &Report, facts: &[(&str, String)], page: bool) -> io::Result<()> {
    let root = root();
    let json = root.join("target/bench.json");
    fs::create_dir_all(root.join("target"))?;
    fs::write(&json, format!("{:#}\n", report.json(facts)))?;
    println!("\nJSON: target/bench.json");
    if page {
        let notes = fs::read_to_string(root.join("targets/performance-notes.md"))?;
        fs::write(root.join("targets/PERFORMANCE.md"), report.page(facts, &notes))?;
        println!("page: targets/PERFORMANCE.md");
    }
    Ok(())
}
