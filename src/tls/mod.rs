//! TLS inside a channel, over any byte stream: the server that the platform's clients reach, and the
//! client that reaches `https://` targets.
//!
//! | file | job |
//! |---|---|
//! | `identity` | the platform's bundle, checked, as a server configuration |
//! | `acceptor` | channels to streams: deadline, turns, the newest identity |
//! | `client` | connections to targets, and whom to trust |
//! | `handshake` | drives rustls over a byte stream, takes the secrets over |
//! | `record` | seals and opens one record in place |
//! | `receiver`, `sender`, `session`, `stream` | the established connection |
//! | `facts`, `host` | what the platform wrote into a client's certificate |
//!
//! # Why a record layer of our own
//!
//! rustls has two interfaces. Its buffered one keeps buffers of its own. Its unbuffered one leaves
//! them to us, and still copies each record that it opens or seals through a fresh `Vec`. Its third,
//! `rustls::kernel`, is there for kernels that do the records themselves: rustls does the handshake,
//! the certificates and the key schedule, and hands out the traffic secrets. What is left is one AEAD
//! call of `ring` for each record, in a pooled buffer that an idle stream does not hold. Measured with
//! TLS 1.3, full records and a counting allocator (`tests/tls_cost.rs`, x86-64):
//!
//! | | allocations per MiB received | sent | bytes held by an idle stream |
//! |---|---|---|---|
//! | `rustls::ServerConnection` | 65 | 64 | 36,800 |
//! | `rustls::server::UnbufferedServerConnection` | 64 | 64 | 4,000, and the caller's buffers |
//! | [`TlsStream`] | 0 | 0 | 2,800 |
//!
//! A record is opened and sealed once, and copied once: from `S` into the buffer, or out of it.

mod acceptor;
mod client;
mod clock;
mod error;
mod facts;
mod handshake;
mod host;
mod identity;
mod pem;
mod receiver;
mod record;
mod sender;
mod session;
mod stream;

pub use acceptor::{Accepted, Acceptor};
pub use client::{Connector, Trust};
pub use clock::Clock;
pub use error::{HandshakeError, StreamError};
pub use facts::{Actor, ClientFacts, FactError, PamSession};
pub use host::{Host, Scheme, Target};
pub use identity::{Bundle, ServerIdentity};
pub use stream::TlsStream;
