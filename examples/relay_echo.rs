//! Connects to a relay and echoes what each channel receives: the smallest program around the relay link.
//!
//! A channel whose first byte is `S` reads nothing more, to test what a stalled target does to the others.
//!
//! Exit codes (sysexits): 0 stopped by a signal, 69 no connection or connection lost, 70 internal, 76 the peer broke the protocol,
//! 77 the relay is not trusted or refused the user, 78 bad arguments or files.
#![forbid(unsafe_code)]

use edge_gateway::limits::ssh::HANDSHAKE_MS;
use edge_gateway::relay::{Channel, Link, LinkError, dial};
use edge_gateway::ssh::auth::Credentials;
use edge_gateway::ssh::cert::{Authority, UserCertificate};
use edge_gateway::ssh::connection::Config;
use edge_gateway::ssh::error::{Fault, FileError};
use edge_gateway::ssh::negotiate::Trust;
use edge_gateway::ssh::private_key::PrivateKey;
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: relay_echo --relay HOST:PORT --user ID --key FILE --cert FILE [--host-ca FILE] [--host-key FILE] \
                     [--forward ADDR:PORT] [--rekey-bytes N] [--keepalive-ms N]";

const UNAVAILABLE: u8 = 69;
const SOFTWARE: u8 = 70;
const PROTOCOL: u8 = 76;
const NO_PERMISSION: u8 = 77;
const CONFIG: u8 = 78;

/// One line for the person, one number for the service manager.
struct Failure(u8, String);

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        let code = match error.fault() {
            Fault::NotTrusted | Fault::Refused => NO_PERMISSION,
            Fault::Peer => PROTOCOL,
            Fault::Link => UNAVAILABLE,
            Fault::Local => SOFTWARE,
        };
        Failure(code, error.to_string())
    }
}

#[derive(Default)]
struct Arguments {
    relay: String,
    user: String,
    key: String,
    cert: String,
    host_ca: Option<String>,
    host_key: Option<String>,
    forward: Option<String>,
    rekey_bytes: Option<String>,
    keepalive_ms: Option<String>,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run()),
        Err(error) => Err(Failure(SOFTWARE, format!("no event loop: {error}"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, line)) => {
            eprintln!("relay_echo: {line}");
            ExitCode::from(code)
        }
    }
}

