//! The `testbed` program: see an agent at work without a platform.
#![forbid(unsafe_code)]

mod bench;
mod build;
mod demo;
mod serve;
mod transcript;

use std::net::Ipv4Addr;
use std::process::ExitCode;

const USAGE: &str = "\
usage: testbed demo     build the agent, run it against a platform and a relay on this machine, and show what it does
       testbed serve [--host ADDRESS]
                        keep a platform and a relay running for an agent that you start by hand; it reaches this machine
                        at ADDRESS: 127.0.0.1 unless it runs in a virtual machine (10.0.2.2 with QEMU's user network)
       testbed bench [--quick] [--only PART]
                        measure the agent beside its limits and its peers; a full run writes targets/PERFORMANCE.md;
                        parts: memory, idle, allocations, aes, chacha, starts, lines

EDGE_GATEWAY_BIN names an agent to use instead of building one.";

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["demo"] => demo::run().await,
        ["serve"] => serve::run(Ipv4Addr::LOCALHOST.into()).await,
        ["serve", "--host", host] => match host.parse() {
            Ok(host) => serve::run(host).await,
            Err(_) => {
                eprintln!("--host {host}: not an IP address");
                return ExitCode::from(64);
            }
        },
        ["bench", options @ ..] => match bench::Options::parse(options) {
            Some(options) => bench::run(&options).await,
            None => return usage(),
        },
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => return usage(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(64)
}
