//! A connection to a service manager: its private socket, or the bus it is on.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::wire::{Call, FIXED, Kind, Message, Value, bytes_to_follow};

const BUS: &str = "org.freedesktop.DBus";

/// What a peer may say before it is one.
const MAX_LINE: usize = 4096;

/// A connection; nobody else uses it.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    deadline: Instant,
    /// What came while something else was waited for.
    signals: Vec<Message>,
}

/// What a method answered: the texts of its body, or the name and the text of an error.
pub(super) type Answer = std::result::Result<Vec<String>, (String, String)>;

/// Where a manager listens.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) path: PathBuf,
    /// A bus with many peers, or the manager alone.
    pub(super) shared: bool,
}

impl Bus {
    /// Connects to the first address where somebody listens, and proves who we are by the socket itself.
    ///
    /// # Errors
    /// The last one's.
    pub(super) fn connect(addresses: &[Address], timeout: Duration) -> Result<Self> {
        let mut last = Error::new(ErrorKind::NotFound, "no address");
        for address in addresses {
            match Self::to(address, timeout) {
                Ok(bus) => return Ok(bus),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// All that follows may take so long.
    pub(super) fn wait_for(&mut self, timeout: Duration) {
        self.deadline = Instant::now() + timeout;
    }

    fn to(address: &Address, timeout: Duration) -> Result<Self> {
        let stream = UnixStream::connect(&address.path)?;
        let mut bus = Self {
            stream,
            serial: 0,
            deadline: Instant::now() + timeout,
            signals: Vec::new(),
        };
        bus.authenticate()?;
        if address.shared {
            bus.join()?;
        }
        Ok(bus)
    }

    /// `EXTERNAL` without a name: the peer asks the kernel who we are, in whatever user namespace.
    ///
    /// The end goes out before the peer has agreed. Sent after that, it may lie beside the first call when systemd reads; it
    /// then takes both out of the socket, and does not look at the call before something else comes.
    fn authenticate(&mut self) -> Result<()> {
        self.send(b"\0AUTH EXTERNAL\r\n")?;
        let mut line = self.line()?;
        if line.starts_with(b"DATA") {
            self.send(b"DATA\r\nBEGIN\r\n")?;
            line = self.line()?;
        } else if line.starts_with(b"OK ") {
            self.send(b"BEGIN\r\n")?;
        }
        if !line.starts_with(b"OK ") {
            return Err(Error::from(ErrorKind::PermissionDenied));
        }
        Ok(())
    }

    fn line(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < MAX_LINE {
            let mut byte = [0];
            self.receive(&mut byte)?;
            line.extend(byte);
        }
        Ok(line)
    }

    /// Says hello to a bus, and asks for the manager's signals.
    fn join(&mut self) -> Result<()> {
        const WANTED: &str = "type='signal',sender='org.freedesktop.systemd1',\
            interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
        for (member, body) in [("Hello", vec![]), ("AddMatch", vec![Value::text(WANTED)])] {
            let call = Call {
                destination: BUS,
                path: "/org/freedesktop/DBus",
                interface: BUS,
                member,
                body: &body,
            };
            self.call(&call)?
                .map_err(|(name, text)| Error::other(format!("{name}: {text}")))?;
        }
        Ok(())
    }

    /// Calls a method and waits for its answer.
    ///
    /// # Errors
    /// `TimedOut`, or what the socket answers.
    pub(super) fn call(&mut self, call: &Call<'_>) -> Result<Answer> {
        self.serial += 1;
        let serial = self.serial;
        self.send(&call.to_bytes(serial))?;
        loop {
            let message = self.message()?;
            match message.kind {
                Kind::Return if message.reply_to == serial => return Ok(Ok(message.texts)),
                Kind::Error if message.reply_to == serial => {
                    let text = message.texts.into_iter().next().unwrap_or_default();
                    return Ok(Err((message.error, text)));
                }
                Kind::Signal => self.signals.push(message),
                _ => {}
            }
        }
    }

    /// Waits for a signal for which `wanted` has an answer; those that came meanwhile count.
    ///
    /// # Errors
    /// `TimedOut`, or what the socket answers.
    pub(super) fn signal<T>(&mut self, wanted: impl Fn(&Message) -> Option<T>) -> Result<T> {
        for message in std::mem::take(&mut self.signals) {
            if let Some(found) = wanted(&message) {
                return Ok(found);
            }
        }
        loop {
            let message = self.message()?;
            if message.kind == Kind::Signal
                && let Some(found) = wanted(&message)
            {
                return Ok(found);
            }
        }
    }

    fn message(&mut self) -> Result<Message> {
        let no_message = || Error::new(ErrorKind::InvalidData, "not a D-Bus message");
        let mut fixed = [0; FIXED];
        self.receive(&mut fixed)?;
        let rest = bytes_to_follow(&fixed).ok_or_else(no_message)?;
        let mut bytes = fixed.to_vec();
        bytes.resize(FIXED + rest, 0);
        self.receive(bytes.get_mut(FIXED..).unwrap_or_default())?;
        Message::parse(&bytes).ok_or_else(no_message)
    }

    fn left(&self) -> Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::from(ErrorKind::TimedOut));
        }
        Ok(Some(left))
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write_all(bytes).map_err(timed_out)
    }

    fn receive(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read_exact(bytes).map_err(timed_out)
    }
}

fn timed_out(error: Error) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock => Error::from(ErrorKind::TimedOut),
        _ => error,
    }
}

/// The machine's manager. The bus keeps a request while the manager reloads, which the manager's
/// private socket does not; but that one is there even where no bus runs.
pub(super) fn of_the_machine() -> Vec<Address> {
    let at = |path: &str, shared| Address {
        path: PathBuf::from(path),
        shared,
    };
    vec![
        at("/run/dbus/system_bus_socket", true),
        at("/run/systemd/private", false),
    ]
}

/// The caller's own manager, from the variables of its session.
pub(super) fn of_the_user() -> Vec<Address> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.filter(|dir| dir.is_absolute());
    let below = |name: &str, shared| {
        let path = runtime.as_deref().map(|dir: &Path| dir.join(name));
        path.map(|path| Address { path, shared })
    };
    let bus = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
    let named = bus
        .split([';', ','])
        .find_map(|part| part.strip_prefix("unix:path="));
    let named = named.map(|path| Address {
        path: PathBuf::from(path),
        shared: true,
    });
    [below("systemd/private", false), named, below("bus", true)]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// What arrives next, all at once.
    fn next(peer: &mut UnixStream) -> Vec<u8> {
        let mut bytes = vec![0; 256];
        let count = peer.read(&mut bytes).unwrap();
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn the_greeting_has_ended_before_the_peer_agrees() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let peer = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            assert_eq!(next(&mut peer), b"\0AUTH EXTERNAL\r\n");
            peer.write_all(b"DATA\r\n").unwrap();
            // nothing of it is left to come together with the first call
            assert_eq!(next(&mut peer), b"DATA\r\nBEGIN\r\n");
            peer.write_all(b"OK 0123\r\n").unwrap();
            assert_eq!(next(&mut peer), b"");
        });
        let address = Address {
            path,
            shared: false,
        };
        drop(Bus::connect(&[address], Duration::from_secs(20)).unwrap());
        peer.join().unwrap();
    }
}
