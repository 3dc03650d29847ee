//! Every size and count of the agent, with its cost in RAM.

// The agent's inputs and outputs: configuration, API, state, log.

use std::time::Duration;

/// Characters of a status line for the service manager.
pub const NOTIFY_STATUS_CHARS: usize = 200;

/// How long a notification may wait for a service manager that does not read.
pub const NOTIFY_WAIT: Duration = Duration::from_millis(100);

/// Bytes of a log line, prefix not counted: a buffer on the stack of whoever logs.
pub const LOG_LINE_BYTES: usize = 1024;

/// Different messages whose repeats are counted at one time: 2.7 KB in all.
pub const LOG_REPEATS: usize = 16;

/// Bytes of a repeated message that its summary quotes.
pub const LOG_HEAD_BYTES: usize = 120;

/// Within this time a message is printed once.
pub const LOG_WINDOW: Duration = Duration::from_secs(60);

/// Bytes of a file of settings or of one secret: allocated while it is read.
pub const CONFIG_FILE_BYTES: usize = 32 * 1024;

/// Bytes of a token, password or JWT.
pub const SECRET_BYTES: usize = 16 * 1024;

/// Connections served at one time, unless configured.
pub const TUNNELS_DEFAULT: u32 = 64;

/// The most that can be configured, for boxes with the memory: each takes up to a channel's window.
pub const TUNNELS_MAX: u32 = 1024;

/// Bytes of an answer of the platform's API: held while it is read. A certificate bundle is under 20 KB.
pub const API_BODY_BYTES: usize = 256 * 1024;

/// Bytes of an answer's head.
pub const API_HEAD_BYTES: usize = 15 * 1024;

/// Bytes read at a time during a call, twice: once for TCP, once for TLS. More than a head, so that one too long is seen.
pub const API_INPUT: usize = API_HEAD_BYTES + 1024;

/// Bytes sent at a time during a call, twice as well. Must hold the longest line of a request: its token.
pub const API_OUTPUT: usize = SECRET_BYTES + 1024;

/// For a connection to the platform, its TLS included.
pub const API_CONNECT: Duration = Duration::from_secs(10);

/// For a whole call. A heartbeat is answered only when the platform has dialled back.
pub const API_TOTAL: Duration = Duration::from_secs(30);

/// The longest pause that the platform can ask for.
pub const API_RETRY_AFTER_MAX: Duration = Duration::from_secs(900);

/// Characters of the platform's own words in a message.
pub const API_MESSAGE_CHARS: usize = 300;

/// Relays that are looked at.
pub const API_RELAYS: usize = 64;

/// Addresses of the platform's host that are tried. ureq holds 16.
pub const API_ADDRESSES: usize = 8;

/// TLS sessions kept for resumption, some 5 KB each with the platform's certificates.
pub const API_TLS_SESSIONS: usize = 2;

/// Stack of the thread of a call: reserved, and touched as far as it is used. A TLS 1.2 or 1.3 handshake with its JSON
/// overflows 48 KiB and passes with 64 KiB at opt-level z; unoptimised it passes with 192 KiB (x86-64).
pub const API_STACK: usize = 256 * 1024;

/// Stack of the thread that resolves a name: what the C library's resolver and its plug-ins take, touched as above.
pub const RESOLVER_STACK: usize = 128 * 1024;

/// Bytes of one PEM text or SSH key line of a certificate bundle.
pub const PEM_BYTES: usize = 16 * 1024;

/// Bytes of the state file: read and written whole. A usual one is 12 KB.
pub const STATE_BYTES: usize = 128 * 1024;

/// Damaged state files that are kept.
pub const STATE_KEPT: usize = 3;
