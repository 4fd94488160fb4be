//! Golden configurations: flags and an image's configuration in, the OCI configuration out.
//!
//! A case is three files in `cli/golden`: `NAME.args` (one word a line), `NAME.image.json` (an image's `config`), and
//! `NAME.json` (what must come out). `HOSTRUN_BLESS=1 cargo test -p hostrun` writes the last anew; read the diff.

use super::host::HostDevice;
use super::*;
use clap::Parser;
use oci_spec::runtime::LinuxDeviceType;
use proptest::prelude::*;
use std::path::Path;

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(file)
}

/// Facts that are the same on every machine; what a flag must have asked for is there only if it did.
fn facts(flags: &Run) -> Facts {
    let device = |flag: &crate::flags::device::Device| HostDevice {
        path: flag.container.as_str().into(),
        kind: LinuxDeviceType::C,
        major: 10,
        minor: 229,
        mode: 0o666,
        uid: 0,
        gid: 0,
        access: flag.access.clone(),
    };
    let plain = flags.process.user.is_some();
    Facts {
        hostname: flags
            .isolation
            .hostname
            .clone()
            .unwrap_or_else(|| "0123456789ab".to_owned()),
        identity: Identity {
            uid: if plain { 1000 } else { 0 },
            gid: if plain { 1000 } else { 0 },
            additional_gids: if plain { vec![4, 27] } else { Vec::new() },
            home: if plain { "/home/user" } else { "/root" }.to_owned(),
        },
        capabilities: hostrun_seccomp_profiles::CAPABILITIES.to_vec(),
        devices: flags.files.host_devices().map(device).collect(),
        volumes: mount_flags(flags)
            .filter(|flag| flag.kind == crate::flags::mount::Kind::Volume)
            .map(|flag| Volume {
                destination: flag.destination.clone(),
                source: "/store/volumes/0".into(),
                options: flag.options.clone(),
            })
            .collect(),
        etc: vec![
            ("/etc/hostname", "/store/hostname".into()),
            ("/etc/hosts", "/store/hosts".into()),
            ("/etc/resolv.conf", "/store/resolv.conf".into()),
        ],
        init: flags.process.init.then(|| "/usr/bin/hostrun".into()),
        ipc: if flags.isolation.ipc.is_some() {
            vec!["/dev/shm", "/dev/mqueue"]
        } else {
            Vec::new()
        },
        variables: flags.process.env.clone(),
        base: "/base".into(),
        console: Some((80, 24)),
        ..Facts::default()
    }
}

fn generated(args: &str, image: &str) -> Result<serde_json::Value> {
    let words = std::iter::once("run").chain(args.lines().filter(|line| !line.is_empty()));
    let flags = Run::try_parse_from(words)?;
    let image: Config = serde_json::from_str(image)?;
    check_limits(&flags.limits)?;
    to_json(&generate(&flags, &image, &facts(&flags))?)
}

#[test]
fn golden_configurations_come_out_as_written() {
    let bless = std::env::var_os("HOSTRUN_BLESS").is_some();
    let mut cases = 0;
    for entry in std::fs::read_dir(golden("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(case) = name.strip_suffix(".args") else {
            continue;
        };
        let args = std::fs::read_to_string(golden(&name)).unwrap();
        let image = std::fs::read_to_string(golden(&format!("{case}.image.json"))).unwrap();
        let value = generated(&args, &image).unwrap();
        let path = golden(&format!("{case}.json"));
        if bless {
            std::fs::write(&path, serde_json::to_string_pretty(&value).unwrap() + "\n").unwrap();
        }
        let expected: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(value, expected, "{case}");
        cases += 1;
    }
    assert!(cases >= 6, "{cases}");
}

fn args_of(args: &str, image: &str) -> Result<Vec<String>, String> {
    let value = generated(args, image).map_err(|error| format!("{error:#}"))?;
    let words = value
        .pointer("/process/args")
        .unwrap()
        .as_array()
        .unwrap()
        .clone();
    Ok(words
        .iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect())
}

#[test]
fn entrypoint_and_command_combine_as_docker_does() {
    let both = r#"{"Entrypoint":["/entry","-x"],"Cmd":["a","b"]}"#;
    let cases = [
        ("img", both, vec!["/entry", "-x", "a", "b"]),
        ("img\nc", both, vec!["/entry", "-x", "c"]),
        ("--entrypoint\n/other\nimg", both, vec!["/other"]),
        ("--entrypoint\n/other\nimg\nc", both, vec!["/other", "c"]),
        ("--entrypoint=\nimg\nc", both, vec!["c"]),
        ("img", r#"{"Cmd":["a"]}"#, vec!["a"]),
        ("img\nc\nd", "{}", vec!["c", "d"]),
    ];
    for (args, image, expected) in cases {
        assert_eq!(args_of(args, image).unwrap(), expected, "{args:?}");
    }
    for (args, image) in [("img", "{}"), ("--entrypoint=\nimg", both)] {
        assert!(
            args_of(args, image).unwrap_err().contains("no command"),
            "{args:?}"
        );
    }
}

#[test]
fn contradictory_limits_are_refused() {
    for args in [
        "--memory-swap=1g\nimg\nc",
        "-m=1g\n--memory-swap=512m\nimg\nc",
        "-m=1k\nimg\nc",
    ] {
        assert!(generated(args, "{}").is_err(), "{args:?}");
    }
}

#[test]
fn the_template_is_a_configuration() {
    let spec: Spec = serde_json::from_value(template::template("x")).unwrap();
    assert_eq!(spec.process().as_ref().unwrap().terminal(), Some(true));
    assert_eq!(
        spec.linux()
            .as_ref()
            .unwrap()
            .namespaces()
            .as_ref()
            .unwrap()
            .len(),
        6
    );
}

proptest! {
    #[test]
    fn no_image_configuration_panics_or_leaves_the_container(
        user in any::<String>(),
        dir in any::<String>(),
        env in prop::collection::vec(any::<String>(), 0..4),
        command in prop::collection::vec(any::<String>(), 0..4),
    ) {
        let image = serde_json::json!({ "User": user, "WorkingDir": dir, "Env": env, "Cmd": command });
        if let Ok(value) = generated("img", &image.to_string()) {
            let cwd = value.pointer("/process/cwd").and_then(|cwd| cwd.as_str()).unwrap_or_default();
            prop_assert!(cwd.starts_with('/') && !cwd.split('/').any(|part| part == ".."));
            // Nothing of the image is anywhere but in the process.
            let mounts = |value: &serde_json::Value| value.pointer("/mounts").cloned();
            let plain = generated("img\nx", "{}").unwrap();
            prop_assert_eq!(mounts(&value), mounts(&plain));
            prop_assert_eq!(value.get("linux"), plain.get("linux"));
        }
    }
}
