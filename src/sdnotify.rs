//! The service manager's notification socket (`sd_notify(3)`), with `std` alone. Silent where there is none: procd,
//! a terminal, a container.

use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::escape::Escaped;
use crate::limits::{NOTIFY_STATUS_CHARS, NOTIFY_WAIT};

/// Tells the service manager how the agent fares. A notification that cannot be delivered is dropped: the agent's work
/// does not depend on who watches it.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` from `variable`, usually `|name| std::env::var_os(name)`.
    pub fn new<'a, T: AsRef<OsStr> + 'a>(variable: impl Fn(&str) -> Option<T>) -> Self {
        let Some(socket) = variable("NOTIFY_SOCKET").and_then(|path| open(path.as_ref()).ok()) else {
            return Self::default();
        };
        let number = |name: &str| variable(name)?.as_ref().to_str()?.parse::<u64>().ok();
        let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog =
            number("WATCHDOG_USEC").filter(|usec| for_us && *usec > 0).map(|usec| Duration::from_micros(usec / 2));
        Self { socket: Some(socket), watchdog }
    }

    /// How often [`Self::watchdog`] must be called: half of what the unit's `WatchdogSec=` allows. `None`: nobody watches.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The agent serves, or usefully tries to.
    pub fn ready(&self, status: &str) {
        self.send("READY=1", status);
    }

    /// One line for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.send("", status);
    }

    /// The work loop is alive.
    pub fn watchdog(&self) {
        self.send("WATCHDOG=1", "");
    }

    /// The agent stops.
    pub fn stopping(&self, status: &str) {
        self.send("STOPPING=1", status);
    }

    /// The configuration is read again; [`Self::ready`] ends it.
    pub fn reloading(&self) {
        // Type=notify-reload wants CLOCK_MONOTONIC at or after its signal. /proc/uptime is that clock or ahead of it,
        // cut to 10 ms: one tick more is never too early.
        let uptime = std::fs::read_to_string("/proc/uptime").ok();
        let usec = uptime.and_then(|text| text.split(' ').next()?.replace('.', "").parse::<u64>().ok());
        match usec {
            Some(ticks) => self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", (ticks + 1) * 10_000), ""),
            None => self.send("RELOADING=1", ""),
        }
    }

    fn send(&self, state: &str, status: &str) {
        let Some((socket, address)) = &self.socket else {
            return;
        };
        let mut message = String::from(state);
        if !status.is_empty() {
            let separator = if state.is_empty() { "" } else { "\n" };
            // A String takes any write.
            let _ = write!(message, "{separator}STATUS={}", Escaped::new(status, NOTIFY_STATUS_CHARS));
        }
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            log::debug!("the service manager did not take \"{}\": {error}", Escaped::new(state, 80));
        }
    }
}

/// A socket to send from, and the manager's address: a path, or with `@` in front a name in the abstract namespace.
fn open(path: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(path)?,
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(NOTIFY_WAIT))?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manager's socket in the abstract namespace, with a name of its own, and a notifier that talks to it.
    fn pair(name: &str, extra: &[(&str, String)]) -> (UnixDatagram, Notifier) {
        let name = format!("edge-gateway-test-{}-{name}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        manager.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut variables = vec![("NOTIFY_SOCKET", format!("@{name}"))];
        variables.extend_from_slice(extra);
        let notifier =
            Notifier::new(|key| variables.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone()));
        (manager, notifier)
    }

    fn receive(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn the_messages_of_sd_notify() {
        let (manager, notifier) = pair("messages", &[]);
        notifier.ready("connected to relay-1");
        assert_eq!(receive(&manager), "READY=1\nSTATUS=connected to relay-1");
        notifier.status("a\nREADY=0");
        assert_eq!(receive(&manager), "STATUS=a\\nREADY=0");
        notifier.watchdog();
        assert_eq!(receive(&manager), "WATCHDOG=1");
        notifier.stopping("");
        assert_eq!(receive(&manager), "STOPPING=1");
        notifier.reloading();
        let message = receive(&manager);
        let usec = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(usec.parse::<u64>().unwrap() > 0, "{message}");
    }

    #[test]
    fn a_socket_file() {
        let path = std::env::temp_dir().join(format!("edge-gateway-notify-{}", std::process::id()));
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(|key| (key == "NOTIFY_SOCKET").then_some(&path));
        notifier.ready("");
        let message = receive(&manager);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(message, "READY=1");
        // The manager is gone: nothing happens, at once.
        drop(manager);
        notifier.watchdog();
    }

    #[test]
    fn the_watchdog_is_ours_or_nobodys() {
        let usec = ("WATCHDOG_USEC", "30000000".to_owned());
        let (_manager, notifier) = pair("watchdog", std::slice::from_ref(&usec));
        assert_eq!(notifier.watchdog_interval(), Some(Duration::from_secs(15)));
        let own = ("WATCHDOG_PID", std::process::id().to_string());
        let (_manager, notifier) = pair("watchdog-own", &[usec.clone(), own]);
        assert_eq!(notifier.watchdog_interval(), Some(Duration::from_secs(15)));
        let (_manager, notifier) = pair("watchdog-other", &[usec, ("WATCHDOG_PID", "1".to_owned())]);
        assert_eq!(notifier.watchdog_interval(), None);
    }

    #[test]
    fn silent_without_a_socket() {
        for socket in [None, Some(""), Some("vsock:2:1234"), Some("relative")] {
            let notifier = Notifier::new(|key| socket.filter(|_| key == "NOTIFY_SOCKET"));
            assert!(notifier.socket.is_none(), "{socket:?}");
            notifier.ready("x");
            assert_eq!(notifier.watchdog_interval(), None);
        }
    }
}
