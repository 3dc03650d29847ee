//! The messages of RFC 4250 section 4.1 that this client reads or writes: one table of number, name, class and fields.

use super::wire::{Malformed, NameList, Reader, Sink};

/// When a message may arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// DISCONNECT, IGNORE, UNIMPLEMENTED and DEBUG: at any time, but not in the first key exchange when it is strict.
    Generic,
    /// Between the key exchanges: service negotiation and RFC 8308 extensions.
    Service,
    /// The key exchange itself.
    Kex,
    /// User authentication, until it has succeeded.
    Auth,
    /// The connection protocol, once the user is authenticated.
    Connection,
}

/// A field type of a message.
pub trait Field<'a>: Sized {
    /// Reads the field.
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed>;
    /// Writes the field.
    fn write(&self, sink: &mut impl Sink);
}

macro_rules! fields {
    ($($type:ty, $read:ident, |$value:ident, $sink:ident| $write:expr;)*) => {$(
        impl<'a> Field<'a> for $type {
            fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> { reader.$read() }
            fn write(&self, $sink: &mut impl Sink) { let $value = self; $write }
        }
    )*};
}

fields! {
    u8, byte, |value, sink| sink.byte(*value);
    bool, boolean, |value, sink| sink.boolean(*value);
    u32, uint32, |value, sink| sink.uint32(*value);
    &'a [u8], string, |value, sink| sink.string(value);
    NameList<'a>, name_list, |value, sink| sink.string(value.0.as_bytes());
    [u8; 16], array, |value, sink| sink.put(value);
}

/// Everything up to the end of the message, as it stands: fields that depend on an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest<'a>(pub &'a [u8]);

impl<'a> Field<'a> for Rest<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.bytes(reader.rest().len()).map(Rest)
    }
    fn write(&self, sink: &mut impl Sink) {
        sink.put(self.0);
    }
}

