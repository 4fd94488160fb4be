//! A proxy that connects (RFC 9110, 9.3.6) and remembers whom it was asked for.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts one; it ends with the test.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let proxy = Self {
            port: listener.local_addr()?.port(),
            asked: Arc::default(),
        };
        let asked = Arc::clone(&proxy.asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let asked = Arc::clone(&asked);
                std::thread::spawn(move || connect(stream, &asked));
            }
        });
        Ok(proxy)
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The places it was asked for.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }
}

fn connect(mut stream: TcpStream, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split_whitespace();
    let place = match (words.next(), words.next()) {
        (Some("CONNECT"), Some(place)) => place.to_owned(),
        _ => return stream.write_all(b"HTTP/1.1 405 X\r\n\r\n"),
    };
    let mut line = String::from("x");
    while !line.trim().is_empty() {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let target = TcpStream::connect(&place)?;
    {
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(place);
    }
    stream.write_all(b"HTTP/1.1 200 X\r\n\r\n")?;
    let (mut there, mut here) = (target.try_clone()?, stream.try_clone()?);
    let back = std::thread::spawn(move || {
        io::copy(&mut there, &mut here).unwrap_or(0);
        here.shutdown(Shutdown::Both).unwrap_or_default();
    });
    io::copy(&mut reader, &mut &target)?;
    target.shutdown(Shutdown::Both)?;
    drop(back.join());
    Ok(())
}
