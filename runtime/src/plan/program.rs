//! `process.args` and `process.env`: what is executed, with what.

use super::process::{candidates, environment, refuse_nameless};
use super::refusal::Refusals;
use std::ffi::CString;

/// What a parked process may still be told.
#[derive(Clone, Debug)]
pub(crate) struct ProgramPlan {
    pub(crate) argv: Vec<CString>,
    pub(crate) envp: Vec<CString>,
    /// Paths to try for `argv[0]`.
    pub(crate) candidates: Vec<CString>,
    /// `HOME` is not in the environment and must be looked up.
    pub(crate) needs_home: bool,
}

impl ProgramPlan {
    /// Candidates, arguments, environment.
    pub(crate) fn lists(&self) -> [&[CString]; 3] {
        [&self.candidates, &self.argv, &self.envp]
    }

    /// The same with this `HOME`, if it has none.
    pub(crate) fn with_home(&self, home: &CString) -> ProgramPlan {
        let mut program = self.clone();
        if std::mem::take(&mut program.needs_home) {
            program.envp.push(home.clone());
        }
        program
    }
}

/// Reads them.
pub(crate) fn plan(args: &[String], env: &[String], refusals: &mut Refusals) -> ProgramPlan {
    refuse_nameless(env, refusals);
    let environment = environment(env);
    let candidates = match args.first().map(String::as_str) {
        None | Some("") => {
            refusals.refuse("process.args", "args must not be empty");
            Vec::new()
        }
        Some(program) => candidates(program, &environment, refusals),
    };
    ProgramPlan {
        argv: args
            .iter()
            .map(|arg| refusals.c_string("process.args", arg.as_str()))
            .collect(),
        needs_home: !environment.iter().any(|entry| entry.starts_with("HOME=")),
        envp: environment
            .iter()
            .map(|entry| refusals.c_string("process.env", *entry))
            .collect(),
        candidates,
    }
}
