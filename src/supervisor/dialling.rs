//! How an attempt to reach a relay fails, and what that says about what to try next.

use super::brain::LinkEnd;
use crate::relay::{DialError, LinkError};
use crate::ssh::error::{Error, Fault, Stage};
use std::fmt;

/// Why a relay was not reached.
pub(super) enum DialFailure {
    Dial(DialError),
    Link(LinkError),
}

impl fmt::Display for DialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialFailure::Dial(error) => error.fmt(f),
            DialFailure::Link(error) => error.fmt(f),
        }
    }
}

impl DialFailure {
    /// What kind of failure it is.
    pub(super) fn end(&self) -> LinkEnd {
        let error = match self {
            DialFailure::Dial(_) => return LinkEnd::Unreachable,
            DialFailure::Link(error) => error,
        };
        match (error.fault(), error) {
            (Fault::NotTrusted, _) => LinkEnd::NotTrusted,
            (Fault::Refused, _) => LinkEnd::Refused,
            (_, LinkError::Ssh(Error::LinkClosed(Stage::Open))) => LinkEnd::Occupied,
            _ => LinkEnd::Lost,
        }
    }
}
