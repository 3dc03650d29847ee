//! The transport layer's state (RFC 4253 sections 4.2, 7 and 9): identification, and key exchange after key exchange.

use super::cert::Certificate;
use super::cipher::Key;
use super::error::{Error, malformed};
use super::kex::{Ephemeral, Transcript};
use super::key::PublicKey;
use super::msg::{self, KexEcdhInit, KexEcdhReply, KexInit, Message, NewKeys};
use super::negotiate::{Agreed, Offer, Trust, negotiate};
use super::packet::Output;
use crate::limits::ssh::{IDENTIFICATION_MAX, PREAMBLE_MAX};
use ring::digest::Digest;
use ring::rand::{SecureRandom, SystemRandom};

/// What this side calls itself, without CR LF.
pub(super) const IDENTIFICATION: &str = concat!("SSH-2.0-edge-gateway_", env!("CARGO_PKG_VERSION"));

/// A key exchange. Each state owns what only it needs.
enum Kex {
    /// Keys are in use, none are being agreed on.
    Idle,
    /// This side has started: its KEXINIT is due or sent, the server's has not come.
    Offered { offer: Offer, sent: bool },
    /// Both KEXINITs are known; KEX_ECDH_INIT is due or sent.
    Exchanging(Box<Exchange>),
    /// The host has proved itself; one or both NEWKEYS are missing.
    Switching(Box<Switch>),
}

struct Switch {
    /// Until our NEWKEYS is sent.
    seal: Option<Key>,
    /// Until the server's NEWKEYS has come.
    open: Option<Key>,
}

struct Exchange {
    offer: Offer,
    offer_sent: bool,
    init_sent: bool,
    agreed: Agreed,
    ignore_guess: bool,
    transcript: Transcript,
    ephemeral: Ephemeral,
}

/// The sending half, and the key exchange that changes both halves' keys.
pub(super) struct Transport {
    pub(super) output: Output,
    trust: Trust,
    random: SystemRandom,
    kex: Kex,
    /// The server's identification, without CR LF; empty until it has come.
    server: Box<[u8]>,
    /// Bytes of lines ahead of it.
    preamble: usize,
    session_id: Option<Digest>,
    established: bool,
    strict: bool,
    /// For the receiving half, once NEWKEYS has come.
    new_input_key: Option<Key>,
}

impl Transport {
    /// Sends the identification and, without waiting for the server's, KEXINIT.
    pub(super) fn new(trust: Trust, random: SystemRandom) -> Result<Self, Error> {
        let mut output = Output::new(random.clone());
        output.put_raw(IDENTIFICATION.as_bytes());
        output.put_raw(b"\r\n");
        let offer = Offer { cookie: cookie(&random)?, first: true };
        Ok(Transport {
            output,
            trust,
            random,
            kex: Kex::Offered { offer, sent: false },
            server: Box::default(),
            preamble: 0,
            session_id: None,
            established: false,
            strict: false,
            new_input_key: None,
        })
    }

    /// As if the first key exchange were done, without encryption: what lies behind it can be tested with packets written by hand.
    #[cfg(any(test, fuzzing))]
    pub(super) fn open_plain(trust: Trust) -> Result<Self, Error> {
        let mut transport = Self::new(trust, SystemRandom::new())?;
        transport.output = Output::new(SystemRandom::new());
        transport.finish();
        Ok(transport)
    }

    /// The exchange hash of the first key exchange.
    pub(super) fn session_id(&self) -> Option<&Digest> {
        self.session_id.as_ref()
    }

    /// Whether the first key exchange is done, on both sides.
    pub(super) fn is_established(&self) -> bool {
        self.established
    }

    /// Whether a key exchange is going on.
    pub(super) fn is_exchanging(&self) -> bool {
        !matches!(self.kex, Kex::Idle)
    }

    /// Whether messages other than those of the key exchange may be sent.
    pub(super) fn may_send(&self) -> bool {
        match &self.kex {
            Kex::Idle => true,
            Kex::Offered { offer, sent } => !offer.first && !sent,
            Kex::Exchanging(_) => false,
            Kex::Switching(switch) => switch.seal.is_none(),
        }
    }

    /// Whether the server may send messages other than those of the key exchange.
    pub(super) fn may_receive(&self) -> bool {
        match &self.kex {
            Kex::Idle => true,
            Kex::Offered { offer, .. } => !offer.first,
            Kex::Exchanging(_) => false,
            Kex::Switching(switch) => switch.open.is_none(),
        }
    }

