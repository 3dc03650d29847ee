//! What is made of each way to fail.

use super::*;
use crate::exit::Exit;
use crate::limits::API_RETRY_AFTER_MAX;

/// The error of one heartbeat that gets `answer`.
#[track_caller]
fn fails(answer: Vec<u8>) -> Error {
    fails_at(|client| client.heartbeat(&token()), answer)
}

#[track_caller]
fn fails_at<T: std::fmt::Debug>(call: impl Fn(&Client) -> Result<T, Error>, answer: Vec<u8>) -> Error {
    let server = serve(vec![answer]);
    let error = call(&client(&server)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("127.0.0.1") && !text.contains('\n') && !text.contains(TOKEN), "{text}");
    error
}

fn refused(status: u16) -> Vec<u8> {
    json(status, r#"{"statusCode":0,"message":"Because.","error":"X","reqId":"r"}"#)
}

#[test]
fn each_status_has_its_next_step() {
    for (status, next, exit) in [
        (400, NextStep::FixConfig, Exit::Config),
        (401, NextStep::FixToken, Exit::NoPermission),
        (403, NextStep::CheckPermission, Exit::NoPermission),
        (404, NextStep::NotFound, Exit::Config),
        (408, NextStep::RetryLater, Exit::TempFail),
        (409, NextStep::Conflict, Exit::Config),
        (422, NextStep::FixConfig, Exit::Config),
        (429, NextStep::RetryLater, Exit::TempFail),
        (500, NextStep::RetryLater, Exit::TempFail),
        (503, NextStep::RetryLater, Exit::TempFail),
        (504, NextStep::RetryLater, Exit::TempFail),
    ] {
        let error = fails(refused(status));
        assert_eq!((error.next(), error.exit(), error.status()), (next, exit, Some(status)));
        let start = format!("heartbeat at 127.0.0.1: answered {status} \"Because.\"; ");
        assert!(error.to_string().starts_with(&start), "{error}");
    }
}

#[test]
fn what_a_refused_credential_means_depends_on_the_call() {
    let secret = token();
    assert_eq!(fails_at(|client| client.enroll(&secret), refused(401)).next(), NextStep::ReEnroll);
    assert_eq!(fails_at(|client| client.enroll(&secret), refused(404)).next(), NextStep::ReEnroll);
    assert_eq!(fails_at(|client| client.connect(&secret, None), refused(401)).next(), NextStep::ReEnroll);
    assert_eq!(fails_at(|client| client.connect(&secret, Some("gone")), refused(404)).next(), NextStep::NotFound);
    assert_eq!(
        fails_at(|client| client.universal_auth_login("id", &secret), refused(401)).next(),
        NextStep::FixCredentials
    );
    assert_eq!(fails_at(|client| client.register(&secret, "a", None), refused(401)).next(), NextStep::FixToken);
}

#[test]
fn a_platform_without_the_route() {
    let route = json(
        404,
        r#"{"message":"Route POST:/api/v3/gateways/token-auth/enroll not found","error":"Not Found","statusCode":404}"#,
    );
    let error = fails_at(|client| client.enroll(&token()), route);
    assert_eq!((error.next(), error.exit()), (NextStep::WrongDomain, Exit::Protocol));
}

#[test]
fn retry_after_is_honoured_within_bounds() {
    let after = |status, value: &str| fails(answer(status, &format!("retry-after: {value}\r\n"), "{}")).next();
    assert_eq!(after(429, "30"), NextStep::RetryAfter(Duration::from_secs(30)));
    assert_eq!(after(503, "7"), NextStep::RetryAfter(Duration::from_secs(7)));
    assert_eq!(after(429, "86400"), NextStep::RetryAfter(API_RETRY_AFTER_MAX));
    assert_eq!(after(429, "Sun, 06 Nov 1994 08:49:37 GMT"), NextStep::RetryAfter(Duration::from_secs(1)));
    assert_eq!(after(429, "soon"), NextStep::RetryLater);
    assert!(!NextStep::RetryAfter(Duration::from_secs(1)).is_final());
}

#[test]
fn captive_portals_and_wrong_servers() {
    let html = "content-type: Text/HTML; charset=utf-8\r\n";
    for (answer, part) in [
        (answer(302, "location: http://portal.example/login\r\n", ""), "redirect (302) to http://portal.example/login"),
        (answer(301, "", ""), "redirect (301) to nowhere"),
        (answer(200, html, "Welcome to the hotel"), "web page (200)"),
        (answer(200, "", " <!doctype html><p>Welcome"), "web page (200)"),
        (answer(404, html, "<h1>nginx"), "web page (404)"),
        (answer(511, "", "{}"), "web page (511)"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec(), "something else than HTTP"),
    ] {
        let error = fails(answer);
        assert_eq!((error.next(), error.exit()), (NextStep::CaptivePortal, Exit::Protocol), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    // A load balancer's page about its own trouble is the platform's trouble.
    assert_eq!(fails(answer(502, html, "<h1>Bad gateway")).next(), NextStep::RetryLater);
    assert_eq!(fails(answer(429, html, "<h1>Slow down")).next(), NextStep::RetryLater);
}

#[test]
fn the_platforms_words_are_escaped_and_cut() {
    let error = fails(json(403, &format!(r#"{{"message":"no\n<0>forged\u001b[2J{}"}}"#, "x".repeat(10_000))));
    let text = error.to_string();
    assert!(text.contains("no\\n<0>forged\\u{1b}[2J") && text.len() < 600, "{text}");
}

#[test]
fn unusable_answers() {
    for body in ["", "{", "[]", r#"{"gatewayId":7}"#, "null"] {
        let error = fails_at(|client| client.connect(&token(), None), json(200, body));
        assert!(matches!(error.fault, Fault::BadAnswer(_)), "{body}: {error}");
    }
    let error = fails_at(
        |client| client.connect(&token(), None),
        json(
            200,
            &serde_json::to_string(&crate::bundle::tests::sample())
                .unwrap()
                .replace("relay.example.com", "relay;reboot"),
        ),
    );
    assert_eq!(error.fault, Fault::BadAnswer("relayHost is not a host name or address".to_owned()));
}

/// Sends `head`, then zeros until the client has enough, and tells how many got through.
fn flood(head: &'static str) -> (Server, mpsc::Receiver<usize>) {
    let (sender, sent) = mpsc::channel();
    let (_unused, requests) = mpsc::channel();
    let server = listen(requests, move |mut stream| {
        read_request(&mut BufReader::new(&stream));
        let mut count = 0;
        let mut chunk = b"10000\r\n".to_vec();
        chunk.resize(chunk.len() + 0x10000, b'0');
        chunk.extend(b"\r\n");
        if stream.write_all(head.as_bytes()).is_ok() {
            while count < 100 << 20 && stream.write_all(&chunk).is_ok() {
                count += chunk.len();
            }
        }
        let _ = sender.send(count);
    });
    (server, sent)
}

#[test]
fn an_answer_of_100_megabytes_is_cut_off() {
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: ",
    ] {
        let (server, sent) = flood(head);
        let error = client(&server).heartbeat(&token()).unwrap_err();
        assert_eq!(error.fault, Fault::TooLarge, "{head:?}");
        // What is sent beyond the limit lies in the kernel's buffers.
        let sent = sent.recv().unwrap();
        assert!(sent < 32 << 20, "{head:?}: {sent}");
    }
}

#[test]
fn silence_at_each_step_ends_at_the_deadline() {
    for part in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{",
    ] {
        let (_unused, requests) = mpsc::channel();
        let mut open = Vec::new();
        let server = listen(requests, move |stream| {
            read_request(&mut BufReader::new(&stream));
            let _ = (&stream).write_all(part.as_bytes());
            open.push(stream);
        });
        let error = hasty(&server).heartbeat(&token()).unwrap_err();
        assert_eq!((&error.fault, error.next()), (&Fault::Timeout, NextStep::RetryLater), "{part:?}");
    }
}

#[test]
fn a_connection_that_is_closed_early() {
    for part in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"] {
        let error = fails(part.as_bytes().to_vec());
        assert!(matches!(error.fault, Fault::Network(_)), "{part:?}: {error}");
        assert_eq!(error.exit(), Exit::TempFail);
    }
}

#[test]
fn nobody_listens() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = client_of(&format!("http://{address}")).heartbeat(&token()).unwrap_err();
    assert_eq!((&error.fault, error.next()), (&Fault::Refused, NextStep::Refused));
}

#[test]
fn a_name_that_does_not_resolve() {
    let mut options = options("http://edge-gateway.invalid");
    options.connect_deadline = Duration::from_millis(500);
    let error = Client::new(options).unwrap().heartbeat(&token()).unwrap_err();
    assert!(matches!(error.fault, Fault::Dns(_)), "{error}");
    assert_eq!(
        (error.next(), error.exit(), error.host.as_str()),
        (NextStep::Dns, Exit::NoHost, "edge-gateway.invalid")
    );
}
