//! Every size and count of the agent, with its cost in RAM beside it.
//!
//! How the sizes of a link fit together is asserted beside them, so that a change that breaks it does not compile. The totals, in
//! resident memory, are held by `tests/agent/memory.rs`.

use std::time::Duration;

/// The relay link: the SSH engine and its driver.
pub mod ssh {
    /// Largest binary packet accepted, all fields and the MAC included (RFC 4253 section 6.1). No RAM of its own: see [`INPUT_BUFFER`].
    pub const PACKET_MAX: usize = 35_000;

    /// Bytes read from the socket and not yet consumed: one packet of [`PACKET_MAX`] and room for the next read. 39 KiB per connection.
    pub const INPUT_BUFFER: usize = 39 * 1024;

    /// Sealed packets that the socket has not taken: two full data packets, a small one and [`CONTROL_RESERVE`]. 37 KiB per
    /// connection.
    pub const OUTPUT_BUFFER: usize = 37 * 1024;

    /// The part of [`OUTPUT_BUFFER`] that channel data never fills: a KEXINIT and the 1,216 bytes of a post-quantum key exchange
    /// must always fit behind it.
    pub const CONTROL_RESERVE: usize = 3 * 1024;

    /// Largest piece of channel data sent in one packet: a full TLS record, so that each costs one packet. Two of them fit in
    /// [`OUTPUT_BUFFER`], so that channels can take turns.
    pub const SEND_DATA_MAX: usize = 16 * 1024 + 128;

    /// A channel whose last packet carried no more than this is not bulk: it need not wait for room for a full packet.
    pub const SMALL_DATA: usize = 1024;

    /// Room that a control message of a channel takes at most. No RAM of its own.
    pub const CONTROL_MESSAGE_MAX: usize = 64;

    /// Largest piece of channel data accepted in one packet: what golang.org/x/crypto/ssh sends at most. The packet around it stays
    /// below [`PACKET_MAX`].
    pub const RECEIVE_DATA_MAX: usize = 32 * 1024;

    /// Receive window of a new or resting channel. Of each channel's window this much is sure; the rest is lent to it by the
    /// budget ([`MEMORY_DEFAULT`](super::MEMORY_DEFAULT)). The storage for it grows with what lies in it, from the first byte
    /// on, and goes when it has been empty for [`SWEEP_MS`].
    pub const WINDOW_START: usize = 8 * 1024;

    /// What a window grows to with use, if the budget allows: what a near peer needs. 60 KiB per channel at most.
    pub const CHANNEL_WINDOW: usize = 60 * 1024;

    /// The same while there are few tunnels, up to eight at the defaults, which have a quarter of the budget for windows together:
    /// fewer wake-ups for as many bytes. More than that leaves the caches of the CPU: eight tunnels with 240 KiB each took 1.4
    /// times the CPU time of eight with 60.
    pub const NEAR_WINDOW_MAX: usize = 240 * 1024;

    /// What a window grows to over a long line, where each doubling makes it faster and the budget allows: 100 ms of 160 Mbit/s.
    /// RAM of the budget, beyond [`CHANNEL_BUSY_MAX`], and only for bytes that a target has not taken yet. The default budget
    /// lends one tunnel 1.5 MiB.
    pub const WINDOW_MAX: usize = 2 * 1024 * 1024;

    /// A line on which bytes come back sooner than this is near.
    pub const NEAR_MS: u64 = 4;

    /// Over a long line credit goes out in pieces of this many bytes at most. No RAM of its own.
    pub const CREDIT_FAR: usize = 64 * 1024;

    /// A target that leaves bytes lying this long is slower than the line: a larger window would not help.
    pub const READER_SLOW_MS: u64 = 8;

    /// Most channels at once; the next one is refused with `SSH_OPEN_RESOURCE_SHORTAGE`. The table costs a pointer each.
    pub const CHANNELS_MAX: usize = 256;

    /// RAM of an idle channel: its entry in the engine and in the driver, without a ring buffer.
    pub const CHANNEL_IDLE_MAX: usize = 1024;

    /// RAM of a channel with traffic and a near peer, beside many others. Alone, or over a long line, the budget may lend
    /// it more, up to [`WINDOW_MAX`]; what all channels have together stays within the budget's half for windows.
    pub const CHANNEL_BUSY_MAX: usize = 64 * 1024;

    /// RAM of a connection's fixed buffers.
    pub const CONNECTION_MAX: usize = 80 * 1024;

    /// CHANNEL_OPEN refusals not yet sent. 8 bytes each. When full, the link is not read until the peer takes some output.
    pub const REFUSALS_MAX: usize = 64;

    /// SSH_MSG_UNIMPLEMENTED answers not yet sent. 4 bytes each. When full, as [`REFUSALS_MAX`].
    pub const UNIMPLEMENTED_MAX: usize = 8;

