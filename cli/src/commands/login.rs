//! `hostrun login` and `logout`.

use super::registry;
use crate::args::registries::{Login, Logout};
use crate::globals::Globals;
use crate::{output, report};
use anyhow::{Context, Result};
use hostrun_image_store::{Registry, RegistryOptions};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::io::{BufRead, IsTerminal, Read};

/// Most bytes of a password.
const PASSWORD_MAX: u64 = 64 * 1024;

/// Runs the verb.
///
/// # Errors
/// When the registry does not take them, or they cannot be kept.
pub(crate) fn login(_globals: &Globals, args: &Login) -> Result<u8> {
    let program = registry::program()?;
    let options = registry::options(&args.registry)?;
    let options = if args.registry.creds.is_some() {
        options
    } else {
        let (name, password) = credentials(args)?;
        options.with_credentials(name, password)
    };
    Registry::login(&program, &args.name, &options)?;
    output::line("Login Succeeded!")?;
    Ok(0)
}

/// Runs the verb.
///
/// # Errors
/// When there is nothing to forget.
pub(crate) fn logout(_globals: &Globals, args: &Logout) -> Result<u8> {
    let mut options = RegistryOptions::default();
    if let Some(file) = &args.authfile {
        options = options.with_authfile(std::path::absolute(file)?);
    }
    Registry::logout(&registry::program()?, &args.name, &options)?;
    output::line(&format!("Removed login credentials for {}", args.name))?;
    Ok(0)
}

fn credentials(args: &Login) -> Result<(String, String)> {
    let name = match &args.username {
        Some(name) => name.clone(),
        None => ask("Username: ", true)?,
    };
    let password = if let Some(password) = &args.password {
        password.clone()
    } else if args.password_stdin {
        let mut text = String::new();
        let input = std::io::stdin().lock().take(PASSWORD_MAX);
        { input }
            .read_to_string(&mut text)
            .context("cannot read the password")?;
        text.trim_end_matches(['\n', '\r']).to_owned()
    } else {
        ask("Password: ", false)?
    };
    if name.is_empty() || password.is_empty() {
        return Err(report::usage("login needs a name and a password"));
    }
    Ok((name, password))
}

/// Asks a person; a password is not shown while it is typed.
fn ask(question: &str, shown: bool) -> Result<String> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        let failure = report::Failure::new("standard input is no terminal to ask for a password");
        return Err(failure.hint("give -u NAME --password-stdin").into());
    }
    output::say_bytes(question.as_bytes());
    let before = tcgetattr(&input).context("cannot read the terminal's modes")?;
    if !shown {
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO;
        tcsetattr(&input, OptionalActions::Flush, &quiet)
            .context("cannot change the terminal's modes")?;
    }
    let mut line = String::new();
    let read = input.lock().take(PASSWORD_MAX).read_line(&mut line);
    if !shown {
        tcsetattr(&input, OptionalActions::Flush, &before)
            .context("cannot change the terminal's modes")?;
        output::say("");
    }
    read.context("cannot read from the terminal")?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
