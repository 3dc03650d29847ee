//! The SSH engine against a server in memory: every state, with a clock that the test moves and bytes that come as the test likes.
#![forbid(unsafe_code)]

mod channels;
mod handshake;
mod keys;
mod pair;
mod rekeying;
mod server;
