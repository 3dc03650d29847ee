//! Trust, names and time. The certificates are made by `tests/vectors/https/make.sh`: a private root, and a leaf for
//! 127.0.0.1 that is good from 2026 to 2036.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::clock::BUILD_TIME;

const CA: &[u8] = include_bytes!("../../../tests/vectors/https/ca.pem");
const LEAF: &[u8] = include_bytes!("../../../tests/vectors/https/leaf.pem");
const KEY: &[u8] = include_bytes!("../../../tests/vectors/https/leaf.key");

/// Serves `answer` to every connection over TLS.
fn serve_tls(answer: Vec<u8>) -> Server {
    serve_tls_as(LEAF, KEY, answer)
}

fn serve_tls_as(chain: &[u8], key: &[u8], answer: Vec<u8>) -> Server {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, PrivateKeyDer::from_pem_slice(key).unwrap());
    let config = Arc::new(config.unwrap());
    let (sender, requests) = mpsc::channel();
    listen(requests, move |socket| {
        let connection = rustls::ServerConnection::new(config.clone()).unwrap();
        let mut stream = BufReader::new(rustls::StreamOwned::new(connection, socket));
        // Clients that do not trust us leave here.
        if let Some(request) = read_request(&mut stream) {
            let _ = sender.send(request);
            let stream = stream.get_mut();
            stream.write_all(&answer).unwrap();
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    })
}

fn client(server: &Server, host: &str, extra_ca_pem: Option<&[u8]>, clock: Arc<Clock>) -> Result<Client, String> {
    Client::new(Options { extra_ca_pem, clock, ..options(&format!("https://{host}:{}", server.address.port())) })
}

fn fails(host: &str, extra_ca_pem: Option<&[u8]>, last_good: u64) -> Error {
    let server = serve_tls(json(200, "{}"));
    client(&server, host, extra_ca_pem, Arc::new(Clock::new(last_good))).unwrap().heartbeat(&token()).unwrap_err()
}

#[test]
fn a_private_root_and_the_platforms_time() {
    let server = serve_tls(answer(200, "date: Wed, 01 Jan 2031 00:00:00 GMT\r\n", "{}"));
    let clock = Arc::new(Clock::new(0));
    let client = Arc::new(client(&server, "127.0.0.1", Some(CA), clock.clone()).unwrap());
    // On the thread and stack that the agent uses, twice: the second time the session is resumed.
    for _ in 0..2 {
        let (sender, receiver) = mpsc::channel();
        client.spawn(|client| client.heartbeat(&token()), move |result| sender.send(result).unwrap()).unwrap();
        assert_eq!(receiver.recv().unwrap(), Ok(()));
    }
    assert_eq!(clock.last_good(), 1_924_992_000);
    assert_eq!(server.requests.recv().unwrap().header("authorization"), Some(&*format!("Bearer {TOKEN}")));
}

#[test]
fn an_unknown_root() {
    let error = fails("127.0.0.1", None, 0);
    assert!(matches!(error.fault, Fault::Untrusted(_)), "{error}");
    assert_eq!(error.next(), NextStep::TlsTrust);
    assert!(error.to_string().contains("EDGE_GATEWAY_CA_FILE"), "{error}");
}

#[test]
fn a_certificate_for_another_name() {
    let error = fails("localhost", Some(CA), 0);
    assert!(matches!(&error.fault, Fault::Untrusted(what) if what.contains("localhost")), "{error}");
}

/// What `openssl req -x509` makes: a certificate that calls itself a CA, used as a server's.
#[test]
fn a_self_signed_certificate_is_trusted_when_it_is_given_and_only_for_its_name_and_time() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_after = rcgen::date_time_ymd(2036, 1, 1);
    let own = params.self_signed(&key).unwrap().pem();
    let call = |host: &str, given: Option<&str>, last_good: u64| {
        let server = serve_tls_as(own.as_bytes(), key.serialize_pem().as_bytes(), json(200, "{}"));
        let clock = Arc::new(Clock::new(last_good));
        client(&server, host, given.map(str::as_bytes), clock).unwrap().heartbeat(&token())
    };
    assert_eq!(call("localhost", Some(&own), 0), Ok(()));
    for (host, given, last_good) in
        [("localhost", None, 0), ("127.0.0.1", Some(own.as_str()), 0), ("localhost", Some(own.as_str()), 2_114_380_800)]
    {
        let error = call(host, given, last_good).unwrap_err();
        assert!(matches!(error.fault, Fault::Untrusted(_) | Fault::Expired(_)), "{error}");
    }
}

