//! The overview, the version, and the whole tree for completions and manual pages: all made of the table of verbs.

use super::{Group, RUNC_RUN, VERBS, Verb};
use crate::globals::Name;

/// What stands after the verbs in the overview.
const OVERVIEW_END: &str = "
Before the command:
  --root DIR       Container state [default: /run/hostrun]
  --store DIR      Images and containers [default: /var/lib/hostrun; a user's: ~/.local/share/hostrun]
  --system-store DIR  Images that came with the system [default: /usr/share/hostrun]
  --signature-policy FILE  Which images are let in [default: /etc/hostrun/policy.json]
  --storage-driver D  dirs or erofs: what layers become that are loaded from now on
  --log FILE       Write errors to FILE too
  --log-format F   text or json
  --debug          Tell each stage of a start
  -v, --version    Print the version
  -h, --help       Print this help

'hostrun COMMAND --help' shows a command's options.
";

/// The text of `hostrun --help`.
pub(crate) fn overview(name: Name) -> String {
    if name == Name::Runc {
        return runc_overview();
    }
    let usage = "Usage: hostrun [--root DIR] [--store DIR] COMMAND [OPTIONS] [ARGUMENTS]";
    let mut text = format!("Runs OCI images and bundles.\n\n{usage}\n");
    let groups = [
        (Group::Containers, "Containers"),
        (Group::Images, "Images"),
        (Group::Bundles, "Bundles"),
    ];
    for (group, title) in groups {
        let verbs = VERBS.iter().filter(|verb| verb.group == group);
        text = format!("{text}\n{title}:\n{}\n", lines(verbs));
    }
    text + OVERVIEW_END
}

fn runc_overview() -> String {
    let verbs = VERBS.iter().filter(|verb| verb.is_of_runc());
    let verbs = lines(verbs.chain([&RUNC_RUN]));
    format!(
        "NAME:\n   runc - Open Container Initiative runtime\n\n\
         USAGE:\n   runc [global options] command [command options] [arguments...]\n\n\
         COMMANDS:\n{verbs}\n\n\
         GLOBAL OPTIONS:\n{RUNC_OPTIONS}\n"
    )
}

const RUNC_OPTIONS: &str = "  --debug             tell each stage of a start
  --log FILE          write the log to FILE [default: standard error]
  --log-format F      text or json
  --root DIR          container state [default: /run/runc]
  --systemd-cgroup    have systemd make the cgroups
  --rootless B        go without a cgroup: true, false or auto
  --criu PATH         accepted
  --help, -h          print this help
  --version, -v       print what this is";

fn lines<'a>(verbs: impl Iterator<Item = &'a Verb>) -> String {
    let lines: Vec<String> = verbs
        .map(|verb| format!("  {:<11} {}", verb.name, verb.about))
        .collect();
    lines.join("\n")
}

/// The text of `hostrun --version`.
pub(crate) fn version(name: Name) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "{} version {version}\ncommit: hostrun-{version}\nspec: 1.3.0\n",
        name.as_str()
    )
}

/// The whole tree, for completions and manual pages.
#[cfg(any(test, feature = "pages"))]
pub(crate) fn tree() -> clap::Command {
    let global = |name: &'static str, value: &'static str, help: &'static str| {
        let arg = clap::Arg::new(name).long(name).help(help);
        match value {
            "" => arg.action(clap::ArgAction::SetTrue),
            "DIR" => arg.value_name(value).value_hint(clap::ValueHint::DirPath),
            "FILE" => arg.value_name(value).value_hint(clap::ValueHint::FilePath),
            "DRIVER" => arg.value_name(value).value_parser(["dirs", "erofs"]),
            _ => arg.value_name(value).value_parser(["text", "json"]),
        }
    };
    let visible = VERBS.iter().filter(|verb| verb.group != Group::Hidden);
    clap::Command::new("hostrun")
        .about("Runs OCI images and bundles")
        .version(env!("CARGO_PKG_VERSION"))
        .arg(global("root", "DIR", "Container state"))
        .arg(global("store", "DIR", "Images and containers"))
        .arg(global(
            "system-store",
            "DIR",
            "Images that came with the system",
        ))
        .arg(global(
            "signature-policy",
            "FILE",
            "Which images are let in",
        ))
        .arg(global(
            "storage-driver",
            "DRIVER",
            "What layers become that are loaded from now on: dirs or erofs",
        ))
        .arg(global("log", "FILE", "Write errors to FILE too"))
        .arg(global("log-format", "FORMAT", "How FILE is written"))
        .arg(global("debug", "", "Tell each stage of a start"))
        .arg(global(
            "systemd-cgroup",
            "",
            "Have systemd make the cgroups",
        ))
        .subcommands(visible.map(|verb| (verb.command)()))
}
