//! Whether this build keeps dates that do not fit in 32 bits: `after_2038 FOLDER`.
//!
//! On 32-bit targets that is a matter of how the standard library and the `libc` crate were built, so it is run there, for each
//! (`cross/check`). It writes a file's time of the year 2100 into FOLDER and reads it back, and does sums with such dates.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edge_gateway::calendar::Utc;

/// 2100-01-01T00:00:00Z, in seconds since 1970.
const YEAR_2100: u64 = 4_102_444_800;

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: after_2038 FOLDER");
        return ExitCode::from(64);
    };
    match stored_and_read(Path::new(&folder)) {
        Ok(YEAR_2100) => {
            println!("after_2038: OK: {}", Utc(YEAR_2100));
            ExitCode::SUCCESS
        }
        Ok(other) => {
            eprintln!("after_2038: a file's time of {} came back as {other} s since 1970", Utc(YEAR_2100));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("after_2038: {folder}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn stored_and_read(folder: &Path) -> io::Result<u64> {
    let path = folder.join("after_2038");
    let date = UNIX_EPOCH.checked_add(Duration::from_secs(YEAR_2100)).ok_or(io::ErrorKind::Unsupported)?;
    File::create(&path)?.set_modified(date)?;
    let read: SystemTime = fs::metadata(&path)?.modified()?;
    fs::remove_file(&path)?;
    read.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).map_err(|_| io::Error::other("it is before 1970"))
}
