//! What becomes of each key: a flag of `hostrun run`, something of its own, or a refusal. A key that is in no
//! table is none of Quadlet's.

use crate::problem::Problem;
use crate::source::Source;
use crate::syntax::Entry;
use crate::words;

/// What becomes of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Treatment {
    /// The last value, as the value of this flag.
    One(&'static str),
    /// Each value, as the value of this flag.
    Each(&'static str),
    /// Each word of each value.
    Words(&'static str),
    /// The flag, where it says yes.
    Switch(&'static str),
    /// Code of its own.
    Own,
    /// Not done, and what to do instead.
    Refused(&'static str),
}

use Treatment::{Each, One, Own, Refused, Switch, Words};

/// Keys of one section.
pub(crate) type Table = &'static [(&'static str, Treatment)];

const NO_WAY_OUT: &str = "containers have a loopback and nothing else, the host's network (Network=host), or one that a .network or .pod shares";
const NOT_PODMAN: &str = "hostrun is no podman: write what you want with keys";
const NO_MAPS: &str = "only the host's users are offered: UserNS=host";
const NO_LABELS: &str = "a container does not label containers of its own";
const NO_STARTUP: &str = "HealthStartPeriod= says how long a container may fail its check at first";
const NO_LOG: &str = "nobody keeps what a check says; 'hostrun health' shows it";
const BY_SERVICE: &str = "a unit that runs is started anew by [Service] Restart= and the like";

/// `[Container]`.
pub(crate) const CONTAINER: Table = &[
    ("AddCapability", Words("--cap-add")),
    ("AddDevice", Each("--device")),
    ("AddHost", Refused(NO_WAY_OUT)),
    ("Annotation", Words("--annotation")),
    (
        "AutoUpdate",
        Refused(
            "images stay what they are until somebody pulls: Pull=always, or a timer for a .image",
        ),
    ),
    ("CgroupsMode", Own),
    ("ContainerName", Own),
    ("ContainersConfModule", Refused(NOT_PODMAN)),
    ("DNS", Refused(NO_WAY_OUT)),
    ("DNSOption", Refused(NO_WAY_OUT)),
    ("DNSSearch", Refused(NO_WAY_OUT)),
    ("DropCapability", Words("--cap-drop")),
    ("Entrypoint", One("--entrypoint")),
    ("Environment", Words("--env")),
    ("EnvironmentFile", Own),
    (
        "EnvironmentHost",
        Refused("name the variables: Environment=NAME takes the host's value"),
    ),
    ("Exec", Own),
    ("ExposeHostPort", Refused(NO_WAY_OUT)),
    ("GIDMap", Refused(NO_MAPS)),
    ("GlobalArgs", Refused(NOT_PODMAN)),
    ("Group", Own),
    ("GroupAdd", Each("--group-add")),
    ("HealthCmd", One("--health-cmd")),
    ("HealthInterval", Own),
    ("HealthLogDestination", Refused(NO_LOG)),
    ("HealthMaxLogCount", Refused(NO_LOG)),
    ("HealthMaxLogSize", Refused(NO_LOG)),
    ("HealthOnFailure", Own),
    ("HealthRetries", One("--health-retries")),
    ("HealthStartPeriod", One("--health-start-period")),
    ("HealthStartupCmd", Refused(NO_STARTUP)),
    ("HealthStartupInterval", Refused(NO_STARTUP)),
    ("HealthStartupRetries", Refused(NO_STARTUP)),
    ("HealthStartupSuccess", Refused(NO_STARTUP)),
    ("HealthStartupTimeout", Refused(NO_STARTUP)),
    ("HealthTimeout", One("--health-timeout")),
    ("HostName", One("--hostname")),
    (
        "HttpProxy",
        Refused("nothing of the host's environment goes in: Environment=http_proxy"),
    ),
    ("IP", Refused(NO_WAY_OUT)),
    ("IP6", Refused(NO_WAY_OUT)),
    ("Image", Own),
    ("Label", Words("--label")),
    ("LogDriver", Own),
    (
        "LogOpt",
        Refused("the journal has options of its own, journald.conf(5)"),
    ),
    (
        "Mask",
        Refused("what the spec masks is masked; more can be covered with Tmpfs="),
    ),
    ("Memory", One("--memory")),
    ("Mount", Own),
    ("Network", Own),
    ("NetworkAlias", Refused(NO_WAY_OUT)),
    ("NoNewPrivileges", Own),
    ("Notify", Own),
    ("PidsLimit", One("--pids-limit")),
    ("Pod", Own),
    ("PodmanArgs", Refused(NOT_PODMAN)),
    ("PublishPort", Refused(NO_WAY_OUT)),
    ("Pull", Own),
    ("ReadOnly", Own),
    ("ReadOnlyTmpfs", Own),
    ("ReloadCmd", Own),
    ("ReloadSignal", Own),
    ("Retry", Refused("say it in a .image")),
    (
        "RetryDelay",
        Refused("say it in a .image: Retry=; it waits longer each time"),
    ),
    (
        "Rootfs",
        Refused("make an image of it: 'hostrun import DIRECTORY.tar NAME'"),
    ),
    ("RunInit", Switch("--init")),
    ("SeccompProfile", Own),
    (
        "Secret",
        Refused("LoadCredential= in [Service], and Volume=%d/NAME:/run/secrets/NAME:ro"),
    ),
    ("SecurityLabelDisable", Own),
    ("SecurityLabelFileType", Own),
    ("SecurityLabelLevel", Own),
    ("SecurityLabelNested", Refused(NO_LABELS)),
    ("SecurityLabelType", Own),
    ("ServiceName", Own),
    ("ShmSize", One("--shm-size")),
    ("StartWithPod", Own),
    ("StopSignal", Own),
    ("StopTimeout", Own),
    ("SubGIDMap", Refused(NO_MAPS)),
    ("SubUIDMap", Refused(NO_MAPS)),
    ("Sysctl", Words("--sysctl")),
    (
        "Timezone",
        Refused("Environment=TZ=, or Volume=/etc/localtime:/etc/localtime:ro"),
    ),
    ("Tmpfs", Each("--tmpfs")),
    ("UIDMap", Refused(NO_MAPS)),
    ("Ulimit", Each("--ulimit")),
    ("Unmask", Own),
    ("User", Own),
    ("UserNS", Own),
    ("Volume", Own),
    ("WorkingDir", One("--workdir")),
];

/// `[Image]`, of `hostrun pull`.
pub(crate) const IMAGE: Table = &[
    ("AllTags", Refused("a .image for each")),
    ("Arch", Own),
    ("AuthFile", One("--authfile")),
    ("CertDir", One("--cert-dir")),
    ("ContainersConfModule", Refused(NOT_PODMAN)),
    (
        "Creds",
        Refused("every user can read a unit: 'hostrun login', and AuthFile="),
    ),
    ("DecryptionKey", Refused("encrypted images are not read")),
    ("GlobalArgs", Refused(NOT_PODMAN)),
    ("Image", Own),
    ("ImageTag", Own),
    ("OS", Own),
    ("PodmanArgs", Refused(NOT_PODMAN)),
    (
        "Policy",
        Refused(
            "a .image is pulled when it is started; whoever needs it only when it is missing says Pull= in its .container",
        ),
    ),
    ("Retry", One("--retry")),
    ("RetryDelay", Refused("Retry=; it waits longer each time")),
    ("ServiceName", Own),
    ("TLSVerify", One("--tls-verify")),
    ("Variant", Own),
];

const NO_DRIVER: &str = "a volume is a directory in /var/lib/hostrun/volumes; another file system is a .mount unit over it";

/// `[Volume]`.
pub(crate) const VOLUME: Table = &[
    ("ContainersConfModule", Refused(NOT_PODMAN)),
    ("Copy", Own),
    ("Device", Refused(NO_DRIVER)),
    ("Driver", Own),
    ("GlobalArgs", Refused(NOT_PODMAN)),
    ("Group", Own),
    ("Image", Refused(NO_DRIVER)),
    ("Label", Refused("a directory has no labels")),
    ("Options", Refused(NO_DRIVER)),
    ("PodmanArgs", Refused(NOT_PODMAN)),
    ("ServiceName", Own),
    ("Type", Refused(NO_DRIVER)),
    ("User", Own),
    ("VolumeName", Own),
];

/// `[Network]`.
pub(crate) const NETWORK: Table = &[
    ("ContainersConfModule", Refused(NOT_PODMAN)),
    ("DNS", Refused(NO_WAY_OUT)),
    ("DisableDNS", Own),
    ("Driver", Refused(NO_WAY_OUT)),
    ("Gateway", Refused(NO_WAY_OUT)),
    ("GlobalArgs", Refused(NOT_PODMAN)),
    ("IPAMDriver", Refused(NO_WAY_OUT)),
    ("IPRange", Refused(NO_WAY_OUT)),
    ("IPv6", Refused(NO_WAY_OUT)),
    ("InterfaceName", Refused(NO_WAY_OUT)),
    ("Internal", Own),
    ("Label", Refused("a namespace has no labels")),
    ("NetworkDeleteOnStop", Own),
    (
        "NetworkName",
        Refused("nobody but units uses it, and they know it by its file's name"),
    ),
    ("Options", Refused(NO_WAY_OUT)),
    ("PodmanArgs", Refused(NOT_PODMAN)),
    ("ServiceName", Own),
    ("Subnet", Refused(NO_WAY_OUT)),
];

const ONLY_NETWORK: &str = "a pod shares its network and nothing else: say it in each .container";

/// `[Pod]`.
pub(crate) const POD: Table = &[
    ("AddHost", Refused(NO_WAY_OUT)),
    ("ContainersConfModule", Refused(NOT_PODMAN)),
    ("DNS", Refused(NO_WAY_OUT)),
    ("DNSOption", Refused(NO_WAY_OUT)),
    ("DNSSearch", Refused(NO_WAY_OUT)),
    ("ExitPolicy", Own),
    ("GIDMap", Refused(NO_MAPS)),
    ("GlobalArgs", Refused(NOT_PODMAN)),
    ("HostName", Refused(ONLY_NETWORK)),
    ("IP", Refused(NO_WAY_OUT)),
    ("IP6", Refused(NO_WAY_OUT)),
    ("Label", Refused(ONLY_NETWORK)),
    (
        "Network",
        Refused(
            "a pod has a network of its own; containers that are to have the host's are in no pod",
        ),
    ),
    ("NetworkAlias", Refused(NO_WAY_OUT)),
    (
        "PodName",
        Refused("nobody but units uses it, and they know it by its file's name"),
    ),
    ("PodmanArgs", Refused(NOT_PODMAN)),
    ("PublishPort", Refused(NO_WAY_OUT)),
    ("ServiceName", Own),
    ("ShmSize", Refused(ONLY_NETWORK)),
    ("StopTimeout", Own),
    ("SubGIDMap", Refused(NO_MAPS)),
    ("SubUIDMap", Refused(NO_MAPS)),
    ("UIDMap", Refused(NO_MAPS)),
    ("UserNS", Refused(NO_MAPS)),
    ("Volume", Refused(ONLY_NETWORK)),
];

/// Keys of `[Service]` that a container's service has for itself.
pub(crate) const TAKEN: Table = &[
    (
        "DynamicUser",
        Refused("the user of the program is [Container] User="),
    ),
    ("ExecStart", Refused("the program is [Container] Exec=")),
    (
        "Group",
        Refused("the user of the program is [Container] User="),
    ),
    ("RemainAfterExit", Refused(BY_SERVICE)),
    ("RootDirectory", Refused("the root is the image's")),
    ("RootImage", Refused("the root is the image's")),
    (
        "User",
        Refused("the user of the program is [Container] User="),
    ),
];

/// Says what is wrong with the keys of a section, and makes flags of those that are no more than that.
pub(crate) fn flags(source: &Source, table: Table, problems: &mut Vec<Problem>) -> Vec<String> {
    let section = source.kind.section();
    for entry in source.document.section(section) {
        problems.extend(refusal(entry, table));
    }
    let mut flags = Vec::new();
    for (key, treatment) in table {
        let all = source.document.all(section, key);
        match treatment {
            One(flag) => flags.extend(all.last().map(|entry| format!("{flag}={}", entry.value))),
            Each(flag) => flags.extend(all.iter().map(|entry| format!("{flag}={}", entry.value))),
            Words(flag) => {
                let words = all.iter().flat_map(|entry| split(entry, problems));
                flags.extend(words.map(|word| format!("{flag}={word}")));
            }
            Switch(flag) => {
                let yes = all.last().is_some_and(|entry| truth(entry, problems));
                flags.extend(yes.then(|| (*flag).to_owned()));
            }
            Own | Refused(_) => {}
        }
    }
    flags
}

fn refusal(entry: &Entry, table: Table) -> Option<Problem> {
    if entry.key.starts_with("X-") {
        return None;
    }
    match table.iter().find(|(key, _)| *key == entry.key) {
        Some((_, Refused(hint))) if !entry.value.is_empty() => {
            Some(entry.problem("is not done", Some(hint)))
        }
        Some(_) => None,
        None => {
            let near = table
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(&entry.key));
            let hint = near.map(|(key, _)| *key);
            Some(entry.problem("no such key", hint))
        }
    }
}

/// The words of a value.
pub(crate) fn split(entry: &Entry, problems: &mut Vec<Problem>) -> Vec<String> {
    words::split(&entry.value).unwrap_or_else(|why| {
        problems.push(entry.problem(why, None));
        Vec::new()
    })
}

/// A yes or no, as systemd spells them.
pub(crate) fn truth(entry: &Entry, problems: &mut Vec<Problem>) -> bool {
    match entry.value.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => true,
        "0" | "no" | "n" | "false" | "f" | "off" => false,
        _ => {
            problems.push(entry.problem("neither yes nor no", None));
            false
        }
    }
}
