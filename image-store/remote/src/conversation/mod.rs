//! Answers what the store asks, each question on a thread of its own.

mod document;
mod download;
mod outlet;
mod upload;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hostrun_image_store::registry::wire::{self, Ask, Fault, Purpose, Setup};
use ureq::http::Method;

use crate::endpoint::Endpoint;
use crate::exchange::{self, Question};
use crate::failure::{Again, Failure};
use crate::settings::Settings;
use outlet::Outlet;

/// Bytes of a thread's stack.
const STACK: usize = 512 * 1024;
/// The first pause; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause of our own.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest pause a registry may ask for.
const ASKED_MAX: Duration = Duration::from_mins(2);
/// How often a mirror is tried before the next place is.
const MIRROR_ATTEMPTS: u32 = 2;

/// One image, and the places that may have it.
#[derive(Debug)]
pub(crate) struct Session {
    endpoints: Vec<Endpoint>,
    version: String,
    purpose: Purpose,
    patience: Duration,
    attempts: u32,
    /// The place that answered last.
    preferred: AtomicUsize,
}

impl Session {
    /// Nothing is asked yet.
    pub(crate) fn new(settings: Settings, setup: &Setup) -> Self {
        let patience = setup.patience.max(Duration::from_millis(100));
        let places = settings.places.into_iter();
        let endpoints: Vec<Endpoint> = places.map(|place| Endpoint::new(place, patience)).collect();
        let actions = match setup.purpose {
            Purpose::Push => "pull,push",
            _ => "pull",
        };
        for endpoint in endpoints.iter().filter(|end| !end.repository().is_empty()) {
            endpoint.want(format!("repository:{}:{actions}", endpoint.repository()));
        }
        Self {
            endpoints,
            version: settings.version,
            purpose: setup.purpose,
            patience,
            attempts: setup.attempts.max(1),
            preferred: AtomicUsize::new(0),
        }
    }

    /// The places to ask, the one that answered before first. What a mirror is for goes by how the image was
    /// asked for, with all that belongs to it.
    fn order(&self) -> Vec<usize> {
        let by_digest = self.version.contains(':');
        let preferred = self.preferred.load(Ordering::Relaxed);
        let mut order: Vec<usize> = (0..self.endpoints.len()).collect();
        order.sort_by_key(|index| *index != preferred);
        order.retain(|index| {
            let endpoint = self.endpoints.get(*index);
            endpoint.is_some_and(|endpoint| endpoint.serves(by_digest))
        });
        order
    }

    /// Asks one place after the other, each more than once where that may help, until one answers.
    ///
    /// A mirror that says that it does not have something is believed where nobody after it can be reached: a host may
    /// know nothing but its mirrors, and signatures are asked for by names that there need not be.
    fn persist<T>(
        &self,
        outlet: &Outlet,
        mut act: impl FnMut(&Endpoint, &mut u32) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let order = self.order();
        let mut failures: Vec<Failure> = Vec::new();
        for (place, index) in order.iter().enumerate() {
            let Some(endpoint) = self.endpoints.get(*index) else {
                continue;
            };
            let is_answered = failures.iter().any(is_absence);
            let most = if place + 1 == order.len() && !is_answered {
                self.attempts
            } else {
                self.attempts.min(MIRROR_ATTEMPTS)
            };
            match Self::insist(endpoint, most, outlet, &mut act) {
                Ok(done) => {
                    self.preferred.store(*index, Ordering::Relaxed);
                    return Ok(done);
                }
                Err(failure) if outlet.is_closed() => return Err(failure),
                Err(failure) => failures.push(failure),
            }
        }
        Err(outcome(failures))
    }

