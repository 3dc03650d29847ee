//! The other end: a server in memory that does what it is told, right or wrong. It shares the packet layer with the client;
//! whether both are right is for the interoperation tests to say.

use crate::keys::{Certificate, HOST, key};
use edge_gateway::ssh::cipher::{Cipher, Key};
use edge_gateway::ssh::kex::{Ephemeral, KeySource, Method, Transcript};
use edge_gateway::ssh::key::{PublicKey, SignatureAlgorithm};
use edge_gateway::ssh::msg::{self, *};
use edge_gateway::ssh::packet::{Input, Output};
use edge_gateway::ssh::wire::{NameList, Reader, Sink};
use ring::rand::SystemRandom;

const IDENTIFICATION: &str = "SSH-2.0-TestServer";

/// How the server behaves.
pub struct Behaviour {
    pub preamble: &'static str,
    pub identification: &'static str,
    pub kex: String,
    pub host_key_algorithms: String,
    pub ciphers: &'static str,
    pub compression: &'static str,
    /// The blob that is presented as host key.
    pub host_key: Vec<u8>,
    /// The algorithm name in the signature of the exchange hash.
    pub signature_name: Option<&'static str>,
    /// Flip a bit of the signature of the exchange hash.
    pub bad_signature: bool,
    /// Sent behind KEXINIT in the first key exchange, before anything else.
    pub after_kexinit: Option<Vec<u8>>,
    /// Announce `first_kex_packet_follows` and send this as the guess.
    pub guess: Option<Vec<u8>>,
    /// The names of `server-sig-algs`, if an EXT_INFO is to be sent.
    pub sig_algs: Option<&'static str>,
    pub banner: Option<&'static str>,
    pub accept_user: bool,
    /// A payload sent instead of the key exchange reply.
    pub instead_of_reply: Option<Vec<u8>>,
    /// Sent ahead of KEXINIT.
    pub before_kexinit: Option<Vec<u8>>,
}

impl Default for Behaviour {
    fn default() -> Self {
        let methods: Vec<_> = Method::ALL.iter().flat_map(|method| method.names()).copied().collect();
        Behaviour {
            preamble: "",
            identification: IDENTIFICATION,
            // The hybrid method needs a server's half of ML-KEM: it is tested against real peers.
            kex: methods.into_iter().filter(|name| !name.starts_with("mlkem")).collect::<Vec<_>>().join(",")
                + ",ext-info-s,kex-strict-s-v00@openssh.com",
            host_key_algorithms: "ssh-ed25519-cert-v01@openssh.com".into(),
            ciphers: "aes256-gcm@openssh.com,aes128-gcm@openssh.com,chacha20-poly1305@openssh.com",
            compression: "none",
            host_key: Certificate::host().blob(),
            signature_name: None,
            bad_signature: false,
            after_kexinit: None,
            guess: None,
            sig_algs: Some("ssh-ed25519,rsa-sha2-512"),
            banner: None,
            accept_user: true,
            instead_of_reply: None,
            before_kexinit: None,
        }
    }
}

enum Exchange {
    Idle,
    /// Our KEXINIT payload is out.
    Offered(Vec<u8>),
    /// Both KEXINITs are known.
    Running {
        ours: Vec<u8>,
        theirs: Vec<u8>,
    },
    /// The reply is out; the key for what the client sends.
    Replied(Key),
}

pub struct Server {
    pub input: Input,
    pub output: Output,
    behaviour: Behaviour,
    client: Option<Vec<u8>>,
    exchange: Exchange,
    session_id: Option<Vec<u8>>,
    strict: bool,
    pub authenticated: bool,
    /// What the client sent, as far as it is not for the handshake.
    pub received: Vec<Vec<u8>>,
    /// Payloads to be sent as soon as no key exchange is going on.
    queue: std::collections::VecDeque<Vec<u8>>,
    pub exchanges: usize,
}

impl Server {
    pub fn new(behaviour: Behaviour) -> Self {
        let mut server = Server {
            input: Input::new(),
            output: Output::new(SystemRandom::new()),
            behaviour,
            client: None,
            exchange: Exchange::Idle,
            session_id: None,
            strict: false,
            authenticated: false,
            received: Vec::new(),
            queue: Default::default(),
            exchanges: 0,
        };
        server.output.put_raw(server.behaviour.preamble.as_bytes());
        server.output.put_raw(server.behaviour.identification.as_bytes());
        server.output.put_raw(b"\r\n");
        if let Some(payload) = server.behaviour.before_kexinit.take() {
            server.put(&payload);
        }
        server.rekey();
        server
    }

