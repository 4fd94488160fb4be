//! What is told while an image comes from a registry, or goes to one: bars, lines, or JSON, on standard error.

use crate::args::registries::How;
use crate::cell::Walls;
use crate::{output, report, table};
use hostrun_image_store::{LoadOptions, Platform, Progress};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a line changes at most.
const EVERY: Duration = Duration::from_millis(100);
/// Cells of a bar.
const WIDTH: u64 = 24;

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Bars,
    Lines,
    Json,
    Nothing,
}

/// What is told; clones are of the same board.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    form: Form,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    blobs: Vec<Blob>,
    /// Lines on the terminal that are ours to write over.
    drawn: usize,
    told: Option<Instant>,
}

/// A blob on its way.
#[derive(Debug)]
struct Blob {
    name: String,
    size: u64,
    bytes: u64,
    /// Bytes and time when it began: what was there before says nothing about speed.
    first: u64,
    since: Instant,
    told: Option<Instant>,
}

impl Board {
    pub(crate) fn new(how: How, quiet: bool) -> Self {
        let form = match how {
            _ if quiet => Form::Nothing,
            How::Auto if std::io::stderr().is_terminal() => Form::Bars,
            How::Auto | How::Plain => Form::Lines,
            How::Tty => Form::Bars,
            How::Json => Form::Json,
        };
        Self {
            form,
            state: Arc::default(),
        }
    }

    /// Options of a pull that is told here.
    pub(crate) fn options(&self, platform: Option<Platform>) -> LoadOptions {
        let board = self.clone();
        let options = LoadOptions::default().with_cell(Walls);
        let options = options.with_progress(move |progress| board.tell(progress));
        match platform {
            Some(platform) => options.with_platform(platform),
            None => options,
        }
    }

    /// Tells a step.
    pub(crate) fn tell(&self, progress: &Progress<'_>) {
        match *progress {
            Progress::Warning { diff_id, text } => {
                self.leave();
                report::warn(&format!("layer {}: {text}", diff_id.short()));
            }
            Progress::Fetched {
                digest,
                bytes,
                size,
            } => self.moved("fetching", digest.short(), bytes, size),
            Progress::Sent {
                digest,
                bytes,
                size,
            } => self.moved("sending", digest.short(), bytes, size),
            Progress::Elsewhere { digest } => {
                self.event(
                    "waiting",
                    digest.short(),
                    "another pull or load has it in work",
                );
            }
            Progress::There { digest } => {
                self.event("there", digest.short(), "the registry has it");
            }
            Progress::Waiting {
                digest,
                pause,
                cause,
            } => {
                let name = digest.map_or("image", |digest| digest.short());
                let cause = format!("again in {:.1} s: {cause}", pause.as_secs_f32());
                self.event("waiting", name, &report::one_line(&cause));
            }
            _ => {}
        }
    }

    /// Nothing more comes.
    pub(crate) fn end(&self) {
        if self.form == Form::Bars {
            let mut state = self.state();
            state.draw();
            state.drawn = 0;
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What follows on the terminal comes below the bars.
    fn leave(&self) {
        self.state().drawn = 0;
    }

    fn event(&self, status: &str, name: &str, text: &str) {
        match self.form {
            Form::Nothing => {}
            Form::Json => line(&json!({"status": status, "id": name, "message": text})),
            Form::Bars | Form::Lines => {
                self.leave();
                output::say(&format!("{name}: {text}"));
            }
        }
    }

    fn moved(&self, status: &str, name: &str, bytes: u64, size: u64) {
        if self.form == Form::Nothing {
            return;
        }
        let mut state = self.state();
        let now = Instant::now();
        let (index, is_new) = state.find(name, bytes, size, now);
        let Some(blob) = state.blobs.get_mut(index) else {
            return;
        };
        blob.bytes = bytes;
        let is_due = |told: Option<Instant>| told.is_none_or(|told| now - told >= EVERY);
        let is_end = bytes == size;
        match self.form {
            Form::Json if is_new || is_end || is_due(blob.told) => {
                blob.told = Some(now);
                let rate = blob.rate(now);
                line(&json!({
                    "status": status, "id": name, "current": bytes, "total": size, "rate": rate,
                }));
            }
            Form::Lines if is_end && blob.told.is_none() => {
                blob.told = Some(now);
                let (size, rate) = (table::size(size), table::size(blob.rate(now)));
                output::say(&format!("{name}: {size} ({rate}/s)"));
            }
            Form::Lines if is_new => {
                output::say(&format!("{name}: {status} {}", table::size(size)));
            }
            Form::Bars if is_due(state.told) || is_end => {
                state.told = Some(now);
                state.draw();
            }
            _ => {}
        }
    }
}

impl State {
    /// Where a blob is in the list, and whether it is new there.
    fn find(&mut self, name: &str, bytes: u64, size: u64, now: Instant) -> (usize, bool) {
        if let Some(index) = self.blobs.iter().position(|blob| blob.name == name) {
            return (index, false);
        }
        self.blobs.push(Blob {
            name: name.to_owned(),
            size,
            bytes,
            first: bytes,
            since: now,
            told: None,
        });
        (self.blobs.len() - 1, true)
    }

    /// Writes all bars over those of before, in one piece.
    fn draw(&mut self) {
        let now = Instant::now();
        let mut text = String::new();
        if self.drawn > 0 {
            text = format!("\x1b[{}A", self.drawn);
        }
        for blob in &self.blobs {
            text = format!("{text}\x1b[2K{}\n", blob.bar(now));
        }
        self.drawn = self.blobs.len();
        output::say_bytes(text.as_bytes());
    }
}

impl Blob {
    fn rate(&self, now: Instant) -> u64 {
        let millis = u64::try_from((now - self.since).as_millis()).unwrap_or(u64::MAX);
        let bytes = self.bytes.saturating_sub(self.first);
        bytes.saturating_mul(1000) / millis.max(1)
    }

    fn bar(&self, now: Instant) -> String {
        let full = self.bytes.saturating_mul(WIDTH) / self.size.max(1);
        let cells: String = (0..WIDTH)
            .map(|cell| if cell < full { '#' } else { '.' })
            .collect();
        let (bytes, size) = (table::size(self.bytes), table::size(self.size));
        let rate = table::size(self.rate(now));
        format!("{}  [{cells}]  {bytes} of {size}  {rate}/s", self.name)
    }
}

fn line(value: &Value) {
    output::say(&value.to_string());
}
