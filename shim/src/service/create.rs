//! `Create`: a container whose program waits.

use super::Reply;
use crate::calls::Ticket;
use crate::lanes::Lane;
use crate::messages::events::{TaskCreate, TaskIo};
use crate::messages::task::{CreateRequest, PidResponse};
use crate::options::{Options, Pool};
use crate::process::{Name, Process, Restore, Stage, Waiting};
use crate::rootfs;
use crate::shim::Shim;
use crate::stdio::{self, Context, Opened, Owner, Paths, Plumbing, Streams};
use crate::task::{Creator, Criu, Task};
use crate::wire::status::{Answer, Code, Failure};
use hostrun_runtime::warm::{MountTemplate, Networks, Refiller};
use hostrun_runtime::{Bundle, ContainerId, Created, Request, Runtime, Watch};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where state is kept when nobody says otherwise; one directory for each namespace below.
pub(crate) const STATE: &str = "/run/containerd/hostrun";

/// The library's door to the containers of one place, and what is made for them before.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    runtime: Runtime,
    /// Fills the pool of networks, as long as this is held.
    _refiller: Option<Arc<Refiller<Networks>>>,
}

/// The words that containerd's callers know failures by.
const OPENING: &str = "OCI runtime create failed: ";

/// All that making takes.
struct Order {
    container: ContainerId,
    request: CreateRequest,
    namespace: String,
    places: HashMap<(PathBuf, bool), Place>,
}

/// A container that was made.
struct Made {
    waiting: Waiting,
    pid: u32,
    pidfd: Option<OwnedFd>,
    console: Option<OwnedFd>,
    streams: Streams,
    plumbing: Plumbing,
    watch: Option<Watch>,
    rootfs: Option<PathBuf>,
    shares_pids: bool,
    at: (PathBuf, bool),
    place: Place,
    criu: Criu,
}

