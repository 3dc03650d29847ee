//! The signals that the agent listens to.

use crate::exit::Exit;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

/// What a person or a service manager asks for.
pub(super) enum Asked {
    Stop,
    Reload,
    /// SIGUSR1: the network has changed.
    Nudge,
}

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.user.recv() => Asked::Nudge,
        }
    }
}

/// Waits before an end that only a person can mend, for a service manager that starts the agent again all the same: a refused
/// token is then not shown to the platform every few seconds. Any signal ends the wait.
pub(super) async fn hold(exit: Exit, pause: Duration) {
    if exit == Exit::Ok || exit.restart_helps() || pause.is_zero() {
        return;
    }
    log::info!("ending in {} s: this needs a person", pause.as_secs());
    if let Ok(mut signals) = Signals::new() {
        let _either = timeout(pause, signals.next()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn only_what_a_person_must_mend_is_held() {
        let (start, pause) = (Instant::now(), Duration::from_secs(300));
        for exit in [Exit::Ok, Exit::TempFail, Exit::CantCreate] {
            hold(exit, pause).await;
        }
        hold(Exit::NoPermission, Duration::ZERO).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        hold(Exit::NoPermission, pause).await;
        assert!(start.elapsed() >= pause);
    }
}
