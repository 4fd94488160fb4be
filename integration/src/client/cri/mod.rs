//! containerd as the kubelet sees it: pods and containers by CRI, on containerd's own shim with runc, or on
//! ours, which is chosen as a class of Kubernetes does.

pub mod answer;
mod grpc;
pub mod message;
mod pod;
mod stream;

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context as _, Result, bail};
use prost::Message;

use super::containerd::{SOCKET, serve};
use super::engine::IMAGE;
use super::journal::{Journal, SHIM};
use super::ttrpc::Status;
use super::world::World;
use crate::cgroup;
use crate::host;
use crate::runtime::Running;
use message::{AboutImage, Id, ImageName, Namespaces, PodConfig, PodLinux, PodName, PodSecurity};
pub use pod::{Container, Pod};
pub use stream::{END, SIZE, STDERR, STDIN, STDOUT, Stream};

/// What all its containers are kept under.
pub const NAMESPACE: &str = "k8s.io";

/// A network for pods: a pair of devices for each, addresses from a file.
const NETWORK: &str = r#"{
  "cniVersion": "0.4.0", "name": "pods", "plugins": [{
    "type": "ptp", "ipMasq": false, "ipam": {
      "type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}"#;

/// Starts a daemon that serves CRI.
///
/// # Errors
/// When it does not answer.
pub(super) fn start(world: &World) -> Result<Running> {
    let dir = world.dir();
    for folder in ["bin", "net", "logs"] {
        fs::create_dir(dir.join(folder))?;
    }
    if let Ok(ours) = Journal::ours() {
        symlink(ours.program()?, dir.join("bin").join(SHIM))?;
    }
    fs::write(dir.join("net/10-pods.conflist"), NETWORK)?;
    // a pod's own cgroup asks for a share of the processors
    let unlimited = !cgroup::has_controller("cpu");
    let dir = dir.display();
    let config = format!(
        r#"version = 2
root = "{dir}/containerd"
state = "/run/containerd-test"
[grpc]
address = "{SOCKET}"
[ttrpc]
address = "{SOCKET}.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
path = "{dir}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE}"
disable_cgroup = {unlimited}
disable_apparmor = true
restrict_oom_score_adj = true
stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{dir}/net"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.hostrun]
runtime_type = "io.containerd.hostrun.v1"
"#
    );
    fs::write(world.dir().join("containerd.toml"), config)?;
    serve(world)
}

/// The kubelet's side of one daemon, with one runtime for all pods.
#[derive(Debug)]
pub struct Cri<'a> {
    world: &'a World,
    journal: &'a Journal,
    count: Cell<u32>,
    pods: RefCell<Vec<String>>,
}

impl<'a> Cri<'a> {
    /// The daemon of a world.
    pub fn new(world: &'a World, journal: &'a Journal) -> Self {
        Self {
            world,
            journal,
            count: Cell::new(0),
            pods: RefCell::new(Vec::new()),
        }
    }

    /// The world it is in.
    pub fn world(&self) -> &World {
        self.world
    }

    /// Who stands below.
    pub fn journal(&self) -> &Journal {
        self.journal
    }

    /// The name of the runtime's configuration.
    pub fn handler(&self) -> &'static str {
        if self.journal.is_shim() {
            "hostrun"
        } else {
            "runc"
        }
    }

    /// A call of `RuntimeService`.
    ///
    /// # Errors
    /// A [`Status`], or when there is no answer.
    pub fn call<R: Message + Default>(&self, method: &str, request: &impl Message) -> Result<R> {
        let method = format!("runtime.v1.RuntimeService/{method}");
        let answer = grpc::call(self.world, SOCKET, &method, request);
        answer.with_context(|| method)
    }

    /// With what a call is refused.
    ///
    /// # Errors
    /// When it is not.
    pub fn refused(&self, method: &str, request: &impl Message) -> Result<Status> {
        match self.call::<answer::Empty>(method, request) {
            Ok(_) => bail!("{method} is not refused"),
            Err(error) => error.downcast::<Status>(),
        }
    }

    /// What is known of an image.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn image(&self, name: &str) -> Result<Option<answer::Image>> {
        let request = AboutImage {
            image: Some(ImageName {
                image: name.to_owned(),
            }),
        };
        let method = "runtime.v1.ImageService/ImageStatus";
        let about: answer::AboutImage = grpc::call(self.world, SOCKET, method, &request)?;
        Ok(about.image)
    }

    /// Whether the daemon is ready for pods and has the image for them.
    ///
    /// # Errors
    /// When it is not after a minute.
    pub fn wait_until_ready(&self) -> Result<()> {
        host::wait_for("the image", || {
            self.image(IMAGE).is_ok_and(|image| image.is_some())
        })
    }

    /// A pod with the machine's network, its IPC its own, and process ids by the container, as Kubernetes' are;
    /// `change` makes another of it.
    ///
    /// # Errors
    /// What the daemon says.
    pub fn pod(&self, change: impl FnOnce(&mut PodConfig, &mut PodSecurity)) -> Result<Pod<'_>> {
        let config = self.config(change)?;
        let id = self.run(&config)?;
        Ok(Pod::new(self, id, config))
    }

    /// What such a pod would be.
    ///
    /// # Errors
    /// When its folder of logs cannot be made.
    pub fn config(
        &self,
        change: impl FnOnce(&mut PodConfig, &mut PodSecurity),
    ) -> Result<PodConfig> {
        self.count.set(self.count.get() + 1);
        let name = self.journal.unique(self.count.get());
        let logs = self.world.dir().join("logs").join(&name);
        fs::create_dir(&logs)?;
        let mut security = PodSecurity {
            namespaces: Some(Namespaces {
                network: message::of::NODE,
                pid: message::of::CONTAINER,
                ..Namespaces::default()
            }),
            ..PodSecurity::default()
        };
        let mut config = PodConfig {
            name: Some(PodName {
                name: name.clone(),
                uid: format!("uid-{name}"),
                namespace: "tests".to_owned(),
                attempt: 0,
            }),
            logs: logs.to_string_lossy().into_owned(),
            linux: Some(PodLinux::default()),
            ..PodConfig::default()
        };
        change(&mut config, &mut security);
        if let Some(linux) = &mut config.linux {
            linux.security = Some(security);
        }
        Ok(config)
    }

    /// Runs one.
    ///
    /// # Errors
    /// What the daemon says.
    pub fn run(&self, config: &PodConfig) -> Result<String> {
        let request = message::RunPod {
            config: Some(config.clone()),
            handler: self.handler().to_owned(),
        };
        let made: Id = self.call("RunPodSandbox", &request)?;
        self.pods.borrow_mut().push(made.id.clone());
        Ok(made.id)
    }

    /// The pods of this runtime that the daemon knows, whoever made them.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn pods(&self) -> Result<Vec<answer::PodItem>> {
        let all: answer::Pods = self.call("ListPodSandbox", &answer::Empty {})?;
        let ours = all.items.into_iter();
        Ok(ours.filter(|pod| pod.handler == self.handler()).collect())
    }
}

impl Drop for Cri<'_> {
    /// Removes what a case has left.
    fn drop(&mut self) {
        let known = self.pods().unwrap_or_default();
        for id in self.pods.borrow().iter() {
            if known.iter().any(|pod| pod.id == *id) {
                let id = Id { id: id.clone() };
                drop(self.call::<answer::Empty>("StopPodSandbox", &id));
                drop(self.call::<answer::Empty>("RemovePodSandbox", &id));
            }
        }
    }
}
