//! `linux.netDevices`: interfaces of the host that move into the container.

use anyhow::{Result, ensure};
use hostrun_integration::namespace::Held;
use hostrun_integration::refusal::refuse;
use hostrun_integration::{Bundle, Outcome, Stage, host, on_stage_of_hostrun};
use serde_json::{Value, json};

const WHY: &str = "network devices came with runc 1.4";

/// A host of its own to the runtime, with a pair of interfaces of which the first is configured.
const HOST: &str = "
    ip link set lo up &&
    ip link add moved type veth peer name stays &&
    ip link set moved mtu 1400 address 02:11:22:33:44:55 &&
    ip address add 10.9.8.7/24 dev moved &&
    ip address add 10.9.9.9/32 dev moved scope link &&
    ip -6 address add fd00:9::7/64 dev moved nodad &&
    ip link set moved up && ip link set stays up || exit 99
    \"$@\"
    code=$?
    echo host: $(ip -oneline link | cut -d: -f2 | cut -d@ -f1)
    exit $code
";

fn run(stage: &Stage, bundle: &Bundle) -> Result<Outcome> {
    let call = stage.run_call(bundle)?;
    call.under(["unshare", "--net", "sh", "-c", HOST, "sh"])
        .run()
}

fn bundle(stage: &Stage, devices: Value) -> Result<Bundle> {
    // a new sysfs shows the network of its maker
    let bundle = stage.bundle()?.set("/linux/netDevices", devices);
    Ok(bundle.shell("ip -oneline link; ip -oneline address"))
}

#[test]
fn a_device_moves_with_its_name_addresses_mtu_and_mac() -> Result<()> {
    on_stage_of_hostrun(WHY, |stage| {
        let text = run(stage, &bundle(stage, json!({"moved": {}}))?)?.ok()?;
        let link = text.lines().find(|line| line.contains(" moved@"));
        let link = link.unwrap_or_default();
        for part in ["mtu 1400", "02:11:22:33:44:55", "UP"] {
            ensure!(link.contains(part), "no {part}: {text}");
        }
        for part in ["inet 10.9.8.7/24", "inet6 fd00:9::7/64"] {
            ensure!(text.contains(part), "no {part}: {text}");
        }
        ensure!(
            !text.contains("10.9.9.9"),
            "an address of one link came along: {text}"
        );
        let host = text.lines().find(|line| line.starts_with("host:"));
        // when the container is gone so is a virtual device, with its peer
        ensure!(!host.unwrap_or_default().contains("moved"), "{text}");
        Ok(())
    })
}

#[test]
fn a_device_gets_another_name() -> Result<()> {
    on_stage_of_hostrun(WHY, |stage| {
        for (name, found) in [("eth0", " eth0@"), ("net%d", " net0@")] {
            let bundle = bundle(stage, json!({"moved": {"name": name}}))?;
            let text = run(stage, &bundle)?.ok()?;
            ensure!(
                text.contains(found) && text.contains("inet 10.9.8.7/24"),
                "{text}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_device_moves_into_a_user_namespaces_network() -> Result<()> {
    on_stage_of_hostrun(WHY, |stage| {
        let bundle = bundle(stage, json!({"moved": {"name": "eth0"}}))?.mapped()?;
        let text = run(stage, &bundle)?.ok()?;
        ensure!(
            text.contains(" eth0@") && text.contains("inet 10.9.8.7/24"),
            "{text}"
        );
        Ok(())
    })
}

#[test]
fn a_device_moves_into_a_network_that_is_joined_and_stays_there() -> Result<()> {
    on_stage_of_hostrun(WHY, |stage| {
        let held = Held::new(&["--net"], "net")?;
        let bundle = bundle(stage, json!({"moved": {"name": "eth7"}}))?
            .namespace("network", Some(held.path()))
            .without_mount("/sys")
            .without_mount("/sys/fs/cgroup");
        let text = run(stage, &bundle)?.ok()?;
        ensure!(text.contains(" eth7@"), "{text}");
        // A name that is taken there: the device stays where it was.
        let net = format!("--net={}", held.path().display());
        let pair = [
            "ip", "link", "add", "eth7", "type", "veth", "peer", "name", "eth8",
        ];
        // the first one goes with its other end, whose network the kernel takes down in its own time
        host::wait_for("the name is free", || {
            host::command("nsenter", [net.as_str()], pair).is_ok()
        })?;
        let out = run(stage, &bundle)?;
        ensure!(out.code() == 125, "accepted: {}", out.stdout());
        ensure!(out.stderr().contains("EEXIST"), "{}", out.stderr());
        let text = out.stdout();
        ensure!(
            text.starts_with("host:") && text.contains(" moved"),
            "it is lost: {text}"
        );
        Ok(())
    })
}

#[test]
fn of_several_devices_none_is_lost_when_one_fails() -> Result<()> {
    on_stage_of_hostrun(WHY, |stage| {
        let devices = json!({"moved": {"name": "first"}, "nowhere": {}});
        let out = run(stage, &bundle(stage, devices)?)?;
        ensure!(out.code() == 125, "accepted: {}", out.stdout());
        ensure!(
            out.stderr().contains("\"nowhere\"") || out.stderr().contains("nowhere: "),
            "{}",
            out.stderr()
        );
        ensure!(
            out.stdout().contains(" moved"),
            "it is lost: {}",
            out.stdout()
        );
        Ok(())
    })
}

#[test]
fn what_cannot_be_moved_is_refused_by_its_path() -> Result<()> {
    on_stage_of_hostrun(WHY, |stage| {
        let devices = json!({"a/b": {}, "ok": {"name": "much-too-long-a-name"}});
        let bundle = bundle(stage, devices)?.without_namespace("network");
        let text = refuse(stage, "names", &bundle)?;
        for part in [
            "linux.netDevices: unable to move network devices without a NET namespace",
            "linux.netDevices: invalid network device name \"a/b\"",
            "linux.netDevices.ok.name: invalid network device name",
        ] {
            ensure!(text.contains(part), "no {part}: {text}");
        }
        Ok(())
    })
}
