//! One file of CDI, as written. Parsing is pure, and strict: a key that nobody knows may be one that
//! restricts.

use super::name::{DeviceName, check_kind, check_name};
use super::version;
use oci_spec::runtime::LinuxIntelRdt;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// All annotations of an object together, at most.
const ANNOTATIONS_MAX: usize = 256 << 10;

/// A file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    #[serde(rename = "cdiVersion")]
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) annotations: Option<BTreeMap<String, String>>,
    pub(super) devices: Vec<Device>,
    /// For whoever gets one of the devices.
    #[serde(default, rename = "containerEdits")]
    pub(super) edits: Edits,
}

/// One device of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) annotations: Option<BTreeMap<String, String>>,
    #[serde(rename = "containerEdits")]
    pub(super) edits: Edits,
}

/// What changes in a config.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Edits {
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<DeviceNode>,
    pub(super) net_devices: Vec<NetDevice>,
    pub(super) hooks: Vec<Hook>,
    pub(super) mounts: Vec<Mount>,
    pub(super) intel_rdt: Option<Rdt>,
    // The specification spells it in two ways.
    #[serde(alias = "additionalGIDs")]
    pub(super) additional_gids: Vec<u32>,
}

/// A node below `/dev`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct DeviceNode {
    pub(super) path: String,
    pub(super) host_path: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) major: i64,
    pub(super) minor: i64,
    pub(super) file_mode: Option<u32>,
    pub(super) permissions: String,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// A network interface of the host.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NetDevice {
    pub(super) host_interface_name: String,
    pub(super) name: String,
}

/// A program that runs beside the container's life.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Hook {
    #[serde(rename = "hookName")]
    pub(super) moment: String,
    pub(super) path: PathBuf,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) env: Vec<String>,
    pub(super) timeout: Option<i64>,
}

/// A mount.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mount {
    pub(super) host_path: PathBuf,
    pub(super) container_path: PathBuf,
    #[serde(default)]
    pub(super) options: Vec<String>,
    #[serde(default, rename = "type")]
    pub(super) kind: String,
}

/// A class of service; read as the runtime-spec's, whose keys it has.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Rdt {
    #[serde(rename = "closID")]
    pub(super) clos_id: String,
    pub(super) l3_cache_schema: String,
    pub(super) mem_bw_schema: String,
    #[serde(rename = "enableCMT")]
    pub(super) enable_cmt: bool,
    #[serde(rename = "enableMBM")]
    pub(super) enable_mbm: bool,
    pub(super) schemata: Option<Vec<String>>,
    pub(super) enable_monitoring: Option<bool>,
}

impl Document {
    /// Reads a file's text.
    pub(super) fn parse(text: &[u8]) -> Result<Document, String> {
        let document: Document = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        document.validate()?;
        Ok(document)
    }

    /// The full names of its devices, in their order.
    pub(super) fn names(&self) -> Vec<DeviceName> {
        let devices = self.devices.iter();
        devices
            .map(|device| DeviceName::new(&self.kind, &device.name))
            .collect()
    }

    fn validate(&self) -> Result<(), String> {
        version::check(self)?;
        check_kind(&self.kind).map_err(|why| format!("kind: {why}"))?;
        check_annotations("annotations", self.annotations.as_ref())?;
        if self.devices.is_empty() {
            return Err("devices: there are none".to_owned());
        }
        self.edits
            .validate()
            .map_err(|why| format!("containerEdits.{why}"))?;
        let mut seen = BTreeSet::new();
        for (index, device) in self.devices.iter().enumerate() {
            let at = |why: String| format!("devices[{index}].{why}");
            check_name(&device.name).map_err(|why| at(format!("name: {why}")))?;
            if !seen.insert(&device.name) {
                return Err(at(format!("name: {:?} is there twice", device.name)));
            }
            check_annotations("annotations", device.annotations.as_ref()).map_err(at)?;
            if device.edits.are_empty() {
                return Err(at("containerEdits: are empty".to_owned()));
            }
            let at = |why: String| format!("devices[{index}].containerEdits.{why}");
            device.edits.validate().map_err(at)?;
        }
        Ok(())
    }
}

impl Edits {
    fn are_empty(&self) -> bool {
        self.env.is_empty()
            && self.device_nodes.is_empty()
            && self.net_devices.is_empty()
            && self.hooks.is_empty()
            && self.mounts.is_empty()
            && self.intel_rdt.is_none()
            && self.additional_gids.is_empty()
    }

