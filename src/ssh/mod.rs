//! A small SSH 2 client engine: bytes and time in, bytes and events out.
//!
//! It is narrow on purpose: the client's side only, authentication by certificate only, channels opened by the peer only, and
//! AEAD ciphers only. It owns no socket, clock or task, so that every state can be tested in memory.

pub mod auth;
pub mod cert;
mod channel_set;
pub mod cipher;
pub mod connection;
pub mod error;
mod flow;
pub mod kex;
pub mod key;
pub mod msg;
pub mod mux;
pub mod negotiate;
pub mod packet;
pub mod private_key;
mod transport;
pub mod wire;
