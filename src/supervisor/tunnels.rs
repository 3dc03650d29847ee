//! The channels of a link: each is a TLS connection of the platform's, and one task.

use crate::limits::supervisor::DRAIN;
use crate::relay::{Channel, Link, LinkError};
use crate::target::{Context, Handler};
use crate::tls::Acceptor;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What every tunnel needs. Replaced as a whole when the configuration changes; open tunnels keep what they began with.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) acceptor: Acceptor,
    context: Mutex<Arc<Context>>,
    count: Mutex<Count>,
}

#[derive(Debug, Default)]
struct Count {
    open: usize,
    /// New tunnels are turned away.
    draining: bool,
    waker: Option<Waker>,
}

impl Serving {
    pub(super) fn new(acceptor: Acceptor, context: Context) -> Self {
        Serving { acceptor, context: Mutex::new(Arc::new(context)), count: Mutex::default() }
    }

    /// Serves tunnels that come from now on by other rules.
    pub(super) fn set_context(&self, context: Context) {
        *self.context.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(context);
    }

    fn context(&self) -> Arc<Context> {
        self.context.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tunnels that are open.
    pub(super) fn open(&self) -> usize {
        self.with_count(|count| count.open)
    }

    fn with_count<T>(&self, change: impl FnOnce(&mut Count) -> T) -> T {
        change(&mut self.count.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Turns new tunnels away and waits until the open ones have ended.
    pub(super) async fn drain(&self) {
        poll_fn(|context| {
            self.with_count(|count| {
                count.draining = true;
                if count.open == 0 {
                    return Poll::Ready(());
                }
                count.waker = Some(context.waker().clone());
                Poll::Pending
            })
        })
        .await;
    }

    /// Takes the channels of `link` until it ends: whether any came, and why it ended.
    pub(super) async fn serve(self: &Arc<Self>, link: &Link) -> (bool, LinkError) {
        let mut served = false;
        let mut tunnels = JoinSet::new();
        let error = loop {
            let accepted = tokio::select! {
                accepted = link.accept() => accepted,
                Some(_) = tunnels.join_next() => continue,
            };
            match accepted {
                Ok(channel) => {
                    served = true;
                    if let Some(tunnel) = Tunnel::begin(self) {
                        tunnels.spawn(tunnel.run(channel));
                    }
                }
                Err(error) => break error,
            }
        };
        // What has arrived may still reach its target. A target that takes nothing does not keep a place for ever.
        tokio::spawn(async move {
            let _all_ended = timeout(DRAIN, async { while tunnels.join_next().await.is_some() {} }).await;
        });
        (served, error)
    }
}

/// One open tunnel, counted until it is dropped.
struct Tunnel(Arc<Serving>);

impl Tunnel {
    fn begin(serving: &Arc<Serving>) -> Option<Self> {
        serving.with_count(|count| {
            if count.draining {
                return None;
            }
            count.open += 1;
            Some(Tunnel(serving.clone()))
        })
    }

    async fn run(self, channel: Channel) {
        let number = channel.number();
        let accepted = match self.0.acceptor.accept(channel).await {
            Ok(accepted) => accepted,
            Err(error) => {
                log::warn!("tunnel {number}: {error}");
                return;
            }
        };
        let Some(handler) = Handler::for_protocol(&accepted.protocol) else { return };
        log::debug!("tunnel {number}: {}", String::from_utf8_lossy(&accepted.protocol));
        handler.serve(accepted.stream, &accepted.facts, &self.0.context()).await;
        log::debug!("tunnel {number}: closed");
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.0.with_count(|count| {
            count.open -= 1;
            if count.open == 0
                && let Some(waker) = count.waker.take()
            {
                waker.wake();
            }
        });
    }
}
