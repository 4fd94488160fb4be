//! The small process that starts and times what is measured: `native/spawn.c`.

use anyhow::{Context as _, Result, ensure};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// How long a command may take; then it hangs, which is a result.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The process, which ends with this value.
#[derive(Debug)]
pub(crate) struct Spawner {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    errors: PathBuf,
    /// Whether commands run under `SCHED_FIFO`.
    pub(crate) fifo: bool,
    /// Nanoseconds of one CPUID.
    pub(crate) cpuid_ns: u64,
}

/// What one command came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ending {
    /// It exited with 0.
    Done(Cost),
    /// It exited with another code, or was ended by a signal: 128 and its number.
    Failed(i32),
    /// It had not ended when its time was up.
    Hung,
}

/// What a command that succeeded cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    /// Of its whole tree.
    pub(crate) cpu: Duration,
    /// Of the largest process of its tree.
    pub(crate) peak_kib: u64,
    /// Until the payload wrote the time, if it did.
    pub(crate) first: Option<Duration>,
}

impl Spawner {
    /// Starts it, to run commands under `SCHED_FIFO` where that is allowed.
    pub(crate) fn start(program: &Path, errors: &Path) -> Result<Spawner> {
        Self::serve(Command::new(program), errors)
    }

    /// Starts it by a command that executes its arguments, and leaves the scheduling alone.
    pub(crate) fn start_under(
        under: &[OsString],
        program: &Path,
        errors: &Path,
    ) -> Result<Spawner> {
        let (first, words) = under.split_first().context("under no command")?;
        let mut command = Command::new(first);
        command.args(words).arg(program).arg("normal");
        Self::serve(command, errors)
    }

    fn serve(mut command: Command, errors: &Path) -> Result<Spawner> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // appended to, so that it can be emptied while it is open
        let file = File::options().append(true).create(true).open(errors)?;
        let mut child = command.stderr(file).spawn().context("start spawn")?;
        let requests = child.stdin.take().context("no input")?;
        let mut answers = BufReader::new(child.stdout.take().context("no output")?);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let mut after = |name: &str| {
            let word = words.find(|word| *word == name).and_then(|_| words.next());
            word.and_then(|word| word.parse::<u64>().ok())
                .with_context(|| format!("spawn says {line:?}"))
        };
        let (fifo, cpuid_ns) = (after("fifo")? == 1, after("cpuid")?);
        Ok(Spawner {
            child,
            requests,
            answers,
            errors: errors.to_owned(),
            fifo,
            cpuid_ns,
        })
    }

    /// Runs one command.
    pub(crate) fn run<S: AsRef<OsStr>>(&mut self, words: &[S]) -> Result<Ending> {
        let (_, mut endings) = self.run_all(&[words], 1)?;
        endings.pop().context("no answer")
    }

    /// Runs commands, so many at a time, and tells how long it took altogether.
    pub(crate) fn run_all<S: AsRef<OsStr>, W: AsRef<[S]>>(
        &mut self,
        jobs: &[W],
        parallel: usize,
    ) -> Result<(Duration, Vec<Ending>)> {
        let mut bytes = Vec::new();
        for job in jobs {
            for word in job.as_ref() {
                bytes.extend(word.as_ref().as_bytes());
                bytes.push(0);
            }
            bytes.push(0);
        }
        fs::write(&self.errors, "")?;
        let patience = PATIENCE.as_millis();
        writeln!(
            self.requests,
            "{} {parallel} {patience} {}",
            jobs.len(),
            bytes.len()
        )?;
        self.requests.write_all(&bytes)?;
        self.requests.flush()?;
        let endings: Result<Vec<Ending>> = jobs.iter().map(|_| ending(&self.line()?)).collect();
        let endings = endings?;
        let all = self.line()?;
        let wall = all.strip_prefix("all ").and_then(|wall| wall.parse().ok());
        let wall = wall.with_context(|| format!("spawn says {all:?}"))?;
        Ok((Duration::from_nanos(wall), endings))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "spawn has ended: {}", self.said());
        Ok(line.trim_end().to_owned())
    }

    /// The last line the last command wrote to its standard error.
    pub(crate) fn said(&self) -> String {
        let text = fs::read_to_string(&self.errors).unwrap_or_default();
        let last = text.lines().rfind(|line| !line.trim().is_empty());
        last.unwrap_or("no message").to_owned()
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}

/// `OUTCOME WALL_NS CPU_NS PEAK_KIB FAULTS FIRST_NS`
fn ending(line: &str) -> Result<Ending> {
    let numbers: Vec<i64> = line
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    let [outcome, wall, cpu, peak, _, first] = *numbers.as_slice() else {
        anyhow::bail!("spawn says {line:?}");
    };
    let nanoseconds = |number: i64| Duration::from_nanos(number.try_into().unwrap_or(0));
    Ok(match outcome {
        0 => Ending::Done(Cost {
            wall: nanoseconds(wall),
            cpu: nanoseconds(cpu),
            peak_kib: peak.try_into().unwrap_or(0),
            first: (first > 0).then(|| nanoseconds(first)),
        }),
        -1 => Ending::Hung,
        code => Ending::Failed(code.try_into().unwrap_or(i32::MAX)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_cost_a_failure_or_a_hang() {
        let cost = Cost {
            wall: Duration::from_nanos(5),
            cpu: Duration::from_nanos(4),
            peak_kib: 3,
            first: None,
        };
        assert_eq!(ending("0 5 4 3 2 0").expect("a line"), Ending::Done(cost));
        assert_eq!(
            ending("137 5 4 3 2 1").expect("a line"),
            Ending::Failed(137)
        );
        assert_eq!(ending("-1 5 4 3 2 0").expect("a line"), Ending::Hung);
        assert!(ending("0 5").is_err());
    }
}
