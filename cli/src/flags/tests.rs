use super::capability::{Choice, choice, combined};
use super::environment::{Environment, Variable, file, variable};
use super::mount::Kind;
use super::namespace::Sharing;
use super::path::ContainerPath;
use super::*;
use hostrun_seccomp_profiles::CAPABILITIES;
use oci_spec::runtime::{Capability, PosixRlimitType};
use proptest::prelude::*;
use std::path::PathBuf;

#[test]
fn amounts_of_memory_follow_docker_units() {
    let cases = [
        ("0", 0),
        ("4096", 4096),
        ("4b", 4),
        ("1k", 1024),
        ("64KiB", 65536),
        ("512m", 512 << 20),
        ("1.5g", 3 << 29),
        (".5k", 512),
        ("2T", 2 << 40),
    ];
    for (text, bytes) in cases {
        assert_eq!(memory::bytes(text), Ok(bytes), "{text}");
    }
    for text in [
        "",
        "k",
        "-1",
        "1x",
        "1.2.3",
        "0x10",
        "1 0",
        "99999999999p",
        "+5",
        "1e3",
    ] {
        assert!(memory::bytes(text).is_err(), "{text}");
    }
    assert_eq!(memory::bytes_or_unlimited("-1"), Ok(-1));
}

#[test]
fn processors_become_microseconds_in_a_period() {
    assert_eq!(memory::cpus("1.5"), Ok(150_000));
    assert_eq!(memory::cpus("2"), Ok(200_000));
    assert_eq!(memory::cpus("0.01"), Ok(1_000));
    for text in ["0", "0.001", "-1", "NaN", "inf", "1e9", ""] {
        assert!(memory::cpus(text).is_err(), "{text}");
    }
}

#[test]
fn volume_with_host_path_is_a_bind() {
    let mount = mount::volume("/data:/var/data:ro,rslave").unwrap();
    assert_eq!(mount.kind, Kind::Bind(PathBuf::from("/data")));
    assert_eq!(mount.destination.as_str(), "/var/data");
    assert_eq!(mount.options, ["ro", "rslave"]);
}

#[test]
fn volume_without_host_path_is_anonymous() {
    assert_eq!(mount::volume("/data").unwrap().kind, Kind::Volume);
    assert_eq!(mount::volume("/data:ro").unwrap().options, ["ro"]);
}

#[test]
fn volume_that_cannot_be_honoured_is_refused() {
    for text in [
        "",
        "name:/x",
        "/a:/",
        "/a:b",
        "/a:/b:rw:x",
        "/a:/b:frob",
        ":/b",
        "/a:/b:U",
    ] {
        assert!(mount::volume(text).is_err(), "{text}");
    }
}

#[test]
fn mount_reads_every_type() {
    let bind = mount::mount("type=bind,src=/a,dst=/b,readonly,bind-propagation=rshared").unwrap();
    assert_eq!(bind.options, ["ro", "rshared"]);
    let tmpfs = mount::mount("type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1770").unwrap();
    assert_eq!(
        tmpfs.options,
        ["nosuid", "nodev", "noexec", "size=67108864", "mode=1770"]
    );
    assert_eq!(mount::mount("target=/v").unwrap().kind, Kind::Volume);
    for text in [
        "",
        "type=bind,dst=/b",
        "type=tmpfs,src=/x,dst=/t",
        "type=x,dst=/b",
        "type=bind,src=/a,dst=/b,size=1",
    ] {
        assert!(mount::mount(text).is_err(), "{text}");
    }
}

#[test]
fn tmpfs_keeps_docker_defaults() {
    let mount = mount::tmpfs("/run:rw,size=64m,mode=755").unwrap();
    assert_eq!(
        mount.options,
        ["nosuid", "nodev", "noexec", "rw", "size=64m", "mode=755"]
    );
    assert!(mount::tmpfs("/run:mode=999").is_err());
    assert!(mount::tmpfs("run").is_err());
}

#[test]
fn container_path_never_climbs() {
    for (text, clean) in [
        ("/a/../../b", "/b"),
        ("/", "/"),
        ("//a/./b/", "/a/b"),
        ("/..", "/"),
    ] {
        assert_eq!(ContainerPath::new(text).unwrap().as_str(), clean);
    }
    assert!(ContainerPath::below_root("/a/..").is_err());
    assert!(ContainerPath::new("/x").unwrap().is_within("/"));
    assert!(!ContainerPath::new("/procfs").unwrap().is_within("/proc"));
}

#[test]
fn devices_take_path_and_access() {
    let device = device::device("/dev/fuse:rw").unwrap();
    assert_eq!(
        (device.container.as_str(), device.access.as_str()),
        ("/dev/fuse", "rw")
    );
    let device = device::device("/dev/a:/dev/b:r").unwrap();
    assert_eq!(
        (device.container.as_str(), device.access.as_str()),
        ("/dev/b", "r")
    );
    for text in ["", "fuse", "/dev/a:/dev/b:x", "/dev/a:b:c:d", "/dev/a:"] {
        assert!(device::device(text).is_err(), "{text}");
    }
}

#[test]
fn ulimits_are_ordered_pairs() {
    let limit = ulimit::ulimit("nofile=1024:2048").unwrap();
    assert_eq!(
        (limit.kind, limit.soft, limit.hard),
        (PosixRlimitType::RlimitNofile, 1024, 2048)
    );
    assert_eq!(ulimit::ulimit("core=-1").unwrap().hard, u64::MAX);
    for text in [
        "nofile",
        "nofile=",
        "frob=1",
        "nofile=3:1",
        "nofile=+1",
        "nofile=1:2:3",
    ] {
        assert!(ulimit::ulimit(text).is_err(), "{text}");
    }
}

