//! A `.container`: `hostrun run` in the foreground, as the main process of a service. Its output goes to the
//! journal, its end is the service's, and signals go through it.

use crate::keys::{self, Treatment};
use crate::problem::Problem;
use crate::service::Service;
use crate::source::Source;
use crate::syntax::Entry;
use crate::{Neighbours, STORE, words};

mod readiness;
mod surroundings;

/// What is done for one container.
pub(crate) struct Conversion<'a> {
    source: &'a Source,
    neighbours: &'a Neighbours,
    problems: Vec<Problem>,
    service: Service,
    flags: Vec<String>,
}

/// Makes the service.
pub(crate) fn convert(source: &Source, neighbours: &Neighbours) -> (Service, Vec<Problem>) {
    let mut problems = Vec::new();
    let service = Service::of(source, &mut problems);
    let flags = keys::flags(source, keys::CONTAINER, &mut problems);
    let mut conversion = Conversion {
        source,
        neighbours,
        problems,
        service,
        flags,
    };
    conversion.convert();
    (conversion.service, conversion.problems)
}

impl Conversion<'_> {
    fn convert(&mut self) {
        self.check_service();
        let name = self.last("ContainerName").map(|entry| entry.value.clone());
        let name = name.unwrap_or_else(|| self.source.usual_name());
        self.own_flags();
        self.readiness(&name);
        self.user();
        self.files();
        self.network();
        let image = self.image();
        let after = self.last("Exec").cloned();
        let command = after.map(|entry| keys::split(&entry, &mut self.problems));
        self.dependencies();
        let remove = words::join([&self.neighbours.hostrun(), "rm", "--force", &name]);
        let start = ["--rm".to_owned(), format!("--name={name}")];
        let start = start.into_iter().chain(std::mem::take(&mut self.flags));
        let start = start.chain(image).chain(command.unwrap_or_default());
        let begin = [&self.neighbours.hostrun(), "run"].map(str::to_owned);
        let start = words::join(begin.into_iter().chain(start));
        self.service.line("Delegate", "yes");
        self.service.line("KillMode", "mixed");
        self.service.line("SyslogIdentifier", "%N");
        // hostrun hands it on and cleans up; of SIGABRT it would die.
        self.service.line("WatchdogSignal", "SIGTERM");
        // How a program that was asked to end says that it did.
        self.service.line("SuccessExitStatus", "143");
        // Of a host that lost its power.
        self.service.line("ExecStartPre", format!("-{remove}"));
        self.service.line("ExecStart", start);
        self.service.line("ExecStopPost", format!("-{remove}"));
        self.reload(&name);
    }

    fn last(&self, key: &str) -> Option<&Entry> {
        self.source.document.last("Container", key)
    }

    fn all(&self, key: &str) -> Vec<Entry> {
        let all = self.source.document.all("Container", key);
        all.into_iter().cloned().collect()
    }

    fn is_true(&mut self, key: &str) -> Option<bool> {
        let entry = self.last(key)?.clone();
        Some(keys::truth(&entry, &mut self.problems))
    }

    fn refuse(&mut self, entry: &Entry, why: &str, hint: &'static str) {
        self.problems.push(entry.problem(why, Some(hint)));
    }

    /// What the file may not say in `[Service]`.
    fn check_service(&mut self) {
        for entry in self.source.document.section("Service") {
            let taken = keys::TAKEN.iter().find(|(key, _)| *key == entry.key);
            if let Some((_, Treatment::Refused(hint))) = taken {
                self.problems
                    .push(entry.problem("is the generator's", Some(hint)));
            }
            let known = match entry.key.as_str() {
                "Type" => ["exec", "simple", "notify", "oneshot"].contains(&entry.value.as_str()),
                "KillMode" => ["mixed", "control-group"].contains(&entry.value.as_str()),
                _ => true,
            };
            if !known {
                let hint = "Type= is exec, notify or oneshot, KillMode= mixed or control-group";
                self.problems
                    .push(entry.problem("not with a container", Some(hint)));
            }
        }
    }

    /// Those of SELinux.
    fn labels(&mut self) {
        for (key, part) in [
            ("SecurityLabelType", "type"),
            ("SecurityLabelLevel", "level"),
            ("SecurityLabelFileType", "filetype"),
        ] {
            if let Some(value) = self.last(key).map(|entry| entry.value.clone()) {
                self.flags
                    .push(format!("--security-opt=label={part}:{value}"));
            }
        }
        if self.is_true("SecurityLabelDisable") == Some(true) {
            self.flags.push("--security-opt=label=disable".to_owned());
        }
    }

    fn own_flags(&mut self) {
        if self.is_true("NoNewPrivileges") == Some(true) {
            self.flags
                .push("--security-opt=no-new-privileges".to_owned());
        }
        if let Some(profile) = self.last("SeccompProfile") {
            let flag = format!("--security-opt=seccomp={}", profile.value);
            self.flags.push(flag);
        }
        self.labels();
        let read_only = self.is_true("ReadOnly") == Some(true);
        let memory = self.is_true("ReadOnlyTmpfs") != Some(false);
        if read_only {
            self.flags.push("--read-only".to_owned());
            let places = ["/run", "/tmp", "/var/tmp"].map(|place| format!("--tmpfs={place}"));
            self.flags.extend(places.into_iter().filter(|_| memory));
        }
        // Part of the service's cgroup, so that what it may use and its journal are the service's.
        let split = Some("--cgroups=split");
        match self.last("CgroupsMode") {
            Some(_) => self.one_of("CgroupsMode", &[("enabled", None), ("split", split)]),
            None => self.flags.extend(split.map(str::to_owned)),
        }
        self.one_of("LogDriver", &[("journald", None), ("passthrough", None)]);
        let systempaths = Some("--security-opt=systempaths=unconfined");
        self.one_of("Unmask", &[("ALL", systempaths)]);
        self.one_of("UserNS", &[("host", Some("--userns=host"))]);
        let pull = ["always", "missing", "never"];
        let flags = ["--pull=always", "--pull=missing", "--pull=never"];
        let choices: Vec<_> = pull.into_iter().zip(flags.map(Some)).collect();
        self.one_of("Pull", &choices);
        if let Some(signal) = self.last("StopSignal").map(|entry| entry.value.clone()) {
            self.flags.push(format!("--stop-signal={signal}"));
            self.service.line("KillSignal", signal);
        }
        if let Some(seconds) = self.last("StopTimeout").map(|entry| entry.value.clone()) {
            self.service.line("TimeoutStopSec", seconds);
        }
    }

    /// A key with a few values, each with its flag.
    fn one_of(&mut self, key: &str, choices: &[(&str, Option<&str>)]) {
        let Some(entry) = self.last(key).cloned() else {
            return;
        };
        if let Some((_, flag)) = choices.iter().find(|(value, _)| *value == entry.value) {
            self.flags.extend(flag.map(str::to_owned));
        } else {
            let known: Vec<&str> = choices.iter().map(|(value, _)| *value).collect();
            let why = format!("not one of {}", known.join(", "));
            self.problems.push(entry.problem(&why, None));
        }
    }

    fn user(&mut self) {
        let user = self.last("User").map(|entry| entry.value.clone());
        let group = self.last("Group").cloned();
        match (user, group) {
            (Some(user), Some(group)) => self.flags.push(format!("--user={user}:{}", group.value)),
            (Some(user), None) => self.flags.push(format!("--user={user}")),
            (None, Some(group)) => {
                self.refuse(&group, "a group without a user", "say User= as well");
            }
            (None, None) => {}
        }
    }

    fn dependencies(&mut self) {
        self.service.unit("RequiresMountsFor", STORE);
        if crate::has_default_dependencies(self.source, &mut self.problems) {
            // A registry may be asked.
            self.service.unit("Wants", "network-online.target");
            self.service.unit("After", "network-online.target");
        }
    }

    fn reload(&mut self, name: &str) {
        let command = self.last("ReloadCmd").cloned();
        let signal = self.last("ReloadSignal").cloned();
        if let (Some(_), Some(signal)) = (&command, &signal) {
            self.refuse(signal, "not with ReloadCmd=", "one of the two");
        }
        if let Some(command) = command {
            let words = keys::split(&command, &mut self.problems);
            let begin = [&self.neighbours.hostrun(), "exec", name].map(str::to_owned);
            let line = words::join(begin.into_iter().chain(words));
            self.service.line("ExecReload", line);
        } else if let Some(signal) = signal {
            let line = words::join([
                &self.neighbours.hostrun(),
                "kill",
                &format!("--signal={}", signal.value),
                name,
            ]);
            self.service.line("ExecReload", line);
        }
    }
}
