//! What the relay has seen, for tests to wait on.

use tokio::sync::watch;

/// Counts since the relay was made; restarts don't reset them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// TCP connections accepted on the SSH port.
    pub connections: u64,
    /// Gateways that authenticated, the ones turned away as duplicates included.
    pub logins: u64,
    /// User certificates refused. russh refuses the expired ones and those with a bad signature before the relay sees
    /// them: these show as connections that end without a login.
    pub rejected: u64,
    /// Logins closed at once because the relay still held an older connection of the same gateway.
    pub duplicates: u64,
    /// Connections that ended, for whatever reason.
    pub ended: u64,
    /// Gateways served now.
    pub gateways: usize,
    /// Channels that a gateway accepted.
    pub channels_opened: u64,
    /// Channels that a gateway refused.
    pub channels_refused: u64,
    /// Channels open now.
    pub channels: usize,
    /// Why the last certificate was refused.
    pub last_rejection: Option<String>,
}

/// Counts a channel for as long as it lives.
pub(super) struct OpenChannel(watch::Sender<Counters>);

impl OpenChannel {
    pub(super) fn new(counters: &watch::Sender<Counters>) -> OpenChannel {
        counters.send_modify(|c| {
            c.channels_opened += 1;
            c.channels += 1;
        });
        OpenChannel(counters.clone())
    }
}

impl Drop for OpenChannel {
    fn drop(&mut self) {
        self.0.send_modify(|c| c.channels -= 1);
    }
}
