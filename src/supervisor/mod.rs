//! The life of the agent.
#![allow(dead_code)]
mod backoff;
mod brain;
