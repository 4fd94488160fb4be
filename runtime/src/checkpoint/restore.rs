//! From images to a running container.

use super::criu::Criu;
use super::images::Images;
use super::rpc::{CgroupRoot, InheritFd, Kind, Notify, Options};
use super::{Checkpoint, external, points};
use crate::bundle::{open_dir, to_bytes};
use crate::cgroup::Cgroup;
use crate::error::{At, Error, ErrorKind, Result};
use crate::hooks;
use crate::id::ContainerId;
use crate::outline::Outline;
use crate::plan::Plan;
use crate::prepare::state_dir::{self, StateDir};
use crate::prepare::{Place, Streams, class_of_service};
use crate::request::Request;
use crate::resctrl::Group;
use crate::running::Running;
use crate::runtime::Runtime;
use crate::state::{self, Record};
use crate::sys::spawn::Surroundings;
use rustix::fs::{Mode, OFlags, openat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const LOG: &str = "restore.log";

impl Runtime {
    /// Makes a container of images that [`Container::checkpoint`](crate::Container::checkpoint)
    /// wrote, in a bundle like the one it was made from. It runs at once, as a child of this process.
    ///
    /// # Errors
    /// As [`Runtime::create`], and what criu answers, with the place of its log. Nothing is left
    /// behind.
    pub fn restore(
        &self,
        id: &ContainerId,
        request: Request,
        checkpoint: &Checkpoint,
    ) -> Result<Running> {
        let facts = self.host.facts(&request.spec, None)?;
        let plan = Plan::from_spec(id, &request.spec, &request.bundle, facts, None)?;
        if request.root.is_some() {
            return Err(
                Error::new(ErrorKind::Unsupported, "restore container", id.as_str())
                    .because("criu needs a directory as its root"),
            );
        }
        let images = Images::open(&checkpoint.image_path)?;
        images.refuse_links()?;
        let work = checkpoint.work()?;
        let logs = work.as_ref().unwrap_or(&images);
        logs.clear(LOG)?;
        let mut state = self.state_dir(id, &request)?;
        let place = Place::make(&plan, &self.host, self.rootless)?;
        let class = class_of_service(&plan)?;
        let mut options = restore_options(checkpoint, &images, &request, &plan.root.path)?;
        let root = open_dir(&plan.root.path)?;
        points::make(root.as_fd(), &request.spec, &request.bundle)?;
        let kept = external::resolve(&mut options, &request.spec, &request.bundle, root.as_fd())?;
        let procs = place.fd().map(cgroup_procs).transpose()?;
        let point = mount_point(&plan.root.path)?;
        let surroundings = Surroundings {
            cgroup_procs: procs.as_ref().map(AsFd::as_fd),
            mount_point: Some(&point),
            kept: kept.iter().map(AsFd::as_fd).collect(),
        };
        let record = record(id, &plan, (&place, class.as_ref()), &request);
        let streams = Streams::of(request.stdio)?;
        let criu = Criu::start(logs.path().join(LOG), Some(streams), &surroundings)?;
        // All that criu restores descends from it.
        class
            .iter()
            .try_for_each(|class| class.join(criu.pid().cast_signed()))?;
        options.cg_root = self.cgroup_roots(criu.pid())?;
        let images = images.seen_by(criu.pid())?;
        let work = work.map(|work| work.seen_by(criu.pid())).transpose()?;
        options.images_dir_fd = images.number();
        options.work_dir_fd = work.as_ref().map(Images::number);
        let mut console = None;
        let answer = criu.ask(
            Kind::Restore,
            options,
            |script, notify, passed| match script {
                "setup-namespaces" => hooks::at_create(&plan.hooks, &of(notify, &record)),
                "post-restore" => self.write_restored(&state, &of(notify, &record)),
                "orphan-pts-master" => {
                    console = passed;
                    Ok(())
                }
                _ => Ok(()),
            },
        )?;
        let pid = answer.restored.unwrap_or_default().pid;
        state.publish()?;
        state.keep();
        place.commit();
        class.into_iter().for_each(Group::commit);
        Ok(running(pid, console)?.of(self, id))
    }

    fn state_dir(&self, id: &ContainerId, request: &Request) -> Result<StateDir> {
        let state = StateDir::create(&self.root, id)?;
        let config = match &request.config {
            Some(bytes) => bytes.clone(),
            None => to_bytes(&request.spec)?,
        };
        // Before the cgroup: if we are killed, whoever deletes the rest finds its path in there.
        state.write(state_dir::CONFIG, &config)?;
        Ok(state)
    }

    /// The container stands, and waits for our answer to run.
    fn write_restored(&self, state: &StateDir, record: &Record) -> Result<()> {
        let record = Record {
            start_time: self.host.start_time(record.pid).unwrap_or(0),
            ..record.clone()
        };
        state.write(state_dir::NEW_STATE, &record.to_bytes()?)
    }

    /// criu is in the container's cgroup; what it restores goes below where it is itself.
    fn cgroup_roots(&self, criu: u32) -> Result<Vec<CgroupRoot>> {
        let own = self.host.read(&format!("{criu}/cgroup"))?;
        let roots = own.lines().filter_map(|line| {
            let (_number, rest) = line.split_once(':')?;
            let (controller, path) = rest.split_once(':')?;
            Some(CgroupRoot {
                controller: Some(controller.to_owned()),
                path: path.to_owned(),
            })
        });
        Ok(roots.collect())
    }
}

/// A handle on what criu has made our child.
fn running(pid: i32, console: Option<OwnedFd>) -> Result<Running> {
    let handle = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    // One that ended meanwhile is still ours to reap.
    let pidfd = handle.transpose().at("open a pidfd of", pid)?;
    Ok(Running::restored(pid, pidfd, console))
}

/// The record with the process that criu speaks of.
fn of(notify: &Notify, record: &Record) -> Record {
    Record {
        pid: notify.pid(),
        ..record.clone()
    }
}

/// The record of the container, but for its process.
fn record(
    id: &ContainerId,
    plan: &Plan,
    (place, class): (&Place, Option<&Group>),
    request: &Request,
) -> Record {
    Record {
        version: Record::VERSION,
        id: id.to_string(),
        pid: 0,
        creator: 0,
        start_time: 0,
        bundle: request.bundle.clone(),
        rootfs: plan.root.path.clone(),
        created: state::now(),
        cgroup: place.cgroup().map_or_else(String::new, Cgroup::name),
        unit: place.unit(),
        rdt: class.map(|class| class.made().clone()),
        annotations: request.spec.annotations().clone().unwrap_or_default(),
        shares_keyring: !request.new_keyring,
        keyring: None,
        parked: false,
        outline: Some(Outline::of(plan)),
    }
}

/// What criu is told besides what a dump is told.
fn restore_options(
    checkpoint: &Checkpoint,
    images: &Images,
    request: &Request,
    root: &Path,
) -> Result<Options> {
    let pipes = images.pipes()?.into_iter();
    Ok(Options {
        evasive_devices: Some(true),
        // A child of ours, not of criu's.
        rst_sibling: Some(true),
        root: Some(root.to_string_lossy().into_owned()),
        lsm_profile: checkpoint.lsm_profile.clone(),
        lsm_mount_context: checkpoint.lsm_mount_context.clone(),
        inherit_fd: pipes.map(|(fd, key)| InheritFd { key, fd }).collect(),
        ..checkpoint.options(images, &request.spec, LOG)
    })
}

/// criu is no child of the one clone: it is the one process that has to be moved.
fn cgroup_procs(cgroup: std::os::fd::BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    openat(cgroup, "cgroup.procs", flags, Mode::empty()).at("open", "cgroup.procs")
}

fn mount_point(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_zero| {
        Error::new(
            ErrorKind::InvalidSpec,
            "use root",
            path.display().to_string(),
        )
        .because("its path has a zero byte")
    })
}
