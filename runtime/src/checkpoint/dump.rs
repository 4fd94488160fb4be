//! From a running container to images.

use super::criu::Criu;
use super::images::Images;
use super::rpc::{Kind, Options, PageServer};
use super::{Checkpoint, external};
use crate::cgroup::CgroupRoot;
use crate::container::Container;
use crate::error::{At, Error, ErrorKind, Result};
use crate::state::{Record, Status};
use crate::sys::spawn::Surroundings;
use oci_spec::runtime::Spec;
use rustix::fs::readlinkat;
use std::os::fd::AsFd as _;

const LOG: &str = "dump.log";

impl Container {
    /// Writes its processes to images. Unless it is left running, its processes are gone then, and
    /// what is left of it is the caller's to delete.
    ///
    /// # Errors
    /// `WrongState` where it is not running or paused, `Unsupported` where its root is no
    /// directory of a bundle, and what criu answers, with the place of its log.
    pub fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        let status = self.state()?.status;
        if !matches!(status, Status::Running | Status::Paused) {
            let why = format!("Container cannot be checkpointed in {status} state");
            return Err(self.wrong_state("checkpoint container", &why));
        }
        let (record, _pidfd) = self.alive("checkpoint container")?;
        if record.rootfs.as_os_str().is_empty() {
            let id = self.id().as_str();
            return Err(
                Error::new(ErrorKind::Unsupported, "checkpoint container", id).because(
                    "its root is a mount of an image, which no later command can find again",
                ),
            );
        }
        // Made first: the parent's path leads through it.
        let images = Images::make(&checkpoint.image_path)?;
        let parent = checkpoint.parent()?;
        images.refuse_links()?;
        let work = checkpoint.work()?;
        let logs = work.as_ref().unwrap_or(&images);
        logs.clear(LOG)?;
        let spec = self.spec()?;
        let options = Options {
            work_dir_fd: work.as_ref().map(Images::number),
            track_mem: parent.is_some().then_some(true),
            parent_img: parent,
            ..self.dump_options(checkpoint, &images, &spec, &record)?
        };
        if !checkpoint.pre_dump {
            images.write_descriptors(&self.streams(&record)?)?;
        }
        let kind = if checkpoint.pre_dump {
            Kind::PreDump
        } else {
            Kind::Dump
        };
        let criu = Criu::start(logs.path().join(LOG), None, &Surroundings::default())?;
        let answer = criu.ask(kind, options, |script, _notify, _passed| {
            match (script, &checkpoint.status) {
                ("status-ready", Some(status)) => rustix::io::write(status, &[0])
                    .map(drop)
                    .at("write to", "the status descriptor"),
                _ => Ok(()),
            }
        });
        answer.map(drop)
    }

    fn dump_options(
        &self,
        checkpoint: &Checkpoint,
        images: &Images,
        spec: &Spec,
        record: &Record,
    ) -> Result<Options> {
        let mut options = Options {
            pid: Some(record.pid),
            root: Some(record.rootfs.to_string_lossy().into_owned()),
            leave_running: Some(checkpoint.leave_running),
            tcp_skip_in_flight: Some(checkpoint.tcp_skip_in_flight),
            link_remap: Some(checkpoint.link_remap),
            page_server: checkpoint
                .page_server
                .as_ref()
                .map(|(address, port)| PageServer {
                    address: Some(address.clone()),
                    port: Some(i32::from(*port)),
                }),
            ..checkpoint.options(images, spec, LOG)
        };
        if let Some(cgroup) = self.cgroup(Some(record))? {
            let dir = CgroupRoot::find()?.path().join(cgroup.path().as_str());
            options.freeze_cgroup = Some(dir.to_string_lossy().into_owned());
        }
        if !checkpoint.pre_dump {
            external::name(&mut options, spec, self.root()?.as_fd())?;
        }
        Ok(options)
    }

    /// Where its standard streams lead, as /proc has it.
    fn streams(&self, record: &Record) -> Result<[String; 3]> {
        let proc = self.runtime.host.proc()?;
        let stream = |number: i32| {
            let path = format!("{}/fd/{number}", record.pid);
            let link = readlinkat(proc, path, Vec::new());
            link.map_or_else(
                |_closed| String::new(),
                |link| link.to_string_lossy().into_owned(),
            )
        };
        Ok([stream(0), stream(1), stream(2)])
    }
}
