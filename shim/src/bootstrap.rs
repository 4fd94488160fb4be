//! `start`: containerd's call for a shim. Three generations of it say three things and expect three
//! answers; which one it is shows in what arrives.

use crate::arguments::Arguments;
use crate::messages::Any;
use crate::messages::boot::{BootstrapParams, BootstrapResult, SocketDir};
use crate::options::Options;
use prost::Message;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Annotations that put several containers into one shim, the first that is there.
const GROUPS: [&str; 2] = [
    "io.containerd.runc.v2.group",
    "io.kubernetes.cri.sandbox-id",
];

/// Where sockets are when nobody says otherwise.
const SOCKETS: &str = "/run/containerd/s";

/// The newest task service we speak.
const VERSION: i32 = 3;

/// How the answer is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// containerd up to 1.6: an address and nothing else.
    Address,
    /// Up to 2.2: a line of JSON.
    Json,
    /// Since 2.3: a message.
    Message,
}

/// What the environment says that matters here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// `MAX_SHIM_VERSION` is set, whatever it says: every daemon that sets it says 2.
    pub(crate) knows_versions: bool,
    /// `TTRPC_ADDRESS`.
    pub(crate) ttrpc: String,
}

/// All that a shim needs to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) dialect: Dialect,
    pub(crate) debug: bool,
    /// Where events go; empty where nobody has said.
    pub(crate) events: String,
    /// Directory of sockets.
    pub(crate) sockets: PathBuf,
    pub(crate) grpc: String,
    /// A cgroup for the shim.
    pub(crate) cgroup: Option<String>,
}

impl Call {
    /// Reads it from the command line, the environment and standard input.
    pub(crate) fn read(arguments: &Arguments, around: &Surroundings, input: &[u8]) -> Call {
        let params = BootstrapParams::decode(input).ok().filter(|params| {
            // The options that older ones write decode as well. They do not say who we are.
            !arguments.id.is_empty()
                && params.instance_id == arguments.id
                && params.namespace == arguments.namespace
        });
        let Some(params) = params else {
            return Call::of_flags(arguments, around, input);
        };
        let first = |said: String, else_: &str| {
            if said.is_empty() {
                else_.to_owned()
            } else {
                said
            }
        };
        let sockets = SocketDir::decode(input).unwrap_or_default().socket_dir;
        let sockets = Some(PathBuf::from(sockets)).filter(|dir| dir.is_absolute());
        let options = params.extensions.into_iter().filter_map(|it| it.value);
        let mut options = options.filter_map(|any| Options::read(Some(&any)).ok());
        Call {
            dialect: Dialect::Message,
            // Debug is -4.
            debug: arguments.debug || params.log_level <= -4,
            events: first(params.ttrpc_address, &around.ttrpc),
            sockets: sockets.unwrap_or_else(|| SOCKETS.into()),
            grpc: first(params.grpc_address, &arguments.address),
            cgroup: options.find_map(|options| options.shim_cgroup),
        }
    }

    fn of_flags(arguments: &Arguments, around: &Surroundings, input: &[u8]) -> Call {
        let options = Any::decode(input).ok();
        // What is wrong with them is told when a container is to be made with them.
        let options = options.and_then(|any| Options::read(Some(&any)).ok());
        Call {
            dialect: if around.knows_versions {
                Dialect::Json
            } else {
                Dialect::Address
            },
            debug: arguments.debug,
            events: around.ttrpc.clone(),
            sockets: SOCKETS.into(),
            grpc: arguments.address.clone(),
            cgroup: options.and_then(|options| options.shim_cgroup),
        }
    }

    /// Where the shim of this container, or of its group, listens.
    pub(crate) fn socket(&self, arguments: &Arguments, group: &str) -> PathBuf {
        if !arguments.socket.is_empty() {
            return path_of(&arguments.socket).to_owned();
        }
        let name = Path::new(&self.grpc).join(&arguments.namespace).join(group);
        let digest = Sha256::digest(name.as_os_str().as_encoded_bytes());
        let mut hex = String::with_capacity(64);
        for byte in digest {
            // A string takes whatever is written to it.
            write!(hex, "{byte:02x}").unwrap_or_default();
        }
        self.sockets.join(hex)
    }

    /// Where containerd takes events: what it has said, or beside its own API.
    pub(crate) fn events(&self) -> Option<PathBuf> {
        let said = path_of(&self.events);
        if !said.as_os_str().is_empty() {
            return Some(said.to_owned());
        }
        let mut beside = path_of(&self.grpc).as_os_str().to_owned();
        if beside.is_empty() {
            return None;
        }
        beside.push(".ttrpc");
        Some(beside.into())
    }

    /// The answer.
    pub(crate) fn answer(&self, socket: &Path) -> Vec<u8> {
        let address = format!("unix://{}", socket.display());
        match self.dialect {
            Dialect::Address => address.into_bytes(),
            Dialect::Json => {
                let answer = serde_json::json!({
                    "version": VERSION,
                    "address": address,
                    "protocol": "ttrpc",
                });
                answer.to_string().into_bytes()
            }
            Dialect::Message => BootstrapResult {
                version: VERSION,
                address,
                protocol: "ttrpc".to_owned(),
            }
            .encode_to_vec(),
        }
    }
}

/// Addresses come with and without their scheme.
pub(crate) fn path_of(address: &str) -> &Path {
    Path::new(address.strip_prefix("unix://").unwrap_or(address))
}

/// What of a config says which shim a container belongs to.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Glance {
    annotations: HashMap<String, String>,
}

