//! Services that `hostrun-units` makes, as systemd's generator, of files that lie where Quadlet's do.

use super::{APP, nothing_is_left, ok};
use anyhow::{Result, ensure};
use hostrun_integration::host::wait_for;
use std::fs;
use std::path::{Path, PathBuf};

/// Files of Quadlet's in place of services, gone with the test.
struct Files(Vec<PathBuf>);

impl Files {
    fn new(files: &[(&str, &str)]) -> Result<Self> {
        let dir = Path::new("/run/containers/systemd");
        fs::create_dir_all(dir)?;
        let mut written = Self(Vec::new());
        for (name, text) in files {
            written.0.push(dir.join(name));
            fs::write(dir.join(name), text)?;
        }
        ok(&["systemctl", "daemon-reload"])?;
        Ok(written)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.0 {
            fs::remove_file(path).unwrap_or_default();
        }
        ok(&["systemctl", "daemon-reload"]).unwrap_or_default();
    }
}

#[test]
fn files_of_quadlet_are_services_that_share_a_network_and_a_volume() -> Result<()> {
    let image = format!("Image={APP}\nPod=site.pod\nVolume=data.volume:/data\n");
    let serves = "Exec=sh -c \"echo kept >/data/file; echo hello | nc -l -p 7000\"";
    let asks = "Exec=sh -c \"until nc 127.0.0.1 7000; do sleep 0.2; done; cat /data/file\"";
    let files = Files::new(&[
        ("site.pod", "[Pod]\n"),
        ("data.volume", "[Volume]\n"),
        (
            "serves.container",
            &format!("[Container]\n{image}{serves}\n"),
        ),
        (
            "asks.container",
            &format!("[Container]\n{image}{asks}\n[Service]\nType=oneshot\n"),
        ),
        (
            "bad.container",
            &format!("[Container]\n{image}PublishPort=80:80\n"),
        ),
    ])?;
    ok(&["systemctl", "start", "serves.service"])?;
    ok(&["systemctl", "start", "asks.service"])?;
    ok(&["journalctl", "--sync"])?;
    let said = ok(&[
        "journalctl",
        "--no-pager",
        "-o",
        "cat",
        "-u",
        "asks.service",
    ])?;
    ensure!(said.contains("hello") && said.contains("kept"), "{said}");
    // nobody needs the network any more
    let pod = || {
        ok(&[
            "systemctl",
            "show",
            "--value",
            "-p",
            "ActiveState",
            "site-pod.service",
        ])
    };
    wait_for("the end of the pod", || {
        pod().is_ok_and(|state| state == "inactive")
    })?;
    ensure!(
        Path::new("/var/lib/hostrun/volumes/systemd-data/file").exists(),
        "no volume"
    );
    // a bad file is no service, and the journal says why
    ensure!(
        ok(&["systemctl", "cat", "bad.service"]).is_err(),
        "it was made"
    );
    let said = ok(&["journalctl", "--no-pager", "-k", "-o", "cat"])?;
    ensure!(
        said.contains("bad.container:5: PublishPort=80:80: is not done"),
        "{said}"
    );
    drop(files);
    nothing_is_left()
}