    /// Asks one place.
    fn insist<T>(
        endpoint: &Endpoint,
        most: u32,
        outlet: &Outlet,
        act: &mut impl FnMut(&Endpoint, &mut u32) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut tries = 0;
        loop {
            let failure = match act(endpoint, &mut tries) {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            if failure.again == Again::Now {
                continue;
            }
            tries += 1;
            let pause = match failure.again {
                Again::Never | Again::Now => return Err(failure),
                Again::After(asked) if asked > ASKED_MAX => {
                    let cause = format!("and it asks us to come back in {} s", asked.as_secs());
                    let mut failure = failure;
                    failure.trouble.cause = format!("{}, {cause}", failure.trouble.cause);
                    return Err(failure);
                }
                Again::After(asked) => asked.max(PAUSE),
                Again::Soon => {
                    let doubled = PAUSE.saturating_mul(1 << tries.saturating_sub(1).min(10));
                    doubled.min(PAUSE_MAX)
                }
            };
            if tries >= most || outlet.is_closed() {
                return Err(failure);
            }
            outlet.wait(pause, &failure.trouble.cause)?;
            std::thread::sleep(pause);
        }
    }

    fn answer(&self, question: &Ask, file: Option<&File>, outlet: &Outlet) -> Result<(), Failure> {
        let no_file = || Failure::new(Fault::Invalid, "no file to send");
        let fits = match question {
            Ask::Manifest(_) | Ask::Blob { .. } => self.purpose != Purpose::Login,
            Ask::Login => self.purpose == Purpose::Login,
            Ask::Exists { .. } | Ask::Upload { .. } | Ask::Publish { .. } => {
                self.purpose == Purpose::Push
            }
        };
        // Who asks may be the process that unpacks what strangers made: it gets what a pull gets.
        if !fits {
            return Err(Failure::invalid("this was not what it was started for"));
        }
        match question {
            Ask::Manifest(which) => document::manifest(self, which, outlet),
            Ask::Blob {
                digest,
                size,
                offset,
            } => download::blob(self, digest, *size, *offset, outlet),
            Ask::Login => self.persist(outlet, |endpoint, _tries| {
                let question = Question::new(Method::GET, endpoint.at("")?);
                let response = exchange::ask(endpoint, &question)?;
                match response.status().as_u16() {
                    200 => Ok(()),
                    _ => Err(exchange::refusal(response).at(endpoint.name())),
                }
            }),
            Ask::Exists { digest, mount } => upload::exists(self, digest, mount.as_deref(), outlet),
            Ask::Upload {
                digest,
                size,
                mount,
            } => {
                let file = file.ok_or_else(no_file)?;
                upload::blob(self, digest, *size, mount.as_deref(), file, outlet)
            }
            Ask::Publish {
                media_type,
                digest,
                size,
            } => {
                let file = file.ok_or_else(no_file)?;
                upload::manifest(self, media_type, digest, *size, file, outlet)
            }
        }
    }
}

fn is_absence(failure: &Failure) -> bool {
    failure.trouble.fault == Fault::NotFound
}

/// What became of asking several places: the last word, but for one that is only silence. What the others said
/// is told as well, for nobody would hear of a mirror that does not work.
fn outcome(mut failures: Vec<Failure>) -> Failure {
    let causes = failures.iter().map(|failure| failure.trouble.cause.clone());
    let told: Vec<String> = causes.collect();
    let Some(mut last) = failures.pop() else {
        return Failure::invalid("no place to ask");
    };
    if last.trouble.fault == Fault::Network
        && let Some(answer) = failures.into_iter().find(is_absence)
    {
        last = answer;
    }
    last.trouble.cause = told.join("; ");
    last
}

/// Answers until nobody asks any more. Whoever asked is then gone, and so are we, whatever still runs.
///
/// # Errors
/// When the store breaks the rules.
pub(crate) fn serve(control: &OwnedFd, session: &Arc<Session>) -> io::Result<()> {
    while let Some((question, descriptors)) = wire::listen::<Ask>(control.as_fd())? {
        let mut descriptors = descriptors.into_iter();
        let Some(socket) = descriptors.next() else {
            continue;
        };
        let file = descriptors.next().map(File::from);
        let session = Arc::clone(session);
        let answer = move || {
            let outlet = Outlet::new(socket);
            let done = session.answer(&question, file.as_ref(), &outlet);
            outlet.close(done);
        };
        // Without a thread the socket is closed, and the store knows.
        std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(answer)
            .map(drop)
            .unwrap_or_default();
    }
    Ok(())
}
