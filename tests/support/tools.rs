//! The programs that the tests need and that a machine may lack.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;

/// Whether every tool is installed. If not, the test that asked shall return: what is missing has been said on stderr.
///
/// # Panics
/// In CI (`CI=true`), where nothing may be skipped.
pub(crate) fn installed(tools: &[&str]) -> bool {
    match tools.iter().find(|tool| find(tool).is_none()) {
        None => true,
        Some(missing) => skipped(&format!("{missing} is not installed")),
    }
}

/// Says that the running test is skipped and why; returns false.
///
/// # Panics
/// In CI (`CI=true`).
pub(crate) fn skipped(why: &str) -> bool {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{why}, and CI skips nothing");
    say(&format!("skipped: {why}"));
    false
}

/// Tells the person about the running test, whether or not it passes. (The test harness hides what a passing test prints with
/// `println!` or `eprintln!`.)
pub(crate) fn say(line: &str) {
    let thread = thread::current();
    let _ = writeln!(std::io::stderr(), "{line} ({})", thread.name().unwrap_or("a test"));
}

/// The path of a program. System programs such as sshd are often outside of a user's `PATH`.
pub(crate) fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(tool))
        .find(|candidate| Path::is_file(candidate))
}