    /// Sends KEXINIT, unless it is out.
    pub fn rekey(&mut self) {
        if !matches!(self.exchange, Exchange::Idle) {
            return;
        }
        let first = self.session_id.is_none();
        let ciphers = NameList(self.behaviour.ciphers);
        let mut kexinit = Vec::new();
        KexInit {
            cookie: [5; 16],
            kex_algorithms: NameList(&self.behaviour.kex),
            server_host_key_algorithms: NameList(&self.behaviour.host_key_algorithms),
            encryption_client_to_server: ciphers,
            encryption_server_to_client: ciphers,
            mac_client_to_server: NameList(""),
            mac_server_to_client: NameList(""),
            compression_client_to_server: NameList(self.behaviour.compression),
            compression_server_to_client: NameList(self.behaviour.compression),
            languages_client_to_server: NameList(""),
            languages_server_to_client: NameList(""),
            first_kex_packet_follows: first && self.behaviour.guess.is_some(),
            reserved: 0,
        }
        .encode(&mut kexinit);
        self.put(&kexinit);
        self.exchange = Exchange::Offered(kexinit);
        if first {
            for payload in [self.behaviour.guess.take(), self.behaviour.after_kexinit.take()].into_iter().flatten() {
                self.put(&payload);
            }
        }
    }

    /// Writes a packet now, whatever the state.
    pub fn put(&mut self, payload: &[u8]) {
        assert!(self.output.packet(|writer| writer.put(payload)), "the test server's output is full");
    }

