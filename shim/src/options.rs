//! The options of a runtime, as they come with a request: those of containerd's own shim, or, for any other
//! type of runtime, TOML of the administrator's.

use crate::messages::Any;
use crate::messages::options::{RuncOptions, RuntimeOptions};
use crate::wire::status::{Answer, Failure};
use prost::Message;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A file of options is read whole.
const LONGEST: u64 = 1 << 20;

/// What they ask for. All of it is off, or empty, where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Options {
    /// Where state is kept, one directory for each namespace.
    #[serde(alias = "Root")]
    pub(crate) root: Option<PathBuf>,
    #[serde(alias = "SystemdCgroup")]
    pub(crate) systemd_cgroup: bool,
    #[serde(alias = "NoPivotRoot")]
    pub(crate) no_pivot_root: bool,
    #[serde(alias = "NoNewKeyring")]
    pub(crate) no_new_keyring: bool,
    /// A cgroup for the shim itself.
    #[serde(alias = "ShimCgroup")]
    pub(crate) shim_cgroup: Option<String>,
    #[serde(alias = "IoUid")]
    pub(crate) io_uid: u32,
    #[serde(alias = "IoGid")]
    pub(crate) io_gid: u32,
    #[serde(alias = "CriuImagePath")]
    pub(crate) criu_image_path: Option<PathBuf>,
    #[serde(alias = "CriuWorkPath")]
    pub(crate) criu_work_path: Option<PathBuf>,
    /// There is no other binary here to run: whoever names one would get what he has not asked for.
    #[serde(alias = "BinaryName")]
    binary_name: Option<String>,
    /// What is made before it is asked for.
    pub(crate) pool: Pool,
}

/// Parts of a start that are made before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Pool {
    /// Network namespaces that wait, loopback up.
    pub(crate) networks: usize,
    /// Mount namespaces are made from a template.
    pub(crate) mounts: bool,
}

/// A network namespace costs the kernel some hundred kilobytes.
const MOST_NETWORKS: usize = 64;

/// What containerd's own shim takes where nobody names one. Docker 20.10 says so with every container.
const USUAL: &str = "runc";

impl Options {
    /// Reads them.
    ///
    /// # Errors
    /// `InvalidArgument` for options of a type that nobody knows here, or with keys that nobody knows.
    pub(crate) fn read(any: Option<&Any>) -> Answer<Options> {
        let Some(any) = any.filter(|any| !any.name().is_empty()) else {
            return Ok(Options::default());
        };
        let undecodable = |error| Failure::invalid(format!("options {}: {error}", any.name()));
        let options = match any.name() {
            RuncOptions::NAME => {
                Options::of_runc(RuncOptions::decode(&*any.value).map_err(undecodable)?)
            }
            name if RuntimeOptions::NAMES.contains(&name) => {
                let options = RuntimeOptions::decode(&*any.value).map_err(undecodable)?;
                Options::of_toml(&body(options)?)?
            }
            other => {
                return Err(Failure::invalid(format!(
                    "options of type {other:?} are not known"
                )));
            }
        };
        if let Some(named) = options.binary_name.as_deref().filter(|name| *name != USUAL) {
            return Err(Failure::invalid(format!(
                "BinaryName: exec: {named:?}: the runtime is in this shim, which executes no other"
            )));
        }
        if options.pool.networks > MOST_NETWORKS {
            let most = format!("pool.networks: at most {MOST_NETWORKS}");
            return Err(Failure::invalid(most));
        }
        Ok(options)
    }

    fn of_runc(said: RuncOptions) -> Options {
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        let path = |text: String| Some(PathBuf::from(text)).filter(|path| path.has_root());
        Options {
            root: path(said.root),
            systemd_cgroup: said.systemd_cgroup,
            no_pivot_root: said.no_pivot_root,
            no_new_keyring: said.no_new_keyring,
            shim_cgroup: text(said.shim_cgroup),
            io_uid: said.io_uid,
            io_gid: said.io_gid,
            criu_image_path: path(said.criu_image_path),
            criu_work_path: path(said.criu_work_path),
            binary_name: text(said.binary_name),
            pool: Pool::default(),
        }
    }

    fn of_toml(text: &str) -> Answer<Options> {
        toml::from_str(text).map_err(|error| {
            let why = error.to_string();
            Failure::invalid(format!("options: {}", why.trim()))
        })
    }
}

fn body(options: RuntimeOptions) -> Answer<String> {
    let bytes = if options.config_body.is_empty() && !options.config_path.is_empty() {
        file(Path::new(&options.config_path))?
    } else {
        options.config_body
    };
    String::from_utf8(bytes).map_err(|_binary| Failure::invalid("options: they are not text"))
}

fn file(path: &Path) -> Answer<Vec<u8>> {
    use std::io::Read as _;
    let failed =
        |error: std::io::Error| Failure::invalid(format!("options {}: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::status::Code;

    fn toml(text: &str) -> Any {
        let options = RuntimeOptions {
            config_body: text.as_bytes().to_vec(),
            ..RuntimeOptions::default()
        };
        Any::of("runtimeoptions.v1.Options", &options)
    }

    #[test]
    fn both_types_say_the_same() {
        let runc = RuncOptions {
            root: "/run/elsewhere".into(),
            systemd_cgroup: true,
            no_new_keyring: true,
            ..RuncOptions::default()
        };
        let any = Any::of(RuncOptions::NAME, &runc);
        let of_runc = Options::read(Some(&any)).unwrap();
        let text = "root = '/run/elsewhere'\nSystemdCgroup = true\nno_new_keyring = true\n";
        assert_eq!(Options::read(Some(&toml(text))).unwrap(), of_runc);
        assert_eq!(of_runc.root.unwrap(), Path::new("/run/elsewhere"));
    }

    #[test]
    fn nothing_said_is_all_off_and_what_nobody_knows_is_refused() {
        assert_eq!(Options::read(None).unwrap(), Options::default());
        assert_eq!(Options::read(Some(&toml(""))).unwrap(), Options::default());
        let pool = Options::read(Some(&toml("[pool]\nnetworks = 2\n"))).unwrap();
        assert_eq!(pool.pool.networks, 2);
        for text in [
            "colour = 1",
            "[pool]\nmany = 1",
            "[pool]\nnetworks = 65",
            "[pool]\nnetworks = -1",
            "root = 7",
            "BinaryName = '/usr/bin/runc'",
            "\u{0}",
        ] {
            let refused = Options::read(Some(&toml(text))).unwrap_err();
            assert_eq!(refused.code, Code::InvalidArgument, "{text}");
        }
        assert!(Options::read(Some(&toml("BinaryName = 'runc'"))).is_ok());
        let other = Any {
            type_url: "some.other.Options".into(),
            value: Vec::new(),
        };
        assert!(Options::read(Some(&other)).is_err());
        let cut = Any {
            type_url: RuncOptions::NAME.into(),
            value: vec![0x1a, 9, 1],
        };
        assert!(Options::read(Some(&cut)).is_err());
    }
}