impl Shim {
    /// `Create`.
    pub(super) fn create(&mut self, ticket: Ticket, request: CreateRequest) -> Answer<Reply> {
        let container =
            ContainerId::new(&request.id).map_err(|error| Failure::invalid(error.to_string()))?;
        if self.tasks.contains_key(&request.id) {
            let id = &request.id;
            let twice = format!("task {id}: already exists");
            return Err(Failure::new(Code::AlreadyExists, twice));
        }
        if !Path::new(&request.bundle).is_absolute() {
            return Err(Failure::invalid("bundle: not an absolute path"));
        }
        let paths = Paths {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let init = Process::new(Stage::Creating, paths);
        let task = Task::new(
            container.clone(),
            &request.bundle,
            init,
            Creator::Waits(ticket),
        );
        self.tasks.insert(request.id.clone(), task);
        self.go_on();
        let told = Told::of(&request);
        let id = request.id.clone();
        let order = Order {
            container,
            request,
            namespace: self.settings.namespace.clone(),
            places: self.places.clone(),
        };
        self.give(
            Lane::Container(id.clone()),
            Box::new(move || {
                let made = order.make();
                Box::new(move |shim| {
                    let answer = shim.created(&id, made, told);
                    let made = answer.is_ok();
                    shim.answer(ticket, answer);
                    if made {
                        shim.undo_if_late(ticket, &id);
                    }
                })
            }),
        );
        Ok(Reply::Later)
    }

    /// A container was made, or not.
    fn created(&mut self, id: &str, made: Answer<Made>, told: Told) -> Answer<PidResponse> {
        let made = match made {
            Ok(made) => made,
            Err(failure) => {
                self.tasks.remove(id);
                return Err(failure);
            }
        };
        let runtime = made.place.runtime.clone();
        self.places.entry(made.at).or_insert(made.place);
        let name = Name::init(id);
        let memory = self.arm(id, made.watch);
        let task = self.task_mut(id)?;
        task.runtime = Some(runtime);
        task.rootfs = made.rootfs;
        task.shares_pids = made.shares_pids;
        task.memory = memory;
        task.criu = made.criu;
        task.init.stage = Stage::Created;
        task.init.waiting = Some(made.waiting);
        task.init.hold(made.streams);
        self.publisher.put(&TaskCreate {
            container_id: id.to_owned(),
            bundle: told.bundle,
            rootfs: told.rootfs,
            io: Some(told.io),
            checkpoint: told.checkpoint,
            pid: made.pid,
        });
        self.adopt(&name, made.pid, made.pidfd);
        self.serve_terminal(&name, made.console, made.plumbing);
        Ok(PidResponse { pid: made.pid })
    }
}

/// A call that nobody makes: no connection has this number.
const NOBODY: Ticket = Ticket {
    connection: 0,
    stream: 0,
};

impl Shim {
    /// A container that was made when its caller had already been told that it was not goes again.
    fn undo_if_late(&mut self, ticket: Ticket, id: &str) {
        let late = self
            .task(id)
            .is_ok_and(|task| task.creator == Creator::HasGivenUp);
        if late && !self.calls.waits(ticket) {
            self.journal
                .warn(format!("{id} was made too late: it is removed"));
            if let Err(failure) = self.remove_container(NOBODY, &Name::init(id)) {
                self.journal.warn(failure.message);
            }
        }
    }
}

/// What of a request is told to others.
struct Told {
    bundle: String,
    rootfs: Vec<crate::messages::Mount>,
    io: TaskIo,
    checkpoint: String,
}

impl Told {
    fn of(request: &CreateRequest) -> Told {
        Told {
            bundle: request.bundle.clone(),
            rootfs: request.rootfs.clone(),
            io: TaskIo {
                stdin: request.stdin.clone(),
                stdout: request.stdout.clone(),
                stderr: request.stderr.clone(),
                terminal: request.terminal,
            },
            checkpoint: request.checkpoint.clone(),
        }
    }
}

impl Order {
    fn make(self) -> Answer<Made> {
        let options = Options::read(self.request.options.as_ref())?;
        let root = options.root.as_deref().unwrap_or(Path::new(STATE));
        let at = (root.join(&self.namespace), options.systemd_cgroup);
        let place = match self.places.get(&at) {
            Some(place) => place.clone(),
            None => open_place(&at, &options.pool)?,
        };
        let rootfs = rootfs::assemble(&self.request.rootfs, Path::new(&self.request.bundle))?;
        let made = self.make_in(&options, &place.runtime);
        let (waiting, opened, shares_pids) = match made {
            Ok(made) => made,
            Err(failure) => {
                if let Some(rootfs) = &rootfs {
                    rootfs::dismantle(rootfs);
                }
                return Err(failure);
            }
        };
        let mut made = Made {
            waiting,
            pid: 0,
            pidfd: None,
            console: None,
            streams: opened.streams,
            plumbing: opened.plumbing,
            watch: None,
            rootfs,
            shares_pids,
            at,
            place,
            criu: Criu {
                images: options.criu_image_path,
                work: options.criu_work_path,
            },
        };
        if let Waiting::Created(created) = &mut made.waiting {
            made.pid = u32::try_from(created.pid()).unwrap_or(0);
            made.pidfd = created.pidfd().and_then(|fd| fd.try_clone_to_owned().ok());
            made.console = created.take_console();
            // Without the memory controller there is nothing to hear.
            made.watch = created.container().watch().ok();
        }
        Ok(made)
    }

