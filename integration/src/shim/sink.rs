//! Who plays containerd to a shim: takes its events, or does not.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

use super::client::{frame, next_frame};
use super::message::Decoded;

/// An event that came.
#[derive(Clone, Debug)]
pub struct Told {
    /// As `/tasks/exit`.
    pub topic: String,
    /// What it says.
    pub event: Decoded,
}

#[derive(Debug, Default)]
struct Shared {
    told: Mutex<Vec<Told>>,
    /// Reads, but answers nobody.
    stalled: AtomicBool,
    /// How many events are refused before one is taken.
    refusing: AtomicUsize,
    over: AtomicBool,
}

/// A socket that takes events.
#[derive(Debug)]
pub struct Sink {
    path: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// Listens in a folder.
    ///
    /// # Errors
    /// When it cannot.
    pub fn new(dir: &Path) -> Result<Self> {
        let mut sink = Self {
            path: dir.join("events"),
            shared: Arc::default(),
            thread: None,
        };
        sink.come_back()?;
        Ok(sink)
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Listens, after it was gone.
    ///
    /// # Errors
    /// When it cannot.
    pub fn come_back(&mut self) -> Result<()> {
        let listener = UnixListener::bind(&self.path)?;
        listener.set_nonblocking(true)?;
        self.shared.over.store(false, Ordering::SeqCst);
        let shared = Arc::clone(&self.shared);
        self.thread = Some(std::thread::spawn(move || serve(&listener, &shared)));
        Ok(())
    }

    /// Is gone, as a daemon that was killed: all connections end.
    pub fn go(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_default();
        }
        drop(std::fs::remove_file(&self.path));
    }

    /// Reads and does not answer, or does again.
    pub fn stall(&self, stalled: bool) {
        self.shared.stalled.store(stalled, Ordering::SeqCst);
    }

    /// Refuses so many events.
    pub fn refuse(&self, count: usize) {
        self.shared.refusing.store(count, Ordering::SeqCst);
    }

    /// All that came and was taken, in order.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        let told = self.shared.told.lock();
        told.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The topics of one container, `create` for `/tasks/create`, in order.
    #[must_use]
    pub fn topics(&self, id: &str) -> Vec<String> {
        let own = self
            .told()
            .into_iter()
            .filter(|told| told.event.text(1) == id);
        own.map(|told| told.topic.trim_start_matches("/tasks/").to_owned())
            .collect()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.go();
    }
}

fn serve(listener: &UnixListener, shared: &Arc<Shared>) {
    let mut hands = Vec::new();
    while !shared.over.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((socket, _)) => {
                let shared = Arc::clone(shared);
                hands.push(std::thread::spawn(move || {
                    // a shim that ends is no mistake of the test's
                    drop(attend(socket, &shared));
                }));
            }
            Err(_nobody) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    for hand in hands {
        hand.join().unwrap_or_default();
    }
}

fn attend(mut socket: UnixStream, shared: &Shared) -> Result<()> {
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let mut read = Vec::new();
    while !shared.over.load(Ordering::SeqCst) {
        let mut buffer = [0; 4096];
        match socket.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => read.extend(buffer.iter().take(length)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        }
        while let Some((stream, _, body)) = next_frame(&mut read)? {
            if shared.stalled.load(Ordering::SeqCst) {
                continue;
            }
            let refusing = &shared.refusing;
            let less = |count: usize| count.checked_sub(1);
            if refusing
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
                .is_ok()
            {
                // code 14: unavailable
                let refusal = [0x0a, 2, 8, 14];
                socket.write_all(&frame(stream, 2, &refusal)?)?;
                continue;
            }
            let envelope = Decoded::read(&body)?.message(3)?.message(1)?;
            let told = Told {
                topic: envelope.text(3),
                event: envelope.message(4)?.message(2)?,
            };
            let list = shared.told.lock();
            list.unwrap_or_else(PoisonError::into_inner).push(told);
            socket.write_all(&frame(stream, 2, &[])?)?;
        }
    }
    Ok(())
}
