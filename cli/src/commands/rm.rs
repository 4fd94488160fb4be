//! `hostrun rm`.

use crate::args::containers::Rm;
use crate::globals::Globals;
use crate::report::Failure;
use crate::target::Target;
use crate::{assembly, output, report};
use anyhow::Result;

/// Runs the verb.
///
/// # Errors
/// When a container is not there, or runs and force was not asked for; the others are removed all the same.
pub(crate) fn main(globals: &Globals, args: &Rm) -> Result<u8> {
    super::enter_for(globals, &args.containers)?;
    super::each(&args.containers, |name| {
        let target = if args.force {
            // What is not there needs no removing.
            let Some(target) = Target::look(globals, name)? else {
                return Ok(());
            };
            target
        } else {
            Target::find(globals, name)?
        };
        remove(globals, &target, args.force)?;
        output::line(name)
    })
}

/// Kills and removes one container.
///
/// # Errors
/// When it cannot be killed or removed.
pub(super) fn by_force(target: &Target, globals: &Globals) -> Result<()> {
    remove(globals, target, true)
}

fn remove(globals: &Globals, target: &Target, force: bool) -> Result<()> {
    if force {
        super::stop::kill_now(target)?;
    } else if target.pidfd()?.is_some() {
        let failure = Failure::new(format!("container {} is running", target.shown()));
        return Err(failure.hint("stop it first, or use 'hostrun rm -f'").into());
    }
    target.settle()?;
    if let Some(record) = &target.record {
        return assembly::remove(globals, record);
    }
    if let Some(container) = target.container()? {
        report::deleted(&container.delete(force)?);
    }
    Ok(())
}