    /// Failure answers owed to requests (global, and for each channel). A counter: no RAM. When full, as [`REFUSALS_MAX`].
    pub const FAILURES_OWED_MAX: u16 = 256;

    /// Global requests of ours that wait for their answer: one `tcpip-forward` and keepalives. 1 byte each.
    pub const GLOBAL_REQUESTS_MAX: usize = 4;

    /// Longest identification line, CR LF included (RFC 4253 section 4.2).
    pub const IDENTIFICATION_MAX: usize = 255;

    /// Most bytes that a server may send ahead of its identification line. They are skipped, not stored.
    pub const PREAMBLE_MAX: usize = 8 * 1024;

    /// Longest text of a peer (disconnect, banner) that reaches a log line. 160 bytes, while the error or event lives.
    pub const PEER_TEXT_MAX: usize = 160;

    /// Longest host or user certificate accepted. No RAM of its own for the host's: it is checked in the input buffer.
    pub const CERTIFICATE_MAX: usize = 16 * 1024;

    /// Random bytes fetched at a time for packet padding. 256 bytes per connection.
    pub const PADDING_POOL: usize = 256;

    /// Both sides agree on keys again after this many bytes in either direction. RFC 4253 section 9 suggests 1 GiB, and relays on
    /// golang.org/x/crypto/ssh start at that; half of it lets this side start first, because that library's server can deadlock
    /// with itself when it starts in mid traffic (64 packets queued behind its KEXINIT and a CHANNEL_CLOSE coming in).
    pub const REKEY_BYTES: u64 = 1 << 29;

    /// Both sides agree on keys again after this many packets: far below the 2^32 at which a sequence number would repeat
    /// (RFC 4344 section 3.1).
    pub const REKEY_PACKETS: u32 = 1 << 28;

    /// Both sides agree on keys again after this long.
    pub const REKEY_MS: u64 = 3_600_000;

    /// A key exchange, and the whole of connecting and authenticating, must end within this time.
    pub const HANDSHAKE_MS: u64 = 30_000;

    /// A link that has been silent this long is asked for a sign of life: every 30 s at most, with what a long timer is late by
    /// ([`wheel`](crate::wheel)).
    pub const KEEPALIVE_MS: u64 = 26_000;

    /// The sign of life must arrive within this time.
    pub const KEEPALIVE_ANSWER_MS: u64 = 15_000;

    /// How often ring buffers that stayed empty are given back.
    pub const SWEEP_MS: u64 = 10_000;

    /// RFC 8305 section 5: pause before the next address is tried beside the earlier ones.
    pub const CONNECTION_ATTEMPT_DELAY_MS: u64 = 250;

    /// Most addresses of one host name that are tried. A socket each while they race.
    pub const ADDRESSES_MAX: usize = 8;

    /// Bytes of the relay's socket that are not under way yet, when the kernel takes more: what one tunnel sends waits behind
    /// what another sent before. Kernel memory.
    pub const UNSENT_MAX: u32 = 16 * 1024;

    /// How long a clean stop waits for SSH_MSG_DISCONNECT to leave.
    pub const DISCONNECT_MS: u64 = 2_000;
}

const _: () = {
    assert!(ssh::INPUT_BUFFER >= ssh::PACKET_MAX + 4 * 1024);
    assert!(ssh::OUTPUT_BUFFER >= 2 * (ssh::SEND_DATA_MAX + 64) + (ssh::SMALL_DATA + 64) + ssh::CONTROL_RESERVE);
    assert!(ssh::RECEIVE_DATA_MAX + 256 <= ssh::PACKET_MAX);
    assert!(ssh::INPUT_BUFFER + ssh::OUTPUT_BUFFER + 4 * 1024 <= ssh::CONNECTION_MAX);
    assert!(ssh::WINDOW_START <= ssh::CHANNEL_WINDOW);
    assert!(ssh::CHANNEL_WINDOW + ssh::CHANNEL_IDLE_MAX <= ssh::CHANNEL_BUSY_MAX);
    assert!(ssh::SEND_DATA_MAX >= TLS_HEADER + TLS_PLAINTEXT_MAX + 24);
    assert!(ssh::WINDOW_START <= MEMORY_MIN / 2 && 3 * RECORD_BUF <= MEMORY_MIN / 2);
};

/// The supervisor: when things are done, and how often they are tried.
pub mod supervisor {
    use std::time::Duration;

    /// First pause after a failure; it doubles from there.
    pub const PAUSE_LEAST: Duration = Duration::from_secs(1);

    /// Longest pause after a failure.
    pub const PAUSE_GREATEST: Duration = Duration::from_secs(60);

    /// Pause after a refusal that only a person can mend, while the certificates still serve.
    pub const PAUSE_PERSON: Duration = Duration::from_secs(300);

    /// A link that lasted this long was healthy: pauses start small again.
    pub const HEALTHY: Duration = Duration::from_secs(60);

