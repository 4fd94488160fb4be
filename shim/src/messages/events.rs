//! What a shim tells of its containers, `events/task.proto`, and the envelope it goes in.

use super::{Any, Mount, Timestamp};
use prost::Message;

/// `containerd.services.events.ttrpc.v1.ForwardRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ForwardRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) envelope: Option<Envelope>,
}

/// `containerd.types.Envelope`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Envelope {
    #[prost(message, optional, tag = "1")]
    pub(crate) timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    pub(crate) namespace: String,
    #[prost(string, tag = "3")]
    pub(crate) topic: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) event: Option<Any>,
}

/// An event, its name, and the topic it goes under.
pub(crate) trait Event: Message {
    const NAME: &str;
    const TOPIC: &str;
}

macro_rules! event {
    ($type:ident, $name:literal, $topic:literal) => {
        impl Event for $type {
            const NAME: &str = concat!("containerd.events.", $name);
            const TOPIC: &str = concat!("/tasks/", $topic);
        }
    };
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskCreate {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(string, tag = "2")]
    pub(crate) bundle: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) rootfs: Vec<Mount>,
    #[prost(message, optional, tag = "4")]
    pub(crate) io: Option<TaskIo>,
    #[prost(string, tag = "5")]
    pub(crate) checkpoint: String,
    #[prost(uint32, tag = "6")]
    pub(crate) pid: u32,
}
event!(TaskCreate, "TaskCreate", "create");

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskIo {
    #[prost(string, tag = "1")]
    pub(crate) stdin: String,
    #[prost(string, tag = "2")]
    pub(crate) stdout: String,
    #[prost(string, tag = "3")]
    pub(crate) stderr: String,
    #[prost(bool, tag = "4")]
    pub(crate) terminal: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskStart {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(uint32, tag = "2")]
    pub(crate) pid: u32,
}
event!(TaskStart, "TaskStart", "start");

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskDelete {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(uint32, tag = "2")]
    pub(crate) pid: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) exit_status: u32,
    #[prost(message, optional, tag = "4")]
    pub(crate) exited_at: Option<Timestamp>,
}
event!(TaskDelete, "TaskDelete", "delete");

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskExit {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    /// That of the container where it is its first process.
    #[prost(string, tag = "2")]
    pub(crate) id: String,
    #[prost(uint32, tag = "3")]
    pub(crate) pid: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) exit_status: u32,
    #[prost(message, optional, tag = "5")]
    pub(crate) exited_at: Option<Timestamp>,
}
event!(TaskExit, "TaskExit", "exit");

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskOom {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
}
event!(TaskOom, "TaskOOM", "oom");

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskExecAdded {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(string, tag = "2")]
    pub(crate) exec_id: String,
}
event!(TaskExecAdded, "TaskExecAdded", "exec-added");

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskExecStarted {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(string, tag = "2")]
    pub(crate) exec_id: String,
    #[prost(uint32, tag = "3")]
    pub(crate) pid: u32,
}
event!(TaskExecStarted, "TaskExecStarted", "exec-started");

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskPaused {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
}
event!(TaskPaused, "TaskPaused", "paused");

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskResumed {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
}
event!(TaskResumed, "TaskResumed", "resumed");

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TaskCheckpointed {
    #[prost(string, tag = "1")]
    pub(crate) container_id: String,
    #[prost(string, tag = "2")]
    pub(crate) checkpoint: String,
}
event!(TaskCheckpointed, "TaskCheckpointed", "checkpointed");