    fn make_in(&self, options: &Options, runtime: &Runtime) -> Answer<(Waiting, Opened, bool)> {
        let failed = |error: &hostrun_runtime::Error| Failure::of(OPENING, error);
        remember(&self.request.bundle, options)?;
        let bundle =
            Bundle::load(Path::new(&self.request.bundle)).map_err(|error| failed(&error))?;
        let shares_pids = shares_pids(bundle.spec());
        let owner = Owner {
            uid: owner(bundle.spec()).or((options.io_uid != 0).then_some(options.io_uid)),
            gid: (options.io_gid != 0).then_some(options.io_gid),
        };
        let paths = Paths {
            stdin: self.request.stdin.clone(),
            stdout: self.request.stdout.clone(),
            stderr: self.request.stderr.clone(),
            terminal: self.request.terminal,
        };
        let context = Context {
            id: &self.request.id,
            namespace: &self.namespace,
            owner,
        };
        let mut opened = stdio::open(&paths, context)?;
        let mut request = Request::from_bundle(bundle)
            .with_stdio(std::mem::take(&mut opened.stdio))
            .with_line();
        if options.no_pivot_root {
            request = request.without_pivot();
        }
        if options.no_new_keyring {
            request = request.without_new_keyring();
        }
        if let Some(process) = request.spec_mut().process_mut() {
            process.set_terminal(Some(self.request.terminal));
        }
        if !self.request.checkpoint.is_empty() {
            let restore = Restore {
                request,
                images: PathBuf::from(&self.request.checkpoint),
                work: options.criu_work_path.clone(),
                plumbing: std::mem::take(&mut opened.plumbing),
            };
            return Ok((Waiting::Restore(Box::new(restore)), opened, shares_pids));
        }
        let created: Created = runtime
            .create(&self.container, request)
            .map_err(|error| failed(&error))?;
        Ok((Waiting::Created(Box::new(created)), opened, shares_pids))
    }
}

/// The library's door to one place, with what is to be made before.
fn open_place(place: &(PathBuf, bool), pool: &Pool) -> Answer<Place> {
    let failed = |error: hostrun_runtime::Error| Failure::of(OPENING, &error);
    let (root, systemd) = place;
    let mut runtime = Runtime::open(root).map_err(failed)?;
    let mut refiller = None;
    if *systemd {
        runtime = runtime.with_systemd_cgroup();
    }
    if pool.mounts {
        runtime = runtime.with_mount_template(MountTemplate::new().map_err(failed)?);
    }
    if pool.networks > 0 {
        let networks = Arc::new(Networks::new(pool.networks));
        refiller = Some(Arc::new(Refiller::start(&networks).map_err(failed)?));
        runtime = runtime.with_networks(networks);
    }
    Ok(Place {
        runtime,
        _refiller: refiller,
    })
}

/// Where its state is, for the verb `delete`: that is not told the options.
fn remember(bundle: &str, options: &Options) -> Answer<()> {
    let Some(root) = &options.root else {
        return Ok(());
    };
    let path = Path::new(bundle).join(crate::cleanup::ROOT);
    let written = std::fs::write(&path, root.as_os_str().as_encoded_bytes());
    written.map_err(|error| {
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull => Code::ResourceExhausted,
            std::io::ErrorKind::NotFound => Code::NotFound,
            _ => Code::Unknown,
        };
        Failure::new(code, format!("write {}: {error}", path.display()))
    })
}

/// Is its pid namespace the host's or another container's?
fn shares_pids(spec: &Spec) -> bool {
    let linux = spec.linux().as_ref();
    let namespaces = linux.and_then(|linux| linux.namespaces().as_ref());
    let own = namespaces
        .into_iter()
        .flatten()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::Pid && namespace.path().is_none());
    !own
}

/// Who the first process is on the host, where that is not root.
fn owner(spec: &Spec) -> Option<u32> {
    let uid = spec.process().as_ref()?.user().uid();
    on_host(spec, uid)
}

/// A user of the container's, as the host knows it.
pub(super) fn on_host(spec: &Spec, uid: u32) -> Option<u32> {
    let linux = spec.linux().as_ref();
    let maps = linux.and_then(|linux| linux.uid_mappings().as_ref());
    let Some(maps) = maps.filter(|maps| !maps.is_empty()) else {
        return (uid != 0).then_some(uid);
    };
    maps.iter().find_map(|map| {
        let distance = uid.checked_sub(map.container_id())?;
        let inside = distance < map.size();
        inside
            .then(|| map.host_id().checked_add(distance))
            .flatten()
    })
}
