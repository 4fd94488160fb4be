//! `kubectl attach` and `kubectl exec`: the streams of a process over a WebSocket, the first byte of each message
//! saying which stream it is of.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Cri;
use super::message::Id;
use crate::runtime::PATIENCE;

/// Bytes for a process.
pub const STDIN: u8 = 0;
/// Bytes of a process.
pub const STDOUT: u8 = 1;
/// Bytes of a process.
pub const STDERR: u8 = 2;
/// How it ended, as JSON.
pub const END: u8 = 3;
/// The size of the terminal, as JSON.
pub const SIZE: u8 = 4;

const BINARY: u8 = 2;
const CLOSE: u8 = 8;

/// The streams of one process.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    told: Vec<(u8, Vec<u8>)>,
}

impl Stream {
    /// Opens what a call of `Attach` or `Exec` has prepared.
    ///
    /// # Errors
    /// When it is refused.
    pub fn open(cri: &Cri<'_>, method: &str, request: &impl prost::Message) -> Result<Self> {
        // an answer of one text, as a name is
        let prepared: Id = cri.call(method, request)?;
        let rest = prepared.id.strip_prefix("http://").context("no address")?;
        let (address, path) = rest.split_once('/').context("no path")?;
        let net = File::open(cri.world().path("/proc/1/ns/net"))?;
        let mut socket = connect(net, address.to_owned())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        write!(
            socket,
            "GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: aG9zdHJ1biBpcyBoZXJlIQ==\r\n\
             Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
        )?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte)?;
            head.extend(byte);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        ensure!(head.starts_with("HTTP/1.1 101"), "{head}");
        Ok(Self {
            socket,
            told: Vec::new(),
        })
    }

    /// Sends bytes on a stream.
    ///
    /// # Errors
    /// When nobody takes them.
    pub fn send(&mut self, stream: u8, bytes: &[u8]) -> Result<()> {
        let length = u8::try_from(bytes.len() + 1)?;
        ensure!(length < 126, "too long for a test");
        // a client's bytes are masked, with zeros here
        let mut frame = vec![0x80 | BINARY, 0x80 | length, 0, 0, 0, 0, stream];
        frame.extend(bytes);
        Ok(self.socket.write_all(&frame)?)
    }

    /// Reads until this has come on a stream; all that came on it.
    ///
    /// # Errors
    /// When it does not come.
    pub fn until(&mut self, stream: u8, wanted: &str) -> Result<String> {
        loop {
            let all = self.all(stream);
            if all.contains(wanted) {
                return Ok(all);
            }
            ensure!(
                self.next()?,
                "the end without {wanted:?}: {:?}",
                self.readable()
            );
        }
    }

    /// Reads to the end; what came on a stream.
    ///
    /// # Errors
    /// When there is no end.
    pub fn to_end(&mut self) -> Result<()> {
        while self.next()? {}
        Ok(())
    }

    /// All that has come on a stream.
    pub fn all(&self, stream: u8) -> String {
        let own = self.told.iter().filter(|(of, _)| *of == stream);
        let bytes: Vec<u8> = own.flat_map(|(_, bytes)| bytes.clone()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn readable(&self) -> Vec<(u8, String)> {
        let all = self.told.iter();
        all.map(|(of, bytes)| (*of, String::from_utf8_lossy(bytes).into_owned()))
            .collect()
    }

    /// One message; whether there was one.
    fn next(&mut self) -> Result<bool> {
        let mut head = [0; 2];
        if let Err(error) = self.socket.read_exact(&mut head) {
            if error.kind() == std::io::ErrorKind::UnexpectedEof {
                return Ok(false);
            }
            bail!("{error} after {:?}", self.readable());
        }
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.socket.read_exact(&mut length)?;
                usize::from(u16::from_be_bytes(length))
            }
            short @ 0..=125 => usize::from(short),
            other => bail!("a message of length {other}"),
        };
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body)?;
        if head[0] & 0x0f == CLOSE {
            return Ok(false);
        }
        if let Some((stream, bytes)) = body.split_first() {
            self.told.push((*stream, bytes.to_vec()));
        }
        Ok(true)
    }
}

/// A connection in another network: a thread that ends goes there for it.
fn connect(net: File, address: String) -> Result<TcpStream> {
    let thread = std::thread::spawn(move || -> Result<TcpStream> {
        move_into_link_name_space(net.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(TcpStream::connect(address)?)
    });
    let joined = thread.join();
    joined.unwrap_or_else(|_| bail!("the thread panicked"))
}