macro_rules! messages {
    ($($number:literal $const:ident $class:ident
       $($(#[$doc:meta])* $type:ident $(<$life:lifetime>)? { $($field:ident: $kind:ty),* $(,)? })?;)*) => {
        $(
            #[allow(missing_docs, reason = "the name and the number are the documentation")]
            pub const $const: u8 = $number;
            $(
                $(#[$doc])*
                #[allow(missing_docs, reason = "fields carry the names of the RFC")]
                #[derive(Clone, Copy, Debug, PartialEq, Eq)]
                pub struct $type $(<$life>)? { $(pub $field: $kind),* }

                impl<'a> Message<'a> for $type $(<$life>)? {
                    const NUMBER: u8 = $number;
                    fn read_fields(_reader: &mut Reader<'a>) -> Result<Self, Malformed> {
                        Ok($type { $($field: Field::read(_reader)?),* })
                    }
                    fn write_fields(&self, _sink: &mut impl Sink) {
                        $(self.$field.write(_sink);)*
                    }
                }
            )?
        )*

        /// The name of a message in the RFCs, without `SSH_MSG_`.
        pub fn name(number: u8) -> &'static str {
            match number {
                $($number => stringify!($const),)*
                _ => "an unassigned message",
            }
        }

        /// The class of a message, `None` for numbers that this client does not know.
        pub fn class(number: u8) -> Option<Class> {
            match number {
                $($number => Some(Class::$class),)*
                _ => None,
            }
        }

        /// Reads any known message and writes it again: for tests and fuzzing, where each must survive the round trip.
        pub fn reencode(payload: &[u8]) -> Result<Vec<u8>, Malformed> {
            let mut out = Vec::new();
            match payload.first() {
                $($(Some(&$number) => <$type as Message>::parse(payload)?.encode(&mut out),)?)*
                _ => return Err(Malformed),
            }
            Ok(out)
        }
    };
}

/// A message with its fields.
pub trait Message<'a>: Sized {
    /// The message number.
    const NUMBER: u8;
    /// Reads the fields behind the number.
    fn read_fields(reader: &mut Reader<'a>) -> Result<Self, Malformed>;
    /// Writes the fields behind the number.
    fn write_fields(&self, sink: &mut impl Sink);

    /// Reads a whole payload: the right number, every field, and nothing behind them.
    fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        if reader.byte()? != Self::NUMBER {
            return Err(Malformed);
        }
        let message = Self::read_fields(&mut reader)?;
        reader.end()?;
        Ok(message)
    }

    /// Writes a whole payload.
    fn encode(&self, sink: &mut impl Sink) {
        sink.byte(Self::NUMBER);
        self.write_fields(sink);
    }
}

messages! {
    // RFC 4253: transport layer.
    1 DISCONNECT Generic
        /// RFC 4253 section 11.1. Description and language tag are read leniently: see [`disconnect_text`].
        Disconnect<'a> { reason: u32, description_and_language: Rest<'a> };
    2 IGNORE Generic;
    3 UNIMPLEMENTED Generic
        /// RFC 4253 section 11.4.
        Unimplemented { sequence_number: u32 };
    4 DEBUG Generic;
    5 SERVICE_REQUEST Service
        /// RFC 4253 section 10.
        ServiceRequest<'a> { service: &'a [u8] };
    6 SERVICE_ACCEPT Service
        /// RFC 4253 section 10.
        ServiceAccept<'a> { service: &'a [u8] };
    7 EXT_INFO Service
        /// RFC 8308 section 2.3: `count` pairs of strings.
        ExtInfo<'a> { count: u32, pairs: Rest<'a> };
    20 KEXINIT Kex
        /// RFC 4253 section 7.1.
        KexInit<'a> {
            cookie: [u8; 16],
            kex_algorithms: NameList<'a>,
            server_host_key_algorithms: NameList<'a>,
            encryption_client_to_server: NameList<'a>,
            encryption_server_to_client: NameList<'a>,
            mac_client_to_server: NameList<'a>,
            mac_server_to_client: NameList<'a>,
            compression_client_to_server: NameList<'a>,
            compression_server_to_client: NameList<'a>,
            languages_client_to_server: NameList<'a>,
            languages_server_to_client: NameList<'a>,
            first_kex_packet_follows: bool,
            reserved: u32,
        };
    21 NEWKEYS Kex
        /// RFC 4253 section 7.3.
        NewKeys {};
    30 KEX_ECDH_INIT Kex
        /// RFC 5656 section 4, RFC 8731 section 3: the client's ephemeral public key, here also `C_INIT` of the hybrid method.
        KexEcdhInit<'a> { client_public: &'a [u8] };
    31 KEX_ECDH_REPLY Kex
        /// RFC 5656 section 4: host key or certificate, the server's ephemeral public key, signature of the exchange hash.
        KexEcdhReply<'a> { host_key: &'a [u8], server_public: &'a [u8], signature: &'a [u8] };

    // RFC 4252: authentication.
    50 USERAUTH_REQUEST Auth
        /// RFC 4252 section 5.
        UserauthRequest<'a> { user: &'a [u8], service: &'a [u8], method: &'a [u8], specific: Rest<'a> };
    51 USERAUTH_FAILURE Auth
        /// RFC 4252 section 5.1.
        UserauthFailure<'a> { can_continue: NameList<'a>, partial_success: bool };
    52 USERAUTH_SUCCESS Auth
        /// RFC 4252 section 5.1.
        UserauthSuccess {};
    53 USERAUTH_BANNER Auth
        /// RFC 4252 section 5.4.
        UserauthBanner<'a> { message: &'a [u8], language: &'a [u8] };
    60 USERAUTH_PK_OK Auth
        /// RFC 4252 section 7.
        UserauthPkOk<'a> { algorithm: &'a [u8], key: &'a [u8] };

    // RFC 4254: connection.
    80 GLOBAL_REQUEST Connection
        /// RFC 4254 section 4.
        GlobalRequest<'a> { name: &'a [u8], want_reply: bool, specific: Rest<'a> };
    81 REQUEST_SUCCESS Connection
        /// RFC 4254 section 4.
        RequestSuccess<'a> { specific: Rest<'a> };
    82 REQUEST_FAILURE Connection
        /// RFC 4254 section 4.
        RequestFailure {};
    90 CHANNEL_OPEN Connection
        /// RFC 4254 section 5.1.
        ChannelOpen<'a> { kind: &'a [u8], sender: u32, window: u32, packet_max: u32, specific: Rest<'a> };
    91 CHANNEL_OPEN_CONFIRMATION Connection
        /// RFC 4254 section 5.1.
        ChannelOpenConfirmation<'a> { recipient: u32, sender: u32, window: u32, packet_max: u32, specific: Rest<'a> };
    92 CHANNEL_OPEN_FAILURE Connection
        /// RFC 4254 section 5.1.
        ChannelOpenFailure<'a> { recipient: u32, reason: u32, description: &'a [u8], language: &'a [u8] };
    93 CHANNEL_WINDOW_ADJUST Connection
        /// RFC 4254 section 5.2.
        ChannelWindowAdjust { recipient: u32, bytes: u32 };
    94 CHANNEL_DATA Connection
        /// RFC 4254 section 5.2.
        ChannelData<'a> { recipient: u32, data: &'a [u8] };
    95 CHANNEL_EXTENDED_DATA Connection
        /// RFC 4254 section 5.2.
        ChannelExtendedData<'a> { recipient: u32, data_type: u32, data: &'a [u8] };
    96 CHANNEL_EOF Connection
        /// RFC 4254 section 5.3.
        ChannelEof { recipient: u32 };
    97 CHANNEL_CLOSE Connection
        /// RFC 4254 section 5.3.
        ChannelClose { recipient: u32 };
    98 CHANNEL_REQUEST Connection
        /// RFC 4254 section 5.4.
        ChannelRequest<'a> { recipient: u32, request: &'a [u8], want_reply: bool, specific: Rest<'a> };
    99 CHANNEL_SUCCESS Connection
        /// RFC 4254 section 5.4.
        ChannelSuccess { recipient: u32 };
    100 CHANNEL_FAILURE Connection
        /// RFC 4254 section 5.4.
        ChannelFailure { recipient: u32 };
}

