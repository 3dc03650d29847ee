//! Every size and count of the agent, with its cost in RAM beside it.
//!
//! The totals are asserted at the foot of this file, so that a change here that breaks the memory contract does not compile.

/// The relay link: the SSH engine and its driver.
pub mod ssh {
    /// Largest binary packet accepted, all fields and the MAC included (RFC 4253 section 6.1). No RAM of its own: see [`INPUT_BUFFER`].
    pub const PACKET_MAX: usize = 35_000;

    /// Bytes read from the socket and not yet consumed: one packet of [`PACKET_MAX`] and room for the next read. 40 KiB per connection.
    pub const INPUT_BUFFER: usize = 40 * 1024;

    /// Sealed packets that the socket has not taken: two full data packets and [`CONTROL_RESERVE`]. 36 KiB per connection.
    pub const OUTPUT_BUFFER: usize = 36 * 1024;

    /// The part of [`OUTPUT_BUFFER`] that channel data never fills: a KEXINIT and the 1,216 bytes of a post-quantum key exchange
    /// must always fit behind it.
    pub const CONTROL_RESERVE: usize = 3 * 1024;

    /// Largest piece of channel data sent in one packet. Two of them fit in [`OUTPUT_BUFFER`], so that channels can take turns.
    pub const SEND_DATA_MAX: usize = 16 * 1024;

    /// Room that a control message of a channel takes at most. No RAM of its own.
    pub const CONTROL_MESSAGE_MAX: usize = 64;

    /// Largest piece of channel data accepted in one packet: what golang.org/x/crypto/ssh sends at most. The packet around it stays
    /// below [`PACKET_MAX`].
    pub const RECEIVE_DATA_MAX: usize = 32 * 1024;

    /// Receive window of a channel and the size of its ring buffer. 60 KiB per channel, from its first byte until it has been
    /// empty for [`SWEEP_MS`].
    pub const CHANNEL_WINDOW: usize = 60 * 1024;

    /// Credit goes back to the peer when this much of the window has been read.
    pub const CREDIT_THRESHOLD: usize = CHANNEL_WINDOW / 2;

    /// Most channels at once; the next one is refused with `SSH_OPEN_RESOURCE_SHORTAGE`. The table costs a pointer each.
    pub const CHANNELS_MAX: usize = 256;

    /// RAM of an idle channel: its entry in the engine and in the driver, without a ring buffer.
    pub const CHANNEL_IDLE_MAX: usize = 1024;

    /// RAM of a channel with traffic.
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

    /// A link that has been silent this long is asked for a sign of life.
    pub const KEEPALIVE_MS: u64 = 30_000;

    /// The sign of life must arrive within this time.
    pub const KEEPALIVE_ANSWER_MS: u64 = 15_000;

    /// How often ring buffers that stayed empty are given back.
    pub const SWEEP_MS: u64 = 10_000;

    /// RFC 8305 section 5: pause before the next address is tried beside the earlier ones.
    pub const CONNECTION_ATTEMPT_DELAY_MS: u64 = 250;

    /// Most addresses of one host name that are tried. A socket each while they race.
    pub const ADDRESSES_MAX: usize = 8;

    /// How long a clean stop waits for SSH_MSG_DISCONNECT to leave.
    pub const DISCONNECT_MS: u64 = 2_000;
}

const _: () = {
    assert!(ssh::INPUT_BUFFER >= ssh::PACKET_MAX + 4 * 1024);
    assert!(ssh::OUTPUT_BUFFER >= 2 * (ssh::SEND_DATA_MAX + 64) + ssh::CONTROL_RESERVE);
    assert!(ssh::RECEIVE_DATA_MAX + 256 <= ssh::PACKET_MAX);
    assert!(ssh::INPUT_BUFFER + ssh::OUTPUT_BUFFER + 4 * 1024 <= ssh::CONNECTION_MAX);
    assert!(ssh::CHANNEL_WINDOW + ssh::CHANNEL_IDLE_MAX <= ssh::CHANNEL_BUSY_MAX);
    assert!(ssh::RECEIVE_DATA_MAX <= ssh::CHANNEL_WINDOW);
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

    /// When nothing is due, the supervisor looks again after this long.
    pub const IDLE_LOOK: Duration = Duration::from_secs(60);
}
