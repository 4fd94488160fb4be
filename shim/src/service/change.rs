//! Calls that change a container: pause, resume, limits, checkpoint.

use super::{Reply, decode};
use crate::calls::Ticket;
use crate::lanes::Lane;
use crate::messages::Empty;
use crate::messages::events::{TaskCheckpointed, TaskPaused, TaskResumed};
use crate::messages::options::CheckpointOptions;
use crate::messages::task::{CheckpointRequest, IdRequest, UpdateRequest};
use crate::process::Stage;
use crate::shim::Shim;
use crate::wire::status::{Answer, Failure};
use hostrun_runtime::{CgroupsMode, Checkpoint, Container, Error, document};
use std::path::{Path, PathBuf};

impl Shim {
    /// `Pause`.
    pub(super) fn pause(&mut self, ticket: Ticket, request: IdRequest) -> Answer<Reply> {
        let opening = "OCI runtime pause failed: ";
        self.change(ticket, request.id, opening, Container::pause, |shim, id| {
            shim.task_mut(id)?.paused = true;
            let container_id = id.to_owned();
            shim.publisher.put(&TaskPaused { container_id });
            Ok(())
        })
    }

    /// `Resume`.
    pub(super) fn resume(&mut self, ticket: Ticket, request: IdRequest) -> Answer<Reply> {
        let opening = "OCI runtime resume failed: ";
        self.change(
            ticket,
            request.id,
            opening,
            Container::resume,
            |shim, id| {
                shim.task_mut(id)?.paused = false;
                let container_id = id.to_owned();
                shim.publisher.put(&TaskResumed { container_id });
                Ok(())
            },
        )
    }

    /// `Update`.
    pub(super) fn update(&mut self, ticket: Ticket, request: UpdateRequest) -> Answer<Reply> {
        let opening = "OCI runtime update failed: ";
        self.task(&request.id)?;
        let resources = request.resources.unwrap_or_default();
        let (resources, unknown) = document::resources(&resources.value, "the resources of Update")
            .map_err(|error| Failure::of(opening, &error))?;
        for key in unknown {
            self.journal.warn(format!("update: nobody reads {key}"));
        }
        let update = move |container: &Container| container.update(&resources);
        self.change(ticket, request.id, opening, update, |_shim, _id| Ok(()))
    }

    /// `Checkpoint`: images of the processes, which end with it if the options say so.
    pub(super) fn checkpoint(
        &mut self,
        ticket: Ticket,
        request: CheckpointRequest,
    ) -> Answer<Reply> {
        let asked = request.options.unwrap_or_default();
        let options = match asked.name() {
            "" => CheckpointOptions::default(),
            CheckpointOptions::NAME => decode(&asked.value)?,
            other => return Err(Failure::invalid(format!("options of type {other:?}"))),
        };
        let criu = &self.task(&request.id)?.criu;
        let chosen = |asked: &str, usual: &Option<PathBuf>| {
            let asked = Some(PathBuf::from(asked)).filter(|path| path.is_absolute());
            asked.or(usual.clone())
        };
        // The path of the request is containerd's; the others are the administrator's.
        let request_path = Some(PathBuf::from(&request.path)).filter(|path| path.is_absolute());
        let images = request_path
            .or(chosen(&options.image_path, &criu.images))
            .ok_or_else(|| Failure::invalid("checkpoint: no path for the images"))?;
        let work = chosen(&options.work_path, &criu.work);
        let checkpoint = checkpoint_of(&options, &images, work)?;
        let told = images.display().to_string();
        let write = move |container: &Container| container.checkpoint(&checkpoint);
        let opening = "OCI runtime checkpoint failed: ";
        self.change(ticket, request.id, opening, write, move |shim, id| {
            shim.publisher.put(&TaskCheckpointed {
                container_id: id.to_owned(),
                checkpoint: told,
            });
            Ok(())
        })
    }

    fn change(
        &mut self,
        ticket: Ticket,
        id: String,
        opening: &'static str,
        change: impl FnOnce(&Container) -> Result<(), Error> + Send + 'static,
        tell: impl FnOnce(&mut Shim, &str) -> Answer<()> + Send + 'static,
    ) -> Answer<Reply> {
        let (runtime, container) = self.made(&id)?;
        if matches!(self.task(&id)?.init.stage, Stage::Stopped | Stage::Deleting) {
            return Err(Failure::not_now("process already finished"));
        }
        self.give(
            Lane::Container(id.clone()),
            Box::new(move || {
                let changed = runtime.container(&container).and_then(|it| change(&it));
                let changed = changed.map_err(|error| Failure::of(opening, &error));
                Box::new(move |shim| {
                    let answer = changed.and_then(|()| tell(shim, &id));
                    shim.answer(ticket, answer.map(|()| Empty {}));
                })
            }),
        );
        Ok(Reply::Later)
    }
}

fn checkpoint_of(
    options: &CheckpointOptions,
    images: &Path,
    work: Option<PathBuf>,
) -> Answer<Checkpoint> {
    let mut checkpoint = Checkpoint::new(images);
    checkpoint.work_path = work;
    checkpoint.leave_running = !options.exit;
    checkpoint.tcp_established = options.open_tcp;
    checkpoint.external_unix_sockets = options.external_unix_sockets;
    checkpoint.shell_job = options.terminal;
    checkpoint.file_locks = options.file_locks;
    checkpoint.cgroups = match &*options.cgroups_mode {
        "" => CgroupsMode::Default,
        "soft" => CgroupsMode::Soft,
        "full" => CgroupsMode::Full,
        "strict" => CgroupsMode::Strict,
        "ignore" => CgroupsMode::Ignore,
        other => return Err(Failure::invalid(format!("cgroups mode {other:?}"))),
    };
    Ok(checkpoint)
}