async fn run() -> Result<(), Failure> {
    let (host, port, config) = configure()?;
    let forward_address = config.forward.as_ref().map(|(address, _)| address.clone());
    let deadline = Duration::from_millis(HANDSHAKE_MS);
    let stream = dial(None, &host, port, deadline)
        .await
        .map_err(|error| Failure(UNAVAILABLE, format!("cannot connect to {host}:{port}: {error}")))?;
    let named = |error: LinkError| {
        let Failure(code, line) = error.into();
        Failure(code, format!("{host}:{port}: {line}"))
    };
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let link = Link::establish(stream, config, Arc::new(clock)).await.map_err(named)?;

    let stop = |kind| signal(kind).map_err(|error| Failure(SOFTWARE, format!("no signal handler: {error}")));
    let (mut terminate, mut interrupt) = (stop(SignalKind::terminate())?, stop(SignalKind::interrupt())?);
    match (forward_address, link.forwarded_port()) {
        (Some(address), Some(port)) => println!("ready forward={address}:{port}"),
        _ => println!("ready"),
    }
    let _ = std::io::stdout().flush();
    loop {
        tokio::select! {
            channel = link.accept() => {
                tokio::spawn(echo(channel.map_err(named)?));
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    link.disconnect().await;
    Ok(())
}

/// Echoes until the channel ends. Errors end it too: the other side sees them.
async fn echo(mut channel: Channel) -> std::io::Result<()> {
    let mut buffer = vec![0; 32 * 1024];
    let mut first = true;
    loop {
        let n = channel.read(&mut buffer).await?;
        if n == 0 {
            return channel.shutdown().await;
        }
        let data = buffer.get(..n).unwrap_or_default();
        if std::mem::take(&mut first) && data.first() == Some(&b'S') {
            std::future::pending::<()>().await;
        }
        channel.write_all(data).await?;
    }
}

fn configure() -> Result<(String, u16, Config), Failure> {
    let arguments = parse_arguments()?;
    let (host, port) = host_and_port(&arguments.relay, "--relay")?;
    let key = read(&arguments.key, "--key", PrivateKey::from_pem)?;
    let certificate = read(&arguments.cert, "--cert", UserCertificate::from_line)?;
    let credentials = Credentials::new(arguments.user, key, certificate)
        .map_err(|error| Failure(CONFIG, format!("--cert {}: {error}", arguments.cert)))?;
    let authority = |path: &Option<String>, flag| path.as_ref().map(|path| read(path, flag, Authority::from_line));
    let trust = Trust {
        authorities: authority(&arguments.host_ca, "--host-ca").transpose()?.into_iter().collect(),
        names: vec![format!("{host}:{port}"), host.clone()],
        pinned: authority(&arguments.host_key, "--host-key").transpose()?,
    };
    if trust.authorities.is_empty() && trust.pinned.is_none() {
        return Err(Failure(CONFIG, format!("--host-ca or --host-key is missing; {USAGE}")));
    }
    let mut config = Config::new(trust, Arc::new(credentials));
    if let Some(forward) = &arguments.forward {
        config.forward = Some(host_and_port(forward, "--forward")?);
    }
    if let Some(bytes) = &arguments.rekey_bytes {
        config.rekey_bytes = number(bytes, "--rekey-bytes")?;
    }
    if let Some(ms) = &arguments.keepalive_ms {
        config.keepalive_ms = number(ms, "--keepalive-ms")?;
        config.keepalive_answer_ms = config.keepalive_ms.div_ceil(2);
    }
    Ok((host, port, config))
}

fn parse_arguments() -> Result<Arguments, Failure> {
    let mut arguments = Arguments::default();
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        let mut value = || words.next().ok_or_else(|| Failure(CONFIG, format!("{flag} needs a value; {USAGE}")));
        match flag.as_str() {
            "--relay" => arguments.relay = value()?,
            "--user" => arguments.user = value()?,
            "--key" => arguments.key = value()?,
            "--cert" => arguments.cert = value()?,
            "--host-ca" => arguments.host_ca = Some(value()?),
            "--host-key" => arguments.host_key = Some(value()?),
            "--forward" => arguments.forward = Some(value()?),
            "--rekey-bytes" => arguments.rekey_bytes = Some(value()?),
            "--keepalive-ms" => arguments.keepalive_ms = Some(value()?),
            other => return Err(Failure(CONFIG, format!("unknown argument {other}; {USAGE}"))),
        }
    }
    for (flag, value) in [
        ("--relay", &arguments.relay),
        ("--user", &arguments.user),
        ("--key", &arguments.key),
        ("--cert", &arguments.cert),
    ] {
        if value.is_empty() {
            return Err(Failure(CONFIG, format!("{flag} is missing; {USAGE}")));
        }
    }
    Ok(arguments)
}

/// `host:port`, `[v6]:port`.
fn host_and_port(text: &str, flag: &str) -> Result<(String, u16), Failure> {
    let parsed = text.rsplit_once(':').and_then(|(host, port)| {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Some((host.to_owned(), port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
    });
    parsed.ok_or_else(|| {
        Failure(CONFIG, format!("{flag} {text}: expected HOST:PORT, for example relay.example.com:2222"))
    })
}

fn number(text: &str, flag: &str) -> Result<u64, Failure> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(Failure(CONFIG, format!("{flag} {text}: expected a number above 0"))),
    }
}

fn read<T>(path: &str, flag: &str, parse: impl FnOnce(&str) -> Result<T, FileError>) -> Result<T, Failure> {
    let failure = |error: &dyn Display| Failure(CONFIG, format!("{flag} {path}: {error}"));
    let text = std::fs::read_to_string(path).map_err(|error| failure(&error))?;
    parse(&text).map_err(|error| failure(&error))
}
