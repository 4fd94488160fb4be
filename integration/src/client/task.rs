//! The task service of a shim, called as containerd does.

use std::path::Path;

use anyhow::{Context as _, Result};
use prost::Message;

use super::containerd::BUNDLES;
use super::ttrpc::{Connection, Status};
use super::world::World;

/// Names a container, or a process that was executed in it.
#[derive(Clone, PartialEq, Message)]
pub struct Process {
    /// The container's name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The process', none for the first.
    #[prost(string, tag = "2")]
    pub exec_id: String,
}

/// `KillRequest`
#[derive(Clone, PartialEq, Message)]
pub struct Kill {
    /// The container's name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The process', none for the first.
    #[prost(string, tag = "2")]
    pub exec_id: String,
    /// Its number.
    #[prost(uint32, tag = "3")]
    pub signal: u32,
    /// To every process of the container.
    #[prost(bool, tag = "4")]
    pub all: bool,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    /// What it is.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message, or JSON.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `UpdateTaskRequest`
#[derive(Clone, PartialEq, Message)]
pub struct Update {
    /// The container's name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// `linux.resources` of the runtime-spec.
    #[prost(message, optional, tag = "2")]
    pub resources: Option<Any>,
}

/// `ExecProcessRequest`
#[derive(Clone, PartialEq, Message)]
pub struct Exec {
    /// The container's name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The new process'.
    #[prost(string, tag = "2")]
    pub exec_id: String,
    /// Whether it has one.
    #[prost(bool, tag = "3")]
    pub terminal: bool,
    /// A path, or nothing.
    #[prost(string, tag = "4")]
    pub stdin: String,
    /// A path, or nothing.
    #[prost(string, tag = "5")]
    pub stdout: String,
    /// A path, or nothing.
    #[prost(string, tag = "6")]
    pub stderr: String,
    /// `process` of the runtime-spec.
    #[prost(message, optional, tag = "7")]
    pub spec: Option<Any>,
}

/// `ResizePtyRequest`
#[derive(Clone, PartialEq, Message)]
pub struct Resize {
    /// The container's name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The process', none for the first.
    #[prost(string, tag = "2")]
    pub exec_id: String,
    /// Columns.
    #[prost(uint32, tag = "3")]
    pub width: u32,
    /// Lines.
    #[prost(uint32, tag = "4")]
    pub height: u32,
}

/// `CheckpointTaskRequest`
#[derive(Clone, PartialEq, Message)]
pub struct Checkpoint {
    /// The container's name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// A folder for the images.
    #[prost(string, tag = "2")]
    pub path: String,
}

/// `StateResponse`, without its times
#[derive(Clone, PartialEq, Message)]
pub struct State {
    /// The container's name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its folder.
    #[prost(string, tag = "2")]
    pub bundle: String,
    /// Of the process.
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    /// 1 created, 2 running, 3 stopped, 4 paused, 5 pausing.
    #[prost(int32, tag = "4")]
    pub status: i32,
    /// 128 and the number for a signal.
    #[prost(uint32, tag = "9")]
    pub exit_status: u32,
    /// The process' name.
    #[prost(string, tag = "11")]
    pub exec_id: String,
}

/// `StartResponse`
#[derive(Clone, PartialEq, Message)]
pub struct Started {
    /// Of the process.
    #[prost(uint32, tag = "1")]
    pub pid: u32,
}

/// `DeleteResponse`, without its time
#[derive(Clone, PartialEq, Message)]
pub struct Deleted {
    /// Of the process.
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    /// 128 and the number for a signal.
    #[prost(uint32, tag = "2")]
    pub exit_status: u32,
}

/// `WaitResponse`, without its time
#[derive(Clone, PartialEq, Message)]
pub struct Waited {
    /// 128 and the number for a signal.
    #[prost(uint32, tag = "1")]
    pub exit_status: u32,
}

/// `PidsResponse`
#[derive(Clone, PartialEq, Message)]
pub struct Pids {
    /// Everything in the container's cgroup.
    #[prost(message, repeated, tag = "1")]
    pub processes: Vec<Started>,
}

/// `StatsResponse`
#[derive(Clone, PartialEq, Message)]
pub struct Stats {
    /// `io.containerd.cgroups.v2.Metrics`
    #[prost(message, optional, tag = "1")]
    pub stats: Option<Any>,
}

/// `ConnectResponse`
#[derive(Clone, PartialEq, Message)]
pub struct Connected {
    /// The shim's own.
    #[prost(uint32, tag = "1")]
    pub shim_pid: u32,
    /// Of the container's first process.
    #[prost(uint32, tag = "2")]
    pub task_pid: u32,
    /// Whatever the shim says.
    #[prost(string, tag = "3")]
    pub version: String,
}

/// An answer without anything in it.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Empty {}

/// A shim's task service, of the version that it told containerd.
#[derive(Debug)]
pub struct Tasks {
    connection: Connection,
    service: String,
}

impl Tasks {
    /// Of the shim that has this container.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(world: &World, container: &str) -> Result<Self> {
        let (address, version) = address(world, container)?;
        let path = address.strip_prefix("unix://").unwrap_or(&address);
        Ok(Self {
            connection: Connection::open(&world.path(path))?,
            service: format!("containerd.task.v{version}.Task"),
        })
    }

    /// One call.
    ///
    /// # Errors
    /// A [`Status`], or when there is no answer.
    pub fn call<R: Message + Default>(
        &mut self,
        method: &str,
        request: &impl Message,
    ) -> Result<R> {
        let answer = self.connection.call(&self.service, method, request);
        answer.with_context(|| method.to_owned())
    }

    /// The code with which a call is refused.
    ///
    /// # Errors
    /// When it is not.
    pub fn refused(&mut self, method: &str, request: &impl Message) -> Result<Status> {
        let Err(error) = self.call::<Empty>(method, request) else {
            anyhow::bail!("{method} is not refused");
        };
        error.downcast::<Status>()
    }

    /// A call whose answer is awaited later.
    ///
    /// # Errors
    /// When the shim does not read.
    pub fn send(&mut self, method: &str, request: &impl Message) -> Result<u32> {
        self.connection.send(&self.service, method, request)
    }

    /// The connection, for what is no call.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// Where the shim of a container listens, and which version of the service it speaks there.
///
/// # Errors
/// When containerd has not written it down.
pub fn address(world: &World, container: &str) -> Result<(String, u64)> {
    let bundle = world.path(BUNDLES).join(container);
    if let Ok(text) = std::fs::read_to_string(bundle.join("bootstrap.json")) {
        let told: serde_json::Value = serde_json::from_str(&text)?;
        let address = told.pointer("/address").and_then(|word| word.as_str());
        let version = told.pointer("/version").and_then(serde_json::Value::as_u64);
        return Ok((
            address.context("no address")?.to_owned(),
            version.context("no version")?,
        ));
    }
    let address = std::fs::read_to_string(Path::new(&bundle).join("address"));
    Ok((address.context("no shim")?.trim().to_owned(), 2))
}

/// A container by its name.
pub fn container(id: &str) -> Process {
    executed(id, "")
}

/// A process that was executed in a container.
pub fn executed(id: &str, exec_id: &str) -> Process {
    Process {
        id: id.to_owned(),
        exec_id: exec_id.to_owned(),
    }
}
