//! The services behind the agent: what a tunnel leads to.

mod http;
mod tcp;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub use http::HttpTarget;
pub use tcp::{closes_early, echo, pattern, refusing, sink, source, stalling};

/// A TCP service on a free loopback port. Dropping it closes the port and every connection.
pub struct Target {
    addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Target {
    /// Serves each connection with this.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn serve<F, S>(service: F) -> io::Result<Target>
    where
        F: Fn(TcpStream) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        Target::serve_at((Ipv4Addr::LOCALHOST, 0).into(), service).await
    }

    /// The same on this address.
    ///
    /// # Errors
    /// When it can't be bound.
    pub async fn serve_at<F, S>(addr: SocketAddr, service: F) -> io::Result<Target>
    where
        F: Fn(TcpStream) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = accepted.clone();
        let accepting = async move {
            // Owned by the task, so that the connections end with it.
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { return };
                        counter.fetch_add(1, Ordering::Relaxed);
                        // Answers in several writes must not wait for the peer's delayed acknowledgement.
                        let _ = stream.set_nodelay(true);
                        connections.spawn(service(stream));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        };
        let task = tokio::spawn(accepting);
        Ok(Target { addr, accepted, task })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed) as u64
    }

    /// Closes the port and every connection, and returns when that is done.
    pub async fn stop(mut self) {
        self.task.abort();
        // Always the error of an aborted task.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}
