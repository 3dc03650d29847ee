//! What cannot be beaten: the ciphers alone, and the kernel alone, each on one thread.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use ring::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use testbed::process::Cpu;

/// Bytes of one TLS record, which is also what one SSH packet carries.
const RECORD: usize = 16 * 1024;

/// Bytes that both sides of a gateway can agree on in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cipher {
    Aes,
    ChaCha,
}

impl Cipher {
    pub(super) fn name(self) -> &'static str {
        match self {
            Cipher::Aes => "AES-256-GCM",
            Cipher::ChaCha => "ChaCha20-Poly1305",
        }
    }

    /// Its SSH name.
    pub(super) fn ssh(self) -> &'static str {
        match self {
            Cipher::Aes => "aes256-gcm@openssh.com",
            Cipher::ChaCha => "chacha20-poly1305@openssh.com",
        }
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Cipher::Aes => &AES_256_GCM,
            Cipher::ChaCha => &CHACHA20_POLY1305,
        }
    }
}

/// CPU seconds per GiB of one `ring` pass for TLS and one for SSH over each record, in place. With a `neighbour`, the same work
/// runs on another thread meanwhile, as client and relay do beside an agent: cores share more than it seems.
pub(super) fn two_passes(cipher: Cipher, time: Duration, neighbour: bool) -> io::Result<f64> {
    let beside = neighbour.then(|| thread::spawn(move || pass(cipher, time)));
    let own = pass(cipher, time);
    if let Some(beside) = beside {
        joined(beside)?;
    }
    own
}

fn pass(cipher: Cipher, time: Duration) -> io::Result<f64> {
    let key = || {
        let key = UnboundKey::new(cipher.algorithm(), &[7; 32]).map_err(|_| io::Error::other("ring refuses a key"))?;
        io::Result::Ok(LessSafeKey::new(key))
    };
    let (tls, ssh) = (key()?, key()?);
    let mut record = vec![1; RECORD];
    let (started, before) = (Instant::now(), Cpu::of_thread()?);
    let mut passes = 0u64;
    while started.elapsed() < time {
        for _ in 0..256 {
            for key in [&tls, &ssh] {
                let mut nonce = [0; 12];
                nonce[4..].copy_from_slice(&passes.to_be_bytes());
                let _tag = key
                    .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from([0; 5]), &mut record)
                    .map_err(|_| io::Error::other("ring refuses a record"))?;
            }
            passes += 1;
        }
    }
    let cpu = (Cpu::of_thread()? - before).total();
    Ok(cpu / (passes as f64 * RECORD as f64 / GIB))
}

fn joined<T>(thread: thread::JoinHandle<io::Result<T>>) -> io::Result<T> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
}

/// How the middle of a TCP relay can work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Middle {
    /// In the kernel, with `splice(2)`.
    Splice,
    /// Through a buffer of one record.
    Copy,
}

pub(super) const GIB: f64 = (1u64 << 30) as f64;

/// CPU seconds per GiB of a thread that moves bytes from one loopback connection to another.
pub(super) fn tcp(middle: Middle, bytes: u64) -> io::Result<f64> {
    let (mut source, mut from) = pair()?;
    let (mut to, mut sink) = pair()?;
    let sending = thread::spawn(move || -> io::Result<()> {
        let block = vec![1; 64 * 1024];
        for _ in 0..bytes / block.len() as u64 {
            source.write_all(&block)?;
        }
        Ok(())
    });
    let receiving = thread::spawn(move || -> io::Result<()> {
        let mut block = vec![1; 64 * 1024];
        while sink.read(&mut block)? > 0 {}
        Ok(())
    });
    let before = Cpu::of_thread()?;
    let moved = match middle {
        // Between sockets the standard library splices.
        Middle::Splice => io::copy(&mut from, &mut to)?,
        Middle::Copy => {
            let (mut block, mut moved) = (vec![0; RECORD], 0);
            loop {
                match from.read(&mut block)? {
                    0 => break moved,
                    count => {
                        to.write_all(&block[..count])?;
                        moved += count as u64;
                    }
                }
            }
        }
    };
    let cpu = (Cpu::of_thread()? - before).total();
    drop(to);
    joined(sending)?;
    joined(receiving)?;
    if moved < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(cpu / (bytes as f64 / GIB))
}

fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    Ok((near, far))
}