    fn validate(&self) -> Result<(), String> {
        check_variables("env", &self.env)?;
        for (index, node) in self.device_nodes.iter().enumerate() {
            node.validate()
                .map_err(|why| format!("deviceNodes[{index}].{why}"))?;
        }
        for (index, hook) in self.hooks.iter().enumerate() {
            hook.validate()
                .map_err(|why| format!("hooks[{index}].{why}"))?;
        }
        for (index, mount) in self.mounts.iter().enumerate() {
            let container = ("containerPath", &mount.container_path);
            check_path(container.0, container.1).map_err(|why| format!("mounts[{index}].{why}"))?;
            if mount.host_path.as_os_str().is_empty() {
                return Err(format!("mounts[{index}].hostPath: is empty"));
            }
        }
        let mut names = [BTreeSet::new(), BTreeSet::new()];
        for (index, device) in self.net_devices.iter().enumerate() {
            let both = [&device.host_interface_name, &device.name];
            for (seen, name) in names.iter_mut().zip(both) {
                if name.is_empty() || !seen.insert(name) {
                    let why = format!("{name:?} is empty or there twice");
                    return Err(format!("netDevices[{index}]: {why}"));
                }
            }
        }
        Ok(())
    }
}

impl DeviceNode {
    /// Where it is on the host.
    pub(super) fn source(&self) -> &str {
        if self.host_path.is_empty() {
            &self.path
        } else {
            &self.host_path
        }
    }

    fn validate(&self) -> Result<(), String> {
        check_path("path", Path::new(&self.path))?;
        check_path("hostPath", Path::new(self.source()))?;
        if !matches!(self.kind.as_str(), "" | "b" | "c" | "u" | "p") {
            return Err(format!("type: {:?} is none of b, c, u, p", self.kind));
        }
        let known = |byte: u8| matches!(byte, b'r' | b'w' | b'm');
        if !self.permissions.bytes().all(known) {
            let why = format!("{:?} is not made of r, w and m", self.permissions);
            return Err(format!("permissions: {why}"));
        }
        Ok(())
    }
}

impl Hook {
    fn validate(&self) -> Result<(), String> {
        const NAMES: [&str; 6] = [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ];
        if !NAMES.contains(&self.moment.as_str()) {
            return Err(format!("hookName: {:?} is unknown", self.moment));
        }
        if !self.path.is_absolute() {
            return Err(format!("path: {} is not absolute", self.path.display()));
        }
        if self.timeout.is_some_and(|timeout| timeout <= 0) {
            return Err("timeout: is not above 0".to_owned());
        }
        check_variables("env", &self.env)
    }
}

impl Rdt {
    /// As the runtime-spec has it.
    pub(super) fn to_oci(&self) -> LinuxIntelRdt {
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        let mut rdt = LinuxIntelRdt::default();
        rdt.set_clos_id(text(&self.clos_id))
            .set_l3_cache_schema(text(&self.l3_cache_schema))
            .set_mem_bw_schema(text(&self.mem_bw_schema))
            .set_enable_cmt(self.enable_cmt.then_some(true))
            .set_enable_mbm(self.enable_mbm.then_some(true))
            .set_schemata(self.schemata.clone())
            .set_enable_monitoring(self.enable_monitoring);
        rdt
    }
}

fn check_variables(key: &str, variables: &[String]) -> Result<(), String> {
    let wrong = variables
        .iter()
        .enumerate()
        .find(|(_, text)| text.find('=').is_none_or(|at| at == 0));
    match wrong {
        None => Ok(()),
        Some((index, text)) => Err(format!("{key}[{index}]: {text:?} is not NAME=VALUE")),
    }
}

/// Absolute, and not up.
fn check_path(key: &str, path: &Path) -> Result<(), String> {
    let up = path.components().any(|part| part == Component::ParentDir);
    if path.is_absolute() && !up {
        return Ok(());
    }
    Err(format!(
        "{key}: {:?} is not absolute, or has a ..",
        path.display().to_string()
    ))
}

fn check_annotations(
    key: &str,
    annotations: Option<&BTreeMap<String, String>>,
) -> Result<(), String> {
    let entries = annotations.into_iter().flatten();
    let size = entries.fold(0, |size, (key, value)| size + key.len() + value.len());
    if size > ANNOTATIONS_MAX {
        return Err(format!(
            "{key}: are {size} bytes, more than {ANNOTATIONS_MAX}"
        ));
    }
    Ok(())
}
