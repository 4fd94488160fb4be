//! What `hostrun-remote` does: it talks to image registries for a store, which believes nothing it says.
//!
//! Started by `hostrun` for one image, with one socket ([`wire`]). It lives in three parts, and never goes
//! back: [`settings`] reads configuration, certificates and credentials with the rights of its caller;
//! [`confinement`] drops these rights, the file system and most of the kernel; [`conversation`] talks to the
//! network. It holds no byte of the store and cannot reach one.
//!
//! [`wire`]: hostrun_image_store::registry::wire

#![forbid(unsafe_code)]
#![allow(
    rustdoc::private_intra_doc_links,
    reason = "for those who read the code: others get one function"
)]

mod address;
mod challenge;
mod confinement;
mod conversation;
mod endpoint;
mod exchange;
mod failure;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod pace;
mod settings;
mod token;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use hostrun_image_store::registry::wire::{self, Kind, Purpose, Ready, Setup};

use failure::Failure;

/// Serves whoever is at the other end of standard input, until that is gone.
///
/// # Errors
/// When standard input is no socket of a store's, or nobody listens any more.
pub fn serve() -> std::io::Result<()> {
    confinement::close_inherited();
    let control: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned()?;
    let Some((setup, _)) = wire::listen::<Setup>(&control)? else {
        return Ok(());
    };
    match prepare(&setup) {
        Ok((session, ready)) => {
            wire::send_value(&control, Kind::Head, &ready)?;
            match session {
                Some(session) => conversation::serve(&control, &Arc::new(session)),
                None => Ok(()),
            }
        }
        Err(failure) => wire::send_value(&control, Kind::Trouble, &failure.trouble),
    }
}

/// All that needs the rights of the caller, and then the end of them.
fn prepare(setup: &Setup) -> Result<(Option<conversation::Session>, Ready), Failure> {
    if matches!(setup.purpose, Purpose::Keep | Purpose::Forget) {
        settings::keeping::change(setup)?;
        let ready = Ready {
            image: setup.image.clone(),
            warnings: vec![],
        };
        return Ok((None, ready));
    }
    let settings = settings::read(setup)?;
    let ready = Ready {
        image: settings.image.clone(),
        warnings: settings.warnings.clone(),
    };
    confinement::enter()?;
    Ok((Some(conversation::Session::new(settings, setup)), ready))
}