/// Bytes of a CHANNEL_DATA payload ahead of the data: number, recipient, length.
pub const CHANNEL_DATA_HEADER: usize = 9;

/// The description in a DISCONNECT. Some servers leave out the language tag or both strings, and a farewell is no time to quarrel.
pub fn disconnect_text<'a>(message: &Disconnect<'a>) -> &'a [u8] {
    Reader::new(message.description_and_language.0).string().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded<'a>(message: impl Message<'a>) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        bytes
    }

    /// Literal bytes, both ways, laid out by hand from RFC 4254 section 5.
    #[test]
    fn channel_messages_as_rfc_4254_lays_them_out() {
        let open = b"\x5a\0\0\0\x0cdirect-tcpip\0\0\0\x07\0\x20\0\0\0\0\x80\0";
        let message =
            ChannelOpen { kind: b"direct-tcpip", sender: 7, window: 2 << 20, packet_max: 32768, specific: Rest(b"") };
        assert_eq!(ChannelOpen::parse(open), Ok(message), "as golang.org/x/crypto/ssh sends it without payload");
        assert_eq!(encoded(message), open);

        let data = b"\x5e\0\0\0\x01\0\0\0\x02hi";
        assert_eq!(ChannelData::parse(data), Ok(ChannelData { recipient: 1, data: b"hi" }));
        assert_eq!(encoded(ChannelData { recipient: 1, data: b"hi" }), data);
        assert_eq!(data.len() - 2, CHANNEL_DATA_HEADER);

        assert_eq!(encoded(ChannelWindowAdjust { recipient: 3, bytes: 0x1_0000 }), b"\x5d\0\0\0\x03\0\x01\0\0");
        assert_eq!(encoded(RequestFailure {}), [82]);
    }

    /// The keepalive of OpenSSH as it stands on the wire.
    #[test]
    fn global_request_of_openssh() {
        let keepalive = b"\x50\0\0\0\x15keepalive@openssh.com\x01";
        let message = GlobalRequest { name: b"keepalive@openssh.com", want_reply: true, specific: Rest(b"") };
        assert_eq!(GlobalRequest::parse(keepalive), Ok(message));
        assert_eq!(encoded(message), keepalive);
    }

    #[test]
    fn bytes_behind_the_last_field_are_refused() {
        assert_eq!(ChannelEof::parse(b"\x60\0\0\0\0"), Ok(ChannelEof { recipient: 0 }));
        assert_eq!(ChannelEof::parse(b"\x60\0\0\0\0\0"), Err(Malformed));
        assert_eq!(ChannelEof::parse(b"\x61\0\0\0\0"), Err(Malformed), "another message's number");
    }

    #[test]
    fn disconnect_without_its_strings_still_reads() {
        let text = |payload| disconnect_text(&Disconnect::parse(payload).unwrap());
        assert_eq!(text(b"\x01\0\0\0\x0b\0\0\0\x03bye\0\0\0\0"), b"bye");
        assert_eq!(text(b"\x01\0\0\0\x0b\0\0\0\x03bye"), b"bye");
        assert_eq!(text(b"\x01\0\0\0\x0b"), b"");
    }

    #[test]
    fn the_table_knows_its_numbers() {
        assert_eq!((name(94), class(94)), ("CHANNEL_DATA", Some(Class::Connection)));
        assert_eq!((name(8), class(8)), ("an unassigned message", None));
    }

    proptest! {
        #[test]
        fn what_parses_is_written_again_the_same(mut payload: Vec<u8>, number in prop::sample::select(
            vec![1u8, 3, 5, 6, 7, 20, 21, 30, 31, 50, 51, 52, 53, 60, 80, 81, 82, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100])) {
            payload.insert(0, number);
            if let Ok(again) = reencode(&payload) {
                // A boolean may be any non-zero byte on the wire; everything else is canonical.
                prop_assert_eq!(again.len(), payload.len());
                prop_assert_eq!(reencode(&again), Ok(again));
            }
        }
    }
}