    /// Longest pause while the relay's address has not answered for less than [`PROBE_FOR`].
    pub const PROBE_PAUSE: Duration = Duration::from_secs(2);

    /// How long a relay that does not answer is looked for every [`PROBE_PAUSE`].
    pub const PROBE_FOR: Duration = Duration::from_secs(180);

    /// Longest pause while the relay still holds an older connection of this gateway.
    pub const OCCUPIED_PAUSE: Duration = Duration::from_secs(10);

    /// Without a named relay, another one is chosen when this one has not answered for so long.
    pub const FAILOVER_AFTER: Duration = Duration::from_secs(10);

    /// Without a named relay, another one is chosen after so many failures without a healthy minute between.
    pub const FAILOVER_FAILURES: u32 = 6;

    /// Between heartbeats, until the first has succeeded.
    pub const HEARTBEAT_FIRST: Duration = Duration::from_secs(10);

    /// Between heartbeats; the health answer tells the platform this number.
    pub const HEARTBEAT: Duration = Duration::from_secs(180);

    /// Certificates are renewed at least this often.
    pub const RENEWAL: Duration = Duration::from_secs(6 * 3600);

    /// A connection to the relay must come about within this time, name resolution included.
    pub const DIAL: Duration = Duration::from_secs(10);

    /// A relay that closes within this time, before any tunnel came, still holds an older connection.
    pub const OCCUPIED_WITHIN: Duration = Duration::from_secs(3);

    /// How long a sign of life may take when the network may have changed.
    pub const PROBE_ANSWER: Duration = Duration::from_secs(5);

    /// How long open tunnels may go on after the agent was told to stop.
    pub const DRAIN: Duration = Duration::from_secs(10);

    /// How often the relay before a move is looked at while its tunnels end.
    pub const DRAIN_LOOK: Duration = Duration::from_millis(250);

    /// Relays that the platform heard of within this time live.
    pub const RELAY_HEARD_WITHIN: Duration = Duration::from_secs(3600);

    /// Relays of one group that are measured, one after the other.
    pub const RELAYS_MEASURED: usize = 8;

    /// A relay that is measured must answer within this time, at its first address of either family.
    pub const RELAY_CONNECT: Duration = Duration::from_secs(2);

    /// Reports of tasks and API calls that wait for the supervisor. 64 bytes each.
    pub const REPORTS: usize = 16;

    /// Names that are resolved at the same time; each takes a thread.
    pub const RESOLVER_THREADS: usize = 4;

    /// Such a thread ends when it had nothing to do for so long.
    pub const RESOLVER_KEEP: Duration = Duration::from_secs(2);

    /// When nothing is due, the supervisor looks again after this long.
    pub const IDLE_LOOK: Duration = Duration::from_secs(60);
}

// The agent's inputs and outputs: configuration, API, state, log.

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

/// The most that can be configured, for boxes with the memory: as many as a link has channels.
pub const TUNNELS_MAX: u32 = ssh::CHANNELS_MAX as u32;

/// Bytes for the large buffers of all tunnels together, unless configured. Half is for windows: at the default 64 tunnels with
/// 8 KiB each for sure (512 KiB), and 1.5 MiB to be lent. Half is for TLS records: 125 buffers of [`RECORD_BUF`] bytes.
pub const MEMORY_DEFAULT: usize = 4 * 1024 * 1024;

/// The least that can be configured: one tunnel needs a window in one half, and a record buffer of each kind in the other.
pub const MEMORY_MIN: usize = 100 * 1024;

/// The most that can be configured.
pub const MEMORY_MAX: usize = 1024 * 1024 * 1024;

/// Bytes of the head of a proxy's answer, on the way to the relay.
pub const PROXY_HEAD: usize = 4 * 1024;

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

/// Bytes of the system's bundle of certificate authorities, where none are built in: held while it is read. Mozilla's is 230 KB.
pub const CA_BUNDLE: u64 = 1024 * 1024;

/// Stack of the thread of a call: reserved, and touched as far as it is used. A TLS 1.2 or 1.3 handshake with its JSON
/// overflows 48 KiB and passes with 64 KiB at opt-level z; unoptimised it passes with 192 KiB (x86-64).
pub const API_STACK: usize = 256 * 1024;

/// Stack of a thread that resolves a name: what the C library's resolver and its plug-ins take, touched as above.
pub const RESOLVER_STACK: usize = 128 * 1024;

/// Bytes of one PEM text or SSH key line of a certificate bundle.
pub const PEM_BYTES: usize = 16 * 1024;

/// Bytes of the state file: read and written whole. A usual one is 12 KB.
pub const STATE_BYTES: usize = 128 * 1024;

/// Damaged state files that are kept.
pub const STATE_KEPT: usize = 3;

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
pub const TARGET_KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

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
