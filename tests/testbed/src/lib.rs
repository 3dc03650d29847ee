//! A stand-in platform, relay and client to run edge-gateway against.
