//! The `edge-gateway` binary.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    edge_gateway::cli::main()
}
