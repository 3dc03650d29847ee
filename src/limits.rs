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

/// The most that can be configured.
pub const TUNNELS_MAX: u32 = 1024;
