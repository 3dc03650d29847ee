//! The two actions for a gateway that runs as a pod: its own service account for the request.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::limits::{K8S_CA, K8S_TOKEN};
use crate::tls::{Scheme, Target};

/// What `x-infisical-action` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// `inject-k8s-sa-auth-token`: the service account's token as the request's authorization.
    InjectToken,
    /// `use-k8s-sa`: the same, and the cluster's API server as the target.
    UseServiceAccount,
}

impl Action {
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        match value {
            b"inject-k8s-sa-auth-token" => Some(Self::InjectToken),
            b"use-k8s-sa" => Some(Self::UseServiceAccount),
            _ => None,
        }
    }
}

/// The cluster that the gateway runs in, if it does.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    /// The folder of the service account, with `token` and `ca.crt` in it.
    pub account: PathBuf,
    /// The API server, from `KUBERNETES_SERVICE_HOST`.
    pub host: Option<String>,
    /// Its port, from `KUBERNETES_SERVICE_PORT_HTTPS`.
    pub port: Option<String>,
}

impl Default for Kubernetes {
    /// Where a pod finds its service account, and no cluster.
    fn default() -> Self {
        Self { account: PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount"), host: None, port: None }
    }
}

impl Kubernetes {
    /// As [`default`](Self::default), with the cluster that the environment names.
    pub fn from_env() -> Self {
        Self {
            host: std::env::var("KUBERNETES_SERVICE_HOST").ok(),
            port: std::env::var("KUBERNETES_SERVICE_PORT_HTTPS").ok(),
            ..Self::default()
        }
    }

    /// The API server as a target.
    pub(super) fn target(&self) -> Result<Target, String> {
        let (Some(host), Some(port)) = (&self.host, &self.port) else {
            return Err("use-k8s-sa: this gateway does not run in Kubernetes \
                        (KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT_HTTPS are not set)"
                .into());
        };
        let port =
            port.parse().map_err(|_| format!("use-k8s-sa: KUBERNETES_SERVICE_PORT_HTTPS={port} is not a port"))?;
        let target = Target::new(host, port).map_err(|why| format!("use-k8s-sa: KUBERNETES_SERVICE_HOST: {why}"))?;
        Ok(Target { scheme: Some(Scheme::Https), ..target })
    }

    /// The `Authorization` field line with the current token: the cluster replaces it every hour.
    pub(super) fn authorization(&self) -> Result<Vec<u8>, String> {
        let path = self.account.join("token");
        let token = read(&path, K8S_TOKEN)?;
        let token = token.trim_ascii();
        if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
            return Err(format!("{}: not a token", path.display()));
        }
        Ok([b"Authorization: Bearer ", token, b"\r\n"].concat())
    }

    /// The cluster's CA, PEM.
    pub(super) fn ca(&self) -> Result<Vec<u8>, String> {
        read(&self.account.join("ca.crt"), K8S_CA)
    }
}

/// These files are small and in memory (a tmpfs), so they are read in place.
fn read(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    if bytes.len() as u64 > limit {
        return Err(format!("{}: over {limit} bytes", path.display()));
    }
    Ok(bytes)
}
