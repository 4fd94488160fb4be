//! How failures of these verbs are told: exit codes and sentences are those that engines and scripts look for.

use crate::globals::{Globals, Name};
use crate::report::{Failure, Told};
use anyhow::Result;
use hostrun_runtime::ErrorKind;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Create,
    Run,
    Start,
    Exec,
    Other,
}

impl Act {
    /// The first words under runc's name.
    fn opening(self, name: Name) -> &'static str {
        match (self, name) {
            (Self::Exec, _) => "exec failed: ",
            (Self::Create, Name::Runc) => "runc create failed: ",
            (Self::Run, Name::Runc) => "runc run failed: ",
            _ => "",
        }
    }

    fn makes_a_process(self) -> bool {
        matches!(self, Self::Create | Self::Run | Self::Exec)
    }

    fn code(self) -> u8 {
        if self == Self::Exec { 255 } else { 1 }
    }
}

/// Gives the failure of a verb the words and the exit code of runc.
pub(crate) fn told(globals: &Globals, act: Act, result: Result<u8>) -> Result<u8> {
    let error = match result {
        Ok(code) => return Ok(code),
        Err(error) => error,
    };
    // Our own `run --bundle` counts as our own `run` does: 125, 126, 127.
    let own = act == Act::Run && globals.name == Name::Hostrun;
    if own {
        return Err(error);
    }
    let told = Told::of(&error);
    let runtime = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<hostrun_runtime::Error>());
    let kind = runtime.map(hostrun_runtime::Error::kind);
    let program = runtime.filter(|error| {
        matches!(
            error.kind(),
            ErrorKind::ExecNotFound | ErrorKind::ExecDenied
        ) && error.operation() == "run"
    });
    let fate = program.map(Fate::of);
    let bare = globals.name == Name::Runc && fate.as_ref().is_some_and(|fate| fate.by_kernel);
    let message = match fate {
        Some(fate) if bare => fate.short,
        Some(fate) => format!("{}{}", opening(globals, act, kind), fate.long),
        None => format!("{}{}", opening(globals, act, kind), told.message),
    };
    let failure = Failure::new(message).code(act.code()).bare(bare);
    Err(match told.hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
    .into())
}

fn opening(globals: &Globals, act: Act, kind: Option<ErrorKind>) -> String {
    let first = act.opening(globals.name);
    let started = matches!(
        kind,
        Some(
            ErrorKind::System
                | ErrorKind::Denied
                | ErrorKind::NoSpace
                | ErrorKind::ExecNotFound
                | ErrorKind::ExecDenied
        )
    );
    match (
        started && globals.name == Name::Runc && act.makes_a_process(),
        act,
    ) {
        (true, Act::Exec) => format!("{first}unable to start container process: "),
        (true, _) => {
            format!("{first}unable to start container process: error during container init: ")
        }
        _ => first.to_owned(),
    }
}

/// Why a program did not run.
struct Fate {
    /// It was the kernel that would not execute a file that is there.
    by_kernel: bool,
    /// The one line that such a program leaves behind.
    short: String,
    /// The same with all we know.
    long: String,
}

impl Fate {
    fn of(error: &hostrun_runtime::Error) -> Self {
        let text = error.to_string();
        let quoted = error.subject();
        let cause = text
            .strip_prefix(&format!("run {quoted}: "))
            .unwrap_or(&text)
            .to_owned();
        let plain: String = serde_json::from_str(quoted).unwrap_or_else(|_| quoted.to_owned());
        let missing = ["its interpreter", "its first line"]
            .iter()
            .any(|words| cause.starts_with(words));
        if missing {
            let short = format!("exec {plain}: no such file or directory");
            return Self {
                by_kernel: true,
                long: format!("{short}: {cause}"),
                short,
            };
        }
        if cause.starts_with("exec format error") {
            return Self {
                by_kernel: true,
                short: format!("exec {plain}: exec format error"),
                long: format!("exec {plain}: {cause}"),
            };
        }
        let long = if cause == "no such file or directory" {
            format!("exec: {quoted}: stat {plain}: {cause}")
        } else {
            format!("exec: {quoted}: {cause}")
        };
        Self {
            by_kernel: false,
            short: long.clone(),
            long,
        }
    }
}
