//! Calls against a small HTTP server of this file's own, on a port of its own.

mod calls;
mod faults;
mod tls;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;

use super::*;

/// A server that answers each connection in turn with one fixed text, and keeps what it was asked.
struct Server {
    address: SocketAddr,
    requests: mpsc::Receiver<Request>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Request {
    /// The request line and headers, in lower case but for the line.
    head: Vec<String>,
    body: String,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Serves `answers`, one a connection.
fn serve(answers: Vec<Vec<u8>>) -> Server {
    let (sender, requests) = mpsc::channel();
    let mut answers = answers.into_iter();
    listen(requests, move |stream| {
        let Some(answer) = answers.next() else { return };
        // A client that goes away while it is answered is a test's own doing.
        if let Some(request) = read_request(&mut BufReader::new(&stream)) {
            let _ = sender.send(request);
            let _ = (&stream).write_all(&answer);
        }
    })
}

/// Runs `handle` on each connection until the server is dropped.
fn listen(requests: mpsc::Receiver<Request>, mut handle: impl FnMut(TcpStream) + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            // Whoever drops the server says so by a connection that sends nothing.
            if stream.peek(&mut [0]).unwrap_or(0) == 0 {
                return;
            }
            handle(stream);
        }
    });
    Server { address, requests, thread: Some(thread) }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(TcpStream::connect(self.address));
        let ended = self.thread.take().is_some_and(|thread| thread.join().is_ok());
        assert!(ended || std::thread::panicking(), "the server's thread panicked");
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        let line = match line.split_once(": ") {
            Some((name, value)) => format!("{}: {value}", name.to_ascii_lowercase()),
            None => line,
        };
        head.push(line);
    }
    let request = Request { head, body: String::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { body: String::from_utf8(body).unwrap(), ..request })
}

/// An answer with a status line, headers, and a body whose length is told.
fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
}

fn json(status: u16, body: &str) -> Vec<u8> {
    answer(status, "content-type: application/json; charset=utf-8\r\n", body)
}

/// A direct way to a platform, with deadlines that no test reaches unless it means to.
fn options(url: &str) -> Options<'static> {
    Options { proxy: None, ..Options::new(Domain::parse(url).unwrap(), Arc::new(Clock::new(0))) }
}

fn client_of(url: &str) -> Client {
    Client::new(options(url)).unwrap()
}

fn client(server: &Server) -> Client {
    client_of(&format!("http://{}", server.address))
}

/// A client that gives up after a short while, whatever it waits for.
fn hasty(server: &Server) -> Client {
    Client::new(Options {
        total_deadline: Duration::from_millis(300),
        ..options(&format!("http://{}", server.address))
    })
    .unwrap()
}

const TOKEN: &str = "eyJ.very-secret.token";

fn token() -> Secret {
    Secret::from(TOKEN)
}
