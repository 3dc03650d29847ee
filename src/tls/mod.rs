//! TLS inside a channel, over any byte stream.

mod acceptor;
mod client;
mod clock;
mod der;
mod error;
mod facts;
mod handshake;
mod identity;
mod pem;
mod provider;
mod receiver;
mod record;
mod sender;
mod stream;

pub use acceptor::{Accepted, Acceptor};
pub use client::{Connector, Trust};
pub use clock::Clock;
pub use error::{HandshakeError, StreamError};
pub use facts::{Actor, ClientFacts, FactError, Host, PamSession, Scheme, Target};
pub use identity::{Bundle, ServerIdentity};
pub use stream::TlsStream;
