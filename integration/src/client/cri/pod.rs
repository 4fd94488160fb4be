//! A pod, and its containers.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use super::Cri;
use super::answer::{self, AboutContainer, AboutPod, ContainerStatus, Empty, Executed, PodStatus};
use super::message::{
    ContainerConfig, ContainerLinux, ContainerName, Create, Exec, Id, ImageName, PodConfig,
    Security, Stop,
};
use crate::client::engine::IMAGE;
use crate::host;

/// A pod that was made.
#[derive(Debug)]
pub struct Pod<'a> {
    cri: &'a Cri<'a>,
    /// Of the pod.
    pub id: String,
    /// What it was made of.
    pub config: PodConfig,
    count: Cell<u32>,
}

impl<'a> Pod<'a> {
    pub(super) fn new(cri: &'a Cri<'a>, id: String, config: PodConfig) -> Self {
        Self {
            cri,
            id,
            config,
            count: Cell::new(0),
        }
    }

    /// Its name alone, which most calls begin with.
    pub fn named(&self) -> Id {
        Id {
            id: self.id.clone(),
        }
    }

    /// How it is.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn status(&self) -> Result<PodStatus> {
        let about: AboutPod = self.cri.call("PodSandboxStatus", &self.named())?;
        about.status.context("no status")
    }

    /// A container of it that waits for its start, with a line of shell for a program; `change` makes
    /// another of it.
    ///
    /// # Errors
    /// What the daemon says.
    pub fn create(
        &self,
        script: &str,
        change: impl FnOnce(&mut ContainerConfig, &mut Security),
    ) -> Result<Container<'a>> {
        self.count.set(self.count.get() + 1);
        let name = format!("c{}", self.count.get());
        let pod = self.config.linux.as_ref();
        let pod = pod.and_then(|linux| linux.security.as_ref());
        let mut security = Security {
            namespaces: pod.and_then(|pod| pod.namespaces.clone()),
            ..Security::default()
        };
        let mut config = ContainerConfig {
            name: Some(ContainerName {
                name: name.clone(),
                attempt: 0,
            }),
            image: Some(ImageName {
                image: IMAGE.to_owned(),
            }),
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            log: format!("{name}.log"),
            linux: Some(ContainerLinux::default()),
            ..ContainerConfig::default()
        };
        change(&mut config, &mut security);
        if let Some(linux) = &mut config.linux {
            linux.security = Some(security);
        }
        let log = PathBuf::from(&self.config.logs).join(&config.log);
        let request = Create {
            pod: self.id.clone(),
            config: Some(config),
            pod_config: Some(self.config.clone()),
        };
        let made: Id = self.cri.call("CreateContainer", &request)?;
        Ok(Container {
            cri: self.cri,
            id: made.id,
            log,
        })
    }

    /// The same, and it runs.
    ///
    /// # Errors
    /// What the daemon says.
    pub fn start(
        &self,
        script: &str,
        change: impl FnOnce(&mut ContainerConfig, &mut Security),
    ) -> Result<Container<'a>> {
        let container = self.create(script, change)?;
        container.start()?;
        Ok(container)
    }

    /// What a line of shell writes in a container of it that is made for this, and removed.
    ///
    /// # Errors
    /// When it does not exit with 0, with what it wrote.
    pub fn told(
        &self,
        script: &str,
        change: impl FnOnce(&mut ContainerConfig, &mut Security),
    ) -> Result<String> {
        let container = self.start(script, change)?;
        let status = container.wait()?;
        let wrote = container.wrote()?;
        ensure!(status.exit_code == 0, "{status:?}: {wrote}");
        container.remove()?;
        Ok(wrote)
    }

    /// Its containers.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn containers(&self) -> Result<Vec<answer::ContainerItem>> {
        let all: answer::Containers = self.cri.call("ListContainers", &Empty {})?;
        let own = all.items.into_iter().filter(|item| item.pod == self.id);
        Ok(own.collect())
    }

    /// Ends all that runs in it.
    ///
    /// # Errors
    /// What the daemon says.
    pub fn stop(&self) -> Result<()> {
        self.cri
            .call::<Empty>("StopPodSandbox", &self.named())
            .map(drop)
    }

    /// Removes it, with all of its containers.
    ///
    /// # Errors
    /// What the daemon says.
    pub fn remove(&self) -> Result<()> {
        self.stop()?;
        let removed = self.cri.call::<Empty>("RemovePodSandbox", &self.named());
        removed.map(drop)
    }
}

/// A container that was made.
#[derive(Debug)]
pub struct Container<'a> {
    cri: &'a Cri<'a>,
    /// Of the container.
    pub id: String,
    log: PathBuf,
}

impl Container<'_> {
    /// Its name alone, which most calls begin with.
    pub fn named(&self) -> Id {
        Id {
            id: self.id.clone(),
        }
    }

    /// Its program runs from now on.
    ///
    /// # Errors
    /// What the daemon says.
    pub fn start(&self) -> Result<()> {
        let started = self.cri.call::<Empty>("StartContainer", &self.named());
        started.map(drop)
    }

    /// How it is.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn status(&self) -> Result<ContainerStatus> {
        let about: AboutContainer = self.cri.call("ContainerStatus", &self.named())?;
        about.status.context("no status")
    }

    /// Waits for its end, and how it is then.
    ///
    /// # Errors
    /// When there is none.
    pub fn wait(&self) -> Result<ContainerStatus> {
        let mut status = ContainerStatus::default();
        host::wait_for("the container's end", || {
            status = self.status().unwrap_or_default();
            status.state == answer::state::EXITED
        })?;
        Ok(status)
    }

    /// Executes words in it.
    ///
    /// # Errors
    /// What the daemon says.
    pub fn exec(&self, words: &[&str]) -> Result<Executed> {
        let request = Exec {
            id: self.id.clone(),
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            timeout: 0,
        };
        self.cri.call("ExecSync", &request)
    }

    /// The output of a line of shell in it.
    ///
    /// # Errors
    /// When it does not exit with 0.
    pub fn shell(&self, script: &str) -> Result<String> {
        let done = self.exec(&["sh", "-c", script])?;
        let (out, err) = (text(&done.stdout), text(&done.stderr));
        ensure!(done.exit_code == 0, "{}: {out}{err}", done.exit_code);
        Ok(out)
    }

    /// Ends it, by force after so many seconds.
    ///
    /// # Errors
    /// What the daemon says.
    pub fn stop(&self, timeout: i64) -> Result<()> {
        let request = Stop {
            id: self.id.clone(),
            timeout,
        };
        self.cri.call::<Empty>("StopContainer", &request).map(drop)
    }

    /// Removes it.
    ///
    /// # Errors
    /// What the daemon says.
    pub fn remove(&self) -> Result<()> {
        let removed = self.cri.call::<Empty>("RemoveContainer", &self.named());
        removed.map(drop)
    }

    /// Its log, as the kubelet finds it.
    ///
    /// # Errors
    /// When there is none.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(&self.log).context("a log")
    }

    /// The path of its log.
    pub fn log_path(&self) -> &std::path::Path {
        &self.log
    }

    /// What is in its log, once it has ended and all is in there: time, stream and kind taken off each line.
    ///
    /// # Errors
    /// When there is no log.
    pub fn wrote(&self) -> Result<String> {
        let log = self.log()?;
        let lines = log.lines().map(|line| {
            let mut words = line.splitn(4, ' ').skip(2);
            let whole = words.next() == Some("F");
            let text = words.next().unwrap_or_default();
            text.to_owned() + if whole { "\n" } else { "" }
        });
        Ok(lines.collect())
    }
}

/// Bytes of a stream as text.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
