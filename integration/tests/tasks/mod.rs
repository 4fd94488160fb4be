//! What every shim must do below containerd, in the words of `ctr`.

#![allow(dead_code, reason = "each suite plays what it can")]

pub(crate) mod calls;
pub(crate) mod life;
pub(crate) mod pods;
pub(crate) mod streams;
pub(crate) mod trouble;
pub(crate) mod watch;

use anyhow::Result;
use hostrun_integration::client::Containerd;
use hostrun_integration::runtime::Call;

/// A test for each case, of the same name.
macro_rules! play {
    ($on:expr; $($group:ident: $($case:ident)+;)+) => {
        $($(
            #[test]
            fn $case() -> anyhow::Result<()> {
                $on(tasks::$group::$case)
            }
        )+)+
    };
}
pub(crate) use play;

/// `ctr task exec` of words in a container.
pub(crate) fn exec(
    containerd: &Containerd<'_>,
    flags: &[&str],
    name: &str,
    words: &[&str],
) -> Call {
    let id = format!("exec-{}", words.join("-").len());
    containerd.call(&[&["task", "exec", "--exec-id", &id], flags, &[name], words].concat())
}

/// Ends a container that runs and removes it, each step by hand.
pub(crate) fn end(containerd: &Containerd<'_>, name: &str) -> Result<()> {
    containerd.ok(&["task", "kill", "--signal", "SIGKILL", name])?;
    containerd.wait_until(name, "STOPPED")?;
    remove(containerd, name)
}

/// Removes a container that has ended.
pub(crate) fn remove(containerd: &Containerd<'_>, name: &str) -> Result<()> {
    // it exits with the container's code
    containerd.call(&["task", "rm", name]).run()?;
    containerd.ok(&["container", "rm", name]).map(drop)
}
