//! Every size and count of the agent, with its cost in RAM.

use core::time::Duration;

// --- TLS inside a channel (`tls`, `pool`) -------------------------------------------------------

/// Plaintext bytes in one TLS record (RFC 8446 section 5.1).
pub const TLS_PLAINTEXT_MAX: usize = 16_384;

/// Bytes of a TLS record header.
pub const TLS_HEADER: usize = 5;

/// Ciphertext bytes of one record: TLS 1.3 allows 256 over the plaintext (RFC 8446 section 5.2), and
/// the AEAD suites of TLS 1.2 need 24.
pub const TLS_CIPHERTEXT_MAX: usize = TLS_PLAINTEXT_MAX + 256;

/// One pooled buffer: a record, and the header of the record after it (read in the same call).
///
/// A stream holds one while it has bytes going each way, so at most two; an idle one holds none.
pub const RECORD_BUF: usize = TLS_HEADER + TLS_CIPHERTEXT_MAX + TLS_HEADER;

/// Free buffers that the pool keeps for the next stream: 8 x 16,650 = 133,200 bytes. The others go
/// back to the allocator.
pub const RECORD_BUFS_KEPT: usize = 8;

/// TLS handshakes in progress at once. Each holds two pooled buffers and under 10 KiB of rustls
/// state: 8 x 43 KiB = 344 KiB while they last. A client waits for its turn without any buffer.
pub const TLS_HANDSHAKES: usize = 8;

/// From the opened channel to the end of the TLS handshake, the wait for a turn included.
pub const TLS_HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Records without application data (alerts, key updates, empty ones) handled in one go before
/// other tasks get their turn.
pub const TLS_IDLE_RECORDS: usize = 32;

/// Bytes of one JSON value in a client certificate extension.
pub const FACT_BYTES: usize = 4_096;

/// Trust anchors taken from a client chain, or from the `ca` of an HTTP target.
pub const TRUST_ANCHORS: usize = 64;

// --- Targets (`target`) -------------------------------------------------------------------------

/// Rules in each of the allow and deny lists: at most 2 x 64 x 40 bytes and the names.
pub const POLICY_RULES: usize = 64;

/// Addresses of one name that are tried.
pub const TARGET_ADDRESSES: usize = 8;

/// From the name to an open TCP connection.
pub const TARGET_CONNECT_TIME: Duration = Duration::from_secs(10);

/// Head start of one address over the next (RFC 8305 section 5).
pub const TARGET_CONNECT_STAGGER: Duration = Duration::from_millis(250);

/// Silence after which the kernel probes a target, and the time between probes. There is no idle
/// limit on a TCP tunnel: a database session may be quiet for hours, and a dead target is found here.
pub const TARGET_KEEPALIVE: (Duration, Duration) =
    (Duration::from_secs(60), Duration::from_secs(20));

/// A tunnel of which one direction has ended is closed after this much silence on the other.
pub const TCP_HALF_CLOSED_TIME: Duration = Duration::from_secs(300);

/// Records moved in one direction before other tasks get their turn: 4 x 16 KiB.
pub const COPY_BURST: usize = 4;

/// The last bytes and the close_notify of a stream must be taken within this time.
pub const CLOSE_TIME: Duration = Duration::from_secs(10);

// --- HTTP proxy (`target::http`) ----------------------------------------------------------------

/// The `CONFIG` line. It carries a bundle of CA certificates in base64; freed once it is parsed.
pub const HTTP_CONFIG_LINE: usize = 64 * 1024;

/// One request or response head. Held twice (as read, as sent) while it is forwarded: 32 KiB.
pub const HTTP_HEAD: usize = 16 * 1024;

/// Fields in one head: 100 x 32 bytes of stack while it is parsed.
pub const HTTP_FIELDS: usize = 100;

/// One chunk-size line with its extensions.
pub const HTTP_CHUNK_LINE: usize = 256;

/// The trailer section of a chunked body.
pub const HTTP_TRAILERS: usize = 4_096;

/// Interim (1xx) answers passed on for one request.
pub const HTTP_INTERIM: usize = 16;

/// Body bytes thrown away so that a connection stays usable after an answer of our own.
pub const HTTP_DRAIN: u64 = 1024 * 1024;

/// No progress from the target, or from the client in mid body, for this long ends the exchange.
pub const HTTP_TARGET_TIME: Duration = Duration::from_secs(30);

/// A kept connection without a request is closed after this long. The platform gives up after 120 s.
pub const HTTP_IDLE_TIME: Duration = Duration::from_secs(120);

/// The pod's service account token.
pub const K8S_TOKEN: u64 = 16 * 1024;

/// The pod's CA bundle.
pub const K8S_CA: u64 = 64 * 1024;
