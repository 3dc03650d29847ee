//! What a whole tunnel allocates in the steady state: relay link, TLS and target on one thread, counted there.
//! `cargo test --test tunnel_cost -- --nocapture` prints the counts as a line of JSON, which `testbed bench` reads.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use allocation_counter::AllocationInfo;
use edge_gateway::limits::TLS_PLAINTEXT_MAX;
use edge_gateway::relay::{Link, dial};
use edge_gateway::ssh::auth::Credentials;
use edge_gateway::ssh::cert::{Authority, UserCertificate};
use edge_gateway::ssh::connection::Config;
use edge_gateway::ssh::negotiate::Trust;
use edge_gateway::ssh::private_key::PrivateKey;
use edge_gateway::target::{Context, Handler, Kubernetes, TargetPolicy, protocols};
use edge_gateway::tls::{Acceptor, Bundle, Clock, ServerIdentity};
use testbed::certs::{KeyKind, PkiFactory, SshFactory};
use testbed::client::{PlatformClient, TlsClient, alpn};
use testbed::load;
use testbed::relay::{Relay, RelayConfig};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

const ID: &str = "counted";
const LIMIT: Duration = Duration::from_secs(60);
const WARM_UP: u64 = 4 << 20;
const VOLUME: u64 = 16 << 20;

fn unix() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// What the agent's thread needs.
struct Entry {
    address: std::net::SocketAddr,
    config: Config,
    acceptor: Acceptor,
}

fn entry(relay: &Relay, ssh: &SshFactory, pki: &PkiFactory) -> Entry {
    let user = ssh.user("relay", ID, "bench").issue();
    let key = PrivateKey::from_pem(&user.private_key_pem()).expect("the key");
    let certificate = UserCertificate::from_line(user.certificate_line()).expect("the certificate");
    let trust = Trust {
        authorities: vec![Authority::from_line(&ssh.host_ca_line()).expect("the host CA")],
        names: vec![relay.ssh_addr().to_string()],
        pinned: None,
    };
    let credentials = Credentials::new(ID.to_owned(), key, certificate).expect("the credentials");
    let leaf = pki.gateway().issue();
    let bundle = Bundle {
        certificate: leaf.certificate_pem(),
        private_key: leaf.private_key_pem(),
        client_chain: &pki.client_chain_pem(),
    };
    let identity = ServerIdentity::new(&bundle, protocols(), &Clock::new(unix)).expect("a good bundle");
    Entry {
        address: relay.ssh_addr(),
        config: Config::new(trust, Arc::new(credentials)),
        acceptor: Acceptor::new(&identity),
    }
}

/// Serves, and counts while it is told to: each request is answered with what was allocated until its end.
fn serve(entry: Entry, requests: mpsc::Receiver<oneshot::Receiver<()>>, counts: mpsc::Sender<AllocationInfo>) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.spawn(async move {
        let Entry { address, config, acceptor } = entry;
        let stream = dial(None, &address.ip().to_string(), address.port(), LIMIT).await.expect("a connection");
        let link = Link::establish(stream, config, Arc::new(unix)).await.expect("a link");
        let acceptor = Arc::new(acceptor);
        let context = Arc::new(Context {
            gateway_name: "counted".into(),
            policy: TargetPolicy::default(),
            kubernetes: Kubernetes::default(),
            clock: Clock::new(unix),
        });
        while let Ok(channel) = link.accept().await {
            let (acceptor, context) = (acceptor.clone(), context.clone());
            tokio::spawn(async move {
                let Ok(accepted) = acceptor.accept(channel).await else { return };
                let Some(handler) = Handler::for_protocol(&accepted.protocol) else { return };
                handler.serve(accepted.stream, &accepted.facts, &context).await;
            });
        }
    });
    while let Ok(until) = requests.recv() {
        let counted = allocation_counter::measure(|| runtime.block_on(async { drop(until.await) }));
        if counts.send(counted).is_err() {
            return;
        }
    }
}

#[test]
fn a_record_received_allocates_nothing_and_one_sent_at_most_once() {
    let outside = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let ssh = Arc::new(SshFactory::with_kind(KeyKind::Ed25519));
    let pki = Arc::new(PkiFactory::with_kind(KeyKind::EcdsaP256));
    let (relay, target) = outside.block_on(async {
        let relay = Relay::start(RelayConfig::new(ssh.clone())).await.expect("a port");
        (relay, load::target().await.expect("a port"))
    });
    let agent = entry(&relay, &ssh, &pki);
    let (requests, requested) = mpsc::channel();
    let (counts, counted) = mpsc::channel();
    let served = thread::spawn(move || serve(agent, requested, counts));
    let count = |work: &mut dyn FnMut()| {
        let (done, until) = oneshot::channel();
        requests.send(until).expect("the agent's thread");
        work();
        drop(done);
        counted.recv().expect("a count")
    };

    let client = PlatformClient::new(relay.clone(), ID, pki.clone()).with_tls(TlsClient::tls13(pki.clone()));
    let certificate = client.certificate_for("127.0.0.1", target.addr().port()).issue();
    let mut stream = None;
    count(&mut || {
        stream = Some(outside.block_on(async {
            relay.wait_for_gateway(ID, LIMIT).await.expect("logged in");
            let mut stream = client.connect(&[alpn::TCP], Some(&certificate)).await.expect("a tunnel");
            load::upload(&mut stream, WARM_UP).await.expect("as sent");
            load::download(&mut stream, WARM_UP).await.expect("as sent");
            stream
        }));
    });
    let mut stream = stream.expect("a tunnel");
    let up = count(&mut || outside.block_on(load::upload(&mut stream, VOLUME)).expect("as sent"));
    let down = count(&mut || outside.block_on(load::download(&mut stream, VOLUME)).expect("as sent"));
    drop(requests);
    served.join().expect("the agent's thread");

    let (records, mib) = ((VOLUME / TLS_PLAINTEXT_MAX as u64) as f64, (VOLUME >> 20) as f64);
    println!(
        "{{\"per_record_received\":{},\"per_record_sent\":{},\"per_mib_up\":{},\"per_mib_down\":{},\
         \"bytes_per_mib_up\":{},\"bytes_per_mib_down\":{}}}",
        up.count_total as f64 / records,
        down.count_total as f64 / records,
        up.count_total as f64 / mib,
        down.count_total as f64 / mib,
        up.bytes_total as f64 / mib,
        down.bytes_total as f64 / mib,
    );
    // A window that grows, and a command's few bytes, may allocate; records may not.
    assert!(up.count_total as f64 <= records / 100.0, "{up:?} in {records} records");
    assert!(down.count_total as f64 <= records, "{down:?} in {records} records");
}
