//! The service manager: starts, changes and stops units (`org.freedesktop.systemd1(5)`).

use std::io;
use std::time::Duration;

use rustix::io::Errno;

use super::super::error::{CgroupError, CgroupErrorKind, Result};
use super::super::path::CgroupPath;
use super::bus::{self, Bus};
use super::unit::UnitPlan;
use super::wire::{Call, Message, Value};
use super::{Property, properties};

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// How long all that is asked of a manager over one connection may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a manager is asked who it is; all of them together take as long as that.
const GREETINGS: u32 = 6;

/// Whose units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Those of the machine, by process 1.
    Machines,
    /// Those of the caller's session.
    Users,
}

/// A manager that listens to us.
#[derive(Debug)]
pub(crate) struct Manager {
    bus: Bus,
    whose: Whose,
    /// Its version, `252`.
    version: u32,
    /// The cgroup its units are below.
    cgroup: String,
}

impl Manager {
    /// Connects; one round trip for each of two facts. A manager that reloads its units may forget a
    /// connection it has just accepted, so one that does not answer soon is given up for another.
    ///
    /// # Errors
    /// `Unsupported` where there is none, `TimedOut`, `Permission`.
    pub(crate) fn connect(whose: Whose) -> Result<Self> {
        let mut outcome = Self::greet(whose);
        for _again in 1..GREETINGS {
            match &outcome {
                Err(error) if error.kind == CgroupErrorKind::TimedOut => {
                    outcome = Self::greet(whose);
                }
                _ => break,
            }
        }
        outcome
    }

    fn greet(whose: Whose) -> Result<Self> {
        let addresses = match whose {
            Whose::Machines => bus::of_the_machine(),
            Whose::Users => bus::of_the_user(),
        };
        let bus = Bus::connect(&addresses, PATIENCE / GREETINGS).map_err(|error| {
            failed("connect to", "systemd", &error).hint(
                "systemd cgroup flag passed, but systemd support for managing cgroups is not available",
            )
        })?;
        let mut manager = Self {
            bus,
            whose,
            version: 0,
            cgroup: String::new(),
        };
        let version = manager.fact("Version")?;
        let digits = version.trim_start_matches('v');
        let end = digits.find(|c: char| !c.is_ascii_digit());
        let digits = digits.get(..end.unwrap_or(digits.len()));
        manager.version = digits.unwrap_or_default().parse().unwrap_or(0);
        manager.cgroup = manager.fact("ControlGroup")?;
        manager.bus.wait_for(PATIENCE);
        Ok(manager)
    }

    /// The place where a unit's processes will be.
    ///
    /// # Errors
    /// `InvalidPath`.
    pub(crate) fn cgroup(&self, unit: &UnitPlan) -> Result<CgroupPath> {
        unit.cgroup(&self.cgroup, self.whose == Whose::Users)
    }

    /// Starts a scope around a process and waits until it stands. A unit of that name that failed is
    /// reset, once.
    ///
    /// # Errors
    /// `InUse` where there is such a unit, `TimedOut`, `InvalidValue` for a property that it refuses.
    pub(crate) fn start(&mut self, unit: &UnitPlan, pid: u32) -> Result<()> {
        let properties = unit.properties(pid, self.whose == Whose::Users, self.version);
        let none = Value::Array("(sa(sv))".to_owned(), Vec::new());
        let mode = Value::text("replace");
        let body = [Value::text(&unit.name), mode, written(properties), none];
        let outcome = match self.job("StartTransientUnit", &unit.name, &body) {
            Err(error) if error.kind == CgroupErrorKind::InUse => {
                self.reset(&unit.name);
                self.job("StartTransientUnit", &unit.name, &body)
            }
            outcome => outcome,
        };
        outcome.inspect_err(|_error| self.reset(&unit.name))
    }

    /// Changes a unit until it is stopped.
    ///
    /// # Errors
    /// `NotFound`, `TimedOut`, `InvalidValue` for a property that it refuses.
    pub(crate) fn set(&mut self, unit: &str, properties: Vec<Property>) -> Result<()> {
        let body = [Value::text(unit), Value::Bool(true), written(properties)];
        self.call("SetUnitProperties", unit, &body).map(drop)
    }

    /// The properties that limits are for this manager.
    pub(crate) fn limits(&self, resources: &oci_spec::runtime::LinuxResources) -> Vec<Property> {
        properties::limits(resources, self.version)
    }