    /// Sends a message as soon as the protocol allows it.
    pub fn send<'a>(&mut self, message: impl Message<'a>) {
        let mut payload = Vec::new();
        message.encode(&mut payload);
        self.queue.push_back(payload);
        self.flush();
    }

    pub fn flush(&mut self) {
        while matches!(self.exchange, Exchange::Idle)
            || (self.exchanges > 0 && matches!(self.exchange, Exchange::Replied(_)))
        {
            // What a key exchange needs must always fit behind it.
            let fits = self.queue.front().is_some_and(|payload| payload.len() + 2048 <= self.output.payload_room());
            if !fits {
                return;
            }
            let payload = self.queue.pop_front().unwrap();
            self.put(&payload);
        }
    }

    /// Whether everything given to [`Server::send`] has been written.
    pub fn is_flushed(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes bytes from the client.
    pub fn receive(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let space = self.input.space();
            let n = space.len().min(bytes.len());
            space[..n].copy_from_slice(&bytes[..n]);
            self.input.filled(n);
            bytes = &bytes[n..];
            self.process();
        }
    }

    fn process(&mut self) {
        if self.client.is_none() {
            let raw = self.input.raw();
            let Some(end) = raw.iter().position(|byte| *byte == b'\n') else { return };
            self.client = Some(raw[..end - 1].to_vec());
            self.input.consume_raw(end + 1);
        }
        while let Some((_, payload)) = self.input.next_packet().expect("the client's packets are sound") {
            let payload = payload.to_vec();
            self.handle(payload);
        }
    }

    fn handle(&mut self, payload: Vec<u8>) {
        match payload[0] {
            msg::KEXINIT => {
                self.rekey();
                let Exchange::Offered(ours) = std::mem::replace(&mut self.exchange, Exchange::Idle) else {
                    panic!("KEXINIT in the middle of a key exchange");
                };
                if self.session_id.is_none() {
                    let strict =
                        KexInit::parse(&payload).unwrap().kex_algorithms.contains("kex-strict-c-v00@openssh.com");
                    self.strict = strict && self.behaviour.kex.contains("kex-strict-s");
                }
                self.exchange = Exchange::Running { ours, theirs: payload };
            }
            msg::KEX_ECDH_INIT => self.reply(&payload),
            msg::NEWKEYS => {
                let Exchange::Replied(key) = std::mem::replace(&mut self.exchange, Exchange::Idle) else {
                    panic!("NEWKEYS without a key exchange");
                };
                self.input.set_key(key, self.strict);
                self.exchanges += 1;
                self.flush();
            }
            msg::SERVICE_REQUEST => self.send(ServiceAccept { service: b"ssh-userauth" }),
            msg::USERAUTH_REQUEST => self.authenticate(&payload),
            _ => self.received.push(payload),
        }
    }

    fn reply(&mut self, payload: &[u8]) {
        let init = KexEcdhInit::parse(payload).unwrap();
        let Exchange::Running { ours, theirs } = &self.exchange else { panic!("KEX_ECDH_INIT without KEXINIT") };
        let client = KexInit::parse(theirs).unwrap();
        let server = KexInit::parse(ours).unwrap();
        let method = client
            .kex_algorithms
            .names()
            .filter(|name| server.kex_algorithms.contains(name))
            .find_map(|name| Method::ALL.iter().copied().find(|method| method.names().contains(&name)))
            .unwrap();
        let cipher = |client: NameList<'_>, server: NameList<'_>| {
            let name = client.names().find(|name| server.contains(name)).unwrap();
            Cipher::preferred().into_iter().find(|cipher| cipher.name() == name).unwrap()
        };
        let to_server = cipher(client.encryption_client_to_server, server.encryption_client_to_server);
        let to_client = cipher(client.encryption_server_to_client, server.encryption_server_to_client);
        let ephemeral = Ephemeral::generate(method, &SystemRandom::new()).unwrap();
        let server_public = ephemeral.public().to_vec();
        let mut transcript =
            Transcript::new(method, self.client.as_ref().unwrap(), self.behaviour.identification.as_bytes());
        for part in [theirs, ours, &self.behaviour.host_key, &init.client_public.to_vec(), &server_public] {
            transcript.string(part);
        }
        let source = transcript.finish(ephemeral.agree(init.client_public).unwrap());
        let mut signature = key(HOST).sign(SignatureAlgorithm::Ed25519, source.exchange_hash().as_ref()).unwrap();
        if let Some(name) = self.behaviour.signature_name {
            let value = Reader::new(&signature[15..]).string().unwrap().to_vec();
            signature.clear();
            signature.string(name.as_bytes());
            signature.string(&value);
        }
        if self.behaviour.bad_signature {
            *signature.last_mut().unwrap() ^= 1;
        }
        if let Some(payload) = self.behaviour.instead_of_reply.take() {
            self.put(&payload);
            return;
        }
        let mut reply = Vec::new();
        KexEcdhReply { host_key: &self.behaviour.host_key, server_public: &server_public, signature: &signature }
            .encode(&mut reply);
        self.put(&reply);
        self.put(&[msg::NEWKEYS]);
        let first = self.session_id.is_none();
        let session_id = self.session_id.get_or_insert_with(|| source.exchange_hash().as_ref().to_vec()).clone();
        let derive =
            |source: &KeySource, cipher, iv, key| Key::new(cipher, &source.material(cipher, &session_id, iv, key));
        self.output.set_key(derive(&source, to_client, b'B', b'D').unwrap(), self.strict);
        self.exchange = Exchange::Replied(derive(&source, to_server, b'A', b'C').unwrap());
        if first && let Some(names) = self.behaviour.sig_algs {
            let mut pairs = Vec::new();
            pairs.string(b"server-sig-algs");
            pairs.string(names.as_bytes());
            let mut info = Vec::new();
            ExtInfo { count: 1, pairs: Rest(&pairs) }.encode(&mut info);
            self.put(&info);
        }
    }

    fn authenticate(&mut self, payload: &[u8]) {
        if let Some(text) = self.behaviour.banner {
            self.send(UserauthBanner { message: text.as_bytes(), language: b"" });
        }
        let request = UserauthRequest::parse(payload).unwrap();
        assert_eq!(
            (request.user, request.service, request.method),
            (&b"gateway"[..], &b"ssh-connection"[..], &b"publickey"[..])
        );
        let mut reader = Reader::new(request.specific.0);
        assert!(reader.boolean().unwrap());
        assert_eq!(reader.string().unwrap(), b"ssh-ed25519-cert-v01@openssh.com");
        let certificate = reader.string().unwrap();
        assert_eq!(certificate, Certificate::user().blob());
        let signature = reader.string().unwrap();
        let mut signed = Vec::new();
        signed.string(self.session_id.as_ref().unwrap());
        signed.put(&payload[..payload.len() - 4 - signature.len()]);
        let user = key(crate::keys::USER);
        PublicKey::from_blob(user.public_blob()).unwrap().verify(&signed, signature, None).unwrap();
        if self.behaviour.accept_user {
            self.authenticated = true;
            self.send(UserauthSuccess {});
        } else {
            self.send(UserauthFailure { can_continue: NameList("publickey,password"), partial_success: false });
        }
    }
}
