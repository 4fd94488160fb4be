//! What a container has of others: directories, networks, an image of another file.

use super::Conversion;
use crate::source::{Kind, Source};
use crate::syntax::Entry;

/// Is it the name of a file of this kind?
fn names(value: &str, kind: Kind) -> bool {
    let stem = value.strip_suffix(kind.extension());
    stem.is_some_and(|stem| stem.len() > 1 && stem.ends_with('.'))
}

impl<'a> Conversion<'a> {
    pub(super) fn files(&mut self) {
        for entry in self.all("EnvironmentFile") {
            let path = self.beside(&entry.value);
            self.flags.push(format!("--env-file={path}"));
        }
        for entry in self.all("Volume") {
            if let Some(volume) = self.volume(&entry) {
                self.flags.push(format!("--volume={volume}"));
            }
        }
        for entry in self.all("Mount") {
            let mut parts = Vec::new();
            for part in entry.value.split(',') {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                let source = matches!(key, "source" | "src");
                match self.directory(&entry, value).filter(|_| source) {
                    Some(directory) => parts.push(format!("{key}={directory}")),
                    None => parts.push(part.to_owned()),
                }
            }
            // A volume of a file is a directory by now.
            let mount = parts.join(",");
            let bind = mount.replace("type=volume", "type=bind");
            let mount = if mount == entry.value { mount } else { bind };
            self.flags.push(format!("--mount={mount}"));
        }
    }

    /// A path that may be relative to the file.
    fn beside(&self, path: &str) -> String {
        if path.starts_with(['/', '%']) {
            return path.to_owned();
        }
        let folder = self.source.path.parent().unwrap_or("/".as_ref());
        folder
            .join(path.trim_start_matches("./"))
            .display()
            .to_string()
    }

    fn volume(&mut self, entry: &Entry) -> Option<String> {
        let (source, rest) = match entry.value.split_once(':') {
            Some((source, rest)) => (source, Some(rest)),
            None => (entry.value.as_str(), None),
        };
        let Some(rest) = rest else {
            return Some(source.to_owned());
        };
        if let Some(directory) = self.directory(entry, source) {
            // Where SELinux is in force, every container may use it that is given it.
            let (place, options) = rest.split_once(':').unwrap_or((rest, ""));
            let labelled = options
                .split(',')
                .any(|option| ["z", "Z"].contains(&option));
            return Some(match (labelled, options) {
                (true, _) => format!("{directory}:{rest}"),
                (false, "") => format!("{directory}:{place}:z"),
                (false, options) => format!("{directory}:{place}:{options},z"),
            });
        }
        if names(source, Kind::Volume) {
            // Told already.
            return None;
        }
        if source.starts_with(['/', '%']) {
            return Some(entry.value.clone());
        }
        if source.starts_with('.') {
            return Some(format!("{}:{rest}", self.beside(source)));
        }
        let hint = "a file NAME.volume, and Volume=NAME.volume:/DIRECTORY";
        self.refuse(entry, "volumes have files of their own", hint);
        None
    }

    /// The directory of a `.volume`, which is made before.
    fn directory(&mut self, entry: &Entry, name: &str) -> Option<String> {
        if !names(name, Kind::Volume) {
            return None;
        }
        let volume = self.neighbour(entry, name, Kind::Volume)?;
        let directory = crate::others::directory(volume);
        let service = volume.service();
        self.needs(&service);
        Some(directory)
    }

    /// Another file that this one names.
    fn neighbour(&mut self, entry: &Entry, name: &str, kind: Kind) -> Option<&'a Source> {
        let found = self.neighbours.find(name, kind);
        if found.is_none() {
            let hint = "it lies beside this one, or in one of Quadlet's directories";
            self.refuse(entry, "there is no such file", hint);
        }
        found
    }

    /// Another service goes first, and with it this one.
    fn needs(&mut self, service: &str) {
        self.service.unit("Requires", format!("{service}.service"));
        self.service.unit("After", format!("{service}.service"));
    }

    /// Which network: what it shares with others is a network namespace that systemd puts hostrun itself in.
    pub(super) fn network(&mut self) {
        let pod = self.last("Pod").cloned();
        let networks = self.all("Network");
        if let Some(second) = networks.get(1) {
            self.refuse(second, "a second network", "a container is in one");
        }
        match (pod, networks.first()) {
            (Some(pod), Some(network)) => {
                self.refuse(network, "not with Pod=", "the network is the pod's");
                self.join_pod(&pod);
            }
            (Some(pod), None) => self.join_pod(&pod),
            (None, Some(network)) => self.join_network(network),
            (None, None) => {}
        }
    }

    fn join_pod(&mut self, entry: &Entry) {
        let Some(pod) = self.neighbour(entry, &entry.value, Kind::Pod) else {
            return;
        };
        let service = pod.service();
        self.share(&service);
        self.service.unit("BindsTo", format!("{service}.service"));
        self.service.unit("After", format!("{service}.service"));
    }

    fn join_network(&mut self, entry: &Entry) {
        let value = entry.value.as_str();
        if let "none" | "host" = value {
            self.flags.push(format!("--network={value}"));
        } else if names(value, Kind::Network) {
            if let Some(network) = self.neighbour(entry, value, Kind::Network) {
                let service = network.service();
                self.share(&service);
                self.needs(&service);
            }
        } else if names(value, Kind::Container) {
            if let Some(other) = self.neighbour(entry, value, Kind::Container) {
                let service = other.service();
                let named = other.document.last("Container", "ContainerName");
                let name = named.map_or_else(|| other.usual_name(), |entry| entry.value.clone());
                self.flags.push(format!("--network=container:{name}"));
                self.needs(&service);
            }
        } else {
            let hint = "host, none, NAME.network or NAME.container";
            self.refuse(entry, "a network that is not made", hint);
        }
    }

    /// systemd puts hostrun into the namespace of another service, and the container stays in it.
    fn share(&mut self, service: &str) {
        self.service
            .unit("JoinsNamespaceOf", format!("{service}.service"));
        self.service.line("PrivateNetwork", "yes");
        self.flags.push("--network=host".to_owned());
    }

    pub(super) fn image(&mut self) -> Option<String> {
        let Some(entry) = self.last("Image").cloned() else {
            let hint = Some("Image=NAME:TAG in [Container]");
            self.problems.push(self.source.problem("no image", hint));
            return None;
        };
        if entry.value.strip_suffix(".build").is_some() {
            let hint = "pull it, or load it with 'hostrun load'";
            self.refuse(&entry, "images are not built here", hint);
            return None;
        }
        if !names(&entry.value, Kind::Image) {
            return Some(entry.value);
        }
        let image = self.neighbour(&entry, &entry.value, Kind::Image)?;
        let service = image.service();
        self.needs(&service);
        let tag = image.document.last("Image", "ImageTag");
        let name = tag.or(image.document.last("Image", "Image"));
        name.map(|entry| entry.value.clone())
    }
}