    /// Stops a unit, waits until that is done, and lets the manager forget it; one that is gone is fine.
    ///
    /// # Errors
    /// `TimedOut`, or what it answers.
    pub(crate) fn stop(&mut self, unit: &str) -> Result<()> {
        let body = [Value::text(unit), Value::text("replace")];
        let outcome = match self.job("StopUnit", unit, &body) {
            Err(error) if error.kind == CgroupErrorKind::NotFound => Ok(()),
            outcome => outcome,
        };
        self.reset(unit);
        outcome
    }

    /// A unit that failed stays until it is reset. One that did not fail, or is gone, cannot be.
    fn reset(&mut self, unit: &str) {
        let body = [Value::text(unit)];
        self.call("ResetFailedUnit", unit, &body)
            .map(drop)
            .unwrap_or_default();
    }

    /// Asks for a job and waits for its end.
    fn job(&mut self, method: &'static str, unit: &str, body: &[Value]) -> Result<()> {
        // A manager with a connection of our own tells us anyway; on a bus it tells those who asked.
        self.call("Subscribe", unit, &[])
            .map(drop)
            .unwrap_or_default();
        let answer = self.call(method, unit, body)?;
        let job = answer.into_iter().next().unwrap_or_default();
        let ended = |signal: &Message| match &*signal.texts {
            [path, _unit, result] if signal.member == "JobRemoved" && *path == job => {
                Some(result.clone())
            }
            _ => None,
        };
        let result = self.bus.signal(ended);
        match result
            .map_err(|error| failed(method, unit, &error))?
            .as_str()
        {
            "done" => Ok(()),
            other => Err(CgroupError::new(
                method,
                format!("systemd unit {unit}"),
                CgroupErrorKind::Io,
                format!("got {other:?}"),
            )),
        }
    }

    fn call(&mut self, method: &'static str, unit: &str, body: &[Value]) -> Result<Vec<String>> {
        let call = Call {
            destination: NAME,
            path: PATH,
            interface: MANAGER,
            member: method,
            body,
        };
        let answer = self.bus.call(&call);
        answer
            .map_err(|error| failed(method, unit, &error))?
            .map_err(|(name, text)| refused(method, unit, &name, text))
    }

    /// A property of the manager itself.
    fn fact(&mut self, name: &str) -> Result<String> {
        let call = Call {
            destination: NAME,
            path: PATH,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            body: &[Value::text(MANAGER), Value::text(name)],
        };
        let answer = self.bus.call(&call);
        let answer = answer
            .map_err(|error| failed("ask", "systemd", &error))?
            .map_err(|(error, text)| refused("ask", "systemd", &error, text))?;
        Ok(answer.into_iter().next().unwrap_or_default())
    }
}

/// As `a(sv)`.
fn written(properties: Vec<Property>) -> Value {
    let pair = |(name, value): Property| Value::Struct(vec![Value::Text(name), value.variant()]);
    Value::Array(
        "(sv)".to_owned(),
        properties.into_iter().map(pair).collect(),
    )
}

fn failed(operation: &'static str, unit: &str, error: &io::Error) -> CgroupError {
    let subject = format!("systemd unit {unit}");
    let kind = match error.kind() {
        io::ErrorKind::TimedOut => {
            let cause = format!("Timeout waiting for systemd to answer for {unit}");
            return CgroupError::new(operation, subject, CgroupErrorKind::TimedOut, cause);
        }
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => CgroupErrorKind::Unsupported,
        io::ErrorKind::PermissionDenied => CgroupErrorKind::Permission,
        _ => CgroupErrorKind::Io,
    };
    match Errno::from_io_error(error) {
        Some(errno) => CgroupError::sys(operation, subject, errno).kind(kind),
        None => CgroupError::new(operation, subject, kind, error.to_string()),
    }
}

fn refused(operation: &'static str, unit: &str, name: &str, text: String) -> CgroupError {
    let kind = match name.rsplit('.').next().unwrap_or_default() {
        "UnitExists" => CgroupErrorKind::InUse,
        "NoSuchUnit" => CgroupErrorKind::NotFound,
        "AccessDenied" | "InteractiveAuthorizationRequired" => CgroupErrorKind::Permission,
        "InvalidArgs" | "PropertyReadOnly" | "UnknownProperty" => CgroupErrorKind::InvalidValue,
        "Timeout" | "TimedOut" | "NoReply" => CgroupErrorKind::TimedOut,
        _ => CgroupErrorKind::Io,
    };
    let cause = if text.is_empty() {
        name.to_owned()
    } else {
        text
    };
    CgroupError::new(operation, format!("systemd unit {unit}"), kind, cause)
}