#[test]
fn validity_is_checked_by_our_clock() {
    let year_2037 = 2_114_380_800;
    assert!(BUILD_TIME < year_2037, "make the test's certificates anew");
    let error = fails("127.0.0.1", Some(CA), year_2037);
    assert!(matches!(error.fault, Fault::Expired(_)), "{error}");
    assert_eq!(error.next(), NextStep::Clock);
}

#[test]
fn plain_http_tells_no_time_and_no_tls() {
    let server = serve(vec![
        answer(200, "date: Wed, 01 Jan 2031 00:00:00 GMT\r\n", "{}"),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ]);
    let clock = Arc::new(Clock::new(0));
    let options = Options { clock: clock.clone(), ..options(&format!("http://{}", server.address)) };
    Client::new(options).unwrap().heartbeat(&token()).unwrap();
    assert_eq!(clock.last_good(), 0);
    drop(server);

    let (_unused, requests) = mpsc::channel();
    let server = listen(requests, |mut stream| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap());
    let error = client(&server, "127.0.0.1", None, clock).unwrap().heartbeat(&token()).unwrap_err();
    assert!(matches!(error.fault, Fault::Tls(_)), "{error}");
}

/// Serves as a CONNECT proxy to `target`, or refuses with `status`.
fn proxy(target: SocketAddr, status: u16) -> Server {
    let (sender, requests) = mpsc::channel();
    listen(requests, move |stream| {
        let request = read_request(&mut BufReader::new(&stream)).unwrap();
        let _ = sender.send(request);
        write!(&stream, "HTTP/1.1 {status} X\r\n\r\n").unwrap();
        if status == 200 {
            let upstream = TcpStream::connect(target).unwrap();
            let (mut from, mut to) = (stream.try_clone().unwrap(), upstream.try_clone().unwrap());
            let forth = std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                to.shutdown(std::net::Shutdown::Both)
            });
            let _ = std::io::copy(&mut &upstream, &mut &stream);
            let _ = stream.shutdown(std::net::Shutdown::Both);
            let _ = forth.join();
        }
    })
}

#[test]
fn through_a_proxy() {
    let platform = serve_tls(json(200, "{}"));
    let by = |address: SocketAddr| {
        let mut options = options(&format!("https://{}", platform.address));
        options.extra_ca_pem = Some(CA);
        options.proxy = ureq::Proxy::new(&format!("http://{address}")).ok();
        Client::new(options).unwrap().heartbeat(&token())
    };
    let open = proxy(platform.address, 200);
    assert_eq!(by(open.address), Ok(()));
    let request = open.requests.recv().unwrap();
    assert_eq!(request.head[0], format!("CONNECT {} HTTP/1.1", platform.address));
    assert_eq!(request.header("authorization"), None);

    let closed = proxy(platform.address, 403);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [closed.address, gone] {
        let error = by(address).unwrap_err();
        assert!(matches!(error.fault, Fault::Proxy(_)), "{error}");
        assert_eq!(error.next(), NextStep::Proxy);
    }
}

#[test]
fn files_that_are_no_root_certificates() {
    let server = serve_tls(Vec::new());
    let refusal = |pem: &[u8]| client(&server, "127.0.0.1", Some(pem), Arc::new(Clock::new(0))).unwrap_err();
    assert!(refusal(b"").contains("no PEM certificate"));
    assert!(refusal(KEY).contains("no PEM certificate"));
    assert!(refusal(b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n").contains("block 1"));
    assert!(refusal(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").contains("certificate 1"));
}