    /// Whether every message but those of the key exchange breaks strict key exchange now: throughout the first exchange.
    pub(super) fn forbids_generic(&self) -> bool {
        self.strict && !self.established && !self.may_receive()
    }

    /// Starts a key exchange unless one is going on. Whether it did.
    pub(super) fn rekey(&mut self) -> Result<bool, Error> {
        if self.is_exchanging() {
            return Ok(false);
        }
        self.kex = Kex::Offered { offer: Offer { cookie: cookie(&self.random)?, first: false }, sent: false };
        Ok(true)
    }

    /// The receiving half's new key and whether its sequence number starts at 0 again.
    pub(super) fn take_input_key(&mut self) -> Option<(Key, bool)> {
        self.new_input_key.take().map(|key| (key, self.strict))
    }

    /// Looks for the server's identification in `received`: how many bytes to drop, and whether it is complete.
    pub(super) fn identification(&mut self, received: &[u8]) -> Result<(usize, bool), Error> {
        const NOT_SSH: Error = Error::Identification("its first lines are no SSH identification");
        let mut dropped = 0;
        loop {
            let rest = received.get(dropped..).unwrap_or_default();
            let ssh = rest.starts_with(b"SSH-");
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                let limit = if ssh { IDENTIFICATION_MAX } else { PREAMBLE_MAX };
                return if rest.len() > limit { Err(NOT_SSH) } else { Ok((dropped, false)) };
            };
            let line = rest.get(..end).unwrap_or_default();
            dropped += end + 1;
            if !ssh {
                // RFC 4253 section 4.2: other lines may come first.
                self.preamble += end + 1;
                if self.preamble > PREAMBLE_MAX {
                    return Err(NOT_SSH);
                }
                continue;
            }
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if end >= IDENTIFICATION_MAX {
                return Err(Error::Identification("its identification is too long"));
            }
            if !line.starts_with(b"SSH-2.0-") && !line.starts_with(b"SSH-1.99-") {
                return Err(Error::Identification("it does not speak protocol version 2.0"));
            }
            if !line.iter().all(|byte| (0x20..0x7f).contains(byte)) {
                return Err(Error::Identification("its identification has unprintable characters"));
            }
            self.server = line.into();
            return Ok((dropped, true));
        }
    }

    /// Handles a message of the class Kex, and the one that a wrong guess makes void. `unix` is in seconds since 1970.
    pub(super) fn handle(&mut self, payload: &[u8], sequence: u32, unix: u64) -> Result<(), Error> {
        let number = payload.first().copied().unwrap_or_default();
        match number {
            msg::KEXINIT => self.kexinit(payload, sequence),
            msg::KEX_ECDH_REPLY => self.reply(payload, unix),
            msg::NEWKEYS => self.newkeys(payload),
            _ => Err(Error::OutOfPhase(number, "which only a client sends")),
        }
    }

    /// Whether this message is the server's wrong guess, which is to be ignored (RFC 4253 section 7). It is only one.
    pub(super) fn swallows_guess(&mut self) -> bool {
        match &mut self.kex {
            Kex::Exchanging(exchange) => core::mem::take(&mut exchange.ignore_guess),
            _ => false,
        }
    }

    fn kexinit(&mut self, payload: &[u8], sequence: u32) -> Result<(), Error> {
        let (offer, offer_sent) = match &self.kex {
            Kex::Idle => (Offer { cookie: cookie(&self.random)?, first: false }, false),
            Kex::Offered { offer, sent } => (*offer, *sent),
            _ => return Err(Error::OutOfPhase(msg::KEXINIT, "in the middle of a key exchange")),
        };
        let theirs = KexInit::parse(payload).map_err(malformed(msg::KEXINIT))?;
        let agreed = negotiate(&self.trust, &theirs)?;
        if offer.first {
            self.strict = agreed.strict;
            if self.strict && sequence != 0 {
                return Err(Error::StrictKex(msg::KEXINIT));
            }
        }
        let mut ours = Vec::with_capacity(1024);
        offer.encode(&self.trust, &mut ours);
        let mut transcript = Transcript::new(agreed.method, IDENTIFICATION.as_bytes(), &self.server);
        transcript.string(&ours);
        transcript.string(payload);
        let ephemeral = Ephemeral::generate(agreed.method, &self.random).map_err(|_| Error::Random)?;
        self.kex = Kex::Exchanging(Box::new(Exchange {
            offer,
            offer_sent,
            init_sent: false,
            agreed,
            ignore_guess: agreed.ignore_guess,
            transcript,
            ephemeral,
        }));
        Ok(())
    }

    fn reply(&mut self, payload: &[u8], unix: u64) -> Result<(), Error> {
        let exchange = match core::mem::replace(&mut self.kex, Kex::Idle) {
            Kex::Exchanging(exchange) if exchange.init_sent => *exchange,
            _ => return Err(Error::OutOfPhase(msg::KEX_ECDH_REPLY, "without a key exchange")),
        };
        let reply = KexEcdhReply::parse(payload).map_err(malformed(msg::KEX_ECDH_REPLY))?;
        let host_key = self.check_host(&reply, &exchange.agreed, unix)?;

        let Exchange { agreed, mut transcript, ephemeral, .. } = exchange;
        transcript.string(reply.host_key);
        transcript.string(ephemeral.public());
        transcript.string(reply.server_public);
        let secret = ephemeral.agree(reply.server_public).map_err(|_| Error::KeyExchange)?;
        let source = transcript.finish(secret);
        host_key
            .verify(source.exchange_hash().as_ref(), reply.signature, Some(agreed.host_key.signature))
            .map_err(Error::HostSignature)?;

        let session_id = *self.session_id.get_or_insert(*source.exchange_hash());
        let key = |cipher, iv, key| Key::new(cipher, &source.material(cipher, session_id.as_ref(), iv, key));
        let seal = key(agreed.client_to_server, b'A', b'C').ok_or(Error::Internal("key of the output"))?;
        let open = key(agreed.server_to_client, b'B', b'D').ok_or(Error::Internal("key of the input"))?;
        self.kex = Kex::Switching(Box::new(Switch { seal: Some(seal), open: Some(open) }));
        Ok(())
    }

    /// The key that must have signed the exchange hash, once it is clear that it is the host's.
    fn check_host<'a>(&self, reply: &KexEcdhReply<'a>, agreed: &Agreed, unix: u64) -> Result<PublicKey<'a>, Error> {
        let key = if agreed.host_key.certificate {
            let certificate = Certificate::from_blob(reply.host_key).map_err(Error::HostCertificate)?;
            certificate.check_host(&self.trust.authorities, &self.trust.names, unix).map_err(Error::HostCertificate)?;
            certificate.key
        } else {
            match &self.trust.pinned {
                Some(pinned) if pinned.blob() == reply.host_key => {}
                _ => return Err(Error::WrongHostKey),
            }
            PublicKey::from_blob(reply.host_key).map_err(Error::HostSignature)?
        };
        Ok(key)
    }

    fn newkeys(&mut self, payload: &[u8]) -> Result<(), Error> {
        NewKeys::parse(payload).map_err(malformed(msg::NEWKEYS))?;
        match &mut self.kex {
            Kex::Switching(switch) if switch.open.is_some() => {
                self.new_input_key = switch.open.take();
                if switch.seal.is_none() {
                    self.finish();
                }
                Ok(())
            }
            _ => Err(Error::OutOfPhase(msg::NEWKEYS, "without a key exchange")),
        }
    }

    fn finish(&mut self) {
        self.kex = Kex::Idle;
        self.established = true;
    }

    /// Writes what the key exchange owes, as far as there is room.
    pub(super) fn pump(&mut self) {
        loop {
            match &mut self.kex {
                Kex::Offered { offer, sent } if !*sent => {
                    *sent = self.output.packet(|writer| offer.encode(&self.trust, writer));
                    return;
                }
                Kex::Exchanging(exchange) if !exchange.offer_sent => {
                    let offer = exchange.offer;
                    exchange.offer_sent = self.output.packet(|writer| offer.encode(&self.trust, writer));
                    if !exchange.offer_sent {
                        return;
                    }
                }
                Kex::Exchanging(exchange) if !exchange.init_sent => {
                    let init = KexEcdhInit { client_public: exchange.ephemeral.public() };
                    exchange.init_sent = self.output.packet(|writer| init.encode(writer));
                    return;
                }
                Kex::Switching(switch) if switch.seal.is_some() => {
                    if self.output.packet(|writer| NewKeys {}.encode(writer))
                        && let Some(key) = switch.seal.take()
                    {
                        self.output.set_key(key, self.strict);
                        if switch.open.is_none() {
                            self.finish();
                        }
                    }
                    return;
                }
                _ => return,
            }
        }
    }
}

fn cookie(random: &SystemRandom) -> Result<[u8; 16], Error> {
    let mut cookie = [0; 16];
    random.fill(&mut cookie).map_err(|_| Error::Random)?;
    Ok(cookie)
}
