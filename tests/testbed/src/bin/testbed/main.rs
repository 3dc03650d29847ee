//! The `testbed` program: see an agent at work without a platform.
#![forbid(unsafe_code)]

mod bench;
mod build;
mod demo;
mod serve;
mod transcript;

use std::process::ExitCode;

const USAGE: &str = "\
usage: testbed demo             build the agent, run it against a platform and a relay on this machine, and show what it does
       testbed serve            keep a platform and a relay running for an agent that you start by hand
       testbed bench [--quick]  measure the agent beside its limits and its peers; a full run writes targets/PERFORMANCE.md

EDGE_GATEWAY_BIN names an agent to use instead of building one.";

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["demo"] => demo::run().await,
        ["serve"] => serve::run().await,
        ["bench"] => bench::run(false).await,
        ["bench", "--quick"] => bench::run(true).await,
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