/// The group that a config puts its container in: its id, unless it says otherwise.
pub(crate) fn group(config: &[u8], id: &str) -> String {
    let glance: Glance = serde_json::from_slice(config).unwrap_or_default();
    let mut named = GROUPS.iter().filter_map(|key| glance.annotations.get(*key));
    named.next().map_or(id, String::as_str).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::options::RuncOptions;
    use proptest::prelude::*;

    fn arguments() -> Arguments {
        Arguments {
            namespace: "default".into(),
            id: "web".into(),
            address: "/run/containerd/containerd.sock".into(),
            verb: "start".into(),
            ..Arguments::default()
        }
    }

    fn around(versions: bool) -> Surroundings {
        Surroundings {
            knows_versions: versions,
            ttrpc: "/run/containerd/containerd.sock.ttrpc".into(),
        }
    }

    /// Options as `ctr` of 1.6 and 2.1 sends them: `runc.v1.Options` in an `Any`.
    fn legacy() -> Vec<u8> {
        let options = RuncOptions {
            shim_cgroup: "/shims".into(),
            ..RuncOptions::default()
        };
        Any::of(RuncOptions::NAME, &options).encode_to_vec()
    }

    #[test]
    fn what_arrives_decides_how_is_answered() {
        let old = Call::read(&arguments(), &around(false), &legacy());
        let newer = Call::read(&arguments(), &around(true), &legacy());
        assert_eq!(
            (old.dialect, newer.dialect),
            (Dialect::Address, Dialect::Json)
        );
        assert_eq!(old.cgroup.as_deref(), Some("/shims"));
        let socket = old.socket(&arguments(), "web");
        assert_eq!(
            socket.to_str().unwrap(),
            "/run/containerd/s/2cde4450fa38c74f53603e01d2afd903b315a27a596f12a151414cd59897d883"
        );
        let bare = String::from_utf8(old.answer(&socket)).unwrap();
        assert_eq!(bare, format!("unix://{}", socket.display()));
        let json: serde_json::Value = serde_json::from_slice(&newer.answer(&socket)).unwrap();
        assert_eq!(json["version"], 3);
        assert_eq!(json["protocol"], "ttrpc");
        assert_eq!(json["address"], bare);
    }

    /// What a daemon of 2.3 writes, byte by byte: its fields 1 to 7 and an extension with options.
    fn recorded() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut text = |tag: u8, text: &str| {
            bytes.extend([tag << 3 | 2, u8::try_from(text.len()).unwrap()]);
            bytes.extend(text.as_bytes());
        };
        text(1, "web");
        text(2, "default");
        text(4, "2.3.0");
        text(5, "/run/other.ttrpc");
        text(6, "/run/other.sock");
        text(7, "/usr/bin/containerd");
        // Trace, -8: ten bytes as every negative number.
        bytes.extend([
            3 << 3,
            0xf8,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0x01,
        ]);
        let options = legacy();
        let inner = u8::try_from(options.len()).unwrap();
        bytes.extend([8 << 3 | 2, inner + 2, 1 << 3 | 2, inner]);
        bytes.extend(options);
        bytes
    }

    #[test]
    fn a_daemon_of_2_3_is_answered_with_a_message() {
        let call = Call::read(&arguments(), &around(true), &recorded());
        assert_eq!(call.dialect, Dialect::Message);
        assert!(call.debug);
        assert_eq!(call.events(), Some("/run/other.ttrpc".into()));
        assert_eq!(call.cgroup.as_deref(), Some("/shims"));
        assert_eq!(call.sockets, Path::new(SOCKETS));
        let answer = BootstrapResult::decode(&*call.answer(Path::new("/s"))).unwrap();
        assert_eq!((answer.version, &*answer.protocol), (3, "ttrpc"));
        assert_eq!(answer.address, "unix:///s");
        let mut elsewhere = recorded();
        elsewhere.extend([9 << 3 | 2, 4]);
        elsewhere.extend(b"/dir");
        let call = Call::read(&arguments(), &around(true), &elsewhere);
        assert_eq!(call.sockets, Path::new("/dir"));
        // Should the number come to mean something else, only that is lost.
        let mut other = recorded();
        other.extend([9 << 3, 7]);
        let call = Call::read(&arguments(), &around(true), &other);
        assert_eq!(
            (call.dialect, &*call.sockets),
            (Dialect::Message, Path::new(SOCKETS))
        );
    }

    #[test]
    fn a_message_for_somebody_else_is_none() {
        let other = Arguments {
            id: "other".into(),
            ..arguments()
        };
        assert_eq!(
            Call::read(&other, &around(true), &recorded()).dialect,
            Dialect::Json
        );
    }

    #[test]
    fn the_first_annotation_that_is_there_groups() {
        let config = |annotations: &str| format!(r#"{{"annotations":{{{annotations}}},"x":[1]}}"#);
        let cri = r#""io.kubernetes.cri.sandbox-id":"pod""#;
        let both = format!(r#"{cri},"io.containerd.runc.v2.group":"own""#);
        for (text, expected) in [
            (config(cri), "pod"),
            (config(&both), "own"),
            (config(""), "web"),
            ("{".to_owned(), "web"),
        ] {
            assert_eq!(group(text.as_bytes(), "web"), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_input_makes_it_fail(input in prop::collection::vec(any::<u8>(), 0..300), cut in 0_usize..200) {
            Call::read(&arguments(), &around(true), &input);
            let whole = recorded();
            Call::read(&arguments(), &around(false), &whole[..cut.min(whole.len())]);
        }
    }
}
