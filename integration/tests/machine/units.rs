//! Services that `hostrun-units` makes, as systemd's generator, of files that lie where Quadlet's do.

use super::{APP, nothing_is_left, ok};
use anyhow::{Result, ensure};
use hostrun_integration::host::wait_for;
use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

/// Files of Quadlet's in place of services, gone with the test.
pub(super) struct Files(Vec<PathBuf>);

impl Files {
    pub(super) fn new(files: &[(&str, &str)]) -> Result<Self> {
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

/// The payload of the test below: this program, in a container, below an init. Its standard input is descriptor 3.
#[test]
#[ignore = "started by the test below, in a container"]
fn payload_that_is_activated() -> Result<()> {
    // sd_listen_fds(3)
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|is| is == value);
    ensure!(is("LISTEN_PID", &std::process::id().to_string()));
    ensure!(is("LISTEN_FDS", "1") && is("LISTEN_FDNAMES", "greeting"));
    loop {
        let caller = rustix::net::accept(std::io::stdin())?;
        rustix::io::write(&caller, b"hello\n")?;
    }
}

/// systemd listens on the host's network; the container, which has none, is there when somebody calls.
#[test]
fn a_service_whose_socket_systemd_listens_on_is_begun_by_a_call_and_answers_it() -> Result<()> {
    let program = std::env::current_exe()?;
    let container = format!(
        "[Container]\nImage={APP}\nRunInit=yes\nVolume={}:/payload:ro\n\
         Exec=sh -c \"exec /payload --exact --ignored units::payload_that_is_activated <&3\"\n",
        program.display()
    );
    let files = Files::new(&[("greet.container", &container)])?;
    let socket = Path::new("/run/systemd/system/greet.socket");
    fs::write(
        socket,
        "[Socket]\nListenStream=127.0.0.1:7070\nFileDescriptorName=greeting\n",
    )?;
    ok(&["systemctl", "daemon-reload"])?;
    ok(&["systemctl", "start", "greet.socket"])?;
    let state = || {
        ok(&[
            "systemctl",
            "show",
            "--value",
            "-p",
            "ActiveState",
            "greet.service",
        ])
    };
    assert_eq!(state()?, "inactive");
    for _ in 0..2 {
        let mut caller = TcpStream::connect("127.0.0.1:7070")?;
        caller.set_read_timeout(Some(std::time::Duration::from_mins(1)))?;
        let mut said = [0; 6];
        caller.read_exact(&mut said)?;
        assert_eq!(&said, b"hello\n");
    }
    assert_eq!(state()?, "active");
    ok(&["systemctl", "stop", "greet.socket", "greet.service"])?;
    fs::remove_file(socket)?;
    drop(files);
    nothing_is_left()
}
