//! `hostrun-remote`: talks to image registries for a store, which believes nothing it says.
//!
//! Started by `hostrun` for one image, with one socket ([`wire`]). It lives in three parts, and never goes
//! back: [`settings`] reads configuration, certificates and credentials with the rights of its caller;
//! [`confinement`] drops these rights, the file system and most of the kernel; [`conversation`] talks to the
//! network. It holds no byte of the store and cannot reach one.
//!
//! [`wire`]: hostrun_image_store::registry::wire

#![forbid(unsafe_code)]

mod address;
mod challenge;
mod confinement;
mod conversation;
mod endpoint;
mod exchange;
mod failure;
mod pace;
mod settings;
mod token;

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;

use hostrun_image_store::registry::wire::{self, Kind, Purpose, Ready, Setup};

use failure::Failure;

/// Gives memory back in large pieces, and needs no locks of its own.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    confinement::close_inherited();
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever started us and is gone does not read this; a person does.
            let said = b"hostrun-remote is started by hostrun, and of no use without it\n";
            if error.raw_os_error() == Some(libc::ENOTSOCK) {
                std::io::stderr().write_all(said).unwrap_or_default();
            }
            ExitCode::FAILURE
        }
    }
}

fn serve() -> std::io::Result<()> {
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
