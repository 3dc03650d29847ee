//! Which gateways are connected.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::keys::ssh_key::public::KeyData;
use russh::server::Handle;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::config::RelayConfig;
use super::counters::Counters;
use super::link::{Control, Link, Mode};
use super::session::Session;

/// How long an ended session's last bytes may wait for the peer to take them.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the relay's tasks have in common.
pub(super) struct Shared {
    config: RelayConfig,
    counters: watch::Sender<Counters>,
    gateways: Mutex<HashMap<String, Gateway>>,
    /// Every connection, authenticated or not.
    links: Mutex<Vec<Arc<Control>>>,
}

/// A gateway that logged in and was admitted.
#[derive(Clone)]
pub(super) struct Gateway {
    pub(super) handle: Handle,
    pub(super) link: Arc<Control>,
}

impl Shared {
    pub(super) fn new(config: RelayConfig) -> Shared {
        let counters = watch::Sender::new(Counters::default());
        Shared { config, counters, gateways: Mutex::default(), links: Mutex::default() }
    }

    pub(super) fn config(&self) -> &RelayConfig {
        &self.config
    }

    pub(super) fn counters(&self) -> &watch::Sender<Counters> {
        &self.counters
    }

    pub(super) fn user_ca(&self) -> &KeyData {
        self.config.ssh.user_ca().key_data()
    }

    pub(super) fn allow_forwarding(&self) -> bool {
        self.config.allow_forwarding
    }

    pub(super) fn gateway(&self, id: &str) -> Option<Gateway> {
        self.gateways.lock().expect("no holder panics").get(id).cloned()
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.gateways.lock().expect("no holder panics").contains_key(id)
    }

    /// Takes a gateway in, unless an older connection of the same one is still held.
    pub(super) fn admit(&self, id: &str, handle: Handle, link: &Arc<Control>) -> bool {
        let mut gateways = self.gateways.lock().expect("no holder panics");
        let admitted = !gateways.contains_key(id);
        if admitted {
            gateways.insert(id.to_owned(), Gateway { handle, link: link.clone() });
        }
        let now = gateways.len();
        drop(gateways);
        self.counters.send_modify(|c| {
            c.logins += 1;
            c.duplicates += u64::from(!admitted);
            c.gateways = now;
        });
        admitted
    }

    /// Takes note of a new connection, so that [`Shared::cut_all`] reaches it from now on, and returns the work of
    /// serving it to its end.
    pub(super) fn serve(
        self: &Arc<Shared>,
        stream: TcpStream,
        server: Arc<russh::server::Config>,
    ) -> impl Future<Output = ()> + Send + 'static {
        // Fails only for a socket that is gone already, and reading will tell.
        let _ = stream.set_nodelay(true);
        let (link, sending) = Link::new(stream);
        let control = link.control();
        self.links.lock().expect("no holder panics").push(control.clone());
        self.counters.send_modify(|c| c.connections += 1);
        let shared = self.clone();
        async move {
            let session = Session { shared: shared.clone(), link: control.clone(), gateway: String::new() };
            let sending = tokio::spawn(sending);
            let stop_sending = sending.abort_handle();
            if let Ok(running) = russh::server::run_stream(server, link, session).await {
                // How it ended makes no difference: the gateway is gone.
                let _ = running.await;
            }
            if timeout(LAST_WORDS, sending).await.is_err() {
                stop_sending.abort();
            }
            shared.forget(&control);
        }
    }

    fn forget(&self, control: &Arc<Control>) {
        self.links.lock().expect("no holder panics").retain(|link| !Arc::ptr_eq(link, control));
        let mut gateways = self.gateways.lock().expect("no holder panics");
        gateways.retain(|_, gateway| !Arc::ptr_eq(&gateway.link, control));
        let now = gateways.len();
        drop(gateways);
        self.counters.send_modify(|c| {
            c.ended += 1;
            c.gateways = now;
        });
    }

    /// Resets every connection.
    pub(super) fn cut_all(&self) {
        for link in self.links.lock().expect("no holder panics").iter() {
            link.set(Mode::Cut);
        }
    }

    pub(super) fn is_deserted(&self) -> bool {
        self.links.lock().expect("no holder panics").is_empty()
    }
}