#[test]
fn capabilities_combine_as_docker_does() {
    let all = CAPABILITIES.to_vec();
    assert_eq!(combined(&[], &[], &all).len(), 14);
    assert_eq!(combined(&[], &[Choice::All], &all), []);
    let one = choice("net_admin").unwrap();
    assert_eq!(
        combined(&[one], &[Choice::All], &all),
        [Capability::NetAdmin]
    );
    assert_eq!(combined(&[Choice::All], &[one], &all).len(), 40);
    assert_eq!(choice("CAP_NET_ADMIN"), choice("net_admin"));
    assert!(choice("NET_FROB").is_err());
    assert_eq!(
        capability::of_bits(0b101),
        [Capability::Chown, Capability::DacReadSearch]
    );
}

#[test]
fn namespaces_of_others_are_named() {
    assert_eq!(
        namespace::pid("container:web"),
        Ok(Sharing::Container("web".into()))
    );
    assert_eq!(namespace::network("none"), Ok(Sharing::Own));
    assert_eq!(namespace::ipc("host"), Ok(Sharing::Host));
    for (parse, text) in [
        (
            namespace::pid as fn(&str) -> Result<Sharing, String>,
            "container:",
        ),
        (namespace::network, "bridge"),
        (namespace::userns, "auto"),
        (namespace::uts, "container:x"),
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn security_options_take_both_separators() {
    use security::{SecurityOption, security_option};
    assert_eq!(
        security_option("no-new-privileges"),
        Ok(SecurityOption::NoNewPrivileges(true))
    );
    assert_eq!(
        security_option("no-new-privileges:false"),
        Ok(SecurityOption::NoNewPrivileges(false))
    );
    assert_eq!(
        security_option("seccomp:unconfined"),
        Ok(SecurityOption::SeccompUnconfined)
    );
    assert_eq!(
        security_option("seccomp=/p.json"),
        Ok(SecurityOption::SeccompFile("/p.json".into()))
    );
    assert!(security_option("seccomp=").is_err());
    assert_eq!(
        security_option("apparmor=mine"),
        Ok(SecurityOption::Apparmor(Some("mine".to_owned())))
    );
    assert_eq!(
        security_option("label=level:s0:c1,c2"),
        Ok(SecurityOption::Label("level", "s0:c1,c2".to_owned()))
    );
    for wrong in [
        "apparmor=",
        "apparmor=a b",
        "label=",
        "label=nested",
        "label=type:",
        "label=type:a:b",
    ] {
        assert!(security_option(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn environment_files_have_comments_and_line_numbers() {
    let read = file("# note\n\nA=1\n B=x=y\nPLAIN\n").unwrap();
    assert_eq!(read.len(), 3);
    assert_eq!(
        read[1],
        Variable {
            name: "B".into(),
            value: Some("x=y".into())
        }
    );
    assert_eq!(read[2].value, None);
    assert_eq!(
        file("A=1\nB C=2").unwrap_err(),
        "line 2: the name 'B C' contains blanks"
    );
}

#[test]
fn later_variables_replace_earlier_ones_in_place() {
    let mut environment = Environment::default();
    environment.take("A=1");
    environment.take("B=2");
    environment.take("junk");
    environment.apply(&variable("A=3").unwrap(), &|_| None);
    environment.apply(&variable("C").unwrap(), &|name| {
        (name == "C").then(|| "own".into())
    });
    environment.apply(&variable("B").unwrap(), &|_| None);
    assert_eq!(environment.into_entries(), ["A=3", "C=own"]);
}

#[test]
fn host_names_are_one_word() {
    assert!(hostname::hostname("web-1.example").is_ok());
    for text in ["", "-a", "a b", "a\n127.0.0.1 evil", &"x".repeat(65)] {
        assert!(hostname::hostname(text).is_err(), "{text}");
    }
}

#[test]
fn sysctl_names_cannot_climb() {
    assert!(pair::sysctl("net.ipv4.ip_forward=1").is_ok());
    for text in [
        "a..b=1",
        "kernel.core_pattern+x=1",
        "../x=1",
        "net",
        "net.x=1\nkernel.y=2",
    ] {
        assert!(pair::sysctl(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_flag_value_panics(text in any::<String>()) {
        survives(memory::bytes(&text));
        survives(memory::bytes_or_unlimited(&text));
        survives(memory::cpus(&text));
        survives(mount::volume(&text));
        survives(mount::mount(&text));
        survives(mount::tmpfs(&text));
        survives(device::device(&text));
        survives(ulimit::ulimit(&text));
        survives(choice(&text));
        survives(pair::sysctl(&text));
        survives(pair::label(&text));
        survives(variable(&text));
        survives(file(&text));
        survives(security::security_option(&text));
        survives(namespace::pid(&text));
    }

    #[test]
    fn structured_flag_values_never_panic(text in "[a-z=,:./0-9-]{0,40}") {
        survives(mount::volume(&text));
        survives(mount::mount(&format!("type={text}")));
        survives(mount::tmpfs(&format!("/{text}")));
        survives(device::device(&format!("/{text}")));
        survives(ulimit::ulimit(&format!("nofile={text}")));
        survives(memory::bytes(&text));
    }

    #[test]
    fn container_paths_are_absolute_and_clean(text in any::<String>()) {
        if let Ok(path) = ContainerPath::new(&format!("/{text}")) {
            prop_assert!(path.as_str().starts_with('/'));
            prop_assert!(!path.as_str().split('/').any(|part| part == ".." || part == "."));
            prop_assert_eq!(ContainerPath::new(path.as_str()), Ok(path.clone()));
        }
    }
}

/// The parser came back, with whatever verdict.
fn survives<T>(_verdict: T) {}
