//! What goes wrong, and whether it is worth another try.

use std::fmt::Display;
use std::io;
use std::time::Duration;

use hostrun_image_store::registry::wire::{Fault, Hint, Trouble};

/// Why something was not done.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) trouble: Trouble,
    pub(crate) again: Again,
}

/// Whether it may go better the next time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// The answer will be the same.
    Never,
    /// After a pause.
    Soon,
    /// After the pause that the registry asks for.
    After(Duration),
    /// At once, in another way; there is no third.
    Now,
}

impl Failure {
    pub(crate) fn new(fault: Fault, cause: impl Into<String>) -> Self {
        Self {
            trouble: Trouble {
                fault,
                cause: cause.into(),
                hint: None,
            },
            again: Again::Never,
        }
    }

    pub(crate) fn network(cause: impl Into<String>) -> Self {
        Self::new(Fault::Network, cause)
    }

    pub(crate) fn invalid(cause: impl Into<String>) -> Self {
        Self::new(Fault::Invalid, cause)
    }

    pub(crate) fn hint(mut self, hint: Hint) -> Self {
        self.trouble.hint = Some(hint);
        self
    }

    pub(crate) fn again(mut self, again: Again) -> Self {
        self.again = again;
        self
    }

    /// Says where it happened.
    pub(crate) fn at(mut self, place: impl Display) -> Self {
        self.trouble.cause = format!("{place}: {}", self.trouble.cause);
        self
    }
}

/// A failure of the client library.
pub(crate) fn of_request(error: &ureq::Error) -> Failure {
    match error {
        ureq::Error::Timeout(_) => Failure::network("no answer in time").again(Again::Soon),
        ureq::Error::HostNotFound => Failure::network("no such host"),
        ureq::Error::Rustls(error) => of_tls(error),
        ureq::Error::Io(error) => of_io(error),
        ureq::Error::Protocol(error) => {
            Failure::network(format!("no HTTP: {error}")).again(Again::Soon)
        }
        other => Failure::network(other.to_string()),
    }
}

/// A failure while a body was read, or a connection made.
pub(crate) fn of_io(error: &io::Error) -> Failure {
    if let Some(inner) = error.get_ref() {
        if let Some(inner) = inner.downcast_ref::<ureq::Error>() {
            return of_request(inner);
        }
        if let Some(inner) = inner.downcast_ref::<rustls::Error>() {
            return of_tls(inner);
        }
    }
    let cause = match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "the connection broke".to_owned()
        }
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer in time".to_owned(),
        _ => error.to_string(),
    };
    // What the library of C says of names; only this one may be another the next time.
    if let Some(said) = cause.strip_prefix("failed to lookup address information: ")
        && said != "Try again"
    {
        return Failure::network("no such host");
    }
    Failure::network(cause).again(Again::Soon)
}

fn of_tls(error: &rustls::Error) -> Failure {
    let failure = Failure::network(format!("TLS: {error}"));
    match error {
        rustls::Error::InvalidCertificate(_) => failure.hint(Hint::Certificate),
        rustls::Error::InvalidMessage(_) => failure.hint(Hint::Plain),
        _ => failure,
    }
}
