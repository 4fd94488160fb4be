//! `hostrun kill`.

use crate::args::containers::Kill;
use crate::globals::Globals;
use crate::target::Target;
use anyhow::Result;
use hostrun_runtime::Signal;

/// Runs the verb.
///
/// # Errors
/// When a container is not there or does not run; the others get their signal all the same.
pub(crate) fn main(globals: &Globals, args: &Kill) -> Result<u8> {
    super::enter_for(globals, &args.words)?;
    let first = args.words.first().map(String::as_str).unwrap_or_default();
    if args.words.len() <= 2 && super::recorded(globals, first)?.is_none() {
        return super::oci::kill::main(globals, args);
    }
    let mut asked = args.signal.as_deref().map(Signal::parse).transpose()?;
    let mut names = args.words.as_slice();
    // An OCI runtime is called with the signal as the second word.
    if let ([name, word], None) = (names, asked)
        && Target::find(globals, word).is_err()
    {
        asked = Some(Signal::parse(word)?);
        names = std::slice::from_ref(name);
    }
    super::each(names, |name| {
        let target = Target::find(globals, name)?;
        // docker kills, an OCI runtime asks to end.
        let default = if target.record.is_some() {
            Signal::KILL
        } else {
            Signal::TERM
        };
        target.running()?.kill(asked.unwrap_or(default), args.all)?;
        Ok(())
    })
}
