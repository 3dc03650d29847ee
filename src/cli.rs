//! The commands: read the settings, start the log, do what was asked, end with the right code.

use crate::config::{self, Command, Config, Request, Sources};
use crate::exit::Exit;
use crate::target::TargetPolicy;
use crate::{logging, status, supervisor};
use std::io::Write;
use std::process::ExitCode;

/// The whole program.
pub fn main() -> ExitCode {
    keep_memory_out_of_core_dumps();
    let exit = match config::load(Sources::of_process()) {
        Ok(Request::Help) => print(&config::help()),
        Ok(Request::Version) => print(concat!("edge-gateway ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Request::Work(config)) => work(*config),
        Err(error) => {
            eprintln!("edge-gateway: {error}");
            error.exit()
        }
    };
    exit.into()
}

fn work(config: Config) -> Exit {
    logging::init(&config.log, config.log_style);
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    // `run` looks for itself, at each reload too. The others must not call settings good that it refuses.
    if config.command != Command::Run
        && let Err(error) = TargetPolicy::parse(config.allow.as_deref(), config.deny.as_deref())
    {
        log::error!("{error}");
        return Exit::Config;
    }
    let exit = match config.command {
        Command::Run => supervisor::run(config),
        Command::Enroll => supervisor::enroll(&config),
        Command::Status => {
            let (text, exit) = status::report(&config);
            print(&text);
            exit
        }
        #[cfg(feature = "doctor")]
        Command::Doctor => crate::doctor::run(&config, &mut |line| {
            print(line);
        }),
        #[cfg(not(feature = "doctor"))]
        Command::Doctor => {
            eprintln!(
                "edge-gateway: this is the `core` build, which has no `doctor`: use `status`, or install the full build"
            );
            Exit::Usage
        }
    };
    logging::flush();
    exit
}

/// A reader that has gone away is no failure of ours.
fn print(text: &str) -> Exit {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Exit::Io,
        _ => Exit::Ok,
    }
}

/// Keys and tokens are in memory: a core dump of this process holds none of it (`core(5)`, "Controlling which mappings are
/// written"). Where the kernel has no core dumps there is no such file, and nothing to do.
fn keep_memory_out_of_core_dumps() {
    let _no_core_dumps = std::fs::write("/proc/self/coredump_filter", "0");
}
